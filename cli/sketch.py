"""``unlearnkit sketch``: from a recipe to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from .errors import values_from_options
from .info import BundleInfo, render_info
from .init import PassphraseSource, passphrase_options
from .output import Output, pass_output
from .recipes import RecipeSource, RecipeType
from .trust import key_from_file
from .workers import ranked, workers_option

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


class _Chunk(click.ParamType[int | str]):
    name = "N|auto"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == "auto" or isinstance(value, int):
            return value
        if not str(value).isdecimal() or int(str(value)) < 1:
            self.fail(f"got {value!r}, expected a whole number or 'auto'", param, ctx)
        return int(str(value))


class _Swept(click.ParamType[tuple[str, int, int, int]]):
    name = "PROBE[:RANK[:RESIDUAL[:CUBIC]]]"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int, int, int]:
        if isinstance(value, tuple):
            return value
        probe, *numbers = str(value).split(":")
        if not probe or len(numbers) > 3 or not all(n.isdecimal() for n in numbers):
            self.fail(f"got {value!r}, expected {self.name}, for example margins:64:32", param, ctx)
        rank, residual, cubic = [*map(int, numbers), *(64, 32, 0)[len(numbers) :]]
        return probe, rank, residual if rank else 0, cubic


class _Informed(click.ParamType[tuple[int, int, int]]):
    name = "COUNT[:DEGREE[:LEADING]]"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int, int]:
        if isinstance(value, tuple):
            return value
        numbers = str(value).split(":")
        if len(numbers) > 3 or not all(n.isdecimal() and int(n) for n in numbers):
            self.fail(f"got {value!r}, expected {self.name}, whole numbers from 1 on, for example 128:2", param, ctx)
        count, degree, leading = [*map(int, numbers), *(0, 1, 32)[len(numbers) :]]
        return count, degree, leading


def _assist(_output: Output, *, recipe: RecipeSource, **_: object) -> None:
    from unlearnkit.sketching.assist import assist

    assist(recipe.load)


@click.command()
@click.argument("recipe", type=RecipeType())
@click.option("-o", "--output", "path", type=click.Path(path_type=Path), required=True, help="Where the bundle goes.")
@click.option("--directions", type=click.IntRange(min=0), default=0, help="Random directions through the whole run.")
@click.option("--degree", type=click.IntRange(min=1), default=2, show_default=True, help="Highest power along them.")
@click.option(
    "--seed", type=int, help="Choose the random directions. Default: in a workspace they follow from its log."
)
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@click.option("--device", help="A torch device. Default: a GPU when there is one.")
@click.option("--keep-weights", is_flag=True, help="Keep the weights' sketches, for probes that nobody pinned.")
@click.option(
    "--informed",
    type=_Informed(),
    help="Informed directions, for probes to come and corrected models; above DEGREE 1 (default) with all that happens "
    "on the span of the LEADING ones (default 32).",
)
@click.option("--power-iterations", type=click.IntRange(min=0), default=1, show_default=True, help="To refine those.")
@click.option("--chunk", type=_Chunk(), default="auto", show_default=True, help="Directions computed at once.")
@click.option(
    "--reverse",
    type=_Swept(),
    multiple=True,
    help="Sketch a probe by reverse sweeps. May be repeated. Default, alone: the first order of all.",
)
@click.option("--solo", type=click.IntRange(min=0), default=0, help="Degree of series along every unit alone; 0: none.")
@click.option("--solo-unit", multiple=True, metavar="UNIT", help="Only along this unit. May be repeated.")
@click.option("--solo-weights", is_flag=True, help="Keep the weights' series along them too, for corrected models.")
@click.option("--force", is_flag=True, help="Replace the bundle, or the unfinished work, that is there.")
@click.option("--key", type=_FILE, help="Private key (P-256, PEM) that signs the bundle. Default: the workspace's.")
@passphrase_options
@pass_output
@workers_option
@ranked(_assist)
def sketch(
    output: Output,
    *,
    recipe: RecipeSource,
    path: Path,
    directions: int,
    degree: int,
    seed: int | None,
    dtype: Literal["float32", "float64"],
    device: str | None,
    keep_weights: bool,
    informed: tuple[int, int, int] | None,
    power_iterations: int,
    chunk: int | Literal["auto"],
    reverse: tuple[tuple[str, int, int, int], ...],
    solo: int,
    solo_unit: tuple[str, ...],
    solo_weights: bool,
    force: bool,
    key: Path | None,
    passphrase: PassphraseSource,
) -> None:
    """Train RECIPE once and write its sketch bundle, signed with --key or, in a workspace, with its key.

    In a workspace the log says before what will be sketched, the random directions follow from that, and the log says
    what came out. With --seed somebody chooses them, and then most policies take no certificate from the bundle.

    On a terminal it first says what time and memory to expect; `unlearnkit plan RECIPE` compares ways to sketch. An
    interrupted run is continued by the same command, to the same bundle.

    \b
    Example:
      unlearnkit sketch examples/digits.py:recipe -o run/bundle --reverse margins:64:32
    """
    import unlearnkit as uk
    from unlearnkit.bundle import PseudonymKey
    from unlearnkit.training.modes import notes

    if (solo_unit or solo_weights) and not solo:
        raise click.UsageError("--solo-unit and --solo-weights go with --solo DEGREE")
    pseudonyms = PseudonymKey.path_for(path)
    had_key = pseudonyms.exists()
    secret = passphrase.read()
    office, signer = uk.Workspace.nearest(), None if key is None else key_from_file(key, secret)
    if office is not None:
        office = office.unlocked(secret)
        signer = signer or office.signer_key(secret)
    loaded = recipe.load()
    for note in notes(loaded):
        output.say(f"note: {note.where}; {note.hint}")
    with values_from_options():
        make = uk.sketch if office is None or seed is not None else office.sketch
        bundle = make(
            loaded,
            path,
            forward=uk.Forward(directions=directions, degree=degree, keep_weights=keep_weights, chunk=chunk)
            if directions
            else None,
            reverse={p: uk.Reverse(rank=rank, residual=r, cubic=c) for p, rank, r, c in reverse} or None,
            informed=None if informed is None else uk.Informed(*informed, power_iterations),
            solo=uk.Solo(solo, units=solo_unit or None, keep_weights=solo_weights) if solo else None,
            **({} if seed is None else {"seed": seed}),
            dtype=dtype,
            device=device,
            signer=signer,
            overwrite=force,
            progress=output.progress,
        )
    chosen = office is not None and not bundle.manifest.checkpoint
    _warn(output, chosen=chosen, signed=signer is not None, made=None if had_key else pseudonyms)
    output.emit(BundleInfo.of(bundle), render_info)


def _warn(output: Output, *, chosen: bool, signed: bool, made: Path | None) -> None:
    """What somebody may hold against the bundle, and what is to be kept. made: a new key of pseudonyms."""
    if chosen:
        output.say("CHOSEN: somebody may have tried several directions; without --seed they follow from the log")
    if not signed:
        output.say("UNSIGNED: nobody can tell whose bundle this is; --key signs it, and so does a workspace")
    if made is not None:
        output.say(f"made {made}: whoever has it can ask by unit name; keep it, and keep it secret")
