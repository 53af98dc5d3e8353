"""``unlearnkit verify``: check bundles, logs, checkpoints, proofs, evidence and certificates, told apart by content."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import Document, Output, pass_output
from .trust import log_of_workspace, trust_option

if TYPE_CHECKING:
    from unlearnkit.compliance.policy.trust import TrustStore
    from unlearnkit.errors import UnlearnkitError

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What else is at hand: keys, and files that others are about."""

    trust: TrustStore
    bundle: Path | None
    log: Path | None
    evidence: tuple[Path, ...]


@dataclass(slots=True)
class Verification:
    """The checks of one path, in the order in which they were done."""

    path: Path
    kind: str = "unknown"
    checks: list[dict[str, Any]] = field(default_factory=list)
    error: UnlearnkitError | None = None

    def passed(self, name: str, found: str) -> None:
        """A check that was done and is fine."""
        self.checks.append({"name": name, "passed": True, "detail": found})

    def failed(self, error: UnlearnkitError) -> None:
        """The check that is not; nothing after it is done."""
        self.error = error
        self.checks.append({"name": type(error).__name__, "passed": False, "detail": str(error)})


_Verifier = Callable[[Verification, Beside], None]


@click.command()
@click.argument("paths", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
@click.option("--bundle", type=_FOLDER, help="The bundle that a certificate or evidence is about.")
@click.option("--log", type=_FOLDER, help="The log that a certificate or a proof is in. Default: the workspace's.")
@click.option("--evidence", type=_FILE, multiple=True, help="A retraining audit that a certificate rests on.")
@trust_option
@pass_output
def verify(
    output: Output,
    *,
    paths: tuple[Path, ...],
    bundle: Path | None,
    log: Path | None,
    evidence: tuple[Path, ...],
    trust: TrustStore | None,
) -> None:
    """Verify PATHS, offline and without secrets: bundles, logs, checkpoints, proofs, evidence, certificates.

    What each is, is told by its content. Of a certificate everything is recomputed, from the bundle, the log, and the
    evidence that it names. The exit code is 3 for malformed files, 4 for what is not so.

    \b
    Example:
      unlearnkit verify run/bundle --trust signer.pub.pem
      unlearnkit verify r2.certificate.json --bundle run/bundle --log audit --evidence run/audit.json --trust trust.toml
    """
    from unlearnkit.errors import SignatureError, UnlearnkitError

    if trust is None:
        raise SignatureError("no key is trusted: that verifies nothing", hint="give --trust, or be in a workspace")
    beside = Beside(trust=trust, bundle=bundle, log=log or log_of_workspace(), evidence=evidence)
    found = [Verification(path) for path in paths]
    for item in found:
        try:
            item.kind, check = _recognise(item.path)
            check(item, beside)
        except UnlearnkitError as error:
            item.failed(error)
    output.emit(_document(found), _render)
    for failure in (item.error for item in found if item.error is not None):
        raise failure


def _recognise(path: Path) -> tuple[str, _Verifier]:
    """What is at a path, and how it is verified; FormatError for anything else."""
    from unlearnkit.errors import FormatError

    if path.is_dir():
        for name, (kind, verifier) in _FOLDERS.items():
            if (path / name).is_file():
                return kind, verifier
        raise FormatError(f"{path} is neither a bundle nor a log: it has neither {' nor '.join(_FOLDERS)}")
    raw = path.read_bytes()
    if raw.startswith(b"c2sp.org/tlog-proof"):
        return "proof", _verify_proof
    if raw.lstrip()[:1] == b"{":
        return _recognise_statement(raw, path)
    if b"\n\n\xe2\x80\x94 " in raw:
        return "checkpoint", _verify_checkpoint
    raise FormatError(f"{path} is no bundle, log, checkpoint, proof, evidence or certificate")


def _recognise_statement(raw: bytes, path: Path) -> tuple[str, _Verifier]:
    """By its predicate type, which is not verified yet: each verifier checks that it is its own."""
    from unlearnkit.canonical import parse_json
    from unlearnkit.errors import FormatError
    from unlearnkit.signing.dsse import parse_envelope
    from unlearnkit.verifier import certificate, evidence

    kinds = {
        certificate.PREDICATE_TYPE: ("certificate", _verify_certificate),
        evidence.PREDICATE_TYPE: ("evidence", _verify_evidence),
    }
    payload = parse_json(parse_envelope(raw, where=str(path)).unverified_payload, where=str(path))
    kind = payload.get("predicateType") if isinstance(payload, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise FormatError(f"{path} is a statement of type {kind!r}, expected one of {', '.join(kinds)}")
    return kinds[kind]


def _verify_bundle(item: Verification, beside: Beside) -> None:
    from unlearnkit.bundle import Bundle
    from unlearnkit.compliance.policy.policy import Role

    bundle = Bundle.open(item.path, trust=beside.trust.keys(Role.SKETCH_SIGNER))
    manifest = bundle.manifest
    size = sum(file.size for file in manifest.files)
    item.passed("signature", f"signed by {', '.join(bundle.signers)}")
    item.passed("files", f"{len(manifest.files)} files, {size} bytes, and nothing else; each as signed and listed")
    origin = "given explicitly: no certificate can rest on them" if manifest.is_explicit else "from recipe and salt"
    item.passed("directions", f"{manifest.direction_count}, {origin}; {manifest.informed.count} informed, orthonormal")
    probes = ", ".join(probe.name for probe in manifest.probes) or "none"
    item.passed("numbers", f"shapes, precision and degrees as the manifest says, all finite; probes: {probes}")
    for first, last, tensors in bundle.weight_sketches():
        item.passed("weights", f"{len(tensors)} along directions {first} to {last}")


def _verify_log(item: Verification, beside: Beside) -> None:
    from unlearnkit.compliance.log.checkpoint import unverified_origin
    from unlearnkit.compliance.log.reader import read_entries
    from unlearnkit.compliance.log.verification import CHECKPOINT_FILE, verify_log
    from unlearnkit.compliance.requests.register import Register
    from unlearnkit.errors import SignatureError

    file, trust = item.path / CHECKPOINT_FILE, beside.trust
    if not file.is_file():
        raise SignatureError(f"{item.path} has no checkpoint: nothing signed says what the log should hold")
    key = trust.log(unverified_origin(file.read_bytes(), where=str(file)))
    found = verify_log(item.path, log=key, witnesses=trust.witnesses, quorum=trust.witness_quorum)
    item.passed("checkpoint", f"{found.checkpoint.size} entries signed by {key.name}")
    item.passed("chain", f"{found.size} entries, each continues the one before")
    register = Register().replay(read_entries(item.path))
    item.passed("requests", f"{len(register.requests)} requests, every step legal")


def _verify_checkpoint(item: Verification, beside: Beside) -> None:
    from unlearnkit.compliance.log.checkpoint import unverified_origin, verify_checkpoint

    raw, trust = item.path.read_bytes(), beside.trust
    key = trust.log(unverified_origin(raw, where=str(item.path)))
    found = verify_checkpoint(
        raw, where=str(item.path), log=key, witnesses=trust.witnesses, quorum=trust.witness_quorum
    )
    item.passed("checkpoint", f"{found.size} entries, root {found.root.hex()}, signed by {found.origin}")


def _verify_proof(item: Verification, beside: Beside) -> None:
    from unlearnkit.compliance.log.checkpoint import unverified_origin
    from unlearnkit.compliance.log.proof import parse_proof, verify_proof
    from unlearnkit.compliance.log.reader import read_entries
    from unlearnkit.errors import UnknownNameError

    raw, trust, where = item.path.read_bytes(), beside.trust, str(item.path)
    proof = parse_proof(raw, where=where)
    if beside.log is None:
        raise UnknownNameError("a proof is about an entry of a log, which is not there", hint="give its folder: --log")
    line = next((entry.line for entry in read_entries(beside.log) if entry.index == proof.index), b"\n")
    key = trust.log(unverified_origin(proof.checkpoint, where=where))
    found = verify_proof(raw, where=where, line=line, log=key, witnesses=trust.witnesses, quorum=trust.witness_quorum)
    item.passed("checkpoint", f"{found.checkpoint.size} entries signed by {key.name}")
    item.passed("inclusion", f"entry {found.entry.index}, a {found.entry.type}, is one of them")


def _verify_evidence(item: Verification, beside: Beside) -> None:
    from unlearnkit.bundle import Bundle
    from unlearnkit.compliance.policy.policy import Role
    from unlearnkit.verifier.evidence import verify_evidence

    bundle = Bundle.open(_needed(beside.bundle, "--bundle"), trust=beside.trust.keys(Role.SKETCH_SIGNER))
    keys = beside.trust.keys(Role.CERTIFICATE_SIGNER)
    found = verify_evidence(item.path.read_bytes(), where=str(item.path), keys=keys, bundle=bundle)
    item.passed("signature", f"signed by {', '.join(found.signers)}")
    item.passed("bundle", f"about bundle {bundle.digest}")
    item.passed("draws", f"{len(found.audit.deletions)} deletions, as the bundle's digest draws them")


def _verify_certificate(item: Verification, beside: Beside) -> None:
    from unlearnkit.verifier.verify import verify_certificate

    verify_certificate(
        item.path.read_bytes(),
        where=str(item.path),
        bundle=_needed(beside.bundle, "--bundle"),
        log=_needed(beside.log, "--log"),
        trust=beside.trust,
        evidence=[file.read_bytes() for file in beside.evidence],
        report=item.passed,
    )


def _needed(path: Path | None, option: str) -> Path:
    from unlearnkit.errors import UnknownNameError

    if path is None:
        raise UnknownNameError(f"what this file is about is not there: it takes {option}")
    return path


_FOLDERS: dict[str, tuple[str, _Verifier]] = {
    "manifest.json": ("bundle", _verify_bundle),
    "log.jsonl": ("log", _verify_log),
}


def _document(found: list[Verification]) -> dict[str, Any]:
    paths = [
        {"path": str(item.path), "kind": item.kind, "verified": item.error is None, "checks": item.checks}
        for item in found
    ]
    verified = all(item.error is None for item in found)
    return {"schema": "unlearnkit/verification/v1", "verified": verified, "paths": paths}


def _render(document: Document) -> Iterable[str]:
    record: dict[str, Any] = dict(document)
    for item in record["paths"]:
        yield f"{'VERIFIED' if item['verified'] else 'NOT VERIFIED'}: {item['kind']} {item['path']}"
        for check in item["checks"]:
            yield f"  {'ok  ' if check['passed'] else 'FAIL'}  {check['name']}: {check['detail']}"
