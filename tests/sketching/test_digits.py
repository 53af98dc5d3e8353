"""Against 80 real retrainings of a digits classifier: retraining gives them, and sketches predict them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import betabinom
from torch.nn.functional import cross_entropy

import unlearnkit as uk
from tests.sketching.digits import PROBED, images, make_recipe, margins, scores
from tests.training.calls import sketched
from unlearnkit.bundle import Directions
from unlearnkit.estimation import Projection
from unlearnkit.estimation.conformal import conformal_quantile, scale


def test_retraining_reproduces_every_reference_run(truth):
    recipe = make_recipe(truth)
    x, y = images()
    x, y = x[truth["test_idx"]], y[truth["test_idx"]]

    def outputs(delete) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        model = uk.retrain(recipe, delete=delete, dtype="float64", device="cpu")
        with torch.no_grad():
            logits = model(x)
            loss = cross_entropy(logits, y, reduction="none").numpy()
            return loss, margins(logits, y).numpy(), {k: v.numpy() for k, v in model.state_dict().items()}

    loss, margin, weights = outputs(())
    ends = {"0.weight": "fW1", "0.bias": "fb1", "2.weight": "fW2", "2.bias": "fb2"}
    assert max(np.abs(weights[name] - truth[theirs]).max() for name, theirs in ends.items()) < 1e-9
    assert np.abs(loss - truth["base_loss"]).max() < 1e-9
    assert np.abs(margin - truth["base_margin"]).max() < 1e-9
    for kind in ("rand", "class"):
        for mask, true_loss, true_margin in zip(
            truth[f"masks_{kind}"], truth[f"{kind}_loss"], truth[f"{kind}_margin"], strict=True
        ):
            loss, margin, _ = outputs(np.flatnonzero(mask).tolist())
            assert np.abs(loss[:PROBED] - true_loss).max() < 1e-9
            assert np.abs(margin[:PROBED] - true_margin).max() < 1e-9


# directions: LDS and error of random deletions, of class deletions; None: not promised
PROMISES = {
    512: ((0.97, 0.19), (0.94, 0.18)),
    256: ((0.58, 0.70), (None, None)),
    128: ((None, 0.85), (None, 0.60)),
}


@pytest.fixture(scope="module")
def forward(truth, tmp_path_factory) -> uk.Bundle:
    """As many directions as are promised anything; the first of them are a sketch of their own."""
    path = tmp_path_factory.mktemp("forward") / "bundle"
    return sketched(make_recipe(truth), path, directions=max(PROMISES), degree=2, seed=0, device="cpu")


@pytest.mark.parametrize("directions", PROMISES)
def test_forward_sketches_predict_the_margins(truth, forward, directions):
    whole = forward.probe("margins")
    projection = Projection(Directions.explicit(forward.directions.block(0, directions)))
    sketch = replace(whole, coefficients=whole.coefficients[:directions], projection=projection)
    nothing = {"rand": 0.89, "class": 0.62}
    for kind, (lds, error) in zip(("rand", "class"), PROMISES[directions], strict=True):
        reached = scores(truth, kind, lambda masks: sketch.predict(masks).change)
        assert lds is None or reached[0] >= lds
        assert error is None or reached[1] <= error
        assert reached[1] < nothing[kind]


@pytest.fixture(scope="module")
def swept(truth, tmp_path_factory) -> uk.Bundle:
    """Reverse sweeps alone, without a single forward direction."""
    return sketched(
        make_recipe(truth),
        tmp_path_factory.mktemp("swept") / "bundle",
        directions=0,
        seed=0,
        device="cpu",
        reverse={"margins": uk.Reverse(rank=64, residual=32)},
    )


# degree: LDS and error of random deletions, of class deletions. The first is the best that a first order can be.
SWEPT = {
    1: ((0.976, 0.185), (0.949, 0.175)),
    2: ((0.991, 0.082), (0.975, 0.09)),
}


@pytest.mark.parametrize("degree", SWEPT)
def test_reverse_sweeps_predict_the_margins(truth, swept, degree):
    sketch = swept.probe("margins")
    for kind, (lds, error) in zip(("rand", "class"), SWEPT[degree], strict=True):
        reached = scores(truth, kind, lambda masks: sketch.predict(masks, degree=degree).change)
        assert reached[0] >= lds
        assert reached[1] <= error


@pytest.mark.parametrize(("kind", "delta", "widest"), [("rand", 0.1, 0.5), ("class", 0.2, 0.9)])
def test_real_margins_fall_inside_audited_intervals_of_degree_two(truth, swept, kind, delta, widest):
    """Every other retraining calibrates; of those between them, the promised share has all 40 margins inside."""
    sketch, masks = swept.probe("margins"), truth[f"masks_{kind}"].astype(float)
    changes = truth[f"{kind}_margin"] - truth["base_margin"][:PROBED]
    prediction = sketch.predict(masks)
    sigma = scale(sketch, masks, prediction)
    errors = np.abs(sketch.base + changes - prediction.value)
    quantile = conformal_quantile((errors / sigma).max(1)[::2], delta)
    epsilon, tested = quantile * sigma[1::2], len(masks[1::2])
    inside = int((errors[1::2] <= epsilon).all(1).sum())
    calibrated = len(masks[::2])
    rank = int(np.ceil((calibrated + 1) * (1 - delta)))
    # The law of the count is a beta mixture of binomials; fewer than its 0.1 % quantile is not chance.
    assert inside >= betabinom(tested, rank, calibrated + 1 - rank).ppf(0.001)
    width = float(np.mean(epsilon / changes.std(0)))
    assert width <= widest


def test_certified_intervals_of_degree_two_are_of_the_size_of_the_changes(truth, swept):
    """What the low rank leaves out is small, and the 32 directions that bound it were not used to find it."""
    sketch, masks = swept.probe("margins"), truth["masks_rand"].astype(float)
    bound = sketch.bound(masks, 0.05)
    assert bound.degree == 2
    assert bound.covers == ("sampling",)
    width = float(np.mean(bound.epsilon / truth["rand_margin"].std(0)))
    assert width <= 1.5


# informed directions: the same, of margins that nobody named when they were found
INFORMED = {
    128: ((0.77, 0.49), (0.75, 0.35)),
    256: ((0.92, 0.28), (0.87, 0.25)),
}


@pytest.mark.parametrize("count", INFORMED)
def test_informed_directions_predict_margins_that_nobody_pinned(truth, tmp_path, count):
    """As well as the models do that they predict, whose margins are those of real weights."""
    recipe = make_recipe(truth)
    bundle = sketched(recipe, tmp_path / "bundle", directions=0, informed=count, seed=0, device="cpu")
    x, y = images()
    x, y = x[truth["test_idx"][:PROBED]].float(), y[truth["test_idx"][:PROBED]]
    sketch = uk.evaluate(bundle, recipe, lambda model: margins(model(x), y))
    model = make_recipe(truth).model.float()

    def of_corrected_models(masks: np.ndarray) -> np.ndarray:
        found = []
        for mask in masks:
            model.load_state_dict(bundle.corrected_model(model, np.flatnonzero(mask).tolist()))
            with torch.no_grad():
                found.append(margins(model(x), y).numpy() - sketch.base)
        return np.array(found)

    for kind, (lds, error) in zip(("rand", "class"), INFORMED[count], strict=True):
        reached = scores(truth, kind, lambda masks: sketch.predict(masks).change)
        assert reached[0] >= lds
        assert reached[1] <= error
        of_models = scores(truth, kind, of_corrected_models)
        assert of_models[0] == pytest.approx(reached[0], abs=0.02)
        assert of_models[1] == pytest.approx(reached[1], abs=0.04)


def test_series_alone_with_a_small_rank_and_a_cubic_form_are_sharper_than_many_more_columns(truth, tmp_path):
    """Six margins; of all forty see benchmarks. Without series and cubic form rank 16 is off by far more."""
    settings = {"reverse": {"margins": uk.Reverse(rank=16, residual=0, cubic=4)}, "solo": uk.Solo(3), "seed": 0}
    recipe = make_recipe(truth, probed=6).replace(probes={"margins": make_recipe(truth, probed=6).probes["margins"]})
    bundle = uk.sketch(recipe, tmp_path / "bundle", dtype="float32", device="cpu", progress=False, **settings)
    sketch = bundle.probe("margins")
    for kind, most in (("rand", 0.088), ("class", 0.088)):
        assert scores(truth, kind, lambda masks: sketch.predict(masks).change)[1] <= most
