"""Opening a bundle and asking it; and the ways in which one can be wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass

import numpy as np
import pytest
from bundle.small import DIGEST, KEY, UNITS, small
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unlearnkit.bundle import Bundle, PseudonymKey
from unlearnkit.bundle.tensors import tensor_bytes
from unlearnkit.canonical import canonicalize
from unlearnkit.errors import DigestMismatchError, FormatError, RefusedError, UnknownNameError, VerificationError


def rewrite(path, name: str, raw: bytes) -> None:
    """Put other bytes into a bundle, with a manifest that agrees."""
    (path / name).unlink()  # weight sketches are links
    (path / name).write_bytes(raw)
    manifest = json.loads((path / "manifest.json").read_bytes())
    for file in manifest["files"]:
        if file["path"] == name:
            file |= {"size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    (path / "manifest.json").write_bytes(canonicalize(manifest))


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


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"layer.weight": np.zeros((2, 2, 3, 2, 2))}, "got .*'layer.weight'.*expected .*'layer.bias'"),
        (
            {"layer.weight": np.zeros((2, 2, 3, 2, 2)), "layer.bias": np.zeros((2, 1, 3, 2))},
            r"'layer.bias' has shape \(2, 1, 3, 2\), expected \(2, 2, 3, 2\)",
        ),
        (
            {"layer.weight": np.zeros((2, 2, 3, 2, 2)), "layer.bias": np.full((2, 2, 3, 2), np.inf)},
            "'layer.bias' holds numbers that are not finite",
        ),
    ],
)
def test_a_weight_sketch_that_does_not_fit_is_refused(path, tensors, message):
    rewrite(path, "sketch/directions-00004-00006.safetensors", tensor_bytes(tensors))
    with pytest.raises(FormatError, match=f"00004-00006.safetensors: {message}"):
        list(Bundle.open(path).weight_sketches())


@dataclass
class Recipe:
    """What a bundle sees of a recipe."""

    digest: str

    def evaluate(self, bundle, probe):
        return probe(bundle)


def test_a_new_probe_is_evaluated_by_the_recipe_that_was_sketched(path):
    bundle = Bundle.open(path)
    assert bundle.evaluate(Recipe(DIGEST), lambda seen: seen is bundle)


def test_another_recipe_is_refused_with_both_digests(path):
    with pytest.raises(VerificationError, match=f"its digest is {'0' * 64}, the bundle's is {DIGEST}") as caught:
        Bundle.open(path).evaluate(Recipe("0" * 64), lambda _: None)
    assert "very recipe" in caught.value.hint


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
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential()
    model.add_module("layer", torch.nn.Linear(2, 3, dtype=torch.float64))
    model.register_buffer("steps", torch.tensor(0))
    Bundle.open(path).load_model(model)
    for name, array in contents.contents["model"].items():
        np.testing.assert_array_equal(model.state_dict()[name].numpy(), array)


def test_a_folder_that_is_not_there_or_not_a_bundle_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no .*nowhere"):
        Bundle.open(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"is not a bundle: it has no manifest\.json"):
        Bundle.open(tmp_path)


def test_a_file_that_is_missing_is_named(path):
    (path / "probes" / "margins.safetensors").unlink()
    with pytest.raises(FormatError, match=r"missing: 'probes/margins\.safetensors'"):
        Bundle.open(path)


@pytest.mark.parametrize("name", ["extra", "probes/extra", ".hidden", "probes/model.sig"])
def test_a_file_too_many_is_named(path, name):
    (path / name).write_bytes(b"")
    with pytest.raises(FormatError, match=f"not in the bundle's manifest: '{name}'"):
        Bundle.open(path)


def test_a_signature_may_be_there(path):
    (path / "model.sig").write_bytes(b"whatever: it is checked elsewhere")
    Bundle.open(path)


@pytest.mark.parametrize("name", ["units.json", "probes", "manifest.json"])
def test_a_link_is_refused_even_to_the_right_bytes(path, tmp_path, name):
    shutil.move(path / name, tmp_path / "aside")
    (path / name).symlink_to(tmp_path / "aside")
    with pytest.raises(FormatError, match=f"{name} is not a plain file or folder"):
        Bundle.open(path)


def test_a_pipe_is_refused(path):
    os.mkfifo(path / "pipe")
    with pytest.raises(FormatError, match="pipe is not a plain file or folder"):
        Bundle.open(path)


def test_an_altered_file_is_told_by_its_size_or_its_digest(path):
    raw = (path / "units.json").read_bytes()
    (path / "units.json").write_bytes(raw + b" ")
    with pytest.raises(
        DigestMismatchError, match=rf"units.json has {len(raw) + 1} bytes, the manifest says {len(raw)}"
    ):
        Bundle.open(path)
    altered = raw.replace(raw[2:3], b"x", 1)
    (path / "units.json").write_bytes(altered)
    digests = (hashlib.sha256(data).hexdigest() for data in (altered, raw))
    with pytest.raises(DigestMismatchError, match="units.json has SHA-256 {}, the manifest says {}".format(*digests)):
        Bundle.open(path)


@pytest.mark.parametrize("name", ["probes/margins.safetensors", "model.safetensors"])
def test_a_file_altered_after_opening_is_not_used(path, name):
    bundle = Bundle.open(path)
    raw = bytearray((path / name).read_bytes())
    raw[-1] ^= 1
    (path / name).write_bytes(raw)
    with pytest.raises(DigestMismatchError, match=name):
        bundle.probe("margins") if "margins" in name else bundle.model_state()


@pytest.mark.parametrize(
    ("name", "tensors", "message"),
    [
        ("probes/margins.safetensors", {"base": np.zeros(2)}, "got .*'base'.*expected .*'coefficients'"),
        (
            "probes/margins.safetensors",
            {"base": np.zeros(2), "coefficients": np.zeros((6, 2, 3, 2))},
            r"'coefficients' has shape \(6, 2, 3, 2\), expected \(6, 2, 2, 2\)",
        ),
        (
            "probes/margins.safetensors",
            {"base": np.zeros(2, np.float32), "coefficients": np.zeros((6, 2, 2, 2))},
            "'base' is float32, expected float64",
        ),
        (
            "probes/test_loss.safetensors",
            {"base": np.array(np.nan), "coefficients": np.zeros((6, 2, 2))},
            "'base' holds numbers that are not finite",
        ),
        ("model.safetensors", {"layer.bias": np.zeros(3)}, "got .*expected"),
    ],
)
def test_contents_that_do_not_fit_the_manifest_are_refused(path, name, tensors, message):
    rewrite(path, name, tensor_bytes(tensors))
    with pytest.raises(FormatError, match=f"{name}: {message}"):
        Bundle.open(path)


def test_explicit_directions_must_be_numbers(tmp_path):
    path = small(tmp_path, explicit=True).write(tmp_path / "bundle")
    rewrite(path, "sketch/directions.safetensors", tensor_bytes({"directions": np.full((6, 5, 2), np.inf)}))
    with pytest.raises(FormatError, match=r"sketch/directions\.safetensors: 'directions' holds numbers that are not"):
        Bundle.open(path)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ({}, "expected a list of pseudonyms"),
        (["ann", "ben", "cat", "dan", "17"], "expected a list of pseudonyms"),
        ([1, 2, 3, 4, 5], "expected a list of pseudonyms"),
        (["a" * 64, "b" * 64, "c" * 64, "d" * 64], "got 4 different pseudonyms in 4, expected 5"),
        (["a" * 64, "b" * 64, "c" * 64, "d" * 64, "a" * 64], "got 4 different pseudonyms in 5, expected 5"),
    ],
)
def test_units_are_different_pseudonyms_as_many_as_the_manifest_says(path, units, message):
    rewrite(path, "units.json", canonicalize(units))
    with pytest.raises(FormatError, match=rf"units\.json: {message}"):
        Bundle.open(path)


@pytest.mark.parametrize("field", ["key", "salt"])
def test_directions_that_do_not_follow_from_recipe_and_salt_are_refused(path, field):
    manifest = json.loads((path / "manifest.json").read_bytes())
    manifest["directions"][field] = "0" * len(manifest["directions"][field])
    (path / "manifest.json").write_bytes(canonicalize(manifest))
    with pytest.raises(VerificationError, match=r"the directions' key is .*, but recipe and salt give"):
        Bundle.open(path)


def test_names_of_units_are_nowhere_in_a_bundle(path):
    everything = b"".join(p.read_bytes() for p in path.rglob("*") if p.is_file())
    assert not [name for name in ("ann", "ben", "cat", "dan") if name.encode() in everything]


def test_a_key_beside_the_bundle_that_others_can_read_is_refused(path):
    (path.parent / "pseudonym.key").chmod(0o644)
    with pytest.raises(RefusedError, match=r"pseudonym\.key is open to others"):
        Bundle.open(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(data=st.data())
def test_no_altered_byte_goes_unnoticed(tmp_path_factory, path, data):
    """Any file, any place: changed, inserted or removed. A manifest that still makes sense has another digest."""
    name = data.draw(st.sampled_from(sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())))
    raw = (path / name).read_bytes()
    at = data.draw(st.integers(0, len(raw) - 1))
    other = data.draw(st.sampled_from([b"", bytes([raw[at] ^ 1]), bytes([raw[at] ^ 0x80]), raw[at : at + 1] + b"0"]))
    altered = tmp_path_factory.mktemp("altered") / "bundle"
    shutil.copytree(path, altered)
    (altered / name).write_bytes(raw[:at] + other + raw[at + 1 :])
    try:
        digest = Bundle.open(altered).digest
    except (FormatError, VerificationError):
        return
    assert name == "manifest.json"
    assert digest != Bundle.open(path).digest
