"""The run that the figures are about: the paper's own, number for number, where its list of names is given.

One name a step, each once, in an order and from weights that ``random.Random(seed)`` draws as the companion code does;
Adam with epsilon inside the root, a learning rate that falls to zero, float64. As packaged it is smaller: the example's
144 names. ``--names FILE --full`` is the paper's size: 1000 names of the list, those with an x leave, and the probe is
the loss of "max".
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from unlearnkit.examples.names_gpt import CONTEXT, TRAINING_NAMES, NamesGPT, encode, name_losses

import unlearnkit as uk

RATE = 0.01


@dataclass(frozen=True, slots=True)
class Size:
    """Names, who leaves, whose loss is followed."""

    count: int
    letter: str
    probe: str


FULL, REDUCED = Size(1000, "x", "max"), Size(144, "z", "zora")


@dataclass(frozen=True, slots=True)
class Setting:
    """What a command was asked for.

    names: one a step, in order. start: the initial weights. probe: whose loss is followed. out: the folder of figures
    and tables.
    """

    names: tuple[str, ...]
    start: NamesGPT
    letter: str
    probe: str
    directions: int
    degree: int
    out: Path

    def recipe(self) -> uk.Recipe:
        """Every step is a unit of its own; the probe is the loss of one name."""
        count, asked = len(self.names), encode([self.probe])
        return uk.Recipe(
            name="names",
            model=self.start,
            loss=name_losses,
            optimizer=uk.Adam(self.start.parameters(), lr=RATE, betas=(0.85, 0.99), eps=1e-3, eps_inside_sqrt=True),
            data=Unpadded(self.names),
            units=self.units,
            epochs=1,
            batch_size=1,
            order=np.arange(count)[None],
            lr_schedule=lambda step: RATE * (1 - step / count),
            probes={"loss": lambda model: name_losses(model, asked).mean()},
        )

    @property
    def units(self) -> list[str]:
        """A list may have a name twice."""
        return [f"{name}-{step}" for step, name in enumerate(self.names)]

    @property
    def leaving(self) -> list[str]:
        """The units whose name has the letter."""
        return [unit for unit, name in zip(self.units, self.names, strict=True) if self.letter in name]

    def table(self, name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
        """Write a CSV file."""
        path = self.out / f"{name}.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(rows)
        return path

    def figure(self, name: str, *draw: Any) -> Path:  # noqa: ANN401 - functions of matplotlib's axes
        """Write a PNG file, an axes a function."""
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

        figure, path = Figure(figsize=(6 * len(draw), 4), layout="constrained"), self.out / f"{name}.png"
        for function, axes in zip(draw, np.ravel(figure.subplots(1, len(draw))), strict=True):
            function(axes)
        figure.savefig(path, dpi=150)
        return path


class Unpadded:
    """Each name at its own length: inputs and targets."""

    def __init__(self, names: Sequence[str]) -> None:
        self.rows = []
        for name in names:
            inputs, targets = encode([name])
            self.rows.append((inputs[0, : len(name) + 1], targets[0, : len(name) + 1]))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        return self.rows[step]


def initial(random: Random) -> NamesGPT:
    """The weights that the companion code draws, matrix by matrix and row by row."""
    with torch.random.fork_rng():
        model = NamesGPT().double()
    for part in (model.letters, model.positions, model.head, model.query_key_value, model.mix, model.up, model.down):
        drawn = torch.tensor([random.gauss(0, 0.08) for _ in range(part.weight.numel())], dtype=torch.float64)
        part.weight = nn.Parameter(drawn.view_as(part.weight))
    return model


def setting(
    description: str, arguments: Sequence[str] | None = None, *, reduced: tuple[int, int], full: tuple[int, int]
) -> Setting:
    """Parse the command line. reduced, full: directions and degree at each size."""
    parser = _parser(description, reduced, full)
    asked = parser.parse_args(arguments)
    if asked.full and asked.names is None:
        parser.error("--full is about the companion code's list of names: give it by --names FILE")
    size, (directions, degree) = (FULL, full) if asked.full else (REDUCED, reduced)
    letter, random = asked.letter or size.letter, Random(asked.seed)  # noqa: S311 - no secrets
    names = [name for name in _known(asked.names) if _can_be_spelled(name)]
    random.shuffle(names)
    names = names[: asked.count or size.count]
    if not any(letter in name for name in names):
        parser.error(f"none of the {len(names)} names has {letter!r}: choose another letter")
    asked.out.mkdir(parents=True, exist_ok=True)
    return Setting(
        names=tuple(names),
        start=initial(random),
        letter=letter,
        probe=asked.probe or size.probe,
        directions=asked.directions or directions,
        degree=asked.degree or degree,
        out=asked.out,
    )


def _parser(description: str, reduced: tuple[int, int], full: tuple[int, int]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--names", type=Path, metavar="FILE", help="a list of names, one a line (default: packaged)")
    add("--full", action="store_true", help="the paper's size; takes --names")
    add("--count", type=int, metavar="N", help=f"how many names, one a step ({REDUCED.count}; full: {FULL.count})")
    add("--seed", type=int, default=42, metavar="N", help="of order and initial weights (42, the paper's)")
    add("--letter", help=f"names with it leave ({REDUCED.letter}; full: {FULL.letter})")
    add("--probe", metavar="NAME", help=f"whose loss is followed ({REDUCED.probe}; full: {FULL.probe})")
    add("--directions", type=int, metavar="N", help=f"({reduced[0]}; full: {full[0]})")
    add("--degree", type=int, metavar="N", help=f"highest ({reduced[1]}; full: {full[1]})")
    add("--out", type=Path, default=Path(), metavar="FOLDER", help="of figures and tables")
    return parser


def _known(file: Path | None) -> list[str]:
    return list(TRAINING_NAMES) if file is None else [line.strip() for line in file.read_text().splitlines()]


def _can_be_spelled(name: str) -> bool:
    return name.isascii() and name.isalpha() and name.islower() and len(name) < CONTEXT
