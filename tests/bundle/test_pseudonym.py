"""Pseudonyms: against HMAC written out by hand; and a key that stays secret."""

from __future__ import annotations

import hashlib
import json
import subprocess

import pytest

from unlearnkit.bundle import PseudonymKey
from unlearnkit.errors import FormatError, RefusedError, UnknownNameError

SECRET = bytes(range(32))


def hmac_by_hand(key: bytes, message: bytes) -> bytes:
    """RFC 2104 section 2, for a key shorter than the block of 64 bytes."""
    inner = bytes(b ^ 0x36 for b in key.ljust(64, b"\0"))
    outer = bytes(b ^ 0x5C for b in key.ljust(64, b"\0"))
    return hashlib.sha256(outer + hashlib.sha256(inner + message).digest()).digest()


def openssl_by_hand(key: bytes, plain: bytes) -> bytes:
    return subprocess.run(
        ["openssl", "enc", "-aes-256-cbc", "-nopad", "-K", key.hex(), "-iv", "00" * 16],
        input=plain,
        capture_output=True,
        check=True,
    ).stdout


@pytest.mark.parametrize("name", ["", "user-17", "Zoë", 17, -3])
def test_a_pseudonym_is_the_tag_of_a_name_enciphered(name):
    domain = b"unlearnkit/pseudonym/v1\0"
    tags, fresh = (hmac_by_hand(SECRET, domain + what) for what in (b"tags", b"fresh"))
    tag = hmac_by_hand(tags, domain + str(name).encode())[:24]
    assert PseudonymKey(SECRET).pseudonym(name) == openssl_by_hand(fresh, tag + bytes(8)).hex()


def test_a_number_is_the_same_unit_as_its_text():
    assert PseudonymKey(SECRET).pseudonym(17) == PseudonymKey(SECRET).pseudonym("17")


def test_keys_differ_and_so_do_their_pseudonyms():
    assert PseudonymKey.generate().pseudonym("ann") != PseudonymKey.generate().pseudonym("ann")


def test_a_key_never_shows_its_secret():
    key = PseudonymKey(SECRET)
    assert SECRET.hex() not in f"{key} {key!r} {vars(PseudonymKey)}"
    assert repr(key) == "PseudonymKey(secret)"
    assert not hasattr(key, "__dict__")


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_has_32_bytes(size):
    with pytest.raises(ValueError, match=f"32 bytes, got {size}"):
        PseudonymKey(bytes(size))


def test_a_saved_key_is_the_same_key_and_readable_by_its_owner_alone(tmp_path):
    file = tmp_path / "pseudonym.key"
    PseudonymKey(SECRET).save(file)
    assert file.read_text() == SECRET.hex() + "\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert PseudonymKey.load(file).pseudonym("ann") == PseudonymKey(SECRET).pseudonym("ann")
    assert [file.name for file in tmp_path.iterdir()] == ["pseudonym.key"]


def test_a_key_is_never_overwritten(tmp_path):
    file = tmp_path / "pseudonym.key"
    PseudonymKey(SECRET).save(file)
    with pytest.raises(FileExistsError, match=r"pseudonym\.key"):
        PseudonymKey.generate().save(file)
    assert file.read_text() == SECRET.hex() + "\n"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_can_reach_is_refused(tmp_path, mode):
    file = tmp_path / "pseudonym.key"
    PseudonymKey(SECRET).save(file)
    file.chmod(mode)
    with pytest.raises(RefusedError, match=f"mode is {mode:04o}") as caught:
        PseudonymKey.load(file)
    assert SECRET.hex() not in str(caught.value)


def test_an_absent_key_is_named(tmp_path):
    with pytest.raises(UnknownNameError, match=r"no pseudonym key at .*pseudonym\.key") as caught:
        PseudonymKey.load(tmp_path / "pseudonym.key")
    assert "by pseudonym only" in caught.value.hint


@pytest.mark.parametrize("text", ["", "00" * 31, "00" * 33, "AB" * 32, "zz" * 32, "00" * 32 + "\n\n", " " + "00" * 32])
def test_a_file_that_is_no_key_is_refused_without_showing_it(tmp_path, text):
    file = tmp_path / "pseudonym.key"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(FormatError, match="is not a pseudonym key: expected 64 hexadecimal digits") as caught:
        PseudonymKey.load(file)
    assert not text.strip() or text.strip() not in str(caught.value)


def test_the_key_beside_a_bundle_is_made_once(tmp_path):
    first = PseudonymKey.for_bundle(tmp_path / "bundle")
    again = PseudonymKey.for_bundle(tmp_path / "other")
    assert first.pseudonym("ann") == again.pseudonym("ann")
    assert [file.name for file in tmp_path.iterdir()] == ["pseudonym.key"]


def test_a_process_that_comes_second_takes_the_key_of_the_first(tmp_path, monkeypatch):
    winner = PseudonymKey(SECRET)
    save = PseudonymKey.save

    def overtaken(self, path):
        save(winner, path)
        save(self, path)

    monkeypatch.setattr(PseudonymKey, "save", overtaken)
    assert PseudonymKey.for_bundle(tmp_path / "bundle").pseudonym("ann") == winner.pseudonym("ann")


def test_a_bundle_in_a_workspace_uses_the_workspaces_key(tmp_path):
    bundle = tmp_path / "office" / "run" / "bundle"
    (tmp_path / "office" / "unlearnkit.toml").parent.mkdir()
    (tmp_path / "office" / "unlearnkit.toml").touch()
    path = PseudonymKey.path_for(bundle)
    assert path == tmp_path / "office" / "keys" / "pseudonym.key"
    with pytest.raises(UnknownNameError, match="no pseudonym key"):  # destroyed keys are not replaced
        PseudonymKey.for_bundle(bundle)
    path.parent.mkdir()
    PseudonymKey(bytes(32)).save(path)
    assert PseudonymKey.for_bundle(bundle).pseudonym("a") == PseudonymKey(bytes(32)).pseudonym("a")


NAMES = ["ann", "ben", "cleo", "dan"]


def test_whom_a_key_keeps_is_named_as_before_and_everybody_else_anew():
    before = PseudonymKey(SECRET)
    after = before.keeping([before.pseudonym(name) for name in ("ben", "cleo")])
    assert [after.pseudonym(name) == before.pseudonym(name) for name in NAMES] == [False, True, True, False]
    assert after.fingerprint == before.fingerprint
    assert after.pseudonym("ann") == after.pseudonym("ann")
    assert after.unknown([before.pseudonym(name) for name in NAMES]) == [
        before.pseudonym("ann"),
        before.pseudonym("dan"),
    ]
    assert after.unknown([after.pseudonym(name) for name in NAMES]) == []


def test_a_key_forgets_again_and_again():
    key = PseudonymKey(SECRET)
    first = {name: key.pseudonym(name) for name in NAMES}
    second = key.keeping([first[name] for name in NAMES[1:]])
    newcomer = second.pseudonym("eve")
    third = second.keeping([first["cleo"], newcomer, "0" * 64])
    assert [third.pseudonym(name) == first[name] for name in NAMES] == [False, False, True, False]
    assert third.pseudonym("eve") == newcomer
    assert third.pseudonym("dan") not in (first["dan"], second.pseudonym("dan"))


def test_nothing_in_the_new_file_or_on_the_place_of_the_old_one_leads_to_who_was_forgotten(tmp_path):
    """Every secret in the new file, tried as every secret that made a pseudonym, gives another one for the name."""
    file, kept = tmp_path / "pseudonym.key", tmp_path / "same-inode"
    key = PseudonymKey(SECRET)
    key.save(file)
    kept.hardlink_to(file)
    key.keeping([key.pseudonym("ben")]).replace(file)
    assert kept.read_bytes() == bytes(65)
    assert file.stat().st_mode & 0o777 == 0o600
    stored = json.loads(file.read_bytes())
    assert stored.keys() == {"fresh", "kept", "schema", "tags"}
    assert key.pseudonym("ann") not in file.read_text()
    domain = b"unlearnkit/pseudonym/v1\0"
    for tags in (stored["tags"], stored["fresh"]):
        tag = hmac_by_hand(bytes.fromhex(tags), domain + b"ann")[:24]
        assert tag.hex() not in stored["kept"]
        for fresh in (stored["tags"], stored["fresh"], SECRET.hex()):
            assert openssl_by_hand(bytes.fromhex(fresh), tag + bytes(8)).hex() != key.pseudonym("ann")


def test_a_key_that_forgot_is_read_again_as_it_was_written(tmp_path):
    key = PseudonymKey(SECRET)
    after = key.keeping([key.pseudonym("ben")])
    after.save(tmp_path / "key")
    again = PseudonymKey.load(tmp_path / "key")
    assert [again.pseudonym(name) for name in NAMES] == [after.pseudonym(name) for name in NAMES]
    assert again.keeping([key.pseudonym("ben")]).pseudonym("ben") == key.pseudonym("ben")
    (tmp_path / "key").write_bytes((tmp_path / "key").read_bytes().replace(b'"kept"', b'"kept_"'))
    with pytest.raises(FormatError):
        PseudonymKey.load(tmp_path / "key")
