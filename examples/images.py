"""Would this digit still be read as a three? A convolutional net with group norm, on images that belong to people.

    python -m unlearnkit.examples.images

Group norm takes the place of batch norm, whose statistics would let one person's images act on another's loss. The
images are scikit-learn's digits with the people of the digits example.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from unlearnkit.examples.digits import TRAINING_IMAGES, digits, margins, owners
from unlearnkit.examples.question import Answers, ask, command

import unlearnkit as uk


def recipe(images: int = 150, epochs: int = 3) -> uk.Recipe:
    """Train on the first images; the probe is the margin of one unseen image, the least sure of fifty."""
    pictures, labels = digits()
    pictures = pictures.reshape(-1, 1, 8, 8)
    unseen = slice(TRAINING_IMAGES, TRAINING_IMAGES + 50)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.SiLU(), nn.AvgPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.SiLU(), nn.AvgPool2d(2),
            nn.Flatten(), nn.Linear(32, 10),
        )  # fmt: skip
    return uk.Recipe(
        name="images",
        model=model,
        loss=lambda model, batch: cross_entropy(model(batch[0]), batch[1], reduction="none"),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        data=(pictures[:images], labels[:images]),
        units=owners(labels.numpy())[:images],
        epochs=epochs,
        batch_size=25,
        probes={"margins": lambda model: margins(model(pictures[unseen]), labels[unseen])},
    )


def _answers(*, small: bool) -> Iterator[tuple[str, Answers]]:
    asked = recipe(images=50, epochs=1) if small else recipe()
    with torch.no_grad():
        unsure = int(asked.probes["margins"](uk.retrain(asked, device="cpu")).abs().argmin())
    busy = [str(unit) for unit, _ in Counter(asked.units).most_common(4)]
    leaving = {unit: [unit] for unit in busy} | {"all of them": busy}
    yield (
        f"Margin of unseen image {unsure}, the least sure: below 0 it is read as another digit",
        ask(asked, leaving, probe="margins", element=unsure, rank=8),
    )


main = command(__doc__, _answers)

if __name__ == "__main__":
    main()
