"""What happens in the demo: one workspace, ten people who ask, two trainings, and somebody outside who checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unlearnkit.names import counted

from .demo_policy import OWN_LOSS, policy_text
from .output import Output

if TYPE_CHECKING:
    from unlearnkit.bundle import Bundle
    from unlearnkit.compliance.requests.request import Request
    from unlearnkit.office.certified import Certified
    from unlearnkit.office.correcting import CorrectedModel
    from unlearnkit.office.workspace import Workspace
    from unlearnkit.sketching.settings import Reverse
    from unlearnkit.training.recipe import Recipe
    from unlearnkit.verifier.absence import Absence
    from unlearnkit.verifier.certificate import Certificate
    from unlearnkit.verifier.examination import Verification

SEED = 2027
"""Draws who asks: of all 200 people, each as likely. It was set once, and not looked for."""

FIRST, LATER = 8, 2
"""So many people ask at first, and so many more on the same day."""

POLICY = "policy.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is computed: epochs of training, rank and residual of the reverse sweeps."""

    epochs: int = 10
    rank: int = 24
    residual: int = 16
    processes: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A release in use with its audit. recipe: what was trained. evidence: the file of the audit."""

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

    def person(self, pseudonym: str) -> int:
        """The position of somebody in the recipe."""
        return self.bundle.units.index(pseudonym)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What became of those who asked. requests: of all ten. effects: certificates of the effect, by who they are about.

    methods: how each request ended, by its id. corrected: the correction; in_use: whether it may be served.
    retrained, second: the second training without all ten, and its sketch. exclusions: of those who were left to it.
    verified: what somebody outside found of each certificate.
    """

    requests: tuple[Request, ...]
    effects: Mapping[str, Certified[Certificate]]
    methods: Mapping[str, str]
    corrected: CorrectedModel
    in_use: bool
    retrained: Recipe
    second: Bundle
    exclusions: tuple[Certified[Absence], ...]
    verified: tuple[Verification, ...]


def prepare(root: Path, output: Output, scale: Scale) -> Stage:
    """Make a workspace; train, sketch and sign, along directions from the log; then audit as the policy plans."""
    from unlearnkit.examples import digits

    import unlearnkit as uk
    from unlearnkit.files import write_new

    root.mkdir(parents=True, exist_ok=True)
    write_new(root / POLICY, policy_text().encode())
    workspace = uk.Workspace.create(root, origin="demo.example/log", policy=POLICY)
    make = partial(digits.recipe, epochs=scale.epochs)
    recipe, show = make(), output.progress
    output.say(
        "training once with reverse sweeps, the salt from the log, and signing the sketch "
        f"({counted(recipe.steps, 'step')})"
    )
    sweeps = {"test_loss": uk.Reverse(rank=scale.rank, residual=scale.residual), OWN_LOSS: _first_order()}
    solo = uk.Solo(degree=3, keep_weights=True)
    bundle = workspace.sketch(recipe, root / "bundle", reverse=sweeps, solo=solo, progress=show)
    release = workspace.register(bundle, name="digits", version="1")
    output.say("auditing as the policy plans and the log commits to: real retrainings without people whom nobody chose")
    source = make if scale.processes > 1 else recipe
    audit = workspace.audit(release, source, workers=scale.processes, progress=show)
    return Stage(scale=scale, workspace=workspace, recipe=recipe, bundle=bundle, evidence=audit.path, output=output)


def answer(stage: Stage) -> Answers:
    """Ten requests, from receipt to certificates that somebody outside verifies."""
    requests = _received(stage)
    effects = _effects(stage, requests)
    methods = _keep(stage, requests, effects)
    corrected = _correct(stage, _most_remembered(effects["ten together"], requests, methods))
    in_use = _serve(stage, corrected)
    if in_use:
        methods |= dict.fromkeys(corrected.certificate.requests, "corrected")
    retrained = without(stage.recipe, people())
    second, exclusions = _train_again(stage, retrained, [item for item in requests if item.id not in methods])
    methods |= {item.certificate.requests[0]: "retrained" for item in exclusions}
    issued = [*(item.path for item in effects.values()), corrected.path, *(item.path for item in exclusions)]
    stage.workspace.checkpoint()
    stage.output.say("somebody outside verifies every certificate, with public keys alone")
    return Answers(
        requests=tuple(requests),
        effects=effects,
        methods=methods,
        corrected=corrected,
        in_use=in_use,
        retrained=retrained,
        second=second,
        exclusions=exclusions,
        verified=tuple(_verify(stage, second, path) for path in issued),
    )


def people() -> list[int]:
    """The positions of those who ask, in order."""
    from unlearnkit.examples import digits

    drawn = np.random.default_rng(SEED).choice(digits.PEOPLE, FIRST + LATER, replace=False)
    return [int(place) for place in drawn]


def without(recipe: Recipe, places: Sequence[int]) -> Recipe:
    """The same training without the examples of these people: other batches, too."""
    if not isinstance(recipe.data, tuple):
        raise TypeError(f"the data of recipe {recipe.name} are a {type(recipe.data).__name__}, expected tensors")
    stays = np.flatnonzero(~np.isin(recipe.unit_of_example, places))
    units = [str(recipe.unit_names[unit]) for unit in recipe.unit_of_example[stays]]
    return recipe.replace(data=tuple(part[stays.tolist()] for part in recipe.data), units=units)


def _first_order() -> Reverse:
    import unlearnkit as uk

    return uk.Reverse(rank=0, residual=0)


def _received(stage: Stage) -> list[Request]:
    stage.output.say(f"{FIRST} people ask for the deletion of their data, and {LATER} more")
    requests = list(stage.workspace.receive([str(stage.recipe.unit_names[place]) for place in people()]))
    return [stage.workspace.verify_identity(request, method="account-login") for request in requests]


def _effects(stage: Stage, requests: Sequence[Request]) -> dict[str, Certified[Certificate]]:
    """Of the first alone, of eight together, and of ten; nobody is answered yet."""
    office, folder = stage.workspace, stage.workspace.certificates_path
    folder.mkdir(exist_ok=True)
    asked = {"one alone": requests[:1], "eight together": requests[:FIRST], "ten together": requests}
    return {
        title: office.certify(some, out=folder / f"{title.replace(' ', '-')}.json") for title, some in asked.items()
    }


def _keep(stage: Stage, requests: Sequence[Request], effects: dict[str, Certified[Certificate]]) -> dict[str, str]:
    """Answer those of the eight whom the model does not show, by a certificate of them; returns how they ended."""
    tolerance = stage.workspace.policy().certificate.tolerances[OWN_LOSS]
    most = own_changes(effects["eight together"])
    kept = [item for item in requests[:FIRST] if sum(most[item.subject]) <= tolerance]
    if not kept:
        return {}
    issued = stage.workspace.certify(kept, out=stage.workspace.certificates_path / "kept-together.json")
    effects["kept together"] = issued
    if issued.certificate.decision.outcome != "keep":
        return {}
    for item in kept:
        stage.workspace.fulfil(item, method="negligible-effect", evidence=[issued.path])
    return dict.fromkeys((item.id for item in kept), "negligible-effect")


def own_changes(issued: Certified[Certificate]) -> dict[str, tuple[Decimal, Decimal]]:
    """Of each person who asks: how far their own loss moves, by prediction, and the error of that."""
    claim = next(claim for claim in issued.certificate.claims if claim.people)
    rows = zip(claim.people, claim.base, claim.predicted, claim.epsilon_each, strict=True)
    return {who: (abs(Decimal(now) - Decimal(then)), Decimal(each)) for who, now, then, each in rows}


def _most_remembered(
    issued: Certified[Certificate], requests: Sequence[Request], methods: Mapping[str, str]
) -> Request:
    """Of those who are not answered, whom the model remembers most, by prediction."""
    changes = own_changes(issued)
    return max((item for item in requests if item.id not in methods), key=lambda item: changes[item.subject][0])


def _correct(stage: Stage, request: Request) -> CorrectedModel:
    stage.output.say("correcting the weights for the one whom the model remembers most")
    return stage.workspace.correct([request], out=stage.root / "digits-1.1.safetensors")


def _serve(stage: Stage, corrected: CorrectedModel) -> bool:
    """Put the corrected weights into use, if the policy lets them be served; returns whether it does."""
    if corrected.certificate.decision.outcome != "correct":
        return False
    stage.workspace.register_correction(corrected.path, name="digits", version="1.1")
    for request in corrected.certificate.requests:
        stage.workspace.fulfil(request, method="corrected", evidence=[corrected.path])
    return True


def _train_again(
    stage: Stage, recipe: Recipe, requests: Sequence[Request]
) -> tuple[Bundle, tuple[Certified[Absence], ...]]:
    """Put a second release into use, and certify that it holds nobody of those who are still to be answered."""
    office = stage.workspace
    stage.output.say(f"training again without all {FIRST + LATER}, for {len(requests)} who are still to be answered")
    sweeps = dict.fromkeys(("test_loss", OWN_LOSS), _first_order())
    bundle = office.sketch(recipe, stage.root / "bundle-2", reverse=sweeps, progress=stage.output.progress)
    (before,) = office.registry().in_force
    office.register(bundle, name="digits", version="2", replaces=before)
    issued = tuple(office.certify_absence([request]) for request in requests)
    for made in issued:
        office.fulfil(made.certificate.requests[0], method="retrained", evidence=[made.path])
    return bundle, issued


def _verify(stage: Stage, second: Bundle, path: Path) -> Verification:
    """What an auditor does who has the files and the trust store, and no secret."""
    import unlearnkit as uk

    return uk.verify(
        path,
        bundle=stage.bundle.path,
        bundles=[second.path],
        log=stage.workspace.log_path,
        trust=stage.root / "trust.toml",
        evidence=[stage.evidence],
    )


def report(stage: Stage, issued: Certified[Certificate]) -> None:
    """A page for people who do not read JSON."""
    from unlearnkit.files import write_atomic
    from unlearnkit.report import certificate_page

    page = certificate_page(
        issued.path,
        bundle=stage.bundle.path,
        log=stage.workspace.log_path,
        trust=stage.root / "trust.toml",
        evidence=[stage.evidence],
    )
    write_atomic(stage.root / "report.html", page.html.encode())
