"""The checks of a verification: which have passed, what each found, and what nobody looked at."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Check:
    """A check that has passed. found: what it found, in words."""

    name: str
    found: str


class Checklist:
    """Filled in by a verification as it goes on; each check is logged, with the time since the one before it.

    about: what is verified, for the log.
    """

    def __init__(self, about: str) -> None:
        self.about = about
        self._passed: list[Check] = []
        self._unchecked: list[str] = []
        self._since = time.perf_counter()

    @property
    def passed(self) -> tuple[Check, ...]:
        """The checks that have passed, in the order in which they were done."""
        return tuple(self._passed)

    @property
    def unchecked(self) -> tuple[str, ...]:
        """What was not checked, in words."""
        return tuple(self._unchecked)

    def add(self, name: str, found: str) -> None:
        """A check has passed."""
        now = time.perf_counter()
        _logger.info("%s: %s: %s (%.2f s)", self.about, name, found, now - self._since)
        self._passed.append(Check(name, found))
        self._since = now

    def leave_out(self, *what: str) -> None:
        """Something was not checked, and whoever reads the result should know."""
        self._unchecked.extend(what)
