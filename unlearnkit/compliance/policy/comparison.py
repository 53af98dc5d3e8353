"""What differs between two policies, setting by setting."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from unlearnkit.compliance.policy.policy import Policy


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that two policies do not share. before, after: as the files say it; None where one says nothing."""

    setting: str
    before: str | None
    after: str | None


def compare(before: Policy, after: Policy) -> tuple[Difference, ...]:
    """The settings in which ``after`` differs from ``before``, in the order of the files; comments do not count."""
    old, new = _settings(before), _settings(after)
    return tuple(
        Difference(name, old.get(name), new.get(name))
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    )


def _settings(policy: Policy) -> dict[str, str]:
    return dict(_flat(tomllib.loads(policy.text, parse_float=Decimal), ""))


def _flat(table: Mapping[str, object], above: str) -> Iterator[tuple[str, str]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", _text(value)


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} {_text(item)}" for name, item in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)
