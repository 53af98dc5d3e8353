"""All that planned audits retrained of a bundle, and how far predictions were off there (docs/theory.md section 5).

Every audit counts, and a draw that is in two of them counts once: nothing is picked, whatever the order of the files.
"""

from __future__ import annotations

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
from unlearnkit.verifier.evidence import Evidence

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Retrained:
    """One draw. stratum: least and most units. values: of each aggregate probe. own_losses: of the members."""

    stratum: tuple[int, int]
    deleted: tuple[int, ...]
    values: Mapping[str, Array]
    own_losses: tuple[float, ...]

    def differs(self, other: Retrained) -> bool:
        """Whether the same retraining has given other numbers."""
        shared = self.values.keys() & other.values.keys()
        same = all(np.array_equal(self.values[name], other.values[name]) for name in shared)
        return self.deleted != other.deleted or self.own_losses != other.own_losses or not same


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

    def _tolerance(self, probe: str, stratum: PlannedStratum) -> Tolerance | None:
        inside = {name: it for name, it in self.draws.items() if it.stratum == (stratum.least, stratum.most)}
        if len(inside) < stratum.count or any(self._value(probe, it) is None for it in inside.values()):
            return None
        names = tuple(sorted(inside))
        rows = [inside[name] for name in names]
        found = self._own_scores(rows) if probe == self.bundle.manifest.own_loss else self._scores(probe, rows)
        return tolerance(
            Draws(names=names, sizes=np.array([len(row.deleted) for row in rows]), scores=found),
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


def _draws(evidence: Evidence) -> Iterator[tuple[str, Retrained]]:
    planned, audit, row = evidence.planned, evidence.audit, 0
    if planned is None:
        raise AssumptionError(
            f"evidence {evidence.digest[:16]}... is an experiment: who made it chose what was drawn",
            hint="certificates rest on audits that a policy's [audit] fixed beforehand: `unlearnkit audit retrain`",
        )
    for stratum in planned.strata:
        for name in stratum.names():
            values = {probe: found[row] for probe, found in audit.probes.items()}
            own = audit.own_losses[row] if audit.own_losses else ()
            yield name, Retrained((stratum.least, stratum.most), audit.deletions[row], values, own)
            row += 1
