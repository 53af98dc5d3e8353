"""What a kill leaves of a workspace, and what an officer makes of it: nothing is lost, and nothing spent twice."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import unlearnkit as uk
from tests.bundle.small import UNITS, small
from tests.office import officer
from tests.traced import Call, kill_at
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


@dataclass(frozen=True)
class Killed:
    """What was found. states: by how much was recorded and on disk when it was killed."""

    calls: int
    states: frozenset[State]


def killed_everywhere(office: uk.Workspace, work: str, calls: Sequence[Call]) -> Killed:
    """Kill ``work`` at each of these calls, on a copy of the workspace each, and look at what is left."""
    folder = office.root.parent
    places = [(folder / f"{work}-{name}-{nth}", (name, nth)) for name, nth in calls]
    for root, _ in places:
        shutil.copytree(office.root, root, symlinks=True)
    statuses = kill_at(f"tests.office.officer:{work}", places)
    assert statuses == [-signal.SIGKILL] * len(places), list(zip(calls, statuses, strict=True))
    states = set()
    for root, _ in places:
        left = uk.Workspace.read(root)
        size = len(left.view())
        states.add(CASES[work](left))
        assert left.checkpoint().size == len(left.view()) >= size
        shutil.rmtree(root)
    return Killed(len(places), frozenset(states))
