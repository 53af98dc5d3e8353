"""Sketches in a workspace: announced before, along directions that follow from the log; a second one is seen."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

import unlearnkit as uk
from tests.training.small import recipe
from tests.verifier.issuance import policy_text
from unlearnkit.bundle.manifest import RandomDirections, SaltFromLog
from unlearnkit.compliance.log.checkpoint import checkpoint_text
from unlearnkit.errors import PolicyError, VerificationError
from unlearnkit.verifier.origin import sketch_origin

CALL = {"dtype": "float64", "device": "cpu", "progress": False}
FORWARD = uk.Forward(directions=6, degree=1)
LOG_ONLY = policy_text().replace(b'salt = "chosen"', b'salt = "log"').replace(b"test_loss", b"scalar")


@pytest.fixture
def office(tmp_path, monkeypatch) -> uk.Workspace:
    (tmp_path / "policy.toml").write_bytes(LOG_ONLY)
    made = uk.Workspace.create(tmp_path / "office", origin="example.com/log", policy="../policy.toml")
    monkeypatch.chdir(made.root)
    return made


def types(office: uk.Workspace) -> list[str]:
    view = office.view()
    return [view.entry(index).type for index in range(2, len(view))]


def test_what_will_be_sketched_is_in_the_log_before_what_came_out_and_the_salt_follows_from_it(office):
    made, bundle = recipe(), office.sketch(recipe(), "bundle", forward=FORWARD, **CALL)
    assert types(office) == ["sketch-committed", "sketch-finished"]
    view = office.view()
    announced, finished = view.entry(2).body, view.entry(3).body
    assert announced["recipe"] == made.digest == bundle.manifest.recipe_digest
    assert finished == {"bundle": bundle.digest, "commitment": 2}
    text = checkpoint_text("example.com/log", 3, view.root_at(3))
    assert bundle.manifest.checkpoint == text
    assert bundle.manifest.salt == hashlib.sha256(made.digest.encode() + text.encode()).hexdigest()
    assert (office.log_path / "checkpoint").read_bytes().startswith(text.encode())  # it was published before
    (found,) = [check.found for check in office.verify("bundle").checks if check.name == "directions"]
    assert found.startswith("6, from the recipe and 3 entries of example.com/log")


def test_the_same_call_goes_on_under_its_entry_and_records_nothing_twice(office):
    first = office.sketch(recipe(), "bundle", forward=FORWARD, **CALL)
    assert office.sketch(recipe(), "bundle", forward=FORWARD, **CALL).digest == first.digest
    assert types(office) == ["sketch-committed", "sketch-finished"]


def test_a_call_that_was_interrupted_makes_the_same_bundle_under_the_same_entry(office, monkeypatch):
    from unlearnkit.sketching import sketch as module

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "_publish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            office.sketch(recipe(), "bundle", forward=FORWARD, **CALL)
    assert types(office) == ["sketch-committed"]
    office.receive(["somebody"])  # the log goes on
    bundle = office.sketch(recipe(), "bundle", forward=FORWARD, **CALL)
    assert bundle.manifest.checkpoint.split("\n")[1] == "3"
    assert types(office) == ["sketch-committed", "request-received", "sketch-finished"]


def test_a_bundle_whose_entry_was_lost_between_disk_and_log_is_finished_by_the_same_call(office, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(type(office), "_finish", lambda *_: None)
        first = office.sketch(recipe(), "bundle", forward=FORWARD, **CALL)
    assert types(office) == ["sketch-committed"]
    assert office.sketch(recipe(), "bundle", forward=FORWARD, **CALL).digest == first.digest
    assert types(office) == ["sketch-committed", "sketch-finished"]


def test_another_sketch_of_the_recipe_is_another_entry_and_a_bundle_is_not_replaced_unasked(office):
    first = office.sketch(recipe(), "bundle", forward=FORWARD, **CALL)
    before = len(office.view())
    with pytest.raises(FileExistsError, match="bundle holds something else"):
        office.sketch(recipe(), "bundle", forward=uk.Forward(directions=4, degree=1), **CALL)
    assert len(office.view()) == before
    again = office.sketch(recipe(), "bundle", forward=FORWARD, overwrite=True, **CALL)
    assert again.manifest.salt != first.manifest.salt
    other = office.sketch(recipe(), "other", forward=uk.Forward(directions=4, degree=1), **CALL)
    view = office.view()
    assert types(office) == ["sketch-committed", "sketch-finished"] * 3
    assert sketch_origin(again.manifest, view, origin=office.origin).others == (2, 6)
    assert sketch_origin(other.manifest, view, origin=office.origin).commitment == 6


def certified(office: uk.Workspace, bundle: uk.Bundle, out: str):
    office.register(bundle, name="small", version="1")
    (request,) = office.receive(["a"])
    return office.certify([request], out=out)


def test_every_certificate_names_the_other_sketches_of_its_recipe(office):
    bundle = office.sketch(recipe(), "bundle", forward=FORWARD, **CALL)
    office.sketch(recipe(), "other", forward=uk.Forward(directions=4, degree=1), **CALL)
    issued = certified(office, bundle, "c.json")
    assert issued.certificate.sketches == (4,)
    office.sketch(recipe(), "third", forward=uk.Forward(directions=5, degree=1), **CALL)  # it came later
    found = office.verify("c.json", bundle="bundle")
    (check,) = [check for check in found.checks if check.name == "sketch"]
    assert check.found == "its directions follow from entry 2; other sketches of the recipe: 1"


def test_chosen_directions_certify_nothing_where_the_policy_wants_the_log(office):
    bundle = uk.sketch(recipe(), "bundle", forward=FORWARD, seed=1, signer=office.signer_key(), **CALL)
    before = len(office.view())
    with pytest.raises(PolicyError, match="the directions of the bundle were chosen: policy gdpr takes only those"):
        certified(office, bundle, "c.json")
    assert len(office.view()) == before + 2  # the release and the request
    for name in ("gdpr", "ccpa", "research"):
        assert uk.Policy.load(name).certificate.salt == "log"


def test_a_salt_that_names_the_log_and_does_not_follow_from_it_is_caught(office):
    bundle = office.sketch(recipe(), "bundle", forward=FORWARD, **CALL)
    office.receive(["somebody"])
    view, manifest = office.view(), bundle.manifest
    assert isinstance(manifest.directions, RandomDirections)

    def with_text(text: str, **changed):
        directions = replace(manifest.directions, salt_from=SaltFromLog(checkpoint=text))
        return replace(manifest, directions=directions, **changed)

    for wrong, reason in [
        (with_text(checkpoint_text("example.com/log", 4, view.root_at(4))), "follows from no entry of example.com/log"),
        (with_text(checkpoint_text("example.com/log", 3, bytes(32))), "follows from no entry of example.com/log"),
        (with_text(checkpoint_text("example.com/log", 99, bytes(32))), "follows from no entry of example.com/log"),
        (with_text(checkpoint_text("example.com/other", 3, view.root_at(3))), "follows from another log"),
        (with_text("x"), "follows from another log"),
        (with_text(manifest.checkpoint, degree=2), "entry 2 of example.com/log announced another sketch"),
    ]:
        with pytest.raises(VerificationError, match=reason):
            sketch_origin(wrong, view, origin=office.origin)


def test_a_sketch_that_was_never_announced_or_is_finished_twice_is_no_legal_step(office):
    office.sketch(recipe(), "bundle", forward=FORWARD, **CALL)
    for commitment, reason in ((1, "entry 1 announced no sketch"), (2, "entry 2 announced a sketch that is finished")):
        copy = uk.Workspace.create(Path(f"copy{commitment}"), origin="example.com/copy")
        for entry in office.open_log().entries():
            if entry.index > 1:
                copy.open_log().record(entry.type, entry.body)
        copy.open_log().record("sketch-finished", {"bundle": "a" * 64, "commitment": commitment})
        with pytest.raises(VerificationError, match=f"log entry 4 is not a legal step: {reason}"):
            _ = copy.view().sketches


def test_directions_that_somebody_gives_follow_from_no_log(office):
    import numpy as np

    given = uk.Forward(directions=np.eye(8, dtype=complex)[:2])
    with pytest.raises(ValueError, match="explicit directions follow from no log"):
        office.sketch(recipe(), "bundle", forward=given, **CALL)
    assert types(office) == []
