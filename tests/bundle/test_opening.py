"""Opening a bundle: nothing is made of bytes that are not the promised ones, or that do not fit together."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.bundle.small import rewrite, small
from unlearnkit.bundle import Bundle
from unlearnkit.bundle.tensors import tensor_bytes
from unlearnkit.canonical import canonicalize
from unlearnkit.errors import DigestMismatchError, FormatError, RefusedError, VerificationError


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


def test_a_folder_that_is_not_there_or_not_a_bundle_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no .*nowhere"):
        Bundle.open(tmp_path / "nowhere")
    with pytest.raises(FormatError, match=r"is not a bundle: it has no manifest\.json"):
        Bundle.open(tmp_path)


def test_a_file_that_is_missing_is_named(path):
    (path / "probes" / "margins.safetensors").unlink()
    with pytest.raises(FormatError, match=r"missing: 'probes/margins\.safetensors'"):
        Bundle.open(path)


def test_there_is_no_bundle_that_was_not_verified(path):
    """However it is made: what opening refuses, making one refuses too."""
    assert Bundle(path, None, None).digest == Bundle.open(path).digest
    rewrite(path, "probes/margins.safetensors", tensor_bytes({"base": np.zeros(3)}))
    with pytest.raises(FormatError, match=r"margins\.safetensors"):
        Bundle(path, None, None)


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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
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
