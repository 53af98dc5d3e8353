"""An unfinished sketch on disk: finished blocks of directions, so that an interrupted run goes on where it stopped.

Of many processes rank 0 has it; in the others, what is stored is on its way there.

.NAME.partial/run.json                               what is being computed; another call must ask for the same
.NAME.partial/blocks/00000-00032.safetensors         pinned probes along directions 0..31, written last
.NAME.partial/sketch/directions-00000-00032.safetensors   weights along them, where they are kept
.NAME.partial/model.safetensors, piecewise.json      the trained model and its reservations, with the first block
.NAME.partial/reverse/margins-range-0-40-0-32.safetensors  a finished reverse sweep
.NAME.partial/solo/0-64.safetensors                  pinned probes along units 0..63 of those asked for, written last
.NAME.partial/sketch/solo-00000-00064.safetensors    weights along them, where they are kept
.NAME.partial/informed/push-1-0-128.safetensors      a finished pass on the way to informed directions
.NAME.partial/states-x/0.safetensors                  states of the run that memory has no room for, while it works
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import safetensors.numpy

from unlearnkit.bundle import complex_numbers, real_pairs
from unlearnkit.bundle.manifest import InformedDirections, Piecewise, Positive, Precision, SoloUnits
from unlearnkit.bundle.tensors import parse_tensors, tensor_bytes
from unlearnkit.canonical import canonicalize, parse_canonical
from unlearnkit.errors import RefusedError
from unlearnkit.files import write_atomic
from unlearnkit.names import Pattern, Sha256
from unlearnkit.records import Count, from_json, read_json, to_json, write_json
from unlearnkit.sketching.lock import locked
from unlearnkit.sketching.ranks import Ranks
from unlearnkit.sketching.shelf import Shelf
from unlearnkit.sketching.spilled import remove_states

Array = np.ndarray[Any, Any]
T = TypeVar("T")


DigestOrNone = Annotated[str, Pattern("([0-9a-f]{64})?", "64 lower-case hexadecimal digits, or none")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What decides every byte of the bundle. ``salt``, ``chunk`` and lanes are settled by the first call."""

    schema: Literal["unlearnkit/partial/v1"] = "unlearnkit/partial/v1"
    recipe: Sha256
    degree: Positive
    directions: Count
    explicit: DigestOrNone  # of explicit directions
    salt: DigestOrNone
    dtype: Precision
    device: str
    keep_weights: bool
    chunk: Count
    reverse: str  # canonical JSON of each probe's rank and directions, "{}" for none
    informed: InformedDirections
    solo: SoloUnits
    keep_solo_weights: bool
    checkpoint: str  # of a log, from which the salt follows; "" for a salt that somebody chose
    solo_lanes: Count  # units at once
    lanes: Count  # cotangents, or real directions, or one of each combined, of one reverse sweep


_OPEN = frozenset({"salt", "chunk", "lanes", "solo_lanes"})  # a later call may leave these to the first one
_FOLDERS = ("blocks", "sketch", "reverse", "solo", "informed")


class PartialRun:
    """The folder of an unfinished sketch, locked while this object is open; of a process other than rank 0, none."""

    def __init__(self, path: Path | None, settings: Settings) -> None:
        self.settings = settings
        self.ranks = Ranks.here()
        self.folder = Path(tempfile.gettempdir()) if path is None else path  # where states may go
        self._shelf = Shelf(path, self.ranks)

    def blocks(self) -> list[tuple[int, int]]:
        """All blocks of directions, ``first`` up to but not including ``last``; an empty one where there are none."""
        count, chunk = self.settings.directions, self.settings.chunk
        if not count:
            return [(0, 0)]
        return [(first, min(first + chunk, count)) for first in range(0, count, chunk)]

    def is_finished(self, first: int, last: int) -> bool:
        """Whether a block is on disk. Its probes are written last, by a rename, so their file is the proof."""
        return self._shelf.has(_probes(first, last))

    def spread_blocks(self, work: Callable[[int, int], None], arrived: Callable[[int, int], None]) -> None:
        """Have all blocks stored that are not. arrived: called in rank 0 for those that others made."""
        self._shelf.spread(
            self.blocks(), lambda block: self.is_finished(*block), lambda b: work(*b), lambda b: arrived(*b)
        )

    def store_model(self, state: Mapping[str, Array], piecewise: Sequence[Piecewise]) -> None:
        """Keep the trained model, and the operations that the manifest must list; later blocks find the same."""
        self._write("model.safetensors", state)
        self._shelf.put("piecewise.json", canonicalize([to_json(entry) for entry in piecewise]))

    def store(self, first: int, last: int, probes: Mapping[str, Array], weights: Mapping[str, Array] | None) -> None:
        """Keep a block. probes: ``base/NAME``, ``coefficients/NAME``; weights ``[directions, degree, *S]``."""
        if weights is not None:
            self._write(_weights(first, last), weights)
        self._write(_probes(first, last), probes)

    def model(self) -> dict[str, Array]:
        """The trained model."""
        file = self._shelf.file("model.safetensors")
        return parse_tensors(file.read_bytes(), where=str(file))

    def piecewise(self) -> tuple[Piecewise, ...]:
        """Operations that the manifest must list."""
        file = self._shelf.file("piecewise.json")
        entries = parse_canonical(file.read_bytes(), where=str(file))
        return from_json(tuple[Piecewise, ...], entries, where=str(file))

    def probes(self) -> dict[str, tuple[Array, Array]]:
        """Base and coefficients of every probe, over all directions. Every block must be finished."""
        loaded = [self._read(_probes(*block)) for block in self.blocks()]
        names = sorted(key.removeprefix("base/") for key in loaded[0] if key.startswith("base/"))
        joined = {name: np.concatenate([block[f"coefficients/{name}"] for block in loaded]) for name in names}
        return {name: (loaded[0][f"base/{name}"], complex_numbers(joined[name])) for name in names}

    def base(self, name: str) -> Array:
        """Base of a probe."""
        return self._read(_probes(*self.blocks()[0]))[f"base/{name}"]

    def spread(
        self,
        folder: str,
        pieces: Mapping[str, T],
        make: Callable[[T], Mapping[str, Array]],
        arrived: Callable[[T], Any],
    ) -> None:
        """Have all pieces stored that are not, each under its name. arrived: see `spread_blocks`."""
        self._shelf.spread(
            list(pieces),
            lambda name: self.has_piece(folder, name),
            lambda name: self.store_piece(folder, name, make(pieces[name])),
            lambda name: arrived(pieces[name]),
        )

    def store_piece(self, folder: str, name: str, arrays: Mapping[str, Array]) -> None:
        """Keep a finished piece of the work on reverse sweeps, units alone or informed directions."""
        self._write(_piece(folder, name), arrays)

    def has_piece(self, folder: str, name: str) -> bool:
        """Whether such a piece is finished."""
        return self._shelf.has(_piece(folder, name))

    def load_piece(self, folder: str, name: str) -> dict[str, Array]:
        """Such a piece, in rank 0, where it is finished; complex arrays as pairs."""
        return self._read(_piece(folder, name))

    def store_solo_weights(self, first: int, last: int, weights: Mapping[str, Array]) -> None:
        """Keep the weights' series along units alone, ``[last - first, degree, *S]``, before the piece itself."""
        self._write(_solo_weights(first, last), weights)

    def solo_weights(self, first: int, last: int) -> Path:
        """The file of these."""
        return self._shelf.file(_solo_weights(first, last))

    def weight_files(self) -> list[tuple[int, int, Path]]:
        """First and last direction and file of each weight sketch, in order; none where weights are not kept."""
        if not (self.settings.keep_weights and self.settings.directions):
            return []
        return [(*block, self._shelf.file(_weights(*block))) for block in self.blocks()]

    def _write(self, name: str, tensors: Mapping[str, Array]) -> None:
        stored = {n: real_pairs(t) if np.iscomplexobj(t) else np.asarray(t, order="C") for n, t in tensors.items()}
        self._shelf.put(name, tensor_bytes(stored))

    def _read(self, name: str) -> dict[str, Array]:
        return dict(safetensors.numpy.load_file(self._shelf.file(name)))


def _probes(first: int, last: int) -> str:
    return f"blocks/{first:05d}-{last:05d}.safetensors"


def _weights(first: int, last: int) -> str:
    return f"sketch/directions-{first:05d}-{last:05d}.safetensors"


def _solo_weights(first: int, last: int) -> str:
    return f"sketch/solo-{first:05d}-{last:05d}.safetensors"


def _piece(folder: str, name: str) -> str:
    return f"{folder}/{name}.safetensors"


@contextmanager
def open_partial(final: Path, asked: Settings, fresh: Settings, *, overwrite: bool) -> Iterator[PartialRun]:
    """Begin, or go on with, the sketch that will become ``final``.

    asked: an empty ``salt`` or a ``chunk`` of 0 means: whatever the first call settled. fresh: what a first call takes.
    Raises RefusedError when the folder belongs to another computation, or another process is at work in it.
    """
    path = final.with_name(f".{final.name}.partial")
    with locked(path, busy=f"another process is sketching to {final}"):
        file = path / "run.json"
        settled = read_json(Settings, file.read_bytes(), where=str(file)) if file.exists() else None
        if overwrite and settled is not None and _difference(settled, asked):
            settled = None
        if settled is None:
            settled = fresh
            for folder in _FOLDERS:  # left over from another computation
                shutil.rmtree(path / folder, ignore_errors=True)
            write_atomic(file, write_json(fresh))
        _verify_same(path, settled, asked)
        for folder in _FOLDERS:
            (path / folder).mkdir(exist_ok=True)
        remove_states(path)  # of a run that was killed
        try:
            yield PartialRun(path, settled)
        finally:
            remove_states(path)


def _verify_same(path: Path, settled: Settings, asked: Settings) -> None:
    if name := _difference(settled, asked):
        there, here = getattr(settled, name), getattr(asked, name)
        message = f"{path} holds an unfinished sketch with {name}={there!r}, this call has {here!r}"
        raise RefusedError(message, hint="repeat the first call, or start over with overwrite=True")


def _difference(settled: Settings, asked: Settings) -> str:
    """The first setting that a later call has otherwise; empty when there is none."""
    for name in (field.name for field in fields(asked)):
        value = getattr(asked, name)
        if value != getattr(settled, name) and not (name in _OPEN and not value):
            return name
    return ""


@contextmanager
def replaced(final: Path) -> Iterator[None]:
    """Move what is at ``final`` aside while another takes its place; back, if that fails."""
    if not final.exists():
        yield
        return
    aside = final.with_name(f".{final.name}.{secrets.token_hex(8)}.replaced")
    final.rename(aside)
    try:
        yield
    except BaseException:
        if not final.exists():
            aside.rename(final)
        raise
    shutil.rmtree(aside)


def remove_stale(final: Path) -> None:
    """Remove what a run killed just after its bundle was published has left behind."""
    shutil.rmtree(final.with_name(f".{final.name}.partial"), ignore_errors=True)  # another process may be doing so too
