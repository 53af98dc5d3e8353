"""What an issuer might try to keep somebody in a model unseen: accepted once, and now refused with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.bundle.small import UNITS, small
from tests.compliance.requests.desks import DIGEST
from tests.verifier.issuance import RULES, Issuer, issuer, register_release
from tests.verifier.outgoing import outgoing
from unlearnkit.bundle import Bundle, PseudonymKey, write_bundle
from unlearnkit.compliance.log.entry import Position, draft, encode_line
from unlearnkit.compliance.releases.release import ReleaseEvent, Retired
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import BudgetExceededError, RefusedError, UnlearnkitError, VerificationError
from unlearnkit.records import to_json
from unlearnkit.verifier.gate import require_shown
from unlearnkit.verifier.issue import certify

TODAY = date(2025, 3, 5)
Attack = Callable[[Path], object]


def _office(folder: Path) -> Issuer:
    """Ann asked, as R2, and her identity was verified."""
    made = issuer(folder, rules=RULES)
    made.desk.verify_identity(made.request("ann"), method="in-person")
    return made


def _view(office: Issuer) -> LogView:
    return LogView.read(office.folder / "log")


def _body(office: Issuer, kind: str) -> dict:
    return dict(next(entry.body for entry in office.log.entries() if entry.type == kind))


def _signed_anew(office: Issuer, version: str) -> Bundle:
    """The same sketch under another signature and another description."""
    (office.folder / version).mkdir()
    contents = small(office.folder / version, weights=False)
    manifest = replace(contents.manifest, versions={"numpy": version})
    place = office.folder / f"bundle-{version}"
    write_bundle(place, manifest=manifest, signer=office.signer, **contents.contents)
    return Bundle.open(place, trust=[office.signer.public])


def an_account_that_begins_anew_with_a_new_signature(folder: Path) -> None:
    office = _office(folder)
    for name in ("ben", "cat"):
        office.issue(office.request(name))
    other = _signed_anew(office, "2")
    register_release(office.log, other, "2", replaces="small@1")
    settings = {"log": office.log, "origin": office.log_key.origin, "policy": office.policy, "signers": [office.signer]}
    certify(other, ["R2"], **settings)


def a_request_that_was_withdrawn(folder: Path) -> None:
    office = _office(folder)
    issued = office.issue("R2")
    office.desk.withdraw("R2", reason="requested-by-person")
    office.verify(office.forge(issued))


def a_request_of_tomorrow(folder: Path) -> None:
    office = _office(folder)
    body = _body(office, "request-received") | {
        "received": (TODAY + timedelta(days=2)).isoformat(),
        "subject": "1" * 64,
    }
    office.log.record("request-received", body)
    _ = _view(office).register


def an_answer_from_before_the_identity_was_known(folder: Path) -> None:
    office = _office(folder)
    (request,) = office.desk.receive(["ben"], source="email", on=date(2025, 3, 3))
    office.desk.verify_identity(request.id, method="in-person")
    body = {
        "request": request.id,
        "by": "support",
        "on": "2025-03-04",
        "method": "negligible-effect",
        "evidence": [DIGEST],
    }
    office.log.record("request-fulfilled", body | {"retain_until": "2028-03-05", "shown": "certificate"})
    _ = _view(office).register


def an_entry_that_is_older_than_the_one_before_it(folder: Path) -> None:
    office = _office(folder)
    *_, last = office.log.entries()
    raw = (office.folder / "log" / "log.jsonl").read_bytes()
    place = Position(last.index + 1, len(raw), last.digest)
    line = encode_line(draft("note", {}), position=place, time="2025-03-04T09:00:00Z")
    (office.folder / "log" / "log.jsonl").write_bytes(raw + line)
    _ = _view(office).register


def people_who_stand_left_out(folder: Path) -> None:
    office = _office(folder)
    office.desk.fulfil("R2", method="negligible-effect", evidence=[DIGEST])
    issued = office.issue(office.request("ben"))
    office.verify(office.forge(issued, lambda made: replace(made, standing=(), deleted=made.subjects)))


def a_release_that_was_retired(folder: Path) -> None:
    office = _office(folder)
    issued = office.issue("R2")
    office.log.record(ReleaseEvent.RETIRED, to_json(Retired(release="small@1", by="engineer", on=TODAY)))
    office.verify(office.forge(issued))


def _fulfil(office: Issuer, evidence: str, people: frozenset[str]) -> None:
    """As the gate of a workspace has it."""

    def gate(request, said, end, policy):
        return require_shown(LogView.read(office.folder / "log", end=end), request, said, policy, lambda _: people)

    office.desk._gate = gate
    office.desk.fulfil("R2", method="negligible-effect", evidence=[evidence])


def an_older_certificate_after_a_newer_one(folder: Path) -> None:
    office = _office(folder)
    first = office.issue("R2")
    office.issue("R2")
    _fulfil(office, first.entry.body["certificate"], frozenset(office.bundle.units))


def a_certificate_of_another_release_than_the_one_that_holds_them(folder: Path) -> None:
    office = _office(folder)
    issued = office.issue("R2")
    office.log.record(ReleaseEvent.RETIRED, to_json(Retired(release="small@1", by="engineer", on=TODAY)))
    register_release(office.log, _signed_anew(office, "2"), "2")
    _fulfil(office, issued.entry.body["certificate"], frozenset(office.bundle.units))


def pseudonyms_under_another_key(folder: Path) -> None:
    case = outgoing(folder)
    case.add("3", replaces="small@2", units=UNITS, key=PseudonymKey(bytes(32)))
    three = case.view().registry.get("small@3")
    issued = case.clear("R2")
    looked = type(issued.certificate.releases[0])(three.id, three.artefacts)
    case.verify(case.forge(issued, lambda made: replace(made, releases=(looked,))), exclusion=False)


def a_release_in_force_that_was_not_looked_at(folder: Path) -> None:
    case = outgoing(folder)
    issued = case.clear("R2", before="small@1")
    case.add("3", replaces=None, units=UNITS)
    case.verify(case.forge(issued))


ATTACKS: dict[Attack, tuple[type[UnlearnkitError], str]] = {
    an_account_that_begins_anew_with_a_new_signature: (
        BudgetExceededError,
        "0.10 is spent, and this would make it 0.15",
    ),
    a_request_that_was_withdrawn: (VerificationError, "request R2 was withdrawn before it"),
    a_request_of_tomorrow: (VerificationError, "received on a day in the future: got 2025-03-07"),
    an_answer_from_before_the_identity_was_known: (
        VerificationError,
        "identity verified on 2025-03-05, which is after",
    ),
    an_entry_that_is_older_than_the_one_before_it: (
        VerificationError,
        "is from 2025-03-04T09:00:00Z, the one before it",
    ),
    people_who_stand_left_out: (VerificationError, "its standing set has 0 people, the log and the bundle give 1"),
    a_release_that_was_retired: (VerificationError, "release small@1 was not in force at entry"),
    an_older_certificate_after_a_newer_one: (RefusedError, "is older than that of entry"),
    a_certificate_of_another_release_than_the_one_that_holds_them: (RefusedError, "is about no release in force"),
    pseudonyms_under_another_key: (VerificationError, "nobody can tell who is in small@3"),
    a_release_in_force_that_was_not_looked_at: (
        VerificationError,
        "it looked at small@2, in force were small@2, small@3",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_it_is_refused_with_its_reason(attack, tmp_path):
    error, reason = ATTACKS[attack]
    with pytest.raises(error, match=reason):
        attack(tmp_path)


def test_what_is_honest_passes_the_same_gate(tmp_path):
    office = _office(tmp_path)
    _fulfil(office, office.issue("R2").entry.body["certificate"], frozenset(office.bundle.units))
    assert office.desk.register().get("R2").state == "fulfilled"
