"""From a recipe to a bundle: interrupted runs go on to the same bytes, and nothing is lost or overwritten."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import unlearnkit as uk
from tests.sketching.budgets import least
from tests.training.calls import sketched
from tests.training.small import OWNERS, model, recipe, scalar_probe, trained
from unlearnkit.bundle import InformedDirections, SoloUnits
from unlearnkit.errors import NonFiniteError, PiecewiseOpsError, RefusedError, UnknownNameError, VerificationError
from unlearnkit.sketching import sketch as sketching
from unlearnkit.sketching.store import Settings, open_partial

HERE = Path(__file__).parent
CALL = {"directions": 6, "degree": 2, "seed": 1, "dtype": "float64", "device": "cpu", "chunk": 2, "keep_weights": True}

SETTINGS = Settings(
    recipe="0" * 64,
    degree=1,
    directions=1,
    explicit="",
    salt="0" * 64,
    dtype="float64",
    device="cpu",
    keep_weights=False,
    chunk=1,
    reverse="{}",
    informed=InformedDirections(),
    solo=SoloUnits(),
    keep_solo_weights=False,
    checkpoint="",
    solo_lanes=1,
    lanes=1,
)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def make(path: Path, **changed) -> uk.Bundle:
    return sketched(recipe(), path, **(CALL | changed))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> uk.Bundle:
    """A bundle of an uninterrupted run, and the pseudonym key beside it."""
    return make(tmp_path_factory.mktemp("whole") / "bundle")


@pytest.fixture
def place(whole, tmp_path) -> Path:
    """Where another bundle of the same units can be made: with the same pseudonym key beside it."""
    shutil.copy(whole.path.parent / "pseudonym.key", tmp_path)
    return tmp_path / "bundle"


class Stop(Exception):
    """The power goes off."""


@pytest.mark.parametrize("finished", [0, 1, 2])
def test_an_interrupted_run_goes_on_to_the_same_bytes(whole, place, monkeypatch, finished):
    block = sketching.ForwardSketching.block
    calls = []

    def until(self, *args):
        calls.append(args)
        if len(calls) > finished:
            raise Stop
        block(self, *args)

    monkeypatch.setattr(sketching.ForwardSketching, "block", until)
    with pytest.raises(Stop):
        make(place)
    assert not place.exists()
    monkeypatch.setattr(
        sketching.ForwardSketching, "block", lambda self, *args: calls.append(args) or block(self, *args)
    )
    calls.clear()
    make(place)
    assert len(calls) == 3 - finished
    assert contents(place) == contents(whole.path)
    assert sorted(p.name for p in place.parent.iterdir()) == ["bundle", "pseudonym.key"]


def test_repeating_a_finished_call_computes_nothing(whole, monkeypatch):
    monkeypatch.setattr(sketching.ForwardSketching, "block", lambda *_: pytest.fail("computed again"))
    assert make(whole.path).digest == whole.digest


def test_another_bundle_is_never_overwritten(whole):
    for changed in ({"degree": 1}, {"directions": 5}, {"seed": 2}, {"keep_weights": False}, {"dtype": "float32"}):
        with pytest.raises(FileExistsError, match="another bundle"):
            make(whole.path, **changed)


def test_an_unfinished_sketch_refuses_other_settings_unless_told_to_start_over(place, monkeypatch):
    monkeypatch.setattr(sketching, "_publish", lambda *_: (_ for _ in ()).throw(Stop))
    with pytest.raises(Stop):
        make(place)
    monkeypatch.undo()
    with pytest.raises(RefusedError, match="degree=2, this call has 1") as caught:
        make(place, degree=1)
    assert "overwrite=True" in caught.value.hint
    assert make(place, degree=1, overwrite=True).manifest.degree == 1


def fast(rate: float, **settings) -> uk.Recipe:
    m = model()
    return recipe(model=m, optimizer_made=torch.optim.SGD(trained(m), lr=rate), probes={}, epochs=8, **settings)


@pytest.mark.parametrize(
    ("again", "name"),
    [
        ((0.1, {}), "recipe"),
        ((1e60, {"degree": 1}), "degree"),
        ((1e60, {"dtype": "float32"}), "dtype"),
        ((1e60, {"directions": 3, "chunk": 1}), "directions"),
    ],
)
def test_a_failed_attempt_does_not_block_another(place, again, name):
    """Training that diverges fails at its own step, after other settings were settled; then one tries others."""
    with pytest.raises(NonFiniteError, match="training step"):
        sketched(fast(1e60), place, **CALL)
    rate, changed = again
    with pytest.raises(RefusedError, match=f"holds an unfinished sketch with {name}=") as caught:
        sketched(fast(rate), place, **(CALL | changed))
    assert "overwrite=True" in caught.value.hint
    if rate > 1:  # the other settings are taken, and fail for themselves
        with pytest.raises(NonFiniteError):
            sketched(fast(rate), place, **(CALL | changed), overwrite=True)
        return
    replaced = sketched(fast(rate), place, **(CALL | changed), overwrite=True)
    fresh = sketched(fast(rate), place.with_name("fresh"), **(CALL | changed))
    assert contents(replaced.path) == contents(fresh.path)
    assert sorted(p.name for p in place.parent.iterdir()) == ["bundle", "fresh", "pseudonym.key"]


def test_what_is_in_the_way_names_the_cure(whole):
    with pytest.raises(FileExistsError, match=r"replace it with overwrite=True"):
        make(whole.path, degree=1)


def test_two_processes_do_not_share_a_run(place, monkeypatch):
    monkeypatch.setattr(sketching, "_publish", lambda *_: (_ for _ in ()).throw(Stop))
    with pytest.raises(Stop):
        make(place)
    monkeypatch.undo()
    with open_partial(place, SETTINGS, SETTINGS, overwrite=True), pytest.raises(RefusedError, match="another process"):
        make(place)


def test_chunks_change_nothing_beyond_rounding(whole, place):
    other = make(place, chunk="auto")
    for name in ("probe", "scalar"):
        assert np.allclose(other.probe(name).coefficients, whole.probe(name).coefficients, rtol=1e-12, atol=1e-15)
    assert [s.last for s in other.manifest.weight_sketches] == [6]


def test_a_small_memory_budget_gives_small_chunks(place):
    budget = least(lambda budget: make(place, chunk="auto", memory_budget=budget))
    bundle = uk.Bundle.open(place)
    assert budget > 1
    assert [s.last for s in bundle.manifest.weight_sketches] == [1, 2, 3, 4, 5, 6]


def test_without_a_seed_every_sketch_has_its_own_directions(tmp_path):
    bundles = [make(tmp_path / name, seed=None) for name in "ab"]
    assert bundles[0].manifest.salt != bundles[1].manifest.salt


def test_a_probe_that_nobody_pinned_is_the_pinned_one(whole):
    sketch = uk.evaluate(whole, recipe(), scalar_probe)
    pinned = whole.probe("scalar")
    assert np.allclose(sketch.base, pinned.base, rtol=1e-12)
    assert np.allclose(sketch.coefficients, pinned.coefficients, rtol=1e-10)
    assert sketch.predict(["a"]).value == pytest.approx(pinned.predict(["a"]).value, rel=1e-10)


def test_evaluating_needs_the_weights_and_the_same_recipe(whole, place):
    with pytest.raises(VerificationError, match="not the one of the bundle"):
        uk.evaluate(whole, recipe(seed=1), scalar_probe)
    with pytest.raises(RefusedError, match="kept no weight sketches"):
        uk.evaluate(make(place, keep_weights=False), recipe(), scalar_probe)


def test_the_trained_model_is_in_the_bundle(whole):
    expected = uk.retrain(recipe(), device="cpu").state_dict()
    loaded = whole.load_model(recipe().model).state_dict()
    assert all(torch.allclose(loaded[name], value, atol=1e-12) for name, value in expected.items())


def test_first_order_is_right_for_a_small_part_of_a_unit(whole):
    """2 x 6 measurements for 8 units: degree one is exact, so the error of a small weight is of second order."""
    sketch, units = whole.probe("probe"), ["c", 7]
    errors = []
    for weight in (1e-3, 2e-3):
        with torch.no_grad():
            model = uk.retrain(recipe(), units, weight=weight, device="cpu")
            real = recipe().probes["probe"](model).numpy()
        errors.append(np.abs(sketch.predict(units, weight=weight, degree=1).value - real).max())
    assert errors[1] / errors[0] == pytest.approx(4, rel=0.05)


def test_nothing_personal_and_no_path_is_in_the_bundle(whole):
    raw = b"".join(contents(whole.path).values())
    assert str(HERE).encode() not in raw
    assert str(whole.path.parent).encode() not in raw
    manifest = (whole.path / "units.json").read_bytes()
    assert all(f'"{owner}"'.encode() not in manifest for owner in OWNERS)
    assert (whole.path.parent / "pseudonym.key").stat().st_mode & 0o777 == 0o600


def test_explicit_directions_are_stored_and_said_to_be_explicit(tmp_path):
    psi = np.eye(8, dtype=complex)[:3]
    bundle = make(tmp_path / "bundle", directions=psi, seed=None)
    assert bundle.manifest.is_explicit
    assert np.array_equal(bundle.directions.block(0, 3), psi)
    with pytest.raises(ValueError, match=r"shape \(3, 5\), expected \[directions, units=8\]"):
        make(tmp_path / "other", directions=np.ones((3, 5)))


def test_piecewise_operations_are_refused_or_listed(tmp_path):

    def kinked(*, allow: bool) -> uk.Recipe:
        model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3)).double()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return recipe(model=model, optimizer_made=optimizer, probes={}, allow_piecewise=allow)

    with pytest.raises(PiecewiseOpsError, match="relu") as caught:
        sketched(kinked(allow=False), tmp_path / "bundle", directions=1)
    assert any("'1'" in str(problem) for problem in caught.value.problems)
    bundle = sketched(kinked(allow=True), tmp_path / "bundle", directions=1)
    assert ("aten.relu", "1", "piecewise") in {(e.operation, e.where, e.kind) for e in bundle.manifest.piecewise}


def test_bad_calls_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="nothing to sketch"):
        make(tmp_path / "bundle", directions=0)
    with pytest.raises(ValueError, match="dtype='float16'"):
        make(tmp_path / "bundle", dtype="float16")
    with pytest.raises(UnknownNameError, match="no probe 'other'"):
        make(tmp_path / "bundle", reverse={"other": uk.Reverse()})
    assert not list(tmp_path.iterdir())
