"""Optimizers: reading a torch optimizer for its settings, and its update as a pure function; one rule a file.

The rules are torch's own, and `Adam`'s in the paper's form with epsilon inside the root. Others are made known by
`register`, and held to their optimizer by `verify_rule`.
"""

from unlearnkit.training.optimizers import adafactor, adagrad, adam, muon, nadam, radam, rmsprop, sgd
from unlearnkit.training.optimizers.analytic import Adam
from unlearnkit.training.optimizers.continued import go_on, refuse_stepped
from unlearnkit.training.optimizers.groups import Group, group_names, read_groups, verify_whole_norm
from unlearnkit.training.optimizers.registry import register, rule_class
from unlearnkit.training.optimizers.rule import Rule, root
from unlearnkit.training.optimizers.several import Optimizers, anew, anywhere, as_one, each_of
from unlearnkit.training.optimizers.verification import verify_rule

__all__ = [
    "Adam",
    "Group",
    "Optimizers",
    "Rule",
    "adafactor",
    "adagrad",
    "adam",
    "anew",
    "anywhere",
    "as_one",
    "each_of",
    "go_on",
    "group_names",
    "muon",
    "nadam",
    "radam",
    "read_groups",
    "refuse_stepped",
    "register",
    "rmsprop",
    "root",
    "rule_class",
    "sgd",
    "verify_rule",
    "verify_whole_norm",
]
