"""Files of torch.save, read without torch and without running anything: the tensors that torch reads, or a refusal."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import safetensors.numpy
import torch
from torch import nn

from unlearnkit.bundle.torch_file import torch_file_bytes
from unlearnkit.errors import FormatError
from unlearnkit.verifier.safetensors_file import safetensors as read_safetensors
from unlearnkit.verifier.torch_file import torch_tensors


def read(raw: bytes):
    return torch_tensors(io.BytesIO(raw), len(raw), "m.pt")


def saved(value, **options) -> bytes:
    target = io.BytesIO()
    torch.save(value, target, **options)
    return target.getvalue()


def as_safetensors(state):
    """What another reader makes of the same numbers in the other format."""
    raw = safetensors.numpy.save({name: np.array(tensor.numpy(), order="C") for name, tensor in state.items()})
    return read_safetensors(io.BytesIO(raw), len(raw), "m")


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2).double())


@pytest.mark.parametrize("options", [{}, {"pickle_protocol": 4}])
def test_a_state_dict_of_torch_is_read_as_it_is(model, options):
    assert read(saved(model.state_dict(), **options)) == as_safetensors(model.state_dict())


def test_one_of_ours_is_read_as_it_is(model):
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    assert read(torch_file_bytes(arrays)) == as_safetensors(model.state_dict())


def test_parameters_views_and_shared_numbers_are_read():
    whole = torch.arange(12.0)
    found = read(saved({"p": nn.Parameter(whole[:4]), "v": whole[4:].view(2, 4), "w": whole[4:].view(2, 4)}))
    assert found == as_safetensors({"p": whole[:4], "v": whole[4:].view(2, 4), "w": whole[4:].view(2, 4)})


def test_half_precisions_are_told_apart():
    found = read(saved({"b": torch.ones(2, dtype=torch.bfloat16), "h": torch.ones(2, dtype=torch.float16)}))
    assert [found[name].dtype for name in "bh"] == ["BF16", "F16"]


def test_any_bit_shows(model):
    raw = bytearray(saved(model.state_dict()))
    place = bytes(raw).index(model[0].weight.detach().numpy().tobytes())
    raw[place] ^= 1
    assert read(bytes(raw))["0.weight"] != read(saved(model.state_dict()))["0.weight"]


class Harmful:
    def __reduce__(self):
        return os.system, ("touch harmed",)


def repacked(raw: bytes, pickled: bytes, *, compress: int = zipfile.ZIP_STORED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as source, zipfile.ZipFile(target, "w", compress) as archive:
        for name in source.namelist():
            archive.writestr(name, pickled if name.endswith("data.pkl") else source.read(name))
    return target.getvalue()


STATE = {"w": torch.ones(2, 3)}
PICKLED = zipfile.ZipFile(io.BytesIO(saved(STATE))).read("archive/data.pkl")
WHOLE = saved(STATE)

REFUSED = {
    "code": repacked(WHOLE, pickle.dumps({"w": Harmful()}, protocol=2)),
    "a module": saved(nn.Linear(1, 1)),
    "a list": saved([torch.ones(1)]),
    "a checkpoint": saved({"model": STATE, "epoch": 3}),
    "a number": saved({"w": 3}),
    "turned": saved({"w": torch.ones(2, 3).T}),
    "sparse": saved({"w": torch.eye(2).to_sparse()}),
    "complex": saved({"w": torch.ones(1, dtype=torch.complex64)}),
    "negated": saved({"w": torch.ones(2, dtype=torch.complex64).conj().imag}),
    "old": saved(STATE, _use_new_zipfile_serialization=False),
    "compressed": repacked(WHOLE, PICKLED, compress=zipfile.ZIP_DEFLATED),
    "without numbers": repacked(saved({"w": torch.ones(0)}), PICKLED),
    "cut": WHOLE[:-30],
    "no zip": b"PK\x03\x04",
    "an empty pickle": repacked(WHOLE, b""),
    "no end": repacked(WHOLE, PICKLED[:-1]),
    "an empty stack": repacked(WHOLE, b"\x80\x02."),
    "twice": repacked(WHOLE, PICKLED.replace(b"u.", b"").replace(b"s.", b"s" + PICKLED[5:-2] + b"s.")),
    "by name and value": repacked(WHOLE, pickle.dumps({("a", "b"): 1}, protocol=2)),
    "other numbers": repacked(WHOLE, PICKLED.replace(b"K\x03K\x01\x86", b"K\x09K\x01\x86")),
    "beyond the file": repacked(WHOLE, PICKLED.replace(b"K\x02K\x03\x86", b"K\x02K\x04\x86")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_whatever_else_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FormatError):
        read(REFUSED[name])
    assert not list(tmp_path.iterdir())


def test_tuples_in_tuples_take_no_time():
    """Sixty-four levels, each twice the one before: to print, compare or hash it would take for ever."""
    bomb = b"\x80\x02)" + b"".join(b"q\x01h\x01\x86" for _ in range(64))
    for ending in (b".", b"}(" + b"X\x01\0\0\0w" + b"h\x01u.", b"h\x01R.", b"}(h\x01h\x01u."):
        with pytest.raises(FormatError):
            read(repacked(WHOLE, bomb + ending))


def test_a_short_file_does_not_have_a_long_one_read():
    many = {f"w{i}": torch.ones(1000)[0:900] for i in range(3)}
    whole = torch.ones(1000)
    assert len(read(saved(many))) == 3
    with pytest.raises(FormatError, match="overlap"):
        read(saved({f"w{i}": whole[i : i + 900] for i in range(50)}))


def test_numbers_that_torch_would_read_in_another_precision_are_refused():
    """Its loader takes a storage's first precision for all tensors in it."""
    raw = saved({"a": torch.ones(2), "b": torch.ones(2, dtype=torch.int32)})
    pickled = zipfile.ZipFile(io.BytesIO(raw)).read("archive/data.pkl").replace(b"X\x01\0\0\x001", b"X\x01\0\0\x000")
    with pytest.raises(FormatError, match="reads numbers as I32 that are F32"):
        read(repacked(raw, pickled))


def test_reading_imports_no_torch(tmp_path):
    (tmp_path / "m.pt").write_bytes(WHOLE)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\nfrom unlearnkit.verifier.served import stored_tensors\n"
        f"print(*stored_tensors(Path({str(tmp_path / 'm.pt')!r})))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "w\n"
