"""The least memory budget that a sketch accepts."""

from __future__ import annotations

import re
from collections.abc import Callable

from unlearnkit.errors import RefusedError


def least(make: Callable[[int], object]) -> int:
    """make: takes a budget. Begins with one byte, and follows what the refusals ask for until one is accepted."""
    budget = 1
    while True:
        try:
            make(budget)
        except RefusedError as error:
            needed = int(re.search(r"takes (\d+)$", str(error)).group(1))
            assert needed > budget, "a budget that was asked for is refused"
            budget = needed
        else:
            return budget
