"""A sketch that goes wrong at one step, and does not look at plain torch."""

from __future__ import annotations

import pytest

from unlearnkit.sketching import forward
from unlearnkit.taylor.jet import multiply
from unlearnkit.training.state import assign
from unlearnkit.training.trainer import Trainer

STEP = 2


def amiss(monkeypatch: pytest.MonkeyPatch, *, unseen: bool = True) -> None:
    """Training over jets takes one step too far. unseen: and nobody compares it with a plain one."""
    advance = Trainer.advance

    def too_far(self, step, states, directions):
        advance(self, step, states, directions)
        if step == STEP:
            for state in states:
                assign(state.weights, multiply(state.weights, 1.01))

    monkeypatch.setattr(Trainer, "advance", too_far)
    if unseen:
        monkeypatch.setattr(forward, "train_beside_plain", Trainer.train)
        monkeypatch.setattr(forward, "verify_probe", lambda *_: None)
