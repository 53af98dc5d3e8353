"""Digests of code: what a loss, a probe or a model computes, as far as its source text tells.

Source text is the same on every machine and with every library version; what a function refers to (tensors, numbers,
other functions of the user) is followed, libraries are named and not read.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unlearnkit.sketch.data import update_with_tensor


def _is_library(thing: types.FunctionType | type) -> bool:
    """Whether code comes from the standard library or an installed package: named in a digest, but not read."""
    top = thing.__module__.split(".")[0]
    path = getattr(sys.modules.get(thing.__module__), "__file__", None) or ""
    return top in sys.stdlib_module_names or "site-packages" in path or "dist-packages" in path


def function_digest(function: Callable[..., Any]) -> str:
    """SHA-256 of a function's source and of the values and functions it refers to."""
    state = hashlib.sha256()
    for part in _parts(function, set()):
        state.update(hashlib.sha256(part).digest())
    return state.hexdigest()


def model_digest(model: nn.Module) -> str:
    """SHA-256 of a model's structure: the tree of its modules, and the source of those that torch does not ship."""
    state = hashlib.sha256()
    for name, module in model.named_modules():
        state.update(f"{name}:{type(module).__qualname__}({module.extra_repr()})\n".encode())
    for kind in sorted({type(m) for m in model.modules()}, key=lambda k: k.__qualname__):
        if not _is_library(kind):
            state.update(_source(kind))
    return state.hexdigest()


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of the names and values of a model's parameters and buffers."""
    state = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        state.update(name.encode())
        update_with_tensor(state, tensor)
    return state.hexdigest()


def _source(thing: Any) -> bytes:  # noqa: ANN401  a function or a class
    try:
        return textwrap.dedent(inspect.getsource(thing)).strip().encode()
    except (OSError, TypeError):  # typed at a prompt: fall back on what the interpreter keeps
        code = getattr(thing, "__code__", None)
        return code.co_code + repr(code.co_consts).encode() if code else repr(thing.__qualname__).encode()


def _parts(value: object, seen: set[int]) -> Iterator[bytes]:
    """Bytes that stand for a value: source of functions, contents of tensors, text of simple values."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, types.MethodType):
        yield from _parts(value.__func__, seen)
    elif isinstance(value, types.FunctionType) and not _is_library(value):
        yield _source(value)
        closure = inspect.getclosurevars(value)
        for name, referred in sorted({**closure.globals, **closure.nonlocals}.items()):
            yield name.encode()
            yield from _parts(referred, seen)
    elif isinstance(value, (Tensor, np.ndarray)):
        state = hashlib.sha256()
        update_with_tensor(state, torch.as_tensor(value))
        yield state.digest()
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _parts(item, seen)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield repr(key).encode()
            yield from _parts(item, seen)
    elif isinstance(value, (str, int, float, bool, bytes, type(None))):
        yield repr(value).encode()
    else:
        yield getattr(value, "__qualname__", type(value).__qualname__).encode()
