"""Forgetting who people were: all of them, by destroying a workspace's pseudonym key; or some, by replacing it."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from unlearnkit.bundle.pseudonym import PseudonymKey
from unlearnkit.compliance.requests.desk import Desk
from unlearnkit.compliance.requests.register import KEY_DESTROYED, KeyBody, Register
from unlearnkit.compliance.requests.request import Request
from unlearnkit.errors import RefusedError
from unlearnkit.files import fsync_directory
from unlearnkit.names import counted


def destroy_key(desk: Desk, path: Path) -> int:
    """Record that the key in the file ``path`` is destroyed, then destroy it; returns the index of the entry.

    Copies and backups are the caller's to find, and a disk may keep what was overwritten. It is recorded first: if this
    is interrupted, calling it again finishes it, and records nothing twice. RefusedError while requests are open, for
    their people could not be told the outcome, and for a key that is destroyed already.
    """
    register = desk.register()
    if register.key_destroyed is None:
        _require_nothing_open(register)
        with desk.deciding() as record:
            record(KEY_DESTROYED, KeyBody(PseudonymKey.load(path).fingerprint))
    elif not path.exists():
        raise RefusedError(f"the pseudonym key is destroyed already: entry {register.key_destroyed} of the log says so")
    _overwrite(path)
    path.unlink()
    fsync_directory(path.parent)
    destroyed = desk.register().key_destroyed
    assert destroyed is not None  # noqa: S101 - recorded above, or before
    return destroyed


def purge(desk: Desk, path: Path, subjects: Collection[str], *, others: Collection[str]) -> tuple[Request, ...]:
    """Forget people whose requests are needed no longer: from then on nobody can tell who they were.

    It is recorded, then the key in the file ``path`` is replaced by one that does not know them. If this is
    interrupted, no request is received until it was called again, which finishes it.

    Args:
        desk: Records it.
        path: Of the pseudonym key.
        subjects: Pseudonyms of these people; nobody: an interrupted call is finished.
        others: Pseudonyms of people without requests who can be named as before.

    Returns:
        Their requests.

    Raises:
        RefusedError: A request of theirs is needed still.
        UnknownNameError: There is no key.
    """
    key = PseudonymKey.load(path)
    purged = desk.forget(subjects) if subjects else ()
    register = desk.register()
    if len(key.unknown(register.forgotten)) == len(register.forgotten):
        return purged
    gone, requests = register.forgotten.keys(), register.requests.values()
    living = [item for item in requests if item.subject not in gone]
    known = {*others, *(item.subject for item in living), *(item.reference for item in living if item.reference)}
    key.keeping(sorted(known - gone)).replace(path)
    return purged


def _require_nothing_open(register: Register) -> None:
    open_requests = [name for name, request in register.requests.items() if not register.original(request).is_closed]
    if open_requests:
        raise RefusedError(
            f"{counted(len(open_requests), 'request')} open, first {open_requests[0]}: their people could not be told",
            hint="fulfil, refuse or withdraw them first",
        )


def _overwrite(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.write(descriptor, bytes(os.fstat(descriptor).st_size))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
