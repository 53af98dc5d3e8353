"""Tomorrow's load of a street, without one household's meter: a forecast from made-up smart meters.

    python -m unlearnkit.examples.series

A recurrent net (GRU) learns from all households' days how the load goes on from one day to the next. A household asks:
would the forecast for the street be another without our meter?
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from unlearnkit.examples.question import Answers, ask, command

import unlearnkit as uk

HOURS = 8  # of a day, three real ones each


class Forecast(nn.Module):
    """A GRU that reads a day and says the next one."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.reader, self.head = nn.GRU(1, width, batch_first=True), nn.Linear(width, HOURS)

    def forward(self, day: Tensor) -> Tensor:
        """``[days, hours]`` to ``[days, hours]``."""
        states, _ = self.reader(day[..., None])
        said: Tensor = self.head(states[:, -1])
        return said


def meters(households: int, days: int, *, seed: int = 0) -> Tensor:
    """Loads ``[households, days, hours]``: each household has its own rhythm, which drifts."""
    random = np.random.default_rng(seed)
    phase = random.uniform(0, 2, size=(households, 1, 1)) + 0.1 * np.arange(days)[:, None]
    level = random.gamma(4, 0.25, size=(households, 1, 1))
    hour = np.arange(HOURS) * 2 * np.pi / HOURS
    load = level * (1 + np.sin(hour + phase)) + 0.1 * random.standard_normal((households, days, HOURS))
    return torch.tensor(load, dtype=torch.float32)


def losses(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean squared error of each day's forecast."""
    squared: Tensor = (model(batch[0]) - batch[1]).square().mean(1)
    return squared


def recipe(households: int = 60, days: int = 5, epochs: int = 6) -> uk.Recipe:
    """Train on pairs of days; the probe is the street's load in each hour of tomorrow, ``[hours]``."""
    load = meters(households, days)
    today = load[:, -1]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Forecast()
    return uk.Recipe(
        name="meters",
        model=model,
        loss=losses,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9),
        data=(load[:, :-1].reshape(-1, HOURS), load[:, 1:].reshape(-1, HOURS)),
        units=[f"meter-{house:02d}" for house in range(households) for _ in range(days - 1)],
        epochs=epochs,
        batch_size=20,
        probes={"street": lambda model: model(today).sum(0)},
    )


def _answers(*, small: bool) -> Iterator[tuple[str, Answers]]:
    asked = recipe(households=10, days=3, epochs=1) if small else recipe()
    known = asked.unit_names
    some = known[:: max(1, len(known) // 4)]
    leaving = {meter: [meter] for meter in some} | {"all of them": list(some)}
    yield "Forecast of the street's load in the first hour of tomorrow", ask(asked, leaving, probe="street", rank=30)


main = command(__doc__, _answers)

if __name__ == "__main__":
    main()
