"""Whose examples are: names, several owners, shares, and what deleting them does."""

from __future__ import annotations

import tracemalloc
from uuid import UUID

import numpy as np
import pytest
import torch

import unlearnkit as uk
from tests.training.small import OWNERS, X, Y, loss, probe, recipe
from unlearnkit.errors import RecipeError
from unlearnkit.sketching.memory import Memory
from unlearnkit.sketching.pullback import probe_pullback
from unlearnkit.sketching.reverse import ReverseSweeps
from unlearnkit.training.coupling import coupling
from unlearnkit.training.own_loss import own_batches
from unlearnkit.training.owners import Ownership
from unlearnkit.training.probes import probe_function
from unlearnkit.training.run import make_run
from unlearnkit.training.state import constant_of
from unlearnkit.training.trainer import Trainer


def read(*owners: object) -> tuple[tuple[str, ...], list[int]]:
    found = Ownership.read(list(owners), len(owners))
    return found.names, found.of_example.tolist()


def test_units_come_in_the_order_of_their_first_example():
    assert read("b", None, "a", "b", np.int64(3), "ü", 3) == (("b", "a", "3", "ü"), [0, -1, 1, 0, 2, 3, 2])


def test_uuids_and_tensors_of_numbers_name_owners():
    one, other = UUID(int=1), UUID(int=2)
    assert read(one, other, str(one))[0] == (str(one), str(other))
    for numbers in (torch.tensor([7, 3, 7]), np.array([7, 3, 7]), [torch.tensor(7), 3, np.int32(7)]):
        found = Ownership.read(numbers, 3)
        assert (found.names, found.of_example.tolist()) == (("7", "3"), [0, 1, 0])


def test_owners_of_one_example_are_a_group_whatever_their_order():
    names, of_example = read(("b", "a"), "a", ("a", "b"), ("c",), {"a": 0.5, "b": 0.5}, None)
    assert names == ("b", "a", "c")
    assert of_example == [3, 1, 3, 2, 4, -1]
    rows = Ownership.read(torch.tensor([[7, 3], [3, 7], [7, 5]]), 3)
    assert (rows.names, rows.of_example.tolist()) == (("7", "3", "5"), [3, 3, 4])


@pytest.mark.parametrize(
    ("owners", "message"),
    [
        (["a", "b"], "got 2 owners for 3 examples"),
        (["1", 1, "b"], "'1' occurs as text and as a number"),
        ([None, None, None], "no example is owned by anybody"),
        (["a", 1.5, "b"], "example 1 is owned by a float"),
        (["a", "b", True], "example 2 is owned by a bool"),
        (["ann@x", "Ann@X", "b"], "different spellings of one name: 'ann@x' and 'Ann@X'$"),
        (["ann@x", ("Ann@X", "b"), "b"], "different spellings of one name: 'ann@x' and 'Ann@X'$"),
        (["a", "\u200b", "c"], "example 1 is owned by a name that cannot be seen"),
        (["a", {"b", "c"}, "c"], "example 1 is owned by a set"),
        (["a", ("b", None), "c"], "example 1 is owned by a NoneType"),
        (["a", ("b", ["c"]), "c"], "example 1 is owned by a list"),
        (["a", (), "c"], "example 1 has no owner"),
        (["a", ("b", "b"), "c"], "example 1 names 'b' twice"),
        (["a", {"b": 0.5, "c": 0.6}, "c"], "example 1 has the shares .*expected numbers above 0, at most 1 in all"),
        (["a", {"b": -0.5}, "c"], "expected numbers above 0"),
        (["a", {"b": float("nan")}, "c"], "expected numbers above 0"),
        (["a", {"b": True}, "c"], "expected numbers above 0"),
    ],
)
def test_owners_that_are_no_names_are_refused(owners, message):
    with pytest.raises(RecipeError, match=message):
        Ownership.read(owners, 3)


# Of the twelve examples: two of "a" and "b", one of three owners, one with shares, one with a share that is nobody's.
TOGETHER = {1: ("a", "b"), 2: ("c", "a", "b"), 4: {"a": 0.25, "d": 0.75}, 6: ("b", "a"), 8: {"c": 0.5}}
JOINT = [TOGETHER.get(i, owner) for i, owner in enumerate(["a", "b", "c", "d", None, "e"] * 2)]


def joint_recipe(units: object = JOINT, **settings: object) -> uk.Recipe:
    return recipe("momentum", units=units, **settings)


def kept(w: dict[str, float], entry: object) -> float:
    """The weight that is left of an example, by the words of the recipe's page."""
    if isinstance(entry, dict):
        return 1 - sum(share * w[owner] for owner, share in entry.items())
    owners = () if entry is None else entry if isinstance(entry, tuple) else (entry,)
    return float(np.prod([1 - w[owner] for owner in owners]))


def trained(r: uk.Recipe, w: dict[str, float]) -> torch.nn.Module:
    """What a user would write."""
    m = make_run(r, "float64", "cpu").fresh().model
    o = torch.optim.SGD(m.parameters(), **{k: r.optimizer.param_groups[0][k] for k in SETTINGS})
    for (rows,) in r.parts:
        o.zero_grad()
        weights = torch.tensor([kept(w, JOINT[row]) for row in rows], dtype=torch.float64)
        (weights * loss(m, (X[rows], Y[rows]))).sum().div(len(rows)).backward()
        o.step()
    return m


SETTINGS = ("lr", "momentum", "dampening", "weight_decay", "nesterov")


def evaluated(r: uk.Recipe, **w: float) -> np.ndarray:
    m = trained(r, dict.fromkeys(r.unit_names, 0.0) | w).eval()
    with torch.no_grad():
        return probe(m).double().numpy().ravel()


def value(r: uk.Recipe, *delete: str, weight: float = 1.0) -> np.ndarray:
    m = uk.retrain(r, delete, weight=weight, dtype="float64", device="cpu").eval()
    with torch.no_grad():
        return probe(m).double().numpy().ravel()


def test_retraining_is_the_loop_written_out():
    r = joint_recipe()
    np.testing.assert_allclose(value(r), evaluated(r), atol=1e-12)
    np.testing.assert_allclose(value(r, "a"), evaluated(r, a=1), atol=1e-12)
    np.testing.assert_allclose(value(r, "a", "c", weight=0.3), evaluated(r, a=0.3, c=0.3), atol=1e-12)


def test_deleting_both_owners_deletes_no_more_of_their_example_than_deleting_one():
    r = joint_recipe([("a", "b") if i % 3 else "c" for i in range(12)])
    np.testing.assert_array_equal(value(r, "a"), value(r, "b"))
    np.testing.assert_array_equal(value(r, "a", "b"), value(r, "a"))
    assert np.abs(value(r, "a") - value(r)).max() > 1e-3


def series(r: uk.Recipe, psi: torch.Tensor, degree: int) -> np.ndarray:
    """Of the probe along directions, ``[degree, directions, elements]``."""
    run = make_run(r, "float64", "cpu")
    weights = Trainer(run, degree).train(psi)
    return probe_function(run, "probe", probe)(weights, run.fixed).coefficients.flatten(2).numpy()


def test_series_are_the_derivatives_of_the_loop_written_out():
    """Fitted to nine points: the polynomial through them, to the third degree."""
    r, points = joint_recipe(), np.linspace(-0.02, 0.02, 9)
    psi = np.array([0.7, -0.4, 0.5, 0.3, 0.2])
    along = [evaluated(r, **dict(zip(r.unit_names, psi * t, strict=True))) for t in points]
    fitted = np.polynomial.polynomial.polyfit(points / 0.02, np.array(along), 8)
    expected = fitted[1:4] / 0.02 ** np.arange(1, 4)[:, None]
    found = series(r, torch.from_numpy(psi[None]), 3)[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("directions", [None, "real", "complex"])
def test_reverse_sweeps_are_the_gradients_of_the_series(directions):
    """Of the r-th form along psi, the gradient times psi is r times the form."""
    r, units = joint_recipe(), 5
    run = make_run(r, "float64", "cpu")
    generator = np.random.default_rng(0)
    psi = torch.from_numpy(generator.standard_normal((2, units)))
    if directions == "complex":
        psi = psi + 1j * torch.from_numpy(generator.standard_normal((2, units)))
    sweeps, elements = ReverseSweeps(run, 2), len(value(r))
    shape = probe(run.model).shape
    basis = torch.eye(elements, dtype=torch.float64).reshape(elements, *shape)
    trajectory = sweeps.forward(None if directions is None else psi, Memory(1 << 30))
    gradient = sweeps.sweep(probe_pullback(run, probe), basis, trajectory)
    alone = series(r, torch.eye(units, dtype=torch.float64), 1)[0].T
    np.testing.assert_allclose(constant_of(gradient).numpy(), alone, atol=1e-10)
    if directions is not None:
        forms = series(r, psi, 3)
        for order in (2, 3):
            inner = torch.einsum("deu,du->de", gradient.coefficients[order - 2], psi).numpy()
            np.testing.assert_allclose(inner, order * forms[order - 1], atol=1e-9)


def test_a_sketch_predicts_the_deletion_of_owners_together(tmp_path):
    r = joint_recipe(probes={"probe": probe, "own": uk.OwnLoss()})
    sweeps = {"probe": uk.Reverse(rank=5, residual=2)}
    bundle = uk.sketch(r, tmp_path / "b", reverse=sweeps, solo=uk.Solo(degree=3), dtype="float64", device="cpu")
    for gone in (["a"], ["a", "b"]):
        real = value(r, *gone) - value(r)
        told = np.asarray(bundle.probe("probe").predict(gone, degree=2).change).ravel()
        first = np.asarray(bundle.probe("probe").predict(gone, degree=1).change).ravel()
        assert np.abs(told - real).max() < 0.5 * np.abs(first - real).max()


def test_an_example_is_the_own_one_of_each_of_its_owners():
    r = joint_recipe(probes={"own": uk.OwnLoss()})
    m = make_run(r, "float64", "cpu").fresh().model.eval()
    with torch.no_grad():
        found = r.probes["own"](m)
        for place, name in enumerate(r.unit_names):
            mine = [i for i, o in enumerate(JOINT) if o == name or (isinstance(o, (tuple, dict)) and name in o)]
            assert float(found[place]) == pytest.approx(float(loss(m, (X[mine], Y[mine])).mean()), rel=1e-12)
    assert sum(batch.shares.sum() for batch in own_batches(r)) == pytest.approx(len(r.unit_names))


def test_an_example_that_acts_on_what_one_of_its_owners_has_alone_is_found():
    """Without the other owner their common example goes, and what it did to the own one stays."""
    coupled = lambda m, batch: loss(m, batch) + m(batch[0]).mean()  # noqa: E731
    assert coupling(make_run(joint_recipe(loss=coupled), "float64", "cpu")) is not None
    assert coupling(make_run(joint_recipe(), "float64", "cpu")) is None
    everything_hers = joint_recipe([("a", other) for other in "bcdefghijklm"], loss=coupled)
    assert coupling(make_run(everything_hers, "float64", "cpu")) is not None


def test_a_digest_covers_who_owns_what_together_and_their_shares():
    plain = joint_recipe(OWNERS)
    assert plain.description["units"].keys() == {"count", "sha256"}
    changes = [{4: ("a", "d")}, {4: {"a": 0.5, "d": 0.5}}, {4: {"a": 0.25}}, {1: ("a", "c")}]
    all_units = [JOINT, *([change.get(i, o) for i, o in enumerate(JOINT)] for change in changes)]
    assert len({joint_recipe(units).digest for units in all_units}) == len(all_units)
    assert joint_recipe([o[::-1] if isinstance(o, tuple) else o for o in JOINT]).digest != plain.digest


def test_arrays_lists_and_texts_of_the_same_owners_are_read_alike():
    numbers = np.random.default_rng(0).integers(-3, 40, 500)
    order = list(dict.fromkeys(numbers.tolist()))
    expected = tuple(map(str, order)), [order.index(n) for n in numbers.tolist()]
    texts = [str(n) for n in numbers]
    for owners in (numbers, torch.from_numpy(numbers), numbers.tolist(), list(numbers), texts, np.array(texts)):
        found = Ownership.read(owners, 500)
        assert (found.names, found.of_example.tolist(), found.joint) == (*expected, ())


def test_reading_owners_makes_no_object_for_each_example():
    count = 50_000
    for owners in (np.arange(count) % 100, [f"person-{i % 100}" for i in range(count)]):
        tracemalloc.start()
        Ownership.read(owners, count)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 60 * count  # a tuple of one owner alone takes 48 bytes, and a list around it 64
