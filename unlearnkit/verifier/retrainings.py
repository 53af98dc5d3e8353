"""All that planned audits retrained of a bundle, and how far predictions were off there (docs/theory.md section 5).

Every audit counts, and a draw that is in two of them counts once: nothing is picked, whatever the order of the files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unlearnkit.bundle import Bundle
from unlearnkit.compliance.policy.audits import AuditRules, PlannedStratum
from unlearnkit.errors import AssumptionError
from unlearnkit.estimation import Sketch
from unlearnkit.estimation.conformal import scores
from unlearnkit.estimation.tolerance import Draws, Stratum, Tolerance, tolerance
from unlearnkit.verifier.evidence import Audit, Corrected, Evidence

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """What one model gave. values: of each aggregate probe. own_losses: of the members of the set."""

    values: Mapping[str, Array]
    own_losses: tuple[float, ...]

    @classmethod
    def of(cls, found: Audit | Corrected, row: int) -> Found:
        """One row of what is stored."""
        values = {probe: array[row] for probe, array in found.probes.items()}
        return cls(values, found.own_losses[row] if found.own_losses else ())

    def differs(self, other: Found) -> bool:
        """Whether the same model has given other numbers."""
        shared = self.values.keys() & other.values.keys()
        same = all(np.array_equal(self.values[name], other.values[name]) for name in shared)
        return self.own_losses != other.own_losses or not same


@dataclass(frozen=True, slots=True)
class Retrained:
    """One draw. stratum: least and most units. found: what retraining gave.

    corrected: what the corrected model gave, where one was looked at; refused: none is made, and it is the kept one.
    """

    stratum: tuple[int, int]
    deleted: tuple[int, ...]
    found: Found
    corrected: Found | None = None
    refused: bool = False

    @property
    def values(self) -> Mapping[str, Array]:
        """Of each aggregate probe, after retraining."""
        return self.found.values

    @property
    def own_losses(self) -> tuple[float, ...]:
        """Of the members, after retraining."""
        return self.found.own_losses

    def differs(self, other: Retrained) -> bool:
        """Whether the same retraining, or the same correction, has given other numbers."""
        if self.corrected and other.corrected and (self.corrected.differs(other.corrected)):
            return True
        return self.deleted != other.deleted or self.found.differs(other.found)


@dataclass(frozen=True, kw_only=True, eq=False)
class Retrainings:
    """What planned audits of a bundle found, under a policy's plan. digests: of the files, sorted. draws: by name."""

    bundle: Bundle
    rules: AuditRules
    digests: tuple[str, ...]
    draws: Mapping[str, Retrained]
    _found: dict[tuple[str, PlannedStratum], Tolerance | None] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, bundle: Bundle, evidence: Sequence[Evidence], rules: AuditRules) -> Retrainings:
        """Everything in some evidence, each draw once.

        Raises:
            AssumptionError: Two files say different things of one draw.
        """
        draws: dict[str, Retrained] = {}
        for item in evidence:
            for name, drawn in _draws(item):
                if draws.setdefault(name, drawn).differs(drawn):
                    raise AssumptionError(
                        f"two audits have different numbers of the draw {name}: only one of them can be right",
                        hint="`unlearnkit audit spot-check` tells which",
                    )
        return cls(bundle=bundle, rules=rules, digests=tuple(sorted(item.digest for item in evidence)), draws=draws)

    def tolerance(self, probe: str, size: int) -> Tolerance | None:
        """What is known of a probe's error for deletions of so many people; None where the plan was not carried out."""
        stratum = self.rules.holding(size)
        if stratum is None:
            return None
        if (probe, stratum) not in self._found:
            self._found[probe, stratum] = self._tolerance(probe, stratum)
        return self._found[probe, stratum]

    def corrected(self, probe: str, size: int) -> Tolerance | None:
        """How far corrected models were from retrained ones, in the probe's unit; None where that was not looked at.

        The score of a set is the largest difference of any element, of own losses of any member; infinite where no
        correction was made.
        """
        stratum = self.rules.holding(size)
        if stratum is None:
            return None
        rows = self._inside(probe, stratum)
        if rows is None or any(row.corrected is None for row in rows.values()):
            return None
        own = probe == self.bundle.manifest.own_loss
        return self._of(stratum, rows, np.array([_left(row, None if own else probe) for row in rows.values()]))

    def _tolerance(self, probe: str, stratum: PlannedStratum) -> Tolerance | None:
        rows = self._inside(probe, stratum)
        if rows is None:
            return None
        own = probe == self.bundle.manifest.own_loss
        found = self._own_scores([*rows.values()]) if own else self._scores(probe, [*rows.values()])
        return self._of(stratum, rows, found)

    def _inside(self, probe: str, stratum: PlannedStratum) -> dict[str, Retrained] | None:
        """The draws of a stratum, sorted by name; None where they are fewer than planned, or lack the probe."""
        inside = {name: it for name, it in self.draws.items() if it.stratum == (stratum.least, stratum.most)}
        if len(inside) < stratum.count or any(self._value(probe, it) is None for it in inside.values()):
            return None
        return dict(sorted(inside.items()))

    def _of(self, stratum: PlannedStratum, rows: Mapping[str, Retrained], found: Array) -> Tolerance:
        names = tuple(rows)
        return tolerance(
            Draws(names=names, sizes=np.array([len(row.deleted) for row in rows.values()]), scores=found),
            stratum.least,
            [Stratum(stratum.least, stratum.most)],
            content=float(self.rules.content or 0),
            confidence=float(self.rules.confidence or 0),
        )

    def _scores(self, probe: str, rows: Sequence[Retrained]) -> Array:
        truth = np.stack([row.values[probe] for row in rows])
        found = scores(self.bundle.probe(probe), np.concatenate([self._mask(row) for row in rows]), truth)
        return np.asarray(found.max(axis=1))

    def _own_scores(self, rows: Sequence[Retrained]) -> Array:
        """Of each set the largest among its members."""
        sketch = self.bundle.probe(self.bundle.manifest.own_loss)
        return np.array([self._own_score(sketch, row) for row in rows])

    def _own_score(self, sketch: Sketch, row: Retrained) -> float:
        members = sketch.of(np.array(row.deleted))
        return float(scores(members, self._mask(row), np.array([row.own_losses])).max())

    def _mask(self, row: Retrained) -> Array:
        mask = np.zeros((1, self.bundle.manifest.units))
        mask[0, list(row.deleted)] = 1
        return mask

    def _value(self, probe: str, row: Retrained) -> object:
        return (row.own_losses or None) if probe == self.bundle.manifest.own_loss else row.values.get(probe)

    def value(self, probe: str, deleted: Sequence[int], elements: Sequence[int] = ()) -> Array | None:
        """What retraining without just these people gave; None where nobody did that.

        deleted: positions. elements: of own losses, the positions of whose are wanted.
        """
        wanted = tuple(sorted(deleted))
        row = next(
            (it for it in self.draws.values() if it.deleted == wanted and self._value(probe, it) is not None), None
        )
        if row is None:
            return None
        if probe != self.bundle.manifest.own_loss:
            return row.values[probe]
        return np.array([row.own_losses[wanted.index(element)] for element in elements])


def _left(row: Retrained, probe: str | None) -> float:
    """How far the corrected model is from the retrained one. probe: None for own losses."""
    made = row.corrected
    if made is None or row.refused:
        return math.inf
    ours, truth = (found.own_losses if probe is None else found.values[probe] for found in (made, row.found))
    return float(np.abs(np.subtract(ours, truth)).max())


def _draws(evidence: Evidence) -> Iterator[tuple[str, Retrained]]:
    planned, audit, row = evidence.planned, evidence.audit, 0
    if planned is None:
        raise AssumptionError(
            f"evidence {evidence.digest[:16]}... is an experiment: who made it chose what was drawn",
            hint="certificates rest on audits that a policy's [audit] fixed beforehand: `unlearnkit audit retrain`",
        )
    for stratum in planned.strata:
        for name in stratum.names():
            made = audit.corrected
            yield (
                name,
                Retrained(
                    stratum=(stratum.least, stratum.most),
                    deleted=audit.deletions[row],
                    found=Found.of(audit, row),
                    corrected=None if made is None else Found.of(made, row),
                    refused=made is not None and row in made.refused,
                ),
            )
            row += 1
