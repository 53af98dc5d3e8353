"""What an officer does in a workspace with a bundle of five people, each in one function, for processes that die."""

from __future__ import annotations

import os
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from unlearnkit.cli.main import main

from unlearnkit.office.workspace import Workspace

PROOF = "0.tlog-proof"


def certify(root: Path) -> None:
    """R2, who is in the bundle."""
    Workspace.read(root).certify(["R2"], bundle=root / "bundle")


def clear(root: Path) -> None:
    """R3, who is in no release."""
    Workspace.read(root).certify_absence(["R3"])


def register(root: Path) -> None:
    """Another release of the same name, in the place of the first."""
    Workspace.read(root).register(root / "bundle-2", name="digits", version="2", replaces="digits@1")


def prove(root: Path) -> None:
    """From the command line, as an officer does, that the log has its first entry."""
    os.chdir(root)
    with redirect_stdout(StringIO()):
        main(["log", "prove", "0", "-o", PROOF], standalone_mode=False)
