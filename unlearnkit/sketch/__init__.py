"""Recipes, sketching and retraining: everything that needs torch.

The package can be called, as ``uk.sketch(recipe, path)``: that is its function ``sketch``.
"""

from __future__ import annotations

import sys
from types import ModuleType

from unlearnkit.bundle import Bundle
from unlearnkit.sketch.inspection import check as check
from unlearnkit.sketch.optimizers import Adam as Adam
from unlearnkit.sketch.recipe import Recipe as Recipe
from unlearnkit.sketch.retrain import retrain as retrain
from unlearnkit.sketch.second_order import AdjointSettings as AdjointSettings
from unlearnkit.sketch.sketching import sketch as sketch


class _CallableModule(ModuleType):
    """A subpackage and a public function of the same name: ``unlearnkit.sketch``."""

    def __call__(self, *args: object, **options: object) -> Bundle:
        return sketch(*args, **options)  # type: ignore[arg-type]


_CallableModule.__call__.__doc__ = sketch.__doc__
sys.modules[__name__].__class__ = _CallableModule
