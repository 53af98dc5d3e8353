"""Kills a small sketch before every operation that changes the disk, and makes the same call again each time.

    python -m tests.sketching.interruptions FOLDER

A process of its own, because it forks: one child for each kill, ended by SIGKILL just before its n-th operation, then
one that makes the same call undisturbed. Prints a JSON object: how many operations a run has, how many kills came after
the bundle was published, and which continued runs went wrong, by another bundle or by something left behind.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import sys
from pathlib import Path

import torch

from tests.interrupted import in_child, killed_before, operations_of
from tests.training import small
from tests.training.calls import sketched
from unlearnkit.files import write_new
from unlearnkit.sketching import sketch as sketching
from unlearnkit.sketching.forward import ForwardSketching

CALLS = ("fsync",)
RECIPE = small.recipe("sgd", epochs=1, probes={"scalar": small.scalar_probe})
CALL = {"directions": 3, "degree": 1, "chunk": 2, "seed": 0, "device": "cpu", "keep_weights": True, "progress": False}


def call(folder: Path) -> None:
    sketched(RECIPE, folder / "bundle", **CALL)


def trace_once(root: Path) -> None:
    """Make the traces before forking, and let every child use them: they have nothing to do with the disk."""
    made: list[ForwardSketching] = []
    sketching.ForwardSketching = lambda run, degree: made.append(ForwardSketching(run, degree)) or made[-1]
    call(root / "traced")
    made[0].prepare = lambda: 1000
    sketching.ForwardSketching = lambda _run, _degree: made[0]


def fresh(root: Path, name: str) -> Path:
    """A folder with the pseudonym key of all the others."""
    folder = root / name
    folder.mkdir()
    shutil.copy(root / "pseudonym.key", folder)
    return folder


def digest(path: Path) -> str:
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return hashlib.sha256(b"".join(str(p.relative_to(path)).encode() + p.read_bytes() for p in files)).hexdigest()


def main(root: Path) -> None:
    torch.set_num_threads(1)
    trace_once(root)
    write_new(root / "pseudonym.key", b"0" * 64 + b"\n", mode=0o600)
    whole = fresh(root, "whole")
    operations = operations_of(whole, lambda: call(whole), CALLS)
    expected, wrong, published = digest(whole / "bundle"), [], 0
    for nth in range(1, operations + 1):
        folder = fresh(root, str(nth))
        assert killed_before(nth, folder, lambda: call(folder), CALLS) == -signal.SIGKILL  # noqa: B023  called at once
        published += (folder / "bundle").exists()
        status = in_child(lambda: call(folder))  # noqa: B023  called at once
        left = sorted(p.name for p in folder.iterdir())
        if status or left != ["bundle", "pseudonym.key"] or digest(folder / "bundle") != expected:
            wrong.append({"operation": nth, "status": status, "left": left})
        shutil.rmtree(folder)
    print(json.dumps({"operations": operations, "published": published, "wrong": wrong}))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
