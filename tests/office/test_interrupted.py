"""Releases and certificates of absence, killed before any operation: what the log says is on disk."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

import unlearnkit as uk
from tests.bundle.small import small
from tests.interrupted import killed_before, operations_of
from tests.verifier.issuance import policy_text
from unlearnkit.bundle import PseudonymKey, write_bundle


@pytest.fixture
def office(tmp_path) -> uk.Workspace:
    """A bundle of five people, and the request R2 of somebody who is not among them."""
    (tmp_path / "policy.toml").write_bytes(policy_text())
    made = uk.Workspace.create(tmp_path / "office", origin="example.com/log", policy="../policy.toml")
    contents = small(tmp_path, weights=False, key=PseudonymKey.load(made.pseudonym_key_path))
    write_bundle(made.root / "bundle", manifest=contents.manifest, signer=made.signer_key(), **contents.contents)
    made.receive(["stranger"])
    return made


def register(root: Path) -> None:
    uk.Workspace.read(root).register(root / "bundle", name="digits", version="1")


def certify(root: Path) -> None:
    uk.Workspace.read(root).certify_absence(["R2"], force=True)


def copies(office: uk.Workspace, work) -> list[Path]:
    """The workspace as a kill before each operation leaves it."""
    folder = office.root.parent
    whole = Path(shutil.copytree(office.root, folder / "whole", symlinks=True))
    left = []
    for nth in range(1, operations_of(whole, lambda: work(whole)) + 1):
        root = Path(shutil.copytree(office.root, folder / str(nth), symlinks=True))
        assert killed_before(nth, root, lambda: work(root)) == -signal.SIGKILL  # noqa: B023  called at once
        left.append(root)
    assert len(left) > 5
    return left


def test_a_release_that_the_log_has_is_linked_to_its_bundle_and_any_other_is_registered_again(office):
    states = set()
    for root in copies(office, register):
        left = uk.Workspace.read(root)
        registered = bool(left.registry().in_force)
        states.add(registered)
        if not registered:
            register(root)
        assert [release.id for release in left.registry().in_force] == ["digits@1"]
        assert left.bundle_of("digits@1").units
        assert left.open_requests("digits@1") == ()
        assert [path.name for path in (root / "releases").glob("[!.]*")] == ["digits@1"]
        assert left.checkpoint().size == len(left.view())
    assert states == {False, True}


def test_a_certificate_of_absence_that_the_log_has_lies_in_its_file_and_any_other_is_made_again(office):
    register(office.root)
    states = set()
    for root in copies(office, certify):
        left = uk.Workspace.read(root)
        recorded = [entry.body["certificate"] for entry in left.view().of_type("absence-issued")]
        files = list(left.certificates_path.glob("[!.]*"))
        states.add((len(recorded), len(files)))
        assert len(files) >= len(recorded)
        done = left.certify_absence(["R2"], force=True)
        assert left.verify(done.path).value.digest == done.digest
    assert states == {(0, 0), (0, 1), (1, 1)}
