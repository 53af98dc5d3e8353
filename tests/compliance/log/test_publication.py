"""Checkpoints, proofs and tiles: made by us, verified by us and by aics-tlog."""

from __future__ import annotations

import base64

import pytest

from tests import needs
from unlearnkit.compliance.log.checkpoint import merge_cosignatures, sign_checkpoint, verify_checkpoint
from unlearnkit.compliance.log.entry import draft
from unlearnkit.compliance.log.log import AuditLog
from unlearnkit.compliance.log.merkle import EMPTY_ROOT, Tree, leaf_hash, verify_consistency
from unlearnkit.compliance.log.proof import parse_proof, verify_proof
from unlearnkit.compliance.log.publication import import_checkpoint, prove_entry, prove_growth, publish_checkpoint
from unlearnkit.compliance.log.tiles import export_tiles, tile_path
from unlearnkit.compliance.log.verification import verify_log
from unlearnkit.errors import (
    ChainError,
    ConsistencyError,
    FormatError,
    InclusionError,
    RollbackError,
    SignatureError,
    UnknownNameError,
)
from unlearnkit.signing.note import cosign_note, sign_note

SIZES = [1, 2, 7, 255, 256, 257, 70_000]


def lines_of(log: AuditLog) -> list[bytes]:
    return (log.path / "log.jsonl").read_bytes().splitlines(keepends=True)


def test_a_checkpoint_is_signed_once_for_each_size(log, fill, key):
    first = publish_checkpoint(fill(log, 3), key)
    assert first.root == Tree(map(leaf_hash, lines_of(log))).root()
    assert publish_checkpoint(log, key) == first
    second = publish_checkpoint(fill(log, 1), key)
    assert (first.size, second.size) == (3, 4)
    assert (log.path / "checkpoint").read_bytes() == second.raw


def test_an_open_log_signs_and_proves_with_its_key(log, fill, key):
    fill(log, 3)
    opened = AuditLog.open(log.path, key=key)
    assert opened.checkpoint().size == 3
    assert verify_proof(opened.prove(1), where="x", line=lines_of(log)[1], log=key.public).entry.index == 1
    for asking in (log.checkpoint, lambda: log.prove(1)):
        with pytest.raises(ValueError, match="was opened without its key"):
            asking()


def test_an_empty_log_can_be_signed(log, key):
    assert publish_checkpoint(log, key).root == EMPTY_ROOT
    assert verify_log(log.path, log=key.public).size == 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda lines: lines[:4], (RollbackError, "the log was truncated")),
        (lambda lines: [*lines[:4], lines[4].replace(b'"n":4', b'"n":5')], (ConsistencyError, "the log was rewritten")),
        (lambda lines: [lines[0].replace(b'"n":0', b'"n":5'), *lines[1:]], (ChainError, "follows another line")),
    ],
)
def test_a_log_that_does_not_continue_its_checkpoint_is_not_signed(log, fill, key, change, expected):
    raw = publish_checkpoint(fill(log, 5), key).raw
    (log.path / "log.jsonl").write_bytes(b"".join(change(lines_of(log))))
    with pytest.raises(expected[0], match=expected[1]):
        publish_checkpoint(AuditLog(log.path), key)
    assert (log.path / "checkpoint").read_bytes() == raw


def test_a_checkpoint_that_somebody_else_signed_meanwhile_is_not_replaced(log, fill, key, monkeypatch):
    import unlearnkit.compliance.log.publication as module

    real, other = module.read_history, AuditLog.open(log.path)

    def slow(*args: object, **settings: object) -> object:
        history = real(*args, **settings)
        monkeypatch.setattr(module, "read_history", real)
        publish_checkpoint(fill(other, 2), key)
        return history

    fill(log, 3)
    monkeypatch.setattr(module, "read_history", slow)
    assert publish_checkpoint(log, key).size == 5
    assert verify_log(log.path, log=key.public).checkpoint.size == 5


def cosigned(raw, key, witness, witness_key, time=1_800_000_000):
    return cosign_note(raw, where="x", log=key.public, name=witness.name, signer=witness_key, time=time)


def test_a_cosignature_is_added_to_the_checkpoint_that_it_is_for(log, fill, key, witness, witness_key):
    first = publish_checkpoint(fill(log, 3), key).raw
    import_checkpoint(log, cosigned(first, key, witness, witness_key), key=key.public, witnesses=[witness])
    found = verify_checkpoint(
        (log.path / "checkpoint").read_bytes(), where="x", log=key.public, witnesses=[witness], quorum=1
    )
    assert found.cosignatures[0].time == 1_800_000_000
    publish_checkpoint(fill(log, 3), key)  # a successor does not throw the cosignature away
    result = verify_log(log.path, log=key.public, witnesses=[witness])
    assert [(head.size, len(head.cosignatures)) for head in result.earlier] == [(3, 1)]


def test_a_cosignature_that_comes_late_is_kept_with_the_earlier_checkpoint(log, fill, key, witness, witness_key):
    first = publish_checkpoint(fill(log, 3), key).raw
    publish_checkpoint(fill(log, 3), key)
    for _ in range(2):
        import_checkpoint(log, cosigned(first, key, witness, witness_key), key=key.public, witnesses=[witness])
    assert [head.size for head in verify_log(log.path, log=key.public, witnesses=[witness]).earlier] == [3]


def test_the_signatures_of_strangers_and_forgeries_are_not_imported(log, fill, key, witness, witness_key):
    first = publish_checkpoint(fill(log, 3), key).raw
    raw = cosigned(first, key, witness, witness_key)
    import_checkpoint(log, raw, key=key.public)  # nobody said who the witness is
    assert (log.path / "checkpoint").read_bytes() == first
    lines = raw.decode().split("\n")
    blob = bytearray(base64.b64decode(lines[-2].split(" ")[2]))
    blob[-1] ^= 1
    forged = "\n".join([*lines[:-2], lines[-2].rsplit(" ", 1)[0] + " " + base64.b64encode(blob).decode(), ""])
    with pytest.raises(SignatureError, match=r"the signature of witness\.example/w1 does not verify"):
        import_checkpoint(log, forged.encode(), key=key.public, witnesses=[witness])
    with pytest.raises(ValueError, match="cosignatures are of another checkpoint"):
        merge_cosignatures(publish_checkpoint(fill(log, 1), key).raw, verify_checkpoint(raw, where="x", log=key.public))


def test_an_imported_checkpoint_is_evidence_if_the_log_does_not_have_it(log, fill, key):
    publish_checkpoint(fill(log, 3), key)
    fork = sign_checkpoint(key, size=2, root=leaf_hash(b"fork"))
    with pytest.raises(ConsistencyError, match="the log was forked") as caught:
        import_checkpoint(log, fork, key=key.public)
    assert caught.value.older == fork
    with pytest.raises(RollbackError, match="it has 3 entries, an earlier checkpoint signs 9"):
        import_checkpoint(log, sign_checkpoint(key, size=9, root=leaf_hash(b"")), key=key.public)
    assert verify_log(log.path, log=key.public).earlier == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{o}\n3\n{r}\nextension\n", "must have three lines"),
        ("{o}\n03\n{r}\n", "must have three lines"),
        ("{o}\n-1\n{r}\n", "must have three lines"),
        ("{o}\n3\nAAAA\n", "root has 3 bytes, expected 32"),
        ("{o}\n3\n{r}=\n", "root is not"),
        ("{o}\n", "must have three lines"),
    ],
)
def test_a_correctly_signed_but_malformed_checkpoint_is_refused(key, text, message):
    root = base64.b64encode(EMPTY_ROOT).decode()
    raw = sign_note(text.format(o=key.origin, r=root), name=key.origin, signer=key.private)
    with pytest.raises(FormatError, match=message):
        verify_checkpoint(raw, where="x", log=key.public)


# -- proofs


def test_a_proof_shows_an_entry_without_the_log(log, fill, key):
    publish_checkpoint(fill(log, 11), key)
    for index, line in enumerate(lines_of(log)):
        proven = verify_proof(prove_entry(log.path, index, log=key.public), where="x", line=line, log=key.public)
        assert (proven.entry.index, proven.entry.body, proven.checkpoint.size) == (index, {"n": index}, 11)


def test_a_proof_is_of_one_line_and_one_place(log, fill, key):
    publish_checkpoint(fill(log, 11), key)
    raw, lines = prove_entry(log.path, 4, log=key.public), lines_of(log)
    with pytest.raises(InclusionError, match="leaf 4 is not in the tree of 11"):
        verify_proof(raw, where="x", line=lines[5], log=key.public)
    with pytest.raises(InclusionError, match="leaf 5 is not in the tree of 11"):
        verify_proof(raw.replace(b"index 4", b"index 5"), where="x", line=lines[4], log=key.public)


def test_a_line_that_lies_about_its_place_is_not_proven(log, key):
    """A log key that signs a tree of lines that are no chain does not make them entries."""
    from unlearnkit.compliance.log.entry import Position, encode_line
    from unlearnkit.compliance.log.proof import Proof, encode_proof

    line = encode_line(draft("note", {}), position=Position(7, 0, "0" * 64), time="2025-01-31T12:00:00Z")
    raw = encode_proof(Proof(0, (), sign_checkpoint(key, size=1, root=leaf_hash(line))))
    with pytest.raises(InclusionError, match="the entry says it is number 7, but it is at 0"):
        verify_proof(raw, where="x", line=line, log=key.public)


def test_only_what_is_signed_can_be_proven(log, fill, key):
    publish_checkpoint(fill(log, 3), key)
    fill(log, 2)
    with pytest.raises(UnknownNameError, match="entry 3 is not under the checkpoint, which signs 3 entries") as caught:
        prove_entry(log.path, 3, log=key.public)
    assert "log checkpoint" in caught.value.hint
    with pytest.raises(UnknownNameError, match="it never had 4 before"):
        prove_growth(log.path, 4, log=key.public)
    (log.path / "log.jsonl").write_bytes(b"".join(lines_of(log)[:2]))
    with pytest.raises(RollbackError, match="it has 2 entries, its checkpoint signs 3"):
        prove_entry(log.path, 1, log=key.public)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw.replace(b"@v1", b"@v2"), "must begin with 'c2sp.org/tlog-proof@v1' and the index"),
        (lambda raw: raw.replace(b"index 4", b"extra QQ==\nindex 4"), "must begin with"),
        (lambda raw: raw.replace(b"index 4", b"index 04"), "must begin with"),
        (lambda raw: raw.replace(b"\n\n", b"\n", 1), "root is not|is not base64|must be"),
        (lambda raw: raw.replace(b"=\n", b"\n", 1), "line 3 is not base64"),
        (lambda raw: raw[:-1], "signature lines"),
        (lambda raw: b"", "must be lines of a proof"),
    ],
)
def test_a_malformed_proof_is_refused(log, fill, key, change, message):
    publish_checkpoint(fill(log, 11), key)
    with pytest.raises(FormatError, match=message):
        verify_proof(change(prove_entry(log.path, 4, log=key.public)), where="x", line=lines_of(log)[4], log=key.public)


def growth(raw: bytes) -> tuple[int, list[bytes], bytes]:
    """A request to a witness, read as https://c2sp.org/tlog-witness says: older size, hashes, checkpoint."""
    head, _, checkpoint = raw.partition(b"\n\n")
    older, *hashes = head.decode().split("\n")
    assert older.startswith("old ")
    return int(older.removeprefix("old ")), [base64.b64decode(line) for line in hashes], checkpoint


def test_growth_is_proven_from_one_checkpoint_to_a_later_one(log, fill, key):
    olds = {}
    for _ in range(4):
        olds[len(lines_of(log))] = publish_checkpoint(log, key)
        fill(log, 3)
    newest = publish_checkpoint(log, key)
    for size, old in olds.items():
        older, hashes, checkpoint = growth(prove_growth(log.path, size, log=key.public))
        assert (older, checkpoint) == (size, newest.raw)
        if not size:  # every log begins with nothing
            assert hashes == []
            continue
        heads = {"older_size": size, "newer_size": newest.size, "newer_root": newest.root, "proof": hashes}
        verify_consistency(**heads, older_root=old.root)
        with pytest.raises(ConsistencyError, match=f"not the tree of {size}"):
            verify_consistency(**heads, older_root=leaf_hash(b""))


# -- tiles


@pytest.mark.parametrize(
    ("number", "width", "path"),
    [(0, 256, "tile/0/000"), (67, 3, "tile/0/067.p/3"), (1_234_067, 256, "tile/0/x001/x234/067")],
)
def test_tiles_have_the_paths_of_the_specification(number, width, path):
    assert tile_path(0, number, width) == path


def test_an_export_appears_whole_or_not_at_all(log, fill, key, tmp_path):
    publish_checkpoint(fill(log, 3), key)
    export_tiles(log.path, tmp_path / "tiles", log=key.public)
    with pytest.raises(FileExistsError, match="exists already"):
        export_tiles(log.path, tmp_path / "tiles", log=key.public)
    (log.path / "log.jsonl").write_bytes(b"".join(lines_of(log)[:2]))
    with pytest.raises(RollbackError, match="truncated"):
        export_tiles(log.path, tmp_path / "other", log=key.public)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.signed", "tiles"]


@pytest.fixture(scope="module", params=SIZES)
def exported(request, tmp_path_factory, key):
    """A log of that size with an earlier checkpoint, and its tiles."""
    folder = tmp_path_factory.mktemp("exported")
    log = AuditLog.create(folder / "log")
    size = request.param
    log.record_many(draft("note", {"n": n}) for n in range((size + 1) // 2))
    older = publish_checkpoint(log, key)
    log.record_many(draft("note", {"n": n}) for n in range((size + 1) // 2, size))
    newer = publish_checkpoint(log, key)
    export_tiles(log.path, folder / "tiles", log=key.public)
    return log, older, newer, folder / "tiles"


@needs.aics_tlog
def test_aics_tlog_verifies_the_checkpoint_and_every_tile(exported, key):
    import aics_tlog as aics

    log, _, newer, tiles = exported
    note = aics.parse_note((tiles / "checkpoint").read_bytes())
    vkey = aics.parse_vkey(key.public.vkey)
    result = aics.verify_checkpoint(note, vkey, expected_origin=key.origin)
    assert (result.ok, result.size, result.root) == (True, newer.size, newer.root), result.error
    reader = aics.FileSystemTileReader(tiles)
    report = aics.audit_tiles(reader, result.size, result.root)
    assert report.size == newer.size
    files = [path for path in (tiles / "tile").rglob("*") if path.is_file()]
    assert len(files) == report.tiles + report.bundles
    assert aics.read_entry(reader, newer.size - 1, newer.size) == lines_of(log)[-1]


@needs.aics_tlog
def test_aics_tlog_verifies_our_proofs_and_we_make_the_same_as_it_makes_from_the_tiles(exported, key):
    import aics_tlog as aics

    log, older, newer, tiles = exported
    reader, lines = aics.FileSystemTileReader(tiles), lines_of(log)
    for index in {0, newer.size // 2, newer.size - 1}:
        proof = parse_proof(prove_entry(log.path, index, log=key.public), where="x")
        assert aics.verify_inclusion(aics.leaf_hash(lines[index]), index, newer.size, list(proof.hashes), newer.root)
        assert list(proof.hashes) == list(aics.inclusion_proof_from_tiles(reader, index, newer.size))
    _, hashes, _ = growth(prove_growth(log.path, older.size, log=key.public))
    assert aics.verify_consistency(older.size, newer.size, older.root, newer.root, hashes)
    assert hashes == list(aics.consistency_proof_from_tiles(reader, older.size, newer.size))


@needs.aics_tlog
def test_aics_tlog_counts_an_imported_cosignature(log, fill, key, witness, witness_key):
    import aics_tlog as aics

    first = publish_checkpoint(fill(log, 3), key).raw
    import_checkpoint(log, cosigned(first, key, witness, witness_key), key=key.public, witnesses=[witness])
    note, vkey = aics.parse_note((log.path / "checkpoint").read_bytes()), aics.parse_vkey(key.public.vkey)
    result = aics.verify_checkpoint(note, vkey, [aics.parse_vkey(witness.vkey)], 1)
    assert (result.ok, result.witnesses) == (True, ["witness.example/w1"])
