"""People of the digits example, one after another and at once: what certificates claim of all of them is really so.

Every truth is real retraining, many sets side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from unlearnkit.examples import digits

import unlearnkit as uk
from tests.examples.many import retrain_many
from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.policy.policy import packaged_policies, parse_policy
from unlearnkit.records import to_json
from unlearnkit.verifier.audits import AUDIT_COMMITTED, AUDIT_FINISHED, Finished, commitment, planned_deletions
from unlearnkit.verifier.claims import make_claims
from unlearnkit.verifier.decision import decide
from unlearnkit.verifier.evidence import Audit, Evidence, sign_evidence
from unlearnkit.verifier.plan import draw_deletions

LAWS = ("gdpr", "ccpa")


@dataclass(frozen=True)
class Office:
    """A workspace whose policy is a file, a release of the digits example, and the evidence that both laws plan."""

    workspace: uk.Workspace
    recipe: uk.Recipe
    bundle: uk.Bundle
    evidence: Evidence

    def under(self, law: str) -> uk.Workspace:
        (self.workspace.root / "policy.toml").write_bytes(packaged_policies()[law])
        return uk.Workspace.find(self.workspace.root)

    def truth(self, people: list[int]) -> dict[str, np.ndarray]:
        mask = np.zeros((1, len(self.recipe.unit_names)))
        mask[0, people] = 1
        return {name: values[0] for name, values in retrain_many(self.recipe, mask).items()}


@pytest.fixture(scope="module")
def office(tmp_path_factory) -> Office:
    root, recipe = tmp_path_factory.mktemp("standing") / "office", digits.recipe(epochs=2)
    root.mkdir()
    (root / "policy.toml").write_bytes(packaged_policies()["gdpr"])
    workspace = uk.Workspace.create(root, origin="example.com/log", policy="./policy.toml")
    reverse = {"test_loss": uk.Reverse(rank=6, residual=6), "own_loss": uk.Reverse(rank=0, residual=0)}
    workspace.sketch(recipe, root / "bundle", reverse=reverse, progress=False)
    workspace.register(root / "bundle", name="digits", version="1")
    bundle = workspace.bundle_of("digits@1")
    return Office(workspace, recipe, bundle, audited(workspace, recipe, bundle))


def audited(workspace: uk.Workspace, recipe: uk.Recipe, bundle: uk.Bundle) -> Evidence:
    """The policy's plan, committed to and recorded as `office.audit` does, with retrainings side by side."""
    policy, log = workspace.policy(), workspace.open_log()
    said = commitment(bundle, policy.audit, policy_digest=policy.digest, by="privacy-officer")
    committed = log.record(AUDIT_COMMITTED, to_json(said)).index
    planned = planned_deletions(workspace.view(), bundle.digest, said.strata)
    drawn = draw_deletions(bundle, planned, planned.count)
    masks = np.zeros((len(drawn), len(bundle.units)))
    for mask, members in zip(masks, drawn, strict=True):
        mask[list(members)] = 1
    truth = retrain_many(recipe, masks)
    own = [truth["own_loss"][row, list(members)].tolist() for row, members in enumerate(drawn)]
    raw = sign_evidence(Audit.of(bundle, planned, {"test_loss": truth["test_loss"]}, own), [workspace.signer_key()])
    file = workspace.root / "evidence" / f"{committed}.json"
    file.parent.mkdir()
    file.write_bytes(raw)
    log.record(AUDIT_FINISHED, to_json(Finished(committed=committed, evidence=sha256_hex(raw))))
    return workspace.open_evidence(file, bundle)


def ten_people(office: Office) -> list[int]:
    """Each moves the test loss by less than the tolerance of 0.01, by prediction, and all in the same direction."""
    sketch = office.bundle.probe("test_loss")
    alone = np.asarray(sketch.predict(np.eye(len(office.bundle.units))).change)
    rising = np.argsort(-alone)
    first = next(place for place in range(len(rising)) if alone[rising[place]] < 0.008)
    return rising[first : first + 10].tolist()


def test_many_retrainings_at_once_are_those_of_the_library(office):
    model = uk.retrain(office.recipe, delete=[office.recipe.unit_names[3]], dtype="float64").eval()
    own = office.recipe.probes["own_loss"](model).detach().numpy()
    np.testing.assert_allclose(office.truth([3])["own_loss"], own, atol=1e-12)


@pytest.mark.parametrize("law", LAWS)
def test_ten_people_are_not_negligible_together_and_the_truth_is_in_the_last_interval(office, law, tmp_path):
    """At once, and then one after another, in an office that has looked at each alone."""
    workspace, people = office.under(law), ten_people(office)
    words, desk = workspace.policy().words, workspace.desk(with_key=False)
    requests = workspace.receive([office.recipe.unit_names[i] for i in people])
    certified(office, workspace, requests, tmp_path / "at-once.json")
    for request in requests[:-1]:
        desk.verify_identity(request.id, method=words.identity_methods[0])
        desk.fulfil(request.id, method="negligible-effect", evidence=["e" * 64])
    certified(office, workspace, requests[-1:], tmp_path / "the-last.json")
    workspace.withdraw(requests[-1], reason=words.withdrawal_reasons[0])


def certified(office: Office, workspace: uk.Workspace, requests, out: Path) -> None:
    """All ten are left out, that is not negligible, and the truth is what is claimed."""
    issued = workspace.certify(requests, out=out)
    certificate = issued.certificate
    assert len(certificate.deleted) == 10
    assert certificate.decision.outcome != "keep"
    claim = next(claim for claim in certificate.claims if claim.probe == "test_loss")
    assert claim.kind == "audited"
    truth = float(office.truth(office.bundle.unit_indices(certificate.deleted).tolist())["test_loss"])
    assert abs(truth - float(claim.predicted[0])) <= float(claim.epsilon[0])
    assert truth - float(claim.base[0]) > 2 * float(workspace.policy().certificate.tolerances["test_loss"])
    workspace.verify(issued.path, bundle=office.bundle.path)


@pytest.mark.parametrize("law", LAWS)
def test_claims_hold_in_the_stated_share_and_nobody_who_is_remembered_is_kept(office, law):
    """Two random orders of twelve requests; who was decided upon is left out ever after, whatever was decided."""
    policy = parse_policy(packaged_policies()[law], where=law)
    tolerance, outside, kept = float(policy.certificate.tolerances["own_loss"]), [], 0
    own_base = office.bundle.probe("own_loss").base
    for seed in range(2):
        order = np.random.default_rng(seed).permutation(len(office.bundle.units))[:12].tolist()
        for count in (1, 2, 4, 7, 12):
            together, person = order[:count], order[count - 1]
            deleted = sorted(office.bundle.units[i] for i in together)
            asking, settings = [office.bundle.units[person]], {"delta": Decimal("0.05"), "evidence": [office.evidence]}
            claims = make_claims(office.bundle, deleted, policy, asking=asking, **settings)
            decision = decide(claims, policy, people=count, directions=0)
            truth = office.truth(together)
            for claim in claims:
                value = truth["own_loss"][person] if claim.people else truth["test_loss"]
                outside.append(abs(float(value) - float(claim.predicted[0])) > float(claim.epsilon[0]) + 1e-12)
            if abs(truth["own_loss"][person] - own_base[person]) > 2 * tolerance:
                assert decision.outcome != "keep"
            kept += decision.outcome == "keep"
    assert sum(outside) <= 3  # of 20 claims with a content of 0.95
    assert kept < 10
