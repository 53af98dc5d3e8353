"""A recipe for many processes, in small pieces; process 1 notes what it makes, and may be killed at a certain piece.

It reads from its environment ``NOTES``, a file for the names of what it makes, and ``KILLED``, the piece at which it is
killed when it makes that for the first time.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import unlearnkit as uk
from tests.training import small
from unlearnkit.sketching import sizing
from unlearnkit.sketching.shelf import Shelf

LANES = {"SOLO_LANES": {"cpu": 3}, "SWEEP_LANES": 3}
_put = Shelf.put


def recipe() -> uk.Recipe:
    return small.recipe("sgd", epochs=1, probes={"probe": small.probe})


def spread() -> uk.Recipe:
    """The same, in a process of its own."""
    for name, lanes in LANES.items():
        setattr(sizing, name, lanes)
    if os.environ["RANK"] == "1":
        Shelf.put = put_and_noted
    return recipe()


def put_and_noted(shelf: Shelf, name: str, raw: bytes) -> None:
    _put(shelf, name, raw)
    notes = Path(os.environ["NOTES"])
    made = notes.read_text().split() if notes.exists() else []
    notes.write_text("\n".join([*made, name]))
    if name == os.environ.get("KILLED") and name not in made:
        os.kill(os.getpid(), signal.SIGKILL)
