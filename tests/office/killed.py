"""What a kill leaves of a workspace, and what an officer makes of it: nothing is lost, and nothing spent twice."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import unlearnkit as uk
from tests.bundle.small import UNITS, small
from tests.office import officer
from tests.traced import calls_of, with_fault
from tests.verifier.issuance import policy_text
from unlearnkit.bundle import PseudonymKey, write_bundle
from unlearnkit.compliance.log.proof import verify_proof


def workspace(folder: Path) -> uk.Workspace:
    """Two bundles, of which the first is in use; R2 of somebody in both, R3 of a stranger."""
    (folder / "policy.toml").write_bytes(policy_text())
    made = uk.Workspace.create(folder / "office", origin="example.com/log", policy="../policy.toml")
    for number, name in enumerate(("bundle", "bundle-2")):
        (folder / name).mkdir()
        contents = small(
            folder / name, weights=False, key=PseudonymKey.load(made.pseudonym_key_path), recipe=f"{number}" * 64
        )
        model = {**contents.contents["model"]}
        model["layer.bias"] = model["layer.bias"] + number
        members = {**contents.contents, "model": model}
        write_bundle(made.root / name, manifest=contents.manifest, signer=made.signer_key(), **members)
    made.receive([UNITS[0], "stranger"])
    made.register(made.root / "bundle", name="digits", version="1")
    return made


CHANGES = {"write", "fsync", "ftruncate", "fchmod", "chmod", "mkdir", "rename", "link", "linkat", "symlink", "unlink"}
"""Calls that change files. What opening one changes, the calls after it show."""

Call = tuple[str, int]
"""A name, and which call of that name it is, from 1."""

State = tuple[int, int]
"""How much of it the log has, and how many files."""


def certificates(office: uk.Workspace, kind: str, again: Callable[[], object]) -> State:
    """Each that the log has is in its file; what is there is finished, or made again; and it is there once."""
    recorded, files = office.certificates(), sorted(office.certificates_path.glob("[!.]*"))
    assert all(item.path is not None for item in recorded)
    if files:
        office.resume(files[0])
    else:
        again()
    (done,) = office.certificates()
    assert (done.kind, done.is_proved) == (kind, True)
    names = [check.name for check in office.verify(done.path, bundle=office.root / "bundle").checks]
    assert {"proof", "log"} <= set(names)
    return len(recorded), len(files)


def certified(office: uk.Workspace) -> State:
    """And its delta is spent once."""
    found = certificates(office, "effect", lambda: officer.certify(office.root))
    (entry,) = office.view().of_type("certificate-issued")
    assert [item["delta"] for item in entry.body["questions"]] == ["0.05"]
    return found


def cleared(office: uk.Workspace) -> State:
    """Of absence."""
    return certificates(office, "absence", lambda: officer.clear(office.root))


def registered(office: uk.Workspace) -> State:
    """The release that is in force has its bundle, and there is one."""
    (before,) = [release.id for release in office.registry().in_force]
    if before == "digits@1":
        officer.register(office.root)
    (release,) = office.registry().in_force
    assert release.id == "digits@2"
    assert office.bundle_of(release).digest == office.open_bundle(office.root / "bundle-2").digest
    return int(before == "digits@2"), len(list((office.root / "releases").glob("[!.]*")))


def proved(office: uk.Workspace) -> State:
    """The proof is whole, or not there."""
    place = office.root / officer.PROOF
    was = place.exists()
    raw = place.read_bytes() if was else office.prove(0).raw
    verify_proof(raw, where="proof", line=office.view().entry(0).line, log=office.log_public_key())
    return 0, int(was)


CASES: dict[str, Callable[[uk.Workspace], State]] = {
    "certify": certified,
    "clear": cleared,
    "register": registered,
    "prove": proved,
}
"""By function of `tests.office.officer`, what has to be so after it was killed anywhere."""


def changes_of(office: uk.Workspace, work: str) -> list[Call]:
    """The calls of ``work`` that change files, on a copy of the workspace, in order."""
    whole = Path(shutil.copytree(office.root, office.root.parent / f"whole-{work}", symlinks=True))
    return [call for call in calls_of(partial(getattr(officer, work), whole)) if call[0] in CHANGES]


def killed_at(office: uk.Workspace, work: str, calls: Sequence[Call]) -> frozenset[State]:
    """Kill ``work`` at each of these calls, on a copy of the workspace each, and look at what is left."""
    states = set()
    for name, number in calls:
        place = office.root.parent / f"{work}-{name}-{number}"
        root = Path(shutil.copytree(office.root, place, symlinks=True))
        died = with_fault(partial(getattr(officer, work), root), name, number, "signal=KILL")
        assert died == -signal.SIGKILL, (name, number, died)
        left = uk.Workspace.read(root)
        size = len(left.view())
        states.add(CASES[work](left))
        assert left.checkpoint().size == len(left.view()) >= size
        shutil.rmtree(root)
    return frozenset(states)
