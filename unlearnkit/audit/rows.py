"""What each retraining of an audit gave, gathered into what is signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from unlearnkit.audit.corrected import REFUSED, SHARE
from unlearnkit.bundle import Bundle
from unlearnkit.training.recipe import Array
from unlearnkit.verifier.evidence import Audit, Corrected, Evidence, RetrainedIn
from unlearnkit.verifier.plan import Distribution


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """What one model gave: the aggregate probes, and the own losses of who was left out."""

    probes: Mapping[str, Array]
    own_losses: Sequence[float]

    @classmethod
    def of(cls, found: Mapping[str, Array], deletion: Sequence[int], own_loss: str) -> Values:
        """found: every probe. own_loss: the one with an element a unit; empty for none."""
        return cls(found, found[own_loss][list(deletion)].tolist() if own_loss else ())


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """What one retraining gave, and the corrected model beside it; see `Corrected`."""

    retrained: Values
    corrected: Values | None = None
    share: float = 1.0
    refused: bool = False

    @classmethod
    def of(
        cls, found: Mapping[str, Array], corrected: Mapping[str, Array] | None, deletion: Sequence[int], own_loss: str
    ) -> Row:
        """From what is kept of a finished retraining."""
        retrained = Values.of(found, deletion, own_loss)
        if corrected is None:
            return cls(retrained)
        made = Values.of(corrected, deletion, own_loss)
        return cls(retrained, made, float(corrected[SHARE]), bool(corrected[REFUSED]))


def retrained_before(known: Sequence[Evidence]) -> dict[tuple[int, ...], Row]:
    """What earlier audits have retrained, by deletion."""
    found: dict[tuple[int, ...], Row] = {}
    for audit in (evidence.audit for evidence in known):
        made = audit.corrected
        for i, deletion in enumerate(audit.deletions):
            found[deletion] = (
                Row(_values(audit, i))
                if made is None
                else Row(_values(audit, i), _values(made, i), made.shares[i], i in made.refused)
            )
    return found


def gathered(
    bundle: Bundle, deletions: Distribution, rows: Sequence[Row], probes: Sequence[str], precision: RetrainedIn
) -> Audit:
    """The audit of a bundle, from a row for each drawn set, in their order."""
    own = bundle.manifest.own_loss
    names = [name for name in probes if name != own]
    corrected = None
    if all(row.corrected is not None for row in rows):
        values, losses = _stacked([row.corrected for row in rows if row.corrected is not None], names)
        corrected = Corrected(
            probes=values,
            own_losses=losses if own in probes else (),
            shares=tuple(row.share for row in rows),
            refused=tuple(i for i, row in enumerate(rows) if row.refused),
        )
    values, losses = _stacked([row.retrained for row in rows], names)
    return Audit.of(bundle, deletions, values, losses if own in probes else (), corrected, precision)


def _stacked(found: Sequence[Values], names: Sequence[str]) -> tuple[dict[str, Array], tuple[tuple[float, ...], ...]]:
    values = {name: np.stack([one.probes[name] for one in found]) for name in names}
    return values, tuple(tuple(map(float, one.own_losses)) for one in found)


def _values(found: Audit | Corrected, i: int) -> Values:
    values = {name: array[i] for name, array in found.probes.items()}
    return Values(values, found.own_losses[i] if found.own_losses else ())
