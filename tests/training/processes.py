"""Digests of recipes, printed as JSON: run by a process of its own, whose strings have other hashes.

Besides the models that the tests know, what a digest could pick up from a process: the order in which sets are walked,
addresses of objects, code that has no file.
"""

from __future__ import annotations

import json
import sys

import torch
from torch import nn

import unlearnkit as uk
from tests.training.test_models import BATCH, MODELS
from unlearnkit.training.fingerprint import function_digest, model_digest

NAMES = frozenset({"query", "key", "value", "output"})
SHARED = [1.5]


class Tagged:
    """In a set by its identity."""

    def __init__(self, tag: str) -> None:
        self.tag, self.shared = tag, SHARED

    def __hash__(self) -> int:
        return hash(self.tag)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tagged) and self.tag == other.tag


class Shown(nn.Module):
    """Shows itself with an address."""

    def extra_repr(self) -> str:
        return repr(object())


def recipe(name: str) -> uk.Recipe:
    make, loss, examples = MODELS[name]
    torch.manual_seed(0)
    model, data = make(), examples()
    return uk.Recipe(
        name=name,
        model=model,
        loss=loss,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        data=(data,),
        units=list(range(len(data))),
        epochs=1,
        batch_size=BATCH,
    )


def typed(text: str):
    """A function as it is typed at a prompt."""
    namespace: dict[str, object] = {}
    exec(text, namespace)
    return namespace["f"]


def digests() -> dict[str, str]:
    nested = {(Tagged(name), (SHARED[0], name)) for name in NAMES}
    return {
        **{name: recipe(name).digest for name in MODELS},
        "sets of strings": function_digest(lambda m: m(NAMES)),
        "sets of objects that share something": function_digest(lambda m: m(nested, SHARED, nested)),
        "a set among constants": function_digest(typed("def f(m): return m in {'query', 'key', 'value'}")),
        "a function inside one that has no file": function_digest(
            typed("def f(m): return (lambda x: x in {'a', 'b'})(m)")
        ),
        "an address": model_digest(Shown()),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(digests()))
