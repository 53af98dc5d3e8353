"""The examples of a recipe: batches as a DataLoader makes them, orders, owners, digests."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset, TensorDataset

import unlearnkit as uk
from tests.training.calls import sketched
from tests.training.small import X, Y
from unlearnkit.errors import RecipeError
from unlearnkit.training.data import as_dataset, collate, data_digest


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
    with pytest.raises(RecipeError, match="an example holds a object") as caught:
        data_digest(Rows(lambda i: (X[i], object())))
    assert "as tensors in the dataset" in caught.value.hint


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
