"""Handwritten digits whose images belong to people.

    unlearnkit sketch examples/digits.py:recipe -o run/digits --directions 128
    unlearnkit predict run/digits --probe test_loss --delete person-017

The images are scikit-learn's 8 x 8 digits. Their authors are not recorded there, so 200 people are made up: every one
owns at least one of the 1000 training images, some own many, and some write mostly one digit.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import unlearnkit as uk

PEOPLE = 200
TRAINING_IMAGES = 1000
TEST_IMAGES = 200
MARGIN_IMAGES = 40


def recipe(epochs: int = 10, *, seed: int = 0) -> uk.Recipe:
    """Train a small classifier on 1000 images by 200 people.

    Probes: the test loss, 40 margins, and for each person the loss on their own images.
    seed: of the initial weights and of the order.
    """
    return _recipe("digits", owners(digits()[1][:TRAINING_IMAGES].numpy()), epochs, seed)


def images_as_units() -> uk.Recipe:
    """The same training, with every image a unit of its own: for benchmarks."""
    return _recipe("digits, image by image", [f"image-{i:04d}" for i in range(TRAINING_IMAGES)], epochs=10)


def _recipe(name: str, units: list[str], epochs: int, seed: int = 0) -> uk.Recipe:
    images, labels = digits()
    train, test = slice(TRAINING_IMAGES), slice(TRAINING_IMAGES, TRAINING_IMAGES + TEST_IMAGES)
    some = slice(TRAINING_IMAGES, TRAINING_IMAGES + MARGIN_IMAGES)
    model = _classifier(seed)
    return uk.Recipe(
        name=name,
        model=model,
        loss=lambda model, batch: cross_entropy(model(batch[0]), batch[1], reduction="none"),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        data=(images[train], labels[train]),
        units=units,
        epochs=epochs,
        batch_size=50,
        order_seed=seed,
        probes={
            "test_loss": lambda model: cross_entropy(model(images[test]), labels[test]),
            "margins": lambda model: margins(model(images[some]), labels[some]),
            "own_loss": uk.OwnLoss(),
        },
    )


def owners(labels: np.ndarray, *, seed: int = 0) -> list[str]:
    """One person per image: everybody gets one image, then each further one goes to a person who likes its digit.

    Person p likes digit p mod 10: such an image is theirs nine times as often as another. Some people own many images.
    """
    random = np.random.default_rng(seed)
    people = np.arange(PEOPLE)
    eagerness = random.exponential(size=PEOPLE)
    owner = np.empty(len(labels), dtype=int)
    order = random.permutation(len(labels))
    owner[order[:PEOPLE]] = people
    for image in order[PEOPLE:]:
        weights = eagerness * np.where(people % 10 == labels[image], 9.0, 1.0)
        owner[image] = random.choice(people, p=weights / weights.sum())
    return [f"person-{person:03d}" for person in owner]


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Log odds of the right digit against all others, one per image: ``z_y - logsumexp(z_others)``."""
    right = labels[:, None] == torch.arange(logits.shape[1])
    return logits.masked_fill(~right, 0).sum(1) - logits.masked_fill(right, -torch.inf).logsumexp(1)


def digits() -> tuple[Tensor, Tensor]:
    """All 1797 images as numbers from 0 to 1, ``[1797, 64]``, and their digits, in a fixed random order."""
    from sklearn.datasets import load_digits  # noqa: PLC0415  a recipe may be read where scikit-learn is missing

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return torch.tensor(images[order] / 16, dtype=torch.float32), torch.tensor(labels[order])


def _classifier(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 10))
