"""Spot checks: retrain a few of the draws of a retraining audit again, and compare what the evidence says of them.

Which draws follows from a text that the auditor chooses when the evidence is there; so whoever made values up does not
know which of them will be looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from unlearnkit.audit.replay import require_same_recipe
from unlearnkit.audit.retraining import one_thread, retrained_probes
from unlearnkit.bundle import Bundle
from unlearnkit.errors import VerificationError
from unlearnkit.estimation.draws import Draw, draw_key
from unlearnkit.names import counted
from unlearnkit.training.beside import agree
from unlearnkit.training.recipe import Recipe
from unlearnkit.verifier.evidence import Evidence

Array = np.ndarray[Any, Any]

DOMAIN: Final = "unlearnkit/spot-check/v1"
"""Names the construction of the choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotCheck:
    """One probe of one draw. deleted: how many units. difference: the largest. scale: the largest value said."""

    draw: int
    deleted: int
    probe: str
    difference: float
    scale: float
    agrees: bool

    def __str__(self) -> str:
        verdict = "same" if self.agrees else "DIFFERENT"
        what = f"draw {self.draw}, {counted(self.deleted, 'unit')}, {self.probe}"
        return f"{verdict}  {what}: off by {self.difference:.3g}, the largest value is {self.scale:.3g}"


def chosen_draws(evidence: Evidence, seed: str, count: int) -> tuple[int, ...]:
    """``count`` draws that follow from an auditor's seed: ``Draw(key, 0).subset(draws, count)``; all of fewer."""
    total = len(evidence.audit.deletions)
    return tuple(Draw(draw_key(DOMAIN, evidence.digest, seed), 0).subset(total, min(count, total)))


def spot_check(
    recipe: Recipe, bundle: Bundle, evidence: Evidence, *, seed: str, count: int = 3, device: str = "cpu"
) -> tuple[SpotCheck, ...]:
    """Retrain some draws again, in float64, and compare every probe, half of whose digits must be the same.

    Args:
        recipe: what was sketched.
        bundle: what the evidence is about.
        evidence: verified.
        seed: that the choice follows from.
        count: draws.
        device: a torch device.

    Raises:
        VerificationError: the recipe is another one.
        ValueError: settings out of range.

    """
    if count < 1:
        raise ValueError(f"count={count}: expected at least 1")
    require_same_recipe(recipe, bundle)
    found: list[SpotCheck] = []
    resolution = torch.finfo(torch.float64 if evidence.audit.precision == "float64" else torch.bfloat16).eps
    with one_thread():
        for draw in chosen_draws(evidence, seed, count):
            values = retrained_probes(recipe, evidence.audit.deletions[draw], device)
            found += _compared(evidence, draw, values, bundle.manifest.own_loss, resolution)
    return tuple(found)


def _compared(
    evidence: Evidence, draw: int, values: dict[str, Array], own: str, resolution: float
) -> Iterator[SpotCheck]:
    audit, deleted = evidence.audit, evidence.audit.deletions[draw]
    pairs = [(name, array[draw], values[name]) for name, array in audit.probes.items()]
    if audit.own_losses:
        pairs.append((own, np.array(audit.own_losses[draw]), values[own][list(deleted)]))
    for name, said, again in pairs:
        yield SpotCheck(
            draw=draw,
            deleted=len(deleted),
            probe=name,
            difference=float(np.abs(again - said).max()),
            scale=float(np.abs(said).max()),
            agrees=agree(again, said, resolution),
        )


def verify_spot_check(found: tuple[SpotCheck, ...]) -> tuple[SpotCheck, ...]:
    """What was found, if everything is the same; otherwise VerificationError."""
    if wrong := [check for check in found if not check.agrees]:
        raise VerificationError(
            f"the evidence does not hold what retraining gives: {wrong[0]}",
            hint="it was not made by retraining this recipe, or not on a machine whose arithmetic can be trusted",
        )
    return found
