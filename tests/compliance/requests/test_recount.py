"""Days counted again from the policy: whatever else an entry states is found, and lateness follows from the policy."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from tests.compliance.requests.desks import GDPR, Clock, desk_of, new_log
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.compliance.requests.recount import recount

STATES, CCPA = Policy.load("us-states"), Policy.load("ccpa")
BY = {"by": "privacy-officer", "on": "2025-03-05"}


@pytest.fixture
def log(tmp_path):
    return new_log(tmp_path / "log", Clock())


def lived(log: AuditLog, policy: Policy, jurisdiction: str | None, steps) -> None:
    """R1, received on 4 March 2025, and the steps, each a type and the members that only it has."""
    desk = desk_of(log, policy)
    desk.receive(["ann"], source="email", on=date(2025, 3, 4), jurisdiction=jurisdiction)
    for kind, members in steps:
        log.record(f"request-{kind}", {"request": "R1", **BY, **members})


def due(day: str, rule: str) -> dict:
    return {"respond": {"day": day, "rule": rule}}


GIVEN = "GDPR Art. 12(3)"
LONGER = "GDPR Art. 12(3), extended"
FORGED = {
    "extended": (GDPR, None, [("extended", {"reason": "complexity", **due("2025-07-04", LONGER)})]),
    "rule": (GDPR, None, [("extended", {"reason": "complexity", **due("2025-06-04", GIVEN)})]),
    "resumed": (
        GDPR,
        None,
        [("paused", {"reason": "identity-in-doubt"}), ("resumed", due("2025-04-05", GIVEN))],
    ),
    "corrected": (
        GDPR,
        None,
        [("corrected", {"received": "2025-03-03", "source": "email", **due("2025-04-04", GIVEN)})],
    ),
    "appealed": (
        STATES,
        "us-va",
        [
            ("refused", {"reason": "security", "retain_until": "2027-03-05"}),
            ("appealed", {"kind": "appeal", **due("2026-05-04", "Code of Virginia 59.1-577(C)")}),
        ],
    ),
    "appeal never due": (
        STATES,
        "us-va",
        [("refused", {"reason": "security", "retain_until": "2027-03-05"}), ("appealed", {"kind": "appeal"})],
    ),
    "appeal extended": (
        STATES,
        "us-va",
        [
            ("refused", {"reason": "security", "retain_until": "2027-03-05"}),
            ("appealed", {"kind": "appeal", **due("2025-05-04", "Code of Virginia 59.1-577(C)")}),
            ("appeal-extended", {"reason": "complexity", **due("2025-07-04", "Code of Virginia 59.1-577(C)")}),
        ],
    ),
}
SAYS = {
    "extended": "(extended) on 2025-07-04 by GDPR Art. 12(3), extended, which the policy gdpr puts on 2025-06-04 by",
    "rule": "(extended) on 2025-06-04 by GDPR Art. 12(3), which the policy gdpr puts on 2025-06-04 by GDPR Art",
    "resumed": "(respond) on 2025-04-05 by GDPR Art. 12(3), which the policy gdpr puts on 2025-04-04 by",
    "corrected": "(respond) on 2025-04-04 by GDPR Art. 12(3), which the policy gdpr puts on 2025-04-03 by",
    "appealed": "(appeal) on 2026-05-04 by Code of Virginia 59.1-577(C), which the policy us-states puts on 2025-05-04",
    "appeal never due": "(appeal) never, which the policy us-states puts on 2025-05-04 by Code of Virginia 59.1-577(C)",
    "appeal extended": "(appeal_extended) on 2025-07-04 by Code of Virginia 59.1-577(C), which the policy us-"
    "states puts never",
}


@pytest.mark.parametrize("name", SAYS)
def test_a_day_that_the_policy_does_not_give_is_a_difference(log, name):
    policy, jurisdiction, steps = FORGED[name]
    lived(log, policy, jurisdiction, steps)
    (found,) = recount(desk_of(log, policy).register().get("R1"), policy).differences
    assert f"entry {1 + len(steps)} says that request R1 is due {SAYS[name]}" in str(found)


def test_what_the_desk_records_counts_to_the_same(log):
    desk = desk_of(log)
    desk.receive(["ann"], source="email", on=date(2025, 3, 3))
    desk.correct_receipt("R1", received=date(2025, 3, 4))
    desk.acknowledge("R1")
    desk.pause("R1", reason="identity-in-doubt")
    desk.resume_clock("R1")
    desk.extend("R1", reason="complexity")
    desk.refuse("R1", reason="art-17-1-no-ground")
    desk.appeal("R1", kind="action-in-court")
    request = desk.register().get("R1")
    found = recount(request, GDPR)
    assert found.differences == ()
    assert found.request == request


def test_whether_an_answer_was_late_follows_from_the_policy(tmp_path):
    clock = Clock()
    log = new_log(tmp_path / "log", clock)
    lived(log, GDPR, None, [("corrected", {"received": "2025-03-03", "source": "email", **due("2025-09-03", GIVEN)})])
    desk = desk_of(log)
    clock.time += timedelta(days=60)
    desk.refuse("R1", reason="art-17-1-no-ground")
    request = desk.register().get("R1")
    assert request.late is None  # by the day that somebody wrote
    step, day = recount(request, GDPR).request.late
    assert (step.on, day.day) == (date(2025, 5, 4), date(2025, 4, 3))
