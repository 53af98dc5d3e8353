"""The pieces that sweeps are made of, and a power failure after some of them."""

from __future__ import annotations

from pathlib import Path

from unlearnkit.sketching.store import PartialRun


class Stop(Exception):
    """The power goes off."""


def pieces(monkeypatch, stop: int = -1) -> list[str]:
    """The names of the pieces that are stored from now on; after ``stop`` of them the power goes off."""
    stored: list[str] = []
    store = PartialRun.store_piece

    def until(self, *args):
        if len(stored) == stop:
            raise Stop
        stored.append(args[1])
        store(self, *args)

    monkeypatch.setattr(PartialRun, "store_piece", until)
    return stored


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
