"""The audit that a policy plans: committed to, drawn, carried out and recorded; and what `certify` finds of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import unlearnkit as uk
from tests.docs.namespace import small_recipe
from tests.verifier.issuance import RULES, audited, policy_text
from unlearnkit.audit import retraining
from unlearnkit.errors import PolicyError, RefusedError
from unlearnkit.verifier.audits import AUDIT_COMMITTED, AUDIT_FINISHED, logged_audits

BOTH = RULES.replace('["test_loss"]', '["test_loss", "own_loss"]').replace(
    "test_loss = 20\n", "test_loss = 20\nown_loss = 20\n"
)


@pytest.fixture(scope="module")
def recipe() -> uk.Recipe:
    return small_recipe()


@pytest.fixture
def office(tmp_path, recipe, monkeypatch) -> uk.Workspace:
    """A release, of which everything up to the second degree is known, under a policy that plans 14 retrainings."""
    (tmp_path / "policy.toml").write_bytes(policy_text(audited(BOTH)))
    made = uk.Workspace.create(tmp_path / "office", origin="example.com/log", policy="../policy.toml")
    settings = {"signer": made.signer_key(), "seed": 0, "dtype": "float64", "progress": False}
    reverse = {"test_loss": uk.Reverse(rank=5, residual=4), "own_loss": uk.Reverse(rank=0, residual=0)}
    bundle = uk.sketch(recipe, made.root / "bundle", reverse=reverse, solo=uk.Solo(degree=2), **settings)
    made.register(bundle, name="small", version="1")
    monkeypatch.chdir(made.root)
    return made


def types(office) -> list[str]:
    view = office.view()
    return [view.entry(i).type for i in range(len(view))][-2:]


def test_what_the_policy_plans_is_committed_to_carried_out_and_found(office, recipe):
    found = office.audit("small@1", recipe, progress=False)
    assert types(office) == [AUDIT_COMMITTED, AUDIT_FINISHED]
    planned = found.evidence.planned
    assert [(s.least, s.most, s.count) for s in planned.strata] == [(1, 1, 5), (2, 3, 9)]
    assert found.path == office.root / "evidence" / f"{planned.strata[0].committed}.json"
    assert planned.strata[0].root == office.view().tree().root(planned.strata[0].committed + 1).hex()
    request, other = office.receive(["ann", "cleo"])
    issued = office.certify([request, other])
    assert {claim.kind for claim in issued.certificate.claims} <= {"audited", "retrained"}
    assert office.verify(issued.path, bundle="bundle").value.digest == issued.digest


def test_it_found_what_real_retraining_gives_own_losses_too(office, recipe):
    audit = office.audit(None, recipe, progress=False).evidence.audit
    for row in (0, 9):
        deleted = [recipe.unit_names[i] for i in audit.deletions[row]]
        model = uk.retrain(recipe, delete=deleted, dtype="float64").eval()
        assert audit.probes["test_loss"][row] == pytest.approx(recipe.probes["test_loss"](model).item(), abs=1e-12)
        own = recipe.probes["own_loss"](model).detach().numpy()[list(audit.deletions[row])]
        np.testing.assert_allclose(audit.own_losses[row], own, atol=1e-12)


def test_an_interrupted_audit_goes_on_with_the_same_draws(office, recipe, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(retraining, "retrained_weights", stopped)
    with pytest.raises(KeyboardInterrupt):
        office.audit(None, recipe, progress=False)
    assert types(office)[-1] == AUDIT_COMMITTED
    monkeypatch.undo()
    found = office.audit(None, recipe, progress=False)
    assert types(office) == [AUDIT_COMMITTED, AUDIT_FINISHED]
    assert found.evidence.planned.strata[0].committed == len(office.view()) - 2


def test_nothing_is_replaced_and_a_larger_plan_goes_on_where_the_smaller_ended(office, recipe, monkeypatch):
    first = office.audit(None, recipe, progress=False)
    with pytest.raises(RefusedError, match="was audited by this plan"):
        office.audit(None, recipe, progress=False)
    file = office.root.parent / "policy.toml"
    file.write_text(file.read_text().replace("count = 5", "count = 6"))
    done, real = [], retraining.retrained_weights

    def counted(made, deletion, device):
        done.append(tuple(deletion))
        return real(made, deletion, device)

    monkeypatch.setattr(retraining, "retrained_weights", counted)
    second = office.audit(None, recipe, progress=False)
    new = set(second.evidence.audit.deletions) - set(first.evidence.audit.deletions)
    assert set(done) - {()} == new
    assert second.evidence.planned.strata[0].committed == first.evidence.planned.strata[0].committed
    assert len(logged_audits(office.view(), recipe.digest)) == 2
    (request,) = office.receive(["bob"])
    issued = office.certify([request])
    office.verify(issued.path, bundle="bundle")


def test_a_policy_without_a_plan_audits_nothing(office, recipe):
    file = office.root.parent / "policy.toml"
    file.write_bytes(policy_text(BOTH))
    with pytest.raises(PolicyError, match="the policy plans no audit of this bundle"):
        office.audit(None, recipe, progress=False)
    assert not Path("evidence").exists()
