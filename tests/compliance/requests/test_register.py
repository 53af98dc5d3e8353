"""The state machine: whatever is not legal is refused, also when it stands in the log already."""

from __future__ import annotations

import json
from datetime import date, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.compliance.requests.desks import DIGEST, STEPS, Clock, desk_of, new_log, raw
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.requests.desk import Desk
from unlearnkit.compliance.requests.legal import RULES
from unlearnkit.compliance.requests.register import Register
from unlearnkit.compliance.requests.steps import Event
from unlearnkit.errors import FormatError, RefusedError, UnlearnkitError, VerificationError


@pytest.fixture
def log(tmp_path, clock):
    return new_log(tmp_path / "log", clock)


@pytest.fixture
def desk(log):
    return desk_of(log)


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


# -- what others may have written


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        ("request-acknowledged", {"request": "R1", "by": "support", "on": "2025-03-04"}, "entry 2 is not a legal step"),
        ("request-acknowledged", {"request": "R7", "by": "support", "on": "2025-03-05"}, "no request 'R7'"),
        (
            "request-acknowledged",
            {"request": "R1", "by": "Jane Doe", "on": "2025-03-05"},
            "by must be a word of lower-case letters, .*: got 'Jane Doe'",
        ),
        ("request-acknowledged", {"request": "R1", "by": "support"}, "lacks 'on'"),
        (
            "request-acknowledged",
            {"request": "R1", "by": "support", "on": "x"},
            "on must be a day, YYYY-MM-DD: got 'x'",
        ),
        ("request-forgotten", {"request": "R1"}, "entry 2 is of an unknown type: got 'request-forgotten'"),
        (
            "pseudonym-key-created",
            {"key": "0" * 16, "names": "unlearnkit/names/v1"},
            "there was a pseudonym key already",
        ),
        ("pseudonym-key-destroyed", {"key": "0" * 16}, "the pseudonym key in force is"),
        ("pseudonym-key-destroyed", {"key": "x"}, "key must be 16 lower-case hexadecimal digits: got 'x'"),
    ],
)
def test_a_log_with_an_illegal_step_derives_no_state(desk, log, kind, body, message):
    desk.receive(["jane"], source="email")
    log.record(kind, body)
    with pytest.raises((VerificationError, FormatError), match=message):
        desk_of(log).register()


def test_a_receipt_in_the_future_is_an_illegal_step(desk, log, clock):
    """What day it is depends on the place: where days begin first it is tomorrow already."""
    clock.time += timedelta(hours=1, minutes=30)
    desk.receive(["jane"], source="email")
    body = json.loads(raw(log).splitlines()[1])["body"]
    del body["subject"]
    for number, (day, message) in enumerate([("2025-03-06", ""), ("2025-03-07", "received on a day in the future")]):
        log.record("request-received", {**body, "received": day, "subject": f"{number}" * 64})
        if message:
            with pytest.raises(VerificationError, match=f"{message}: got {day}, recorded 2025-03-05T10:30:00Z"):
                desk_of(log).register()
        else:
            assert len(desk_of(log).register().requests) == 2


@pytest.mark.parametrize("step", ["fulfil", "refuse", "withdraw"])
def test_nothing_is_closed_before_what_happened_to_it(desk, step):
    desk.receive(["jane"], source="email", on=date(2025, 3, 1))
    desk.verify_identity("R1", method="in-person", on=date(2025, 3, 4))
    how = {
        "fulfil": {"method": "retrained", "evidence": [DIGEST]},
        "refuse": {"reason": "art-17-3-c-public-health"},
        "withdraw": {"reason": "recorded-by-mistake"},
    }[step]
    for day, reason in ((3, "it was identity verified on 2025-03-04, which is after 2025-03-03"), (0, "received on")):
        on = date(2025, 3, day) if day else date(2025, 2, 28)
        with pytest.raises(RefusedError, match=reason):
            getattr(desk, step)("R1", on=on, **how)
    assert getattr(desk, step)("R1", on=date(2025, 3, 4), **how).is_closed


def test_what_is_recorded_late_happened_when_it_did(desk):
    """A confirmation that was sent before the identity was verified, and written down after it."""
    desk.receive(["jane"], source="email", on=date(2025, 3, 1))
    desk.verify_identity("R1", method="in-person", on=date(2025, 3, 4))
    assert desk.acknowledge("R1", on=date(2025, 3, 2)).state == "acknowledged"
    with pytest.raises(RefusedError, match="it was identity verified on 2025-03-04, which is after 2025-03-03"):
        desk.assess("R1", decision="fulfil", on=date(2025, 3, 3))
    desk.assess("R1", decision="fulfil")
    with pytest.raises(RefusedError, match="it was assessed on 2025-03-05, which is after 2025-03-04"):
        desk.assess("R1", decision="refuse", on=date(2025, 3, 4))


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
    """The rules once more, in another way: for each open original, the list of what has happened to it."""

    def __init__(self) -> None:
        self.happened: dict[str, list[str]] = {}
        self.until: dict[str, date] = {}

    def allows(self, name: str, step: str, today: date) -> bool:
        steps = self.happened.get(name)
        if steps is None:
            return False
        turns = [item for item in steps if item in ("refuse", "fulfil", "withdraw", "appeal")]
        end = turns[-1] if turns and turns[-1] != "appeal" else None
        if end is not None:
            told = end == "fulfil" and step in ("tell", "confirm") and self.recipient(steps, step)
            return told or (step == "appeal" and end != "withdraw")
        clock = [item for item in steps if item in ("pause", "resume")]
        stands = bool(clock) and clock[-1] == "pause"
        running = {"correct", "pause", "extend", "assess", "assess to refuse", "refuse", "fulfil"}
        if step in ("appeal", "pause" if stands else "resume") or (stands and step in running):
            return False
        return self.open_allows(steps, step, in_time=today <= self.until[name])

    def open_allows(self, steps: list[str], step: str, *, in_time: bool) -> bool:
        decisions = [item for item in steps if item.startswith("assess")]
        known, fresh = "verify" in steps, "appeal" not in steps
        return {
            "acknowledge": "acknowledge" not in steps,
            "assign": True,
            "correct": fresh,
            "ask identity": not known,
            "fail identity": not known,
            "verify": not known,
            "pause": in_time and fresh,
            "resume": True,
            "extend": "extend" not in steps and in_time and fresh,
            "assess": known,
            "assess to refuse": known,
            "refuse": not decisions or decisions[-1] == "assess to refuse",
            "fulfil": known and (not decisions or decisions[-1] == "assess"),
            "withdraw": True,
            "tell": self.recipient(steps, "tell"),
            "confirm": self.recipient(steps, "confirm"),
        }[step]

    @staticmethod
    def recipient(steps: list[str], step: str) -> bool:
        return step not in steps and (step == "tell" or "tell" in steps)


@given(commands=st.lists(COMMANDS, max_size=25))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_sequence_of_commands_is_refused_or_derived_again_after_reopening(tmp_path_factory, commands):
    clock, model = Clock(), Model()
    log = new_log(tmp_path_factory.mktemp("law") / "log", clock)
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
                model.until[f"R{what}"] = desk.register().get(f"R{what}").respond.day
        for request in desk.register().requests.values():
            if request.id not in before and not request.duplicate_of:
                model.happened[request.id] = []
                model.until[request.id] = request.respond.day
        assert derived(log) == desk.register().requests


def test_every_kind_of_step_is_covered_by_the_law():
    # all but the receipt, with assessments of both kinds; to extend is one command for an answer and for an appeal
    assert len(STEPS) + 1 == len(Event)
    assert {*RULES, Event.RECEIVED} == set(Event)
    assert Register().requests == {}
