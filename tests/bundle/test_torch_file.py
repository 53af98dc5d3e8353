"""Files for torch that are written without it: torch reads the same numbers, and writes what reads as the same."""

from __future__ import annotations

import hashlib
import io
import zipfile

import numpy as np
import pytest
import torch

from unlearnkit.bundle.torch_file import STORAGES, torch_file_bytes
from unlearnkit.errors import RefusedError


def arrays() -> dict[str, np.ndarray]:
    """Of every precision; a scalar, nothing, a long name, and an array that is not contiguous."""
    random = np.random.default_rng(0)
    found = {f"of.{kind}": (100 * random.random((2, 3))).astype(kind) for kind in STORAGES}
    return found | {
        "scalar": np.array(7),
        "nothing": np.zeros((0, 3), dtype=np.float32),
        "turned": random.random((3, 4)).T,
        "ü" * 300: np.ones(1),
    }


def test_torch_reads_every_number_as_it_was_and_runs_no_code_for_it():
    found = torch.load(io.BytesIO(torch_file_bytes(arrays())), weights_only=True)
    assert found.keys() == arrays().keys()
    for name, array in arrays().items():
        assert found[name].shape == array.shape
        np.testing.assert_array_equal(found[name].numpy(), array, strict=True)
        assert found[name].is_contiguous()


def test_torch_maps_the_numbers_into_memory(tmp_path):
    (tmp_path / "model.pt").write_bytes(torch_file_bytes(arrays()))
    found = torch.load(tmp_path / "model.pt", weights_only=True, mmap=True)
    np.testing.assert_array_equal(found["turned"].numpy(), arrays()["turned"])
    assert all(tensor.data_ptr() % tensor.element_size() == 0 for tensor in found.values())


def test_a_module_loads_it():
    layer, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    raw = torch_file_bytes({name: tensor.numpy() for name, tensor in layer.state_dict().items()})
    other.load_state_dict(torch.load(io.BytesIO(raw), weights_only=True))
    assert torch.equal(layer.weight, other.weight)


def test_the_same_arrays_give_the_same_bytes_whenever_and_wherever():
    """The digest is of this very file: neither the day, nor the system, nor the order counts."""
    few = {"b": np.arange(3, dtype=np.float32), "a": np.array([[True]])}
    raw = torch_file_bytes(few)
    assert raw == torch_file_bytes(dict(reversed(few.items())))
    assert hashlib.sha256(raw).hexdigest() == DIGEST
    assert {info.date_time for info in zipfile.ZipFile(io.BytesIO(raw)).infolist()} == {(1980, 1, 1, 0, 0, 0)}


DIGEST = "df050627d41162d434494771f7cacb8adb42a34adc199e3345a7fdfc0f06482c"


def test_what_torch_has_no_storage_for_is_refused():
    with pytest.raises(RefusedError, match=r"no \.pt file of uint16") as caught:
        torch_file_bytes({"a": np.zeros(1, dtype=np.uint16)})
    assert "safetensors" in caught.value.hint
