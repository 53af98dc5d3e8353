"""Tables and documents of other systems: read whole, or refused by row; never guessed."""

from __future__ import annotations

import json
from datetime import UTC, date
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.compliance.requests.desks import GDPR, KEY, desk_of, new_log
from unlearnkit.compliance.policy.policies import Policies
from unlearnkit.compliance.requests.intake import COLUMNS, Arrival, Intake, Problem, checked, read_intake, read_subjects
from unlearnkit.errors import FormatError

TODAY = date(2026, 11, 26)


@pytest.fixture
def desk(tmp_path, clock):
    return desk_of(new_log(tmp_path / "log", clock))


FULL = Arrival(
    row=2,
    subject="ann@example.org",
    received=date(2026, 11, 2),
    source="email",
    reference="T-1",
    jurisdiction="eu",
)
CELLS = dict(zip(COLUMNS, ["ann@example.org", "2026-11-02", "email", "T-1", "eu"], strict=True))


def read(text: str | bytes, **changed) -> Intake:
    raw = text if isinstance(text, bytes) else text.encode()
    return read_intake(raw, where="r", **{"timezone": UTC, **changed})


@given(st.permutations(COLUMNS), st.sampled_from(",;\t"), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_columns_come_in_any_order_with_any_separator(order, separator, encoding):
    text = f"{separator.join(order)}\r\n{separator.join(CELLS[name] for name in order)}\r\n"
    assert read(text.encode(encoding)) == Intake((FULL,))


def test_what_a_table_does_not_say_is_none_and_empty_lines_are_nothing():
    assert read("Subject\nann\n\nbob\n").arrivals == (Arrival(row=2, subject="ann"), Arrival(row=4, subject="bob"))
    assert read('subject,reference\n"Lee, Ann",\n').arrivals == (Arrival(row=2, subject="Lee, Ann"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,received\nann,2026-11-02\n", "r has no column 'subject': got 'name', 'received', expected subject"),
        ("subject,when\nann,x\n", "r has unknown columns 'when': expected subject, received"),
        ("subject,subject\nann,x\n", "r has a column twice"),
        ('subject,source\n"ann,x\n', "r line 2: "),
        ("subject\nMüller\n".encode("latin-1"), "r line 2: expected UTF-8"),
        ("{", "r is not JSON"),
        ("[]", "expected requests of fides or OpenDSR"),
        ("[1]", "expected requests of fides or OpenDSR"),
        ('[{"email": "a"}]', "request 1 is neither of fides nor of OpenDSR"),
    ],
)
def test_a_file_that_is_none_of_these_is_refused(text, message):
    with pytest.raises(FormatError, match=message):
        read(text)


def test_bad_rows_are_told_with_their_reasons_and_without_names():
    text = (
        "subject,received,source,jurisdiction\n"
        "ann,2026-11-02,email,eu\n"
        "bob,02.11.2026,email,eu\n"
        "cleo,2026-11-27,email,eu\n"
        "dan,,telepathy,\n"
        "eve,,,us-ca\n"
        "\u200b,,,\n"
        "fay,2026-11-02,email,eu,more\n"
        "gus,,,\n"
    )
    found = checked(read(text), Policies(default=GDPR), today=TODAY)
    assert [arrival.subject for arrival in found.arrivals] == ["ann", "gus"]
    assert [arrival.source for arrival in found.arrivals] == ["email", "web-form"]
    assert [problem.row for problem in found.problems] == [3, 4, 5, 6, 7, 8]
    said = [problem.what for problem in found.problems]
    assert "02.11.2026" in said[0]
    assert "future: got 2026-11-27" in said[1]
    assert "does not list 'telepathy'" in said[2]
    assert "no policy of this workspace is for jurisdiction 'us-ca': expected eu" in said[3]
    assert "1 to 1000 characters" in said[4]
    assert said[5] == "got 5 cells, expected 4"
    with pytest.raises(FormatError, match=r"6 of 8 rows cannot be taken, so none was:\n  - row 3"):
        found.require_whole("r")
    assert not any(name in str(said) for name in ("bob", "cleo", "dan", "eve", "fay"))


def test_an_error_lists_twenty_rows_and_counts_the_others():
    found = Intake((), tuple(Problem(row, "bad") for row in range(2, 27)))
    with pytest.raises(FormatError, match=r"row 21: bad\n  - and 5 more$"):
        found.require_whole("r")


FIDES = {
    "id": "pri_1",
    "created_at": "2026-11-02T23:30:00.123Z",
    "identity": {"email": "ann@example.org", "phone_number": "+1"},
    "policy": {"rules": [{"action_type": "erasure"}]},
    "status": "pending",
}
OPENDSR = {
    "regulation": "gdpr",
    "subject_request_id": "a7551968",
    "subject_request_type": "erasure",
    "submitted_time": "2026-11-02T23:30:00Z",
    "subject_identities": [
        {"identity_type": "email", "identity_value": "ann@example.org", "identity_format": "raw"},
        {"identity_type": "controller_customer_id", "identity_value": "7"},
    ],
}


def documents(said: dict) -> list[str]:
    return [json.dumps(said), json.dumps([said]), json.dumps({"items": [said], "total": 1, "page": 1})]


@pytest.mark.parametrize("text", documents(FIDES))
def test_requests_of_fides_are_taken_as_they_come(text):
    wanted = Arrival(row=1, subject="ann@example.org", received=date(2026, 11, 2), reference="pri_1")
    assert read(text).arrivals == (wanted,)
    (there,) = read(text, timezone=ZoneInfo("Europe/Berlin")).arrivals
    assert there.received == date(2026, 11, 3)  # half past midnight there
    (by_phone,) = read(text, identity="phone_number").arrivals
    assert by_phone.subject == "+1"


def test_identities_of_fides_may_have_labels_and_requests_a_number_of_their_own():
    said = {**FIDES, "identity": {"email": {"label": "Email", "value": "ann@example.org"}}, "external_id": "T-1"}
    (found,) = read(json.dumps(said)).arrivals
    assert (found.subject, found.reference) == ("ann@example.org", "T-1")


@pytest.mark.parametrize("text", documents(OPENDSR))
def test_requests_of_opendsr_are_taken_as_they_come(text):
    wanted = Arrival(row=1, subject="ann@example.org", received=date(2026, 11, 2), reference="a7551968")
    assert read(text).arrivals == (wanted,)
    (by_number,) = read(text, identity="controller_customer_id").arrivals
    assert by_number.subject == "7"


IDENTITY = OPENDSR["subject_identities"][0]


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({**FIDES, "policy": {"rules": [{"action_type": "access"}]}}, "no request to erase: its policy is for access"),
        ({**FIDES, "identity": {"phone_number": "+1"}}, "no identity of type 'email'"),
        ({**FIDES, "identity": {"email": None}}, "no identity of type 'email'"),
        ({**FIDES, "created_at": "2026-11-02T23:30:00"}, "a moment without its time zone"),
        ({**FIDES, "created_at": "yesterday"}, "yesterday"),
        ({**FIDES, "policy": "erase"}, "malformed"),
        ({**OPENDSR, "subject_request_type": "access"}, "no request to erase: got 'access'"),
        ({**OPENDSR, "subject_identities": []}, "no identity of type 'email'"),
        ({**OPENDSR, "subject_identities": ["ann"]}, "malformed"),
        ({**OPENDSR, "subject_identities": [{**IDENTITY, "identity_format": "sha256"}]}, "a digest"),
        ({**OPENDSR, "subject_identities": [IDENTITY, IDENTITY]}, "got 2 identities of type 'email', expected one"),
    ],
)
def test_documents_that_cannot_be_taken_are_problems_of_their_row(said, problem):
    found = read(json.dumps([OPENDSR, said]))
    assert [arrival.row for arrival in found.arrivals] == [1]
    ((row, what),) = [(item.row, item.what) for item in found.problems]
    assert row == 2
    assert problem in what


def test_lists_of_names_have_one_a_line_and_no_header():
    assert read_subjects("\ufeffann\r\n\n bob\n".encode(), where="r") == ("ann", " bob")
    for header in ("subject,received,source", "Subject", "source;subject", '"subject"\tsource'):
        with pytest.raises(FormatError, match="r is a table, with the header") as refused:
            read_subjects(f"{header}\nann\n".encode(), where="r")
        assert "requests import" in refused.value.hint


def test_an_intake_is_recorded_row_by_row_in_one_pass(desk):
    rows = [("ann@x.org", date(2025, 3, 1), "email"), ("bob", date(2025, 3, 2), "letter"), ("Ann@X.org", None, "phone")]
    made = desk.receive_all([Arrival(subject=name, received=day, source=how) for name, day, how in rows])
    assert [request.received for request in made] == [date(2025, 3, 1), date(2025, 3, 2), date(2025, 3, 5)]
    assert [request.steps[0].body.source for request in made] == ["email", "letter", "phone"]
    assert [request.duplicate_of for request in made] == [None, None, made[0].id]
    assert made[0].subject == made[2].subject == KEY.pseudonym("ann@x.org")
