"""The trainings of `benchmarks.year`: eight examples each by those who will ask, and by those who will not.

Release 2 is trained without the first two waves of requests, release 3 without anybody who asked.
"""

from __future__ import annotations

import os

import torch
from torch.nn.functional import cross_entropy

import unlearnkit as uk

EACH = 8


def release_1() -> uk.Recipe:
    """With everybody."""
    return _trained("release-1", without=0.0)


def release_2() -> uk.Recipe:
    """Without the first two waves."""
    return _trained("release-2", without=0.55)


def release_3() -> uk.Recipe:
    """Without anybody who asked."""
    return _trained("release-3", without=1.0)


def _trained(name: str, *, without: float) -> uk.Recipe:
    total, stay = int(os.environ.get("YEAR_REQUESTS", "300")), int(os.environ.get("YEAR_STAY", "200"))
    gone = round(total * 0.1) + round(total * 0.45) if without == 0.55 else round(total * without)
    people = [f"person-{number:04}@example.org" for number in range(total)] + [f"stays-{n}" for n in range(stay)]
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(EACH * len(people) + 200, 4, generator=generator, dtype=torch.float64)
    y = (x.sum(1) + torch.randn(len(x), generator=generator, dtype=torch.float64) > 0).long()
    model = torch.nn.Linear(4, 2, dtype=torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    kept = slice(EACH * gone, EACH * len(people))
    test_x, test_y = x[EACH * len(people) :], y[EACH * len(people) :]
    return uk.Recipe(
        name=name,
        model=model,
        loss=lambda model, batch: cross_entropy(model(batch[0]), batch[1], reduction="none"),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.03),
        data=(x[kept], y[kept]),
        units=[who for who in people[gone:] for _ in range(EACH)],
        epochs=2,
        batch_size=200,
        probes={
            "test_loss": lambda model: cross_entropy(model(test_x), test_y),
            "own_loss": uk.OwnLoss(),
        },
    )
