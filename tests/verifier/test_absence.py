"""Certificates of exclusion and absence: what is shown of whom, and every way in which it is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from tests.bundle.small import DIGEST, KEY, UNITS
from tests.verifier.outgoing import Outgoing, outgoing
from unlearnkit.bundle import PseudonymKey
from unlearnkit.compliance.releases.release import ReleaseEvent, Retired
from unlearnkit.errors import (
    FormatError,
    RefusedError,
    ThresholdError,
    UnknownNameError,
    UnknownVersionError,
    VerificationError,
)
from unlearnkit.records import to_json
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.verifier.absence import Exclusion, sign_absence


@pytest.fixture
def case(tmp_path) -> Outgoing:
    return outgoing(tmp_path)


def test_who_was_in_a_model_and_is_not_in_the_one_that_took_its_place_was_excluded(case):
    issued = case.clear("R2", before="small@1")
    made = issued.certificate
    assert isinstance(made, Exclusion)
    assert (made.before.release, made.after.release) == ("small@1", "small@2")
    assert made.subjects == (KEY.pseudonym("ann"),)
    assert [item.release for item in made.releases] == ["small@2"]
    assert issued.entry.type == "exclusion-issued"
    found = case.verify(issued.raw)
    assert found.certificate == made
    names = ["signature", "log", "request", "releases", "people", "exclusion"]
    assert [check.name for check in found.checks] == names


def test_who_was_in_none_is_absent_and_nothing_is_said_of_before(case):
    name = case.office.request("stranger")
    issued = case.clear("R2", name)
    assert not isinstance(issued.certificate, Exclusion)
    assert issued.entry.type == "absence-issued"
    assert [check.name for check in case.verify(issued.raw, exclusion=False).checks][-1] == "people"


@pytest.mark.parametrize(
    ("names", "before", "reason"),
    [
        (["ben"], None, "small@2 is in force and holds data of 1 of the 1 who ask"),
        (["eve"], "small@1", "small@2 is in force and holds data of 1 of the 1"),
        (["stranger"], "small@1", "small@1 held no data of 1 of the 1 who ask"),
        ([], "small@2", "small@2 held no data of 1 of the 1"),
    ],
)
def test_what_is_not_so_is_not_certified(case, names, before, reason):
    requests = [case.office.request(name) for name in names] or ["R2"]
    before_all = len(case.view())
    with pytest.raises(RefusedError, match=reason):
        case.clear(*requests, before=before)
    assert len(case.view()) == before_all


def test_a_model_that_was_not_trained_anew_excludes_nobody(case, tmp_path):
    """Only the list of people is another one: the recipe, and so the training, is that of before."""
    (tmp_path / "other").mkdir()
    other = Outgoing(case.office, {"small@1": case.office.bundle, **case.bundles})
    other.add("3", replaces="small@2", units=UNITS)
    other.add("4", replaces="small@3", recipe="3" * 64)
    with pytest.raises(RefusedError, match="small@4 was not trained without anybody: its recipe digest is that of"):
        other.clear("R2", before="small@3")


def test_a_release_that_nothing_replaced_or_no_release_at_all_excludes_nobody(tmp_path):
    case = outgoing(tmp_path)
    for version in ("2",):
        retired = Retired(release=f"small@{version}", by="engineer", on=date(2025, 3, 5))
        case.office.log.record(ReleaseEvent.RETIRED, to_json(retired))
    with pytest.raises(RefusedError, match="no release is in force: there is no model to be absent from"):
        case.clear("R2", before="small@1")


def test_a_closed_request_gets_no_certificate(case):
    case.office.desk.withdraw("R2", reason="requested-by-person")
    with pytest.raises(RefusedError, match="request R2 is closed: it was withdrawn"):
        case.clear("R2", before="small@1")


def _swap(made):
    return replace(made, before=made.after, after=made.before)


def _artefacts(name, **changed):
    def change(made):
        item = getattr(made, name)
        return replace(made, **{name: replace(item, artefacts=replace(item.artefacts, **changed))})

    return change


FORGED = {
    "another person": (lambda c: replace(c, subjects=("1" * 64,)), "was made by somebody else"),
    "one more person": (lambda c: replace(c, subjects=tuple(sorted({*c.subjects, "1" * 64}))), "as asking"),
    "a request that is not there": (lambda c: replace(c, requests=("R77",)), "the log has no request R77"),
    "a laxer policy": (lambda c: replace(c, policy=c.policy.replace("months = 1\n", "months = 2\n")), "its policy is"),
    "a release left out": (lambda c: replace(c, releases=(c.before,)), "it looked at small@1, in force were small@2"),
    "before and after swapped": (_swap, "small@2 held no data of 1 of the 1"),
    "another bundle": (_artefacts("after", bundle="1" * 64), "bundle 1111"),
    "other artefacts": (_artefacts("before", recipe="1" * 64), "the bundle of small@1 has other artefacts"),
    "itself as before": (lambda c: replace(c, before=c.after), "small@2 held no data of 1 of the 1"),
    "itself as after": (lambda c: replace(c, after=c.before), "had not taken the place of small@1"),
    "issued otherwise": (lambda c: replace(c, issued="2025-01-01T00:00:00Z"), "it says it was issued"),
}


@pytest.mark.parametrize("name", FORGED)
def test_an_altered_certificate_is_caught(case, name):
    change, reason = FORGED[name]
    issued = case.clear("R2", before="small@1")
    with pytest.raises((VerificationError, UnknownNameError, FormatError), match=reason):
        case.verify(case.forge(issued, change))


def test_forging_without_a_change_verifies(case):
    case.verify(case.forge(case.clear("R2", before="small@1")))


def test_a_certificate_that_the_log_does_not_record_or_a_stranger_signed_is_caught(case):
    made = case.clear("R2", before="small@1").certificate
    with pytest.raises(VerificationError, match="does not record this certificate"):
        case.verify(sign_absence(made, [case.office.signer]))
    with pytest.raises(ThresholdError, match="too few trusted signatures"):
        case.verify(sign_absence(made, [PrivateKey.generate(Algorithm.P256)]))


def test_one_of_absence_is_none_of_exclusion(case):
    raw = case.clear("R2").raw
    with pytest.raises(UnknownVersionError, match="predicateType"):
        case.verify(raw, exclusion=True)


def test_it_is_verified_from_the_bundles_of_all_releases_that_it_names(case):
    raw = case.clear("R2", before="small@1").raw
    places = [bundle.path for bundle in case.bundles.values()]
    for missing in range(2):
        with pytest.raises(UnknownNameError, match="is not there"):
            case.verify(raw, bundles=places[:missing] + places[missing + 1 :])


def test_pseudonyms_under_another_key_hide_nobody(case):
    """A list under another key holds none of the pseudonyms of the requests, whoever is in it: nobody can tell."""
    issued = case.clear("R2", before="small@1")
    case.add("3", replaces="small@2", units=UNITS, key=PseudonymKey(bytes(32)))
    three = case.view().registry.get("small@3")

    def hidden(made):
        looked = type(made.after)(three.id, three.artefacts)
        return replace(made, releases=(looked,))

    with pytest.raises(VerificationError, match="nobody can tell who is in small@3: its pseudonyms are made with key"):
        case.verify(case.forge(issued, hidden))


def test_the_recipe_of_small_is_another_one_than_that_of_its_successor(case):
    """The case itself is what it says it is."""
    assert case.bundles["small@1"].manifest.recipe_digest == DIGEST != case.bundles["small@2"].manifest.recipe_digest
