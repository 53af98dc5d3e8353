"""The state machine, and the desk that drives it: whatever is not legal is refused, and leaves no trace."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unlearnkit.bundle.pseudonym import PseudonymKey
from unlearnkit.compliance.deadlines import Due
from unlearnkit.compliance.desk import Desk, fingerprint
from unlearnkit.compliance.erasure import destroy_key
from unlearnkit.compliance.log import AuditLog
from unlearnkit.compliance.policy import Policy, packaged_policies, parse_policy
from unlearnkit.compliance.requests import KEY_CREATED, Register
from unlearnkit.compliance.steps import Event
from unlearnkit.errors import (
    FormatError,
    PolicyError,
    RefusedError,
    UnknownNameError,
    UnlearnkitError,
    VerificationError,
)

KEY = PseudonymKey(bytes(32))
DIGEST = "ab" * 32
TODAY = date(2025, 3, 5)
RESEARCH, GDPR, CCPA = (Policy.load(name) for name in ("research", "gdpr", "ccpa"))


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.time = datetime(2025, 3, 5, 9, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def log(tmp_path, clock):
    log = AuditLog.create(tmp_path / "log", now=clock)
    log.record(KEY_CREATED, {"key": fingerprint(KEY)})
    return log


def desk_of(log: AuditLog, policy: Policy = GDPR, key: PseudonymKey | None = KEY) -> Desk:
    return Desk(log, policy, actor=policy.words.actors[0], timezone=UTC, key=key)


@pytest.fixture
def desk(log):
    return desk_of(log)


def raw(log: AuditLog) -> bytes:
    return (log.path / "log.jsonl").read_bytes()


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
    assert (closed.state, closed.is_closed, closed.next_due) == ("fulfilled", True, None)
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


ILLEGAL = [
    ([], "acknowledge", None),
    (["acknowledge"], "acknowledge", "it is already"),
    (["verify"], "verify", "it is already"),
    ([], "fulfil", "the identity has not been verified"),
    ([], "assess", "the identity has not been verified"),
    (["verify"], "fulfil", None),
    ([], "refuse", None),
    (["refuse"], "acknowledge", "it is refused"),
    (["verify", "fulfil"], "withdraw", "it is fulfilled"),
    (["withdraw"], "extend", "it is withdrawn"),
    (["verify", "assess"], "refuse", "decided to fulfil"),
    (["verify", "assess to refuse"], "fulfil", "decided to refuse"),
    (["verify", "assess to refuse", "assess"], "fulfil", None),
]
STEPS = {
    "acknowledge": lambda desk, name: desk.acknowledge(name),
    "verify": lambda desk, name: desk.verify_identity(name, method="in-person"),
    "extend": lambda desk, name: desk.extend(name, reason="complexity"),
    "assess": lambda desk, name: desk.assess(name, decision="fulfil"),
    "assess to refuse": lambda desk, name: desk.assess(name, decision="refuse"),
    "refuse": lambda desk, name: desk.refuse(name, reason="no-data-held"),
    "fulfil": lambda desk, name: desk.fulfil(name, method="negligible-effect", evidence=[DIGEST]),
    "withdraw": lambda desk, name: desk.withdraw(name, reason="recorded-by-mistake"),
}


@pytest.mark.parametrize(("before", "step", "reason"), ILLEGAL)
def test_what_is_not_legal_is_refused_with_the_reason(desk, log, before, step, reason):
    desk.receive(["jane"], source="email")
    for name in before:
        STEPS[name](desk, "R1")
    if reason is None:
        STEPS[step](desk, "R1")
        return
    written = raw(log)
    with pytest.raises(RefusedError, match=f"R1 cannot become .*{reason}"):
        STEPS[step](desk, "R1")
    assert raw(log) == written


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
    with pytest.raises(FormatError, match="evidence has a wrong form: got 'Jane moved to Rome'"):
        desk.fulfil("R1", method="retrained", evidence=[text])
    with pytest.raises(FormatError, match="decision has a wrong form"):
        desk.assess("R1", decision=text)
    with pytest.raises(ValueError, match="no way to fulfil a request: got 'refused'"):
        desk.fulfil("R1", method="refused", evidence=[DIGEST])
    with pytest.raises(RefusedError, match="R1 cannot become fulfilled without evidence"):
        desk.fulfil("R1", method="retrained", evidence=[])
    assert raw(log) == written


def test_an_empty_policy_refuses_every_command(log):
    empty = parse_policy(b'schema = "unlearnkit/policy/v1"\nname = "nothing"\n', where="x")
    desk_of(log).receive(["jane"], source="email")
    desk = Desk(log, empty, actor="privacy-officer", timezone=UTC, key=KEY)
    written = raw(log)
    for name, step in STEPS.items():
        if "assess" not in name:
            with pytest.raises(PolicyError, match="policy nothing"):
                step(desk, "R1")
    with pytest.raises(PolicyError, match="policy nothing"):
        desk.assess("R1", decision="fulfil")
    with pytest.raises(PolicyError, match="policy nothing has no deadline 'respond'"):
        desk.receive(["joe"], source="email")
    assert raw(log) == written


@pytest.mark.parametrize("name", ["", "   ", "x" * 1001, "a\0b", "a\nb", "\ud800"])
def test_a_name_that_cannot_be_one_is_refused_and_so_is_the_whole_batch(desk, log, name):
    written = raw(log)
    with pytest.raises(ValueError, match="a name must"):
        desk.receive(["jane", name], source="email")
    assert raw(log) == written


def test_days_are_those_of_the_place_and_never_in_the_future(log, clock):
    east = Desk(log, GDPR, actor="support", timezone=timezone(timedelta(hours=12)), key=KEY)
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
    with pytest.raises(OSError, match="No space left on device: 0 of 2 entries were recorded"):
        desk.receive(["joe", "jane"], source="email")
    monkeypatch.undo()
    assert list(desk.register().requests) == ["R1"]
    assert desk.receive(["joe"], source="email")[0].id == "R2"


def test_an_unknown_request_is_said_to_be_unknown(desk):
    with pytest.raises(UnknownNameError, match="no request 'R9': there are 0"):
        desk.acknowledge("R9")
    with pytest.raises(FormatError, match="request has a wrong form: got 'Jane'"):
        desk.acknowledge("Jane")


# -- what others may have written


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        ("request-acknowledged", {"request": "R1", "by": "support", "on": "2025-03-04"}, "entry 2 is not a legal step"),
        ("request-acknowledged", {"request": "R7", "by": "support", "on": "2025-03-05"}, "no request 'R7'"),
        ("request-acknowledged", {"request": "R1", "by": "Jane Doe", "on": "2025-03-05"}, "by has a wrong form"),
        ("request-acknowledged", {"request": "R1", "by": "support"}, "lacks 'on'"),
        ("request-acknowledged", {"request": "R1", "by": "support", "on": "x"}, "on is not a day"),
        ("request-forgotten", {"request": "R1"}, "entry 2 is of an unknown type: got 'request-forgotten'"),
        ("pseudonym-key-created", {"key": "0" * 16}, "there was a pseudonym key already"),
        ("pseudonym-key-destroyed", {"key": "0" * 16}, "the pseudonym key in force is"),
        ("pseudonym-key-destroyed", {"key": "x"}, "key must be 16 hexadecimal digits"),
    ],
)
def test_a_log_with_an_illegal_step_derives_no_state(desk, log, kind, body, message):
    desk.receive(["jane"], source="email")
    log.record(kind, body)
    with pytest.raises((VerificationError, FormatError), match=message):
        desk_of(log).register()


def test_a_hidden_duplicate_is_an_illegal_step(desk, log):
    desk.receive(["jane"], source="email")
    desk.receive(["jane"], source="email")
    body = json.loads(raw(log).splitlines()[2])["body"]
    assert body.pop("duplicate_of") == "R1"
    log.record("request-received", body)
    with pytest.raises(VerificationError, match="entry 3 must be linked to the other requests of its subject"):
        desk_of(log).register()


def test_other_entries_are_let_by(desk, log):
    log.record("certificate-issued", {"anything": ["goes"]})
    assert desk.receive(["jane"], source="email")[0].id == "R2"


# -- the key


def test_a_key_that_is_not_the_one_in_force_records_nothing(log):
    with pytest.raises(RefusedError, match="requests cannot be recorded under pseudonym key"):
        desk_of(log, key=PseudonymKey(bytes([1] * 32))).receive(["jane"], source="email")
    with pytest.raises(UnknownNameError, match="the pseudonym key is missing"):
        desk_of(log, key=None).receive(["jane"], source="email")


@pytest.fixture
def key_file(tmp_path) -> Path:
    KEY.save(tmp_path / "pseudonym.key")
    return tmp_path / "pseudonym.key"


def test_destroying_the_key_is_recorded_and_makes_the_log_unlinkable(desk, log, key_file):
    desk.receive(["jane"], source="email")
    with pytest.raises(RefusedError, match="1 requests are open, first R1: their people could not be told"):
        destroy_key(desk, key_file)
    desk.withdraw("R1", reason="requested-by-person")
    assert destroy_key(desk, key_file) == 3
    assert not key_file.exists()
    assert json.loads(raw(log).splitlines()[3])["body"] == {"key": fingerprint(KEY)}
    left = desk_of(log, key=None)
    for asking in (lambda: left.receive(["joe"], source="email"), lambda: left.requests_of(subject="jane")):
        with pytest.raises(RefusedError, match="the pseudonym key was destroyed, as entry 3 of the log says"):
            asking()
    with pytest.raises(RefusedError, match="it was destroyed with entry 3"):
        desk_of(log).receive(["joe"], source="email")  # also with a copy of the key that somebody kept
    assert left.register().get("R1").state == "withdrawn"


def test_an_interrupted_destruction_is_finished_and_recorded_once(desk, log, key_file, monkeypatch):
    def interrupted(self: Path, **_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", interrupted)
        with pytest.raises(KeyboardInterrupt):
            destroy_key(desk, key_file)
    assert key_file.read_bytes() == bytes(65)  # overwritten already
    assert destroy_key(desk_of(log, key=None), key_file) == 1
    assert not key_file.exists()
    with pytest.raises(RefusedError, match="is destroyed already: entry 1 of the log says so"):
        destroy_key(desk_of(log, key=None), key_file)
    assert [entry.type for entry in log.entries()] == ["pseudonym-key-created", "pseudonym-key-destroyed"]


# -- the law of it: refused without a trace, or derived again after reopening

NAMES = st.sampled_from(["ann", "bob", "eve"])
COMMANDS = st.one_of(
    st.tuples(st.just("receive"), st.lists(NAMES, min_size=1, max_size=3), st.integers(0, 40)),
    st.tuples(st.sampled_from(list(STEPS)), st.integers(0, 8), st.just(0)),
    st.tuples(st.just("wait"), st.integers(1, 40), st.just(0)),
)


def outcome_of(desk: Desk, clock: Clock, command: tuple) -> str:
    name, what, ago = command
    if name == "wait":
        clock.time += timedelta(days=what)
    elif name == "receive":
        desk.receive(what, source="email", on=desk.today - timedelta(days=ago))
    else:
        STEPS[name](desk, f"R{what}")
    return name


def derived(log: AuditLog) -> dict:
    return desk_of(AuditLog.open(log.path)).register().requests


class Model:
    """The rules once more, in another way: for each open original, the set of what has happened to it."""

    def __init__(self) -> None:
        self.happened: dict[str, list[str]] = {}
        self.extendable_until: dict[str, date] = {}

    def allows(self, name: str, step: str, today: date) -> bool:
        steps = self.happened.get(name)
        if steps is None or {"refuse", "fulfil", "withdraw"} & set(steps):
            return False
        decisions = [item for item in steps if item.startswith("assess")]
        return {
            "acknowledge": "acknowledge" not in steps,
            "verify": "verify" not in steps,
            "extend": "extend" not in steps and today <= self.extendable_until[name],
            "assess": "verify" in steps,
            "assess to refuse": "verify" in steps,
            "refuse": not decisions or decisions[-1] == "assess to refuse",
            "fulfil": "verify" in steps and (not decisions or decisions[-1] == "assess"),
            "withdraw": True,
        }[step]


@given(commands=st.lists(COMMANDS, max_size=25))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_sequence_of_commands_is_refused_or_derived_again_after_reopening(tmp_path_factory, commands):
    clock, model = Clock(), Model()
    log = AuditLog.create(tmp_path_factory.mktemp("law") / "log", now=clock)
    log.record(KEY_CREATED, {"key": fingerprint(KEY)})
    desk = desk_of(log)
    for command in commands:
        written, before = raw(log), dict(desk.register().requests)
        name, what, _ = command
        try:
            outcome_of(desk, clock, command)
        except UnlearnkitError:
            assert (raw(log), desk.register().requests) == (written, before)
            assert name in STEPS
            assert not model.allows(f"R{what}", name, desk.today)
        else:
            assert name not in STEPS or model.allows(f"R{what}", name, desk.today)
            if name in STEPS:
                model.happened[f"R{what}"].append(name)
        for request in desk.register().requests.values():
            if request.id not in before and not request.duplicate_of:
                model.happened[request.id] = []
                model.extendable_until[request.id] = request.respond.day
        assert derived(log) == desk.register().requests


def test_every_kind_of_step_is_covered_by_the_law():
    assert len(STEPS) == len(Event)  # all but receipt, and assessments of both kinds
    assert Register().requests == {}
