"""Bundles that somebody altered: every one is refused by the errors that say so, and by no others."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.bundle.small import DIGEST, UNITS, small
from unlearnkit.bundle import Bundle, direction_key, salt_from_seed, write_bundle
from unlearnkit.bundle.manifest import RandomDirections
from unlearnkit.canonical import canonicalize
from unlearnkit.errors import DigestMismatchError, FormatError, VerificationError

REFUSED = (FormatError, VerificationError)


def files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file())


def test_no_flipped_byte_of_any_file_but_the_manifest_is_accepted(path):
    """Every byte of the units and of the headers of the tensors, and every seventh of the numbers."""
    for file in files(path):
        if file.name == "manifest.json":
            continue
        raw = file.read_bytes()
        header = len(raw) if file.suffix == ".json" else 8 + int.from_bytes(raw[:8], "little")
        for at in (*range(header), *range(header, len(raw), 7), len(raw) - 1):
            flipped = bytearray(raw)
            flipped[at] ^= 1 << at % 8
            file.unlink()  # weight sketches are links
            file.write_bytes(flipped)
            with pytest.raises(DigestMismatchError, match=f"{file.name} has SHA-256"):
                Bundle.open(path)
        file.write_bytes(raw)
    Bundle.open(path)


def test_no_flipped_byte_of_the_manifest_leaves_the_digest(path):
    """Most do not even parse; what does is another description of the same files, under another digest."""
    file, raw, digest = path / "manifest.json", (path / "manifest.json").read_bytes(), Bundle.open(path).digest
    descriptions, accepted = {"counterfactual", "piecewise", "pseudonym_key", "versions"}, 0
    for at in range(len(raw)):
        file.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        try:
            bundle = Bundle.open(path)
        except REFUSED:
            continue
        accepted += 1
        assert bundle.digest != digest
        before, after = json.loads(raw), json.loads(file.read_bytes())
        assert {name for name in before if before[name] != after[name]} <= descriptions
    assert 0 < accepted < len(raw) / 10


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a JSON value, but the top."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in steps:
        yield (*path, key)
        yield from places(item, (*path, key))


VALUES = [None, True, 0, -1, 3, 2**53 - 1, 0.5, "", "../x", "0" * 64, [], {}, [2**53 - 1], "explicit"]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_no_value_anywhere_in_the_manifest_ends_in_anything_but_a_refusal(path, value):
    """Free text apart, which the digest alone guards."""
    file = path / "manifest.json"
    record = json.loads(file.read_bytes())
    free = ("counterfactual", "versions", "piecewise")
    for place in places(record):
        changed = copy.deepcopy(record)
        holder = changed
        for step in place[:-1]:
            holder = holder[step]
        holder[place[-1]] = value
        if changed == record or place[0] in free:
            continue
        file.write_bytes(canonicalize(changed))
        with pytest.raises(REFUSED, match=r"."):
            Bundle.open(path)


def test_a_file_cut_short_is_refused_wherever(path):
    for file in files(path):
        raw = file.read_bytes()
        file.unlink()
        for length in range(0, len(raw), 1 + len(raw) // 20):
            file.write_bytes(raw[:length])
            with pytest.raises(REFUSED, match=file.name):
                Bundle.open(path)
        file.write_bytes(raw)


def other(tmp_path: Path) -> Path:
    """A bundle of the same recipe, shapes and names, with other directions and other units."""
    (tmp_path / "other-run").mkdir()
    contents, salt = small(tmp_path / "other-run"), salt_from_seed(2)
    key = direction_key(DIGEST, salt).hex()
    directions = RandomDirections(count=contents.manifest.direction_count, salt=salt.hex(), key=key)
    manifest = replace(contents.manifest, directions=directions)
    scaled = {name: (2 * base, 2 * c) for name, (base, c) in contents.contents["probes"].items()}
    units = [f"{i:064x}" for i in range(len(UNITS))]
    model = {name: array + 1 for name, array in contents.contents["model"].items()}
    write_bundle(
        tmp_path / "other",
        manifest=manifest,
        **{**contents.contents, "units": units, "model": model, "probes": scaled},
    )
    return tmp_path / "other"


@pytest.mark.parametrize(
    "name", ["manifest.json", "units.json", "model.safetensors", "probes/margins.safetensors", "probes"]
)
def test_files_of_two_bundles_cannot_be_swapped(path, tmp_path, name):
    second = other(tmp_path)
    Bundle.open(second)
    (path / name).rename(tmp_path / "aside")
    (second / name).rename(path / name)
    (tmp_path / "aside").rename(second / name)
    for bundle in (path, second):
        with pytest.raises(DigestMismatchError, match="the manifest says"):
            Bundle.open(bundle)


def test_two_files_of_a_bundle_cannot_be_swapped(path):
    one, two = (path / "sketch" / f"directions-{part}.safetensors" for part in ("00000-00004", "00004-00006"))
    one.rename(path / "aside")
    two.rename(one)
    (path / "aside").rename(two)
    with pytest.raises(DigestMismatchError, match="the manifest says"):
        Bundle.open(path)


def test_hard_links_are_files_like_any_other(path, tmp_path):
    for i, file in enumerate(files(path)):
        os.link(file, tmp_path / f"link-{i}")
    Bundle.open(path)


def test_a_bundle_knows_no_time(path, tmp_path):
    """The same call later gives the same bytes, and touching a file changes nothing."""
    (tmp_path / "later").mkdir()
    again = small(tmp_path / "later").write(tmp_path / "again")
    for file in files(path):
        os.utime(file, (0, 0))
    assert {f.relative_to(path): f.read_bytes() for f in files(path)} == {
        f.relative_to(again): f.read_bytes() for f in files(again)
    }
    assert Bundle.open(path).digest == Bundle.open(again).digest


def test_directions_of_another_salt_are_other_directions(path, tmp_path):
    """Which is why the manifest's key is checked against recipe and salt."""
    first, second = Bundle.open(path), Bundle.open(other(tmp_path))
    assert not np.isclose(first.directions.block(0, 6), second.directions.block(0, 6)).any()
