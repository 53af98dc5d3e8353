"""What a pickle describes, without unpickling it: nothing is imported, called or made but tuples, dicts and records.

Opcodes are taken apart by `pickletools`, and those that describe a dict of tensors are followed; any other is refused.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from unlearnkit.errors import FormatError


@dataclass(frozen=True, slots=True)
class Symbol:
    """Something of a module, by its name: ``torch.FloatStorage``. It is not looked up."""

    name: str


@dataclass(frozen=True, slots=True)
class Persistent:
    """Something outside the pickle, and what is said of it."""

    said: Any


@dataclass(frozen=True, slots=True)
class Call:
    """What a function would be called with; it is not called."""

    function: Symbol
    arguments: tuple[Any, ...]


def described(raw: bytes, *, where: str) -> Any:  # noqa: ANN401 - a tuple, dict, number, text, or one of the above
    """What a pickle describes; FormatError for one that describes more than that."""
    machine = _Machine(where)
    try:
        for opcode, argument, _ in pickletools.genops(raw):
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.follow(opcode.name, argument)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as err:
        raise FormatError(f"{where} is no pickle of tensors: {err}") from err
    raise FormatError(f"{where} is no pickle of tensors: it does not end")


@dataclass
class _Machine:
    """A stack, what was under it at each mark, and what is to be used again."""

    where: str
    stack: list[Any] = field(default_factory=list)
    marked: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def follow(self, name: str, argument: Any) -> None:  # noqa: ANN401
        if name in _CONSTANTS:
            self.stack.append(argument)
        elif name in _STEPS:
            _STEPS[name](self, argument)
        elif name not in _FRAMING:
            raise FormatError(f"{self.where} is no pickle of tensors: it has the opcode {name}")

    def since_mark(self) -> list[Any]:
        found, self.stack = self.stack, self.marked.pop()
        return found

    def mark(self, _: object) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def tuple_since_mark(self, _: object) -> None:
        found = tuple(self.since_mark())
        self.stack.append(found)

    def set_items_since_mark(self, _: object) -> None:
        self.set_items(self.since_mark())

    def last(self, count: int) -> None:
        found = tuple(self.stack[-count:])
        if len(found) < count:
            raise ValueError("a tuple of nothing")
        del self.stack[-count:]
        self.stack.append(found)

    def reduce(self, _: object) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Symbol) or not isinstance(arguments, tuple):
            raise TypeError("something is called that is no function")
        empty = function.name == "collections.OrderedDict" and not arguments
        self.stack.append({} if empty else Call(function, arguments))

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise TypeError("items of something else than a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str) or key in target:  # a key of tuples in tuples would take for ever to hash
                raise ValueError("a key that is no text, or there twice")
            target[key] = value

    def set_item(self, _: object) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def build(self, _: object) -> None:
        """Attributes, such as the versions of a state dict's modules, which are no tensors."""
        self.stack.pop()
        if not isinstance(self.stack[-1], dict):
            raise TypeError("attributes of something else than a dict")

    def global_of_stack(self, _: object) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise TypeError("a name that is no text")
        self.stack.append(Symbol(f"{module}.{name}"))


_FRAMING = {"PROTO", "FRAME"}
_CONSTANTS = {
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BININT", "BININT1", "BININT2", "LONG1"),
    "NONE",
}
_STEPS: Mapping[str, Callable[[_Machine, Any], None]] = {
    "NEWTRUE": lambda m, _: m.stack.append(True),
    "NEWFALSE": lambda m, _: m.stack.append(False),
    "GLOBAL": lambda m, said: m.stack.append(Symbol(said.replace(" ", "."))),
    "STACK_GLOBAL": _Machine.global_of_stack,
    "EMPTY_TUPLE": lambda m, _: m.stack.append(()),
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "MARK": _Machine.mark,
    "TUPLE": _Machine.tuple_since_mark,
    "TUPLE1": lambda m, _: m.last(1),
    "TUPLE2": lambda m, _: m.last(2),
    "TUPLE3": lambda m, _: m.last(3),
    "BINPUT": lambda m, place: m.memo.__setitem__(place, m.stack[-1]),
    "LONG_BINPUT": lambda m, place: m.memo.__setitem__(place, m.stack[-1]),
    "MEMOIZE": lambda m, _: m.memo.__setitem__(len(m.memo), m.stack[-1]),
    "BINGET": lambda m, place: m.stack.append(m.memo[place]),
    "LONG_BINGET": lambda m, place: m.stack.append(m.memo[place]),
    "BINPERSID": lambda m, _: m.stack.append(Persistent(m.stack.pop())),
    "REDUCE": _Machine.reduce,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items_since_mark,
    "BUILD": _Machine.build,
}
