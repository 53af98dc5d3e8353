"""A state dict as a file that ``torch.load`` takes, ``.pt``, written without torch: the same arrays, the same bytes.

A zip archive, nothing compressed: ``data/0``, ``data/1``, ... are the numbers of a tensor each, and ``data.pkl`` is a
pickle that names them. Only the opcodes below are ever written, so that ``weights_only=True`` takes it.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from unlearnkit.bundle.bfloat16 import BFLOAT16
from unlearnkit.errors import RefusedError

Array = np.ndarray[Any, Any]

STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
"""What torch calls numbers of each precision that numpy has."""

_HEADER = 30  # of a file in the archive, without its name
_ALIGNED = 64  # as torch places numbers, so that they can be mapped into memory
_MARK, _TUPLE, _EMPTY_TUPLE, _EMPTY_DICT = b"(", b"t", b")", b"}"
_REDUCE, _PERSISTENT, _SET_ITEMS, _FALSE, _STOP = b"R", b"Q", b"u", b"\x89", b"."
_PROTOCOL = b"\x80\x02"


def torch_file_bytes(tensors: Mapping[str, Array]) -> bytes:
    """The file. RefusedError for numbers that torch has no old name for."""
    ordered = {name: np.asarray(tensors[name], order="C") for name in sorted(tensors)}
    if odd := sorted({str(array.dtype) for array in ordered.values() if _storage(array) is None}):
        raise RefusedError(
            f"no .pt file of {', '.join(odd)} is written", hint="write safetensors: -o MODEL.safetensors"
        )
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "data.pkl", _pickled(ordered))
        _add(archive, "byteorder", b"little")
        for key, array in enumerate(ordered.values()):
            _add(archive, f"data/{key}", array.astype(array.dtype.newbyteorder("<")).tobytes())
        _add(archive, "version", b"3\n")
    return target.getvalue()


def _storage(array: Array) -> str | None:
    """What torch calls its numbers; None: nothing."""
    return "BFloat16Storage" if array.dtype == BFLOAT16 else STORAGES.get(str(array.dtype))


def _add(archive: zipfile.ZipFile, name: str, raw: bytes) -> None:
    """No time, no system, no owner: nothing that differs from machine to machine."""
    info = zipfile.ZipInfo(f"archive/{name}", date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system, info.external_attr = 0, 1
    assert archive.fp is not None  # noqa: S101 - it is open
    unpadded = archive.fp.tell() + _HEADER + len(info.filename) + 4
    padding = -unpadded % _ALIGNED
    info.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
    archive.writestr(info, raw)


def _pickled(tensors: Mapping[str, Array]) -> bytes:
    """A dict of tensors, each made from the storage of its number."""
    parts = [_PROTOCOL, _EMPTY_DICT, _MARK]
    for key, (name, array) in enumerate(tensors.items()):
        strides = np.empty(array.shape, dtype="u1").strides
        storage = [
            _text("storage"),
            _symbol("torch", str(_storage(array))),
            *(_text(str(key)), _text("cpu"), _number(array.size)),
        ]
        parts += [
            _text(name),
            _symbol("torch._utils", "_rebuild_tensor_v2"),
            *(_MARK, _tuple(storage), _PERSISTENT, _number(0)),
            *(_tuple(map(_number, array.shape)), _tuple(map(_number, strides)), _FALSE),
            *(_symbol("collections", "OrderedDict"), _EMPTY_TUPLE, _REDUCE),
            *(_TUPLE, _REDUCE),
        ]
    return b"".join([*parts, _SET_ITEMS, _STOP])


def _tuple(parts: Iterable[bytes]) -> bytes:
    return b"".join([_MARK, *parts, _TUPLE])


def _symbol(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + len(raw).to_bytes(4, "little") + raw


def _number(value: int) -> bytes:
    if value < 2**31:
        return b"J" + value.to_bytes(4, "little")
    return b"\x8a\x08" + value.to_bytes(8, "little")
