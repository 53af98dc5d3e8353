"""``unlearnkit audit``: check a bundle, or its predictions, by training again."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .audit_views import Audited, Replayed, SpotChecked, render_evidence, render_replay, render_spot_check
from .errors import values_from_options
from .init import PassphraseSource, passphrase_options
from .output import Output, pass_output
from .recipes import RecipeSource, RecipeType
from .trust import UNVERIFIED, file_or_workspace_signer, open_bundle, trust_option
from .workers import ranked

if TYPE_CHECKING:
    from unlearnkit.bundle import Bundle
    from unlearnkit.compliance.policy.trust import TrustStore
    from unlearnkit.signing.keys import PrivateKey
    from unlearnkit.verifier.plan import Distribution

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_SHARE = click.FloatRange(0, 1, min_open=True)


@click.group()
def audit() -> None:
    """Check a bundle by training again: its own numbers, or how good its predictions are."""


class _Indices(click.ParamType[tuple[int, ...]]):
    name = "N,N,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(part.strip().isdecimal() for part in parts):
            self.fail(f"got {value!r}, expected directions counted from 0, for example 4,17,99", param, ctx)
        return tuple(int(part) for part in parts)


class _Size(click.ParamType[tuple[int, int]]):
    name = "LEAST:MOST"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        parts = str(value).split(":")
        if not 1 <= len(parts) <= 2 or not all(part.isdecimal() for part in parts):
            self.fail(f"got {value!r}, expected numbers of units, for example 10:50 or 1", param, ctx)
        return int(parts[0]), int(parts[-1])


@audit.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("recipe", type=RecipeType())
@click.option("--directions", type=click.IntRange(min=1), default=3, show_default=True, help="How many, from a seed.")
@click.option("--indices", type=_Indices(), help="Exactly these instead, counted from 0.")
@click.option("--seed", help="Text that the choice follows from. Default: a fresh one, which is shown.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), help="Default: the bundle's own.")
@click.option("--device", help="A torch device. Default: a GPU when there is one.")
@click.option("--tolerance", type=click.FloatRange(min=0), help="Relative. Default: 64 eps sqrt(steps).")
@click.option("-o", "--output", "path", type=click.Path(path_type=Path), help="Write a signed report of rounding here.")
@click.option("--key", type=_FILE, help="Private key (P-256, PEM) that signs it. Default: the workspace's.")
@trust_option
@passphrase_options
@pass_output
def replay(
    output: Output,
    /,
    *,
    bundle: Path,
    recipe: RecipeSource,
    directions: int,
    indices: tuple[int, ...] | None,
    seed: str | None,
    dtype: str | None,
    device: str | None,
    tolerance: float | None,
    path: Path | None,
    key: Path | None,
    trust: TrustStore | None,
    passphrase: PassphraseSource,
) -> None:
    """Train RECIPE again along a few directions of BUNDLE, and compare every number that they gave.

    Whoever made the bundle must not know the directions beforehand: pick them, or a seed, when you have the bundle.
    With --dtype float64 the differences are the bundle's rounding error. The exit code is 4 when something differs by
    more than the tolerance, which is relative to the largest coefficient of the same degree. An index counts modulo the
    number of what there is of each kind: random, informed and residual directions, units with series, pairs of basis
    vectors; a bundle without any has its trained weights, bases and gradients compared. A signed report, from which
    certified claims take what rounding does to them, is of a replay in float64 of directions that follow from a seed.

    \b
    Example:
      unlearnkit audit replay run/bundle examples/digits.py:recipe --directions 3
      unlearnkit audit replay run/bundle examples/digits.py:recipe --seed "$(cat checkpoint)" -o run/replay.json
    """
    from unlearnkit.audit.replay import replay as run_replay
    from unlearnkit.audit.replay import verify_replay
    from unlearnkit.files import write_new
    from unlearnkit.verifier.replayed import directions_from_seed, sign_replay

    if indices is not None and seed is not None:
        raise click.UsageError("--indices and --seed exclude each other")
    signer = None if path is None else _reporter(path, key, passphrase, indices=indices, dtype=dtype)
    opened = _open(output, bundle, trust)
    loaded = recipe.load()
    text = (seed or secrets.token_hex(16)) if indices is None else None
    with values_from_options():
        chosen = (indices or ()) if text is None else directions_from_seed(opened, text, directions)
        precision = "float64" if signer else dtype
        found = run_replay(opened, loaded, chosen, dtype=precision, device=device, tolerance=tolerance)
    if path is not None and signer is not None and text is not None and found.agrees:
        write_new(path, sign_replay(found.report(opened, text), [signer]))
    output.emit(Replayed.of(opened, found, text, path if found.agrees else None), render_replay)
    verify_replay(found)


def _reporter(
    path: Path, key: Path | None, passphrase: PassphraseSource, *, indices: tuple[int, ...] | None, dtype: str | None
) -> PrivateKey:
    """Who signs a report, before any work."""
    if indices is not None or dtype == "float32":
        raise click.UsageError("a signed report is of a float64 replay of directions that follow from a seed")
    if path.exists():
        raise FileExistsError(f"{path} exists already; choose another name or remove it")
    return _signer(key, passphrase)


def _open(output: Output, path: Path, trust: TrustStore | None) -> Bundle:
    opened = open_bundle(path, trust)
    if not opened.signers:
        output.say(UNVERIFIED)
    return opened


def _assist(_output: Output, *, recipe: RecipeSource, **_: object) -> None:
    from unlearnkit.audit.assist import assist

    assist(recipe.load)


@audit.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("recipe", type=RecipeType())
@click.option("-o", "--output", "path", type=click.Path(path_type=Path), help="Where an experiment's evidence goes.")
@click.option("--key", type=_FILE, help="Private key (P-256, PEM) that signs an experiment. Default: the workspace's.")
@click.option("--count", type=click.IntRange(min=1), help="Retrainings of an experiment. Default: 100.")
@click.option("--delta", type=float, default=0.05, show_default=True, help="The least that its bounds shall have.")
@click.option("--size", type=_Size(), help="An experiment: so many units at random, each number alike, LEAST to MOST.")
@click.option("--groups", type=_FILE, help='An experiment: one of these groups, JSON {"unit": "label", ...}.')
@click.option("--share", type=_SHARE, default=1.0, show_default=True, help="Of the group, rounded up.")
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes here; torchrun: on many."
)
@click.option("--device", default="cpu", show_default=True, help="A torch device.")
@trust_option
@passphrase_options
@pass_output
@ranked(_assist)
def retrain(
    output: Output,
    /,
    *,
    bundle: Path,
    recipe: RecipeSource,
    path: Path | None,
    key: Path | None,
    count: int | None,
    delta: float,
    size: tuple[int, int] | None,
    groups: Path | None,
    share: float,
    workers: int,
    device: str,
    trust: TrustStore | None,
    passphrase: PassphraseSource,
) -> None:
    """Retrain RECIPE without people that the policy's [audit] draws, and record what the probes are then.

    In a workspace. The log commits to the plan, and a checkpoint is published; the draws follow from that and from
    BUNDLE, so nobody can pick them. What comes out is in the log, and in the folder 'evidence', where certify finds it.
    An interrupted audit is continued by the same command.

    With --size or --groups it is an experiment instead, about deletions that you choose: nothing is recorded, and no
    certificate rests on it.

    \b
    Example:
      unlearnkit audit retrain run/bundle examples/digits.py:recipe --workers 8
      unlearnkit audit retrain run/bundle examples/digits.py:recipe --size 10:50 -o run/experiment.json
    """
    import unlearnkit as uk
    from unlearnkit.verifier.evidence import verify_evidence

    if size is None and groups is None:
        if path or key or count:
            raise click.UsageError("-o, --key and --count are of experiments: state --size or --groups")
        _planned(output, bundle, recipe, workers, passphrase)
        return
    if path is None or (size is not None and groups is not None):
        raise click.UsageError("an experiment takes -o, and either --size or --groups")
    signer = _signer(key, passphrase)
    opened = _open(output, bundle, trust)
    source = recipe.load if workers > 1 else recipe.load()
    with values_from_options():
        raw = uk.audit_retraining(
            source,
            opened,
            deletions=_distribution(opened, size, groups, share),
            count=count,
            delta=delta,
            signer=signer,
            out=path,
            workers=workers,
            device=device,
            progress=output.progress,
        )
    found = verify_evidence(raw, where=str(path), keys=[signer.public], bundle=opened)
    output.emit(Audited.of(opened, path, found), render_evidence)


def _planned(output: Output, bundle: Path, recipe: RecipeSource, workers: int, passphrase: PassphraseSource) -> None:
    """The audit that the policy plans."""
    import unlearnkit as uk

    office = uk.Workspace.find().unlocked(passphrase.read())
    opened = office.open_bundle(bundle)
    source = recipe.load if workers > 1 else recipe.load()
    with values_from_options():
        found = office.audit(opened, source, workers=workers, progress=output.progress)
    output.emit(Audited.of(opened, found.path, found.evidence), render_evidence)


def _signer(key: Path | None, passphrase: PassphraseSource) -> PrivateKey:
    from unlearnkit.compliance.workspace import WorkspaceFiles

    return file_or_workspace_signer(key, passphrase) or WorkspaceFiles.find().signer_key()  # says that there is none


def _distribution(bundle: Bundle, size: tuple[int, int] | None, groups: Path | None, share: float) -> Distribution:
    from unlearnkit.verifier.plan import GroupDeletions, UnitDeletions

    if size is not None:
        if share != 1:
            raise click.UsageError("--share is of a group: it goes with --groups")
        return UnitDeletions(least=size[0], most=size[1])
    return GroupDeletions.of_labels(_labels(bundle, groups or Path()), Decimal(str(share)))


def _labels(bundle: Bundle, file: Path) -> Mapping[int, str]:
    """The label of each unit position, from a JSON object by name or pseudonym."""
    from unlearnkit.canonical import parse_json
    from unlearnkit.errors import FormatError
    from unlearnkit.files import MAX_DOCUMENT, read_bounded

    record = parse_json(read_bounded(file, MAX_DOCUMENT), where=str(file))
    if not isinstance(record, dict) or not all(isinstance(label, str) for label in record.values()):
        raise FormatError(f'{file}: expected an object with a label for each unit: {{"unit": "label", ...}}')
    return dict(zip(bundle.unit_indices(list(record)).tolist(), record.values(), strict=True))


@audit.command("spot-check")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("recipe", type=RecipeType())
@click.argument("evidence", type=_FILE)
@click.option("--draws", type=click.IntRange(min=1), default=3, show_default=True, help="How many, from a seed.")
@click.option("--seed", help="Text that the choice follows from. Default: a fresh one, which is shown.")
@click.option("--device", default="cpu", show_default=True, help="A torch device.")
@trust_option
@pass_output
def spot_check(
    output: Output,
    *,
    bundle: Path,
    recipe: RecipeSource,
    evidence: Path,
    draws: int,
    seed: str | None,
    device: str,
    trust: TrustStore | None,
) -> None:
    """Retrain RECIPE again without a few of the sets that EVIDENCE about BUNDLE says it drew, and compare.

    Whoever made the evidence must not know which: pick a seed when you have it. The exit code is 4 when something
    differs. Without --trust, the workspace's trust store says whose evidence it may be.

    \b
    Example:
      unlearnkit audit spot-check run/bundle examples/digits.py:recipe evidence/3.json --draws 5
    """
    from unlearnkit.audit.spot_check import spot_check as run_spot_check
    from unlearnkit.audit.spot_check import verify_spot_check
    from unlearnkit.errors import SignatureError
    from unlearnkit.verifier.evidence import verify_evidence
    from unlearnkit.verifier.materials import Materials, trust_at_hand

    store = trust_at_hand(trust)
    if store is None:
        raise SignatureError("no key is trusted: that verifies nothing", hint="give --trust, or be in a workspace")
    opened, text = _open(output, bundle, trust), seed or secrets.token_hex(16)
    verified = Materials.at_hand(trust=store).ask(evidence, opened, verify_evidence)
    with values_from_options():
        found = run_spot_check(recipe.load(), opened, verified, seed=text, count=draws, device=device)
    output.emit(SpotChecked.of(evidence, verified, found, text), render_spot_check)
    verify_spot_check(found)
