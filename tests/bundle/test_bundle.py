"""Asking a bundle: its probes, its units, its weights."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

import unlearnkit.bundle.pseudonym
from tests.bundle.small import KEY, UNITS, small
from unlearnkit.bundle import Bundle, PseudonymKey
from unlearnkit.errors import RefusedError, UnknownNameError


def test_a_bundle_says_what_it_is(path):
    bundle = Bundle.open(str(path))
    assert bundle.path == path
    assert bundle.digest == hashlib.sha256((path / "manifest.json").read_bytes()).hexdigest()
    assert bundle.units == tuple(KEY.pseudonym(name) for name in UNITS)
    assert bundle.probe_names == ("margins", "test_loss")
    assert repr(bundle) == f"Bundle({str(path)!r}, units=5, directions=6, degree=2)"


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize(("dtype", "accuracy"), [("float32", 1e-6), ("float64", 1e-12)])
def test_a_prediction_from_disk_is_that_of_the_polynomial(tmp_path, dtype, explicit, accuracy):
    contents = small(tmp_path, dtype=dtype, explicit=explicit)
    bundle = Bundle.open(contents.write(tmp_path / "bundle"), pseudonym_key=KEY)
    assert bundle.manifest.is_explicit == bundle.directions.is_explicit == explicit
    sketch = bundle.probe("margins")
    assert sketch.base.dtype == np.float64
    assert sketch.coefficients.dtype == np.complex128
    x = np.array([[1.0, 0, 0, 1, 0]])
    prediction = sketch.predict(["ann", "dan"], degree=1)
    np.testing.assert_allclose(prediction.change, contents.polynomial.term(1, x)[0], atol=accuracy)
    np.testing.assert_allclose(prediction.base, contents.polynomial.base, atol=accuracy)


def test_a_scalar_probe_is_the_same_as_that_element_of_a_larger_one(path):
    bundle = Bundle.open(path)
    scalar = bundle.probe("test_loss").predict(["ann", "ben"])
    assert scalar.value == pytest.approx(bundle.probe("margins").predict(["ann", "ben"]).value[0], rel=1e-12)


def test_all_probes_of_a_bundle_share_one_projection(path):
    bundle = Bundle.open(path)
    assert bundle.probe("margins").projection is bundle.probe("test_loss").projection


def test_a_probe_that_is_not_there_is_an_error_that_lists_those_that_are(path):
    with pytest.raises(UnknownNameError, match="no probe 'accuracy'; it has: margins, test_loss") as caught:
        Bundle.open(path).probe("accuracy")
    assert "evaluate" in caught.value.hint


def test_units_are_named_by_name_by_number_or_by_pseudonym(path):
    bundle = Bundle.open(path)
    np.testing.assert_array_equal(bundle.unit_indices(["dan", 17, KEY.pseudonym("ben")]), [3, 4, 1])


def test_pseudonyms_need_no_key_and_names_do(path):
    (path.parent / "pseudonym.key").unlink()
    bundle = Bundle.open(path)
    np.testing.assert_array_equal(bundle.unit_indices([KEY.pseudonym("ben"), KEY.pseudonym(17)]), [1, 4])
    with pytest.raises(RefusedError, match="only with the pseudonym key: got 'ann', 17") as caught:
        bundle.unit_indices(["ann", KEY.pseudonym("ben"), 17])
    assert "beside the bundle" in caught.value.hint


def test_the_key_that_is_given_goes_before_the_one_beside_the_bundle(path):
    other = Bundle.open(path, pseudonym_key=PseudonymKey(bytes(32)))
    with pytest.raises(UnknownNameError, match="no unit 'ann'"):
        other.unit_indices(["ann"])
    (path.parent / "pseudonym.key").unlink()
    np.testing.assert_array_equal(Bundle.open(path, pseudonym_key=KEY).unit_indices(["ann"]), [0])


def test_a_key_that_only_its_owner_can_read_keeps_nobody_from_asking_by_pseudonym(path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(unlearnkit.bundle.pseudonym, "read_private", refuse)
    bundle = Bundle.open(path)
    np.testing.assert_array_equal(bundle.unit_indices([KEY.pseudonym("ben")]), [1])
    with pytest.raises(RefusedError, match="only with the pseudonym key: got 'ann'"):
        bundle.unit_indices(["ann"])


def test_a_text_is_no_list_of_units(path):
    with pytest.raises(TypeError, match="units: got '17', expected a list of names"):
        Bundle.open(path).unit_indices("17")


@pytest.mark.parametrize("key", [True, False])
def test_unknown_units_are_named_all_at_once(path, key):
    if not key:
        (path.parent / "pseudonym.key").unlink()
    strangers = [hashlib.sha256(bytes([i])).hexdigest() for i in range(2)]
    with pytest.raises(UnknownNameError, match=f"no unit '{strangers[0]}', '{strangers[1]}'$"):
        Bundle.open(path).unit_indices([strangers[0], KEY.pseudonym("ann"), strangers[1]])


def test_a_long_list_of_unknown_units_is_cut_short(path):
    with pytest.raises(UnknownNameError, match=r"no unit 'u0', .*'u9' and 2 more$"):
        Bundle.open(path).unit_indices([f"u{i}" for i in range(12)])


def test_no_units_and_units_named_twice_are_refused(path):
    bundle = Bundle.open(path)
    with pytest.raises(ValueError, match="no units were named"):
        bundle.unit_indices([])
    with pytest.raises(ValueError, match="named more than once: 17, '17'"):
        bundle.unit_indices(["ann", 17, "17"])
    with pytest.raises(ValueError, match="named more than once: 'ann'"):
        bundle.probe("margins").predict(["ann", KEY.pseudonym("ann")])


def test_the_model_comes_back(path, contents):
    state = Bundle.open(path).model_state()
    assert state.keys() == contents.contents["model"].keys()
    for name, array in contents.contents["model"].items():
        np.testing.assert_array_equal(state[name], array)


def test_weight_sketches_come_block_by_block(path, contents):
    blocks = list(Bundle.open(path).weight_sketches())
    assert [(first, last) for first, last, _ in blocks] == [(0, 4), (4, 6)]
    for first, last, tails in blocks:
        assert {name: tail.shape for name, tail in tails.items()} == {
            "layer.weight": (last - first, 2, 3, 2),
            "layer.bias": (last - first, 2, 3),
        }
        assert {tail.dtype for tail in tails.values()} == {np.dtype(np.complex128)}


def test_a_bundle_without_weight_sketches_has_none(tmp_path):
    path = small(tmp_path, weights=False).write(tmp_path / "bundle")
    assert list(Bundle.open(path).weight_sketches()) == []


class Tensor:
    """As much of a torch tensor as loading a model takes."""

    def __init__(self, array, dtype):
        self.array, self.shape, self.dtype = np.asarray(array, dtype), np.shape(array), dtype

    def new_tensor(self, array):
        return Tensor(array, self.dtype)


class Model:
    """As much of a torch module."""

    def __init__(self, **shapes):
        self.state = {name.replace("__", "."): Tensor(np.zeros(shape), np.float32) for name, shape in shapes.items()}

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


def test_a_model_gets_the_trained_weights_in_its_own_precision(path, contents):
    model = Model(layer__weight=(3, 2), layer__bias=(3,), steps=())
    assert Bundle.open(path).load_model(model) is model
    for name, array in contents.contents["model"].items():
        np.testing.assert_array_equal(model.state[name].array, array.astype(np.float32))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"layer__weight": (3, 2), "layer__bias": (3,)}, "it lacks 'steps'"),
        (
            {"layer__weight": (3, 2), "layer__bias": (3,), "steps": (), "head": (1,)},
            "the bundle lacks 'head'",
        ),
        (
            {"layer__weight": (2, 3), "layer__bias": (3,), "steps": ()},
            r"'layer.weight' has shape \(2, 3\), the bundle's \(3, 2\)",
        ),
    ],
)
def test_a_model_of_another_shape_is_refused_and_stays_as_it_is(path, shapes, message):
    model = Model(**shapes)
    before = model.state
    with pytest.raises(ValueError, match=f"does not fit the bundle: {message}"):
        Bundle.open(path).load_model(model)
    assert model.state is before


def test_torch_models_load(path, contents):
    import torch

    model = torch.nn.Sequential()
    model.add_module("layer", torch.nn.Linear(2, 3, dtype=torch.float64))
    model.register_buffer("steps", torch.tensor(0))
    Bundle.open(path).load_model(model)
    for name, array in contents.contents["model"].items():
        np.testing.assert_array_equal(model.state_dict()[name].numpy(), array)
