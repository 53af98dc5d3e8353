"""When a key counts: signatures that were there before it did, or only after it ended, are a stranger's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Validity:
    """From ``since`` on and before ``until``, both aware; None: without such an end."""

    since: datetime | None = None
    until: datetime | None = None

    def covers(self, at: datetime) -> bool:
        """Whether it counts then."""
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)

    def ended(self, at: datetime) -> Validity:
        """The same, but that it ends then at the latest."""
        return Validity(self.since, at if self.until is None else min(at, self.until))


ALWAYS = Validity()
