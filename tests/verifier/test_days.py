"""Whoever verifies a log counts the days of its requests again, from the policies that are kept beside it."""

from __future__ import annotations

import json
import shutil
from datetime import date, timedelta

import pytest

import unlearnkit as uk
from tests.compliance.requests.desks import Clock
from unlearnkit.compliance.log import clock as log_clock
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.errors import VerificationError

GDPR = Policy.load("gdpr")
OURS = GDPR.raw.replace(b"months = 1\n", b"months = 2\n", 1)


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(log_clock, "utc_now", made)
    return made


@pytest.fixture
def office(tmp_path, clock):
    """A workspace under a text of its own, where R2 was received under that, and R3 under the packaged one."""
    (tmp_path / "ours.toml").write_bytes(OURS)
    made = uk.Workspace.create(tmp_path, origin="example.com/log", policy="ours.toml")
    made.receive(["ann"])
    (tmp_path / "ours.toml").write_bytes(GDPR.raw)
    made.receive(["bob"])
    made.checkpoint()
    return made


def found(office, path=None) -> uk.Verification:
    return uk.verify(path or office.log_path, trust=office.root / "keys" / "log.vkey")


def said(verification, name: str) -> str:
    return {check.name: check.found for check in verification.checks}[name]


def test_each_request_is_counted_by_the_text_that_it_was_received_under(office):
    assert [request.respond.day for request in office.requests()] == [date(2025, 4, 7), date(2025, 5, 5)]
    verification = found(office)
    assert said(verification, "days") == (
        "2 requests counted again, due as the policies say under which they were received"
    )
    assert not any("had to be answered" in text for text in verification.unchecked)


def test_where_a_text_is_not_at_hand_that_is_said_and_a_packaged_one_always_is(office, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(office.log_path, copy, ignore=shutil.ignore_patterns("policies"))
    verification = found(office, copy)
    assert said(verification, "days").startswith("1 request counted again")
    (left,) = [text for text in verification.unchecked if "had to be answered" in text]
    digest = office.requests()[1].policy_digest
    assert left == f"when 1 request had to be answered: their policies, SHA-256 {digest}, are not beside the log"
    assert digest != GDPR.digest


def test_a_text_that_was_changed_is_a_finding(office):
    (kept,) = [file for file in (office.log_path / "policies").iterdir() if file.read_bytes() == OURS]
    kept.write_bytes(OURS.replace(b"months = 2\n", b"months = 9\n", 1))
    with pytest.raises(VerificationError, match=f"{kept.name} was changed"):
        found(office)


def test_a_day_that_was_written_by_hand_is_a_finding_and_hides_no_late_answer(office, clock):
    """R4 says that it is due half a year later than its law does; it is answered between the two days."""
    log = office.open_log()
    line = json.loads(log.path.joinpath("log.jsonl").read_text().splitlines()[-1])
    body = {key: value for key, value in line["body"].items() if key != "duplicate_of"}
    body |= {"subject": "ab" * 32, "respond": {"day": "2025-10-05", "rule": "GDPR Art. 12(3)"}}
    log.record("request-received", body)
    clock.time += timedelta(days=90)
    office.refuse("R4", reason="art-17-1-no-ground")
    office.checkpoint()
    with pytest.raises(VerificationError) as caught:
        found(office)
    assert str(caught.value) == (
        "days differ from those of the policies that requests were received under: 1 (entry 4 says that request R4 is "
        "due (respond) on 2025-10-05 by GDPR Art. 12(3), which the policy gdpr puts on 2025-04-07 by GDPR Art. 12(3)); "
        "by the policies, answers after their day: 1 (R4 refused on 2025-06-03, due 2025-04-07)"
    )
