"""The units of a bundle: stored as pseudonyms, asked for by pseudonym, or by name with the key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from unlearnkit.bundle.integrity import listed
from unlearnkit.bundle.manifest import UNITS
from unlearnkit.bundle.pseudonym import PseudonymKey
from unlearnkit.canonical import parse_canonical
from unlearnkit.errors import FormatError, RefusedError, UnknownNameError
from unlearnkit.names import SHA256

Array = np.ndarray[Any, Any]


class Units:
    """Pseudonyms in the order of the units, and the key that names them, where it is at hand."""

    def __init__(self, pseudonyms: tuple[str, ...], key: PseudonymKey | None) -> None:
        self.pseudonyms = pseudonyms
        self._key = key

    @classmethod
    def from_bytes(cls, raw: bytes, count: int, key: PseudonymKey | None) -> Units:
        """Parse ``units.json``; FormatError unless it lists ``count`` different pseudonyms."""
        units = parse_canonical(raw, where=UNITS)
        if not isinstance(units, list) or not all(isinstance(u, str) and SHA256.fits(u) for u in units):
            raise FormatError(f"{UNITS}: expected a list of pseudonyms, 64 hexadecimal digits each")
        if len(set(units)) != len(units) or len(units) != count:
            raise FormatError(f"{UNITS}: got {len(set(units))} different pseudonyms in {len(units)}, expected {count}")
        return cls(tuple(units), key)

    def indices(self, names: Sequence[str | int]) -> Array:
        """Positions of units ``[len(names)]``, given by name (which takes the pseudonym key) or by pseudonym.

        Raises UnknownNameError with all units that are not there, RefusedError for names without the key, ValueError
        for none at all and for a unit named twice, TypeError for a text.
        """
        if isinstance(names, str):
            raise TypeError(f"units: got {names!r}, expected a list of names")
        if len(names) == 0:
            raise ValueError("no units were named")
        found = [self._position(name) for name in names]
        if unknown := [name for name, i in zip(names, found, strict=True) if i is None]:
            raise self._unknown(unknown)
        if len(set(found)) < len(found):
            often = Counter(found)
            twice = [name for name, i in zip(names, found, strict=True) if often[i] > 1]
            raise ValueError(f"units named more than once: {listed(twice)}")
        return np.array(found, dtype=np.int64)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {pseudonym: i for i, pseudonym in enumerate(self.pseudonyms)}

    def _position(self, name: str | int) -> int | None:
        if str(name) in self._positions or self._key is None:
            return self._positions.get(str(name))
        return self._positions.get(self._key.pseudonym(name))

    def _unknown(self, names: Sequence[str | int]) -> UnknownNameError | RefusedError:
        plain = [name for name in names if not SHA256.fits(str(name))]
        if plain and self._key is None:
            hint = f"pass pseudonym_key=, put {PseudonymKey.FILE_NAME} beside the bundle, or ask by pseudonym"
            return RefusedError(f"units can be named only with the pseudonym key: got {listed(plain)}", hint=hint)
        hint = "only units that own training examples, and are not None, can be deleted"
        return UnknownNameError(f"the bundle has no unit {listed(names)}", hint=hint)
