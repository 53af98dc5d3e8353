"""Lets two processes of a group do something, and prints as JSON what came out in each.

    python -m tests.sketching.groups

A process of its own, because it forks: torch is imported once, and each of the two joins a group over the loopback.
"""

from __future__ import annotations

import contextvars
import hashlib
import json
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

import unlearnkit as uk
from tests.training.pieces import contents
from unlearnkit.errors import NonFiniteError, RefusedError
from unlearnkit.sketching.assist import assist
from unlearnkit.sketching.ranks import Files, Ranks, joined
from unlearnkit.sketching.shelf import Shelf

ARRAYS = [np.arange(6.0).reshape(2, 3).T, np.array([1 + 2j], np.complex64), np.empty((0, 0)), np.array(True)]


def told(ranks: Ranks) -> object:
    found = [ranks.told(lambda a=array: a if ranks.leads else 1 / 0) for array in ARRAYS]
    assert all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(found, ARRAYS, strict=True))
    if ranks.leads:
        ranks.say(b"bytes")
        return "said"
    return ranks.heard().decode()


def gathered(ranks: Ranks) -> object:
    kept: list[object] = []
    made = {f"{name}{ranks.rank}": name.encode() * ranks.rank * 3 for name in ("weights", "probes")}
    ranks.gathered(lambda: made, lambda name, raw: kept.append((name, raw.decode())))
    return kept


def spread(ranks: Ranks) -> object:
    """Five pieces, of which one is finished."""
    shelf, done, arrived = Shelf(Path.cwd() if ranks.leads else None, ranks), [], []
    if ranks.leads:
        shelf.put("1", b"before")

    def work(piece: int) -> None:
        done.append(piece)
        shelf.put(str(piece), f"piece {piece}".encode())

    shelf.spread(range(5), lambda piece: shelf.has(str(piece)), work, arrived.append)
    files = {path.name: path.read_text() for path in sorted(Path.cwd().iterdir())} if ranks.leads else {}
    return {"done": done, "arrived": arrived, "files": files}


def wide() -> uk.Recipe:
    """A perceptron in which products dominate: eight elements are worth a sweep of their own."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 2100), torch.nn.GELU(), torch.nn.Linear(2100, 2))
    x, y, points = torch.randn(120, 64), torch.randint(0, 2, (120,)), torch.randn(32, 64)
    return uk.Recipe(
        name="wide",
        model=model,
        loss=lambda m, batch: cross_entropy(m(batch[0]), batch[1], reduction="none"),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        data=(x, y),
        units=[f"unit-{i % 6}" for i in range(120)],
        epochs=3,
        batch_size=60,
        probes={"loss": lambda m: cross_entropy(m(x), y), "margins": lambda m: m(points)[:, 0]},
    )


def first_order(ranks: Ranks) -> object:
    """A default sketch by both; rank 0 makes it alone, too. Which sweeps rank 1 made; what rank 0 has of them."""
    if not ranks.leads:
        made, put = [], Shelf.put
        Shelf.put = lambda shelf, name, raw: (made.append(name), put(shelf, name, raw))[1]  # type: ignore[method-assign]
        assist(wide)
        return made
    settings = {"device": "cpu", "seed": 1, "progress": False}
    recipe = wide()
    found = [uk.sketch(recipe, "many", **settings), contextvars.Context().run(uk.sketch, recipe, "alone", **settings)]
    return [{n: hashlib.sha256(raw).hexdigest() for n, raw in contents(bundle.path).items()} for bundle in found]


def failing(
    error: Exception | None, other: Exception | None = None, kept: Exception | None = None
) -> Callable[..., object]:
    """Rank 0 raises the one error, rank 1 the other one, and rank 0 the third when it keeps something."""

    def scenario(ranks: Ranks) -> object:
        def make() -> Files:
            if mine := error if ranks.leads else other:
                raise mine
            return {"name": b"raw"}

        def keep(_name: str, _raw: bytes) -> None:
            if kept:
                raise kept

        ranks.gathered(make, keep)
        return ranks.told(lambda: np.array(0))

    return scenario


def killed(rank: int) -> Callable[[Ranks], object]:
    """One of them ends at once, while the other waits for it."""

    def scenario(ranks: Ranks) -> object:
        if ranks.rank == rank:
            os._exit(9)
        ranks.gathered(dict, print) if ranks.leads else ranks.heard()
        return "not reached"

    return scenario


def in_error(_ranks: Ranks) -> object:
    """Rank 0 fails before it tells anything."""
    if _ranks.leads:
        raise KeyError("early")
    return _ranks.heard()


BROKEN = NonFiniteError("it overflowed", step=3, node="exp", where="loss", hint="use float64")
SCENARIOS: dict[str, Callable[[Ranks], object]] = {
    "told": told,
    "gathered": gathered,
    "spread": spread,
    "first order": first_order,
    "fails in 1": failing(None, BROKEN),
    "refused in 1": failing(None, RefusedError("no")),
    "a defect in 1": failing(None, ZeroDivisionError("division by zero")),
    "fails in both": failing(ValueError("mine"), BROKEN),
    "cannot be kept": failing(None, None, OSError(28, "No space left on device")),
    "fails early": in_error,
    "1 is killed": killed(1),
    "0 is killed": killed(0),
}


def outcome(scenario: Callable[[Ranks], object]) -> object:
    try:
        with joined() as ranks:
            return scenario(ranks)
    except Exception as err:  # noqa: BLE001  it is what is looked at
        return [type(err).__name__, str(err), getattr(err, "hint", None)]


def in_group(scenario: Callable[[Ranks], object], folder: Path) -> list[object]:
    """What came out in each of two processes; None in one that was killed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    children = []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            os.environ.update(
                {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
            )
            os.environ.update({"MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test", "GLOO_SOCKET_IFNAME": "lo"})
            place = folder / str(rank)
            place.mkdir()
            os.chdir(place)
            (folder / f"{rank}.json").write_text(json.dumps(outcome(scenario)))
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    return [json.loads(file.read_text()) if (file := folder / f"{rank}.json").exists() else None for rank in range(2)]


def main() -> None:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, scenario) in enumerate(SCENARIOS.items()):
            place = Path(folder, str(number))
            place.mkdir()
            found[name] = in_group(scenario, place)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
