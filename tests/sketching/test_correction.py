"""Corrected models against real retrainings: what is left of the distance, and of people's own losses."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from unlearnkit.examples import digits as example

import unlearnkit as uk
from tests.sketching.people import digits_recipe, distance, loaded, names_recipe, own_losses
from tests.training.calls import sketched
from tests.training.small import model, recipe
from unlearnkit.bundle import correction
from unlearnkit.canonical import sha256_hex
from unlearnkit.errors import AssumptionError, RefusedError
from unlearnkit.sketching.forward import ForwardSketching
from unlearnkit.training.run import make_run

SINGLES, FIVES, TWENTIES = 8, 3, 2


def drawn_sets(units: int) -> dict[int, list[list[int]]]:
    """Who leaves, by size; the same people again and again, so that few series are enough."""
    rng = np.random.default_rng(3)
    crowd = rng.choice(units, 30, replace=False)
    sizes = ((1, SINGLES), (5, FIVES), (20, TWENTIES))
    return {size: [sorted(rng.choice(crowd, size, replace=False).tolist()) for _ in range(n)] for size, n in sizes}


@dataclass(frozen=True)
class Truth:
    """Of one deletion: shares of the distance that remain, and own and test losses of kept, corrected, retrained."""

    share: float
    own: tuple[np.ndarray, np.ndarray, np.ndarray]
    test: tuple[float, float]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    made = digits_recipe()
    people = sorted({who for sets in drawn_sets(len(made.unit_names)).values() for leaving in sets for who in leaving})
    solo = uk.Solo(3, units=[made.unit_names[i] for i in people], keep_weights=True)
    path = tmp_path_factory.mktemp("digits") / "bundle"
    return made, uk.sketch(made, path, solo=solo, seed=0, device="cpu", progress=False)


def truth(made: uk.Recipe, bundle: uk.Bundle, leaving: list[int]) -> Truth:
    names = [made.unit_names[i] for i in leaving]
    kept = loaded(made, {n: torch.from_numpy(array.copy()) for n, array in bundle.model_state().items()})
    corrected = loaded(made, bundle.corrected_model(made.model, names))
    real = uk.retrain(made, delete=names, device="cpu").eval()
    own = tuple(own_losses(made, m)[leaving] for m in (kept, corrected, real))
    probe = made.probes.get("test_loss")
    with torch.no_grad():
        test = (0.0, 0.0) if probe is None else (float(probe(corrected)), float(probe(real)))
    return Truth(distance(corrected, real) / distance(kept, real), own, test)


def remaining(found: list[Truth]) -> float:
    """Sum of the absolute errors of own losses over the sum of their absolute changes."""
    kept, corrected, real = (np.concatenate([t.own[i] for t in found]) for i in range(3))
    return float(np.abs(corrected - real).sum() / np.abs(kept - real).sum())


@pytest.mark.parametrize(
    ("size", "share", "own", "test"), [(1, 0.01, 0.03, 0.0005), (5, 0.06, 0.05, 0.001), (20, 0.16, 0.08, 0.002)]
)
def test_it_is_nearly_the_model_that_retraining_gives(digits, size, share, own, test):
    made, bundle = digits
    found = [truth(made, bundle, leaving) for leaving in drawn_sets(len(made.unit_names))[size]]
    assert np.median([t.share for t in found]) <= share
    assert remaining(found) <= own
    assert max(abs(one - other) for one, other in (t.test for t in found)) <= test


def test_a_loss_threshold_tells_who_was_corrected_from_strangers_no_better_than_who_was_never_there(digits):
    """Sixty people are a benchmark. The area under the curve is that of Mann and Whitney."""
    made, bundle = digits
    images, labels = example.digits()
    strange, owner = (images[1000:], labels[1000:]), np.asarray(made.unit_of_example)
    areas: dict[str, list[np.ndarray]] = {"corrected": [], "retrained": []}
    for (who,) in drawn_sets(len(made.unit_names))[1]:
        name = made.unit_names[who]
        models = {
            "corrected": loaded(made, bundle.corrected_model(made.model, [name])),
            "retrained": uk.retrain(made, delete=[name], device="cpu").eval(),
        }
        own = tuple(part[torch.as_tensor(owner == who)] for part in made.dataset.parts)
        for kind, made_model in models.items():
            with torch.no_grad():
                mine, others = (made.loss(made_model, batch).numpy() for batch in (own, strange))
            areas[kind].extend((loss < others).mean() for loss in mine)
    corrected, retrained = (float(np.mean(areas[kind])) for kind in ("corrected", "retrained"))
    left, strangers = len(areas["corrected"]), len(strange[1])
    error = np.sqrt((left + strangers + 1) / (12 * left * strangers))
    assert abs(corrected - retrained) < error / 10


def test_predictions_of_the_probes_and_the_verdict_stand_beside_it(digits):
    made, bundle = digits
    leaving = [made.unit_names[i] for i in drawn_sets(len(made.unit_names))[5][0]]
    state = bundle.corrected_model(made.model, leaving)
    assert state.correction.convergence == "converging"
    assert 0 < state.correction.ratio < 1
    assert set(state.predictions) == set(bundle.probe_names)
    expected = bundle.probe("test_loss").predict(leaving).value
    np.testing.assert_array_equal(state.predictions["test_loss"].value, expected)


def test_where_the_series_diverges_it_is_refused_and_would_have_been_worse_than_nothing(tmp_path, monkeypatch):
    made = recipe("adam", epochs=20)
    bundle = sketched(made, tmp_path / "bundle", directions=0, solo=uk.Solo(3, keep_weights=True), seed=1, device="cpu")
    with pytest.raises(AssumptionError, match="diverges without 1 unit: the ratio of a degree to the one before is 1,"):
        bundle.corrected_model(made.model, ["d"])
    monkeypatch.setattr(correction, "_require_reach", lambda *_: None)
    real, kept = (uk.retrain(made, delete=delete, device="cpu").eval() for delete in (["d"], []))
    assert distance(loaded(made, bundle.corrected_model(made.model, ["d"])), real) > distance(kept, real)


def test_several_who_are_within_reach_alone_may_not_be_together(tmp_path):
    made = recipe("sgd", epochs=60)
    bundle = sketched(made, tmp_path / "bundle", directions=0, solo=uk.Solo(3, keep_weights=True), seed=1, device="cpu")
    two = ["a", "b"]
    alone = [bundle.correction([name]).ratio for name in two]
    assert bundle.correction(two).ratio == pytest.approx(np.hypot(*alone))
    with pytest.raises(AssumptionError, match="diverges without 3 units together") as caught:
        bundle.correction(["a", "c", "d"])
    assert "fewer may be within its reach" in caught.value.hint


@pytest.mark.parametrize(("optimizer", "most"), [("sgd", 0.01), ("adamw", 0.05)])
def test_a_gpt_forgets_what_it_knew_of_people(optimizer, most, tmp_path):
    """With AdamW some coordinates diverge, and the choice of terms is made without being told of the optimizer."""
    made = names_recipe(optimizer)
    people = sorted(np.random.default_rng(0).choice(len(made.unit_names), 8, replace=False).tolist())
    solo = uk.Solo(3, units=[made.unit_names[i] for i in people], keep_weights=True)
    bundle = uk.sketch(made, tmp_path / "bundle", solo=solo, reverse={}, seed=0, device="cpu", progress=False)
    assert remaining([truth(made, bundle, [who]) for who in people]) <= most


@cache
def names() -> list[str]:
    return list(recipe().unit_names)


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> uk.Bundle:
    """Series of some people's weights, and informed directions for all."""
    solo = uk.Solo(3, units=names()[:3], keep_weights=True)
    path = tmp_path_factory.mktemp("both") / "bundle"
    return sketched(recipe(), path, directions=0, informed=4, solo=solo, seed=1, dtype="float64", device="cpu")


def test_series_answer_for_those_who_have_one_and_informed_directions_for_the_others(both):
    few, others = names()[:2], names()[3:5]
    base, together = both.model_state(), both.correction(few + others)
    parts = [both.correction(part).state for part in (few, others)]
    for name, array in together.state.items():
        np.testing.assert_allclose(array, parts[0][name] + parts[1][name] - base[name], rtol=1e-12, atol=1e-14)
    assert together.convergence == "unknown"
    assert "series along each alone" in together.explanation
    assert "exact along 4 informed directions" in together.explanation


@pytest.fixture(scope="module")
def spanned(tmp_path_factory) -> uk.Bundle:
    """Series of some people's weights, and for all degree two on the span of all informed directions."""
    solo = uk.Solo(3, units=names()[:3], keep_weights=True)
    path = tmp_path_factory.mktemp("spanned") / "bundle"
    informed = {"informed": len(names()), "informed_degree": 2}
    return sketched(recipe(), path, directions=0, **informed, solo=solo, seed=1, dtype="float64", device="cpu")


def test_of_those_with_series_the_span_tells_what_they_do_to_one_another(spanned):
    """``f_2(e_a + e_b) - f_2(e_a) - f_2(e_b)``, and the third degree of each: by real jets along both together."""
    two = names()[:2]
    made = make_run(recipe(), "float64", "cpu")
    rows = torch.zeros(3, len(names()), dtype=torch.float64)
    rows[0, 0] = rows[1, 1] = rows[2, 0] = rows[2, 1] = 1
    outcome = ForwardSketching(made, 3).along(rows)
    base, state = spanned.model_state(), spanned.correction(two)
    for name in made.trained_names:
        one, other, together = outcome.tail(name)
        expected = together[0] + together[1] + one[2] + other[2]
        np.testing.assert_allclose(state.state[name] - base[name], expected, rtol=1e-7, atol=1e-10)
    assert state.explanation.endswith(
        f"Of 2 units together degree 2 on the span of {len(names())} informed directions; the rest is left out."
    )
    assert state.convergence == "converging"


def test_a_single_unit_with_a_series_owes_nothing_to_the_span(spanned, both):
    """The very bytes."""
    one, other = (bundle.correction(names()[:1]) for bundle in (spanned, both))
    assert one.to_bytes() == other.to_bytes()
    assert "together" not in one.explanation


def test_those_with_series_and_those_without_are_one_deletion_on_the_span(spanned):
    """To degree two all is exact: real jets along everybody together; of the one with a series its third, too."""
    leaving = [names()[2], *names()[4:6]]
    made = make_run(recipe(), "float64", "cpu")
    rows = torch.zeros(2, len(names()), dtype=torch.float64)
    rows[0, 2] = rows[1, 2] = rows[1, 4] = rows[1, 5] = 1
    outcome = ForwardSketching(made, 3).along(rows)
    base, state = spanned.model_state(), spanned.correction(leaving)
    for name in made.trained_names:
        alone, together = outcome.tail(name)
        np.testing.assert_allclose(
            state.state[name] - base[name], together[0] + together[1] + alone[2], rtol=1e-7, atol=1e-10
        )
    assert "Of 1 unit the series along each alone" in state.explanation
    assert "Of 2 units the first order" in state.explanation
    assert "Of 3 units together degree 2" in state.explanation


def test_a_unit_alone_is_moved_by_its_series(both):
    base, series = both.model_state(), both.solo.weights(np.array([1]))
    for degree in (1, 2, 3):
        state = both.correction([names()[1]], degree=degree).state
        for name, rows in series.items():
            np.testing.assert_allclose(state[name], base[name] + rows[0, :degree].sum(0), rtol=1e-13)


def test_tied_weights_stay_tied_and_frozen_ones_as_they_were(both):
    state = both.correction(names()[:2]).state
    np.testing.assert_array_equal(state["first.weight"], state["second.weight"])
    np.testing.assert_array_equal(state["last.bias"], model().last.bias.detach())


@pytest.mark.parametrize("kind", ["both", "spanned"])
def test_whoever_holds_the_bundle_makes_the_same_bytes_without_torch(kind, request):
    both, leaving = request.getfixturevalue(kind), names()[:4]
    code = (
        "import sys; from unlearnkit.bundle import Bundle; from unlearnkit.canonical import sha256_hex\n"
        f"raw = Bundle.open({str(both.path)!r}).correction({leaving[::-1]!r}).to_bytes()\n"
        "assert 'torch' not in sys.modules; print(sha256_hex(raw))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == sha256_hex(both.correction(leaving).to_bytes())
    assert both.correction(leaving).reproducible


def test_what_nothing_is_known_of_is_refused(tmp_path):
    solo = uk.Solo(2, units=names()[:2], keep_weights=True)
    bundle = sketched(recipe(), tmp_path / "bundle", directions=0, solo=solo, seed=1, device="cpu")
    with pytest.raises(RefusedError, match="kept no weight sketches of 1 unit that") as caught:
        bundle.correction(names()[:3])
    assert "Solo(keep_weights=True)" in caught.value.hint
