"""Is this the model in use? By its bytes, or tensor by tensor where only what is said about them differs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from click.testing import CliRunner
from unlearnkit.cli.main import main

import unlearnkit as uk
from tests.verifier.issuance import issuer
from unlearnkit.bundle.tensors import parse_tensors
from unlearnkit.bundle.torch_file import torch_file_bytes
from unlearnkit.compliance.log.publication import publish_checkpoint
from unlearnkit.errors import DigestMismatchError, FormatError, UnknownNameError
from unlearnkit.verifier.served import stored_tensors, verify_served, verify_weights


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    made = issuer(tmp_path_factory.mktemp("office"))
    (made.folder / "c.json").write_bytes(made.issue(made.request()).raw)
    publish_checkpoint(made.log, made.log_key)
    return made


@pytest.fixture(scope="module")
def bundle(office):
    return office.bundle


@pytest.fixture
def state(bundle) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in bundle.model_state().items()}


def saved(path: Path, state, **metadata) -> Path:
    path.write_bytes(safetensors.numpy.save(state, metadata=metadata or None))
    return path


def test_the_same_bytes_are_the_model(bundle, tmp_path):
    copy = shutil.copy(bundle.path / "model.safetensors", tmp_path / "served.safetensors")
    assert "byte for byte" in verify_served(Path(copy), bundle)


def test_the_same_tensors_with_other_metadata_are_the_model_and_that_is_said(bundle, state, tmp_path):
    served = saved(tmp_path / "s", dict(reversed(state.items())), format="pt", epoch="10")
    assert served.read_bytes() != (bundle.path / "model.safetensors").read_bytes()
    assert "has the very 3 tensors" in verify_served(served, bundle)
    assert "the files differ in metadata" in verify_served(served, bundle)


def in_every_format(folder: Path, state) -> list[Path]:
    """Of torch, ours and its own; and Hugging Face folders, of one file, of two, and of torch's."""
    tensors = {name: torch.from_numpy(array.copy()) for name, array in state.items()}
    torch.save(tensors, folder / "saved.pt")
    (folder / "ours.pt").write_bytes(torch_file_bytes(state))
    for name in ("one", "two", "torch"):
        (folder / name).mkdir()
    saved(folder / "one" / "model.safetensors", state, format="pt")
    parts = [dict(list(state.items())[i::2]) for i in range(2)]
    places = {name: f"model-{i}.safetensors" for i, part in enumerate(parts) for name in part}
    for i, part in enumerate(parts):
        saved(folder / "two" / f"model-{i}.safetensors", part)
    (folder / "two" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    torch.save(tensors, folder / "torch" / "pytorch_model.bin")
    return [folder / "saved.pt", folder / "ours.pt", folder / "one", folder / "two", folder / "torch"]


@pytest.mark.parametrize("place", range(5))
def test_a_model_is_known_in_every_format_and_another_one_is_not(bundle, state, tmp_path, place):
    (tmp_path / "same").mkdir()
    (tmp_path / "other").mkdir()
    same = in_every_format(tmp_path / "same", state)[place]
    assert f"{same} has the very 3 tensors" in verify_served(same, bundle)
    _bit(state)
    with pytest.raises(DigestMismatchError, match=r"'layer\.bias' has other numbers"):
        verify_served(in_every_format(tmp_path / "other", state)[place], bundle)


def test_a_folder_says_itself_which_of_its_files_is_the_model(bundle, state, tmp_path):
    one, two = in_every_format(tmp_path, state)[2:4]
    _bit(state)
    torch.save({name: torch.from_numpy(array) for name, array in state.items()}, one / "pytorch_model.bin")
    assert "has the very 3 tensors" in verify_served(one, bundle)
    for weight_map in ([], {"layer.bias": "../model.safetensors"}, {"steps": "model-0.safetensors"}):
        (two / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
        with pytest.raises(FormatError, match=r"does not say which file|are in other files"):
            verify_served(two, bundle)
    with pytest.raises(FormatError, match="holds no model"):
        verify_served(bundle.path / "probes", bundle)


def test_of_tied_tensors_a_file_may_have_either(tmp_path):
    state = {"a": np.ones(2), "b": np.ones(2), "c": np.zeros(1)}
    weights = safetensors.numpy.save(state)
    for without in ("a", "b"):
        served = saved(tmp_path / without, {name: array for name, array in state.items() if name != without})
        assert "has the very 2 tensors" in verify_weights(served, weights, what="it", tied={"b": "a"})
        with pytest.raises(DigestMismatchError, match=f"'{without}' is only in the bundle"):
            verify_weights(served, weights, what="it", tied={})
    with pytest.raises(DigestMismatchError, match="is only in the bundle"):
        verify_weights(saved(tmp_path / "c", {"c": state["c"]}), weights, what="it", tied={"b": "a"})


def _bit(state):
    state["layer.bias"].view(np.uint64)[0] ^= 1


CHANGES = {
    "one bit": (_bit, "'layer.bias' has other numbers"),
    "a scalar": (lambda s: s.update(steps=np.array(8)), "'steps' is another number"),
    "precision": (
        lambda s: s.update({"layer.bias": s["layer.bias"].astype(np.float32)}),
        r"'layer.bias' is F32 \[3\], in the bundle F64 \[3\]",
    ),
    "shape": (
        lambda s: s.update({"layer.bias": s["layer.bias"][:, None]}),
        r"is F64 \[3, 1\], in the bundle F64 \[3\]",
    ),
    "one more": (lambda s: s.update(more=np.zeros(1)), "'more' is only in the model in use"),
    "one less": (lambda s: s.pop("steps"), "'steps' is only in the bundle"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_model_is_told_by_the_tensors_that_differ(bundle, state, tmp_path, name):
    change, reason = CHANGES[name]
    change(state)
    with pytest.raises(DigestMismatchError, match=reason):
        verify_served(saved(tmp_path / "s", state), bundle)


def test_tensors_are_read_as_the_library_reads_them(bundle):
    raw = (bundle.path / "model.safetensors").read_bytes()
    found = stored_tensors(bundle.path / "model.safetensors")
    library = parse_tensors(raw, where="x")
    assert {name: tensor.shape for name, tensor in found.items()} == {n: a.shape for n, a in library.items()}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x01",
        (2**60).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (3).to_bytes(8, "little") + b"nan",
        *(
            len(header).to_bytes(8, "little") + header + b"\0" * 8
            for header in (
                json.dumps({"a": place}).encode()
                for place in (
                    {"dtype": "F64", "shape": [1], "data_offsets": [0, 9]},
                    {"dtype": "F64", "shape": [1], "data_offsets": [8, 0]},
                    {"dtype": "F64", "shape": [1], "data_offsets": [0]},
                    {"dtype": "F64", "shape": [-1], "data_offsets": [0, 8]},
                    {"dtype": "F64", "shape": [1]},
                )
            )
        ),
    ],
)
def test_what_is_no_model_file_is_malformed(bundle, tmp_path, raw):
    (tmp_path / "s").write_bytes(raw)
    with pytest.raises(FormatError):
        verify_served(tmp_path / "s", bundle)


def test_a_bundle_and_a_certificate_are_held_against_the_model_in_use(office, bundle, state, tmp_path):
    served, other = saved(tmp_path / "s", state), tmp_path / "o"
    _bit(state)
    saved(other, state)
    beside = {"bundle": bundle.path, "log": office.folder / "log", "trust": office.trust}
    for path in (bundle.path, office.folder / "c.json"):
        found = uk.verify(path, model=served, **beside)
        assert "model in use" in [check.name for check in found.checks]
        assert not any("--model" in line for line in found.unchecked)
        with pytest.raises(DigestMismatchError):
            uk.verify(path, model=other, **beside)
        assert any("--model" in line for line in uk.verify(path, **beside).unchecked)
    with pytest.raises(UnknownNameError, match="no model file"):
        uk.verify(bundle.path, model=tmp_path / "nowhere", **beside)


def test_the_command_answers_for_bundles_and_says_what_it_cannot(office, bundle, state, tmp_path):
    served = saved(tmp_path / "s", state, format="pt")
    (tmp_path / "signer").write_bytes(office.signer.public.pem)
    trust = ["--trust", str(tmp_path / "signer"), "--model", str(served)]
    found = CliRunner().invoke(main, ["verify", str(bundle.path), *trust])
    assert (found.exit_code, "ok    model in use" in found.stdout) == (0, True), found.output
    (tmp_path / "key").write_text(office.log_key.public.vkey)
    checkpoint = [str(office.folder / "log" / "checkpoint"), "--trust", str(tmp_path / "key")]
    found = CliRunner().invoke(main, ["verify", *checkpoint, *trust])
    assert (found.exit_code, "takes a bundle or a certificate" in found.stderr) == (2, True)
