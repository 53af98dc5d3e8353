"""What happens in the demo: one workspace, one model, some people who leave, and somebody outside who checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .output import Output

if TYPE_CHECKING:
    from unlearnkit.bundle import Bundle
    from unlearnkit.office.certificates import Certified
    from unlearnkit.office.workspace import Workspace
    from unlearnkit.training.recipe import Recipe
    from unlearnkit.verifier.certificate import Claim
    from unlearnkit.verifier.checks import Check

# Who asks for deletion: by place among all people, from the one with most images downwards.
ASKING = (3, 20, 60, 120)
FLOAT32 = 1e-6  # evidence is retrained in float64, and the truth beside it in the precision of the sketch
GROUP_SIZES = (5, 20)
LIKED_DIGIT = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is computed: epochs of training, rank and residual of the reverse sweeps."""

    epochs: int = 10
    rank: int = 24
    residual: int = 16
    processes: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRow:
    """What is claimed of a probe, or of the person's own loss, and what is really so."""

    probe: str
    change: float
    epsilon: float
    kind: str
    tolerance: str
    real: float
    inside: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow:
    """A request: what was certified of it, with what is really so, and each check of somebody outside."""

    request: str
    images: int
    claims: tuple[ClaimRow, ...]
    decision: str
    checks: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionRow:
    """Who leaves, and of each probe the real change, and what the first and the second order make of it.

    Of the margins: mean sizes, of the change and of the two errors.
    """

    who: str
    images: int
    test_loss: Mapping[str, float]
    margins: Mapping[str, float]
    rank_correlation: float


@dataclass(frozen=True, slots=True)
class Office:
    """Everything in one directory. evidence: the file of the retraining audit."""

    scale: Scale
    workspace: Workspace
    recipe: Recipe
    bundle: Bundle
    evidence: Path
    output: Output

    @property
    def root(self) -> Path:
        """The workspace's directory."""
        return self.workspace.root


def prepare(root: Path, output: Output, scale: Scale) -> Office:
    """Make a workspace; train, sketch and sign; then retrain for real, without people drawn by the bundle's digest."""
    from unlearnkit.examples import digits

    import unlearnkit as uk

    workspace = uk.Workspace.create(root, origin="demo.example/log", policy="research")
    make = partial(digits.recipe, epochs=scale.epochs)
    recipe, show = make(), output.progress
    output.say(f"1. training once with reverse sweeps, and signing the sketch ({recipe.steps} steps)")
    settings, first_order = uk.Reverse(rank=scale.rank, residual=scale.residual), uk.Reverse(rank=0, residual=0)
    sweeps = dict.fromkeys(("test_loss", "margins"), settings) | {"own_loss": first_order}
    bundle = workspace.sketch(recipe, root / "bundle", reverse=sweeps, progress=show)
    release, plan = workspace.register(bundle, name="digits", version="1"), workspace.policy().audit
    counts = " and ".join(f"{stratum.count} without {stratum} people" for stratum in plan.strata)
    output.say(f"2. evidence, as the policy plans it and the log commits to it: real retrainings, {counts}")
    source = make if scale.processes > 1 else recipe
    audit = workspace.audit(release, source, workers=scale.processes, progress=show)
    return Office(scale, workspace, recipe, bundle, audit.path, output)


def handle(office: Office) -> tuple[RequestRow, ...]:
    """The requests of some people, from receipt to a certificate that somebody outside verifies."""
    office.output.say(f"3. {len(ASKING)} people ask for the deletion of their data; a certificate for each")
    people = [str(office.recipe.unit_names[i]) for i in _by_images(office.recipe)[list(ASKING)]]
    requests = office.workspace.receive(people)
    for request in requests:
        office.workspace.acknowledge(request)
    issued = [office.workspace.certify([request], evidence=[office.evidence]) for request in requests]
    office.output.say("4. somebody outside verifies them, with public keys alone")
    checks = [_verify(office, item) for item in issued]
    _report(office, issued[0])
    office.output.say("5. retraining without each of them, to see whether it is so")
    return tuple(_row(office, *item) for item in zip(people, issued, checks, strict=True))


def _by_images(recipe: Recipe) -> np.ndarray:
    """Units from the one with most images downwards."""
    return np.argsort(-np.bincount(recipe.unit_of_example, minlength=len(recipe.unit_names)), kind="stable")


def _verify(office: Office, issued: Certified) -> tuple[Check, ...]:
    """What an auditor does who has the files and the trust store, and no secret."""
    import unlearnkit as uk

    found = uk.verify(
        issued.path,
        bundle=office.bundle.path,
        log=office.workspace.log_path,
        trust=office.root / "trust.toml",
        evidence=[office.evidence],
    )
    return found.checks


def _report(office: Office, issued: Certified) -> None:
    """A page for people who do not read JSON."""
    from unlearnkit.files import write_atomic
    from unlearnkit.report import certificate_page

    page = certificate_page(
        issued.path,
        bundle=office.bundle.path,
        log=office.workspace.log_path,
        trust=office.root / "trust.toml",
        evidence=[office.evidence],
    )
    write_atomic(office.root / "report.html", page.html.encode())


def _row(office: Office, person: str, issued: Certified, checks: tuple[Check, ...]) -> RequestRow:
    real, unit = _retrained(office, [person]), office.recipe.unit_names.index(person)
    return RequestRow(
        request=issued.certificate.requests[0],
        images=int(np.sum(office.recipe.unit_of_example == unit)),
        claims=tuple(_claim_row(office, claim, real, unit) for claim in issued.certificate.claims),
        decision=issued.certificate.decision.outcome,
        checks=tuple((check.name, check.found) for check in checks),
    )


def _claim_row(office: Office, claim: Claim, real: Mapping[str, np.ndarray], unit: int) -> ClaimRow:
    """unit: the position of who asks, whose own loss counts."""
    base, predicted, epsilon = (float(text[0]) for text in (claim.base, claim.predicted, claim.epsilon))
    found = float(real[claim.probe][unit] if claim.people else real[claim.probe])
    return ClaimRow(
        probe=claim.probe,
        change=predicted - base,
        epsilon=epsilon,
        kind=claim.kind,
        tolerance=str(office.workspace.policy().certificate.tolerances[claim.probe]),
        real=found - base,
        inside=abs(found - predicted) <= epsilon + FLOAT32,
    )


def compare(office: Office) -> tuple[DeletionRow, ...]:
    """First order, second order and the truth, for single people and for groups, one of them coherent."""
    names, random = office.recipe.unit_names, np.random.default_rng(0)
    largest = _by_images(office.recipe)
    groups = [(f"{size} people at random", random.choice(len(names), size, replace=False)) for size in GROUP_SIZES]
    likers = [i for i, name in enumerate(names) if int(str(name)[-3:]) % 10 == LIKED_DIGIT]
    cases: list[tuple[str, Iterable[int]]] = [
        ("one person", largest[:1]),
        ("another person", largest[3:4]),
        *groups,
        (f"all who like {LIKED_DIGIT}s", likers),
    ]
    return tuple(_compare(office, title, [str(names[i]) for i in units]) for title, units in cases)


def _compare(office: Office, title: str, people: list[str]) -> DeletionRow:
    from scipy.stats import spearmanr

    real = _retrained(office, people)
    units = [office.recipe.unit_names.index(name) for name in people]
    loss_now, loss = _changes(office, "test_loss", people)
    margins_now, margins = _changes(office, "margins", people)
    lost, moved = real["test_loss"] - loss_now, real["margins"] - margins_now
    sizes = {order: float(np.abs(predicted - moved).mean()) for order, predicted in margins.items()}
    return DeletionRow(
        who=title,
        images=int(np.isin(office.recipe.unit_of_example, units).sum()),
        test_loss={"real": float(lost), **{order: float(predicted) for order, predicted in loss.items()}},
        margins={"real": float(np.abs(moved).mean()), **sizes},
        rank_correlation=float(spearmanr(margins["second"], moved).statistic),
    )


def _changes(office: Office, probe: str, people: list[str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A probe now, and its predicted change by the first order, and by the first and second."""
    sketch = office.bundle.probe(probe)
    orders = {"first": 1, "second": 2}
    return sketch.base, {name: sketch.predict(people, degree=degree).change for name, degree in orders.items()}


def _retrained(office: Office, people: list[str]) -> dict[str, np.ndarray]:
    """The probes after a real retraining without these people, in the precision of the sketch."""
    import unlearnkit as uk

    model = uk.retrain(office.recipe, delete=people).eval()
    return {name: probe(model).detach().numpy().astype(np.float64) for name, probe in office.recipe.probes.items()}
