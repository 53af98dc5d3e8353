"""Runs that lower their precision: the constant term is torch's own run to the last bit, its series that of float32."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import unlearnkit as uk
from unlearnkit.audit.replay import replay
from unlearnkit.errors import RecipeError, RefusedError
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.sketching.memory import Memory
from unlearnkit.sketching.trajectory import Trajectory
from unlearnkit.training.beside import train_beside_plain
from unlearnkit.training.plain import PlainSteps
from unlearnkit.training.randomness import seed
from unlearnkit.training.run import make_run
from unlearnkit.training.trainer import Trainer
from unlearnkit.verifier.evidence import verify_evidence

GENERATOR = torch.Generator().manual_seed(0)
UNITS, STEPS, BATCH = 12, 6, 4
X, Y = torch.randn(UNITS, 4, generator=GENERATOR), torch.arange(UNITS) % 3
ORDER = [torch.randperm(UNITS, generator=GENERATOR)[: STEPS // 2 * BATCH].tolist() for _ in range(2)]
WEIGHTS = {"bfloat16": torch.bfloat16, "float16": torch.float16}
OPTIMIZERS = {
    "sgd": lambda ps: torch.optim.SGD(ps, lr=0.2, momentum=0.5, weight_decay=0.01),
    "adamw": lambda ps: torch.optim.AdamW(ps, lr=0.02),
}


def fresh(lowered: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.GELU(), nn.Dropout(0.3), nn.Linear(8, 3))
    return model.to(WEIGHTS.get(lowered, torch.float32))


def losses(model: nn.Module, batch, lowered: str) -> torch.Tensor:
    x = batch[0].to(WEIGHTS.get(lowered, torch.float32))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=lowered == "autocast"):
        return cross_entropy(model(x), batch[1], reduction="none")


def recipe(lowered: str, optimizer: str = "sgd", **settings) -> uk.Recipe:
    model = fresh(lowered)
    return uk.Recipe(
        name="lowered",
        model=model,
        loss=lambda m, batch: losses(m, batch, lowered),
        optimizer=OPTIMIZERS[optimizer](model.parameters()),
        data=(X, Y),
        units=list(range(UNITS)),
        order=ORDER,
        epochs=2,
        batch_size=BATCH,
        clip_grad_norm=1.0,
        probes={"loss": lambda m: losses(m, (X, Y), lowered).mean()},
        **settings,
    )


def own_loop(lowered: str, optimizer: str) -> nn.Module:
    """The same run as somebody writes it who knows nothing of recipes."""
    model = fresh(lowered)
    steps = OPTIMIZERS[optimizer](model.parameters())
    for step, indices in enumerate(np.array(ORDER).reshape(STEPS, BATCH)):
        steps.zero_grad()
        seed(0, step, 0, torch.device("cpu"))
        losses(model, (X[indices], Y[indices]), lowered).mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        steps.step()
    return model


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Bundles by reverse sweeps, each made once."""
    return functools.cache(lambda *which: uk.sketch(recipe(*which), tmp_path_factory.mktemp("b") / "b", device="cpu"))


def gradient(bundle: uk.Bundle) -> np.ndarray:
    return bundle.probe("loss").reverse.gradient[0]


def is_own_loop(bundle: uk.Bundle, lowered: str, optimizer: str) -> bool:
    model = own_loop(lowered, optimizer)
    kept = safetensors.torch.load_file(bundle.path / "model.safetensors")
    same = [kept[name].dtype is p.dtype and torch.equal(kept[name], p) for name, p in model.named_parameters()]
    with torch.no_grad():
        return all(same) and float(bundle.probe("loss").base) == float(losses(model.eval(), (X, Y), lowered).mean())


@pytest.mark.parametrize("lowered", ["autocast", "bfloat16", "float16"])
def test_the_trained_model_is_torchs_own_to_the_last_bit(lowered, swept):
    assert is_own_loop(swept(lowered), lowered, "sgd")


@pytest.mark.parametrize("lowered", ["autocast", "bfloat16", "float16"])
def test_the_first_order_is_that_of_float32_but_for_the_rounding(lowered, swept):
    """Against the run in float32, whose first order others hold against finite differences."""
    found, exact = gradient(swept(lowered)), gradient(swept("float32"))
    assert 1e-5 < np.linalg.norm(found - exact) / np.linalg.norm(exact) < 0.05


def test_directions_in_blocks_and_sweeps_are_of_the_same_run(tmp_path):
    made, directions = recipe("bfloat16", "adamw"), uk.Forward(directions=np.eye(UNITS) + 0j, degree=1)
    pushed = uk.sketch(made, tmp_path / "pushed", forward=directions, memory_budget=1 << 15, device="cpu")
    swept = uk.sketch(made, tmp_path / "swept", device="cpu")
    assert all(is_own_loop(bundle, "bfloat16", "adamw") for bundle in (pushed, swept))
    found = pushed.probe("loss").coefficients[:, 0].real
    np.testing.assert_allclose(found, gradient(swept), rtol=1e-4, atol=1e-6)


def test_steps_that_are_done_again_on_the_way_back_are_the_same_to_the_last_bit():
    run, found = make_run(recipe("bfloat16", "adamw"), "float32", "cpu"), []
    for memory in (1 << 30, 0):  # all steps are kept; stretches of them are done again
        moments = Trajectory(run, PlainSteps(Trainer(run, 1)), Memory(memory)).backwards()
        found.append([[s.weights, s.gradient, *s.moments] for moment in moments for s in moment.states])
    assert len(found[0]) == STEPS
    assert all(torch.equal(a, b) for one, other in zip(*found, strict=True) for a, b in zip(one, other, strict=True))


def test_audits_retrain_it_as_it_is_and_say_so(tmp_path):
    made, key = recipe("autocast"), PrivateKey.generate(Algorithm.P256)
    bundle = uk.sketch(made, tmp_path / "bundle", signer=key, device="cpu")
    deletions = uk.UnitDeletions(least=1, most=2)
    settings = {"deletions": deletions, "count": 3, "delta": 0.25, "signer": key, "progress": False}
    raw = uk.audit_retraining(made, bundle, out=tmp_path / "evidence", **settings)
    audit = verify_evidence(raw, where="it", keys=[key.public], bundle=bundle).audit
    assert audit.precision == "as trained"
    model = uk.retrain(made, [made.unit_names[i] for i in audit.deletions[0]], device="cpu").eval()
    with torch.no_grad():
        assert float(audit.probes["loss"][0]) == float(made.probes["loss"](model))
    with pytest.raises(RefusedError, match="lowers its precision by itself: in float64 it would be another run"):
        replay(bundle, made, (), dtype="float64", device="cpu")


def test_a_correction_is_in_the_models_own_precision(tmp_path):
    made = recipe("bfloat16")
    bundle = uk.sketch(made, tmp_path / "bundle", solo=uk.Solo(degree=1, keep_weights=True), device="cpu")
    kept, (moved,) = bundle.model_state(), bundle.solo.weights(np.array([3]))["4.weight"]
    corrected = safetensors.torch.load(bundle.correction([3]).to_bytes())["4.weight"]
    expected = torch.from_numpy(kept["4.weight"] + moved.sum(0).astype(np.float64)).bfloat16()
    assert corrected.dtype is torch.bfloat16
    assert torch.equal(corrected, expected)
    model = fresh("bfloat16")
    model.load_state_dict(bundle.corrected_model(model, [3]))
    assert torch.equal(model[4].weight, corrected)


def test_in_float64_a_recipe_is_trained_without_the_rounding():
    made = recipe("bfloat16")
    found = train_beside_plain(Trainer(make_run(made, "float64", "cpu"), 1), torch.eye(UNITS)[:1].double())
    plain = dict(uk.retrain(made, dtype="float64", device="cpu").named_parameters())
    assert all(torch.allclose(jet.constant, plain[name], rtol=0, atol=1e-12) for name, jet in found.items())


def test_an_optimizer_whose_moments_underflow_is_refused_by_name(tmp_path):
    model = fresh("float16")
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, eps=1e-3)
    with pytest.raises(RecipeError, match=r"the optimizer keeps its state in torch\.float16, in which it is lost"):
        uk.sketch(recipe("float16").replace(model=model, optimizer=optimizer), tmp_path / "bundle", device="cpu")


def test_weights_in_other_low_precisions_are_refused_by_name():
    model = nn.Sequential(nn.Linear(4, 3))
    model.register_buffer("scales", torch.zeros(3).to(torch.float8_e4m3fn))
    with pytest.raises(RecipeError, match=r"'scales' is torch\.float8_e4m3fn, expected float32, float64, bfloat16 or"):
        recipe("float32").replace(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
