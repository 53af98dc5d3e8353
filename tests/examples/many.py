"""Many retrainings of the digits example at once, written out by hand: another computation than the library's."""

from __future__ import annotations

import numpy as np
import torch

import unlearnkit as uk
from unlearnkit.training.run import make_run

RATE, MOMENTUM = 0.05, 0.9  # as examples/digits.py has them


def retrain_many(recipe: uk.Recipe, masks: np.ndarray) -> dict[str, np.ndarray]:
    """The test loss ``[sets]`` and all own losses ``[sets, units]`` without each set of ``masks`` ``[sets, units]``.

    In float64: all sets train side by side, with momentum by hand and the gradients of the two layers written out.
    """
    x, y = (part.double() if part.is_floating_point() else part for part in recipe.data)
    keep = torch.cat([1 - torch.from_numpy(masks).double(), torch.ones(len(masks), 1).double()], 1)
    owner = torch.from_numpy(np.asarray(recipe.unit_of_example))
    start = [p.detach().double() for p in recipe.model.parameters()]
    weights = [p.expand(len(masks), *p.shape).clone() for p in start]
    speed = [torch.zeros_like(w) for w in weights]
    run = make_run(recipe, "float64", "cpu")
    for step in range(recipe.steps):
        (batch,) = run.batches(step)
        inputs, labels = batch.examples
        gradients = _gradients(weights, inputs.double(), labels, keep[:, batch.units] / batch.denominator)
        for weight, moved, gradient in zip(weights, speed, gradients, strict=True):
            moved.mul_(MOMENTUM).add_(gradient)
            weight.sub_(moved, alpha=RATE)
    test_x, test_y = _test_images()
    own = torch.zeros(len(masks), len(recipe.unit_names), dtype=torch.float64)
    own.index_add_(1, owner, _losses(weights, x, y))
    sizes = torch.bincount(owner, minlength=len(recipe.unit_names))
    return {"test_loss": _losses(weights, test_x, test_y).mean(1).numpy(), "own_loss": (own / sizes).numpy()}


def _test_images() -> tuple[torch.Tensor, torch.Tensor]:
    from unlearnkit.examples import digits

    images, labels = digits.digits()
    test = slice(digits.TRAINING_IMAGES, digits.TRAINING_IMAGES + digits.TEST_IMAGES)
    return images[test].double(), labels[test]


def _forward(weights: list[torch.Tensor], x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Before and after the GELU, and the logits, each ``[sets, examples, ...]``."""
    w1, b1, w2, b2 = weights
    before = torch.einsum("bi,soi->sbo", x, w1) + b1[:, None]
    hidden = torch.nn.functional.gelu(before)
    return before, hidden, torch.einsum("sbh,soh->sbo", hidden, w2) + b2[:, None]


def _losses(weights: list[torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    logits = _forward(weights, x)[2]
    return logits.logsumexp(2) - logits[:, torch.arange(len(y)), y]


def _gradients(weights, x: torch.Tensor, y: torch.Tensor, share: torch.Tensor) -> list[torch.Tensor]:
    """Of ``sum_i share_i loss_i``, share ``[sets, examples]``."""
    before, hidden, logits = _forward(weights, x)
    off = logits.softmax(2)
    off[:, torch.arange(len(y)), y] -= 1
    off *= share[:, :, None]
    slope = 0.5 * (1 + torch.erf(before / 2**0.5)) + before * torch.exp(-(before**2) / 2) / (2 * torch.pi) ** 0.5
    back = torch.einsum("sbo,soh->sbh", off, weights[2]) * slope
    return [
        torch.einsum("sbh,bi->shi", back, x),
        back.sum(1),
        torch.einsum("sbo,sbh->soh", off, hidden),
        off.sum(1),
    ]
