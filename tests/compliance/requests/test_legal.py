"""Steps beside and after the answer: corrections, mistakes, appeals, recipients, and who works on a request."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from tests.compliance.requests.desks import DIGEST, Clock, desk_of, new_log, raw
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.compliance.requests.steps import Event
from unlearnkit.errors import PolicyError, RefusedError, VerificationError

STATES = Policy.load("us-states")
REASON = "art-17-3-e-legal-claims"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def log(tmp_path, clock):
    return new_log(tmp_path / "log", clock)


@pytest.fixture
def desk(log):
    return desk_of(log)


def test_a_receipt_is_corrected_and_what_is_due_follows_while_both_stay_recorded(desk):
    desk.receive(["ann"], source="email", on=date(2024, 3, 4))  # a year too early
    right = desk.correct_receipt("R1", received=date(2025, 3, 4), source="letter")
    assert (right.received, right.source, right.state) == (date(2025, 3, 4), "letter", "received")
    assert right.respond.day == date(2025, 4, 4)
    assert right.steps[0].on == date(2024, 3, 4)
    assert desk.acknowledge("R1", on=date(2025, 3, 4)).state == "acknowledged"
    with pytest.raises(RefusedError, match="it was acknowledged on 2025-03-04, before 2025-03-05"):
        desk.correct_receipt("R1", received=date(2025, 3, 5))
    with pytest.raises(RefusedError, match="nothing of it is other than it was"):
        desk.correct_receipt("R1", source="letter")
    with pytest.raises(PolicyError, match="does not list 'pigeon'"):
        desk.correct_receipt("R1", source="pigeon")
    with pytest.raises(ValueError, match="a day in the future"):
        desk.correct_receipt("R1", received=date(2025, 3, 6))


def test_what_was_recorded_by_mistake_takes_no_duplicate_with_it(log, desk):
    wrong, second, third = desk.receive(["ann", "ann", "ann"], source="email", on=date(2019, 10, 20))
    desk.withdraw(wrong.id, reason="recorded-by-mistake")
    found = desk.register().requests
    assert [found[name].duplicate_of for name in (wrong.id, second.id, third.id)] == [None, None, second.id]
    assert tuple(found[second.id].duplicates) == (third.id,)
    assert tuple(found[wrong.id].duplicates) == ()
    assert desk.acknowledge(second.id).state == "acknowledged"
    assert desk.receive(["ann"], source="email")[0].duplicate_of == second.id
    assert desk_of(log).register().requests == desk.register().requests


def test_what_the_person_withdraws_takes_all_of_theirs_with_it(desk):
    first, second = desk.receive(["ann", "ann"], source="email")
    desk.withdraw(first.id, reason="requested-by-person")
    assert desk.register().original(desk.register().get(second.id)).is_closed


def test_an_appeal_opens_what_was_answered_and_it_is_answered_anew(desk, clock):
    desk.receive(["ann"], source="email")
    desk.verify_identity("R1", method="in-person")
    desk.refuse("R1", reason=REASON)
    with pytest.raises(PolicyError, match="policy gdpr does not list 'appeal' among its appeals"):
        desk.appeal("R1", kind="appeal")
    again = desk.appeal("R1", kind="complaint-to-authority")
    assert (again.state, again.is_closed, again.next_due) == ("appealed", False, None)
    with pytest.raises(RefusedError, match="it was appealed with entry 4"):
        desk.extend("R1", reason="complexity")
    clock.time += timedelta(days=90)
    done = desk.fulfil("R1", method="retrained", evidence=[DIGEST])
    assert (done.state, done.is_closed, done.late) == ("fulfilled (attested)", True, None)  # no day was set for it
    assert [step.event for step in done.steps][2:] == [Event.REFUSED, Event.APPEALED, Event.FULFILLED]
    assert done.closed_with(before=4).event is Event.REFUSED
    assert done.closed_with(before=5) is None
    assert done.closed_with(before=6).event is Event.FULFILLED


def test_the_answer_to_an_appeal_is_put_off_once_for_each_appeal_and_in_time(log, clock):
    desk = desk_of(log, STATES)
    desk.receive(["ann"], source="email", jurisdiction="us-co")
    desk.refuse("R1", reason="security")
    desk.appeal("R1", kind="appeal")
    clock.time += timedelta(days=45)  # 19 April, its last day
    later = desk.extend("R1", reason="complexity")
    assert (later.state, later.next_due.day, later.next_due.rule) == (
        "appeal extended",
        date(2025, 6, 18),
        "C.R.S. 6-1-1306(3), extended",
    )
    assert later.respond == desk.register().get("R1").respond
    with pytest.raises(RefusedError, match="R1 cannot become appeal extended: it is already"):
        desk.extend("R1", reason="complexity")
    clock.time += timedelta(days=60)
    assert desk.refuse("R1", reason="security").late is None
    desk.appeal("R1", kind="appeal")
    assert desk.register().get("R1").next_due.day == date(2025, 8, 2)
    clock.time += timedelta(days=46)
    with pytest.raises(RefusedError, match=r"the time for that ended on 2025-08-02 \(C.R.S. 6-1-1306\(3\)\)"):
        desk.extend("R1", reason="complexity")
    assert desk.extend("R1", reason="complexity", on=date(2025, 8, 2)).next_due.day == date(2025, 10, 1)
    clock.time += timedelta(days=60)
    assert desk.refuse("R1", reason="security").late[1].day == date(2025, 10, 1)


def test_an_appeal_is_not_put_off_where_no_law_says_so_or_none_is_open(log):
    desk = desk_of(log, STATES)
    for state, name in (("us-va", "R1"), ("us-co", "R3")):
        desk.receive(["ann"], source="email", jurisdiction=state)
        desk.refuse(name, reason="security")
    desk.appeal("R1", kind="appeal")
    with pytest.raises(PolicyError, match="policy us-states has no deadline 'appeal_extended'"):
        desk.extend("R1", reason="complexity")
    desk.appeal("R3", kind="complaint-to-attorney-general")
    with pytest.raises(RefusedError, match="R3 cannot become extended: it was appealed with entry 6"):
        desk.extend("R3", reason="complexity")
    forged = {"request": "R3", "by": "support", "on": "2025-03-05", "reason": "complexity"}
    log.record("request-appeal-extended", {**forged, "respond": {"day": "2026-01-01", "rule": "none"}})
    with pytest.raises(VerificationError, match="no appeal is open that has to be answered by a day"):
        desk_of(log, STATES).register()


def test_what_was_withdrawn_is_not_appealed(desk):
    desk.receive(["ann"], source="email")
    desk.withdraw("R1", reason="requested-by-person")
    with pytest.raises(RefusedError, match="R1 cannot become appealed: it is withdrawn"):
        desk.appeal("R1", kind="complaint-to-authority")


def test_an_answer_after_its_day_is_late_whatever_comes_then(desk, clock):
    desk.receive(["ann"], source="email")
    clock.time += timedelta(days=40)
    late = desk.refuse("R1", reason=REASON)
    assert late.late is not None
    assert (late.late[0].on, late.late[1].day) == (date(2025, 4, 14), date(2025, 4, 7))
    assert desk.appeal("R1", kind="action-in-court").late == late.late


def test_recipients_are_told_and_confirm_each_once_also_after_the_answer(desk):
    desk.receive(["ann"], source="email")
    desk.verify_identity("R1", method="in-person")
    with pytest.raises(RefusedError, match="processors were not told"):
        desk.confirm("R1", recipient="processors")
    done = desk.fulfil("R1", method="retrained", evidence=[DIGEST], notified=["processors"])
    assert done.unconfirmed == ("processors",)
    with pytest.raises(RefusedError, match="processors were told already"):
        desk.notify("R1", recipient="processors")
    assert desk.notify("R1", recipient="joint-controllers").unconfirmed == ("processors", "joint-controllers")
    told = desk.confirm("R1", recipient="processors")
    assert (told.unconfirmed, told.state, told.is_closed) == (("joint-controllers",), "fulfilled (attested)", True)
    with pytest.raises(RefusedError, match="processors have confirmed already"):
        desk.confirm("R1", recipient="processors")


def test_a_part_that_is_kept_needs_a_reason_of_the_policy(desk, log):
    desk.receive(["ann"], source="email")
    desk.verify_identity("R1", method="in-person")
    with pytest.raises(PolicyError, match="does not list 'because' among its refusal_reasons"):
        desk.fulfil("R1", method="retrained", evidence=[DIGEST], refused="because")
    done = desk.fulfil("R1", method="retrained", evidence=[DIGEST], refused=REASON)
    assert done.state == "fulfilled in part (attested)"
    assert b'"refused":"art-17-3-e-legal-claims"' in raw(log)


def test_who_works_on_it_is_an_actor_and_changes_nothing_else(desk):
    desk.receive(["ann"], source="email")
    desk.acknowledge("R1")
    mine = desk.assign("R1", to="support")
    assert (mine.assignee, mine.state) == ("support", "acknowledged")
    assert desk.assign("R1", to="engineer").assignee == "engineer"
    with pytest.raises(PolicyError, match="does not list 'eve' among its actors"):
        desk.assign("R1", to="eve")


def test_while_the_clock_stands_still_nothing_is_decided(desk):
    desk.receive(["ann"], source="email")
    desk.verify_identity("R1", method="in-person")
    desk.pause("R1", reason="identity-in-doubt")
    for attempt in (
        lambda: desk.extend("R1", reason="complexity"),
        lambda: desk.refuse("R1", reason=REASON),
        lambda: desk.fulfil("R1", method="retrained", evidence=[DIGEST]),
        lambda: desk.pause("R1", reason="identity-in-doubt"),
    ):
        with pytest.raises(RefusedError, match=r"R1 cannot become .*: it is paused") as caught:
            attempt()
        assert caught.value.hint == "`unlearnkit requests resume`"
    assert desk.resume_clock("R1").next_due == desk.register().get("R1").respond


def test_steps_together_are_decided_under_one_lock_and_a_refused_one_is_left_out(desk, log, monkeypatch):
    import os

    names = [request.id for request in desk.receive([f"person-{n}" for n in range(20)], source="email")]
    desk.acknowledge(names[3])
    syncs, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (syncs.append(fd), real(fd)))
    refused = []
    with desk.together():
        for name in names:
            try:
                desk.acknowledge(name)
            except RefusedError:
                refused.append(name)
    assert (refused, len(syncs)) == ([names[3]], 1)
    assert desk_of(log).register().requests == desk.register().requests
    assert all(item.state == "acknowledged" for item in desk.register().requests.values())


def test_nothing_of_a_block_is_recorded_that_was_left_by_an_error(desk, log):
    desk.receive(["ann"], source="email")
    written = raw(log)

    def interrupted() -> None:
        with desk.together():
            desk.acknowledge("R1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert raw(log) == written
    assert desk.register().get("R1").state == "received"
