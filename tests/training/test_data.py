"""The examples of a recipe: batches as a DataLoader makes them, orders, owners, digests."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset, TensorDataset

import unlearnkit as uk
from tests.training.calls import sketched
from tests.training.small import X, Y, recipe
from unlearnkit.errors import RecipeError
from unlearnkit.training.data import as_dataset, collate, data_digest, index_units, make_order


class Pair(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


class Rows:
    """A map-style dataset of whatever ``make`` gives."""

    def __init__(self, make, count: int = 6) -> None:
        self.make, self.count = make, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int):
        return self.make(i)


LAYOUTS = {
    "tuple": lambda i: (X[i], Y[i]),
    "dict": lambda i: {"x": X[i], "label": Y[i]},
    "named tuple": lambda i: Pair(X[i], Y[i]),
    "nested": lambda i: {"in": (X[i], [Y[i], 2.5]), "weight": float(i), "count": i, "odd": bool(i % 2)},
    "numpy": lambda i: (X[i].numpy(), np.float32(i), np.int16(i)),
    "one tensor": lambda i: X[i],
}


def leaves(batch):
    return torch.utils._pytree.tree_leaves(batch)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_batches_are_those_of_a_data_loader(layout):
    dataset = Rows(LAYOUTS[layout])
    order = [4, 0, 0, 3]
    (expected,) = DataLoader(Subset(dataset, order), batch_size=4)
    batch = collate(as_dataset(dataset), order)
    assert type(batch) is type(expected)
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(leaves(batch), leaves(expected), strict=True))


def test_a_tuple_of_tensors_gives_the_batches_of_a_tensor_dataset():
    plain, wrapped = as_dataset((X, Y)), as_dataset(TensorDataset(X, Y))
    for a, b in zip(collate(plain, [3, 1]), collate(wrapped, [3, 1]), strict=True):
        assert torch.equal(a, b)
    assert len(plain) == len(X)
    assert torch.equal(plain[2][0], X[2])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((), "not all tensors"),
        ((X, [1, 2]), "not all tensors"),
        ((X, Y[:3]), r"shapes \(12, 4\), \(3,\)"),
        ((torch.tensor(1.0),), r"shapes \(\)"),
        (iter([1]), "no length or no indexing"),
    ],
)
def test_what_is_no_dataset_is_refused(data, message):
    with pytest.raises(RecipeError, match=message):
        as_dataset(data)


def test_text_in_a_batch_is_refused():
    with pytest.raises(RecipeError, match="a batch holds a str"):
        collate(Rows(lambda i: (X[i], "label")), [0, 1])
    with pytest.raises(RecipeError, match="an example holds a str"):
        data_digest(Rows(lambda i: {"text": "name", "x": X[i]}))
    with pytest.raises(RecipeError, match="an example holds a NoneType") as caught:
        data_digest(Rows(lambda i: (X[i], None)))
    assert "encode text and labels" in caught.value.hint


def test_examples_of_different_lengths_make_batches_of_one_only():
    dataset = Rows(lambda i: torch.arange(i + 1))
    assert collate(dataset, [2]).tolist() == [[0, 1, 2]]
    with pytest.raises(RecipeError, match="cannot be stacked") as caught:
        collate(dataset, [2, 3])
    assert "batch_size=1" in caught.value.hint


def test_variable_lengths_train_at_batch_size_one(tmp_path):
    """Each length is a shape of its own, traced once."""
    model = torch.nn.Embedding(6, 2).double()
    settings = {
        "name": "lengths",
        "model": model,
        "loss": lambda m, batch: m(batch).tanh().mean((1, 2)),
        "data": Rows(lambda i: torch.arange(i + 1), 4),
        "units": list("abca"),
        "epochs": 2,
        "batch_size": 1,
    }
    recipe = uk.Recipe(**settings, optimizer=torch.optim.SGD(model.parameters(), lr=0.5))
    bundle = sketched(recipe, tmp_path / "bundle", directions=2, degree=1, dtype="float64", device="cpu", seed=0)
    expected = uk.retrain(recipe, device="cpu").state_dict()["weight"]
    assert np.allclose(bundle.model_state()["weight"], expected, atol=1e-14)


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
        (None, {"batch_size": 5}, "batch_size=5 leaves 2 of 12 examples an epoch over"),
        (None, {"batch_size": 13, "drop_last": True}, "no steps: 12 examples, batch_size=13, epochs=2"),
        ([[0, 1, 2, 3]], {}, r"shape \(1, 4\), expected whole numbers \[epochs=2, examples\]"),
        ([0, 1, 2, 3], {}, r"shape \(4,\)"),
        ([[0.0, 1.0], [1.0, 0.0]], {}, "float64 array"),
        ([[0, 1, 2, 12], [0, 1, 2, 3]], {}, "indices from 0 to 12, but there are 12 examples"),
        ([[0, 1, 2, -1], [0, 1, 2, 3]], {}, "indices from -1 to 3"),
        ([[0, 1, 2], [0, 1, 2]], {}, "batch_size=4 leaves 3 of 3 examples"),
        ([[], []], {}, "float64 array"),
    ],
)
def test_orders_that_make_no_whole_batches_are_refused(order, changed, message):
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
    assert r.indices.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert r.steps == 2


def test_units_come_in_the_order_of_their_first_example():
    names, index = index_units(["b", None, "a", "b", np.int64(3), "ü", 3], 7)
    assert names == ("b", "a", "3", "ü")
    assert index.tolist() == [0, -1, 1, 0, 2, 3, 2]


@pytest.mark.parametrize(
    ("owners", "message"),
    [
        (["a", "b"], "got 2 owners for 3 examples"),
        (["1", 1, "b"], "'1' occurs as text and as a number"),
        ([None, None, None], "no example is owned by anybody"),
        (["a", 1.5, "b"], "example 1 is owned by a float"),
        (["a", "b", True], "example 2 is owned by a bool"),
        (["ann@x", "Ann@X", "b"], "different spellings of one name: 'ann@x' and 'Ann@X'$"),
        (["a", "\u200b", "c"], "example 1 is owned by a name that cannot be seen"),
        (["a", ("b",), "c"], "example 1 is owned by a tuple"),
    ],
)
def test_owners_that_are_no_names_are_refused(owners, message):
    with pytest.raises(RecipeError, match=message):
        index_units(owners, 3)


BASE = {"x": X[:3], "y": Y[:3]}
CHANGES = {
    "a value": lambda i: {"x": X[i] + (i == 2) * 1e-15, "y": Y[i]},
    "a dtype": lambda i: {"x": X[i].float(), "y": Y[i]},
    "a shape": lambda i: {"x": X[i][None], "y": Y[i]},
    "a name": lambda i: {"X": X[i], "y": Y[i]},
    "names swapped": lambda i: {"y": X[i], "x": Y[i]},
    "a container": lambda i: (X[i], Y[i]),
    "another example": lambda i: {"x": X[2 - i], "y": Y[2 - i]},
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_digest_changes_with_the_data(change):
    def digest(make):
        return data_digest(Rows(make, 3))

    same = digest(lambda i: {"x": X[i].clone(), "y": Y[i]})
    assert same == digest(lambda i: {"x": BASE["x"][i], "y": BASE["y"][i]})
    assert digest(CHANGES[change]) != same


def test_the_digest_sees_the_last_bit_of_a_number():
    digests = {data_digest(Rows(lambda i, v=v: (X[i], v))) for v in (0.1, 0.1 + 2**-55, 0.2, 1, True)}
    assert len(digests) == 5


def test_a_dataset_that_augments_is_refused():
    generator = np.random.default_rng(0)
    flipping = Rows(lambda i: X[i] * generator.choice([-1, 1]), 12)
    with pytest.raises(RecipeError, match=r"dataset\[\d+\] gave two different examples") as caught:
        data_digest(flipping)
    assert "beforehand" in caught.value.hint
