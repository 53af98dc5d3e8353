"""The run that the figures are about: the names transformer of the paper, and where tables and figures go.

As packaged it is small: the example's 144 names, 36 steps. ``--names FILE`` takes a list of names, one a line, such as
the companion code's, and ``--epochs`` trains longer.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from unlearnkit.examples.names_gpt import CONTEXT, TEST_NAMES, TRAINING_NAMES, NamesGPT, encode, name_losses

import unlearnkit as uk


@dataclass(frozen=True, slots=True)
class Setting:
    """What a command was asked for. names: of the training run. out: the folder of its figure and table."""

    names: tuple[str, ...]
    epochs: int
    letter: str
    directions: int
    out: Path

    def recipe(self) -> uk.Recipe:
        """Names are their own units; the probe is the mean loss of unseen names with the letter."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = NamesGPT()
        unseen = encode([name for name in TEST_NAMES if self.letter in name] or TEST_NAMES)
        return uk.Recipe(
            name="names",
            model=model,
            loss=name_losses,
            optimizer=uk.Adam(model.parameters(), lr=0.01, betas=(0.85, 0.99), eps=1e-3, eps_inside_sqrt=True),
            data=encode(list(self.names)),
            units=list(self.names),
            epochs=self.epochs,
            batch_size=16,
            probes={"loss": lambda model: name_losses(model, unseen).mean()},
        )

    @property
    def leaving(self) -> list[str]:
        """The names with the letter."""
        return [name for name in self.names if self.letter in name]

    def table(self, name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
        """Write a CSV file."""
        path = self.out / f"{name}.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(rows)
        return path

    def figure(self, name: str, draw: Any) -> Path:  # noqa: ANN401 - a function of matplotlib's axes
        """Write a PNG file."""
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

        figure, path = Figure(figsize=(6, 4), layout="constrained"), self.out / f"{name}.png"
        draw(figure.subplots())
        figure.savefig(path, dpi=150)
        return path


def setting(description: str, arguments: Sequence[str] | None = None, *, directions: int = 64) -> Setting:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=Path, help="a list of names, one a line (default: the example's)")
    parser.add_argument("--count", type=int, help="how many of them (default: all)")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--letter", default="z", help="names with it leave")
    parser.add_argument("--directions", type=int, default=directions)
    parser.add_argument("--out", type=Path, default=Path())
    asked = parser.parse_args(arguments)
    known = TRAINING_NAMES if asked.names is None else asked.names.read_text().split()
    usable = [name for name in dict.fromkeys(known) if name.isascii() and name.islower() and len(name) < CONTEXT]
    names = [name for name in usable if name not in TEST_NAMES][: asked.count]
    names = names[: len(names) // 16 * 16]
    if not any(asked.letter in name for name in names):
        parser.error(f"none of the {len(names)} names has {asked.letter!r}: choose another letter")
    asked.out.mkdir(parents=True, exist_ok=True)
    return Setting(tuple(names), asked.epochs, asked.letter, asked.directions, asked.out)
