"""A workspace puts new keys in the place of old ones: with a passphrase, by a command, and whatever interrupts it."""

from __future__ import annotations

import shutil

import pytest

import unlearnkit as uk
from tests import needs
from tests.interrupted import killed_before, operations_of
from unlearnkit.compliance.workspace import FILE_NAME
from unlearnkit.errors import RefusedError
from unlearnkit.signing.keys import Algorithm, PrivateKey, is_encrypted, write_private_key, write_public_key

CALLS = ("fsync", "ftruncate")


@pytest.fixture
def office(tmp_path):
    return uk.Workspace.create(tmp_path / "office", origin="example.com/log")


def finished(office: uk.Workspace, name: str) -> bool:
    """Both keys count, the new one is in use, the old one is kept, the log says so once and is signed."""
    view = office.view()
    (rotation,) = view.keyring.rotations
    used = office.signer_key().public if name == "signer" else office.log_key().private.public
    store = office.trust()
    known = [item.key for item in store.signers] if name == "signer" else [key.public for key in store.logs]
    return (
        (used, known) == (rotation.successor, [rotation.key, rotation.successor])
        and office.key_before(name, rotation.key).exists()
        and not list(office.keys_path.glob("*.next.pem"))
        and view.unsigned == 0
    )


@pytest.mark.parametrize("name", ["signer", "log"])
def test_a_rotation_that_is_killed_anywhere_goes_on(office, tmp_path, name):
    copy = tmp_path / "copy"

    def fresh() -> uk.Workspace:
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(office.root.parent, copy)
        return uk.Workspace.read(copy / "office")

    made = fresh()
    count = operations_of(copy, lambda: made.rotate_key(name) and None, CALLS)
    for nth in range(1, count + 1, 2):
        made = fresh()
        assert killed_before(nth, copy, lambda made=made: made.rotate_key(name) and None, CALLS) < 0
        made.rotate_key(name)
        assert finished(made, name), nth


def test_the_new_key_has_the_passphrase_of_the_old_one(tmp_path):
    office = uk.Workspace.create(tmp_path / "office", origin="example.com/log", passphrase=b"horse").unlocked(b"horse")
    for name in ("signer", "log"):
        office.rotate_key(name)
        assert is_encrypted((office.keys_path / f"{name}.pem").read_bytes())
    assert len(office.log_key(b"horse").also) == 1
    revoked = office.revoke_key(office.view().keyring.rotations[1].key.key_id)
    assert office.view().keyring.revoked() == {revoked.key: revoked.since}
    assert office.view().signed.checkpoint.keys == (office.log_key(b"horse").private.public,)


@needs.program("openssl")
def test_a_key_behind_a_command_takes_the_place_of_another(office, tmp_path):
    token = PrivateKey.generate(Algorithm.P256)
    write_private_key(tmp_path / "token.pem", token)
    for wrong in (PrivateKey.generate(Algorithm.ED25519).public, office.signer_key().public):
        with pytest.raises(RefusedError):
            office.rotate_key("signer", to=wrong)
    old = office.signer_key().public
    office.rotate_key("signer", to=token.public)
    command = ["openssl", "pkeyutl", "-sign", "-inkey", str(tmp_path / "token.pem"), "-pkeyopt", "digest:sha256"]
    settings = office.root / FILE_NAME
    settings.write_text(f"sign = {command}\n{settings.read_text()}")
    assert office.signer_key().public == token.public
    assert token.public.verify(office.signer_key().sign(b"x"), b"x") == b"x"
    assert [item.key for item in office.trust().signers] == [old, token.public]
    with pytest.raises(RefusedError, match="a command signs here"):
        office.rotate_key("signer")
    another = PrivateKey.generate(Algorithm.P256).public
    assert office.rotate_key("signer", to=another).successor == another.key_id  # the command signed that
    write_public_key(tmp_path / "another.pem", another)
