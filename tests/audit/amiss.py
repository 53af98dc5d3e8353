"""A sketch that goes wrong at one step, and does not look at plain torch."""

from __future__ import annotations

import pytest

from unlearnkit.sketching import forward
from unlearnkit.taylor.jet import multiply
from unlearnkit.training import trainer
from unlearnkit.training.state import assign
from unlearnkit.training.trainer import Trainer

STEP = 2


def amiss(monkeypatch: pytest.MonkeyPatch, *, unseen: bool = True) -> None:
    """Training over jets takes one step too far. unseen: and nobody compares it with a plain one."""
    apply_update = trainer.apply_update

    def too_far(update, state, gradient, step):
        finite = apply_update(update, state, gradient, step)
        if step == STEP:
            assign(state.weights, multiply(state.weights, 1.01))
        return finite

    monkeypatch.setattr(trainer, "apply_update", too_far)
    if unseen:
        monkeypatch.setattr(forward, "train_beside_plain", Trainer.train)
        monkeypatch.setattr(forward, "verify_probe", lambda *_: None)
