"""A sketch keeps its memory budget; what has no room in it goes to disk, and nothing changes by that."""

from __future__ import annotations

import errno

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import unlearnkit as uk
from tests.sketching.budgets import least
from unlearnkit.sketching import sizing, spilled
from unlearnkit.sketching.memory import Counted, Memory, peak_of
from unlearnkit.sketching.pullback import probe_pullback
from unlearnkit.sketching.reverse import ReverseSweeps
from unlearnkit.sketching.spilled import SpilledStates
from unlearnkit.sketching.stretches import Stretches
from unlearnkit.training.run import make_run

EXAMPLES, WIDTH, STEPS, ELEMENTS = 40, 96, 6, 4


def recipe(width: int = WIDTH, **settings) -> uk.Recipe:
    """A perceptron with momentum, of whose probe's elements not all fit a small budget."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 3))
    data = torch.randn(EXAMPLES, 8), torch.randint(0, 3, (EXAMPLES,))
    points = torch.randn(ELEMENTS, 8)
    return uk.Recipe(
        name="memory",
        model=model,
        loss=lambda m, batch: cross_entropy(m(batch[0]), batch[1], reduction="none"),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        data=data,
        units=[f"unit-{i % 8}" for i in range(EXAMPLES)],
        epochs=STEPS // 2,
        batch_size=20,
        probes={"logits": lambda m: m(points)[:, 0]},
        **settings,
    )


SETTINGS = {
    "first order": {},
    "a rank": {"reverse": {"logits": uk.Reverse(rank=2, residual=1)}},
    "directions": {"forward": uk.Forward(directions=6, degree=2)},
    "alone": {"solo": uk.Solo(degree=2)},
    "informed": {"informed": uk.Informed(2, power_iterations=0)},
}


def test_a_counter_sees_what_is_alive_at_once():
    def work() -> None:
        kept = torch.zeros(1000)
        for _ in range(5):
            kept = kept + 1  # the old one goes after the new one has come
        view = kept[:10]
        view.add_(1)

    assert peak_of(work) == 2 * 4000


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_budget_is_kept_and_what_a_refusal_asks_for_is_enough(settings, tmp_path):
    """Tensors at once, for budgets from the least that is accepted; the numbers are the same."""

    def made(budget: int, name: str) -> uk.Bundle:
        counted = Counted()
        with counted:
            bundle = uk.sketch(
                r, tmp_path / name, device="cpu", seed=0, memory_budget=budget, progress=False, **SETTINGS[settings]
            )
        assert counted.peak <= 1.2 * budget
        return bundle

    r = recipe()
    smallest = least(lambda budget: made(budget, "1"))
    bundles = [uk.Bundle.open(tmp_path / "1"), made(2 * smallest, "2")]
    changes = [bundle.probe("logits").predict(["unit-1", "unit-2"]).change for bundle in bundles]
    np.testing.assert_allclose(*changes, rtol=1e-3, atol=1e-6)


@pytest.fixture(scope="module")
def in_memory() -> tuple[ReverseSweeps, torch.Tensor, dict[str, torch.Tensor]]:
    """Sweeps, a basis, and what they give in memory: of the plain run, and along complex directions."""
    r = recipe(12)
    run = make_run(r, "float32", "cpu")
    sweeps, basis = ReverseSweeps(run, 1), torch.eye(ELEMENTS)
    return sweeps, basis, {kind: swept(sweeps, basis, kind, Memory(1 << 30)) for kind in KINDS}


KINDS = {"plain": None, "along": torch.complex(torch.linspace(-1, 1, 16), torch.ones(16)).view(2, 8)}


def swept(sweeps, basis, kind, memory) -> torch.Tensor:
    directions = KINDS[kind]
    path = sweeps.forward(directions, memory)
    found = sweeps.sweep(probe_pullback(sweeps.run, sweeps.run.recipe.probes["logits"]), basis, path)
    path.release()
    return found if directions is None else found.tail


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_sweep_that_spills_gives_the_same_bits(kind, exact, in_memory, tmp_path, monkeypatch):
    sweeps, basis, expected = in_memory
    written, modes = [], set()
    append = SpilledStates.append

    def watched(self, states):
        append(self, states)
        written.append(len(self))
        (folder,) = tmp_path.iterdir()
        modes.add(folder.stat().st_mode & 0o777)

    monkeypatch.setattr(SpilledStates, "append", watched)
    found = swept(sweeps, basis, kind, Memory(0, tmp_path, exact=exact))
    assert torch.equal(found, expected[kind])
    assert written == list(range(1, STEPS + 1))
    assert modes == {0o700}
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing(in_memory, tmp_path, monkeypatch):
    save = safetensors.torch.save_file

    def full(tensors, path):
        if path.name == "3.safetensors":
            path.write_bytes(b"half of it")
            raise safetensors.SafetensorError("Error while serializing: No space left on device (os error 28)")
        save(tensors, path)

    monkeypatch.setattr(spilled.safetensors.torch, "save_file", full)
    sweeps, basis, _ = in_memory
    with pytest.raises(
        OSError, match=r"3 of them were.*No space left.*each takes .* MB.*larger memory_budget"
    ) as caught:
        swept(sweeps, basis, "plain", Memory(0, tmp_path))
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_an_error_on_the_way_back_leaves_no_states(tmp_path, monkeypatch):
    monkeypatch.setattr(ReverseSweeps, "_step", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    seen = []
    append = SpilledStates.append
    monkeypatch.setattr(SpilledStates, "append", lambda self, states: (append(self, states), seen.append(self._folder)))
    monkeypatch.setattr(sizing.Sizing, "memory", lambda _, folder: Memory(0, folder))
    with pytest.raises(KeyboardInterrupt):
        uk.sketch(recipe(12), tmp_path / "bundle", device="cpu", seed=0, progress=False)
    assert seen
    assert all(folder.parent == tmp_path / ".bundle.partial" for folder in seen)
    assert not any(folder.exists() for folder in seen)


@pytest.mark.parametrize("room", range(2, 130, 7))
@pytest.mark.parametrize("may_spill", [True, False])
def test_states_are_kept_where_they_fit_and_on_disk_where_they_do_not(room, may_spill):
    steps, size = 100, 10
    found = Stretches.fitting(steps, size, room * size, may_spill=may_spill)
    least_in_memory = 20  # ten checkpoints, and the ten states of a stretch
    assert found.on_disk is (may_spill and room < least_in_memory)
    if room >= least_in_memory:
        assert found.memory <= room * size or found.length == steps <= room
        assert found.disk == 0
    if found.on_disk:
        assert found.memory <= max(room, 4) * size
        assert found.disk == found.checkpoints * size
    assert found.again == (0 if room >= steps else steps - found.length) < steps
    assert [step for stretch in found.ranges for step in stretch] == list(range(steps))
    assert len(found.ranges) == found.checkpoints
    assert max(map(len, found.ranges)) == len(found.ranges[-1]) == found.length
