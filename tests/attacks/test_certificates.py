"""Attacks on certificates, each once possible: on the proof beside one, on the log, on who signs, on who decides."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from decimal import Decimal

import pytest

from tests.verifier.issuance import Issuer, issuer, policy_text
from unlearnkit.canonical import canonicalize
from unlearnkit.compliance.log.checkpoint import LogKey
from unlearnkit.compliance.log.publication import prove_entry, publish_checkpoint
from unlearnkit.compliance.policy.expectations import Expectations
from unlearnkit.compliance.policy.policies import Policies
from unlearnkit.compliance.policy.policy import Role, parse_policy
from unlearnkit.compliance.policy.trust import Signer, TrustStore
from unlearnkit.errors import (
    ConsistencyError,
    FormatError,
    InclusionError,
    RollbackError,
    SignatureError,
    ThresholdError,
    UnknownNameError,
    UnlearnkitError,
    VerificationError,
)
from unlearnkit.signing.dsse import countersign_envelope
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.verifier.certificate_file import CertificateFile
from unlearnkit.verifier.issue import Issuance
from unlearnkit.verifier.materials import Materials
from unlearnkit.verifier.verify import VerifiedCertificate, verify_certificate


def filed(office: Issuer, issued: Issuance) -> bytes:
    """The certificate in its file, with a proof under a new checkpoint."""
    publish_checkpoint(office.log, office.log_key)
    proof = prove_entry(office.folder / "log", issued.entry.index, log=office.log_key.public)
    return CertificateFile(envelope=issued.raw, entry=issued.entry.line, proof=proof).to_bytes()


@pytest.fixture(scope="module")
def office(tmp_path_factory) -> Issuer:
    return issuer(tmp_path_factory.mktemp("office"))


@pytest.fixture(scope="module")
def certificates(office) -> list[bytes]:
    """Of ann and of ben, proved under different checkpoints."""
    return [filed(office, office.issue(office.request(name))) for name in ("ann", "ben")]


def alone(office: Issuer, raw: bytes, beside: Materials | None = None) -> VerifiedCertificate:
    """What somebody makes of it who has no log."""
    return verify_certificate(raw, where="c.json", beside=beside or office.materials(log=None))


def test_alone_what_only_the_log_tells_is_listed_as_not_checked(office, certificates):
    found = alone(office, certificates[0])
    names = [check.name for check in found.checks]
    assert names == ["signature", "bundle", "artefacts", "proof", "numbers", "decision"]
    told = [line for line in found.unchecked if line.endswith("which the log tells: --log")]
    for words in (
        "small@1 was in force",
        "R2 asked, and when",
        "that 0 people and nobody else had been",
        "0.05 is what was spent",
    ):
        assert any(words in line for line in told), words
    beside = verify_certificate(certificates[0], where="c", beside=office.materials())
    assert not [line for line in beside.unchecked if "the log tells" in line]
    assert {"proof", "log", "release", "request", "standing set", "delta budget"} <= {c.name for c in beside.checks}


# -- the proof in the file


def part(name: str, change):
    def attack(first: dict, _second: dict) -> None:
        first[name] = change(first[name])

    return attack


def swapped(*names: str):
    def attack(first: dict, second: dict) -> None:
        for name in names:
            first[name] = second[name]

    return attack


def flipped(line: int):
    """One bit of a hash, or of the checkpoint, in a line of the proof."""

    def change(proof: str) -> str:
        lines = proof.split("\n")
        last = lines[line][-3]
        lines[line] = lines[line][:-3] + ("A" if last != "A" else "B") + lines[line][-2:]
        return "\n".join(lines)

    return change


PROOFS = {
    "the proof of another entry": (swapped("proof"), InclusionError, None),
    "the entry of another certificate": (swapped("entry"), InclusionError, None),
    "another certificate's entry and proof": (swapped("entry", "proof"), VerificationError, "records another"),
    "another envelope": (swapped("envelope"), VerificationError, "records another certificate"),
    "an edited entry": (part("entry", lambda text: text.replace("0.05", "0.01")), InclusionError, None),
    "an entry of another time": (part("entry", lambda text: text.replace("09:00", "08:00")), InclusionError, None),
    "another place": (part("proof", lambda text: text.replace("index 3", "index 2")), InclusionError, None),
    "an altered hash": (part("proof", flipped(2)), InclusionError, None),
    "an altered root": (part("proof", flipped(-4)), SignatureError, None),
    "no checkpoint": (part("proof", lambda text: text.split("\n\n")[0] + "\n\n"), FormatError, None),
    "something more": (lambda first, _: first.update(note="believe me"), FormatError, "note"),
    "another version": (part("schema", lambda text: text.replace("v1", "v2")), FormatError, "v2"),
}


@pytest.mark.parametrize("name", PROOFS)
def test_a_proof_that_was_tampered_with_proves_nothing_with_the_log_or_without(office, certificates, name):
    attack, error, reason = PROOFS[name]
    first, second = (json.loads(raw) for raw in certificates)
    before = canonicalize(first)
    attack(first, second)
    forged = canonicalize(first)
    assert before == certificates[0] != forged
    for beside in (office.materials(log=None), office.materials()):
        with pytest.raises(error, match=reason):
            verify_certificate(forged, where="c.json", beside=beside)


def test_every_flipped_byte_of_a_file_is_caught(office, certificates):
    raw, beside = certificates[0], office.materials(log=None)
    for position in range(0, len(raw), 211):
        tampered = raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]
        with pytest.raises(UnlearnkitError):
            verify_certificate(tampered, where="c.json", beside=beside)


def test_a_log_that_somebody_else_signed_proves_nothing(office, certificates):
    other = LogKey("example.org/log", PrivateKey.generate(Algorithm.ED25519))
    trust = replace(office.trust, logs=(other.public,))
    with pytest.raises(SignatureError):
        alone(office, certificates[0], office.materials(log=None, trust=trust))
    with pytest.raises(UnknownNameError, match="no trusted key for the log"):
        alone(office, certificates[0], office.materials(log=None, trust=replace(office.trust, logs=())))


def test_without_proof_and_without_log_nothing_says_that_it_was_recorded(office, certificates):
    bare = canonicalize(json.loads(certificates[0])["envelope"])
    with pytest.raises(UnknownNameError, match="what this file is about is not there"):
        alone(office, bare)


def test_witnesses_that_are_expected_must_have_cosigned_the_checkpoint_in_the_file(office, certificates):
    beside = office.materials(log=None, expected=Expectations(witnesses=1))
    with pytest.raises(ThresholdError):
        alone(office, certificates[0], beside)


# -- a log that was split


@pytest.fixture
def split(tmp_path) -> tuple[Issuer, Issuer]:
    """Two histories that one log signs: ann is shown one, and ben the other."""
    (tmp_path / "left").mkdir()
    left = issuer(tmp_path / "left")
    shutil.copytree(tmp_path / "left", tmp_path / "right")
    right = replace(
        left, folder=tmp_path / "right", log=type(left.log).open(tmp_path / "right" / "log", now=left.log.now)
    )
    right = replace(right, desk=type(left.desk)(right.log, Policies(default=left.policy), **_settings(left)))
    return left, right


def _settings(office: Issuer) -> dict:
    from datetime import UTC

    from tests.bundle.small import KEY

    return {"actor": office.policy.words.actors[0], "timezone": UTC, "key": KEY}


def test_both_halves_of_a_split_log_shown_to_one_verifier_are_the_evidence(split):
    left, right = split
    first = filed(left, left.issue(left.request("ann")))
    second = filed(right, right.issue(right.request("ben")))
    beside = left.materials(log=None)
    alone(left, first, beside)
    with pytest.raises(ConsistencyError, match=r"was forked: it signed two different histories of 4 entries") as caught:
        alone(right, second, beside)
    assert caught.value.older != caught.value.newer
    assert all(head.startswith(b"example.org/log\n4\n") for head in (caught.value.older, caught.value.newer))


def test_halves_of_different_lengths_are_told_apart_by_either_log(split):
    left, right = split
    first = filed(left, left.issue(left.request("ann")))
    right.request("cat")
    second = filed(right, right.issue(right.request("ben")))
    beside = left.materials(log=None)
    alone(left, first, beside)
    said = alone(right, second, beside).unchecked
    assert any("the histories of 4, 5 entries, of different proofs, are one" in line for line in said)
    with pytest.raises(RollbackError):
        verify_certificate(second, where="c", beside=left.materials())
    with pytest.raises(ConsistencyError):
        verify_certificate(first, where="c", beside=right.materials())
    shared = right.materials()
    verify_certificate(second, where="c", beside=shared)
    with pytest.raises(ConsistencyError):
        verify_certificate(first, where="c", beside=shared)  # the log was read before this head was seen


# -- who signs


def _with_threshold(office: Issuer, threshold: int) -> Issuer:
    text = policy_text().replace(b"threshold = 1 ", f"threshold = {threshold} ".encode())
    policy = parse_policy(text, where="policy")
    return replace(
        office, policy=policy, desk=type(office.desk)(office.log, Policies(default=policy), **_settings(office))
    )


@pytest.fixture
def pair(tmp_path) -> tuple[Issuer, PrivateKey, TrustStore]:
    """An office whose policy asks for two signatures, and the second officer."""
    office, second = _with_threshold(issuer(tmp_path), 2), PrivateKey.generate(Algorithm.P256)
    officer = Signer("second", (Role.CERTIFICATE_SIGNER,), second.public)
    return office, second, replace(office.trust, signers=(*office.trust.signers, officer))


def test_one_officer_does_not_sign_for_two(pair):
    office, second, trust = pair
    issued = office.issue(office.request())
    assert issued.entry is None
    with pytest.raises(ValueError, match="none of them twice"):
        countersign_envelope(issued.raw, where="c", signer=office.signer)
    envelope = json.loads(issued.raw)
    (signature,) = envelope["signatures"]
    for more in (
        [signature, signature],
        [signature, {**signature, "keyid": second.public.key_id}],  # ours, under the other's name
        [signature, {"keyid": second.public.key_id, "sig": signature["sig"][:-8] + "AAAAAAA="}],
    ):
        forged = canonicalize({**envelope, "signatures": more})
        with pytest.raises(UnlearnkitError):
            verify_certificate(forged, where="c.json", beside=office.materials(trust=trust))


def test_a_second_signature_of_another_certificate_by_a_stranger_or_without_the_role_is_none(pair):
    office, second, trust = pair
    issued, other = office.issue(office.request("ann")), office.issue(office.request("ben"))
    moved = json.loads(countersign_envelope(other.raw, where="c", signer=second))["signatures"][1]
    envelope = json.loads(issued.raw)
    stranger = countersign_envelope(issued.raw, where="c", signer=PrivateKey.generate(Algorithm.P256))
    genuine = countersign_envelope(issued.raw, where="c", signer=second)
    sketcher = replace(trust, signers=(trust.signers[0], Signer("second", (Role.SKETCH_SIGNER,), second.public)))
    moved_here = canonicalize({**envelope, "signatures": [*envelope["signatures"], moved]})
    for raw, store in ((moved_here, trust), (stranger, trust), (genuine, sketcher)):
        with pytest.raises(VerificationError):
            verify_certificate(raw, where="c.json", beside=office.materials(trust=store))


# -- who decides


def test_a_policy_of_its_own_that_asks_for_less_is_told_by_what_is_expected(office, tmp_path):
    """The issuer writes a lax policy, receives the request under it, and signs alone: all of that is consistent."""
    lax = policy_text().replace(b"test_loss = 20", b"test_loss = 1000000")
    policy = parse_policy(lax, where="policy")
    bent = replace(
        office, policy=policy, desk=type(office.desk)(office.log, Policies(default=policy), **_settings(office))
    )
    raw = filed(bent, bent.issue(bent.request("dan"), delta=Decimal("0.01")))
    said = "\n".join(verify_certificate(raw, where="c", beside=office.materials()).unchecked)
    assert f"SHA-256 {policy.digest}, is one that should decide" in said
    for expected, error in (
        (Expectations(policies=(office.policy.digest,)), VerificationError),
        (Expectations(tolerances={"test_loss": Decimal(20)}), VerificationError),
        (Expectations(threshold=2), ThresholdError),
    ):
        with pytest.raises(error):
            verify_certificate(raw, where="c", beside=office.materials(expected=expected))


@pytest.mark.parametrize("name", ["respond", "acknowledge"])
def test_a_day_that_does_not_follow_from_the_policy_is_caught(tmp_path, name):
    office = issuer(tmp_path)
    first = office.desk.receive(["ann"], source=office.policy.words.sources[0])[0]
    body = json.loads(office.log.path.joinpath("log.jsonl").read_bytes().splitlines()[-1])["body"]
    office.desk.withdraw(first.id, reason="requested-by-person")
    entry = office.log.record(
        "request-received", {**body, "follows": first.id, name: {"day": "2099-01-01", "rule": "GDPR Art. 12(3)"}}
    )
    issued = office.issue(f"R{entry.index}")
    with pytest.raises(VerificationError, match=rf"is due \({name}\) on 2099-01-01 by .*, which the policy gdpr puts"):
        office.verify(issued.raw)
