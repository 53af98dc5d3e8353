"""A certificate's own policy is not its own judge: what somebody expects of it is, and what nobody expects is said."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from tests.verifier.issuance import issuer
from unlearnkit.compliance.log import clock
from unlearnkit.compliance.log.publication import publish_checkpoint
from unlearnkit.compliance.policy.audits import AuditRules, PlannedStratum
from unlearnkit.compliance.policy.expectations import Expectations
from unlearnkit.compliance.policy.policy import Role
from unlearnkit.errors import ThresholdError, VerificationError
from unlearnkit.verifier.verify import verify_certificate


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    return issuer(tmp_path_factory.mktemp("office"))


@pytest.fixture(scope="module")
def issued(office):
    made = office.issue(office.request())
    publish_checkpoint(office.log, office.log_key)
    return made


@pytest.fixture(autouse=True)
def now(monkeypatch, issued):
    """Ten days after it was recorded."""
    monkeypatch.setattr(clock, "utc_now", lambda: issued.entry.time + timedelta(days=10))


def verify(office, raw, **expected):
    beside = office.materials(expected=Expectations(**expected) if expected else None)
    return verify_certificate(raw, where="c.json", beside=beside)


def audits(count: int, content: str = "0.95") -> AuditRules:
    """Of exactly seven people, whom no policy here audits."""
    strata = (PlannedStratum(least=7, most=7, count=count),)
    return AuditRules(strata=strata, content=Decimal(content), confidence=Decimal("0.95"))


def test_audits_are_expected_by_size_count_content_and_confidence():
    from unlearnkit.verifier.expected import verify_audits

    verify_audits(audits(59), audits(80))
    verify_audits(audits(59, "0.9"), audits(80))
    for expected, planned, reason in (
        (audits(80), audits(59), "plans 59 retrainings without 7 people, not 80"),
        (audits(80), audits(80, "0.9"), "asks for a content of 0.9, not 0.95"),
        (audits(59), AuditRules(), "plans 0 retrainings"),
    ):
        with pytest.raises(VerificationError, match=reason):
            verify_audits(expected, planned)


MET = {
    "policies": lambda office: {"policies": ("0" * 64, office.policy.digest)},
    "threshold": lambda _: {"threshold": 1},
    "roles": lambda _: {"threshold": 1, "roles": (Role.SKETCH_SIGNER,)},
    "tolerances": lambda _: {"tolerances": {"test_loss": Decimal(20)}},
    "age": lambda _: {"most_days": 10},
}


@pytest.mark.parametrize("name", MET)
def test_what_is_expected_and_so_is_a_check_that_says_what_was_expected(office, issued, name):
    expected = MET[name](office)
    found = verify(office, issued.raw, **expected)
    (check,) = [check for check in found.checks if check.name == "expectations"]
    assert check.found == f"as expected: {Expectations(**expected)}"


MISSED = {
    "policies": ({"policies": ("0" * 64,)}, VerificationError, "its policy gdpr is .*, which is not listed"),
    "threshold": ({"threshold": 2}, ThresholdError, "as is expected of it, has too few trusted signatures: got 1"),
    "tolerance": (
        {"tolerances": {"test_loss": Decimal(19)}},
        VerificationError,
        "its policy tolerates a change of test_loss by 20, not 19",
    ),
    "a probe": ({"tolerances": {"own_loss": Decimal(1)}}, VerificationError, "a change of own_loss by None, not 1"),
    "salt": ({"salt": "log"}, VerificationError, "was chosen by somebody, not taken from a log"),
    "witnesses": ({"witnesses": 1}, VerificationError, "cosignatures"),
    "audits": (
        {"audit": audits(59)},
        VerificationError,
        "its policy plans 0 retrainings without 7 people, not 59",
    ),
    "age": ({"most_days": 9}, VerificationError, "10 days ago"),
}


@pytest.mark.parametrize("name", MISSED)
def test_what_is_expected_and_not_so_is_a_verification_failure(office, issued, name):
    expected, error, reason = MISSED[name]
    with pytest.raises(error, match=reason):
        verify(office, issued.raw, **expected)


def test_who_signs_without_the_expected_role_is_not_counted(office, issued):
    (signer,) = office.trust.signers
    trust = replace(office.trust, signers=(replace(signer, roles=(Role.CERTIFICATE_SIGNER,)),))
    sketches = replace(signer, roles=(Role.SKETCH_SIGNER,), key=office.log_key.private.public)
    trust = replace(trust, signers=(*trust.signers, sketches))
    expected = Expectations(threshold=1, roles=(Role.SKETCH_SIGNER,))
    with pytest.raises((ThresholdError, VerificationError)):
        verify_certificate(issued.raw, where="c", beside=office.materials(trust=trust, expected=expected))


def test_what_nobody_expects_is_listed_as_not_checked(office, issued):
    said = "\n".join(verify(office, issued.raw).unchecked)
    for words in (
        f"policy gdpr, SHA-256 {office.policy.digest}, is one that should decide",
        "whether 1 signature will do, as its own policy says",
        "the bundle's salt was picked from many",
        "it is too old",
    ):
        assert words in said
    expected = {"policies": (office.policy.digest,), "threshold": 1, "most_days": 10}
    less = "\n".join(verify(office, issued.raw, **expected).unchecked)
    assert "--expect" in said
    assert "is one that should decide" not in less
    assert "as its own policy says" not in less
    assert "too old" not in less


def test_an_entry_from_the_future_is_refused(office, issued, monkeypatch):
    monkeypatch.setattr(clock, "utc_now", lambda: issued.entry.time - timedelta(hours=2))
    with pytest.raises(VerificationError, match="which is in the future"):
        verify(office, issued.raw)


def test_the_trust_store_says_what_is_expected_unless_a_file_does(office, issued, tmp_path):
    from unlearnkit.verifier.materials import Materials

    trust = replace(office.trust, expect=Expectations(most_days=3))
    given = tmp_path / "expect.toml"
    given.write_text('schema = "unlearnkit/expectations/v1"\nmost_days = 11\n')
    place = {"bundle": office.folder / "bundle", "log": office.folder / "log", "trust": trust}
    assert Materials.at_hand(**place).expected == Expectations(most_days=3)
    assert Materials.at_hand(**place, expect=given).expected.most_days == 11
    assert Materials.at_hand(**place, expect=Expectations(witnesses=2)).quorum == 2
