"""`unlearnkit.sketch` with flat settings, for tests that vary them one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import unlearnkit as uk


def sketched(
    recipe: uk.Recipe,
    path: Path,
    *,
    directions: Any = 256,
    degree: int = 2,
    keep_weights: bool = False,
    chunk: Any = "auto",
    informed: int = 0,
    informed_degree: int = 1,
    leading: int = 32,
    power_iterations: int = 1,
    reverse: Mapping[str, uk.Reverse] | None = None,
    **settings: Any,
) -> uk.Bundle:
    """No directions, no forward sketch; no informed ones, none of those."""
    forward = None
    if not isinstance(directions, int) or directions:
        forward = uk.Forward(directions=directions, degree=degree, keep_weights=keep_weights, chunk=chunk)
    found = uk.Informed(informed, informed_degree, leading, power_iterations) if informed else None
    return uk.sketch(recipe, path, forward=forward, reverse=reverse or {}, informed=found, **settings)
