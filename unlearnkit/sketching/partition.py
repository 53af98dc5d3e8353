"""How lanes that could go together are cut into pieces for many processes, at little cost for one.

Each piece of a sweep computes the run's own gradients again, beside what it does for its lanes: a time that does not
shrink with it. Where products of matrices dominate that is soon little. The cut depends on the model, the batches and
the number of lanes, and on no number of processes, so that all make the same pieces.
"""

from __future__ import annotations

from unlearnkit.training.run import Run

# Multiplications of a piece, lanes times weights times examples of a batch, from which products dominate on a
# processor: a piece of eight lanes then takes two gradients of its own beside sixteen. Elsewhere nothing is cut.
_WORTH = {"cpu": 1 << 26}

# Elements of a probe; directions, which share a whole run.
ELEMENTS, DIRECTIONS = 8, 32


def piece_of(run: Run, lanes: int, most: int, least: int) -> int:
    """How many lanes go together: at most so many, halved as long as a half has at least so many and is worth it."""
    size = max(1, min(lanes, most))
    worth = _WORTH.get(run.device.type)
    if worth is None:
        return size
    each = sum(p.numel() for p in run.recipe.model.parameters()) * run.recipe.largest_batch
    while (half := -(-size // 2)) >= max(least, -(-worth // max(1, each))):
        size = half
    return size
