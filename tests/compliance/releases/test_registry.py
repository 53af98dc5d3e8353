"""Releases: whatever is not legal is refused, also when it stands in the log already."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bundle.small import KEY as BUNDLE_KEY
from tests.bundle.small import small
from tests.compliance.requests.desks import new_log
from unlearnkit.bundle import Bundle
from unlearnkit.canonical import file_sha256_hex
from unlearnkit.compliance.releases.registry import Registry
from unlearnkit.compliance.releases.release import Artefacts, Registered, Retired
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import FormatError, UnlearnkitError, VerificationError
from unlearnkit.records import to_json

NOW = datetime(2025, 3, 5, 9, tzinfo=UTC)
DAYS = [date(2025, 3, day) for day in (3, 4, 5)]


def made_of(letter: str) -> Artefacts:
    return Artefacts(bundle=letter * 64, model=letter * 64, recipe="0" * 64, units="0" * 64, key="0" * 16)


def registered(version: str, replaces: str | None = None, on: date = DAYS[0], model: str | None = None) -> Registered:
    artefacts = made_of(model or version[-1])
    return Registered(name="digits", version=version, artefacts=artefacts, replaces=replaces, by="dpo", on=on)


def retired(version: str, on: date = DAYS[1]) -> Retired:
    return Retired(release=f"digits@{version}", by="dpo", on=on)


def kind(body: Registered | Retired) -> str:
    return "release-retired" if isinstance(body, Retired) else "release-registered"


def after(*steps: Registered | Retired) -> Registry:
    registry = Registry()
    for index, body in enumerate(steps):
        registry.apply(index, kind(body), to_json(body), time=NOW)
    return registry


def test_what_is_in_force_is_what_was_registered_and_neither_replaced_nor_retired():
    registry = after(registered("1"), registered("2", "digits@1", DAYS[1]), registered("3"), retired("3", DAYS[2]))
    assert [release.id for release in registry.in_force] == ["digits@2"]
    first, second, third = registry.releases.values()
    assert (first.replaced_by, first.retired, first.index) == ("digits@2", DAYS[1], 0)
    assert (second.replaces, second.registered, second.retired) == ("digits@1", DAYS[1], None)
    assert (third.retired, third.replaced_by, third.is_in_force) == (DAYS[2], None, False)


ILLEGAL = [
    ([registered("1")], registered("1", model="b"), "there is a release digits@1 already: entry 0 registered it"),
    ([registered("1")], registered("2", model="1"), "digits@1 is this very model, and in force"),
    ([registered("1"), retired("1")], registered("1", model="b"), "there is a release digits@1 already"),
    ([], registered("2", "digits@1"), "no release 'digits@1': there are none"),
    ([registered("1"), retired("1")], registered("2", "digits@1", DAYS[2]), "not in force since 2025-03-04"),
    ([registered("1", on=DAYS[2])], registered("2", "digits@1"), "be replaced on 2025-03-03: it is in use since"),
    ([], retired("1"), "no release 'digits@1'"),
    ([registered("1"), retired("1")], retired("1"), "cannot be retired: it is not in force since 2025-03-04"),
    ([registered("1"), registered("2", "digits@1")], retired("1"), "replaced by digits@2"),
    ([registered("1", on=DAYS[2])], retired("1"), "cannot be retired on 2025-03-04: it is in use since 2025-03-05"),
]


@pytest.mark.parametrize(("before", "step", "reason"), ILLEGAL)
def test_what_is_not_legal_is_refused_changes_nothing_and_is_found_in_a_log(tmp_path, clock, before, step, reason):
    registry = after(*before)
    known = dict(registry.releases)
    with pytest.raises(UnlearnkitError, match=reason):
        registry.apply(len(before), kind(step), to_json(step), time=NOW)
    assert registry.releases == known
    log = new_log(tmp_path / "log", clock)
    for body in (*before, step):
        log.record(kind(body), to_json(body))
    with pytest.raises(VerificationError, match=f"log entry {len(before) + 1} is not a legal step"):
        _ = LogView.read(log.path).registry


@pytest.mark.parametrize(
    ("entry", "body", "message"),
    [
        ("release-forgotten", {}, "entry 0 is of an unknown type: got 'release-forgotten'"),
        ("release-retired", {"release": "digits", "by": "dpo", "on": "2025-03-03"}, "the id of a release, such as"),
        ("release-retired", {"release": "digits@1", "by": "Jane Doe", "on": "2025-03-03"}, "by must be a word"),
        ("release-registered", {"name": "digits"}, "lacks"),
    ],
)
def test_a_malformed_step_is_told_as_such(entry, body, message):
    with pytest.raises(FormatError, match=message):
        Registry().apply(0, entry, body, time=NOW)


def test_a_model_that_is_out_of_use_can_come_back_under_another_version():
    registry = after(registered("1"), retired("1"), registered("2", model="1", on=DAYS[2]))
    assert [release.id for release in registry.in_force] == ["digits@2"]


STEPS = st.one_of(
    st.builds(
        registered, st.sampled_from("1234"), st.sampled_from([None, "digits@1", "digits@2"]), st.sampled_from(DAYS)
    ),
    st.builds(retired, st.sampled_from("1234"), st.sampled_from(DAYS)),
)


@given(st.lists(STEPS, max_size=12))
def test_a_release_comes_once_and_goes_once_whatever_is_tried(steps):
    """Counted from the steps that were taken alone."""
    registry, taken = Registry(), []
    for index, body in enumerate(steps):
        try:
            registry.apply(index, kind(body), to_json(body), time=NOW)
        except UnlearnkitError:
            continue
        taken.append(body)
    came = [f"digits@{body.version}" for body in taken if isinstance(body, Registered)]
    went = [body.release if isinstance(body, Retired) else body.replaces for body in taken]
    gone = [name for name in went if name is not None]
    assert len(set(came)) == len(came)
    assert len(set(gone)) == len(gone)
    assert {release.id for release in registry.in_force} == set(came) - set(gone)
    assert len({release.artefacts.model for release in registry.in_force}) == len(registry.in_force)


def test_the_digests_of_a_release_are_those_of_its_files(tmp_path):
    path = small(tmp_path, weights=False).write(tmp_path / "bundle")
    made = Artefacts.of(Bundle.open(path))
    files = {"bundle": "manifest.json", "model": "model.safetensors", "units": "units.json"}
    assert {name: getattr(made, name) for name in files} == {n: file_sha256_hex(path / f) for n, f in files.items()}
    assert made.key == BUNDLE_KEY.fingerprint
    assert replace(made, key="0" * 16) != made
