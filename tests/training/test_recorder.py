"""A recorded loop is repeated, whatever sampler, workers, schedule, clipping and random numbers it had."""

from __future__ import annotations

import copy
import dataclasses
import math
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Sampler, TensorDataset

import unlearnkit as uk
from tests.training.small import OWNERS, X, Y, loss, model, trained
from unlearnkit.errors import RecipeError

DATA = TensorDataset(X, Y)


class ByLength(Sampler[list[int]]):
    """A sampler of batches, of its own mind and of two sizes."""

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(len(X)).tolist()
        yield from (order[:5], order[5:7], order[7:])

    def __len__(self) -> int:
        return 3


class Augmented(nn.Module):
    """Draws from torch, from Python and from numpy in every forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = model(dropout=0.3)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = x * (1 + 0.1 * random.random()) + 0.1 * float(np.random.standard_normal())  # noqa: NPY002
        return self.inner(x)


LOADERS = {
    "shuffled": lambda: DataLoader(DATA, batch_size=5, shuffle=True),
    "a batch sampler": lambda: DataLoader(DATA, batch_sampler=ByLength()),
    "workers": lambda: DataLoader(DATA, batch_size=4, shuffle=True, num_workers=2),
}


def own_loop(loader, recorder: uk.Recorder, *, accumulate: int = 1, tamper: int = -1) -> tuple[nn.Module, nn.Module]:
    """Everything at once: AdamW, warm-up, cosine, clipping, accumulation, dropout. Start and end of it."""
    m = Augmented()
    start = copy.deepcopy(m)
    optimizer = torch.optim.AdamW(trained(m), lr=0.02, weight_decay=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1, (s + 1) / 2) * math.cos(0.1 * s))
    loader, step = recorder.loader(loader), 0
    for _ in range(3):
        for number, (x, y) in enumerate(loader):
            rows = slice(1, None) if step == tamper else slice(None)
            (cross_entropy(m(x[rows]), y[rows]) / accumulate).backward()
            if (number + 1) % accumulate:
                continue
            nn.utils.clip_grad_norm_(m.parameters(), 0.3)
            optimizer.step()
            recorder.step(m, optimizer)
            scheduler.step()
            optimizer.zero_grad()
            step += 1
    return start, m


def repeated(start: nn.Module, recorder: uk.Recorder, **settings: object) -> uk.Recipe:
    defaults = {
        "name": "recorded",
        "model": start,
        "loss": loss,
        "optimizer": torch.optim.AdamW(trained(start), lr=0.5, weight_decay=0.1),
        "data": DATA,
        "units": OWNERS,
        "recorded": recorder,
        "clip_grad_norm": 0.3,
        "probes": {"logits": lambda m: m(X[:2])},
    }
    return uk.Recipe(**(defaults | settings))


@pytest.mark.parametrize("loader", LOADERS)
def test_a_recorded_loop_is_repeated(loader):
    recorder = uk.Recorder()
    start, end = own_loop(LOADERS[loader](), recorder)
    r = repeated(start, recorder)
    found = uk.compare(r, end, device="cpu")
    assert max(found.values()) < 1e-12
    assert found.first_step is None
    assert max(uk.compare(r, start, device="cpu").values()) > 0.01


def test_recording_changes_nothing_in_the_loop():
    class Silent(uk.Recorder):
        def loader(self, loader):
            return loader

        def step(self, model, optimizer):
            """Hears nothing."""

    ends = []
    for recorder in (uk.Recorder(), Silent()):
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        ends.append(own_loop(LOADERS["shuffled"](), recorder)[1].state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_accumulated_batches_are_recorded_as_the_step_that_they_make(tmp_path):
    recorder = uk.Recorder()
    start, end = own_loop(DataLoader(DATA, batch_size=3, shuffle=True), recorder, accumulate=2)
    r = repeated(start, recorder)
    assert [len(step) for step in r.parts] == [2] * 6
    assert max(uk.compare(r, end, device="cpu").values()) < 1e-12
    bundle = uk.sketch(r, tmp_path / "bundle", dtype="float64", device="cpu")
    with torch.no_grad():
        assert np.allclose(bundle.probe("logits").base, end.eval()(X[:2]), atol=1e-12)


@pytest.mark.parametrize("tamper", [-1, 2])
def test_of_everything_at_once_the_one_step_that_was_another_is_found(tamper):
    """Dropout, clipping, AdamW, warm-up, a sampler of buckets, workers; accumulation across the ends of epochs."""
    recorder = uk.Recorder(accumulate=2)
    loader = DataLoader(DATA, batch_sampler=ByLength(), num_workers=1)
    start, end = own_loop(loader, recorder, accumulate=2, tamper=tamper)
    r = repeated(start, recorder)
    assert [len(step) for step in r.parts] == [2, 3, 3]
    found = uk.compare(r, end, device="cpu")
    assert found.first_step is None if tamper < 0 else found.first_step.number == tamper
    assert (max(found.values()) < 1e-12) is (tamper < 0)
    assert (
        repeated(start, recorder).digest
        != repeated(start, dataclasses.replace(recorder.recording, accumulate=3)).digest
    )


@pytest.mark.parametrize("step", [0, 4])
def test_the_one_step_that_was_another_is_found(step):
    recorder = uk.Recorder()
    start, end = own_loop(LOADERS["shuffled"](), recorder, tamper=step)
    found = uk.compare(repeated(start, recorder), end, device="cpu")
    assert found.first_step.number == step
    assert found.first_step.parameter in dict(end.named_parameters())
    assert str(found.first_step).startswith(f"step {step} is another one, most in 'inner.")


def test_with_other_clipping_the_run_is_another_from_the_second_step():
    """AdamW's first step is the same for every size of the gradient."""
    recorder = uk.Recorder()
    start, end = own_loop(LOADERS["shuffled"](), recorder)
    r = repeated(start, recorder, clip_grad_norm=0.01)
    assert uk.compare(r, end, device="cpu").first_step.number in (1, 2)


def test_the_digest_sees_random_numbers_and_what_was_recorded_later_is_another_run():
    recorder = uk.Recorder(every=2)
    start, _ = own_loop(LOADERS["shuffled"](), recorder)
    r = repeated(start, recorder)
    steps, digest = r.steps, r.digest
    assert [step.checksums is None for step in recorder.recording.steps[:4]] == [True, False, True, False]
    other = uk.Recorder()
    for step in recorder.recording.steps:
        for batch in step.batches:
            other.batch(batch.indices)
        other.step(start, torch.optim.AdamW(trained(start), lr=step.settings[0]["lr"], weight_decay=0.1))
    assert repeated(start, other).digest != digest
    own_loop(LOADERS["shuffled"](), recorder)
    assert r.steps == r.replace().steps == steps
    assert repeated(start, recorder).steps == 2 * steps


def test_steps_that_a_grad_scaler_skips_are_refused_by_name():
    recorder, m = uk.Recorder(), model().float()
    optimizer, scaler = torch.optim.SGD(trained(m), lr=0.1), torch.amp.GradScaler("cpu", init_scale=2.0**126)
    for number in range(2):
        recorder.batch([number])
        optimizer.zero_grad()
        scaler.scale(1e3 * cross_entropy(m(X[:5].float()), Y[:5])).backward()
        scaler.step(optimizer)
        scaler.update(2.0)
        recorder.step(m, optimizer)
    with pytest.raises(RecipeError, match="gradient of step 0 is not finite, and such steps Grad") as caught:
        repeated(model().float(), recorder)
    assert "bfloat16" in caught.value.hint


def test_what_cannot_be_recorded_is_refused():
    recorder, m = uk.Recorder(), model()
    with pytest.raises(RecipeError, match="no batch was handed out since step 0") as caught:
        recorder.step(m, torch.optim.SGD(trained(m), lr=0.1))
    assert "recorder.loader" in caught.value.hint
    with pytest.raises(RecipeError, match="DataLoader draws no batches of indices"):
        recorder.loader(DataLoader(DATA, batch_size=None))
    with pytest.raises(RecipeError, match="the recorder saw no step"):
        repeated(m, recorder)
    start, _ = own_loop(LOADERS["shuffled"](), recorder)
    for settings, message in (
        ({"epochs": 2}, "recorded and epochs are given"),
        ({"lr_schedule": lambda _: 0.1}, "has its rates"),
        ({"data": (X[:5], Y[:5]), "units": OWNERS[:5]}, r"step 0: indices from \d to \d+, but the data have 5"),
        (
            {"optimizer": torch.optim.AdamW([{"params": [p]} for p in trained(start)])},
            "had 1 parameter groups at step 0, this one has 4",
        ),
    ):
        with pytest.raises(RecipeError, match=message):
            repeated(start, recorder, **settings)
    for wrong in ({"every": 0}, {"accumulate": 0}):
        with pytest.raises(ValueError, match="expected whole numbers"):
            uk.Recorder(**wrong)
