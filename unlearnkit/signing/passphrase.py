"""Where a program without a terminal gets a passphrase from; never from its arguments, which every user can list."""

from __future__ import annotations

import os
from pathlib import Path

from unlearnkit.errors import FormatError, UnknownNameError
from unlearnkit.files import read_private


def passphrase_from_environment(name: str) -> bytes:
    """The value of the environment variable ``name``; UnknownNameError if it is unset or empty."""
    if not (value := os.environb.get(os.fsencode(name))):
        raise UnknownNameError(f"the environment variable {name}, which should hold a passphrase, is unset or empty")
    return value


def passphrase_from_file(path: Path) -> bytes:
    """The only line of a file, without its line end.

    Raises RefusedError if others than the owner have access to it, FormatError for no line and for more than one.
    """
    passphrase = read_private(path).removesuffix(b"\n").removesuffix(b"\r")
    if not passphrase or b"\n" in passphrase:
        raise FormatError(f"{path} must hold one line, the passphrase: got {'more' if passphrase else 'none'}")
    return passphrase
