"""Keys over years: what the log recorded before a key ended stays valid, what comes after does not, whoever says so."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import unlearnkit as uk
from tests.bundle.small import small
from tests.verifier.issuance import RULES, policy_text
from unlearnkit.bundle import PseudonymKey, write_bundle
from unlearnkit.compliance.log import clock
from unlearnkit.compliance.log.checkpoint import LogKey
from unlearnkit.compliance.log.publication import publish_checkpoint
from unlearnkit.compliance.policy.trust import TrustStore, format_trust
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError, SignatureError, ThresholdError, UnlearnkitError, VerificationError
from unlearnkit.signing.keys import PrivateKey
from unlearnkit.signing.validity import Validity
from unlearnkit.verifier.examination import Failure, Verification, examine
from unlearnkit.verifier.materials import Materials


@dataclass
class Story:
    """An office, before its keys were rotated and after they were revoked; and the old keys, which a thief has.

    early, late: certificates by the old key and by the new. known: the trust store of somebody who never heard of it.
    """

    office: uk.Workspace
    early: Path
    late: Path
    known: TrustStore
    signer: PrivateKey
    log: LogKey


def _sketched(office: uk.Workspace, name: str, signer: PrivateKey) -> Path:
    (office.root / f"{name}-run").mkdir()
    contents = small(office.root / f"{name}-run", weights=False, key=PseudonymKey.load(office.pseudonym_key_path))
    manifest = replace(contents.manifest, versions={"made": name})
    write_bundle(office.root / name, manifest=manifest, signer=signer, **contents.contents)
    return office.root / name


def _certified(office: uk.Workspace, name: str) -> Path:
    (request,) = office.receive([name])
    return office.certify([request]).path


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The story, in a time in which every look at the clock takes a second."""
    seconds = iter(range(10**6))
    folder = tmp_path_factory.mktemp("keys")
    (folder / "policy.toml").write_bytes(policy_text(RULES.replace("delta_budget = 0.12", "delta_budget = 0.9")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "utc_now", lambda: datetime(2026, 1, 5, tzinfo=UTC) + timedelta(seconds=next(seconds)))
        office = uk.Workspace.create(folder / "office", origin="example.com/log", policy="../policy.toml")
        known, signer, log = office.trust(), office.signer_key(), office.log_key()
        office.register(_sketched(office, "bundle", signer), name="digits", version="1")
        early = _certified(office, "ann")
        office.rotate_key("signer")
        office.rotate_key("log")
        late = _certified(office, "ben")
        patch.chdir(folder)
        yield Story(office, early, late, known, signer, log)


@pytest.fixture(scope="module")
def story(told):
    """After both old keys were revoked."""
    told.office.revoke_key(told.signer.public.key_id)
    told.office.revoke_key(told.log.private.public.key_id)
    return told


def outsider(story: Story, path: Path, **options) -> None:
    """Raises unless somebody outside takes a certificate."""
    settings = {"bundle": story.office.root / "bundle", "log": story.office.log_path, "trust": story.known}
    uk.verify(path, **{**settings, **options})


@pytest.mark.usefixtures("told")
class TestWhileRotating:
    """Both keys count, of the signer and of the log."""

    def test_who_trusts_the_old_key_goes_on_to_the_new_one_by_the_log(self, told):
        outsider(told, told.early)
        outsider(told, told.early, log=None)
        outsider(told, told.late)
        with pytest.raises(ThresholdError):  # the file alone does not say whose key that is
            outsider(told, told.late, log=None)

    def test_the_log_is_signed_with_both_keys_of_its_name(self, told):
        for key in (told.log.public, told.office.log_public_key()):
            assert LogView.verify(told.office.log_path, log=replace(key, others=())).signed.checkpoint.keys == (
                key.public,
            )


def test_what_was_recorded_before_stays_valid_for_the_office_and_for_others(story):
    told = story.office
    assert told.verify(story.early, bundle=told.root / "bundle").value.signers == (story.signer.public.key_id,)
    assert told.verify(story.late, bundle=told.root / "bundle").checks
    for path in (story.early, story.late):
        outsider(story, path, trust=told.trust())
    assert told.certify([told.receive(["cat"])[0]]).entry is not None  # about a bundle that the old key signed


def test_what_comes_after_does_not_count_though_it_is_recorded(story, monkeypatch):
    with monkeypatch.context() as stolen:
        stolen.setattr(uk.Workspace, "signer_key", lambda *_: story.signer)
        forged = _certified(story.office, "dan")
    for trust in (story.office.trust(), replace(story.known, logs=story.office.trust().logs)):
        with pytest.raises((SignatureError, ThresholdError)):
            outsider(story, forged, trust=trust)
    with pytest.raises(UnlearnkitError):
        story.office.verify(forged, bundle=story.office.root / "bundle")


def test_a_bundle_that_a_revoked_key_signs_is_nobodys(story):
    made = _sketched(story.office, "after", story.signer)
    for log in (story.office.log_path, None):
        with pytest.raises(ThresholdError, match="too few trusted signatures"):
            uk.verify(made, trust=story.office.trust(), log=log)
    with pytest.raises(SignatureError, match="revoked before that was recorded"):
        uk.verify(made, trust=replace(story.known, logs=story.office.trust().logs), log=story.office.log_path)
    with pytest.raises(ThresholdError):
        story.office.open_bundle(made)
    assert story.office.open_bundle("office/bundle").signers == (story.signer.public.key_id,)


def test_a_log_key_that_ended_signs_nothing_more(story, tmp_path):
    """A thief goes on with the log as it is, and shows it to who has both keys, and to who has the old one."""
    shutil.copytree(story.office.log_path, tmp_path / "audit")
    (tmp_path / "audit" / "checkpoint").unlink()
    log = uk.AuditLog.open(tmp_path / "audit", key=story.log)
    log.record("note", {"by": "a thief"})
    publish_checkpoint(log, story.log)
    with pytest.raises(SignatureError, match="has no signature by"):
        LogView.verify(log.path, log=story.office.log_public_key())
    both = replace(story.log.public, others=(replace(story.office.log_public_key(), others=(), retired=()),))
    for key in (both, story.log.public):
        with pytest.raises(SignatureError, match="only with keys that the log itself revokes"):
            LogView.verify(log.path, log=key)


def test_a_proof_by_a_key_of_the_log_that_ended_counts_only_beside_the_log(story):
    trust = story.office.trust()
    outsider(story, story.early, trust=trust)
    with pytest.raises(SignatureError, match="has no signature by") as told:
        outsider(story, story.early, trust=trust, log=None)
    assert "only for what its log has under a newer key" in told.value.hint
    story.office.resume(story.early)  # a new proof, under the new key
    outsider(story, story.early, trust=trust, log=None)


def test_a_time_before_which_nobody_had_the_key_ends_it_then(story, tmp_path):
    """By the trust store alone: the entry in the file says when it was recorded."""
    recorded = uk.verify(
        story.early, bundle=story.office.root / "bundle", log=story.office.log_path, trust=story.office.trust()
    )
    assert recorded.checks
    time = next(entry.time for entry in story.office.view().of_type("certificate-issued"))
    for until, counts in ((time, False), (time + timedelta(seconds=1), True)):
        signers = tuple(replace(item, validity=Validity(until=until)) for item in story.known.signers)
        file = tmp_path / f"{counts}.toml"
        file.write_text(format_trust(replace(story.known, signers=signers, logs=story.office.trust().logs)))
        if counts:
            outsider(story, story.early, trust=file)
        else:
            with pytest.raises((SignatureError, ThresholdError)):
                outsider(story, story.early, trust=file)


def test_a_time_that_a_file_claims_and_nobody_proves_is_no_time_of_anything(story, tmp_path):
    """A bundle counts because of a certificate in the same verification, and not because of one that is false."""
    time = next(entry.time for entry in story.office.view().of_type("certificate-issued"))
    signers = tuple(replace(i, validity=Validity(until=time + timedelta(seconds=1))) for i in story.known.signers)
    logs = tuple(replace(key, validity=Validity()) for key in story.office.trust().logs)
    trust, bundle = replace(story.known, signers=signers, logs=logs), story.office.root / "bundle"
    raw = story.early.read_bytes()
    place = raw.index(b"tlog-proof@v1") + 40
    (tmp_path / "false.json").write_bytes(raw[:place] + (b"A" if raw[place:][:1] != b"A" else b"B") + raw[place + 1 :])
    for file, kind in ((story.early, Verification), (tmp_path / "false.json", Failure)):
        beside = Materials.at_hand(bundle=bundle, trust=trust)
        assert isinstance(examine(file, beside), kind)
        assert isinstance(examine(bundle, beside), kind)


def test_a_key_in_use_is_not_revoked_and_an_unknown_one_is_said(story):
    with pytest.raises(RefusedError, match="is in use"):
        story.office.revoke_key(story.office.signer_key().public.key_id)
    with pytest.raises(UnlearnkitError, match="0 keys of the trust store begin with"):
        story.office.revoke_key("0" * 64)
    with pytest.raises(ValueError, match="a time in the future"):
        story.office.revoke_key(story.signer.public.key_id, since=datetime(2999, 1, 1, tzinfo=UTC))


def test_a_rotation_that_the_old_key_did_not_sign_is_no_legal_step(story, tmp_path):
    shutil.copytree(story.office.log_path, tmp_path / "audit")
    log = uk.AuditLog.open(tmp_path / "audit")
    body = dict(next(entry.body for entry in log.entries() if entry.type == "key-rotated"))
    thief = PrivateKey.generate(story.signer.public.algorithm).public
    log.record("key-rotated", {**body, "successor": thief.key_id})
    with pytest.raises(VerificationError, match="its statement is about other keys"):
        _ = LogView.read(log.path).register
