"""The tensors of a file that ``torch.save`` or `unlearnkit.bundle.torch_file` wrote, read without torch.

A zip archive, nothing compressed, whose pickle is described and never unpickled (`unlearnkit.verifier.pickled`).
"""

from __future__ import annotations

import math
import struct
import zipfile
from dataclasses import dataclass
from typing import Any, BinaryIO

from unlearnkit.errors import FormatError
from unlearnkit.verifier.pickled import Call, Symbol, described
from unlearnkit.verifier.stored import StoredTensor, digest_of

MAGIC = b"PK\x03\x04"
"""How such a file begins, and no safetensors file: its header would have 67 MB."""

_MOST_PICKLE, _MOST_DIMENSIONS = 2**24, 64
_PICKLE, _ORDER = "/data.pkl", b"little"
# Bytes of the header of a file in the archive, and where it has the lengths of what comes after it.
_HEADER, _LENGTHS = 30, 26
_TENSOR, _PARAMETER = Symbol("torch._utils._rebuild_tensor_v2"), Symbol("torch._utils._rebuild_parameter")
_HINT = "torch.save(model.state_dict(), FILE), of tensors that are contiguous and on the CPU"
# As safetensors names them, and their bytes.
_TYPES = {
    "torch.DoubleStorage": ("F64", 8),
    "torch.FloatStorage": ("F32", 4),
    "torch.HalfStorage": ("F16", 2),
    "torch.BFloat16Storage": ("BF16", 2),
    "torch.LongStorage": ("I64", 8),
    "torch.IntStorage": ("I32", 4),
    "torch.ShortStorage": ("I16", 2),
    "torch.CharStorage": ("I8", 1),
    "torch.ByteStorage": ("U8", 1),
    "torch.BoolStorage": ("BOOL", 1),
}


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor as the pickle describes it: numbers of a storage, from ``offset`` on, one after another."""

    storage: str
    dtype: str
    itemsize: int
    offset: int
    shape: tuple[int, ...]

    @property
    def length(self) -> int:
        return math.prod(self.shape) * self.itemsize


def torch_tensors(file: BinaryIO, size: int, where: str) -> dict[str, StoredTensor]:
    """The tensors of a state dict, by name; FormatError for anything else. size: of the file. where: its name."""
    try:
        with zipfile.ZipFile(file) as archive:
            records = _records(archive, where)
            root, pickled = _pickled(archive, records, where)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OverflowError, UnicodeDecodeError) as err:
        raise FormatError(f"{where} is no file of torch.save: {err}") from err
    views = _views(described(pickled, where=where), where)
    found = dict[_View, StoredTensor]()
    for name, view in views.items():
        if view not in found:
            size -= view.length
            if size < 0:  # whoever sends a short file shall not have a long one read
                raise FormatError(f"{where}: its tensors overlap", hint="save copies of them")
            found[view] = _stored(file, records.get(f"{root}/data/{view.storage}"), view, f"{where}: {name}")
    return {name: found[view] for name, view in views.items()}


def _records(archive: zipfile.ZipFile, where: str) -> dict[str, zipfile.ZipInfo]:
    """Its files, by name, each once and as it is."""
    infos = archive.infolist()
    records = {info.filename: info for info in infos}
    if len(records) < len(infos) or any(info.compress_type != zipfile.ZIP_STORED for info in infos):
        raise FormatError(f"{where} is no file of torch.save: something in it is compressed, or there twice")
    return records


def _pickled(archive: zipfile.ZipFile, records: dict[str, zipfile.ZipInfo], where: str) -> tuple[str, bytes]:
    """The folder that everything is in, and the pickle."""
    roots = [name.removesuffix(_PICKLE) for name in records if name.endswith(_PICKLE)]
    if len(roots) != 1 or records[roots[0] + _PICKLE].file_size > _MOST_PICKLE:
        raise FormatError(f"{where} is no file of torch.save: it has no {_PICKLE[1:]}, or one that is too long")
    order = records.get(f"{roots[0]}/byteorder")
    if order is not None and (order.file_size > len(_ORDER) or archive.read(order) != _ORDER):
        raise FormatError(f"{where}: its numbers are not in little-endian order", hint="save it on such a machine")
    return roots[0], archive.read(records[roots[0] + _PICKLE])


def _views(said: Any, where: str) -> dict[str, _View]:  # noqa: ANN401 - what a pickle describes
    if not isinstance(said, dict):
        raise FormatError(f"{where} holds no state dict", hint=_HINT)
    found, types = dict[str, _View](), dict[str, str]()
    for name, value in said.items():
        try:
            found[name] = view = _view(value)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as err:
            raise FormatError(f"{where}: {name!r} is no tensor that is told from a file: {err}", hint=_HINT) from err
        if types.setdefault(view.storage, view.dtype) != view.dtype:  # torch would take the first for both
            raise FormatError(f"{where}: {name!r} reads numbers as {view.dtype} that are {types[view.storage]}")
    return found


def _view(value: Any) -> _View:  # noqa: ANN401
    """ValueError, TypeError, KeyError, AttributeError or IndexError for what is no dense tensor."""
    if isinstance(value, Call) and value.function == _PARAMETER:
        value = value.arguments[0]
    if not isinstance(value, Call) or value.function != _TENSOR:
        raise ValueError("it is made otherwise")
    storage, offset, shape, strides, _, _ = value.arguments  # one more, and torch would negate it, say
    kind, symbol, key, _, _ = storage.said
    dtype, itemsize = _TYPES[symbol.name]
    if kind != "storage" or not isinstance(key, str) or not isinstance(shape, tuple) or len(shape) > _MOST_DIMENSIONS:
        raise ValueError("its storage or shape is none")
    if not all(type(number) is int and 0 <= number < 2**63 for number in (offset, *shape, *strides)):
        raise ValueError("its place or shape is none")
    if not _is_contiguous(shape, strides):
        raise ValueError("it is not contiguous")
    return _View(key, dtype, itemsize, offset, shape)


def _is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != expected and 0 not in shape:
            return False
        expected *= size
    return True


def _stored(file: BinaryIO, record: zipfile.ZipInfo | None, view: _View, where: str) -> StoredTensor:
    first = view.offset * view.itemsize
    if record is None or first + view.length > record.file_size:
        raise FormatError(f"{where}: its numbers are not in the file")
    file.seek(record.header_offset + _LENGTHS)
    lengths = struct.unpack("<HH", file.read(4).ljust(4, b"\0"))
    begin = record.header_offset + _HEADER + sum(lengths)
    return StoredTensor(view.dtype, view.shape, digest_of(file, begin + first, view.length, where))
