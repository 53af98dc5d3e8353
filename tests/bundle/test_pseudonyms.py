"""The list of units: against the plain list of texts that it stands for."""

from __future__ import annotations

import hashlib
import tracemalloc

import numpy as np
import pytest

from unlearnkit.bundle import PseudonymKey, pseudonym, pseudonyms
from unlearnkit.bundle.pseudonyms import Pseudonyms, read_list
from unlearnkit.canonical import canonicalize
from unlearnkit.errors import FormatError

KEY = PseudonymKey(bytes(range(32)))


@pytest.fixture(autouse=True)
def blocks_of_four(monkeypatch):
    monkeypatch.setattr(pseudonyms, "_AT_ONCE", 4)
    monkeypatch.setattr(pseudonym, "_AT_ONCE", 4)


def texts(count: int) -> list[str]:
    """Some that differ in their last digit only, some with zeros at the end."""
    made = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(max(count, 3))]
    return [made[0][:-1] + "0", made[0][:-1] + "1", made[2][:32] + "0" * 32, *made[3:]][:count]


WHOLE = canonicalize(texts(8))


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 11])
def test_the_file_is_the_canonical_list_of_texts_and_reads_back(tmp_path, count):
    listed = texts(count)
    raw = b"".join(Pseudonyms.of(listed).to_json())
    assert raw == canonicalize(listed)
    (tmp_path / "units.json").write_bytes(raw)
    read = read_list(tmp_path / "units.json", len(raw))
    assert (list(read.pseudonyms), read.size, read.sha256) == (listed, len(raw), hashlib.sha256(raw).hexdigest())
    assert read.pseudonyms == tuple(listed)
    assert read.pseudonyms[1:] == tuple(listed[1:])
    assert [read.pseudonyms[i] for i in range(-count, count)] == listed + listed


def test_every_unit_is_found_where_it_is_and_nobody_else():
    listed = texts(40)
    held = Pseudonyms.of(listed[:20])
    assert [held.position(text) for text in listed] == [*range(20), *[None] * 20]
    assert held.positions([listed[7], listed[3], listed[30]]) == [3, 7]
    assert not any(near in held for near in (listed[3].upper(), listed[3][:-2], listed[3] + "00", "", "ann", 3, None))
    with pytest.raises(IndexError):
        held[20]


def test_how_many_different_ones_there_are_and_whether_two_lists_are_of_the_same_units():
    listed = texts(12)
    assert Pseudonyms.of([*listed, *listed[:5]]).different == len(set(listed))
    assert Pseudonyms.of(listed).is_permutation_of(Pseudonyms.of(listed[::-1]))
    assert not Pseudonyms.of(listed).is_permutation_of(Pseudonyms.of(listed[:-1]))
    assert Pseudonyms.of(listed) != Pseudonyms.of(listed[::-1])


def test_any_byte_that_is_another_makes_another_list_or_none(tmp_path):
    raw, file = canonicalize(texts(6)), tmp_path / "units.json"
    for place in (0, *range(3, len(raw), 7), len(raw) - 1):
        for byte in b',"]aZ':
            changed = raw[:place] + bytes([byte]) + raw[place + 1 :]
            file.write_bytes(changed)
            if changed != raw and not (bytes([byte]) == b"a" and raw[place] in b"0123456789bcdef"):
                with pytest.raises(FormatError, match="expected a list of pseudonyms"):
                    read_list(file, len(raw))
            else:
                assert canonicalize(list(read_list(file, len(raw)).pseudonyms)) == changed


@pytest.mark.parametrize("raw", [WHOLE[:-1], WHOLE + b"\n", WHOLE + WHOLE, b" " + WHOLE, b"[]", b"[", b""])
def test_a_list_with_a_beginning_or_an_end_of_its_own_is_none(tmp_path, raw):
    (tmp_path / "units.json").write_bytes(raw)
    with pytest.raises(FormatError, match="expected a list of pseudonyms"):
        read_list(tmp_path / "units.json", 10_000)


def test_no_more_is_read_than_was_announced(tmp_path):
    (tmp_path / "units.json").write_bytes(canonicalize(texts(8)))
    with pytest.raises(FormatError, match="too long: got 537 bytes, expected at most 536"):
        read_list(tmp_path / "units.json", 536)


def test_many_names_have_the_pseudonyms_that_each_has_alone():
    names = ["ann", "Bob@Example.org", 17, "Zoë", *map(str, range(20))]
    some = [KEY.pseudonym(name) for name in names[:7]]
    for key in (KEY, KEY.keeping(some)):
        assert key.pseudonyms(names) == tuple(map(key.pseudonym, names))
        assert key.unknown(key.pseudonyms(names)) == []
    assert KEY.keeping(some).pseudonyms(names)[:7] == tuple(some)
    assert len(KEY.pseudonyms([])) == 0


def test_a_list_takes_no_object_for_each_unit(tmp_path, monkeypatch):
    monkeypatch.undo()
    count, file = 20_000, tmp_path / "units.json"
    random = np.random.default_rng(0).integers(0, 256, (count, 32), dtype=np.uint8)
    with file.open("wb") as target:
        target.writelines(Pseudonyms(random).to_json())
    tracemalloc.start()
    held = read_list(file, 67 * count + 1).pseudonyms
    assert held.different == count
    assert held.position(random[-1].tobytes().hex()) == count - 1
    now, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert now < 50 * count  # a text alone takes 113 bytes
