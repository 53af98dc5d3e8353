"""The digits benchmark: its recipe, its retrainings, its scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

import unlearnkit as uk

PROBED = 40


def load_truth(vectors: Path) -> dict[str, np.ndarray]:
    with np.load(vectors / "digits" / "truth.npz") as file:
        return {name: file[name] for name in file.files}


def images() -> tuple[torch.Tensor, torch.Tensor]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return torch.from_numpy(digits.data / 16), torch.from_numpy(digits.target)


def margins(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """``z_y - logsumexp(the others)``."""
    right = one_hot(labels, 10).bool()
    return logits[right] - logits.masked_fill(right, -torch.inf).logsumexp(1)


def make_recipe(truth: dict[str, np.ndarray], probed: int = PROBED) -> uk.Recipe:
    model = nn.Sequential(nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 10)).double()
    start = {"0.weight": "W1", "0.bias": "b1", "2.weight": "W2", "2.bias": "b2"}
    model.load_state_dict({name: torch.from_numpy(truth[theirs]) for name, theirs in start.items()})
    x, y = images()
    train, test = truth["train_idx"], truth["test_idx"][:probed]
    x_test, y_test = x[test], y[test]
    return uk.Recipe(
        name="digits",
        model=model,
        loss=lambda model, batch: cross_entropy(model(batch[0]), batch[1], reduction="none"),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        data=(x[train], y[train]),
        units=list(range(1000)),
        epochs=10,
        batch_size=50,
        order=truth["order"],
        probes={
            "margins": lambda model: margins(model(x_test), y_test),
            "losses": lambda model: cross_entropy(model(x_test), y_test, reduction="none"),
        },
    )


def scores(truth: dict[str, np.ndarray], kind: str, predict) -> tuple[float, float]:
    """LDS, and mean absolute error over the standard deviation of the true change, for "rand" or "class" deletions.

    predict: masks ``[sets, units]`` to predicted changes of the first margins ``[sets, up to 40]``.
    """
    predicted = predict(truth[f"masks_{kind}"].astype(float))
    probed = predicted.shape[1]
    change = truth[f"{kind}_margin"][:, :probed] - truth["base_margin"][:probed]
    lds = np.mean([spearmanr(predicted[:, i], change[:, i]).statistic for i in range(probed)])
    return float(lds), float(np.mean(np.abs(predicted - change).mean(0) / change.std(0)))
