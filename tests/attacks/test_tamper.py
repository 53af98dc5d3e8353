"""The tamper matrix of a signed bundle: every change raises FormatError or VerificationError, and none passes."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.bundle.small import small
from unlearnkit.bundle import Bundle, Manifest, write_bundle
from unlearnkit.bundle.integrity import verify_digest, verify_listing_agrees
from unlearnkit.canonical import sha256_hex
from unlearnkit.errors import FormatError, VerificationError
from unlearnkit.signing.keys import Algorithm, PrivateKey, PublicKey
from unlearnkit.signing.model_signature import SignedListing, verify_listing

REFUSED = (FormatError, VerificationError)
JSON = ("manifest.json", "units.json", "model.sig")


@pytest.fixture(scope="module")
def signer():
    return PrivateKey.generate(Algorithm.P256)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory, signer) -> tuple[Path, Path]:
    """Two valid bundles by one signer, with every kind of file."""
    made = []
    for dtype in ("float64", "float32"):
        folder = tmp_path_factory.mktemp(dtype)
        (folder / "run").mkdir()
        contents = small(folder / "run", dtype=dtype, swept=True, informed=2, informed_degree=2)
        write_bundle(folder / "bundle", manifest=contents.manifest, signer=signer, **contents.contents)
        for name in files(folder / "bundle"):  # weight sketches are links: their other name must stay as it is
            file = folder / "bundle" / name
            raw = file.read_bytes()
            file.unlink()
            file.write_bytes(raw)
        made.append(folder / "bundle")
    return made[0], made[1]


@pytest.fixture
def path(bundles, tmp_path) -> Path:
    return Path(shutil.copytree(bundles[0], tmp_path / "bundle"))


def files(path: Path) -> list[str]:
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())


def refused(path: Path, signer: PrivateKey) -> bool:
    """Nothing but these errors: any other fails the test, and so does an open bundle."""
    try:
        Bundle.open(path, trust=[signer.public])
    except REFUSED:
        return True
    return False


def changes(raw: bytes, positions: Iterator[int] | range) -> Iterator[tuple[str, int, bytes]]:
    for at in positions:
        yield "flip", at, raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :]
        yield "insert", at, raw[:at] + bytes([raw[at]]) + raw[at:]
        yield "delete", at, raw[:at] + raw[at + 1 :]
        yield "truncate", at, raw[:at]


@cache
def listing(raw: bytes, key: PublicKey) -> SignedListing:
    return verify_listing(raw, where="model.sig", keys=[key])


@cache
def described(raw: bytes) -> Manifest:
    return Manifest.from_bytes(raw)


def passes(contents: Mapping[str, bytes], signer: PrivateKey) -> bool:
    """What opening verifies of a bundle's bytes, from memory and in its order, so that every change can be tried."""
    raw_manifest = contents["manifest.json"]
    try:
        signed = listing(contents["model.sig"], signer.public)
        if signed.digests["manifest.json"] != sha256_hex(raw_manifest):
            return False
        manifest = described(raw_manifest)
        verify_listing_agrees(signed, raw_manifest, manifest)
        for file in manifest.files:
            verify_digest(file, len(contents[file.path]), sha256_hex(contents[file.path]))
    except REFUSED:
        return False
    return True


def tampered_and_passing(
    path: Path, signer: PrivateKey, name: str, tampered: Iterator[tuple[str, int, bytes]], *, on_disk: int
) -> list[tuple[str, int]]:
    """The changes of a file that anything accepts: judged by its bytes, and one in ``on_disk`` also by opening it."""
    contents = {name: (path / name).read_bytes() for name in files(path)}
    accepted = []
    for number, (kind, at, changed) in enumerate(tampered):
        if changed == contents[name]:
            continue
        passing = passes({**contents, name: changed}, signer)
        if number % on_disk == 0:
            (path / name).write_bytes(changed)
            passing = passing or not refused(path, signer)
        if passing:
            accepted.append((kind, at))
    (path / name).write_bytes(contents[name])
    return accepted


def test_the_untouched_bundles_verify(bundles, signer):
    for bundle in bundles:
        assert Bundle.open(bundle, trust=[signer.public]).signers == (signer.public.key_id,)


def test_the_judge_of_bytes_and_an_open_bundle_agree(bundles, signer):
    for bundle in bundles:
        assert passes({name: (bundle / name).read_bytes() for name in files(bundle)}, signer)


@pytest.mark.parametrize("name", JSON)
def test_no_byte_of_a_json_file_can_be_changed(path, signer, name):
    """Every position. The only spelling left free is that of an outside format: none is."""
    raw = (path / name).read_bytes()
    assert tampered_and_passing(path, signer, name, changes(raw, range(len(raw))), on_disk=32) == []


def test_no_byte_of_a_tensor_file_can_be_changed(path, signer):
    """Every byte of the headers, and samples of the numbers."""
    for name in files(path):
        if name in JSON:
            continue
        raw = (path / name).read_bytes()
        header = 8 + int.from_bytes(raw[:8], "little")
        tampered = changes(raw, iter([*range(header), *range(header, len(raw), 61), len(raw) - 1]))
        assert tampered_and_passing(path, signer, name, tampered, on_disk=128) == []
    assert not refused(path, signer)


def test_no_mixture_of_two_valid_bundles_passes(bundles, path, signer):
    """Every choice of files from the one and from the other, the signatures included, but all of the one."""
    names = [name for name in files(path) if (path / name).read_bytes() != (bundles[1] / name).read_bytes()]
    assert len(names) == len(files(path)) - 1  # the same people
    for choice in itertools.product(range(2), repeat=len(names)):
        for name, which in zip(names, choice, strict=True):
            (path / name).write_bytes((bundles[which] / name).read_bytes())
        assert refused(path, signer) == (len(set(choice)) == 2), choice


def test_no_file_can_be_removed_renamed_doubled_or_linked(path, signer, tmp_path):
    for name in files(path):
        file, aside = path / name, tmp_path / "aside"
        file.rename(aside)
        assert refused(path, signer), f"without {name}"
        file.with_name(file.name + "x").write_bytes(aside.read_bytes())
        assert refused(path, signer), f"renamed {name}"
        file.with_name(file.name + "x").unlink()
        file.symlink_to(aside)
        assert refused(path, signer), f"linked {name}"
        file.unlink()
        aside.rename(file)
        (path / "probes" / f"copy-{file.name}").write_bytes(file.read_bytes())
        assert refused(path, signer), f"doubled {name}"
        (path / "probes" / f"copy-{file.name}").unlink()
    assert not refused(path, signer)


IGNORED_BY_OTHERS = [".git", ".gitignore", ".gitattributes", ".git/config", ".github/workflow.yml"]
UNUSUAL = [
    ".hidden",
    "model.sig.bak",
    "...",
    "probes/model.sig",
    "Manifest.json",
    "a\nb",
    "ünïcode",
    b"\xff\xfe",
    "-rf",
]


@pytest.mark.parametrize("name", IGNORED_BY_OTHERS + UNUSUAL)
def test_no_name_is_ignored(path, signer, name):
    """The outside tool passes over some; we do not."""
    file = path / os.fsdecode(name)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"x")
    assert refused(path, signer)


def test_links_are_refused_even_to_folders_of_the_bundle_itself(path, signer, tmp_path):
    (path / "more").symlink_to(path / "probes", target_is_directory=True)
    assert refused(path, signer)
    (path / "more").unlink()
    (path / "probes").rename(tmp_path / "probes")
    (path / "probes").symlink_to(tmp_path / "probes", target_is_directory=True)
    assert refused(path, signer)


def test_an_entry_of_another_kind_is_refused(path, signer):
    for name in files(path):
        raw = (path / name).read_bytes()
        (path / name).unlink()
        (path / name).mkdir()
        assert refused(path, signer), f"{name} is a folder"
        (path / name).rmdir()
        os.mkfifo(path / name)
        assert refused(path, signer), f"{name} is a pipe"
        (path / name).unlink()
        (path / name).write_bytes(raw)
    assert not refused(path, signer)


def test_nothing_is_read_of_a_file_that_is_larger_than_promised(path, signer):
    """A hole of 256 GiB, which takes no space, and would take minutes to read."""
    os.truncate(path / "model.safetensors", 2**38)
    with pytest.raises(VerificationError, match=r"model\.safetensors has 274877906944 bytes, the manifest says"):
        Bundle.open(path, trust=[signer.public])
