"""Series along units alone, against derivatives of the unrolled training and real retrainings."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.polynomial import chebyshev
from torch.nn.functional import cross_entropy

import unlearnkit as uk
from tests.sketching import unrolled
from tests.sketching.budgets import least
from tests.training.calls import sketched
from tests.training.pieces import Stop, contents, pieces
from tests.training.small import OWNERS, X, Y, probe, recipe, scalar_probe
from unlearnkit.errors import EstimationError, RefusedError, UnknownNameError
from unlearnkit.sketching import asked, sizing, solo
from unlearnkit.sketching.settings import FIRST_ORDER

N = unrolled.UNITS
CALL = {"directions": 0, "seed": 1, "dtype": "float64", "device": "cpu"}
PROBES = {"probe": probe, "scalar": scalar_probe, "own_loss": uk.OwnLoss()}
UNIT_NAMES = recipe().unit_names
REACH = 0.2  # of the weights that a polynomial is fitted on


def own(m: torch.nn.Module) -> torch.Tensor:
    """Own losses, written out: for torch.func."""
    losses = cross_entropy(m(X), Y, reduction="none")
    owned = [[str(owner) == name for owner in OWNERS] for name in UNIT_NAMES]
    share = torch.tensor(owned, dtype=losses.dtype)
    return share @ losses / share.sum(1)


def make(path: Path, optimizer: str = "momentum", **changed) -> uk.Bundle:
    settings = {"solo": uk.Solo(3)} | CALL | changed
    return sketched(recipe(optimizer, probes=PROBES), path, **settings)


@cache
def trainings(direction: tuple[float, ...], optimizer: str) -> list[unrolled.Weights]:
    """The weights at nine points of a line."""
    x = torch.tensor(direction, dtype=torch.float64)
    return [unrolled.train(REACH * t * x, optimizer) for t in chebyshev.chebpts1(9)]


@cache
def line(p, direction: tuple[float, ...], optimizer: str) -> np.ndarray:
    """Coefficients 0..8 of ``f(t x)``, ``[9, *P]``: of the polynomial through plain trainings of the unrolled loop."""
    with torch.no_grad():
        values = [unrolled.probed(p, weights).numpy() for weights in trainings(direction, optimizer)]
    fitted = chebyshev.chebfit(chebyshev.chebpts1(9), np.reshape(values, (9, -1)), 8)
    powers = np.stack([chebyshev.cheb2poly(column) for column in fitted.T], axis=1)
    return (powers / REACH ** np.arange(9)[:, None]).reshape(9, *values[0].shape)


def along(p, unit: int, degree: int, optimizer: str = "momentum") -> np.ndarray:
    """``f_r(e_u)`` of the unrolled loop, ``[*P]``."""
    return line(p, tuple(np.eye(N)[unit]), optimizer)[degree]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> uk.Bundle:
    """All units to degree three, with the weights."""
    return make(tmp_path_factory.mktemp("whole") / "bundle", solo=uk.Solo(3, keep_weights=True))


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("unit", [0, 2, 6])
def test_they_are_the_derivatives_of_the_unrolled_loop(whole, unit, degree):
    for name, p in (("probe", probe), ("scalar", scalar_probe)):
        found = whole.solo.probes[name][unit, degree - 1]
        np.testing.assert_allclose(found, along(p, unit, degree), rtol=1e-6, atol=1e-10)
    assert whole.solo.probes["own_loss"].shape == (N, 3)
    own_element = whole.solo.probes["own_loss"][unit, degree - 1]
    np.testing.assert_allclose(own_element, along(own, unit, degree)[unit], rtol=1e-6, atol=1e-10)


def test_they_give_the_exact_gradient_of_every_probe(whole):
    for name, p in (("probe", probe), ("scalar", scalar_probe)):
        expected = np.moveaxis(unrolled.gradient(p).numpy(), -1, 0)
        np.testing.assert_allclose(whole.probe(name).influences(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["sgd", "groups"])
def test_other_rules_too(tmp_path, optimizer):
    bundle = make(tmp_path / "bundle", optimizer, solo=uk.Solo(2, units=["b", 7]))
    for row, unit in enumerate((1, 6)):
        for degree in (1, 2):
            expected = along(scalar_probe, unit, degree, optimizer)
            np.testing.assert_allclose(bundle.solo.probes["scalar"][row, degree - 1], expected, rtol=1e-6, atol=1e-10)


def test_the_prediction_of_a_single_person_misses_retraining_by_the_fourth_degree(whole):
    r, errors = recipe(probes=PROBES), []
    for weight in (0.2, 0.4):
        m = uk.retrain(r, ["c"], weight=weight, device="cpu").eval()
        with torch.no_grad():
            real = probe(m).numpy(), float(own(m)[2])
        found = whole.probe("probe").predict(["c"], weight=weight, degree=3)
        assert not np.any(found.standard_error)
        theirs = whole.probe("own_loss").of(np.array([2])).predict(["c"], weight=weight, degree=3)
        errors.append((np.abs(found.value - real[0]).max(), abs(theirs.value[0] - real[1])))
    assert errors[1][0] / errors[0][0] == pytest.approx(16, rel=0.25)
    assert errors[1][1] / errors[0][1] == pytest.approx(16, rel=0.25)


def test_the_weights_are_the_series_of_the_unrolled_loop(whole):
    kept = whole.solo.weights(np.array([3, 0]))
    jacobian = unrolled.jacobian()
    assert kept.keys() == jacobian.keys()
    for name, array in kept.items():
        expected = np.moveaxis(jacobian[name].numpy(), -1, 0)[[3, 0]]
        np.testing.assert_allclose(array[:, 0], expected, rtol=1e-9, atol=1e-12)
    half = {
        name: array[:1].astype(float) * np.array([0.5, 0.25, 0.125]).reshape(1, 3, *(1,) * (array.ndim - 2))
        for name, array in kept.items()
    }
    real = dict(uk.retrain(recipe(), [UNIT_NAMES[3]], weight=0.5, device="cpu").named_parameters())
    for name, array in half.items():
        predicted = whole.model_state()[name] + array.sum((0, 1))
        moved = np.abs(array).max()
        np.testing.assert_allclose(predicted, real[name].detach().numpy(), atol=0.02 * moved)


def test_own_losses_of_several_people_rest_on_their_series_and_on_what_they_do_to_one_another(tmp_path):
    bundle = make(tmp_path / "bundle", reverse={"own_loss": FIRST_ORDER})
    people = ["d", "a", 7]
    at = [UNIT_NAMES.index(str(name)) for name in people]
    gradient = unrolled.gradient(own).numpy()
    expected = [gradient[u, at].sum() + along(own, u, 2)[u] + along(own, u, 3)[u] for u in at]
    found = bundle.own_loss(people)
    np.testing.assert_allclose(found.change, expected, rtol=1e-7)
    np.testing.assert_allclose(bundle.probe("own_loss").reverse.gradient, gradient, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(bundle.own_loss(["a"]).change, [sum(along(own, 0, r)[0] for r in (1, 2, 3))], rtol=1e-7)


def test_own_losses_get_cross_terms_of_second_order_from_a_low_rank(tmp_path):
    """With a complete basis nothing is missing at degree two."""
    reverse = {"own_loss": uk.Reverse(rank=N, residual=0)}
    bundle = make(tmp_path / "bundle", reverse=reverse, solo=uk.Solo(2))
    at = [3, 0]
    hessian = unrolled.hessian(own).numpy()
    expected = [hessian[u][np.ix_(at, at)].sum() / 2 for u in at]
    np.testing.assert_allclose(bundle.own_loss(["d", "a"]).terms[1].value, expected, rtol=1e-7)


def test_own_losses_by_informed_directions_state_their_error(tmp_path):
    """For many units: slopes of own losses along a few directions; random ones tell what these leave out."""
    r = recipe(probes=PROBES)
    bundle = sketched(r, tmp_path / "bundle", **{**CALL, "directions": 2, "degree": 1, "informed": 2})
    gradient = unrolled.gradient(own).numpy()
    found = bundle.own_loss(list(UNIT_NAMES[:4]))
    exact = gradient[:4, :4].sum(1)
    assert (found.standard_error > 0).all()
    assert (np.abs(found.change - exact) < 5 * found.standard_error).all()
    informed = bundle.informed
    np.testing.assert_allclose(informed.probes["own_loss"], informed.directions @ gradient.T, rtol=1e-8, atol=1e-11)


def test_a_low_rank_gets_its_exact_diagonal_from_them(tmp_path):
    reverse = {"scalar": uk.Reverse(rank=1, residual=2)}
    sketch = make(tmp_path / "bundle", reverse=reverse).probe("scalar")
    for unit in (0, 2, 6):
        found = sketch.predict(np.eye(N)[[unit]], degree=3)
        for r in (1, 2, 3):
            np.testing.assert_allclose(found.terms[r - 1].value[0], along(scalar_probe, unit, r), rtol=1e-6, atol=1e-10)
        assert not found.standard_error.any()


def test_a_complete_basis_makes_the_third_order_exact(tmp_path):
    reverse = {"scalar": uk.Reverse(rank=N, residual=0, cubic=N)}
    sketch = make(tmp_path / "bundle", reverse=reverse, solo=None).probe("scalar")
    x = np.random.default_rng(0).random(N)
    term = sketch.predict(x[None], degree=3).terms[2]
    np.testing.assert_allclose(term.value[0], line(scalar_probe, tuple(x), "momentum")[3], rtol=1e-6)
    assert np.isnan(term.standard_error).all()


def test_a_list_of_units_gives_these_alone(tmp_path, whole):
    """Whatever the order they are named in; others are refused where nothing else is known of them."""
    bundle = make(tmp_path / "bundle", solo=uk.Solo(2, units=["f", "a"]))
    assert bundle.manifest.solo.units == (0, 5)
    np.testing.assert_allclose(
        bundle.solo.probes["probe"], whole.solo.probes["probe"][[0, 5], :2], rtol=1e-9, atol=1e-14
    )
    one, other = (b.probe("probe").predict(["f"], degree=2) for b in (bundle, whole))
    np.testing.assert_allclose(one.change, other.change, rtol=1e-9)
    with pytest.raises(EstimationError, match="series along 2 units alone, and nothing of others"):
        bundle.probe("probe").predict(["a", "b"])


def test_lanes_change_nothing_beyond_rounding_and_pieces_go_on_to_the_same_bytes(tmp_path, monkeypatch, whole):
    """Three units at once; the power goes off after each piece, and what is finished is not computed again."""
    monkeypatch.setattr(sizing, "SOLO_LANES", {"cpu": 3})
    settings = {"solo": uk.Solo(3, keep_weights=True)}
    names: list[str] = []
    shutil.copy(whole.path.parent / "pseudonym.key", tmp_path)
    for _ in range(2):
        with monkeypatch.context() as patch:
            stored = pieces(patch, 1)
            with pytest.raises(Stop):
                make(tmp_path / "bundle", **settings)
            names += stored
    again = pieces(monkeypatch)
    bundle = make(tmp_path / "bundle", **settings)
    assert (names, again) == (["0-3", "3-6"], ["6-8"])
    for name, array in bundle.solo.probes.items():
        np.testing.assert_allclose(array, whole.solo.probes[name], rtol=1e-8, atol=1e-13)
    (tmp_path / "other").mkdir()
    shutil.copy(whole.path.parent / "pseudonym.key", tmp_path / "other")
    assert contents(make(tmp_path / "other" / "bundle", **settings).path) == contents(bundle.path)
    kept = bundle.solo.weights(np.array([7, 2, 4]))
    for name, array in whole.solo.weights(np.array([7, 2, 4])).items():
        np.testing.assert_allclose(kept[name], array, rtol=1e-8, atol=1e-13)


def test_a_small_memory_takes_fewer_units_at_once(tmp_path, monkeypatch):
    sizes: list[int] = []
    compute = solo.SoloSketching._along
    monkeypatch.setattr(
        solo.SoloSketching, "_along", lambda self, a, b, p: sizes.append(b - a) or compute(self, a, b, p)
    )
    least(lambda budget: make(tmp_path / "bundle", solo=uk.Solo(1), memory_budget=budget))
    assert sizes == [1] * N


def test_repeating_a_finished_call_computes_nothing_and_another_is_refused(whole, monkeypatch):
    monkeypatch.setattr(solo.SoloSketching, "compute", lambda *_: pytest.fail("computed again"))
    assert make(whole.path, solo=uk.Solo(3, keep_weights=True)).digest == whole.digest
    for other in (uk.Solo(3), uk.Solo(2, keep_weights=True), uk.Solo(3, ["a"], keep_weights=True)):
        with pytest.raises(FileExistsError, match="another bundle"):
            make(whole.path, solo=other)


def test_single_precision_finds_the_same(tmp_path, whole):
    bundle = make(tmp_path / "bundle", dtype="float32", solo=uk.Solo(2, keep_weights=True))
    for name, array in bundle.solo.probes.items():
        np.testing.assert_allclose(array, whole.solo.probes[name][:, :2], rtol=1e-2, atol=1e-5)
    assert {array.dtype for array in bundle.solo.weights(np.array([1])).values()} == {np.dtype(np.float32)}


def test_bad_settings_are_refused_before_anything_is_written(tmp_path, whole):
    for settings, message in (({"degree": 0}, "degree=0"), ({"units": []}, "units=\\[\\]"), ({"units": "ann"}, "list")):
        with pytest.raises(ValueError, match=message):
            uk.Solo(**settings)
    with pytest.raises(UnknownNameError, match="solo: the recipe has no unit 'nobody'"):
        make(tmp_path / "bundle", solo=uk.Solo(2, units=["a", "nobody"]))
    with pytest.raises(ValueError, match="named more than once"):
        make(tmp_path / "bundle", solo=uk.Solo(2, units=["7", 7]))
    with pytest.raises(ValueError, match="cubic=3 with rank=2"):
        uk.Reverse(rank=2, cubic=3)
    assert not list(tmp_path.iterdir())
    with pytest.raises(RefusedError, match="no own losses"):
        sketched(recipe(), tmp_path / "other", **CALL, solo=uk.Solo(1)).own_loss(["a"])


def test_own_losses_of_very_many_people_are_not_swept_by_default(monkeypatch):
    r = recipe(probes=PROBES)
    nothing = (None, None, None, None, None, None)
    assert asked.Asked.of(r, *nothing).reverse == dict.fromkeys(PROBES, FIRST_ORDER)
    monkeypatch.setattr(asked, "MOST_SWEPT", N)
    assert asked.Asked.of(r, *nothing).reverse.keys() == {"probe", "scalar"}


def many_people() -> uk.Recipe:
    """Ten thousand people with one example each, and a line through them: three weights."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(10_000, 2, generator=generator, dtype=torch.float64)
    y = x @ torch.tensor([1.0, -2.0], dtype=torch.float64) + torch.randn(
        10_000, generator=generator, dtype=torch.float64
    )
    model = torch.nn.Linear(2, 1).double()
    return uk.Recipe(
        name="many people",
        model=model,
        loss=lambda m, batch: (m(batch[0]).squeeze(1) - batch[1]) ** 2,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        data=(x, y),
        units=[f"p{i}" for i in range(10_000)],
        epochs=1,
        batch_size=500,
        probes={"own_loss": uk.OwnLoss()},
    )


@pytest.mark.parametrize("informed", [3, 1])
def test_own_losses_of_ten_thousand_people_are_predicted_by_informed_directions(tmp_path, informed):
    """As many as there are weights leave nothing out; of fewer the stated error tells."""
    r, people = many_people(), ["p7", "p4000", "p9999"]
    bundle = sketched(r, tmp_path / "bundle", **{**CALL, "directions": 8, "degree": 1}, informed=informed)
    assert bundle.manifest.reverse == ()
    at = [r.unit_names.index(name) for name in people]
    base = bundle.probe("own_loss").base[at]
    true = np.empty(3)
    for i, name in enumerate(people):
        with torch.no_grad():
            true[i] = r.probes["own_loss"](uk.retrain(r, [name]))[at[i]] - base[i]
    found = [bundle.own_loss([name]) for name in people]
    error = np.abs(np.concatenate([prediction.change for prediction in found]) - true)
    stated = np.concatenate([prediction.standard_error for prediction in found])
    exact = informed == 3
    np.testing.assert_array_less(error, 0.01 * np.abs(true) if exact else 4 * stated)
    assert ((stated < 1e-3 * np.abs(true)) if exact else (stated > 0)).all()
