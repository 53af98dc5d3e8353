"""Sketch a training run once; then predict what its model would do without anybody's data.

``uk.sketch(recipe, path)`` runs the training once and writes a bundle; ``uk.Bundle.open(path)`` answers from it, and
needs neither torch nor the data; ``uk.retrain(recipe, delete=[...])`` is the real thing to compare with.

Public names are loaded when they are first used (PEP 562): ``import unlearnkit`` imports no torch, numpy or scipy.
``uk.sketch`` is the subpackage and can be called; calling it is calling ``unlearnkit.sketch.sketch``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from unlearnkit.errors import EstimationError as EstimationError
from unlearnkit.errors import FormatError as FormatError
from unlearnkit.errors import RecipeError as RecipeError
from unlearnkit.errors import RefusedError as RefusedError
from unlearnkit.errors import TraceError as TraceError
from unlearnkit.errors import UnknownNameError as UnknownNameError
from unlearnkit.errors import UnlearnkitError as UnlearnkitError
from unlearnkit.errors import VerificationError as VerificationError

if TYPE_CHECKING:
    from unlearnkit.bundle import Bundle as Bundle
    from unlearnkit.bundle import PseudonymKey as PseudonymKey
    from unlearnkit.compliance.deletions import GroupDeletions as GroupDeletions
    from unlearnkit.compliance.deletions import UnitDeletions as UnitDeletions
    from unlearnkit.compliance.issuing import certify as certify
    from unlearnkit.compliance.log import AuditLog as AuditLog
    from unlearnkit.compliance.policy import Policy as Policy
    from unlearnkit.sketch import Adam as Adam
    from unlearnkit.sketch import AdjointSettings as AdjointSettings
    from unlearnkit.sketch import Recipe as Recipe
    from unlearnkit.sketch import check as check
    from unlearnkit.sketch import retrain as retrain
    from unlearnkit.sketch import sketch as sketch
    from unlearnkit.sketch.retraining_audit import audit_retraining as audit_retraining
    from unlearnkit.verifier import Prediction as Prediction
    from unlearnkit.verifier import Sketch as Sketch

_HOME = {
    "Adam": "unlearnkit.sketch",
    "AdjointSettings": "unlearnkit.sketch",
    "AuditLog": "unlearnkit.compliance.log",
    "Bundle": "unlearnkit.bundle",
    "GroupDeletions": "unlearnkit.compliance.deletions",
    "Policy": "unlearnkit.compliance.policy",
    "Prediction": "unlearnkit.verifier",
    "PseudonymKey": "unlearnkit.bundle",
    "Recipe": "unlearnkit.sketch",
    "Sketch": "unlearnkit.verifier",
    "UnitDeletions": "unlearnkit.compliance.deletions",
    "audit_retraining": "unlearnkit.sketch.retraining_audit",
    "certify": "unlearnkit.compliance.issuing",
    "check": "unlearnkit.sketch",
    "retrain": "unlearnkit.sketch",
}


def __getattr__(name: str) -> object:
    """Load a public name from its home; ``sketch`` is the subpackage itself, which can be called."""
    if name == "sketch":
        return import_module("unlearnkit.sketch")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Every public name, loaded or not."""
    return sorted({*globals(), *_HOME, "sketch"})
