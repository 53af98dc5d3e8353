"""bfloat16 without torch: torch reads what is written, and rounds as it is rounded here."""

from __future__ import annotations

import io

import numpy as np
import pytest
import safetensors.torch
import torch

from unlearnkit.bundle.bfloat16 import BFLOAT16, rounded, wide
from unlearnkit.bundle.tensors import parse_tensors, tensor_bytes
from unlearnkit.bundle.torch_file import torch_file_bytes
from unlearnkit.errors import FormatError

RANDOM = np.random.default_rng(0)
NUMBERS = RANDOM.standard_normal((40, 25)) * 10.0 ** RANDOM.integers(-42, 38, (40, 25))
TIES = np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, -1 - 2.0**-8, 0.0, -0.0])


@pytest.mark.parametrize("numbers", [NUMBERS, TIES, np.array(1.3)])
def test_numbers_are_rounded_as_torch_rounds_them(numbers):
    found = wide(rounded(numbers, BFLOAT16))
    np.testing.assert_array_equal(found, torch.from_numpy(numbers).bfloat16().float().numpy())


def test_torch_reads_what_is_written_and_the_same_comes_back():
    arrays = {"ü": rounded(NUMBERS, BFLOAT16), "scalar": rounded(np.array(1.3), BFLOAT16), "single": np.ones(3, "f4")}
    expected = torch.from_numpy(NUMBERS).bfloat16()
    raw = tensor_bytes(arrays)
    files = safetensors.torch.load(raw), torch.load(io.BytesIO(torch_file_bytes(arrays)), weights_only=True)
    for found in files:
        assert torch.equal(found["ü"], expected)
        assert (found["scalar"].dtype, found["single"].dtype) == (torch.bfloat16, torch.float32)
    again = parse_tensors(raw, where="it")
    assert tensor_bytes(again) == raw == tensor_bytes(dict(reversed(arrays.items())))
    assert parse_tensors(safetensors.torch.save({"ü": expected}), where="it")["ü"].tobytes() == again["ü"].tobytes()


def test_files_that_torch_wrote_are_read_and_those_with_gaps_are_not():
    raw = tensor_bytes({"a": rounded(np.ones(4), BFLOAT16)})
    with pytest.raises(FormatError, match="it is not a safetensors file"):
        parse_tensors(raw[:-1], where="it")
