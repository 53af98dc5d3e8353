"""Taylor rules, one family a file. Importing this package fills the tables in ``registry``."""

from unlearnkit.taylor.rules import (
    arithmetic,
    convolution,
    elementwise,
    indexing,
    linear,
    matmul,
    normalisation,
    piecewise,
    shape,
)
from unlearnkit.taylor.rules.registry import INDIFFERENT, LOCALLY_CONSTANT, PIECEWISE, SMOOTH, WRITING, Rule

__all__ = [
    "INDIFFERENT",
    "LOCALLY_CONSTANT",
    "PIECEWISE",
    "SMOOTH",
    "WRITING",
    "Rule",
    "arithmetic",
    "convolution",
    "elementwise",
    "indexing",
    "linear",
    "matmul",
    "normalisation",
    "piecewise",
    "shape",
]
