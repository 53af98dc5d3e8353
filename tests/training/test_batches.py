"""Orders, batches of any size, and the steps that they make."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import unlearnkit as uk
from tests.training.small import recipe
from unlearnkit.errors import RecipeError
from unlearnkit.training.batches import make_order


def positions(r: uk.Recipe) -> list[list[list[int]]]:
    return [[batch.tolist() for batch in step] for step in r.parts]


def test_a_shuffled_order_is_a_permutation_in_each_epoch_and_follows_from_its_seed():
    def order(seed, **changed):
        settings = {"examples": 12, "epochs": 3, "batch_size": 4, "drop_last": False}
        return make_order(None, seed, **(settings | changed))

    first = order(0)
    assert first.shape == (3, 12)
    assert all(sorted(epoch) == list(range(12)) for epoch in first.tolist())
    assert not np.array_equal(first[0], first[1])
    assert np.array_equal(first, order(0))
    assert not np.array_equal(first, order(1))
    assert np.array_equal(order(0, batch_size=5, drop_last=True), first[:, :10])
    # A stream that numpy promises to keep: Philox, then Generator.permutation.
    generator = np.random.Generator(np.random.Philox(0))
    assert np.array_equal(first, [generator.permutation(12) for _ in range(3)])


@pytest.mark.parametrize(
    ("order", "changed", "message"),
    [
        (None, {"batch_size": 13, "drop_last": True}, "no steps: 12 examples, batch_size=13, epochs=2"),
        ([[0, 1, 2, 3]], {}, r"shape \(1, 4\), expected whole numbers \[epochs=2, examples\]"),
        ([0, 1, 2, 3], {}, r"shape \(4,\)"),
        ([[0.0, 1.0], [1.0, 0.0]], {}, "float64 array"),
        ([[0, 1, 2, 12], [0, 1, 2, 3]], {}, "indices from 0 to 12, but the data have 12 examples"),
        ([[0, 1, 2, -1], [0, 1, 2, 3]], {}, "indices from -1 to 3"),
        ([[0, 1, 2], [0, 1, 2]], {"drop_last": True}, "the run has no steps"),
        ([[], []], {}, "float64 array"),
    ],
)
def test_orders_that_are_none_are_refused(order, changed, message):
    settings = {"examples": 12, "epochs": 2, "batch_size": 4, "drop_last": False}
    with pytest.raises(RecipeError, match=message):
        make_order(order, 0, **(settings | changed))


def test_an_explicit_order_is_taken_as_it_is():
    """Examples may be left out, and come twice; torch tensors and lists are arrays too."""
    order = [[5, 5, 0, 1], [2, 3, 5, 4]]
    for given in (order, np.array(order, dtype=np.int16), torch.tensor(order)):
        table = make_order(given, 7, examples=6, epochs=2, batch_size=2, drop_last=False)
        assert table.tolist() == order
        assert table.dtype == np.int64
    short = make_order(order, 7, examples=6, epochs=2, batch_size=3, drop_last=True)
    assert short.tolist() == [[5, 5, 0], [2, 3, 5]]
    r = recipe(order=[[0, 1, 2, 3], [4, 5, 6, 7]])
    assert positions(r) == [[[0, 1, 2, 3]], [[4, 5, 6, 7]]]
    assert r.steps == 2


def test_the_last_batch_of_an_epoch_may_be_smaller_as_in_a_data_loader():
    r = recipe(order=[list(range(12))] * 2, batch_size=5)
    assert positions(r)[:3] == [[[0, 1, 2, 3, 4]], [[5, 6, 7, 8, 9]], [[10, 11]]]
    assert (r.steps, r.largest_batch) == (6, 5)
    assert recipe(batch_size=5, drop_last=True).steps == 4


def test_accumulated_batches_make_one_step_and_none_reaches_into_the_next_epoch():
    r = recipe(order=[list(range(12))] * 2, batch_size=5, accumulate=2)
    assert positions(r)[:2] == [[[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]], [[10, 11]]]
    assert r.steps == 4


def test_batches_may_be_given_as_they_are():
    given = [[3, 0], torch.tensor([1]), np.array([2, 2, 5])]
    r = recipe(batches=given, epochs=None, batch_size=None, accumulate=2)
    assert positions(r) == [[[3, 0], [1]], [[2, 2, 5]]]


def test_the_digest_sees_how_an_order_is_cut():
    order = [list(range(12))] * 2
    kinds = ({"batch_size": 4}, {"batch_size": 4, "accumulate": 3}, {"batch_size": 5}, {"batch_size": 12})
    assert len({recipe(order=order, **kind).digest for kind in kinds}) == 4
