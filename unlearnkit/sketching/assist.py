"""What the processes beside rank 0 do for a sketch: the same stages, by the settings that rank 0 tells them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import numpy as np

from unlearnkit.errors import VerificationError
from unlearnkit.records import read_json, write_json
from unlearnkit.sketching.asked import directions
from unlearnkit.sketching.forward import ForwardSketching
from unlearnkit.sketching.memory import Memory
from unlearnkit.sketching.ranks import Array, DismissedError, Ranks
from unlearnkit.sketching.stages import Stages
from unlearnkit.sketching.store import PartialRun, Settings
from unlearnkit.training.recipe import Recipe
from unlearnkit.training.run import make_run

_NONE = np.empty((0, 0))


def assist(load: Callable[[], Recipe]) -> None:
    """Work on the sketch that rank 0 makes, and write nothing, until it has no more to do.

    Args:
        load: Returns the recipe, the same as in rank 0. What goes wrong in it, or later, is raised in rank 0.

    """
    ranks, recipe = Ranks.here(), Tried(load)
    with suppress(DismissedError):
        asked, explicit = _told(ranks)
        sketching = ranks.together(lambda: _prepared(recipe.get(asked.recipe), asked))
        settled, _ = _told(ranks)
        source = directions(settled, recipe.get(settled.recipe), explicit if settled.explicit else None)
        partial = PartialRun(None, settled)
        Stages(sketching, partial, source, _memory_told(ranks, partial.folder), progress=False).found()
        ranks.heard()  # that this is the end


def tell(ranks: Ranks, settings: Settings, explicit: Array | None = None) -> None:
    """Tell the others what is asked for: settings, and directions that somebody chose."""
    ranks.say(write_json(settings))
    ranks.told(lambda: _NONE if explicit is None else explicit)


def tell_memory(ranks: Ranks, memory: Memory) -> Memory:
    """Tell the others how much each may take."""
    ranks.told(lambda: np.array([memory.bytes, memory.exact]))
    return memory


def _memory_told(ranks: Ranks, folder: Path) -> Memory:
    most, exact = ranks.told(_nothing).tolist()
    return Memory(most, folder, exact=bool(exact))


def _told(ranks: Ranks) -> tuple[Settings, Array]:
    settings = read_json(Settings, ranks.heard(), where="what rank 0 says")
    return settings, ranks.told(_nothing)


def _prepared(recipe: Recipe, asked: Settings) -> ForwardSketching:
    """The same traces as in rank 0."""
    sketching = ForwardSketching(make_run(recipe, asked.dtype, asked.device), asked.degree)
    sketching.prepare()
    return sketching


class Tried:
    """A recipe, or the error of loading it, which is raised later: rank 0 has to know, and waits for it then."""

    def __init__(self, load: Callable[[], Recipe]) -> None:
        self._error: Exception | None = None
        try:
            self._recipe = load()
        except Exception as err:  # noqa: BLE001  it is raised when it is asked for
            self._error = err

    def get(self, digest: str) -> Recipe:
        """The recipe, which must be that of rank 0."""
        if self._error is not None:
            raise self._error
        if self._recipe.digest != digest:
            raise VerificationError("the recipe is not that of process 0", hint="it must not depend on the process")
        return self._recipe


def _nothing() -> NoReturn:
    raise AssertionError("rank 0 does not assist")
