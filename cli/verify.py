"""``unlearnkit verify``: check bundles, logs, checkpoints, proofs, receipts, evidence, certificates, told apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from unlearnkit.names import shown

from .output import Document, Output, pass_output
from .trust import trust_option

if TYPE_CHECKING:
    from unlearnkit.compliance.log.memory import Memory
    from unlearnkit.compliance.policy.trust import TrustStore
    from unlearnkit.verifier.checks import Check
    from unlearnkit.verifier.examination import Failure, Verification

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.argument("paths", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
@click.option(
    "--bundle",
    "bundles",
    type=_FOLDER,
    multiple=True,
    help="The bundle that a certificate, evidence or replay is about. May be repeated, for several releases.",
)
@click.option("--log", type=_FOLDER, help="The log that a certificate or a proof is in. Default: the workspace's.")
@click.option("--evidence", type=_FILE, multiple=True, help="An audit or replay that a certificate rests on.")
@click.option("--expect", type=_FILE, help="What is expected of a certificate. Default: [expect] of the trust store.")
@click.option(
    "--model",
    type=click.Path(path_type=Path, exists=True),
    help="The model in use (safetensors, .pt, or a Hugging Face folder): is it that of the bundle or certificate?",
)
@click.option(
    "--state",
    default="",
    metavar="DIR|none",
    help="Where the last checkpoint seen of each log is kept. Default: a folder of your own; none: nowhere.",
)
@trust_option
@pass_output
def verify(
    output: Output,
    *,
    paths: tuple[Path, ...],
    bundles: tuple[Path, ...],
    log: Path | None,
    evidence: tuple[Path, ...],
    expect: Path | None,
    model: Path | None,
    state: str,
    trust: TrustStore | None,
) -> None:
    """Verify PATHS, offline and without secrets: bundles, logs, evidence, certificates, receipts of requests.

    Checkpoints, proofs and replays, too; what each is, is told by its content. A receipt needs the log's public key
    alone. Of a certificate everything is recomputed, from the bundle, the log, and the evidence that it names. The exit
    code is 3 for malformed files, 4 for what is not so.

    \b
    Example:
      unlearnkit verify run/bundle --trust signer.pub.pem --model served.safetensors
      unlearnkit verify r2.certificate.json --bundle run/bundle --log audit --evidence run/audit.json --trust trust.toml
    """
    from unlearnkit.verifier.examination import Failure, examine
    from unlearnkit.verifier.materials import Materials
    from unlearnkit.verifier.recognition import Kind

    first, *others = bundles or (None,)
    beside = Materials.at_hand(
        bundle=first,
        bundles=[place for place in others if place],
        log=log,
        trust=trust,
        evidence=evidence,
        expect=expect,
        model=model,
        memory=_memory(state),
    )
    found = [examine(path, beside) for path in paths]
    if model and not any(item.kind in (None, Kind.BUNDLE, Kind.CERTIFICATE, Kind.CORRECTION) for item in found):
        raise click.UsageError("--model takes a bundle or a certificate: whose model could it be?")
    failures = [item.error for item in found if isinstance(item, Failure)]
    output.emit(_Verified(verified=not failures, paths=tuple(map(_Path.of, found))), _render)
    for error in failures:
        raise error


def _memory(state: str) -> Memory:
    from unlearnkit.compliance.log.memory import Memory
    from unlearnkit.files import state_folder

    return Memory(None if state == "none" else Path(state) if state else state_folder() / "logs")


@dataclass(frozen=True, slots=True)
class CheckRow:
    """A check as it is printed."""

    name: str
    passed: bool
    detail: str

    @classmethod
    def of(cls, check: Check) -> CheckRow:
        """A check that has passed."""
        return cls(check.name, passed=True, detail=check.found)

    def __str__(self) -> str:
        return f"  {'ok  ' if self.passed else 'FAIL'}  {self.name}: {self.detail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Path:
    path: Path
    kind: str
    verified: bool
    checks: tuple[CheckRow, ...]
    unchecked: tuple[str, ...]

    @classmethod
    def of(cls, found: Verification | Failure) -> _Path:
        from unlearnkit.verifier.examination import Failure

        rows, kind = tuple(map(CheckRow.of, found.checks)), found.kind or "unknown"
        if isinstance(found, Failure):
            failed = CheckRow(type(found.error).__name__, passed=False, detail=str(found.error))
            return cls(path=found.path, kind=kind, verified=False, checks=(*rows, failed), unchecked=())
        return cls(path=found.path, kind=kind, verified=True, checks=rows, unchecked=found.unchecked)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verified(Document):
    schema: ClassVar[str] = "unlearnkit/verification/v1"

    verified: bool
    paths: tuple[_Path, ...]


def _render(found: _Verified) -> Iterable[str]:
    for item in found.paths:
        yield f"{'VERIFIED' if item.verified else 'NOT VERIFIED'}: {item.kind} {shown(str(item.path), lines=False)}"
        yield from (str(row).replace("\n", "\n        ") for row in item.checks)  # no line of theirs begins a line
        yield from (f"  not checked: {what}" for what in item.unchecked)
