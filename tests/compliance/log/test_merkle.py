"""RFC 6962 trees against the recursive definition, published constants and 196 published verdicts."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import needs
from unlearnkit.compliance.log.merkle import (
    EMPTY_ROOT,
    Frontier,
    Tree,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from unlearnkit.errors import ConsistencyError, InclusionError

SIZES = st.integers(1, 70)


def leaves(count: int) -> list[bytes]:
    return [leaf_hash(str(index).encode()) for index in range(count)]


def definition(hashes: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while 2 * split < len(hashes):
        split *= 2
    return hashlib.sha256(b"\x01" + definition(hashes[:split]) + definition(hashes[split:])).digest()


def decoded(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def is_accepted(case: dict) -> bool:
    proof = [decoded(text) for text in case["proof"] or []]
    try:
        if "leafIdx" in case:
            leaf, root = decoded(case["leafHash"]), decoded(case["root"])
            verify_inclusion(leaf=leaf, index=case["leafIdx"], size=case["treeSize"], proof=proof, root=root)
        else:
            older, newer = decoded(case["root1"]), decoded(case["root2"])
            sizes = {"older_size": case["size1"], "newer_size": case["size2"]}
            verify_consistency(**sizes, older_root=older, newer_root=newer, proof=proof)
    except (InclusionError, ConsistencyError):
        return False
    return True


def test_every_published_vector_gets_its_stated_verdict(vectors):
    files = sorted((vectors / "transparency-dev-merkle").rglob("*.json"))
    cases = {str(path): json.loads(path.read_text()) for path in files}
    wrong = [name for name, case in cases.items() if is_accepted(case) == case["wantErr"]]
    assert len(cases) == 196
    assert wrong == []


def test_hashes_and_roots_are_the_published_constants(vectors):
    constants = json.loads((vectors / "rfc6962/constants.json").read_text())
    hasher, inputs = constants["hasher"], [bytes.fromhex(text) for text in constants["leaf_inputs_hex"]]
    assert hasher["empty_root"] == EMPTY_ROOT.hex()
    assert hasher["empty_leaf"] == leaf_hash(b"").hex()
    assert hasher["leaf_L123456"] == leaf_hash(b"L123456").hex()
    assert hasher["node_N123_N456"] == node_hash(b"N123", b"N456").hex()
    tree = Tree(leaf_hash(data) for data in inputs)
    assert constants["root_hashes_hex_by_size"] == [tree.root(size).hex() for size in range(len(inputs) + 1)]


@given(size=st.integers(0, 300))
def test_tree_and_frontier_have_the_root_of_the_definition(size):
    frontier = Frontier()
    for leaf in leaves(size):
        frontier.append(leaf)
    assert frontier.root() == Tree(leaves(size)).root() == definition(leaves(size))
    assert frontier.size == size


def test_a_tree_knows_the_roots_of_all_its_past_sizes():
    tree = Tree(leaves(70))
    assert [tree.root(size) for size in range(71)] == [definition(leaves(size)) for size in range(71)]


@given(size=SIZES, data=st.data())
def test_an_inclusion_proof_shows_its_leaf_at_its_place_and_nowhere_else(size, data):
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size - 1))
    tree, hashes = Tree(leaves(70)), leaves(70)
    proof = tree.inclusion_proof(index, size)
    verify_inclusion(leaf=hashes[index], index=index, size=size, proof=proof, root=tree.root(size))
    if other != index:
        with pytest.raises(InclusionError, match=r"is not in the tree|inclusion proof too (long|short)"):
            verify_inclusion(leaf=hashes[index], index=other, size=size, proof=proof, root=tree.root(size))


@given(size=SIZES, data=st.data())
def test_a_consistency_proof_joins_two_sizes_of_one_tree_and_no_others(size, data):
    older = data.draw(st.integers(1, size))
    tree = Tree(leaves(70))
    heads = {"older_size": older, "newer_size": size, "older_root": tree.root(older), "newer_root": tree.root(size)}
    proof = tree.consistency_proof(older, size)
    verify_consistency(**heads, proof=proof)
    for name in ("older_root", "newer_root"):
        with pytest.raises(ConsistencyError, match="root") as caught:
            verify_consistency(**{**heads, name: leaf_hash(b"fork")}, proof=proof)
        assert leaf_hash(b"fork") in {caught.value.older, caught.value.newer}


@given(size=st.integers(2, 70), data=st.data())
def test_any_changed_proof_is_rejected(size, data):
    index, older = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size - 1))
    tree, hashes = Tree(leaves(size)), leaves(size)
    inclusion, consistency = tree.inclusion_proof(index), tree.consistency_proof(older)
    change = data.draw(st.sampled_from(["drop first", "drop last", "add", "flip"]))
    heads = {"older_size": older, "newer_size": size, "older_root": tree.root(older), "newer_root": tree.root()}
    with pytest.raises(InclusionError, match="leaf"):
        verify_inclusion(leaf=hashes[index], index=index, size=size, proof=changed(inclusion, change), root=tree.root())
    with pytest.raises(ConsistencyError, match=r"size|tree"):
        verify_consistency(**heads, proof=changed(consistency, change))


def changed(proof: list[bytes], change: str) -> list[bytes]:
    flipped = bytes([proof[-1][0] ^ 1]) + proof[-1][1:]
    changes = {"drop first": proof[1:], "drop last": proof[:-1], "add": [*proof, EMPTY_ROOT]}
    return changes.get(change, [*proof[:-1], flipped])


def test_proofs_of_what_is_not_there_are_refused():
    tree = Tree(leaves(3))
    with pytest.raises(ValueError, match="got 3, expected 0 to 2"):
        tree.inclusion_proof(3)
    with pytest.raises(ValueError, match="got 0, expected 1 to 3"):
        tree.consistency_proof(0)
    with pytest.raises(ValueError, match="got 4, expected 0 to 3"):
        tree.root(4)
    with pytest.raises(InclusionError, match="got index 3, expected one below the tree size 3"):
        verify_inclusion(leaf=EMPTY_ROOT, index=3, size=3, proof=[], root=tree.root())


@needs.aics_tlog
@given(size=SIZES, data=st.data())
def test_aics_tlog_makes_the_same_proofs(size, data):
    from aics_tlog import MerkleTree

    other = MerkleTree(str(index).encode() for index in range(size))
    index, older, tree = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size)), Tree(leaves(size))
    assert tree.root() == other.root()
    assert tree.inclusion_proof(index) == other.inclusion_proof(index)
    assert tree.consistency_proof(older) == other.consistency_proof(older)
