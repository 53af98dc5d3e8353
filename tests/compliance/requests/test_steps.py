"""What an entry about a request may say: nothing that is not a day, a number, a digest or a word."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearnkit.compliance.policy.deadlines import Due
from unlearnkit.compliance.requests.steps import Event, parse_body
from unlearnkit.errors import FormatError
from unlearnkit.records import to_json

DIGEST = "ab" * 32
STEP = {"request": "R1", "by": "support", "on": "2025-03-05"}
CLOSED = {**STEP, "retain_until": "2028-03-05"}
DUE = {"day": "2025-04-07", "rule": "GDPR Art. 12(3)"}
BODIES = {
    Event.RECEIVED: {
        "subject": DIGEST,
        "key": "0123456789abcdef",
        "nature": "erasure",
        "source": "email",
        "received": "2025-03-05",
        "by": "support",
        "policy": "gdpr",
        "policy_digest": DIGEST,
        "respond": DUE,
        "acknowledge": DUE,
        "reference": DIGEST,
        "jurisdiction": "eu",
        "duplicate_of": "R1",
        "follows": "R0",
    },
    Event.ACKNOWLEDGED: STEP,
    Event.IDENTITY_VERIFIED: {**STEP, "method": "in-person"},
    Event.EXTENDED: {**STEP, "reason": "complexity", "respond": DUE},
    Event.ASSESSED: {**STEP, "decision": "fulfil", "ground": "objection", "records": 3, "evidence": [DIGEST]},
    Event.REFUSED: {**CLOSED, "reason": "no-data-held", "evidence": []},
    Event.FULFILLED: {
        **CLOSED,
        "method": "retrained",
        "shown": "certificate",
        "evidence": [DIGEST],
        "records": 0,
        "notified": ["processors"],
        "refused": "legal-claims",
    },
    Event.ASSIGNED: {**STEP, "to": "support"},
    Event.CORRECTED: {**STEP, "received": "2025-03-04", "source": "email", "respond": DUE, "acknowledge": DUE},
    Event.IDENTITY_ASKED: STEP,
    Event.IDENTITY_FAILED: {**STEP, "method": "in-person"},
    Event.PAUSED: {**STEP, "reason": "identity-in-doubt"},
    Event.RESUMED: {**STEP, "respond": DUE},
    Event.APPEALED: {**STEP, "kind": "appeal", "respond": DUE},
    Event.APPEAL_EXTENDED: {**STEP, "reason": "complexity", "respond": DUE},
    Event.RECIPIENT_TOLD: {**STEP, "recipient": "processors"},
    Event.RECIPIENT_CONFIRMED: {**STEP, "recipient": "processors"},
    Event.WITHDRAWN: {**CLOSED, "reason": "by-mistake"},
}
OPTIONAL = {
    "refused",
    "acknowledge",
    "reference",
    "jurisdiction",
    "duplicate_of",
    "follows",
    "ground",
    "records",
    "notified",
}


def test_each_kind_of_entry_reads_as_what_it_says():
    assert set(BODIES) == set(Event)
    read = {event: parse_body(event, body, where="x") for event, body in BODIES.items()}
    assert read[Event.EXTENDED].respond == Due(date(2025, 4, 7), "GDPR Art. 12(3)")
    assert read[Event.FULFILLED].on == date(2025, 3, 5)
    assert read[Event.FULFILLED].evidence == (DIGEST,)
    assert {event: to_json(body) for event, body in read.items()} == BODIES


@pytest.mark.parametrize("event", list(Event))
def test_free_text_fits_no_member(event):
    for name in BODIES[event]:
        for text in ("Jane moved to Rome", "jane@example.com", "+39 06 1234567", "1971-02-30", "", ["Jane Doe"]):
            if BODIES[event][name] == text:
                continue
            with pytest.raises(FormatError, match=rf"x: {name}(\[0\]|\.day)? must be|x: {name}: not a day"):
                parse_body(event, {**BODIES[event], name: text}, where="x")


@pytest.mark.parametrize("event", list(Event))
def test_no_member_is_missing_unknown_or_of_another_kind(event):
    optional = OPTIONAL | ({"respond"} if event is Event.APPEALED else set())
    for name in set(BODIES[event]) - optional - {"evidence"}:
        with pytest.raises(FormatError, match=f"x lacks '{name}'"):
            parse_body(event, {key: value for key, value in BODIES[event].items() if key != name}, where="x")
    with pytest.raises(FormatError, match="x has unknown fields: got 'comment'"):
        parse_body(event, {**BODIES[event], "comment": "in-person"}, where="x")
    for name in BODIES[event]:
        for value in (-1, {"Jane": "Doe"}, True, 1.5, None):
            with pytest.raises(FormatError, match=rf"x: {name}(\[0\])? (must be|lacks)"):
                parse_body(event, {**BODIES[event], name: value}, where="x")


def test_a_fulfilment_has_evidence():
    with pytest.raises(FormatError, match="x: evidence must be an array of at least 1"):
        parse_body(Event.FULFILLED, {**BODIES[Event.FULFILLED], "evidence": []}, where="x")


@given(text=st.text(min_size=1, max_size=30))
def test_whatever_looks_like_a_word_is_harmless_to_print(text):
    try:
        parse_body(Event.ACKNOWLEDGED, {**STEP, "by": text}, where="x")
    except FormatError:
        return
    assert text.isascii()
    assert text.replace("-", "a").isalnum()
    assert text[0].isalpha()
