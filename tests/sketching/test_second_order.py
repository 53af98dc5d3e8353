"""Reverse sweeps in a sketch, against dense gradients and Hessians of the unrolled training."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import unlearnkit as uk
from tests.sketching import unrolled
from tests.training.calls import sketched
from tests.training.pieces import Stop, contents, pieces
from tests.training.small import X, probe, recipe, scalar_probe
from unlearnkit.bundle import direction_key, random_directions
from unlearnkit.errors import EstimationError, RefusedError
from unlearnkit.sketching import sizing
from unlearnkit.sketching import sketch as sketching
from unlearnkit.sketching.stages import Stages

N = unrolled.UNITS
CALL = {"directions": 0, "degree": 1, "seed": 1, "dtype": "float64", "device": "cpu"}
LOW = uk.Reverse(rank=2, residual=3)
FIRST = uk.Reverse(rank=0, residual=0)
BOTH = {"probe": LOW, "scalar": FIRST}


def make(path: Path, **changed) -> uk.Bundle:
    return sketched(recipe(), path, **(CALL | changed))


def hessian(p) -> np.ndarray:
    """``[elements, units, units]``."""
    return unrolled.hessian(p).numpy().reshape(-1, N, N)


def sets() -> np.ndarray:
    return np.random.default_rng(0).random((5, N))


def form(x: np.ndarray, h: np.ndarray, p) -> np.ndarray:
    """``x'Hx / 2`` in the probe's shape."""
    return np.einsum("su,euv,sv->se", x, h, x).reshape(len(x), *unrolled.hessian(p).shape[:-2]) / 2


def random_rows(bundle: uk.Bundle, purpose: str, count: int) -> np.ndarray:
    manifest = bundle.manifest
    key = direction_key(manifest.recipe_digest, bytes.fromhex(manifest.salt), purpose)
    return random_directions(key, 0, count, N)


@pytest.fixture(scope="module")
def low(tmp_path_factory) -> uk.Bundle:
    """Rank two for six probe elements; first order alone for the scalar probe."""
    return make(tmp_path_factory.mktemp("low") / "bundle", reverse=BOTH)


@pytest.mark.parametrize(("name", "p"), [("probe", probe), ("scalar", scalar_probe)])
def test_the_first_order_is_the_gradient_of_the_unrolled_loop(low, name, p):
    expected = np.moveaxis(unrolled.gradient(p).numpy(), -1, 0)
    np.testing.assert_allclose(low.probe(name).influences(), expected, rtol=1e-9, atol=1e-12)
    prediction = low.probe(name).predict(sets(), degree=1)
    np.testing.assert_allclose(prediction.change, np.tensordot(sets(), expected, axes=1), rtol=1e-9, atol=1e-12)
    assert not np.any(prediction.standard_error)


@pytest.mark.parametrize(("name", "p"), [("probe", probe), ("scalar", scalar_probe)])
def test_a_complete_basis_makes_the_second_order_exact_and_certain(tmp_path, name, p):
    bundle = make(tmp_path / "bundle", reverse={name: uk.Reverse(rank=N, residual=2)})
    second = bundle.probe(name).predict(sets()).terms[1]
    np.testing.assert_allclose(second.value, form(sets(), hessian(p), p), rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(second.standard_error, 0, atol=1e-10)
    assert second.method == f"{N} eigenpairs, by reverse sweeps"


def test_the_low_rank_form_is_the_one_that_is_promised(low):
    """``Q Q' H + H Q Q' - Q Q' H Q Q'`` and Nystrom's form of the rest, cut to the four largest eigenpairs."""
    h, start = hessian(probe), random_rows(low, "range", 2).real.T
    products = h @ start
    beside = np.concatenate([y / np.linalg.norm(y) for y in products], axis=1)
    q = np.linalg.svd(beside)[0][:, :2]
    inside, outside = q @ q.T, np.eye(N) - q @ q.T
    form_of = []
    for matrix in h:
        factor = outside @ matrix @ outside @ start
        values, vectors = np.linalg.eigh(start.T @ factor)
        inverse = np.where(np.abs(values) > 0.1 * np.abs(values).max(), 1 / values, 0)
        whole = inside @ matrix + matrix @ inside - inside @ matrix @ inside
        whole += factor @ (vectors * inverse) @ vectors.T @ factor.T
        values, vectors = np.linalg.eigh(whole)
        largest = np.argsort(-np.abs(values))[:4]
        form_of.append((vectors[:, largest] * values[largest]) @ vectors[:, largest].T)
    found = low.probe("probe").reverse
    dense = np.einsum("euk,ek,evk->euv", found.vectors, found.values, found.vectors)
    np.testing.assert_allclose(dense, form_of, rtol=1e-6, atol=1e-10)
    second = low.probe("probe").predict(sets()).terms[1]
    np.testing.assert_allclose(second.value, form(sets(), np.array(form_of), probe), rtol=1e-6, atol=1e-10)


def test_beside_series_of_units_alone_the_form_is_of_what_is_off_the_diagonal(tmp_path):
    """Exact wherever one side lies in the span of a start, gradients first, and of what the Hessian makes of it."""
    bundle = make(tmp_path / "bundle", reverse={"scalar": uk.Reverse(rank=2, residual=0)}, solo=uk.Solo(2))
    h, gradient = hessian(scalar_probe)[0], unrolled.gradient(scalar_probe).numpy()
    off = h - np.diag(np.diag(h))
    start = np.linalg.qr(np.stack([gradient, random_rows(bundle, "range", 2).real[0]], axis=1))[0]
    further = np.linalg.svd(off @ start - start @ (start.T @ off @ start))[0][:, :2]
    known = np.linalg.qr(np.concatenate([start, further], axis=1))[0]
    inside = known @ known.T
    values, vectors = np.linalg.eigh(inside @ off + off @ inside - inside @ off @ inside)
    largest = np.argsort(-np.abs(values))[: 4 * 2]
    expected = (vectors[:, largest] * values[largest]) @ vectors[:, largest].T
    found = bundle.probe("scalar").reverse
    np.testing.assert_allclose(
        (found.vectors[0] * found.values[0]) @ found.vectors[0].T, expected, rtol=1e-6, atol=1e-10
    )
    whole = expected - np.diag(np.diag(expected)) + np.diag(np.diag(h))
    second = bundle.probe("scalar").predict(sets()).terms[1]
    np.testing.assert_allclose(second.value, form(sets(), whole[None], scalar_probe), rtol=1e-6, atol=1e-10)


def test_the_residual_is_the_hessian_along_directions_of_its_own(low):
    psi = random_rows(low, "residual", 3)
    found = low.probe("probe").reverse
    np.testing.assert_allclose(found.directions.block(0, 3), psi)
    np.testing.assert_allclose(found.residual, np.einsum("euv,dv->deu", hessian(probe), psi), rtol=1e-8, atol=1e-11)
    assert np.isfinite(low.probe("probe").predict(sets()).standard_error).all()


def masked_loss(m: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Only for some classes: the number of rows that are indexed differs from step to step."""
    logits, kept = m(batch[0]), batch[1] > 0
    losses = torch.zeros(len(logits), dtype=logits.dtype)
    losses[kept] = cross_entropy(logits[kept], batch[1][kept], reduction="none")
    return losses


def masked_probe(m: torch.nn.Module) -> torch.Tensor:
    """The positive logits: the weights decide how many."""
    logits = m(X[:4])
    return logits[logits > 0]


MASKED = {"loss": masked_loss, "probes": {"probe": masked_probe}, "allow_piecewise": True}


@pytest.mark.parametrize(("settings", "p"), [({}, probe), (MASKED, masked_probe)], ids=["plain", "masked"])
def test_the_second_order_misses_real_retrainings_by_the_third(tmp_path, settings, p):
    """Shapes that come from data, or from the weights, make no difference."""
    r, reverse = recipe(**settings), {"probe": uk.Reverse(rank=N, residual=0)}
    sketch = sketched(r, tmp_path / "bundle", **CALL, reverse=reverse).probe("probe")
    errors = []
    for weight in (0.02, 0.04):
        with torch.no_grad():
            real = p(uk.retrain(r, ["b"], weight=weight, device="cpu")).numpy()
        errors.append(np.abs(sketch.predict(["b"], weight=weight).value - real).max())
    assert errors[1] / errors[0] == pytest.approx(8, rel=0.1)


@pytest.fixture(scope="module")
def in_pieces(tmp_path_factory) -> tuple[uk.Bundle, list[str]]:
    """A bundle made with six elements times directions at once, and the names of the pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizing, "SWEEP_LANES", 6)
        names = pieces(patch)
        return make(tmp_path_factory.mktemp("pieces") / "bundle", reverse=BOTH), names


def test_pieces_change_nothing_beyond_rounding(low, in_pieces):
    """As many elements as fit go together, then as many directions; a complex one counts as two real ones."""
    bundle, names = in_pieces
    real = [f"probe-{stage}-0-6-{d}" for stage in ("range", "product") for d in ("0-1", "1-2")]
    real = ["probe-gradient-0-6-0-0", "scalar-gradient-0-1-0-0", *real]
    assert [name for name in names if "residual" not in name] == real
    residual = [f"probe-residual-{e}-{d}" for e in ("0-3", "3-6") for d in ("0-1", "1-2", "2-3")]
    assert names[len(real) :] == residual
    for name in ("probe", "scalar"):
        one, other = (b.probe(name).predict(sets(), unbiased=True) for b in (bundle, low))
        np.testing.assert_allclose(one.change, other.change, rtol=1e-8, atol=1e-11)
        np.testing.assert_allclose(one.standard_error, other.standard_error, rtol=1e-6, atol=1e-11)


def test_a_run_interrupted_in_every_stage_goes_on_to_the_same_bytes(in_pieces, tmp_path, monkeypatch):
    """Calls that go on may have other memory than the first. What is finished is not computed again."""
    whole, names = in_pieces
    shutil.copy(whole.path.parent / "pseudonym.key", tmp_path)
    finished: list[str] = []
    for stage in ("scalar-gradient", "probe-range", "probe-product", "probe-residual"):
        within = [f"{stage}-" in name for name in names].index(True) + ("gradient" not in stage)  # a single piece
        with monkeypatch.context() as patch:
            if not finished:
                patch.setattr(sizing, "SWEEP_LANES", 6)
            stored = pieces(patch, within - len(finished))
            with pytest.raises(Stop):
                make(tmp_path / "bundle", reverse=BOTH)
        finished += stored
        assert finished == names[:within]
    assert not (tmp_path / "bundle").exists()
    again = pieces(monkeypatch)
    bundle = make(tmp_path / "bundle", reverse=BOTH)
    assert finished + again == names
    assert contents(bundle.path) == contents(whole.path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle", "pseudonym.key"]


def test_an_unfinished_sketch_refuses_other_sweeps(tmp_path, monkeypatch):
    monkeypatch.setattr(sketching, "_publish", lambda *_: (_ for _ in ()).throw(Stop))
    with pytest.raises(Stop):
        make(tmp_path / "bundle", reverse={"scalar": FIRST})
    with pytest.raises(RefusedError, match="holds an unfinished sketch with reverse="):
        make(tmp_path / "bundle", reverse={"probe": FIRST})


def test_repeating_a_finished_call_computes_nothing_and_another_is_refused(low, monkeypatch):
    monkeypatch.setattr(Stages, "_swept", lambda *_args, **_: pytest.fail("computed again"))
    assert make(low.path, reverse=BOTH).digest == low.digest
    for reverse in ({"probe": LOW}, {"probe": FIRST, "scalar": FIRST}, {"scalar": LOW, "probe": LOW}):
        with pytest.raises(FileExistsError, match="another bundle"):
            make(low.path, reverse=reverse)


def test_a_probe_that_nobody_swept_has_no_answer(tmp_path):
    bundle = make(tmp_path / "bundle", reverse={"scalar": FIRST})
    assert bundle.probe("scalar").degree == 1
    with pytest.raises(EstimationError, match="'probe': the bundle has its base only"):
        bundle.probe("probe").predict(["a"])


def test_forward_directions_answer_above_the_sweeps(tmp_path):
    bundle = make(tmp_path / "bundle", reverse={"scalar": FIRST}, directions=5, degree=3)
    methods = [term.method for term in bundle.probe("scalar").predict(["a"], degree=3).terms]
    assert methods[0] == "exact, by reverse sweeps"
    assert methods[1].startswith("minimum norm, by projection on 10 of 36 dimensions, or average over 5 directions")
    assert methods[2] == "average over 5 directions"


def test_a_probe_without_elements_is_swept_in_no_time(tmp_path):
    r = recipe(probes={"nothing": lambda m: m(X)[:0]})
    bundle = sketched(r, tmp_path / "bundle", **CALL, reverse={"nothing": LOW})
    assert bundle.probe("nothing").predict(["a"]).value.shape == (0, 3)


def test_single_precision_sweeps_find_the_same(low, tmp_path):
    bundle = make(tmp_path / "bundle", reverse={"probe": uk.Reverse(rank=N, residual=0)}, dtype="float32")
    prediction = bundle.probe("probe").predict(sets())
    first = np.tensordot(sets(), np.moveaxis(unrolled.gradient(probe).numpy(), -1, 0), axes=1)
    np.testing.assert_allclose(prediction.terms[0].value, first, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(prediction.terms[1].value, form(sets(), hessian(probe), probe), rtol=1e-2, atol=1e-5)


def test_bad_calls_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="probe has rank 9, expected at most one a unit, 8"):
        make(tmp_path / "bundle", reverse={"probe": uk.Reverse(rank=N + 1)})
    with pytest.raises(ValueError, match="explicit directions go with no seed or salt, no reverse sweeps"):
        make(tmp_path / "bundle", directions=np.eye(N, dtype=complex), seed=None, reverse={"probe": FIRST})
    for settings, message in (({"rank": -1}, "rank=-1"), ({"rank": 0, "residual": 1}, "residual without a rank")):
        with pytest.raises(ValueError, match=message):
            uk.Reverse(**settings)
    assert not list(tmp_path.iterdir())
