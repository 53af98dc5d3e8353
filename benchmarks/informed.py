"""Corrected models by informed directions, of degree one and two, alone and beside series of those who leave.

    python -m benchmarks.informed

The digits example, 200 people: 24 single ones, 9 sets of 5, 6 of 20, those of `benchmarks/unlearning.py`. Remaining
share: distance of all weights to the retrained model's over that of the kept model, median. Own loss: sum of absolute
errors of the leaving people's own losses over the sum of their absolute changes; of sets: the same of each set's sum.
Each sketch is made anew, and timed. Prints Markdown.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

import unlearnkit as uk

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.unlearning import Bench, of_digits
from tests.sketching.people import distance, loaded, own_losses
from unlearnkit.errors import AssumptionError

SOLO = "series of those who leave"
WAYS: dict[str, dict[str, object]] = {
    SOLO: {},
    **{f"and degree 2 of the leading {p} of 128": {"informed": uk.Informed(128, 2, p)} for p in (16, 32, 64)},
    "128 informed directions": {"informed": uk.Informed(128)},
    **{f"and degree 2 of the leading {p}": {"informed": uk.Informed(128, 2, p)} for p in (32, 64)},
}


def judged(bench: Bench, bundle: uk.Bundle, sets: Sequence[list[int]], reals: Sequence[nn.Module]) -> str:
    """The cells of one row: share, own loss, of sets; refused deletions are counted, and are the kept model."""
    recipe = bench.recipe
    kept = loaded(recipe, {n: torch.from_numpy(a.copy()) for n, a in bundle.model_state().items()})
    shares, off, moved, refused = [], [], [], 0
    for leaving, real in zip(sets, reals, strict=True):
        try:
            made = loaded(recipe, bundle.corrected_model(recipe.model, [recipe.unit_names[i] for i in leaving]))
        except AssumptionError:
            made, refused = kept, refused + 1
        truth = own_losses(recipe, real)
        shares.append(distance(made, real) / distance(kept, real))
        off.append((own_losses(recipe, made) - truth)[leaving])
        moved.append((own_losses(recipe, kept) - truth)[leaving])
    own = np.abs(np.concatenate(off)).sum() / np.abs(np.concatenate(moved)).sum()
    of_sets = sum(abs(part.sum()) for part in off) / sum(abs(part.sum()) for part in moved)
    return f"{np.median(shares):.3g} | {own:.3g} | {of_sets:.3g}" + (f" ({refused} refused)" if refused else "")


def main() -> None:
    """A row for each way."""
    torch.set_num_threads(1)
    bench = of_digits()
    recipe, sets = bench.recipe, bench.sets()
    reals = {
        size: [
            uk.retrain(recipe, delete=[recipe.unit_names[i] for i in leaving], device="cpu").eval() for leaving in group
        ]
        for size, group in sets.items()
    }
    people = sorted({who for group in sets.values() for leaving in group for who in leaving})
    solo = uk.Solo(3, units=[recipe.unit_names[who] for who in people], keep_weights=True)
    print("| way | " + " | ".join(f"{size}: share | own loss | of sets" for size in sets) + " | seconds |")
    print("| --- " * (2 + 3 * len(sets)) + "|")
    beside = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, settings) in enumerate(WAYS.items()):
            beside = {"solo": solo} if name == SOLO else {} if name.startswith("128") else beside
            start = time.perf_counter()
            path = Path(folder) / str(number)
            bundle = uk.sketch(
                recipe,
                path,
                **settings,
                **beside,
                reverse={},
                seed=0,
                device="cpu",
                progress=False,  # type: ignore[arg-type]
            )
            took = time.perf_counter() - start
            cells = [judged(bench, bundle, group, reals[size]) for size, group in sets.items()]
            print(f"| {name} | {' | '.join(cells)} | {took:.0f} |", flush=True)


if __name__ == "__main__":
    main()
