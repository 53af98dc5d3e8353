"""What happens in the demo: one workspace, one model, some people who leave, and somebody outside who checks."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .output import Output

if TYPE_CHECKING:
    from unlearnkit.bundle import Bundle
    from unlearnkit.compliance.workspace import Workspace
    from unlearnkit.training.recipe import Recipe
    from unlearnkit.verifier.issue import Issuance

RANK, RESIDUAL = 24, 16
RETRAININGS = 39  # with delta 0.05 at least 19 are needed; of 39 the second largest error counts
# Who asks for deletion: by place among all people, from the one with most images downwards.
ASKING = (0, 3, 20, 60)
GROUP_SIZES = (5, 20)
LIKED_DIGIT = 9


@dataclass(frozen=True, slots=True)
class Office:
    """Everything in one directory. evidence: the file of the retraining audit."""

    workspace: Workspace
    recipe: Recipe
    bundle: Bundle
    evidence: Path
    output: Output

    @property
    def root(self) -> Path:
        """The workspace's directory."""
        return self.workspace.root


def prepare(root: Path, output: Output) -> Office:
    """Make a workspace; train, sketch and sign; then retrain for real, without people drawn by the bundle's digest."""
    from unlearnkit.examples import digits

    import unlearnkit as uk
    from unlearnkit.compliance.workspace import create_workspace
    from unlearnkit.verifier.plan import UnitDeletions

    workspace = create_workspace(root, origin="demo.example/log", policy="gdpr", actor=None, timezone="UTC")
    recipe, key, show = digits.recipe(), workspace.signer_key(), None if output.verbosity >= 0 else False
    output.say(f"1. training once with reverse sweeps, and signing the sketch ({recipe.steps} steps)")
    settings = uk.Reverse(rank=RANK, residual=RESIDUAL)
    bundle = uk.sketch(
        recipe,
        root / "bundle",
        seed=0,
        reverse=dict.fromkeys(recipe.probes, settings),
        signer=key,
        progress=show,
    )
    output.say(f"2. evidence: {RETRAININGS} real retrainings, each without one person, drawn by the bundle's digest")
    evidence = root / "evidence.json"
    uk.audit_retraining(
        digits.recipe,
        bundle,
        deletions=UnitDeletions(least=1, most=1),
        count=RETRAININGS,
        signer=key,
        out=evidence,
        workers=2,
        progress=show,
    )
    return Office(workspace, recipe, bundle, evidence, output)


def handle(office: Office) -> list[dict[str, Any]]:
    """The requests of some people, from receipt to a certificate that somebody outside verifies."""
    from unlearnkit.compliance.log.publication import publish_checkpoint

    office.output.say(f"3. {len(ASKING)} people ask for the deletion of their data; a certificate for each")
    people = [str(office.recipe.unit_names[i]) for i in _by_images(office.recipe)[list(ASKING)]]
    desk = office.workspace.desk(with_key=True)
    requests = desk.receive(people, source=office.workspace.policy().words.sources[0])
    for request in requests:
        desk.acknowledge(request.id)
    issued = [_certify(office, request.id) for request in requests]
    publish_checkpoint(office.workspace.open_log(), office.workspace.log_key())
    office.output.say("4. somebody outside verifies them, with public keys alone")
    checks = [_verify(office, item) for item in issued]
    _report(office, issued[0], checks[0])
    office.output.say("5. retraining without each of them, to see whether it is so")
    return [_row(office, *item) for item in zip(people, issued, checks, strict=True)]


def _by_images(recipe: Recipe) -> np.ndarray:
    """Units from the one with most images downwards."""
    return np.argsort(-np.bincount(recipe.unit_of_example, minlength=len(recipe.unit_names)), kind="stable")


def _certify(office: Office, request: str) -> Issuance:
    from unlearnkit.compliance.policy.policy import Role
    from unlearnkit.files import write_atomic
    from unlearnkit.verifier.evidence import verify_evidence
    from unlearnkit.verifier.issue import certify

    keys = office.workspace.trust().keys(Role.CERTIFICATE_SIGNER)
    raw = office.evidence.read_bytes()
    audit = verify_evidence(raw, where=office.evidence.name, keys=keys, bundle=office.bundle)
    issued = certify(
        office.bundle,
        request,
        log=office.workspace.open_log(),
        origin=office.workspace.origin,
        policy=office.workspace.policy(),
        signers=[office.workspace.signer_key()],
        evidence=[audit],
    )
    write_atomic(office.root / f"{request}.certificate.json", issued.raw)
    return issued


def _verify(office: Office, issued: Issuance) -> list[tuple[str, str]]:
    """What an auditor does who has the files and the trust store, and no secret."""
    from unlearnkit.verifier.verify import verify_certificate

    checks: list[tuple[str, str]] = []
    verify_certificate(
        issued.raw,
        where=f"{issued.certificate.request}.certificate.json",
        bundle=office.bundle.path,
        log=office.workspace.log_path,
        trust=office.workspace.trust(),
        evidence=[office.evidence.read_bytes()],
        report=lambda name, found: checks.append((name, found)),
    )
    return checks


def _report(office: Office, issued: Issuance, checks: list[tuple[str, str]]) -> None:
    """A page for people who do not read JSON."""
    from unlearnkit.canonical import sha256_hex
    from unlearnkit.files import write_atomic
    from unlearnkit.report import Verified, render_report

    page = render_report(
        issued.certificate,
        checks,
        verified=Verified.EVERYTHING,
        file=f"{issued.certificate.request}.certificate.json",
        digest=sha256_hex(issued.raw),
    )
    write_atomic(office.root / "report.html", page.encode())


def _row(office: Office, person: str, issued: Issuance, checks: list[tuple[str, str]]) -> dict[str, Any]:
    (claim,) = issued.certificate.claims
    base, epsilon = Decimal(claim.base[0]), Decimal(claim.epsilon[0])
    change = Decimal(claim.predicted[0]) - base
    real = float(_retrained(office, [person])[claim.probe]) - float(base)
    images = int(np.sum(office.recipe.unit_of_example == office.recipe.unit_names.index(person)))
    return {
        "request": issued.certificate.request,
        "images": images,
        "change": float(change),
        "epsilon": float(epsilon),
        "delta": claim.delta,
        "kind": claim.kind,
        "retrainings": RETRAININGS,
        "tolerance": str(office.workspace.policy().certificate.tolerances[claim.probe]),
        "real": real,
        "inside": abs(real - float(change)) <= float(epsilon),
        "decision": issued.certificate.decision.outcome,
        "checks": checks,
    }


def compare(office: Office) -> list[dict[str, Any]]:
    """First order, second order and the truth, for single people and for groups, one of them coherent."""
    names, random = office.recipe.unit_names, np.random.default_rng(0)
    largest = _by_images(office.recipe)
    groups = [(f"{size} people at random", random.choice(len(names), size, replace=False)) for size in GROUP_SIZES]
    likers = [i for i, name in enumerate(names) if int(str(name)[-3:]) % 10 == LIKED_DIGIT]
    cases: list[tuple[str, Any]] = [
        ("one person", largest[:1]),
        ("another person", largest[3:4]),
        *groups,
        (f"all who like {LIKED_DIGIT}s", likers),
    ]
    return [_compare(office, title, [str(names[i]) for i in units]) for title, units in cases]


def _compare(office: Office, title: str, people: list[str]) -> dict[str, Any]:
    from scipy.stats import spearmanr

    real = _retrained(office, people)
    units = [office.recipe.unit_names.index(name) for name in people]
    row: dict[str, Any] = {"who": title, "images": int(np.isin(office.recipe.unit_of_example, units).sum())}
    for name in ("test_loss", "margins"):
        sketch = office.bundle.probe(name)
        truth = real[name] - sketch.base
        first, second = (sketch.predict(people, degree=degree).change for degree in (1, 2))
        if name == "test_loss":
            row[name] = {"real": float(truth), "first": float(first), "second": float(second)}
            continue
        row[name] = {"real": float(np.abs(truth).mean())}
        row[name] |= {n: float(np.abs(p - truth).mean()) for n, p in (("first", first), ("second", second))}
        row["rank_correlation"] = float(spearmanr(second, truth).statistic)
    return row


def _retrained(office: Office, people: list[str]) -> dict[str, np.ndarray]:
    """The probes after a real retraining without these people, in the precision of the sketch."""
    import torch

    import unlearnkit as uk

    model = uk.retrain(office.recipe, delete=people)
    with torch.no_grad():
        model.eval()
        return {name: probe(model).numpy().astype(np.float64) for name, probe in office.recipe.probes.items()}
