"""Sketches as entries of the log: what will be computed is recorded before it is, and then what came out.

The random directions follow from the recipe's digest and the log up to the commitment, so that nobody chose them; and
that a recipe was sketched twice stands in the log (docs/theory.md section 4.6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from unlearnkit.compliance.log.entry import Entry
from unlearnkit.errors import VerificationError
from unlearnkit.names import Sha256
from unlearnkit.records import Count, from_json


class SketchEvent(StrEnum):
    """What can happen to a sketch; the values are types of entries."""

    COMMITTED = "sketch-committed"
    FINISHED = "sketch-finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """A recipe will be sketched. recipe: its digest. settings: digest of what is computed, see `SketchSettings`."""

    recipe: Sha256
    settings: Sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A sketch is on disk. commitment: the entry that announced it. bundle: digest of its manifest."""

    commitment: Count
    bundle: Sha256


SKETCH_BODIES: Mapping[SketchEvent, type[Committed | Finished]] = {
    SketchEvent.COMMITTED: Committed,
    SketchEvent.FINISHED: Finished,
}
"""What each kind of entry says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """A sketch as the log tells it. index: of the entry that announced it. bundle: None until it is finished."""

    index: int
    recipe: str
    settings: str
    bundle: str | None = None


_EVENTS = frozenset(SketchEvent)


class Sketches:
    """All sketches of a log, by the entries that announced them."""

    def __init__(self) -> None:
        self.commitments: dict[int, Commitment] = {}

    def of_recipe(self, recipe: str, *, before: int | None = None) -> tuple[Commitment, ...]:
        """Those of a recipe, in order. before: only what was announced before this entry; None: everything."""
        found = (item for item in self.commitments.values() if item.recipe == recipe)
        return tuple(item for item in found if before is None or item.index < before)

    def replay(self, entry: Entry) -> None:
        """Take in an entry; those about other things are let by.

        Raises FormatError for a malformed body, VerificationError for a step that should not have been recorded.
        """
        if entry.type in _EVENTS:
            self.apply(entry.index, SketchEvent(entry.type), entry.body)

    def apply(self, index: int, kind: SketchEvent, body: Mapping[str, Any]) -> None:
        """Take in a step; raises as `replay` does."""
        said = from_json(SKETCH_BODIES[kind], body, where=f"entry {index}: {kind}")
        if isinstance(said, Committed):
            self.commitments[index] = Commitment(index=index, recipe=said.recipe, settings=said.settings)
            return
        known = self.commitments.get(said.commitment)
        if known is None or known.bundle is not None:
            what = "announced no sketch" if known is None else "announced a sketch that is finished already"
            raise VerificationError(f"log entry {index} is not a legal step: entry {said.commitment} {what}")
        self.commitments[known.index] = replace(known, bundle=said.bundle)
