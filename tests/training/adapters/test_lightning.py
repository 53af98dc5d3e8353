"""A real ``lightning.Trainer`` with its defaults, logger and checkpoints: clipping, AdamW, dropout, accumulation."""

from __future__ import annotations

import logging
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import unlearnkit as uk
from unlearnkit.errors import RecipeError

EXAMPLES = 11
OWNERS = [f"person-{i // 3}" for i in range(EXAMPLES)]
_GENERATOR = torch.Generator().manual_seed(1)
X = torch.randn(EXAMPLES, 4, generator=_GENERATOR)
Y = torch.randint(3, (EXAMPLES,), generator=_GENERATOR)

# What Lightning itself warns of, on machines with few cores and loaders of few batches, and of torch's newer trees.
pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:lightning", "ignore::UserWarning:lightning_utilities", "ignore:.*treespec, LeafSpec"
)


class Classifier(pl.LightningModule):
    """A module as Lightning's own introduction has it, with a validation loop between the epochs."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Dropout(0.2), nn.Linear(6, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val_loss", cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.02)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(X, Y), batch_size=4, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(X, Y), batch_size=4)


class Odd(Classifier):
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return cross_entropy(self(batch[0].bfloat16()), batch[1])

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Whatever it does."""


def losses(module: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return cross_entropy(module(batch[0]), batch[1], reduction="none")


def fitted(folder: Any, recorder: uk.Recorder | None, module: Any = Classifier, **arguments: Any) -> pl.Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "default_root_dir": folder}
    trainer = pl.Trainer(
        accelerator="cpu",
        callbacks=[recorder.lightning_callback()] if recorder else [],
        **({"max_epochs": 2} | quiet | arguments),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trainer.fit(module())
    return trainer


@pytest.mark.parametrize(
    "arguments",
    [
        {"gradient_clip_val": 1.0, "accumulate_grad_batches": 2},
        {"gradient_clip_val": 0.05, "gradient_clip_algorithm": "value", "logger": False, "enable_checkpointing": False},
    ],
)
def test_its_run_is_repeated(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer = fitted(tmp_path / "lightning", uk.Recorder(), **arguments)
    recipe = uk.Recipe.from_lightning(trainer, loss=losses, units=OWNERS)
    assert recipe.steps == (4 if "accumulate_grad_batches" in arguments else 6)
    assert sorted(len(batch) for step in recipe.parts for batch in step) == [3, 3, 4, 4, 4, 4]
    found = uk.compare(recipe, trainer.lightning_module, device="cpu")
    assert max(found.values()) < 1e-6
    assert found.first_step is None
    plain = dict(uk.retrain(recipe, device="cpu").named_parameters())
    assert (
        max(float((p - plain[n]).detach().abs().max()) for n, p in trainer.lightning_module.named_parameters()) < 1e-6
    )
    assert max(uk.compare(recipe, recipe.model, device="cpu").values()) > 1e-2
    assert [path.name for path in tmp_path.iterdir() if path.name != "lightning"] == []


def test_recording_changes_nothing_and_first_orders_are_those_of_retrainings(tmp_path):
    quiet = {"logger": False, "enable_checkpointing": False, "max_epochs": 1}
    trainer, silent = (fitted(tmp_path, recorder, **quiet) for recorder in (uk.Recorder(), None))
    ends = [dict(t.lightning_module.named_parameters()) for t in (trainer, silent)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    probes = {"probe": lambda module: cross_entropy(module(X[:5].to(module.dtype)), Y[:5])}
    recipe = uk.Recipe.from_lightning(trainer, loss=losses, units=OWNERS, name="points", probes=probes)
    swept = uk.sketch(recipe, tmp_path / "bundle", dtype="float64", device="cpu").probe("probe")

    def value(weight: float) -> float:
        model = uk.retrain(recipe, ["person-1"], weight=weight, dtype="float64", device="cpu").eval()
        return float(recipe.probes["probe"](model).detach())

    h = 1e-4
    slope = (4 * value(h / 2) - value(h) - 3 * value(0.0)) / h
    assert np.isclose(float(swept.predict(["person-1"]).change), slope, rtol=1e-4)


def test_what_cannot_be_repeated_is_told_at_once(tmp_path):
    quiet = {"logger": False, "enable_checkpointing": False, "max_steps": 1}
    with pytest.raises(RecipeError, match="has not trained with a recorder") as caught:
        uk.Recipe.from_lightning(fitted(tmp_path, None, **quiet), loss=losses, units=OWNERS)
    assert "lightning_callback" in caught.value.hint
    odd = fitted(tmp_path, uk.Recorder(), Odd, precision="bf16-true", **quiet)
    with pytest.raises(RecipeError, match=r"precision='bf16-true'; a Odd.on_before_optimizer_step of its own"):
        uk.Recipe.from_lightning(odd, loss=losses, units=OWNERS)
    trainer = fitted(tmp_path, uk.Recorder(), **quiet)
    with pytest.raises(RecipeError, match=r"loss= is .* on the first batch, and training_step gave"):
        uk.Recipe.from_lightning(trainer, loss=lambda m, b: 2 * losses(m, b), units=OWNERS)
