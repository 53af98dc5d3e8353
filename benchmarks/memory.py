"""Peak memory of a sketch against its budget.

    python benchmarks/memory.py [--cases medium,large,small] [--kinds first,forward,rank,solo,informed] [--steps 10]

Each sketch is made in a process of its own, which has made one of a tiny model before, so that what is measured is not
the loading of modules. Resident memory above what the process had before the sketch, and bytes of tensors at once; how
the states of the run were kept for the way back. Prints a markdown table.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from first_order import recipe

import unlearnkit as uk
from unlearnkit.errors import RefusedError
from unlearnkit.sketching.memory import Counted
from unlearnkit.sketching.trajectory import Trajectory

# Width, elements, budgets in MB.
CASES = {"small": (40, 10, (2, 4, 16)), "medium": (512, 4, (72, 96, 192)), "large": (1024, 4, (160, 256, 512))}
KINDS: dict[str, dict[str, Any]] = {
    "first": {},
    "forward": {"forward": uk.Forward(directions=16, degree=2)},
    "rank": {"reverse": {"logits": uk.Reverse(rank=4, residual=2)}},
    "solo": {"solo": uk.Solo(degree=2, units=[f"unit-{i}" for i in range(16)])},
    "informed": {"informed": uk.Informed(8)},
}


def resident(field: str) -> int:
    """Bytes of this process by the kernel: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def measured(case: str, kind: str, budget: int, steps: int, *, count: bool) -> dict[str, Any]:
    """One sketch. count: bytes of tensors, which takes time and some memory; else resident ones."""
    width, elements, _ = CASES[case]
    states: list[str] = []
    make_room = Trajectory.make_room

    def watched(self: Trajectory, held: Callable[[], int]) -> None:
        make_room(self, held)
        if self.stretches.steps == steps:
            states.append(str(self.stretches))

    with tempfile.TemporaryDirectory() as folder:
        uk.sketch(recipe(8, elements, 10), Path(folder) / "tiny", device="cpu", progress=False, **KINDS[kind])
        r, counted = recipe(width, elements, steps), Counted()
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
        Trajectory.make_room = watched  # type: ignore[method-assign]
        settings = {"device": "cpu", "progress": False, "memory_budget": budget, **KINDS[kind]}
        try:
            if count:
                with counted:
                    uk.sketch(r, Path(folder) / "bundle", **settings)
            else:
                uk.sketch(r, Path(folder) / "bundle", **settings)
        except RefusedError as error:
            return {"refused": str(error)}
        return {"tensors": counted.peak, "resident": resident("VmHWM") - before, "states": states[-1] if states else ""}


def main() -> None:
    """Measure, and print a line for each sketch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="medium")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.one:
        print(json.dumps(measured(**json.loads(options.one))))
        return
    print("| model | sketch | budget, MB | tensors, MB | resident, MB | over budget | states of the run |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for case in options.cases.split(","):
        for kind in options.kinds.split(","):
            for budget in CASES[case][2]:
                call = {"case": case, "kind": kind, "budget": int(budget * 1e6), "steps": options.steps}
                row: dict[str, Any] = {}
                for count in (False, True):
                    one = json.dumps({**call, "count": count})
                    done = subprocess.run(  # noqa: S603  ourselves
                        [sys.executable, __file__, "--one", one], capture_output=True, text=True, check=True
                    )
                    found = json.loads(done.stdout.splitlines()[-1])
                    row |= {k: v for k, v in found.items() if k != ("resident" if count else "tensors")}
                if "refused" in row:
                    print(f"| {case} | {kind} | {budget} | | | | refused: {row['refused']} |", flush=True)
                    continue
                tensors, used = row["tensors"] / 1e6, row["resident"] / 1e6
                ratio = f"{tensors / budget:.2f}, {used / budget:.2f}"
                print(
                    f"| {case} | {kind} | {budget} | {tensors:.3g} | {used:.3g} | {ratio} | {row['states']} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
