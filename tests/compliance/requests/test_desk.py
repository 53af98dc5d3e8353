"""The desk: what is legal is recorded with its clocks and links; what is not is refused, and leaves no trace."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from tests.compliance.requests.desks import CCPA, DIGEST, GDPR, KEY, STEPS, desk_of, new_log, raw
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.policy.deadlines import Due
from unlearnkit.compliance.policy.policies import Policies
from unlearnkit.compliance.policy.policy import packaged_policies, parse_policy
from unlearnkit.compliance.requests.desk import Desk
from unlearnkit.errors import FormatError, PolicyError, RefusedError, UnknownNameError

TODAY = date(2025, 3, 5)


@pytest.fixture
def log(tmp_path, clock):
    return new_log(tmp_path / "log", clock)


@pytest.fixture
def desk(log):
    return desk_of(log)


def test_a_request_goes_from_receipt_to_fulfilment(desk, log):
    (request,) = desk.receive(["jane@example.com"], source="email", reference="TICKET-7")
    assert (request.id, request.state, request.received) == ("R1", "received", TODAY)
    assert request.respond == Due(date(2025, 4, 7), "GDPR Art. 12(3)")  # 5 April is a Saturday
    assert desk.acknowledge("R1").state == "acknowledged"
    assert desk.verify_identity("R1", method="account-login").state == "identity verified"
    extended = desk.extend("R1", reason="complexity")
    assert (extended.state, extended.respond) == ("extended", Due(date(2025, 6, 5), "GDPR Art. 12(3), extended"))
    assessed = desk.assess("R1", decision="fulfil", ground="art-17-1-b-consent-withdrawn", records=3, evidence=[DIGEST])
    assert assessed.state == "assessed"
    closed = desk.fulfil("R1", method="retrained", evidence=[DIGEST], records=3, notified=["processors"])
    assert (closed.state, closed.is_closed, closed.next_due) == ("fulfilled (attested)", True, None)
    last = json.loads(raw(log).splitlines()[-1])
    assert last["type"] == "request-fulfilled"
    assert last["body"] == {
        "by": "privacy-officer",
        "evidence": [DIGEST],
        "method": "retrained",
        "notified": ["processors"],
        "on": "2025-03-05",
        "records": 3,
        "request": "R1",
        "retain_until": "2028-03-05",
        "shown": "attestation",
    }


def test_no_name_and_no_number_of_a_person_is_in_the_log(desk, log):
    desk.receive(["jane@example.com", "Jürgen Groß"], source="email", reference="ACME-4711")
    written = b"".join(path.read_bytes() for path in log.path.rglob("*") if path.is_file())
    for word in ("jane", "example.com", "Jürgen", "Groß", "4711", "ACME"):
        assert word.encode() not in written
    found = desk.requests_of(subject=" jane@example.com ")
    assert [request.id for request in found] == ["R1"]
    assert [request.id for request in desk.requests_of(reference="ACME-4711")] == ["R1", "R2"]
    assert desk.requests_of(subject="jane@example.com", reference="other") == []


def test_ccpa_has_its_three_clocks(log):
    desk = desk_of(log, CCPA)
    (request,) = desk.receive(["jane"], source="web-form", on=date(2025, 1, 31))
    assert request.acknowledge == request.next_due == Due(date(2025, 2, 14), "11 CCR 7021(a)")
    assert request.respond == Due(date(2025, 3, 17), "11 CCR 7021(b)")
    assert desk.acknowledge("R1").next_due == Due(date(2025, 3, 17), "11 CCR 7021(b)")
    assert desk.extend("R1", reason="complexity").next_due == Due(date(2025, 5, 1), "11 CCR 7021(b), extended")


def test_an_extension_counts_from_receipt_and_comes_in_time(desk, clock):
    desk.receive(["jane", "joe"], source="letter", on=date(2025, 1, 31))
    assert desk.register().get("R1").respond.day == date(2025, 2, 28)
    assert desk.extend("R1", reason="complexity", on=date(2025, 2, 28)).respond.day == date(2025, 4, 30)
    expected = r"R2 cannot become extended: the time for that ended on 2025-02-28 \(GDPR Art. 12\(3\)\)"
    with pytest.raises(RefusedError, match=expected):
        desk.extend("R2", reason="complexity", on=date(2025, 3, 1))
    with pytest.raises(RefusedError, match="R1 cannot become extended: it is already"):
        desk.extend("R1", reason="complexity")


def test_a_second_request_of_the_same_person_is_linked_and_follows_the_first(desk):
    first, other, second = desk.receive(["jane", "joe", "jane "], source="email")
    assert (second.duplicate_of, second.state, second.next_due) == ("R1", "duplicate", None)
    assert first.duplicates == ("R3",)
    assert other.duplicates == ()
    with pytest.raises(RefusedError, match="R3 cannot become acknowledged: it is a duplicate of R1") as caught:
        desk.acknowledge("R3")
    assert caught.value.hint == "use R1"
    desk.withdraw("R1", reason="requested-by-person")
    assert desk.register().original(desk.register().get("R3")).is_closed
    (third,) = desk.receive(["jane"], source="email")
    assert (third.follows, third.duplicate_of, third.state) == ("R1", None, "received")


def test_an_extension_that_shortens_the_time_is_refused(log):
    text = packaged_policies()["gdpr"].replace(b"months = 3\n", b"days = 5\n")
    desk = desk_of(log, parse_policy(text, where="x"))
    desk.receive(["jane"], source="email")
    with pytest.raises(RefusedError, match="the new day 2025-03-10 is before the old one, 2025-04-07"):
        desk.extend("R1", reason="complexity")


def test_free_text_is_refused_everywhere(desk, log):
    desk.receive(["jane"], source="email")
    desk.verify_identity("R1", method="in-person")
    written, text = raw(log), "Jane moved to Rome"
    attempts = [
        lambda: desk.receive(["joe"], source=text),
        lambda: desk.extend("R1", reason=text),
        lambda: desk.assess("R1", decision="fulfil", ground=text),
        lambda: desk.refuse("R1", reason=text),
        lambda: desk.withdraw("R1", reason=text),
        lambda: desk.fulfil("R1", method="retrained", evidence=[DIGEST], notified=[text]),
    ]
    for attempt in attempts:
        with pytest.raises(PolicyError, match="does not list 'Jane moved to Rome' among its"):
            attempt()
    with pytest.raises(
        FormatError, match=r"evidence\[0\] must be 64 lower-case hexadecimal digits: got 'Jane moved to Rome'"
    ):
        desk.fulfil("R1", method="retrained", evidence=[text])
    with pytest.raises(FormatError, match="decision must be 'fulfil' or 'refuse': got 'Jane moved to Rome'"):
        desk.assess("R1", decision=text)
    with pytest.raises(ValueError, match="no way to fulfil a request: got 'refused'"):
        desk.fulfil("R1", method="refused", evidence=[DIGEST])
    with pytest.raises(RefusedError, match="R1 cannot become fulfilled without evidence"):
        desk.fulfil("R1", method="retrained", evidence=[])
    assert raw(log) == written


def test_an_empty_policy_refuses_every_command(log):
    head = b'schema = "unlearnkit/policy/v1"\nname = "nothing"\n'
    receipt = b'[deadlines.respond]\nrule = "r"\ndays = 9\n[words]\nactors = ["privacy-officer"]\nsources = ["email"]\n'
    only_receipt = parse_policy(head + receipt, where="x")
    desk = desk_of(log, only_receipt)
    desk.receive(["jane"], source="email")
    written = raw(log)
    free = {"acknowledge", "assign", "ask identity", "assess", "assess to refuse", "correct", "resume"}
    for name in STEPS.keys() - free:
        with pytest.raises(PolicyError, match="policy nothing"):
            STEPS[name](desk, "R1")
    empty = Desk(log, Policies(default=parse_policy(head, where="x")), actor="eve", timezone=UTC, key=KEY)
    with pytest.raises(PolicyError, match="policy nothing does not list 'eve' among its actors"):
        empty.receive(["joe"], source="email")
    timeless = parse_policy(head + receipt.partition(b"[words]")[2].join([b"[words]", b""]), where="x")
    with pytest.raises(PolicyError, match="policy nothing has no deadline 'respond'"):
        desk_of(log, timeless).receive(["joe"], source="email")
    silent = Desk(log, Policies(default=only_receipt), actor="eve", timezone=UTC, key=KEY)
    for step in STEPS.values():
        with pytest.raises(PolicyError, match="policy nothing does not list 'eve' among its actors"):
            step(silent, "R1")
    assert raw(log) == written


@pytest.mark.parametrize("name", ["", "   ", "x" * 1001, "a\0b", "a\nb", "\ud800"])
def test_a_name_that_cannot_be_one_is_refused_and_so_is_the_whole_batch(desk, log, name):
    written = raw(log)
    with pytest.raises(ValueError, match="a name must"):
        desk.receive(["jane", name], source="email")
    assert raw(log) == written


def test_days_are_those_of_the_place_and_never_in_the_future(log, clock):
    east = Desk(log, Policies(default=GDPR), actor="support", timezone=timezone(timedelta(hours=12)), key=KEY)
    clock.time = datetime(2025, 3, 5, 18, tzinfo=UTC)
    assert east.today == date(2025, 3, 6)
    assert east.receive(["jane"], source="email", on=date(2025, 3, 6))[0].received == date(2025, 3, 6)
    with pytest.raises(ValueError, match="a day in the future: got 2025-03-07, today is 2025-03-06"):
        east.receive(["joe"], source="email", on=date(2025, 3, 7))
    with pytest.raises(RefusedError, match="it was received on 2025-03-06, which is after 2025-03-05"):
        east.acknowledge("R1", on=date(2025, 3, 5))


def test_thousands_are_received_at_once_with_their_links(desk, log, monkeypatch):
    import os

    syncs, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (syncs.append(fd), real(fd)))
    requests = desk.receive([f"person-{n % 2900}" for n in range(3000)], source="web-form")
    assert len({request.id for request in requests}) == 3000
    assert sum(request.duplicate_of is not None for request in requests) == 100
    assert requests[2999].duplicate_of == requests[99].id
    assert len(syncs) < 5


def test_two_desks_see_what_the_other_has_recorded(log):
    one, two = desk_of(log), desk_of(log)
    one.receive(["jane"], source="email")
    assert two.receive(["jane"], source="email")[0].duplicate_of == "R1"
    two.acknowledge("R1")
    with pytest.raises(RefusedError, match="it is already"):
        one.acknowledge("R1")


@pytest.mark.parametrize("other", ["eve", "elizabeth"])
def test_what_another_process_took_back_is_forgotten(desk, log, other):
    desk_of(log).receive(["ann"], source="email")
    before = raw(log)
    desk_of(AuditLog.open(log.path, now=log.now)).receive(["bob"], source="email")
    assert list(desk.register().requests) == ["R1", "R2"]  # read before it was on disk, and then it did not get there
    (log.path / "log.jsonl").write_bytes(before)
    third = desk_of(AuditLog.open(log.path, now=log.now))
    third.receive([other], source="web-form" if other == "eve" else "email")
    assert [request.duplicate_of for request in desk.receive(["bob", other], source="email")] == [None, "R2"]
    assert desk.register().requests == desk_of(log).register().requests


def test_nothing_is_kept_of_a_call_whose_recording_failed(desk, log, monkeypatch):
    import os

    def failing(fd: int) -> None:
        raise OSError(28, "No space left on device")

    desk.receive(["jane"], source="email")
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="No space left on device: 0 of 2 entries recorded"):
        desk.receive(["joe", "jane"], source="email")
    monkeypatch.undo()
    assert list(desk.register().requests) == ["R1"]
    assert desk.receive(["joe"], source="email")[0].id == "R2"


def test_an_unknown_request_is_said_to_be_unknown(desk):
    with pytest.raises(UnknownNameError, match="no request 'R9': there are 0"):
        desk.acknowledge("R9")
    with pytest.raises(FormatError, match="request must be the id of a request, such as R17: got 'Jane'"):
        desk.acknowledge("Jane")
