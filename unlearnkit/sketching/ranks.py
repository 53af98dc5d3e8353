"""Many processes at one piece of work: which one this is, what rank 0 tells the others, and what they hand to it.

Rank 0 leads: it says what is next, and keeps what is made; so nobody else needs its disk. What travels is bytes: files
as they will lie there, arrays as npy, errors as JSON, and nothing that is executed. It travels by gloo also between
machines with GPUs: a finished piece is in the memory of the host, and its way ends on a disk.
"""

from __future__ import annotations

import io
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist

from unlearnkit import errors
from unlearnkit.errors import UnlearnkitError
from unlearnkit.records import read_json, write_json

Array = np.ndarray[Any, Any]
Files = Mapping[str, bytes]
T = TypeVar("T")

# A piece may take very long; that its process was killed shows at once, by the closed connection.
_PATIENCE = timedelta(days=365)
_AT_ONCE = 2**30

LOST = os.EX_TEMPFAIL
"""With this code a process exits that cannot go on because another one was killed."""

RESTARTS = 3
"""So often are processes started again of which one was killed."""


class PeerLostError(Exception):
    """Another process of the group is gone, and this one cannot go on; what rank 0 has is kept."""


class DismissedError(Exception):
    """Rank 0 has no more for this process to do."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which of how many processes this is. One alone is rank 0 and tells itself."""

    rank: int = 0
    size: int = 1

    @classmethod
    def here(cls) -> Ranks:
        """In the group that this process has `joined`; else one alone, also in a group that trains together."""
        return _HERE.get(cls())

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def told(self, make: Callable[[], Array]) -> Array:
        """The same array in every process; rank 0 makes it.

        Raises DismissedError in the others when rank 0 is at its end, also by an error.
        """
        if not self.leads:
            return _listen()
        made = make()
        for rank in range(1, self.size):
            _send(_npy(made), rank)
        return made

    def say(self, raw: bytes) -> None:
        """Tell the others these bytes."""
        self.told(lambda: np.frombuffer(raw, np.uint8))

    def heard(self) -> bytes:
        """In another process than rank 0, what rank 0 says. Raises as `told`."""
        return _listen().tobytes()

    def gathered(self, make: Callable[[], Files], keep: Callable[[str, bytes], None]) -> None:
        """Let every process make some files, and rank 0 keep all of them, by their names and in their order.

        Raises in rank 0 what went wrong, if anything did, in the first process where it did; it then dismisses the
        others.
        """
        if not self.leads:
            _hand_over(make)
            return

        def own() -> None:
            for name, raw in make().items():
                keep(name, raw)

        failures = _failures(own)
        for rank in range(1, self.size):  # all of them, whatever failed: each waits until it is heard
            handed = read_json(_Handed, _receive(rank), where=f"what process {rank} says")
            failures += handed.failures(rank, self.size)
            for name in handed.files:
                raw = _receive(rank)
                failures += _failures(lambda name=name, raw=raw: keep(name, raw))  # type: ignore[misc]
        if failures:
            raise failures[0]

    def together(self, work: Callable[[], T]) -> T:
        """Do something in every process at the same time. Raises as `gathered`."""
        made: list[T] = []
        self.gathered(lambda: made.append(work()) or {}, lambda _, __: None)  # type: ignore[func-returns-value]
        return made[0]

    def dismiss(self) -> None:
        """As rank 0, tell the others that there is no more to do."""
        for rank in range(1, self.size) if self.leads else ():
            with suppress(PeerLostError):
                _send(b"", rank)


_HERE: ContextVar[Ranks] = ContextVar("ranks")


@contextmanager
def joined() -> Iterator[Ranks]:
    """Be one of the processes that ``torchrun`` started: rank 0 dismisses the others at its end. Else one alone.

    Each takes the GPU of its number, where there are some. Raises PeerLostError when another one was killed.
    """
    if not is_launched():
        yield Ranks()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    with _peers():
        dist.init_process_group("gloo", timeout=_PATIENCE)
    ranks = Ranks(dist.get_rank(), dist.get_world_size())
    token = _HERE.set(ranks)
    try:
        yield ranks
    except PeerLostError:
        raise
    except Exception:
        ranks.dismiss()
        raise
    else:
        ranks.dismiss()
    finally:
        _HERE.reset(token)
        dist.destroy_process_group()


def is_launched() -> bool:
    """Whether ``torchrun``, or `unlearnkit.sketching.launch`, started this process, with others beside it."""
    return dist.is_available() and dist.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Handed:
    """What a process says before it hands its files over. error: a class of `unlearnkit.errors`; "" for none."""

    files: tuple[str, ...] = ()
    error: str = ""
    message: str = ""
    hint: str = ""

    @classmethod
    def failed(cls, err: Exception) -> _Handed:
        """The nearest class of the error that is made of a message and a hint alone."""
        if not isinstance(err, UnlearnkitError):
            last = traceback.extract_tb(err.__traceback__)[-1]
            where = f"{last.filename}, line {last.lineno}"
            return cls(error=UnlearnkitError.__name__, message=f"{type(err).__name__}: {err} ({where})")
        plain = next(kind for kind in type(err).__mro__ if kind.__init__ is UnlearnkitError.__init__)  # type: ignore[misc]
        return cls(error=plain.__name__, message=str(err), hint=err.hint or "")

    def failures(self, rank: int, size: int) -> list[Exception]:
        """The error, if it is one."""
        if not self.error:
            return []
        return [getattr(errors, self.error)(f"process {rank} of {size}: {self.message}", hint=self.hint or None)]


def _failures(act: Callable[[], object]) -> list[Exception]:
    """What goes wrong, if anything does: rank 0 has to know, whatever it is."""
    try:
        act()
    except PeerLostError:
        raise
    except Exception as err:  # noqa: BLE001
        return [err]
    return []


def _hand_over(make: Callable[[], Files]) -> None:
    """Make files and send them to rank 0; when that fails, send why, and wait to be dismissed."""
    made: dict[str, bytes] = {}
    failures = _failures(lambda: made.update(make()))
    _send(write_json(_Handed.failed(failures[0]) if failures else _Handed(files=tuple(made))), 0)
    for raw in made.values():
        _send(raw, 0)
    if failures:
        _listen()


def _listen() -> Array:
    """What rank 0 tells. Raises DismissedError."""
    raw = _receive(0)
    if not raw:
        raise DismissedError
    return np.lib.format.read_array(io.BytesIO(raw), allow_pickle=False)


def _npy(array: Array) -> bytes:
    raw = io.BytesIO()
    np.lib.format.write_array(raw, array, allow_pickle=False)
    return raw.getvalue()


def _send(raw: bytes, rank: int) -> None:
    with _peers():
        dist.send(torch.tensor([len(raw)]), rank)
        for part in _parts(torch.frombuffer(bytearray(raw or b" "), dtype=torch.uint8)[: len(raw)]):
            dist.send(part, rank)


def _receive(rank: int) -> bytes:
    with _peers():
        length = torch.zeros(1, dtype=torch.int64)
        dist.recv(length, rank)
        raw = torch.empty(int(length), dtype=torch.uint8)
        for part in _parts(raw):
            dist.recv(part, rank)
        return raw.numpy().tobytes()


def _parts(raw: torch.Tensor) -> list[torch.Tensor]:
    """Pieces that travel at once: lengths beyond 32 bits are nowhere tried."""
    return [raw[first : first + _AT_ONCE] for first in range(0, len(raw), _AT_ONCE)]


@contextmanager
def _peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as err:  # gloo's closed connections have no class of their own
        raise PeerLostError(str(err)) from err
