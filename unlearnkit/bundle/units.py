"""The units of a bundle: stored as pseudonyms, asked for by pseudonym, or by name with the key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unlearnkit.bundle.integrity import listed, verify_digest
from unlearnkit.bundle.manifest import UNITS, Manifest
from unlearnkit.bundle.pseudonym import PseudonymKey
from unlearnkit.bundle.pseudonyms import Pseudonyms, read_list
from unlearnkit.errors import FormatError, RefusedError, UnknownNameError
from unlearnkit.estimation.question import once
from unlearnkit.names import SHA256

Array = np.ndarray[Any, Any]


class Units:
    """Pseudonyms in the order of the units, and the key that names them, where it is at hand."""

    def __init__(self, pseudonyms: Pseudonyms, key: PseudonymKey | None) -> None:
        self.pseudonyms = pseudonyms
        self._key = key

    @classmethod
    def read(cls, folder: Path, manifest: Manifest, key: PseudonymKey | None) -> Units:
        """The list in the folder of a bundle.

        DigestMismatchError unless it has the bytes that the manifest promises, FormatError unless these are as many
        different pseudonyms as it says.
        """
        file = next(file for file in manifest.files if file.path == UNITS)
        read = read_list(folder / UNITS, file.size)
        verify_digest(file, read.size, read.sha256)
        found, different, count = len(read.pseudonyms), read.pseudonyms.different, manifest.units
        if different != found or found != count:
            raise FormatError(f"{UNITS}: got {different} different pseudonyms in {found}, expected {count}")
        return cls(read.pseudonyms, key)

    def indices(self, names: Sequence[str | int]) -> Array:
        """`places` of units of which each is named once. ValueError for one that is named twice."""
        return once(names, self.places(names))

    def places(self, names: Sequence[str | int]) -> Array:
        """Positions of units ``[len(names)]``, given by name (which takes the pseudonym key) or by pseudonym.

        Raises UnknownNameError with all units that are not there, RefusedError for names without the key, ValueError
        for none at all, TypeError for a text.
        """
        if isinstance(names, str):
            raise TypeError(f"units: got {names!r}, expected a list of names")
        if len(names) == 0:
            raise ValueError("no units were named")
        found = np.full(len(names), -1, dtype=np.int64)
        texts = {i: str(name) for i, name in enumerate(names)}
        given = [i for i, text in texts.items() if SHA256.fits(text)]
        found[given] = self.pseudonyms.find(Pseudonyms.of(texts[i] for i in given))
        if self._key is not None:
            named = np.flatnonzero(found < 0).tolist()
            found[named] = self.pseudonyms.find(self._key.pseudonyms(names[i] for i in named))
        if unknown := [names[i] for i in np.flatnonzero(found < 0).tolist()]:
            raise self._unknown(unknown)
        return found

    def _unknown(self, names: Sequence[str | int]) -> UnknownNameError | RefusedError:
        plain = [name for name in names if not SHA256.fits(str(name))]
        if plain and self._key is None:
            hint = f"pass pseudonym_key=, put {PseudonymKey.FILE_NAME} beside the bundle, or ask by pseudonym"
            return RefusedError(f"units can be named only with the pseudonym key: got {listed(plain)}", hint=hint)
        hint = "only units that own training examples, and are not None, can be deleted"
        return UnknownNameError(f"the bundle has no unit {listed(names)}", hint=hint)
