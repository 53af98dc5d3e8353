"""Forgetting people when their requests are needed no longer: final for them, and nothing changes for anybody else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

import unlearnkit as uk
from tests.bundle.small import UNITS
from tests.office.test_clearing import bundle, retrain
from tests.verifier.issuance import policy_text
from unlearnkit.bundle import PseudonymKey
from unlearnkit.compliance.log import clock
from unlearnkit.errors import RefusedError, VerificationError

ANN, BEN = UNITS[:2]


@pytest.fixture
def office(tmp_path, monkeypatch) -> uk.Workspace:
    """R2 of ann, who was left out of digits@2; R3 of ben, who is in it; R4 and R5 of a stranger; all ended."""
    (tmp_path / "policy.toml").write_bytes(policy_text())
    made = uk.Workspace.create(tmp_path / "office", origin="example.com/log", policy="../policy.toml")
    monkeypatch.chdir(made.root)
    made.receive([ANN, BEN])
    made.receive(["stranger", "stranger"], reference="T-1")
    made.register(bundle(made, "first"), name="digits", version="1")
    for name in ("R2", "R3", "R4"):
        made.verify_identity(name, method="in-person")
    retrain(made)
    made.fulfil("R2", method="retrained", evidence=[made.certify_absence(["R2"]).path])
    made.fulfil("R4", method="no-data-held", evidence=[made.certify_absence(["R4"]).path])
    made.withdraw("R3", reason="recorded-by-mistake")
    return made


def later(monkeypatch, years: int = 10) -> None:
    now = clock.utc_now()
    moved = datetime(now.year + years, now.month, 1, 12, tzinfo=UTC)
    monkeypatch.setattr(clock, "utc_now", lambda: moved)


def linked(office: uk.Workspace, name: str) -> set[str]:
    """The requests whose subject somebody with the workspace finds to be of this name."""
    key = PseudonymKey.load(office.pseudonym_key_path)
    return {item.id for item in office.all_requests().requests.values() if item.subject == key.pseudonym(name)}


def test_nobody_is_forgotten_before_the_retention_time(office):
    assert office.purge() == ()
    assert linked(office, ANN) == {"R2"}


def test_who_is_due_is_forgotten_for_good_and_who_is_in_a_model_in_use_waits(office, monkeypatch):
    later(monkeypatch)
    found = office.purging()
    assert set(found.waiting.values()) == {"digits@2"}
    assert [item.id for item in office.purge()] == ["R2", "R4", "R5"]
    assert [linked(office, name) for name in (ANN, BEN, "stranger")] == [set(), {"R3"}, set()]
    assert office.purge() == ()
    # a spelling, a number of another system, or any other name finds nobody either
    assert office.requests(everything=True, subject=ANN.upper()) == ()
    assert office.requests(everything=True, reference="T-1") == ()


def test_the_log_is_untouched_and_everything_verifies_after(office, monkeypatch):
    before = (office.log_path / "log.jsonl").read_bytes()
    later(monkeypatch)
    office.purge()
    office.checkpoint()
    assert (office.log_path / "log.jsonl").read_bytes().startswith(before)
    assert "requests" in [check.name for check in office.verify(office.log_path).checks]
    for path in sorted((office.root / "certificates").glob("*.json")):
        assert office.verify(path).checks
    assert office.request("R2").state == "fulfilled"


def test_the_office_works_on_for_everybody_else(office, monkeypatch):
    later(monkeypatch)
    office.purge()
    ann, ben, new = office.receive([ANN, BEN, "newcomer"])
    assert ann.follows is None  # she is somebody new
    assert ben.follows == "R3"
    assert office.strangers([ANN, BEN, "newcomer"]) == (0, 2)
    office.verify_identity(ben, method="in-person")
    assert office.holding([ben])[0].id == "digits@2"
    assert linked(office, "newcomer") == {new.id}
    made = bundle(office, "third", bias=3.0, units=["newcomer", *UNITS[1:]], recipe="3" * 64)
    office.register(made, name="digits", version="3", replaces="digits@2")
    assert office.strangers([ANN, BEN, "newcomer"]) == (0,)


def test_an_interrupted_purge_stops_receiving_until_it_is_finished(office, monkeypatch):
    later(monkeypatch)

    def interrupted(self, path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PseudonymKey, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            office.purge()
    with pytest.raises(RefusedError, match="still knows people who were forgotten with entry") as refused:
        office.receive(["newcomer"])
    assert "purge --due" in refused.value.hint
    assert office.purge() == ()
    assert linked(office, ANN) == set()
    office.receive(["newcomer"])
    assert [entry.type for entry in office.view().of_type("requests-purged")] == ["requests-purged"]


def test_an_older_copy_of_the_key_is_found_out(office, monkeypatch):
    old = PseudonymKey.load(office.pseudonym_key_path)
    later(monkeypatch)
    office.purge()
    elsewhere = bundle(office, "third", bias=3.0, units=["newcomer", *UNITS[1:]], recipe="3" * 64, key=old)
    with pytest.raises(RefusedError, match=r"an older copy of the pseudonym key names 1 of \d+ people in the bundle"):
        office.register(elsewhere, name="digits", version="3", replaces="digits@2")
    office.pseudonym_key_path.unlink()
    old.save(office.pseudonym_key_path)
    with pytest.raises(RefusedError, match="still knows people who were forgotten"):
        office.receive(["newcomer"])


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (["R4"], "forgets a person, but not their request R5"),
        (["R2"], "its record is needed until"),
        (["R9999"], "no request 'R9999'"),
    ],
)
def test_a_log_that_says_that_somebody_was_forgotten_too_early_is_not_legal(office, named, message):
    today = office.today.isoformat()
    office.open_log().record("requests-purged", {"by": "privacy-officer", "on": today, "requests": named})
    with pytest.raises(VerificationError, match=message):
        _ = office.view().register
