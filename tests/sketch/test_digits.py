"""Against 80 real retrainings of a digits classifier: retraining gives them, and sketches predict them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from digits import PROBED, images, make_recipe, margins, scores
from torch.nn.functional import cross_entropy

import unlearnkit as uk


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


@pytest.mark.parametrize("directions", PROMISES)
def test_forward_sketches_predict_the_margins(truth, tmp_path, directions):
    bundle = uk.sketch(make_recipe(truth), tmp_path / "bundle", directions=directions, degree=2, seed=0, device="cpu")
    sketch = bundle.probe("margins")
    nothing = {"rand": 0.89, "class": 0.62}
    for kind, (lds, error) in zip(("rand", "class"), PROMISES[directions], strict=True):
        reached = scores(truth, kind, lambda masks: sketch.predict(masks).change)
        assert lds is None or reached[0] >= lds
        assert error is None or reached[1] <= error
        assert reached[1] < nothing[kind]


def test_reverse_sweeps_give_the_exact_first_order(truth, tmp_path):
    """As good as the best a first order can be, from a single forward direction."""
    exact = uk.AdjointSettings(rank=0, directions=0)
    bundle = uk.sketch(
        make_recipe(truth),
        tmp_path / "bundle",
        directions=1,
        degree=1,
        seed=0,
        device="cpu",
        adjoint={"margins": exact},
    )
    sketch = bundle.probe("margins")
    for kind, (lds, error) in (("rand", (0.97, 0.19)), ("class", (0.94, 0.18))):
        reached = scores(truth, kind, lambda masks: sketch.predict(masks).change)
        assert reached[0] >= lds
        assert reached[1] <= error
