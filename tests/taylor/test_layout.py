"""Leaves in a row, and put together again: as torch's pytree does it."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import pytest
import torch
from torch.utils import _pytree as pytree

from unlearnkit.taylor.jet import Jet
from unlearnkit.taylor.layout import flattened, mapped, rebuilder


class Pair(NamedTuple):
    left: torch.Tensor
    right: object


ONE, TWO, THREE = torch.zeros(1), torch.zeros(2), torch.zeros(3, dtype=torch.int64)

TREES = [
    ONE,
    (ONE, [TWO, {"b": THREE, "a": ONE}]),
    {"x": (), "y": [], "z": {}},
    [Pair(ONE, {"a": TWO}), OrderedDict(b=THREE, a=ONE)],
    (torch.nn.Parameter(ONE), Jet(TWO, torch.zeros(1, 1, 1, 2))),
]


@pytest.mark.parametrize("tree", TREES)
def test_leaves_come_in_the_order_of_pytree_and_go_back_to_their_places(tree):
    leaves = flattened(tree)[0]
    expected, spec = pytree.tree_flatten(tree)
    assert [id(leaf) for leaf in leaves] == [id(leaf) for leaf in expected]
    again = rebuilder(spec)(leaves)
    assert pytree.tree_structure(again) == spec
    assert [id(leaf) for leaf in pytree.tree_leaves(again)] == [id(leaf) for leaf in expected]
    assert pytree.tree_structure(mapped(lambda leaf: leaf, tree)) == spec


def test_trees_of_one_form_nest_alike_and_have_leaves_of_the_same_shapes_and_precisions():
    others = [(ONE, TWO), [ONE, TWO], (TWO, ONE), ((ONE,), TWO), (ONE, TWO.double()), {"a": ONE, "b": TWO}]
    forms = [flattened(tree)[1] for tree in (*TREES, *others)]
    assert len(set(forms)) == len(forms)
    assert flattened((ONE + 1, TWO + 1))[1] == forms[len(TREES)]
