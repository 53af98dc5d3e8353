"""Probes: any function of the trained model, in the precision of the run, pinned or asked for later."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import unlearnkit as uk
from tests.training.calls import sketched
from tests.training.small import X, Y, recipe
from unlearnkit.errors import NonFiniteError, PiecewiseOpsError

TARGETS = torch.linspace(-1, 1, 12, dtype=torch.float64)
PROBES = {
    "double_targets": lambda m: (m(X)[:, 0] - TARGETS).square().mean(),
    "single_targets": lambda m: (m(X)[:, 0] - TARGETS.float()).square(),
    "no_weight": lambda m: X.sum(1),
    "a_weight": lambda m: m.last.weight,
    "half": lambda m: m(X[:2]).half(),
    "noisy": lambda m: m(torch.randn(5, 4, dtype=torch.float64)).square().sum(0),
    "dropping": lambda m: torch.nn.functional.dropout(m(X), 0.5).sum(),
    "nothing": lambda m: m(X)[:0],
    "scalar": lambda m: m(X).mean(),
}
CALL = {"directions": 4, "degree": 2, "seed": 0, "device": "cpu", "keep_weights": True, "chunk": 3}


@pytest.fixture(scope="module", params=["float32", "float64"])
def bundle(request, tmp_path_factory):
    return sketched(recipe(probes=PROBES), tmp_path_factory.mktemp("b") / "bundle", dtype=request.param, **CALL)


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_asked_for_later_is_the_pinned_one(bundle, name):
    pinned, later = bundle.probe(name), uk.evaluate(bundle, recipe(probes=PROBES), PROBES[name])
    tolerance = {"float32": 2e-6, "float64": 1e-10}[bundle.manifest.dtype] if name != "half" else 1e-3
    assert pinned.coefficients.shape == later.coefficients.shape == (4, 2, *pinned.base.shape)
    assert np.allclose(later.base, pinned.base, rtol=tolerance, atol=tolerance)
    assert np.allclose(later.coefficients, pinned.coefficients, rtol=tolerance, atol=tolerance)


def test_probes_see_the_trained_model_in_eval_mode(bundle):
    trained = bundle.load_model(recipe().model).eval()
    with torch.no_grad():
        for name in ("double_targets", "no_weight", "a_weight", "scalar"):
            expected = PROBES[name](trained).numpy()
            assert np.allclose(bundle.probe(name).base, expected, atol=1e-6)
    assert not bundle.probe("no_weight").coefficients.any()


def test_random_numbers_in_a_probe_are_the_same_for_every_block(tmp_path):
    """Drawn from the recipe's seed, not from what happens to be torch's state."""
    made = []
    for name, chunk in (("a", 1), ("b", 4)):
        torch.manual_seed(chunk)
        made.append(sketched(recipe(probes=PROBES), tmp_path / name, dtype="float64", **(CALL | {"chunk": chunk})))
    for name in ("noisy", "dropping"):
        one, other = (bundle.probe(name) for bundle in made)
        assert np.allclose(one.base, other.base, rtol=1e-12)
        assert np.allclose(one.coefficients, other.coefficients, rtol=1e-9, atol=1e-12)


def test_dropout_is_off_in_probes(tmp_path):
    r = recipe(dropout=0.5, probes={"logits": lambda m: m(X)})
    bundle = sketched(r, tmp_path / "bundle", dtype="float64", **CALL)
    with torch.no_grad():
        truth = uk.retrain(r, device="cpu").eval()(X)
    assert np.allclose(bundle.probe("logits").base, truth, atol=1e-13)


def test_a_probe_may_be_piecewise_only_if_the_recipe_says_so(tmp_path):
    rectified = {"relu": lambda m: m(X).relu().sum()}
    with pytest.raises(PiecewiseOpsError, match=r"aten\.relu"):
        sketched(recipe(probes=rectified), tmp_path / "bundle", **CALL)
    bundle = sketched(recipe(probes=rectified, allow_piecewise=True), tmp_path / "bundle", **CALL)
    assert [entry.operation for entry in bundle.manifest.piecewise] == ["aten.relu"]
    assert (
        uk.evaluate(bundle, recipe(probes=rectified, allow_piecewise=True), lambda m: m(X).abs().sum()).base.shape == ()
    )


def test_reverse_sweeps_take_probes_in_another_precision(tmp_path):
    settings = {"reverse": {"double_targets": uk.Reverse(rank=0, residual=0)}}
    bundle = sketched(recipe(probes=PROBES), tmp_path / "bundle", dtype="float32", **(CALL | settings))
    forward = sketched(recipe(probes=PROBES), tmp_path / "forward", dtype="float64", **CALL)
    exact = forward.probe("double_targets").influences()  # 2 x 4 measurements for 8 units
    assert np.allclose(bundle.probe("double_targets").influences(), exact, rtol=1e-4, atol=1e-6)


def test_a_model_without_probes_keeps_its_weights(tmp_path):
    bundle = sketched(recipe(probes={}), tmp_path / "bundle", **CALL)
    assert bundle.probe_names == ()
    assert uk.evaluate(bundle, recipe(probes={}), lambda m: m(X)).base.shape == (12, 3)


def test_labels_are_left_as_they_are(tmp_path):
    """Whole numbers keep their type on the way into a model of another precision."""

    class Lookup(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows = nn.Embedding(3, 3)

        def forward(self, i):
            return self.rows(i)

    m = Lookup().double()
    r = recipe(
        model=m,
        optimizer_made=torch.optim.SGD(m.parameters(), lr=0.1),
        loss=lambda m, b: torch.nn.functional.cross_entropy(m(b[1]), b[1], reduction="none"),
        probes={"rows": lambda m: m(Y)},
    )
    assert sketched(r, tmp_path / "bundle", **CALL).probe("rows").base.shape == (12, 3)


@pytest.mark.parametrize("solo", [None, uk.Solo(degree=3)])
def test_a_probe_whose_series_overflows_is_refused_by_name_before_anything_is_written(tmp_path, solo):
    with torch.no_grad():
        trained = float(uk.retrain(recipe(probes={}), device="cpu")(X)[0, 0])
    probes = {"steep": lambda m: ((m(X)[0, 0] - trained) * 1e16).pow(3)}  # its third order is beyond float32
    settings = {"directions": 0 if solo else 2, "degree": 3, "dtype": "float32", "seed": 0, "solo": solo}
    with pytest.raises(NonFiniteError, match=r"probe 'steep': a Taylor coefficient of degree \d is not finite"):
        sketched(recipe(probes=probes), tmp_path / "bundle", progress=False, **settings)
    assert not (tmp_path / "bundle").exists()
