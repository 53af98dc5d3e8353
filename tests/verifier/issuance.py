"""An office that issues certificates from a small signed bundle, honest or not, and what an outsider makes of them."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC
from decimal import Decimal
from functools import cache
from pathlib import Path

import numpy as np

from tests.bundle.small import KEY, UNITS, own_losses, small
from tests.compliance.requests.desks import Clock
from tests.estimation.polynomials import Polynomial
from unlearnkit.bundle import Bundle, write_bundle
from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.log.checkpoint import LogKey
from unlearnkit.compliance.log.entry import draft
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.log.publication import publish_checkpoint
from unlearnkit.compliance.policy.policies import Policies
from unlearnkit.compliance.policy.policy import Policy, Role, packaged_policies, parse_policy
from unlearnkit.compliance.policy.trust import Signer, TrustStore
from unlearnkit.compliance.releases.release import Artefacts, Registered, ReleaseEvent
from unlearnkit.compliance.requests.desk import Desk
from unlearnkit.compliance.requests.register import KEY_CREATED
from unlearnkit.compliance.view import LogView
from unlearnkit.names import NAMES
from unlearnkit.records import to_json
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.verifier.account import CERTIFICATE_ISSUED, DeltaAccount, issued_certificates, log_body, parse_issued
from unlearnkit.verifier.audits import AUDIT_COMMITTED, AUDIT_FINISHED, Finished, commitment, planned_deletions
from unlearnkit.verifier.certificate import Certificate, Claim, sign_certificate
from unlearnkit.verifier.decision import decide
from unlearnkit.verifier.evidence import Audit, Evidence, sign_evidence, verify_evidence
from unlearnkit.verifier.issue import Issuance, certify
from unlearnkit.verifier.materials import Materials
from unlearnkit.verifier.plan import Distribution, draw_deletions
from unlearnkit.verifier.planned import PlannedDeletions
from unlearnkit.verifier.verify import VerifiedCertificate, verify_certificate

Change = Callable[[Certificate], Certificate]


def _same(certificate: Certificate) -> Certificate:
    return certificate


RULES = """[certificate]
probes = ["test_loss"]
bound_methods = ["certified", "audited"]
salt = "chosen"
minimum_directions = 4
largest_ratio = 1
largest_delta = 0.05
delta_budget = 0.12
[certificate.tolerances]
test_loss = 20
[certificate.stability]
test_loss = 0.5
[certificate.rounding]
test_loss = 0.000001
[signing]"""


def policy_text(rules: str = RULES) -> bytes:
    """The packaged policy with other rules for certificates."""
    gdpr = packaged_policies()["gdpr"].decode()
    return (gdpr[: gdpr.index("\n[certificate]\n")] + "\n" + rules + gdpr.split("\n[signing]", 1)[1]).encode()


@dataclass(frozen=True)
class Issuer:
    """Holds all secrets; ``verify`` uses none of them."""

    folder: Path
    signer: PrivateKey
    log_key: LogKey
    log: AuditLog
    policy: Policy
    desk: Desk

    @property
    def trust(self) -> TrustStore:
        roles = tuple(Role)
        return TrustStore(signers=(Signer("office", roles, self.signer.public),), logs=(self.log_key.public,))

    @property
    def bundle(self) -> Bundle:
        return Bundle.open(self.folder / "bundle", trust=[self.signer.public])

    def request(self, name: str = "ann") -> str:
        (request,) = self.desk.receive([name], source=self.policy.words.sources[0])
        return request.id

    def issue(self, *requests: str, **options) -> Issuance:
        settings = {"log": self.log, "origin": self.log_key.origin, "policy": self.policy, "signers": [self.signer]}
        return certify(self.bundle, requests, **{**settings, **options})

    def forge(self, issued: Issuance, change: Change = _same, conclusion: Change = _same) -> bytes:
        """An altered certificate, signed and recorded as if it were right.

        change: of what it states; decision and account are then made to fit. conclusion: a change after that.
        """
        with self.log.exclusive() as writer:
            forged = change(issued.certificate)
            account = DeltaAccount(forged.account, issued_certificates(self.log.entries()))
            asked = parse_issued(0, log_body(forged, b"")).questions
            spent = account.spend([(item.question, item.delta) for item in asked], Decimal(1000))
            people, directions = len(forged.deleted), forged.directions
            decision = decide(forged.claims, self.policy, people=people, directions=directions)
            forged = conclusion(replace(forged, decision=decision, spent=str(spent)))
            raw = sign_certificate(forged, [self.signer])
            writer.record_many([draft(CERTIFICATE_ISSUED, log_body(forged, raw))])
        return raw

    def verify(self, raw: bytes, **options) -> tuple[VerifiedCertificate, list[str]]:
        """The verified certificate, and the names of the checks in order."""
        publish_checkpoint(self.log, self.log_key)
        found = verify_certificate(raw, where="c.json", beside=self.materials(**options))
        return found, [check.name for check in found.checks]

    def materials(self, *, evidence=(), **options) -> Materials:
        """What an outsider has. evidence: the contents of files."""
        files = tuple(self.folder / f"{sha256_hex(raw)}.json" for raw in evidence)
        for file, raw in zip(files, evidence, strict=True):
            file.write_bytes(raw)
        settings = {"bundle": self.folder / "bundle", "log": self.folder / "log", "trust": self.trust}
        return Materials(**{**settings, **options}, evidence=files)

    def commit(self) -> int:
        """The entry of the log that commits to the policy's plan."""
        said = commitment(self.bundle, self.policy.audit, policy_digest=self.policy.digest, by="privacy-officer")
        return self.log.record(AUDIT_COMMITTED, to_json(said)).index

    def planned(self) -> PlannedDeletions:
        """What follows from that."""
        bundle = self.bundle
        view = LogView.read(self.log.path)
        return planned_deletions(view, bundle.digest, self.policy.audit.within(len(bundle.units)))

    def finish(self, committed: int, raw: bytes) -> Evidence:
        """Record what an audit found."""
        self.log.record(AUDIT_FINISHED, to_json(Finished(committed=committed, evidence=sha256_hex(raw))))
        return self.read(raw)

    def read(self, raw: bytes) -> Evidence:
        return verify_evidence(raw, where="evidence", keys=[self.signer.public], bundle=self.bundle)

    def audit(self, lie: float = 0.0) -> bytes:
        """The policy's plan carried out: the evidence of what `retrained` gives."""
        committed = self.commit()
        raw = self.evidence(self.planned(), lie)
        self.finish(committed, raw)
        return raw

    def evidence(self, distribution: Distribution, lie: float = 0.0, count: int | None = None) -> bytes:
        """What retraining gives, signed. lie: is added to it."""
        bundle = self.bundle
        drawn = draw_deletions(bundle, distribution, count or distribution.count)
        losses, own = zip(*[retrained(list(deletion)) for deletion in drawn], strict=True)
        own = own if bundle.manifest.own_loss else ()
        found = {"test_loss": np.array(losses) + lie}
        return sign_evidence(Audit.of(bundle, distribution, found, own), [self.signer])


@cache
def _polynomial() -> Polynomial:
    with tempfile.TemporaryDirectory() as folder:
        return small(Path(folder), weights=False).polynomial


def retrained(deletion: list[int]) -> tuple[float, list[float]]:
    """The test loss without some units, and their own losses: the polynomials, and a bit that no sketch has."""
    x = np.zeros((1, len(UNITS)))
    x[0, deletion] = 1
    rest = 1e-3 * float(x.sum()) ** 3 * (1 + 0.1 * deletion[0])
    polynomial = _polynomial()
    loss = float(polynomial.base[0] + polynomial.change(x)[0, 0]) + rest
    own = own_losses()
    return loss, (own.base + own.change(x)[0] + rest)[deletion].tolist()


AUDITED = """[audit]
content = 0.5
confidence = 0.9
strata = [{ least = 1, most = 1, count = 5 }, { least = 2, most = 3, count = 9 }]
[signing]"""


def audited(rules: str = RULES) -> str:
    """Rules with a plan."""
    return rules.replace("[signing]", AUDITED)


def undrawn(evidence: Evidence, size: int) -> tuple[str, ...]:
    """The first people, so many, whom an audit did not leave out together."""
    sets = itertools.combinations(range(len(UNITS)), size)
    return next(tuple(UNITS[i] for i in units) for units in sets if units not in evidence.audit.deletions)


def issuer(folder: Path, *, rules: str = RULES, **contents: object) -> Issuer:
    """A bundle, a log with the bundle's pseudonym key, and a desk. contents: of the bundle, see `small`."""
    signer = PrivateKey.generate(Algorithm.P256)
    log_key = LogKey("example.org/log", PrivateKey.generate(Algorithm.ED25519))
    (folder / "run").mkdir()
    made = small(folder / "run", weights=False, **contents)
    write_bundle(folder / "bundle", manifest=made.manifest, signer=signer, **made.contents)
    log, policy = AuditLog.create(folder / "log", now=Clock()), parse_policy(policy_text(rules), where="policy")
    log.record(KEY_CREATED, {"key": KEY.fingerprint, "names": NAMES})
    register_release(log, Bundle.open(folder / "bundle", trust=[signer.public]))
    desk = Desk(log, Policies(default=policy), actor=policy.words.actors[0], timezone=UTC, key=KEY)
    return Issuer(folder, signer, log_key, log, policy, desk)


def register_release(log: AuditLog, bundle: Bundle, version: str = "1", replaces: str | None = None) -> None:
    """That the model of a bundle is in use, as small@1."""
    said = Registered(
        name="small",
        version=version,
        artefacts=Artefacts.of(bundle),
        replaces=replaces,
        by="engineer",
        on=log.now().date(),
    )
    log.record(ReleaseEvent.REGISTERED, to_json(said))


def with_claim(**changed) -> Change:
    """Alters the only claim; a function gets the old value."""

    def change(certificate: Certificate) -> Certificate:
        (claim,) = certificate.claims
        return replace(certificate, claims=(altered(claim, **changed),))

    return change


def altered(claim: Claim, **changed) -> Claim:
    return replace(
        claim, **{name: new(getattr(claim, name)) if callable(new) else new for name, new in changed.items()}
    )
