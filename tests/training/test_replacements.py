"""``fix``: models that cannot be sketched come out as models that can, and every replacement is told."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import unlearnkit as uk
from unlearnkit.errors import RecipeError


def image_model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.utils.parametrizations.spectral_norm(nn.Linear(8, 6)),
            nn.BatchNorm1d(6),
            nn.ReLU6(),
            nn.Linear(6, 3),
        ).double()


X = torch.randn(8, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.arange(8) % 3


def losses(model: nn.Module, batch) -> torch.Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


def recipe(model: nn.Module) -> uk.Recipe:
    return uk.Recipe(
        name="fixed",
        model=model,
        loss=losses,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        data=(X, Y),
        units=list(range(8)),
        epochs=1,
        batch_size=4,
        probes={"loss": lambda m: losses(m, (X[:3], Y[:3])).mean()},
    )


@pytest.mark.parametrize("batch_norm", ["group", "freeze"])
def test_a_fixed_model_is_sketched_as_it_retrains(batch_norm, tmp_path):
    made = recipe(uk.fix(image_model(), batch_norm=batch_norm)[0])
    probe = uk.sketch(made, tmp_path / "b", dtype="float64", device="cpu").probe("loss")
    with torch.no_grad():
        values = [float(made.probes["loss"](uk.retrain(made, ["2"], weight=w).eval())) for w in (0.0, 1e-6)]
    assert float(probe.base) == pytest.approx(values[0], abs=1e-12)
    assert float(probe.predict(["2"]).change) == pytest.approx((values[1] - values[0]) / 1e-6, rel=1e-4)


def test_every_replacement_is_told_with_its_place():
    model = image_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fixed, changes = uk.fix(model)
    assert [str(change) for change in changes] == [
        "1: BatchNorm2d -> GroupNorm(2, 8)",
        "2: ReLU -> GELU",
        "3: MaxPool2d -> AvgPool2d",
        "5: spectral norm -> the weight as it is now",
        "6: BatchNorm1d -> GroupNorm(1, 6)",
        "7: ReLU6 -> SiLU",
    ]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(fixed[1].weight, model[1].weight)
    assert fixed(X).shape == (8, 3)
    assert torch.equal(fixed[5].weight, model.eval()[5].weight)
    assert uk.fix(fixed)[1] == ()


def test_a_module_under_two_names_stays_one():
    act = nn.ReLU()
    fixed, changes = uk.fix(nn.ModuleDict({"a": act, "b": nn.Sequential(act)}))
    assert fixed["a"] is fixed["b"][0]
    assert [change.module for change in changes] == ["a", "b.0"]


def test_old_spectral_norm_and_a_models_own_activation_are_seen():
    layer = nn.TransformerEncoderLayer(4, 1, 4, batch_first=True)
    layer.linear1 = nn.utils.spectral_norm(layer.linear1)
    fixed, changes = uk.fix(layer)
    assert [str(change) for change in changes] == [
        "the model: relu -> gelu",
        "linear1: spectral norm -> the weight as it is now",
    ]
    assert fixed.activation is nn.functional.gelu
    assert "weight_orig" not in dict(fixed.linear1.named_parameters())


def test_kinks_stay_where_asked_and_what_cannot_be_frozen_is_refused():
    assert [change.before for change in uk.fix(image_model(), smooth=False)[1]] == [
        "BatchNorm2d",
        "spectral norm",
        "BatchNorm1d",
    ]
    with pytest.raises(RecipeError, match="keeps no statistics"):
        uk.fix(nn.BatchNorm1d(3, track_running_stats=False), batch_norm="freeze")
    with pytest.raises(RecipeError, match='expected "group" or "freeze"'):
        uk.fix(nn.Linear(1, 1), batch_norm="layer")  # type: ignore[arg-type]
