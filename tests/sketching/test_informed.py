"""Informed directions against the dense Jacobian of the unrolled training, and the models that they predict."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import unlearnkit as uk
from tests.sketching import unrolled
from tests.sketching.budgets import least
from tests.training.calls import sketched
from tests.training.pieces import Stop, contents, pieces
from tests.training.small import model, probe, recipe, scalar_probe
from unlearnkit.bundle import direction_key, random_directions
from unlearnkit.errors import DigestMismatchError, RefusedError
from unlearnkit.estimation.lattice import lattice_points
from unlearnkit.sketching import sizing
from unlearnkit.sketching import sketch as sketching
from unlearnkit.sketching.stages import Stages

N = unrolled.UNITS
CALL = {"directions": 0, "degree": 1, "seed": 1, "dtype": "float64", "device": "cpu"}
GONE = ["b", 7]


def make(path: Path, optimizer: str = "momentum", **changed) -> uk.Bundle:
    return sketched(recipe(optimizer), path, **(CALL | changed))


def dense(optimizer: str = "momentum") -> np.ndarray:
    return unrolled.flat_jacobian(optimizer).numpy()


def mask(*names: str | int) -> np.ndarray:
    return np.isin([str(name) for name in recipe().unit_names], [str(name) for name in names]).astype(float)


def projector(basis: np.ndarray) -> np.ndarray:
    """On the span of the columns."""
    q = np.linalg.qr(basis)[0]
    return q @ q.T


@pytest.fixture(scope="module")
def complete(tmp_path_factory) -> uk.Bundle:
    """As many informed directions as units."""
    return make(tmp_path_factory.mktemp("complete") / "bundle", informed=N)


@pytest.fixture(scope="module")
def spanned(tmp_path_factory) -> uk.Bundle:
    """Three leading ones of five, to degree three."""
    path = tmp_path_factory.mktemp("spanned") / "bundle"
    return make(path, informed=5, informed_degree=3, leading=3)


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> uk.Bundle:
    return make(tmp_path_factory.mktemp("few") / "bundle", informed=3)


def test_forward_and_reverse_derivatives_of_the_unrolled_loop_agree():
    """So the reference is none of this package's making twice over."""
    for p in (probe, scalar_probe):
        one = unrolled.gradient(p).reshape(-1, N)
        weights = unrolled.train(torch.zeros(N, dtype=torch.float64))
        slopes = torch.func.jacrev(lambda w, p=p: unrolled.probed(p, w))(weights)
        other = sum(slopes[name].reshape(len(one), -1) @ unrolled.jacobian()[name].reshape(-1, N) for name in weights)
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("p", [probe, scalar_probe], ids=["probe", "scalar"])
def test_a_complete_basis_knows_the_gradient_of_every_probe(complete, p):
    """Pinned or not: to 1e-9 the gradient of the unrolled training, and certain of it."""
    name = {probe: "probe", scalar_probe: "scalar"}[p]
    expected = np.moveaxis(unrolled.gradient(p).numpy(), -1, 0)
    for sketch in (complete.probe(name), uk.evaluate(complete, recipe(), p)):
        np.testing.assert_allclose(sketch.influences(), expected, rtol=1e-9, atol=1e-11)
        prediction = sketch.predict(GONE)
        np.testing.assert_allclose(prediction.change, np.tensordot(mask(*GONE), expected, axes=1), rtol=1e-9)
        assert not np.any(prediction.standard_error)
        assert prediction.terms[0].method == "exact, by projection"


@pytest.mark.parametrize(("optimizer", "iterations"), [("sgd", 0), ("momentum", 2), ("groups", 1)])
def test_the_directions_span_what_subspace_iteration_spans(tmp_path, optimizer, iterations):
    """``(J'J)^k J' Omega``, with Omega from the key that recipe and salt give."""
    bundle = make(tmp_path / "bundle", optimizer, informed=3, power_iterations=iterations)
    j, manifest = dense(optimizer), bundle.manifest
    key = direction_key(manifest.recipe_digest, bytes.fromhex(manifest.salt), "informed")
    q = j.T @ random_directions(key, 0, 3, len(j)).real.T
    for _ in range(iterations):
        q = j.T @ (j @ np.linalg.qr(q)[0])
    directions = bundle.informed.directions
    np.testing.assert_allclose(directions @ directions.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(directions.T @ directions, projector(q), atol=1e-8)


@pytest.mark.parametrize("optimizer", ["momentum", "groups"])
def test_slopes_are_those_of_weights_and_probes_along_the_directions(few, tmp_path, optimizer):
    found = (few if optimizer == "momentum" else make(tmp_path / "bundle", optimizer, informed=3)).informed
    jacobian, directions = unrolled.jacobian(optimizer), found.directions
    assert found.weights.keys() == jacobian.keys()
    for name, slopes in found.weights.items():
        expected = np.tensordot(directions, np.moveaxis(jacobian[name].numpy(), -1, 0), axes=1)
        np.testing.assert_allclose(slopes, expected, rtol=1e-9, atol=1e-12)
    for name, p in (("probe", probe), ("scalar", scalar_probe)):
        expected = np.tensordot(directions, np.moveaxis(unrolled.gradient(p, optimizer).numpy(), -1, 0), axes=1)
        np.testing.assert_allclose(found.probes[name], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("p", [probe, scalar_probe], ids=["probe", "scalar"])
def test_fewer_directions_give_their_part_of_the_gradient(few, p):
    q = few.informed.directions
    expected = q.T @ q @ np.moveaxis(unrolled.gradient(p).numpy(), -1, 0).reshape(N, -1)
    sketch = uk.evaluate(few, recipe(), p)
    np.testing.assert_allclose(sketch.influences().reshape(N, -1), expected, rtol=1e-8, atol=1e-11)
    pinned = few.probe({probe: "probe", scalar_probe: "scalar"}[p])
    np.testing.assert_allclose(pinned.influences(), sketch.influences(), rtol=1e-8, atol=1e-12)
    assert np.isnan(sketch.predict(GONE).standard_error).all()


def test_more_power_iterations_capture_more_of_the_weights_movement(few, tmp_path):
    """Up to what the best three directions do."""
    bundles = (make(tmp_path / "none", informed=3, power_iterations=0), few)  # few has had one
    energies = [np.linalg.norm(dense() @ bundle.informed.directions.T) for bundle in bundles]
    best = np.linalg.norm(np.linalg.svd(dense(), compute_uv=False)[:3])
    assert energies[0] < energies[1] <= best + 1e-12


def test_random_directions_answer_for_what_the_informed_ones_leave(tmp_path):
    """Four and twice two: as many as there are units. Pinned or not, first order is exact again."""
    bundle = make(tmp_path / "bundle", informed=4, directions=2, keep_weights=True)
    for name, p in (("probe", probe), ("scalar", scalar_probe)):
        expected = np.moveaxis(unrolled.gradient(p).numpy(), -1, 0)
        for sketch in (bundle.probe(name), uk.evaluate(bundle, recipe(), p)):
            np.testing.assert_allclose(sketch.influences(), expected, rtol=1e-8, atol=1e-10)
            assert not np.any(sketch.predict(GONE).standard_error)


def test_random_directions_without_their_weights_help_only_pinned_probes(tmp_path):
    bundle = make(tmp_path / "bundle", informed=4, directions=2)
    assert not np.any(bundle.probe("probe").predict(GONE).standard_error)
    assert np.isnan(uk.evaluate(bundle, recipe(), probe).predict(GONE).standard_error).all()


def test_the_first_directions_move_the_weights_most(few, tmp_path):
    """Slopes along them are orthogonal, the longest first; one round more finds the same, for J'J has no other."""
    found = dense() @ few.informed.directions.T
    gram = found.T @ found
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-9 * gram.max())
    assert (np.diff(np.diag(gram)) < 0).all()


@pytest.mark.parametrize("degree", [2, 3])
def test_forms_are_those_of_the_unrolled_training_along_the_points(spanned, degree):
    """By torch's own derivatives, nested; here at points on edges and, of degree three, inside."""
    found = spanned.informed
    points = lattice_points(found.leading, degree)
    assert {len(rows) for rows in found.weight_forms[degree - 2].values()} == {len(points)}
    for row in (1, 4):
        expected = unrolled.along(torch.from_numpy(points[row] @ found.directions[: found.leading]), degree)
        for name, rows in found.weight_forms[degree - 2].items():
            np.testing.assert_allclose(rows[row], expected[name], rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("p", [probe, scalar_probe], ids=["probe", "scalar"])
def test_pinned_or_not_a_probe_has_the_same_forms(spanned, p):
    name = {probe: "probe", scalar_probe: "scalar"}[p]
    pinned, evaluated = spanned.probe(name), uk.evaluate(spanned, recipe(), p)
    for one, other in zip(pinned.span.values, evaluated.span.values, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-12)
    assert [term.method for term in evaluated.predict(GONE, degree=3).terms[1:]] == [
        "exact on the span of 3 informed directions"
    ] * 2


def test_with_all_directions_each_degree_brings_it_nearer_to_real_retraining(tmp_path):
    """And what the probes are then is predicted as well."""
    bundle = make(tmp_path / "bundle", "sgd", informed=N, informed_degree=3, leading=N)
    real, trained = uk.retrain(recipe("sgd"), GONE, device="cpu"), bundle.model_state()
    truth = {name: array.numpy() for name, array in real.state_dict().items()}
    far = []
    for degree in (1, 2, 3):
        state = bundle.correction(GONE, degree=degree).state
        far.append(np.sqrt(sum(((state[name] - truth[name]) ** 2).sum() for name in truth)))
    kept = np.sqrt(sum(((trained[name] - truth[name]) ** 2).sum() for name in truth))
    assert kept > 3 * far[0] > 9 * far[1] > 18 * far[2]
    with torch.no_grad():
        expected = probe(real).numpy()
    off = [np.abs(bundle.probe("probe").predict(GONE, degree=r).value - expected).max() for r in (1, 2, 3)]
    assert off[0] > off[1] > off[2]


def test_a_stingy_memory_changes_nothing_beyond_rounding(few, tmp_path):
    least(lambda budget: make(tmp_path / "bundle", informed=3, memory_budget=budget))
    bundle = uk.Bundle.open(tmp_path / "bundle")
    for name in ("probe", "scalar"):
        np.testing.assert_allclose(bundle.probe(name).influences(), few.probe(name).influences(), rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def in_pieces(tmp_path_factory) -> tuple[uk.Bundle, list[str]]:
    """A bundle made with two directions at once, and the names of the pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizing, "SWEEP_LANES", 2)
        names = pieces(patch)
        return make(tmp_path_factory.mktemp("pieces") / "bundle", informed=3, informed_degree=2, leading=2), names


def test_pieces_change_nothing_beyond_rounding(few, in_pieces):
    bundle, names = in_pieces
    stages = ("pull-0", "push-1", "pull-1", "final", "degree-2")
    assert names == [f"{s}-{p}" for s in stages for p in ("0-2", "2-3")]
    for name in ("probe", "scalar"):
        np.testing.assert_allclose(bundle.probe(name).influences(), few.probe(name).influences(), rtol=1e-9, atol=1e-12)
    one, other = (b.corrected_model(model(), GONE, degree=1) for b in (bundle, few))
    assert all(torch.allclose(one[name], other[name], rtol=1e-11, atol=1e-13) for name in other)


def test_a_run_interrupted_in_every_stage_goes_on_to_the_same_bytes(in_pieces, tmp_path, monkeypatch):
    """Calls that go on may have other memory than the first. What is finished is not computed again."""
    whole, names = in_pieces
    shutil.copy(whole.path.parent / "pseudonym.key", tmp_path)
    finished: list[str] = []
    call = {"informed": 3, "informed_degree": 2, "leading": 2}
    for within in (1, 3, 5, 7, 9):  # pull, push, pull, push, push to degree two, in two pieces each
        with monkeypatch.context() as patch:
            if not finished:
                patch.setattr(sizing, "SWEEP_LANES", 2)
            stored = pieces(patch, within - len(finished))
            with pytest.raises(Stop):
                make(tmp_path / "bundle", **call)
        finished += stored
        assert finished == names[:within]
    assert not (tmp_path / "bundle").exists()
    again = pieces(monkeypatch)
    make(tmp_path / "bundle", **call)
    assert finished + again == names
    assert contents(tmp_path / "bundle") == contents(whole.path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle", "pseudonym.key"]


def test_repeating_a_finished_call_computes_nothing_and_another_is_refused(few, monkeypatch):
    monkeypatch.setattr(Stages, "_informed", lambda *_args, **_: pytest.fail("computed again"))
    assert make(few.path, informed=3).digest == few.digest
    others = ({"power_iterations": 2}, {"directions": 1}, {"informed_degree": 2})
    for changed in ({"informed": 2}, *({"informed": 3} | other for other in others)):
        with pytest.raises(FileExistsError, match="another bundle"):
            make(few.path, **changed)


def test_an_unfinished_sketch_refuses_other_informed_directions(tmp_path, monkeypatch):
    monkeypatch.setattr(sketching, "_publish", lambda *_: (_ for _ in ()).throw(Stop))
    with pytest.raises(Stop):
        make(tmp_path / "bundle", informed=2)
    with pytest.raises(RefusedError, match=r"informed=.*count=2.*, this call has .*count=3"):
        make(tmp_path / "bundle", informed=3)
    with pytest.raises(RefusedError, match=r"power_iterations=1.*, this call has .*power_iterations=0"):
        make(tmp_path / "bundle", informed=2, power_iterations=0)


def test_bad_calls_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=f"{N + 1} directions, expected at most one for each of {N} units"):
        make(tmp_path / "bundle", informed=N + 1)
    wrong = ({"power_iterations": -1}, {"informed_degree": -1}, {"informed_degree": 2, "leading": -1})
    for changed in ({"informed": -1, "directions": 1}, *({"informed": 1} | other for other in wrong)):
        with pytest.raises(ValueError, match="-1, expected at least"):
            make(tmp_path / "bundle", **changed)
    with pytest.raises(ValueError, match="no reverse sweeps and no informed directions"):
        make(tmp_path / "bundle", directions=np.eye(N, dtype=complex), seed=None, informed=2)
    assert not list(tmp_path.iterdir())


def test_the_stored_directions_are_guarded(few, tmp_path):
    copied = tmp_path / "bundle"
    shutil.copytree(few.path, copied)
    file = copied / "sketch" / "informed.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-3] ^= 1
    file.write_bytes(raw)
    with pytest.raises(DigestMismatchError, match=r"sketch/informed\.safetensors has SHA-256"):
        uk.Bundle.open(copied)


def test_the_corrected_model_is_the_trained_one_moved_along_the_directions(few):
    """``theta_0 + J Q Q'x``, by the dense Jacobian."""
    q = few.informed.directions
    moved = q.T @ q @ mask(*GONE)
    state = few.corrected_model(model(), GONE)
    trained = unrolled.train(torch.zeros(N, dtype=torch.float64))
    for name, jacobian in unrolled.jacobian().items():
        np.testing.assert_allclose(state[name], trained[name] + jacobian @ torch.from_numpy(moved), rtol=1e-9)
    assert torch.equal(state["second.weight"], state["first.weight"])  # tied
    assert torch.equal(state["last.bias"], model().last.bias)  # frozen
    assert torch.equal(state["shift"], model().shift)


@pytest.mark.parametrize("optimizer", ["momentum", "groups"])
def test_with_a_complete_basis_it_is_the_first_order_of_the_training(tmp_path, optimizer):
    """So for a small part of a unit it misses the real retraining by the second order."""
    bundle = make(tmp_path / "bundle", optimizer, informed=N)
    full, trained = bundle.corrected_model(model(), ["c"]), bundle.model_state()
    misses = []
    for weight in (1e-3, 2e-3):
        real = uk.retrain(recipe(optimizer), ["c"], weight=weight, device="cpu").state_dict()
        predicted = {name: trained[name] + weight * (full[name].numpy() - trained[name]) for name in trained}
        misses.append(np.sqrt(sum(((predicted[name] - real[name].numpy()) ** 2).sum() for name in trained)))
    assert misses[0] < 1e-4
    assert misses[1] / misses[0] == pytest.approx(4, rel=0.05)


def test_it_loads_and_predicts_what_the_sketch_predicts_up_to_what_is_not_linear(complete):
    m = model()
    m.load_state_dict(complete.corrected_model(m, GONE))
    assert m.second.weight is m.first.weight
    sketch = uk.evaluate(complete, recipe(), probe)
    with torch.no_grad():
        gap = np.abs(probe(m).numpy() - sketch.predict(GONE).value).max()
    assert gap < 0.3 * np.abs(sketch.predict(GONE).change).max()


def test_forward_sketches_predict_weights_at_degree_two_as_they_predict_probes(tmp_path):
    bundle = make(tmp_path / "bundle", directions=5, degree=2, keep_weights=True, chunk=2)
    state = bundle.corrected_model(model(), GONE, degree=2)
    psi, x = bundle.directions.block(0, 5), mask(*GONE)
    forms = np.einsum("ju,jv->juv", psi, psi).reshape(5, -1)
    forms = np.concatenate([forms.real, forms.imag])
    blocks = [tensors for _, _, tensors in bundle.weight_sketches()]
    trained = unrolled.train(torch.zeros(N, dtype=torch.float64))
    for name, jacobian in unrolled.jacobian().items():
        tails = np.concatenate([block[name][:, 1] for block in blocks])
        second = np.mean(
            [N * (N + 1) / 2 * np.real((p.conj() @ x) ** 2 * c) for p, c in zip(psi, tails, strict=True)], 0
        )
        first = (jacobian @ torch.from_numpy(x)).numpy()  # 2 x 5 measurements of 8: exact
        measured = np.concatenate([tails.real, tails.imag]).reshape(10, -1)
        plain = np.outer(x, x).ravel() @ np.linalg.lstsq(forms, measured, rcond=1e-9)[0]
        added = state[name].numpy() - trained[name].numpy() - first
        close = [np.isclose(added, found, rtol=1e-6, atol=1e-10) for found in (second, plain.reshape(second.shape))]
        assert np.any(close, axis=0).all()  # the average where it stands out, else the form of minimum norm
    assert np.isfinite(state.correction.sampling_noise)
    assert state.correction.sampling_noise > 0
    assert "average over 5 directions" in state.correction.explanation


def test_a_bundle_without_weight_sketches_predicts_no_model(tmp_path):
    bundle = make(tmp_path / "bundle", directions=1)
    with pytest.raises(RefusedError, match="kept no weight sketches"):
        bundle.corrected_model(model(), GONE)
    with pytest.raises(RefusedError, match="kept no weight sketches"):
        uk.evaluate(bundle, recipe(), probe)


def test_a_model_with_other_weights_is_refused(few):
    with pytest.raises(ValueError, match="does not fit the bundle"):
        few.corrected_model(torch.nn.Linear(2, 3), GONE)


def test_single_precision_finds_the_same_model(few, tmp_path):
    """Rounding may turn the directions, but not what a complete basis of them says."""
    bundle = make(tmp_path / "bundle", informed=N, dtype="float32")
    state = bundle.corrected_model(model().float(), GONE)
    trained = unrolled.train(torch.zeros(N, dtype=torch.float64))
    for name, jacobian in unrolled.jacobian().items():
        expected = trained[name] + jacobian @ torch.from_numpy(mask(*GONE))
        assert state[name].dtype == torch.float32
        np.testing.assert_allclose(state[name], expected, rtol=1e-4, atol=1e-5)
