"""The demo at a smaller scale: the truth that it tells is true, what it promises holds, and its files stay."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from scipy.stats import binom
from unlearnkit.cli.demo import tell
from unlearnkit.cli.demo_policy import policy_text
from unlearnkit.cli.demo_story import Scale, people, without
from unlearnkit.cli.demo_views import render
from unlearnkit.cli.output import Output
from unlearnkit.examples import digits

import unlearnkit as uk
from tests.examples.many import retrain_many
from unlearnkit.bundle import PseudonymKey
from unlearnkit.compliance.log import clock
from unlearnkit.compliance.policy.policy import Policy, parse_policy
from unlearnkit.signing.keys import Algorithm, PrivateKey

SMALL = Scale(epochs=2, rank=4, residual=4, processes=1)
FLOAT32 = 1e-5  # the base of a change is the sketch's, in float32


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Which people are drawn for the audit follows from the pseudonyms, and from the log, its key and its times."""
    keys = {
        Algorithm.ED25519: PrivateKey(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))),
        Algorithm.P256: PrivateKey(ec.derive_private_key(1, ec.SECP256R1())),
    }
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(PseudonymKey, "generate", lambda: PseudonymKey(bytes(32)))
        patched.setattr(PrivateKey, "generate", keys.get)
        patched.setattr(clock, "utc_now", lambda: datetime(2027, 3, 5, 9, tzinfo=UTC))
        return tell(tmp_path_factory.mktemp("told") / "demo", Output(verbosity=-1), SMALL)


@pytest.fixture(scope="module")
def recipe() -> uk.Recipe:
    return digits.recipe(epochs=SMALL.epochs)


def test_the_truth_beside_each_claim_is_that_of_another_computation(told, recipe):
    ids = [row.request for row in told.requests]
    sets = {"one alone": people()[:1], "eight together": people()[:8], "ten together": people()}
    masks = np.zeros((len(sets) + 1, len(recipe.unit_names)))
    for mask, places in zip(masks, sets.values(), strict=False):
        mask[places] = 1
    found = retrain_many(recipe, masks)
    rows = {row.who: row for row in told.certificates}
    for number, (who, places) in enumerate(sets.items()):
        assert rows[who].people == len(places)
        test_loss, *own = rows[who].claims
        assert test_loss.real == pytest.approx(found["test_loss"][number] - found["test_loss"][-1], abs=FLOAT32)
        assert [claim.request for claim in own] == ids[: len(places)]
        moved = (found["own_loss"][number] - found["own_loss"][-1])[places]
        np.testing.assert_allclose([claim.real for claim in own], moved, atol=FLOAT32)


def test_a_claim_is_inside_where_the_truth_is_no_farther_than_epsilon(told):
    for row in (*told.certificates, told.correction):
        for claim in row.claims:
            assert claim.inside == (abs(claim.real - claim.change) <= claim.epsilon + 1e-12)


def test_no_more_is_outside_than_the_audit_promises(told):
    whole = [all(inside) for row in told.certificates if row.drawn for inside in row.by_probe]
    assert len(whole) == 6
    assert whole.count(False) <= binom.isf(0.001, len(whole), 1 - float(told.content))


def test_everybody_is_answered_by_a_certificate_that_somebody_outside_verified(told):
    answers = {row.request: row.answer for row in told.requests}
    assert set(answers.values()) <= {"negligible-effect", "corrected", "retrained"}
    assert [row.request for row in told.exclusions] == [name for name, how in answers.items() if how == "retrained"]
    assert len(told.verified) == len(told.certificates) + 1 + len(told.exclusions)
    checks = {row.kind: [name for name, _ in row.checks] for row in told.verified}
    assert {"numbers", "decision", "standing set"} <= set(checks["certificate"])
    assert {"weights", "audits"} <= set(checks["correction certificate"])
    assert {"people", "exclusion"} <= set(checks["exclusion certificate"])
    assert (list(answers.values()).count("corrected") == 1) == told.in_use == (told.correction.outcome == "correct")


def test_the_second_model_was_trained_without_all_ten(told, recipe):
    again = without(recipe, people())
    left = {recipe.unit_names[place] for place in people()}
    assert set(again.unit_names) == set(recipe.unit_names) - left
    own = recipe.probes["own_loss"](uk.retrain(again).eval()).detach().numpy()
    places = {row.request: place for row, place in zip(told.requests, people(), strict=True)}
    for row in told.exclusions:
        assert not row.listed
        assert row.second == pytest.approx(own[places[row.request]], abs=1e-4)


def test_the_ten_together_are_the_same_in_the_claim_and_in_the_groups(told):
    ten = next(row for row in told.certificates if row.who == "ten together").claims[0]
    together = told.losses[1]
    assert (together.who, together.predicted) == ("the ten together", pytest.approx(ten.change, abs=1e-7))
    assert together.real == pytest.approx(ten.real, abs=1e-7)


def test_what_is_outside_is_told_as_such(told):
    wrong, *others = told.certificates
    lost = replace(wrong.claims[0], real=9.0, inside=False)
    changed = replace(told, certificates=(replace(wrong, claims=(lost, *wrong.claims[1:])), *others))
    before, after = ("\n".join(render(story)) for story in (told, changed))
    assert after.count("OUTSIDE") == before.count("OUTSIDE") + (wrong.claims[0].inside)
    count = sum(len(row.claims) for row in told.certificates if row.drawn)
    inside = sum(claim.inside for row in changed.certificates if row.drawn for claim in row.claims)
    assert f"{inside} of {count} numbers" in after


def test_people_and_programs_are_told_the_same(told, capsys):
    text = "\n".join(render(told))
    Output(json=True).emit(told, render)
    record = json.loads(capsys.readouterr().out)
    assert (record["schema"], record["units"]) == ("unlearnkit/demo/v4", 200)
    for row in record["requests"]:
        assert f"{row['request']:<8} {row['images']:>6}   {row['answer']}" in text
    for row in record["certificates"]:
        assert f"{row['outcome']} (by {row['rule']})" in text
    assert f"Everything is in {told.kept}" in text


def test_the_policy_differs_from_the_packaged_one_as_it_is_told(told):
    ours, packaged = parse_policy(policy_text().encode(), where="demo"), Policy.load("gdpr")
    assert ours.certificate == packaged.certificate
    assert [(item.least, item.most, item.count) for item in ours.audit.strata] == [(1, 1, 22), (2, 10, 22)]
    assert (ours.requests, ours.deadlines, ours.signing) == (packaged.requests, packaged.deadlines, packaged.signing)
    off, instead = (policy.correction.tolerances["own_loss"] for policy in (ours, packaged))
    audit = "\n".join(render(told)).split("2. The audit")[1].split("3. The requests")[0]
    assert f"may be off by {off} in own losses instead of {instead}" in audit
    assert audit.count("instead of") == 1  # nothing else is said to be other than packaged


def test_everything_is_kept(told):
    names = {path.name for path in told.kept.iterdir()}
    assert {"bundle", "bundle-2", "audit", "evidence", "certificates", "report.html", "digits-1.1.safetensors"} <= names
