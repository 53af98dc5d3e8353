"""What time and memory to expect of a sketch, said before it starts."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from tqdm import tqdm

from unlearnkit.bundle.work import work
from unlearnkit.sketching.cost import model_copies, plain_beside, plain_seconds, plain_state, probe_sizes
from unlearnkit.sketching.memory import Memory
from unlearnkit.sketching.ranks import Ranks
from unlearnkit.sketching.settings import Reverse
from unlearnkit.sketching.store import Settings
from unlearnkit.sketching.stretches import Stretches
from unlearnkit.training.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """Of a sketch. trainings: plain ones that take as long. seconds: of all. memory: bytes beside the model.

    states: of the run, which a reverse sweep goes back through; None where there is no sweep.
    """

    trainings: float
    seconds: float
    memory: int
    states: Stretches | None = None

    def __str__(self) -> str:
        took, memory = _in_words(self.seconds), self.memory / 1e6
        told = f"about {took} ({self.trainings:.3g} plain trainings) and {memory:.3g} MB of memory beside the model"
        return told if self.states is None else f"{told}; {self.states}"


def is_shown(*, progress: bool | None) -> bool:
    """Whether progress bars are: None shows them on a terminal."""
    return sys.stderr.isatty() if progress is None else progress


def announce(run: Run, settings: Settings, reverse: Mapping[str, Reverse], per_lane: int, memory: Memory) -> None:
    """Say on stderr what to expect. Arguments as in `expected`."""
    found = expected(run, settings, reverse, per_lane, memory)
    alone = " in one process" if Ranks.here().size > 1 else ""
    tqdm.write(f"{run.recipe.name}: expect {found}, of that order{alone}", file=sys.stderr)


def expected(
    run: Run, settings: Settings, reverse: Mapping[str, Reverse], per_lane: int, memory: Memory
) -> Expectation:
    """What a sketch takes from its start to its end, by some plain steps that are timed.

    per_lane: bytes of a real tail of degree one. memory: what sweeps may take.
    """
    sizes = probe_sizes(run)
    trainings = work(
        sweeps=bool(reverse),
        products=sum((2 * wanted.rank + wanted.residual) * sizes[name] for name, wanted in reverse.items()),
        directions=settings.degree * settings.directions,
        informed=settings.informed,
        alone=settings.solo.degree * len(settings.solo.units),
    )
    states = _states(run, settings, reverse, memory) if reverse or settings.informed.count else None
    return Expectation(
        trainings=trainings,
        seconds=trainings * plain_seconds(run),
        memory=(states.memory if states else 0)
        + per_lane * _tails(settings, sizes, reverse)
        + model_copies(run)
        + plain_beside(run),
        states=states,
    )


def _tails(settings: Settings, sizes: Mapping[str, int], reverse: Mapping[str, Reverse]) -> int:
    """Real tails of degree one that the largest piece of work holds at once."""
    forward = 2 * settings.degree * min(settings.chunk, settings.directions)  # complex
    alone = settings.solo.degree * min(settings.solo_lanes, len(settings.solo.units))
    asked = [sizes[name] * (2 * wanted.rank + wanted.residual + 1) for name, wanted in reverse.items()]
    swept = 2 * min(settings.lanes, max([*asked, settings.informed.count]))
    spanned = max(
        (min(2 * settings.lanes, r * settings.informed.points(r)) for r in settings.informed.degrees), default=0
    )
    return max(forward, alone, swept, spanned)


def _states(run: Run, settings: Settings, reverse: Mapping[str, Reverse], memory: Memory) -> Stretches:
    """How the states are kept that the largest sweep goes back through, about."""
    along = any(wanted.rank or wanted.residual for wanted in reverse.values())
    size = plain_state(run) * (1 + along * settings.lanes)
    return Stretches.fitting(run.recipe.steps, size, memory.bytes // 2, may_spill=memory.folder is not None)


def _in_words(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
