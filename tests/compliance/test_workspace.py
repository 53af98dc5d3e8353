"""A workspace is made whole, and found from inside."""

from __future__ import annotations

import stat
from datetime import UTC, date, datetime

import pytest

from unlearnkit.compliance.log import clock
from unlearnkit.compliance.log.verification import verify_log
from unlearnkit.compliance.policy.policy import Role
from unlearnkit.compliance.workspace import WorkspaceFiles
from unlearnkit.errors import FormatError, PolicyError, RefusedError, UnknownNameError, UnlearnkitError
from unlearnkit.files import read_private
from unlearnkit.signing.keys import is_encrypted

SETTINGS = {"origin": "example.com/log", "policy": "gdpr", "actor": None, "timezone": "Europe/Berlin"}


@pytest.fixture
def workspace(tmp_path):
    return WorkspaceFiles.create(tmp_path / "w", **SETTINGS)


def test_a_workspace_is_found_from_any_directory_inside_it(workspace, tmp_path):
    inside = workspace.root / "a" / "b"
    inside.mkdir(parents=True)
    assert WorkspaceFiles.find(inside) == WorkspaceFiles.find(workspace.root) == workspace
    with pytest.raises(UnknownNameError, match="no workspace at") as caught:
        WorkspaceFiles.find(tmp_path)
    assert "unlearnkit init" in caught.value.hint


def test_a_new_workspace_has_a_signed_log_that_says_how_it_began(workspace):
    found = verify_log(workspace.log_path, log=workspace.log_public_key())
    assert (found.size, found.checkpoint.size) == (2, 2)
    created, key = workspace.open_log().entries()
    assert created.body == {
        "log": workspace.log_public_key().vkey,
        "policy": "gdpr",
        "policy_digest": workspace.policy().digest,
    }
    assert key.type == "pseudonym-key-created"
    assert {path.name for path in workspace.root.iterdir()} == {"unlearnkit.toml", "trust.toml", "audit", "keys"}


def test_secrets_are_private_and_the_trust_store_knows_the_public_halves(workspace):
    keys = workspace.root / "keys"
    for name in ("log.pem", "signer.pem", "pseudonym.key"):
        assert stat.S_IMODE((keys / name).stat().st_mode) == 0o600
    assert (keys / "log.vkey").read_text().strip() == workspace.log_key().public.vkey
    (signer,) = workspace.trust().signers
    assert signer.key.pem == (keys / "signer.pub.pem").read_bytes()
    assert (
        workspace.trust().keys(Role.CERTIFICATE_SIGNER) == workspace.trust().keys(Role.SKETCH_SIGNER) == (signer.key,)
    )
    (keys / "log.pem").chmod(0o644)
    with pytest.raises(RefusedError, match="is open to others"):
        workspace.log_key()


def test_keys_can_have_a_passphrase(tmp_path):
    made = WorkspaceFiles.create(tmp_path / "w", **SETTINGS, passphrase=b"correct horse")
    assert is_encrypted(read_private(made.root / "keys" / "log.pem"))
    assert made.log_key(b"correct horse").public == made.log_public_key()
    with pytest.raises(UnlearnkitError, match="is encrypted, and no passphrase was given"):
        made.log_key()


def test_nothing_is_made_over_a_workspace_or_a_part_of_one(workspace):
    with pytest.raises(
        FileExistsError, match=r"there is a workspace, or a part of one, in .*: unlearnkit\.toml, trust"
    ):
        WorkspaceFiles.create(workspace.root, **SETTINGS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"origin": "my log"}, "origin must be printable ASCII without spaces"),
        ({"origin": "a+b"}, "origin must be"),
        ({"origin": "o'neill"}, "origin must be"),
        ({"policy": "our policy.toml"}, "policy must be a name or a path of plain letters"),
        ({"timezone": "Mars/Olympus"}, "timezone: must be one of the IANA database"),
        ({"timezone": "../../etc/passwd"}, "timezone: must be one of the IANA database"),
    ],
)
def test_settings_that_make_no_sense_make_no_workspace(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        WorkspaceFiles.create(tmp_path / "w", **{**SETTINGS, **change})
    assert not (tmp_path / "w").exists()


def test_the_actor_is_one_of_the_policy(tmp_path, workspace):
    assert workspace.actor == "privacy-officer"
    with pytest.raises(PolicyError, match="does not list 'me' among its actors"):
        WorkspaceFiles.create(tmp_path / "other", **{**SETTINGS, "actor": "me"})


def test_an_interrupted_creation_leaves_no_workspace(tmp_path, monkeypatch):
    from unlearnkit.compliance import workspace as module

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "publish_checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        WorkspaceFiles.create(tmp_path / "w", **SETTINGS)
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("actor =", "actress =", r"lacks 'actor'"),
        ('"gdpr"', "1", "policy must be a name or a path of plain letters: got 1"),
        ("Europe/Berlin", "Berlin", "timezone: must be one of the IANA database"),
        ("workspace/v1", "workspace/v2", "schema is 'unlearnkit/workspace/v2'"),
        ("schema", "[", "is not TOML"),
    ],
)
def test_settings_are_read_strictly(workspace, old, new, message):
    file = workspace.root / "unlearnkit.toml"
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(FormatError, match=message):
        WorkspaceFiles.find(workspace.root)


def test_an_own_policy_is_read_from_the_workspace(tmp_path):
    (tmp_path / "policies").mkdir()
    text = 'schema = "unlearnkit/policy/v1"\nname = "ours"\n[words]\nactors = ["us"]\n'
    (tmp_path / "policies" / "ours.toml").write_text(text)
    made = WorkspaceFiles.create(tmp_path, **{**SETTINGS, "policy": "policies/ours.toml"})
    assert (made.policy().name, made.actor) == ("ours", "us")
    assert WorkspaceFiles.find(tmp_path).policy() == made.policy()


def test_time_comes_from_one_place(workspace, monkeypatch):
    monkeypatch.setattr(clock, "utc_now", lambda: datetime(2028, 6, 30, 22, 30, tzinfo=UTC))
    desk = workspace.desk(with_key=True)
    assert desk.today == date(2028, 7, 1)  # in Berlin
    (request,) = desk.receive(["jane"], source="email")
    assert request.respond.day == date(2028, 8, 1)
    *_, entry = workspace.open_log().entries()
    assert entry.time == datetime(2028, 6, 30, 22, 30, tzinfo=UTC)
