"""Who was forgotten, hunted by somebody who has the whole workspace, the name, and a guess; and what is out of reach.

SECURITY.md and docs/adr/0008-forgetting-one.md say both.
"""

from __future__ import annotations

import json
import re

import pytest

from tests.bundle.small import UNITS
from tests.office.test_clearing import WITHOUT_ANN
from tests.office.test_purging import ANN, BEN, later, linked, office  # noqa: F401 - a fixture
from unlearnkit.bundle import PseudonymKey
from unlearnkit.bundle.pseudonym import KeptPseudonyms
from unlearnkit.errors import RefusedError
from unlearnkit.records import write_json

NEVER = "somebody-else@example.org"


@pytest.fixture
def purged(office, monkeypatch, tmp_path):  # noqa: F811 - the fixture
    """The office of ten years later, in which ann was forgotten; an older copy of its key; ann's pseudonym."""
    PseudonymKey.load(office.pseudonym_key_path).save(tmp_path / "backup.key")
    (pseudonym,) = {item.subject for item in office.all_requests().requests.values() if item.id == "R2"}
    later(monkeypatch)
    office.purge()
    return office, tmp_path / "backup.key", pseudonym


def test_no_secret_that_is_anywhere_in_the_workspace_gives_the_name_its_pseudonym(purged):
    """Every run of 64 hexadecimal digits in every file is tried, as either secret of a key and as a whole one."""
    workspace, _, pseudonym = purged
    stored = json.loads(workspace.pseudonym_key_path.read_bytes())
    texts = [path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()]
    found = {match.decode() for raw in texts for match in re.findall(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", raw)}
    assert {stored["tags"], stored["fresh"], pseudonym} <= found
    for secret in found:
        assert PseudonymKey(bytes.fromhex(secret)).pseudonym(ANN) != pseudonym
        for tags, fresh in ((stored["tags"], secret), (secret, stored["fresh"])):
            assert loaded(workspace, {"tags": tags, "fresh": fresh, "kept": stored["kept"]}).pseudonym(ANN) != pseudonym


def loaded(workspace, members) -> PseudonymKey:
    path = workspace.root.parent / "tried.key"
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(write_json(KeptPseudonyms(**members)))
    return PseudonymKey.load(path)


def test_a_forgotten_name_looks_like_one_that_was_never_seen(purged):
    """In the table is neither; under the key both have pseudonyms that stand nowhere, and both are told the same."""
    workspace, _, _ = purged
    key, stored = PseudonymKey.load(workspace.pseudonym_key_path), json.loads(workspace.pseudonym_key_path.read_bytes())
    everything = b"".join(path.read_bytes() for path in workspace.root.rglob("*") if path.is_file())
    for name in (ANN, NEVER):
        assert key.pseudonym(name) not in stored["kept"].values()
        assert key.pseudonym(name).encode() not in everything
        assert linked(workspace, name) == set()
        assert workspace.requests(everything=True, subject=name) == ()
    assert workspace.strangers([ANN, NEVER, BEN]) == (0, 1)


def test_the_table_names_exactly_those_who_are_known_and_nobody_by_name(purged):
    workspace, backup, pseudonym = purged
    text = workspace.pseudonym_key_path.read_text()
    kept, old = set(json.loads(text)["kept"].values()), PseudonymKey.load(backup)
    assert kept == {old.pseudonym(name) for name in WITHOUT_ANN}
    assert pseudonym not in kept
    assert not any(f'"{name}"' in text for name in (*UNITS, "stranger"))


def test_an_older_copy_of_the_key_links_still_and_the_office_does_not_take_it(purged):
    """The limit that is stated: backups are the owner's to find."""
    workspace, backup, pseudonym = purged
    assert PseudonymKey.load(backup).pseudonym(ANN) == pseudonym
    backup.replace(workspace.pseudonym_key_path)
    with pytest.raises(RefusedError, match="still knows people who were forgotten"):
        workspace.receive(["newcomer"])


def test_who_knows_the_order_of_the_training_data_finds_the_place_that_is_left(purged):
    """The limit that is stated: the list of a bundle that is kept has the order of the data, signed for good."""
    workspace, _, pseudonym = purged
    key = PseudonymKey.load(workspace.pseudonym_key_path)
    listed = json.loads((workspace.root / "first" / "units.json").read_bytes())
    known = {key.pseudonym(name): name for name in UNITS[1:]}
    assert [known.get(item) for item in listed] == [None, *UNITS[1:]]
    assert listed[0] == pseudonym


def test_a_name_that_comes_back_is_somebody_new_to_log_releases_and_receipts(purged):
    workspace, _, pseudonym = purged
    (again,) = workspace.receive([ANN])
    assert again.subject != pseudonym
    assert (again.follows, again.duplicate_of) == (None, None)
    assert workspace.receipts([again]).keys() == {again.id}
    workspace.checkpoint()
    assert {check.name for check in workspace.verify(workspace.log_path).checks} >= {"chain", "requests", "days"}
