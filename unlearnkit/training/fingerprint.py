"""Digests of code: what a loss, a probe or a model computes, as far as its source text tells.

Source text is the same on every machine and with every library version; what a function refers to (tensors, numbers,
other functions and classes of the user) is followed, libraries are named and not read.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import re
import sys
import textwrap
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from unlearnkit.training.data import update_with_tensor
from unlearnkit.training.hooks import forward_hooks

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # Python shows objects with it when they have nothing better to show
_NUMBERS = (bool, int, float, complex, type(None))
_SIMPLE = (*_NUMBERS, str, bytes, torch.dtype)


def function_digest(function: Callable[..., Any]) -> str:
    """SHA-256 of a function's source, its defaults, and the values, functions and classes that it refers to."""
    return _Digest().of(function)


def model_digest(model: nn.Module) -> str:
    """SHA-256 of a model's structure: the tree of its modules, their settings, the source of the user's own ones."""
    return _Digest().of(_Structure(model))


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of the names and values of a model's parameters and buffers, also those that no state dict holds."""
    state = hashlib.sha256()
    for name, tensor in (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)):
        state.update(name.encode())
        update_with_tensor(state, tensor)
    return state.hexdigest()


class _Structure:
    """A model without the values of its tensors."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model


class _Digest:
    """One walk over everything that a value refers to."""

    def __init__(self, seen: Mapping[int, tuple[int, object]] | None = None) -> None:
        self.seen = dict(seen or {})  # by identity; holding them keeps identities from being reused

    def of(self, value: object) -> str:
        """SHA-256 of the parts, each hashed first, so that none can pass for two."""
        state = hashlib.sha256()
        for part in self._parts(value):
            state.update(hashlib.sha256(part).digest())
        return state.hexdigest()

    def _parts(self, value: object) -> Iterator[bytes]:
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, _SIMPLE):
            yield f"{type(value).__name__} {value!r}".encode()
        elif isinstance(value, Tensor):
            state = hashlib.sha256()
            update_with_tensor(state, value)
            yield state.digest()
        elif isinstance(value, np.ndarray) and value.dtype != object:
            yield f"{value.dtype.str}{value.shape}".encode() + np.ascontiguousarray(value).tobytes()
        elif id(value) in self.seen:
            yield f"the same as number {self.seen[id(value)][0]}".encode()
        else:
            self.seen[id(value)] = len(self.seen), value
            yield from self._walk(value)

    def _walk(self, value: Any) -> Iterator[bytes]:  # noqa: ANN401  whatever code refers to
        if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
            yield f"{type(value).__name__} of {len(value)}".encode()
            unordered = isinstance(value, (set, frozenset))
            yield from self._unordered(value) if unordered else _chained(self._parts(item) for item in value)
        elif isinstance(value, dict):
            yield f"{type(value).__name__} of {len(value)}".encode()
            yield from _chained(self._parts(part) for item in value.items() for part in item)
        elif isinstance(value, (types.FunctionType, type, types.ModuleType)):
            yield from [_name(value)] if is_library(value) else self._code(value)
        elif isinstance(value, types.MethodType):
            yield from _chained(map(self._parts, (value.__func__, value.__self__)))
        elif isinstance(value, functools.partial):
            yield from _chained(map(self._parts, (value.func, value.args, value.keywords)))
        elif isinstance(value, nn.Module):
            yield weights_digest(value).encode()
            yield from self._structure(value)
        elif isinstance(value, _Structure):
            yield from self._structure(value.model)
        else:
            yield from self._object(value)

    def _unordered(self, items: Iterable[object]) -> Iterator[bytes]:
        """Each by itself, so that numbers of what was seen before do not tell in which order a set was walked."""
        yield from sorted(_Digest(self.seen).of(item).encode() for item in items)

    def _code(self, thing: Any) -> Iterator[bytes]:  # noqa: ANN401  a function, class or module of the user
        yield _source(thing)
        if isinstance(thing, types.FunctionType):
            yield from self._parts([thing.__defaults__, thing.__kwdefaults__, referred(thing)])
        elif isinstance(thing, type):
            yield from _chained(self._parts(base) for base in thing.__bases__)
            members = [getattr(f, "__func__", getattr(f, "fget", f)) for f in vars(thing).values()]
            functions = [f for f in members if isinstance(f, types.FunctionType)]
            yield from _chained(self._parts([f.__defaults__, f.__kwdefaults__, referred(f)]) for f in functions)

    def _object(self, value: object) -> Iterator[bytes]:
        """The user's objects and datasets with all that is in them, a library's with its numbers, its settings.

        A library's underscored names are its own tables, such as the Python hash that transformers keeps of a config.
        """
        yield getattr(value, "__qualname__", "").encode()
        yield from self._parts(type(value))
        own = not is_library(type(value)) or isinstance(value, Dataset)
        slots = {f.name: getattr(value, f.name) for f in fields(value)} if is_dataclass(value) else {}
        for name, attribute in sorted({**getattr(value, "__dict__", {}), **slots}.items()):
            if own or (isinstance(attribute, _NUMBERS) and not name.startswith("_")):
                yield name.encode()
                yield from self._parts(attribute)

    def _structure(self, model: nn.Module) -> Iterator[bytes]:
        for path, module in model.named_modules():
            shown = _ADDRESS.sub("", module.extra_repr())
            yield f"{path}:{type(module).__qualname__}({shown})".encode()
            yield from self._parts(type(module))
            yield from self._parts(forward_hooks(module))
            for name, attribute in sorted(vars(module).items()):
                # Underscores: torch's own tables. name_or_path: where a pretrained model was found, not what it is.
                if not name.startswith("_") and name != "name_or_path":
                    yield name.encode()
                    yield from self._parts(attribute)


def _chained(parts: Iterable[Iterator[bytes]]) -> Iterator[bytes]:
    for part in parts:
        yield from part


def referred(function: types.FunctionType) -> dict[str, object]:
    """The globals and enclosing variables that a function, or a function inside it, reads; without builtins."""
    code = [function.__code__]
    for inner in code:  # grows as it goes
        code += [constant for constant in inner.co_consts if isinstance(constant, types.CodeType)]
    loads = (i for inner in code for i in dis.get_instructions(inner) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
    names = sorted({str(instruction.argval) for instruction in loads})
    found = {name: function.__globals__[name] for name in names if name in function.__globals__}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found


def _name(thing: types.FunctionType | type | types.ModuleType) -> bytes:
    return (thing.__name__ if isinstance(thing, types.ModuleType) else thing.__qualname__).encode()


def is_library(thing: types.FunctionType | type | types.ModuleType) -> bool:
    """Whether code comes from the standard library or an installed package: named in a digest, but not read."""
    name = (thing.__name__ if isinstance(thing, types.ModuleType) else thing.__module__) or ""
    if name.startswith("unlearnkit."):
        return not name.startswith("unlearnkit.examples.")
    path = getattr(sys.modules.get(name), "__file__", None) or ""
    installed = "site-packages" in path or "dist-packages" in path
    return installed or name.split(".")[0] in {*sys.stdlib_module_names, "torch", "unlearnkit"}


def _source(thing: Any) -> bytes:  # noqa: ANN401  a function, class or module
    try:
        return textwrap.dedent(inspect.getsource(thing)).strip().encode()
    except (OSError, TypeError):  # typed at a prompt: fall back on what the interpreter keeps
        code = getattr(thing, "__code__", None)
        return _compiled(code).encode() if code else _name(thing)


def _compiled(code: types.CodeType) -> str:
    """What a function does, down to the functions inside it, in the same words in every process."""
    return f"{code.co_code.hex()} {_constants(code.co_consts)}"


def _constants(value: object) -> str:
    if isinstance(value, types.CodeType):
        return _compiled(value)
    if isinstance(value, (tuple, frozenset)):
        inner = [_constants(item) for item in value]
        return f"{type(value).__name__}{inner if isinstance(value, tuple) else sorted(inner)}"
    return repr(value)
