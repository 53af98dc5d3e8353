"""Requests under several laws in one log: each is handled under the text that it was received under alone."""

from __future__ import annotations

from datetime import UTC, date, timedelta

import pytest

from tests.compliance.requests.desks import DIGEST, GDPR, KEY, Clock, new_log, raw
from unlearnkit.compliance.policy.policies import Policies, Shelf
from unlearnkit.compliance.policy.policy import Policy, parse_policy
from unlearnkit.compliance.requests.desk import Desk
from unlearnkit.errors import PolicyError, UnknownNameError, VerificationError

UK, CCPA, STATES, LGPD = (Policy.load(name) for name in ("uk-gdpr", "ccpa", "us-states", "lgpd"))
HOLIDAY = parse_policy(GDPR.raw.replace(b"holidays = []", b"holidays = [2025-04-07]"), where="x")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def log(tmp_path, clock):
    return new_log(tmp_path / "log", clock)


@pytest.fixture
def office(log, tmp_path):
    """Makes desks under policies, whose texts are kept in one place."""

    def made(*policies: Policy, **sources: str) -> Desk:
        shelf = Shelf(tmp_path / "shelf")
        known = Policies(default=policies[0], others=policies[1:], sources=sources, shelf=shelf)
        return Desk(log, known, actor="privacy-officer", timezone=UTC, key=KEY)

    return made


def test_a_holiday_that_is_added_moves_new_requests_only(office):
    (old,) = office(GDPR).receive(["ann"], source="email")
    edited = office(HOLIDAY)
    (new,) = edited.receive(["bob"], source="email")
    assert (old.respond.day, new.respond.day) == (date(2025, 4, 7), date(2025, 4, 8))
    extended = {name: edited.extend(name, reason="complexity").respond.day for name in ("R1", "R2")}
    assert extended == {"R1": date(2025, 6, 5), "R2": date(2025, 6, 5)}
    assert edited.register().get("R1").policy_digest == GDPR.digest


def test_steps_are_those_of_the_text_that_a_request_was_received_under(office, clock):
    without_phone = parse_policy(GDPR.raw.replace(b'"in-person"]\nextension', b'"video"]\nextension'), where="x")
    office(GDPR).receive(["ann"], source="email")
    desk = office(without_phone)
    desk.receive(["bob"], source="email")
    desk.verify_identity("R1", method="in-person")
    with pytest.raises(PolicyError, match="does not list 'in-person' among its identity_methods"):
        desk.verify_identity("R2", method="in-person")
    desk.verify_identity("R2", method="video")


def test_each_law_has_its_own_clocks_words_and_endings_in_one_log(office):
    desk = office(GDPR, CCPA, LGPD)
    (eu,) = desk.receive(["ann"], source="email")
    (us,) = desk.receive(["bob"], source="email", jurisdiction="us-ca")
    (br,) = desk.receive(["cleo"], source="email", jurisdiction="br")
    assert [item.jurisdiction for item in (eu, us, br)] == ["eu", "us-ca", "br"]
    assert eu.acknowledge is None
    assert us.acknowledge is not None
    assert us.acknowledge.rule == "11 CCR 7021(a)"
    assert [item.respond.day for item in (eu, us, br)] == [date(2025, 4, 7), date(2025, 4, 19), date(2025, 3, 20)]
    with pytest.raises(PolicyError, match="policy lgpd does not list 'complexity' among its extension_reasons"):
        desk.extend(br.id, reason="complexity")
    with pytest.raises(PolicyError, match="policy ccpa does not list 'identity-in-doubt' among its pause_reasons"):
        desk.pause(us.id, reason="identity-in-doubt")
    for name in (eu.id, us.id, br.id):
        desk.verify_identity(name, method="account-login")
    with pytest.raises(PolicyError, match="policy lgpd does not accept 'corrected'"):
        desk.fulfil(br.id, method="corrected", evidence=[DIGEST])
    closed = [desk.fulfil(name, method="retrained", evidence=[DIGEST]) for name in (eu.id, us.id, br.id)]
    assert [item.current.body.retain_until for item in closed] == [date(2028, 3, 5), date(2027, 3, 5), date(2030, 3, 5)]


def test_a_source_has_its_jurisdiction_and_what_a_request_says_goes_before_it(office):
    desk = office(GDPR, UK, letter="uk")
    found = [
        desk.receive(["ann"], source="email")[0],
        desk.receive(["bob"], source="letter")[0],
        desk.receive(["cleo"], source="letter", jurisdiction="eu")[0],
    ]
    assert [item.jurisdiction for item in found] == ["eu", "uk", "eu"]
    assert [item.policy_digest for item in found] == [GDPR.digest, UK.digest, GDPR.digest]


def test_who_asks_under_two_laws_has_two_requests_with_a_clock_each(office):
    desk = office(GDPR, UK)
    eu, again = desk.receive(["ann", "ann"], source="email")
    (uk,) = desk.receive(["ann"], source="email", jurisdiction="uk")
    assert (again.duplicate_of, uk.duplicate_of, uk.follows) == (eu.id, None, None)
    desk.withdraw(eu.id, reason="requested-by-person")
    assert not desk.register().get(uk.id).is_closed
    assert desk.receive(["ann"], source="email", jurisdiction="uk")[0].duplicate_of == uk.id


def test_a_state_is_a_place_of_the_policy_of_all_of_them(office):
    desk = office(GDPR, STATES)
    (request,) = desk.receive(["ann"], source="email", jurisdiction="us-va")
    assert (request.jurisdiction, request.respond.day) == ("us-va", date(2025, 4, 19))
    desk.refuse(request.id, reason="security")
    appealed = desk.appeal(request.id, kind="appeal")
    assert appealed.next_due is not None
    assert (appealed.next_due.day, appealed.next_due.rule) == (date(2025, 5, 4), "Code of Virginia 59.1-577(C)")


def test_what_no_policy_is_for_is_refused_and_two_for_one_jurisdiction_are(office, log):
    written = raw(log)
    with pytest.raises(PolicyError, match="no policy of this workspace is for jurisdiction 'br': expected eu, uk"):
        office(GDPR, UK).receive(["ann"], source="email", jurisdiction="br")
    with pytest.raises(PolicyError, match="policies gdpr and gdpr are both for jurisdiction eu"):
        office(GDPR, HOLIDAY)
    with pytest.raises(PolicyError, match="no policy of this workspace is for jurisdiction 'uk'"):
        office(GDPR, letter="uk")
    assert raw(log) == written


def test_the_text_of_before_is_needed_as_it_was(office, tmp_path):
    office(GDPR).receive(["ann"], source="email")
    kept = tmp_path / "shelf" / f"{GDPR.digest}.toml"
    assert kept.read_bytes() == GDPR.raw
    kept.write_bytes(HOLIDAY.raw)
    with pytest.raises(VerificationError, match="was changed: its SHA-256 is"):
        office(HOLIDAY).acknowledge("R1")
    kept.unlink()
    with pytest.raises(UnknownNameError, match="under which requests were received, is missing"):
        office(HOLIDAY).acknowledge("R1")
    assert office(GDPR).acknowledge("R1").state == "acknowledged"


def test_a_text_is_on_disk_before_the_first_entry_that_names_it(office, log, tmp_path, monkeypatch):
    def failing(*_: object) -> None:
        raise OSError(28, "No space left on device")

    written = raw(log)
    monkeypatch.setattr(Shelf, "keep", failing)
    with pytest.raises(OSError, match="No space left"):
        office(GDPR).receive(["ann"], source="email")
    assert raw(log) == written


def test_a_clock_that_stood_still_runs_on_by_so_many_days(office, clock):
    desk = office(GDPR)
    desk.receive(["ann"], source="email", on=date(2025, 2, 20))
    desk.ask_identity("R1", on=date(2025, 2, 22))
    paused = desk.pause("R1", reason="identity-in-doubt", on=date(2025, 2, 22))
    assert (paused.state, paused.next_due) == ("paused", None)
    clock.time += timedelta(days=1)
    resumed = desk.resume_clock("R1")
    assert (resumed.paused, resumed.respond.day) == (12, date(2025, 4, 1))  # 20 March and twelve days
    assert desk.pause("R1", reason="identity-in-doubt").is_paused
    clock.time += timedelta(days=4)
    assert desk.resume_clock("R1").respond.day == date(2025, 4, 7)  # sixteen days: 5 April is a Saturday
    assert desk.extend("R1", reason="complexity").respond.day == date(2025, 6, 5)  # 20 May and sixteen days
