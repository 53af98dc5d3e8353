"""Making a workspace: whole, or nothing of it is left; and not where the locks of the log would do nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def founded(root: Path, names: Sequence[str]) -> Iterator[None]:
    """Make the directory ``root``; if the block fails, remove what it put there under ``names``, and what it made.

    None of the names is there before.
    """
    missing = [folder for folder in (root, *root.parents) if not folder.exists()]
    root.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for name in names:
            _remove(root / name)
        for folder in missing:
            with suppress(OSError):  # somebody else may have put something there
                folder.rmdir()
        raise


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
