"""States of a run for the way back: our schedule beside the best that keeps to memory, and what a state on disk costs.

    python benchmarks/schedules.py [--repeats 5]

First table: steps that are computed again by `unlearnkit.sketching.stretches` and by the best recursive schedule
(binomial: Griewank and Walther 2000, Revolve; here of states that keep the gradients which were computed, as ours do,
found by dynamic programming), for as many states in memory at once. Where ours writes states to disk the last column
says how many steps writing and reading one of them might take before the binomial schedule would be as fast.

Second table: that time, measured for the perceptron of `benchmarks/first_order.py` with 1.1 million weights: states
written one after another, with and without waiting until the disk has them, and read in reverse; a step of the plain
run computed again. One thread; the median, and in brackets the smallest and largest.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from first_order import recipe  # type: ignore[import-not-found]  # beside this file

from unlearnkit.sketching.spilled import SpilledStates
from unlearnkit.sketching.stretches import Stretches
from unlearnkit.training.plain import PlainSteps
from unlearnkit.training.run import make_run
from unlearnkit.training.state import GroupState, constant_of
from unlearnkit.training.trainer import Trainer

ROOMS = {100: (5, 10, 20, 50), 1000: (5, 10, 20, 63, 200), 10_000: (10, 20, 50, 100, 200)}
STATES = 20
_NEVER = 1 << 60


def binomial(steps: int, rooms: Sequence[int]) -> dict[int, int]:
    """Steps computed again by the best recursive schedule that keeps so many states at once, for some such numbers.

    A chain of ``l`` steps from a kept state is computed once where all its states fit. Else ``j`` steps are done, the
    state after them is kept, what follows goes first with a state less, and the ``j`` steps after it with as many as
    before, for which a single step has its gradient still.
    """
    found: dict[int, int] = {}
    fewer = np.full(steps + 1, _NEVER, dtype=np.int64)
    fewer[:2] = 0, 1
    for states in range(2, max(rooms) + 1):
        done = np.arange(steps + 1)  # steps that are computed, of a chain of each length
        again = done.copy()
        again[1] = 0
        for length in range(states + 1, steps + 1):
            tried = np.arange(1, length) + fewer[length - 1 : 0 : -1] + again[1:length]
            done[length] = again[length] = tried.min()
        fewer = done
        if states in rooms:
            found[states] = int(fewer[steps]) - steps
    return found


def compared(steps: int, room: int, best: int) -> str:
    """A line of the first table. best: steps again of the binomial schedule."""
    ours = Stretches.fitting(steps, 1, room, may_spill=True)
    even = f"{(best - ours.again) / ours.checkpoints:.1f}" if ours.on_disk else ""
    on_disk = f"{ours.checkpoints:,}" if ours.on_disk else "0"
    return f"| {steps:,} | {room:,} | {ours.again:,} | {on_disk} | {best:,} | {even} |"


def measured(repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Milliseconds of each kind, on the clock and of a processor, for each repeat."""
    run = make_run(recipe(1024, 1, STATES), "float32", "cpu")
    steps = PlainSteps(Trainer(run, 1))
    states, batches = [steps.start()], [list(run.batches(step)) for step in range(STATES)]
    for step in range(STATES):
        states.append(steps.advance(step, states[-1], batches[step]))
    found: dict[str, list[tuple[float, float]]] = {}

    def note(name: str, work: Callable[[], object]) -> None:
        clock, processor = time.perf_counter(), time.process_time()
        work()
        taken = time.perf_counter() - clock, time.process_time() - processor
        found.setdefault(name, []).append((taken[0] / STATES * 1e3, taken[1] / STATES * 1e3))

    def write(kept: SpilledStates) -> None:
        for state in states[:STATES]:
            kept.append(state)

    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            kept = SpilledStates(Path(folder), states[0])
            os.sync()
            note("written", lambda: write(kept))  # noqa: B023
            note("read", lambda: [_touched(kept[n]) for n in reversed(range(STATES))])  # noqa: B023
            kept.clear()
            os.sync()
            note("written, until the disk has it", lambda: (write(kept), os.sync()))  # noqa: B023
        note("a step again", lambda: [steps.advance(n, states[n], batches[n]) for n in range(STATES)])
    return found


def _touched(states: list[GroupState]) -> float:
    """Files are mapped into memory: what is read is what is looked at."""
    leaves = [leaf for state in states for leaf in (state.weights, *state.moments)]
    return sum(float(constant_of(leaf).sum()) for leaf in leaves)


def told(values: Sequence[float]) -> str:
    """Median, smallest and largest."""
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| steps | states in memory | again | on disk | again, binomial | as fast if a state took steps |")
    print("| --- | --- | --- | --- | --- | --- |")
    for steps, rooms in ROOMS.items():
        for room, best in binomial(steps, rooms).items():
            print(compared(steps, room, best), flush=True)
    print("\n| 1.1 million weights, SGD with momentum | ms on the clock | ms of a processor |\n| --- | --- | --- |")
    for name, values in measured(options.repeats).items():
        clock, processor = zip(*values, strict=True)
        print(f"| {name} | {told(clock)} | {told(processor)} |")


if __name__ == "__main__":
    main()
