"""Optimizers: reading a torch optimizer for its settings, and its update as a pure function; one rule a file.

The rules are torch's own, and `Adam`'s in the paper's form with epsilon inside the root. Others are made known by
`register`, and held to their optimizer by `verify_rule`.
"""

from unlearnkit.training.optimizers import adagrad, adam, nadam, radam, rmsprop, sgd
from unlearnkit.training.optimizers.analytic import Adam
from unlearnkit.training.optimizers.registry import group_names, register, rule_class
from unlearnkit.training.optimizers.rule import Group, Rule, root
from unlearnkit.training.optimizers.verification import verify_rule

__all__ = [
    "Adam",
    "Group",
    "Rule",
    "adagrad",
    "adam",
    "group_names",
    "nadam",
    "radam",
    "register",
    "rmsprop",
    "root",
    "rule_class",
    "sgd",
    "verify_rule",
]
