"""Augmentation that is seeded by epoch and example is the same in the sketch and in every retraining."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import unlearnkit as uk
from tests.training.small import BATCH, OPTIMIZERS, OWNERS, X, Y, loss, model, probe, recipe
from unlearnkit.errors import RecipeError

EPOCHS = 3


class Noisy:
    """Noise of a size on every example, another in each epoch."""

    def __init__(self, size: float = 0.3, *, reseeded: bool = True, fixed_after: int = 99) -> None:
        self.size, self.reseeded, self.fixed_after = size, reseeded, fixed_after
        self.generator = torch.Generator()

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        epoch, i = key
        if self.reseeded:
            self.generator.manual_seed(1000 * min(epoch, self.fixed_after) + i)
        return X[i] + self.size * torch.randn(X[i].shape, generator=self.generator, dtype=X.dtype), Y[i]


def augmented(data: object = None, **settings: object) -> uk.Recipe:
    probes = {"probe": probe, "own": uk.OwnLoss()}
    made = {"data": data or Noisy(), "augmented": True, "epochs": EPOCHS, "probes": probes}
    return recipe("momentum", **(made | settings))


def by_hand(r: uk.Recipe, gone: str | None = None) -> torch.nn.Module:
    """What a user would write: epoch by epoch."""
    data, m = Noisy(), model()
    o = OPTIMIZERS["momentum"](m)
    weights = torch.tensor([float(gone is None or owner != gone) for owner in OWNERS], dtype=torch.float64)
    for step, (rows,) in enumerate(r.parts):
        examples = [data[step * EPOCHS // r.steps, int(i)] for i in rows]
        x, y = (torch.stack(leaves) for leaves in zip(*examples, strict=True))
        o.zero_grad()
        (weights[rows] * loss(m, (x, y))).sum().div(BATCH).backward()
        o.step()
    return m


@pytest.mark.parametrize("gone", [None, "c"])
def test_retraining_is_the_loop_over_epochs(gone):
    r = augmented()
    found = uk.retrain(r, [] if gone is None else [gone], device="cpu")
    for a, b in zip(found.parameters(), by_hand(r, gone).parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_a_sketch_is_of_the_same_augmentations(tmp_path):
    r = augmented()
    bundle = uk.sketch(r, tmp_path / "b", dtype="float64", device="cpu")
    trained = by_hand(r)
    assert max(uk.compare(r, trained).values()) < 1e-12
    assert max(uk.compare(augmented(Noisy(0.1)), trained).values()) > 1e-3
    with torch.no_grad():
        base = probe(trained.eval()).numpy()
        less, more = (probe(uk.retrain(r, ["c"], weight=h, device="cpu").eval()).numpy() for h in (1e-4, 2e-4))
    slope = bundle.probe("probe").predict(["c"], degree=1).change
    np.testing.assert_allclose(slope, (4 * less - more - 3 * base) / 2e-4, atol=1e-5)


class OneEpoch:
    """As a loader sees the data: its owner says which epoch it is."""

    def __init__(self, epoch: int) -> None:
        self.epoch, self.data = epoch, Noisy()

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.data[self.epoch, i]


def test_a_recorded_loop_over_epochs_is_repeated_with_its_augmentations():
    m, recorder, examples = model(), uk.Recorder(), OneEpoch(0)
    o = OPTIMIZERS["momentum"](m)
    loader = recorder.loader(torch.utils.data.DataLoader(examples, batch_size=BATCH + 1, shuffle=True, drop_last=True))
    for examples.epoch in range(EPOCHS):
        for batch in loader:
            o.zero_grad()
            loss(m, batch).mean().backward()
            o.step()
            recorder.step(m, o)
    r = augmented(epochs=None, batch_size=None, recorded=recorder)
    found = uk.compare(r, m, device="cpu")
    assert max(found.values()) < 1e-12
    assert found.first_step is None
    assert r.digest != augmented(Noisy(fixed_after=1), epochs=None, batch_size=None, recorded=recorder).digest


def test_a_step_over_the_end_of_an_epoch_has_no_augmentation():
    recorder, m = uk.Recorder(), model()
    recorder.batch(np.arange(4), 0)
    recorder.batch(np.arange(4), 1)
    recorder.step(m, OPTIMIZERS["momentum"](m))
    with pytest.raises(RecipeError, match="step 0 was recorded over the end of epoch 0"):
        _ = augmented(epochs=None, batch_size=None, recorded=recorder).digest


def test_a_digest_covers_the_augmentations_of_every_epoch():
    recipes = [augmented(), augmented(Noisy(0.2)), augmented(Noisy(fixed_after=1)), augmented(epochs=2)]
    assert len({r.description["data"]["sha256"] + r.description["data"]["later_epochs"] for r in recipes}) == 4
    assert augmented().digest == augmented().digest
    assert "later_epochs" not in recipe().description["data"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": (X, Y)}, r"tensors do not take dataset\[epoch, i\]"),
        ({"epochs": None, "batch_size": None, "batches": [[0, 1]]}, "the run has no epochs"),
    ],
)
def test_runs_without_epochs_and_data_without_them_are_refused(settings, message):
    with pytest.raises(RecipeError, match=message):
        augmented(**settings)


def test_data_that_do_not_take_an_epoch_are_refused_with_the_place():
    with pytest.raises(RecipeError, match=r"data: dataset\[0, \d+\] raised TypeError"):
        uk.retrain(augmented([(x, y) for x, y in zip(X, Y, strict=True)]), device="cpu")


def test_an_augmentation_that_nothing_seeds_is_refused():
    with pytest.raises(RecipeError, match=r"dataset\[0, 0\] gave two different examples"):
        _ = augmented(Noisy(reseeded=False)).digest
