"""What the processes beside rank 0 do for a retraining audit: their share of the retrainings that rank 0 names."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from unlearnkit.audit.retraining import Retrainings
from unlearnkit.sketching.assist import Tried
from unlearnkit.sketching.ranks import DismissedError, Ranks
from unlearnkit.training.recipe import Recipe


def assist(load: Callable[[], Recipe]) -> None:
    """Retrain for the audit that rank 0 does, and write nothing, until it has no more to do.

    Args:
        load: Returns the recipe, the same as in rank 0. What goes wrong in it, or later, is raised in rank 0.

    """
    ranks, recipe = Ranks.here(), Tried(load)
    with suppress(DismissedError):
        work, deletions = Retrainings.told()
        loaded = ranks.together(lambda: recipe.get(work.recipe))
        work.spread(loaded, deletions, lambda: None)
        ranks.heard()  # that this is the end
