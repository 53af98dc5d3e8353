"""Where the salt came from: a checkpoint of the log, later than the commitment, or somebody's choice."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

import unlearnkit as uk
from tests.bundle.small import DIGEST, small
from tests.training.calls import sketched
from tests.training.small import recipe
from unlearnkit.bundle import Bundle, Directions, salt_from_checkpoint, write_bundle
from unlearnkit.bundle.manifest import SaltFromLog
from unlearnkit.canonical import canonicalize
from unlearnkit.errors import RefusedError, VerificationError
from unlearnkit.sketching import sketch as sketching

CHECKPOINT = "example.org/log\n17\nqINS1GRFhWHwdkUeqLEoP4yEMkTBBzxBkGwGQlVlVcs=\n\n— example.org/log Az3grlgtzPICa5OS\n"
CALL = {"directions": 3, "degree": 1, "dtype": "float64", "device": "cpu"}


def test_it_is_the_hash_of_recipe_digest_and_checkpoint():
    expected = hashlib.sha256(DIGEST.encode("ascii") + CHECKPOINT.encode("utf-8")).digest()
    assert salt_from_checkpoint(DIGEST, CHECKPOINT) == expected


@pytest.fixture
def path(tmp_path):
    """A bundle whose directions follow from the checkpoint."""
    made, salt = small(tmp_path), salt_from_checkpoint(DIGEST, CHECKPOINT)
    record = Directions.random(DIGEST, salt, made.directions.count, 5, "float64").record
    manifest = replace(made.manifest, directions=replace(record, salt_from=SaltFromLog(checkpoint=CHECKPOINT)))
    write_bundle(tmp_path / "bundle", manifest=manifest, **made.contents)
    return tmp_path / "bundle"


def test_a_bundle_says_from_which_checkpoint(path):
    assert Bundle.open(path).manifest.checkpoint == CHECKPOINT
    record = json.loads((path / "manifest.json").read_bytes())["directions"]
    assert record["salt_from"] == {"kind": "log", "checkpoint": CHECKPOINT}


def test_a_salt_that_does_not_follow_from_it_is_refused(path):
    record = json.loads((path / "manifest.json").read_bytes())
    record["directions"]["salt_from"]["checkpoint"] = CHECKPOINT.replace("17", "18")
    (path / "manifest.json").write_bytes(canonicalize(record))
    with pytest.raises(VerificationError, match="but recipe and checkpoint give"):
        Bundle.open(path)


def test_a_seed_and_nothing_are_chosen(tmp_path):
    for name, settings in (("seed", {"seed": 1}), ("nothing", {})):
        manifest = sketched(recipe(), tmp_path / name, **CALL, **settings).manifest
        assert manifest.checkpoint == ""
        assert json.loads(manifest.to_bytes())["directions"]["salt_from"] == {"kind": "chosen"}


def test_a_sketch_takes_the_bytes_of_a_checkpoint(tmp_path):
    r = recipe()
    bundle = sketched(r, tmp_path / "bundle", **CALL, salt=CHECKPOINT.encode())
    assert bundle.manifest.checkpoint == CHECKPOINT
    assert bundle.manifest.salt == salt_from_checkpoint(r.digest, CHECKPOINT).hex()
    again = sketched(r, tmp_path / "bundle", **CALL, salt=CHECKPOINT.encode())
    assert again.digest == bundle.digest
    for other in ({"salt": CHECKPOINT.encode() + b"\n"}, {"seed": 1}, {}):
        with pytest.raises(FileExistsError, match="another bundle"):
            sketched(r, tmp_path / "bundle", **CALL, **other)


def test_an_unfinished_sketch_keeps_its_checkpoint(tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stop

    monkeypatch.setattr(sketching, "_publish", stop)
    with pytest.raises(Stop):
        sketched(recipe(), tmp_path / "bundle", **CALL, salt=CHECKPOINT.encode())
    with pytest.raises(RefusedError, match=r"salt=|checkpoint="):
        sketched(recipe(), tmp_path / "bundle", **CALL, salt=b"another")


def test_what_is_no_checkpoint_is_refused(tmp_path):
    for settings, message in (
        ({"salt": b"\xff"}, "bytes of an audit log's checkpoint"),
        ({"salt": b""}, "got no bytes"),
        ({"salt": b"text", "seed": 1}, "seed and salt"),
    ):
        with pytest.raises(ValueError, match=message):
            uk.sketch(recipe(), tmp_path / "bundle", **settings)
    assert not list(tmp_path.iterdir())
