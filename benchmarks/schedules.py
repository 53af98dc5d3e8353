"""States of a run for the way back: our schedule beside the best that keeps to memory, and what a state on disk costs.

    python benchmarks/schedules.py [--repeats 5]

First table: steps that are computed again by `unlearnkit.sketching.stretches` and by the best recursive schedule
(binomial: Griewank and Walther 2000, Revolve; here of states that keep the gradients which were computed, as ours do,
found by dynamic programming), for as many states in memory at once. Where ours writes states to disk the last column
says how many steps writing and reading one of them might take before the binomial schedule would be as fast.

Second table: that time, measured for the perceptron of `benchmarks/first_order.py` with 1.1 million weights: states
written one after another and read in reverse, on the clock, with and without waiting until the disk has them; a step of
the plain run computed again, on the clock and in seconds of a processor. One thread; the median, and in brackets the
smallest and largest.
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


def clock(work: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measured(repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each kind, a number for each repeat."""
    run = make_run(recipe(1024, 1, STATES), "float32", "cpu")
    steps = PlainSteps(Trainer(run, 1))
    states, batches = [steps.start()], [list(run.batches(step)) for step in range(STATES)]
    for step in range(STATES):
        states.append(steps.advance(step, states[-1], batches[step]))

    def again() -> None:
        for step in range(STATES):
            steps.advance(step, states[step], batches[step])

    found: dict[str, list[float]] = {}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            kept = SpilledStates(Path(folder), states[0])

            def write() -> None:
                for state in states[:STATES]:
                    kept.append(state)  # noqa: B023

            def write_through() -> None:
                write()
                os.sync()

            os.sync()
            taken = {"written": clock(write)}
            taken["read"] = clock(lambda: [kept[n] for n in reversed(range(STATES))])  # noqa: B023
            kept.clear()
            os.sync()
            taken["written, until the disk has it"] = clock(write_through)
        start = time.process_time()
        taken["a step again"] = clock(again)
        taken["the same, of a processor"] = time.process_time() - start
        for name, seconds in taken.items():
            found.setdefault(name, []).append(seconds / STATES * 1e3)
    return found


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
    print("\n| a state of 1.1 million weights, SGD with momentum | ms |\n| --- | --- |")
    for name, values in measured(options.repeats).items():
        print(f"| {name} | {statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g}) |")


if __name__ == "__main__":
    main()
