"""Corrected weights as the model before them is served: safetensors, torch's ``.pt``, or a Hugging Face folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unlearnkit.bundle.tensors import parse_tensors, tensor_bytes
from unlearnkit.bundle.torch_file import torch_file_bytes
from unlearnkit.errors import RefusedError
from unlearnkit.files import publish_directory, write_new
from unlearnkit.verifier.served import WEIGHTS, stored_tensors

Array = np.ndarray[Any, Any]

TORCH = {".pt", ".pth", ".bin"}
"""Endings of files that torch is to read."""

_LIST = ".index.json"  # of which file each tensor is in: now there is one
# Endings of files that hold weights, of this model or an earlier one, or what training left.
_WEIGHTS = {*TORCH, ".safetensors", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf", ".ot", ".tflite", ".pkl", ".npz"}


def require_place(target: Path, like: Path | None) -> None:
    """RefusedError unless nothing is at ``target``, and there is a folder for it. like: see `writer`."""
    if target.exists() or target.is_symlink() or not target.parent.is_dir():
        raise RefusedError(f"{target} is there already, or in no folder", hint="give another name: -o")
    if like is not None and not like.is_dir():
        raise RefusedError(f"{like} is no folder of a model", hint="--like takes the folder that save_pretrained wrote")


def writer(target: Path, like: Path | None, tied: Mapping[str, str]) -> Callable[[bytes], None]:
    """What puts corrected weights, a safetensors file, at a place. The same weights give the same bytes.

    Args:
        target: ``.pt``, ``.pth`` and ``.bin`` are files of torch; every other is safetensors.
        like: A Hugging Face folder: then ``target`` becomes one, with the tensors that it has, and its other files.
        tied: Further names of tensors, and the first name of each.
    """
    if like is not None:
        return lambda weights: _write_folder(target, parse_tensors(weights, where="weights"), like, tied)
    if target.suffix in TORCH:
        return lambda weights: write_new(target, torch_file_bytes(parse_tensors(weights, where="weights")))
    return lambda weights: write_new(target, weights)


def is_safetensors(target: Path) -> bool:
    """Whether what was written there has the very bytes whose digest a certificate says."""
    return target.suffix not in TORCH and not target.is_dir()


def _write_folder(target: Path, weights: Mapping[str, Array], like: Path, tied: Mapping[str, str]) -> None:
    """Everything is there when the folder has its name."""
    chosen = _chosen(weights, like, tied)
    staging = target.with_name(f".{target.name}.assembling")
    shutil.rmtree(staging, ignore_errors=True)  # left over from a crash; nothing else refers to it
    staging.mkdir()
    for file in _other_files(like):
        place = staging / file.relative_to(like)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    raw = tensor_bytes({name: chosen[name] for name in sorted(chosen)}, {"format": "pt"})
    (staging / WEIGHTS).write_bytes(raw)
    publish_directory(staging, target)


def _chosen(weights: Mapping[str, Array], like: Path, tied: Mapping[str, str]) -> dict[str, Array]:
    """The tensors that the folder has, which may leave out names that are tied to others."""
    there = stored_tensors(like)
    unknown = sorted(there.keys() - weights.keys())
    first = {tied.get(name, name) for name in there}
    missing = sorted(name for name in weights if name not in there and tied.get(name, name) not in first)
    other = sorted(name for name in there if name in weights and there[name].shape != weights[name].shape)
    if differing := unknown or missing or other:
        raise RefusedError(
            f"{like} holds another model than the bundle: {', '.join(map(repr, differing[:5]))} differ",
            hint="without --like, the weights are written under the names that the recipe's model has",
        )
    return {name: weights[name] for name in there}


def _other_files(folder: Path) -> Iterator[Path]:
    """What is neither weights, nor of a checkpoint within, nor hidden: settings, words, a card."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "checkpoint-")))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix not in _WEIGHTS and not name.endswith(_LIST):
                yield Path(place, name)
