"""Whether a model file is the model of a bundle: byte for byte, or tensor by tensor where only its format differs.

It may be safetensors, a state dict that torch saved, or a Hugging Face folder of either. Tensors are compared as they
lie there, whatever their precision; nothing is loaded, and nothing that a file says is called.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from unlearnkit.bundle import Bundle
from unlearnkit.bundle.manifest import MODEL
from unlearnkit.canonical import file_sha256_hex, parse_json, sha256_hex
from unlearnkit.errors import DigestMismatchError, FormatError, UnknownNameError
from unlearnkit.files import MAX_DOCUMENT, read_bounded
from unlearnkit.names import counted
from unlearnkit.verifier.checks import Checklist
from unlearnkit.verifier.safetensors_file import safetensors
from unlearnkit.verifier.stored import StoredTensor
from unlearnkit.verifier.torch_file import MAGIC, torch_tensors

WEIGHTS, INDEX, TORCH_WEIGHTS = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
"""What a Hugging Face folder holds: one file, or a list of several; or, older, one of torch."""

_SHOWN = 5


def verify_served(served: Path, bundle: Bundle) -> str:
    """Check that a model file is the bundle's model; in words, how it is. Raises as `verify_weights` does."""
    return verify_weights(
        served, (bundle.path / MODEL).read_bytes(), what="the bundle's model", tied=bundle.manifest.tied
    )


def verify_weights(served: Path, weights: bytes, *, what: str, tied: Mapping[str, str]) -> str:
    """Check that a model in use has these weights; in words, how it does.

    Args:
        served: A file of safetensors or of torch, or a Hugging Face folder.
        weights: A safetensors file.
        what: To call them.
        tied: Further names of some tensors, and the first name of each: a file has to have one of them.

    Raises:
        DigestMismatchError: It is another model; which tensors differ.
        FormatError: It is no such file or folder.
        UnknownNameError: It is not there.
    """
    if served.is_file() and file_sha256_hex(served) == sha256_hex(weights):
        return f"{served} is {what}, byte for byte"
    theirs, ours = stored_tensors(served), safetensors(BytesIO(weights), len(weights), what)
    names = {*ours, *theirs} - _left_out(ours, theirs, tied)
    if different := sorted(name for name in names if ours.get(name) != theirs.get(name)):
        told = "; ".join(_difference(name, ours.get(name), theirs.get(name)) for name in different[:_SHOWN])
        more = f"; and {len(different) - _SHOWN} more" if len(different) > _SHOWN else ""
        raise DigestMismatchError(
            f"{served} is not {what}: {len(different)} of {counted(len(names), 'tensor')} differ: {told}{more}"
        )
    same = counted(len(names), "tensor")
    return f"{served} has the very {same} of {what}; the files differ in metadata, format or order"


def verify_in_use(served: Path | None, bundle: Bundle, checks: Checklist) -> None:
    """Check the model in use, or say that nobody did; raises as `verify_served` does."""
    if served is None:
        checks.leave_out("whether the model in use is this one: --model says which file it is")
    else:
        checks.add("model in use", verify_served(served, bundle))


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors in a model file or a Hugging Face folder, by name.

    Raises:
        FormatError: It is something else.
        UnknownNameError: It is not there.
    """
    if path.is_dir():
        return _in_folder(path)
    if not path.is_file():
        raise UnknownNameError(f"no model file {path}")
    with path.open("rb") as file:
        read = torch_tensors if file.read(len(MAGIC)) == MAGIC else safetensors
        file.seek(0)
        return read(file, path.stat().st_size, str(path))


def _in_folder(folder: Path) -> dict[str, StoredTensor]:
    """As Hugging Face's loaders choose: safetensors, in one file or several, before what torch saved."""
    if (folder / WEIGHTS).is_file():
        return stored_tensors(folder / WEIGHTS)
    if (folder / INDEX).is_file():
        return _in_parts(folder)
    if (folder / TORCH_WEIGHTS).is_file():
        return stored_tensors(folder / TORCH_WEIGHTS)
    raise FormatError(f"{folder} holds no model: none of {WEIGHTS}, {INDEX} and {TORCH_WEIGHTS}")


def _in_parts(folder: Path) -> dict[str, StoredTensor]:
    where = str(folder / INDEX)
    index = parse_json(read_bounded(folder / INDEX, MAX_DOCUMENT), where=where)
    place = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(place, dict) or not all(isinstance(p, str) and Path(p).name == p for p in place.values()):
        raise FormatError(f"{where} does not say which file of the folder each tensor is in")
    found = {part: stored_tensors(folder / part) for part in sorted(set(place.values()))}
    if {(name, part) for part, tensors in found.items() for name in tensors} != set(place.items()):
        raise FormatError(f"{where} says of some tensors that they are in other files than they are")
    return {name: tensor for tensors in found.values() for name, tensor in tensors.items()}


def _left_out(ours: Mapping[str, object], theirs: Mapping[str, object], tied: Mapping[str, str]) -> set[str]:
    """Names that a file need not have: it has the same tensor under another."""
    there = {tied.get(name, name) for name in theirs if name in ours}
    return {name for name in ours if name not in theirs and tied.get(name, name) in there}


def _difference(name: str, ours: StoredTensor | None, theirs: StoredTensor | None) -> str:
    if ours is None or theirs is None:
        return f"{name!r} is only in {'the model in use' if ours is None else 'the bundle'}"
    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        return f"{name!r} is {theirs}, in the bundle {ours}"
    count = math.prod(ours.shape)
    return f"{name!r} has other numbers ({count} of them)" if count != 1 else f"{name!r} is another number"
