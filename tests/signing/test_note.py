"""Signed notes against the vector of the specification, a second library, and all that readers disagree about."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import needs
from unlearnkit.errors import FormatError, SignatureError, ThresholdError
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.signing.note import (
    MAX_SIGNATURES,
    Cosignature,
    NoteKey,
    NoteKind,
    cosign_note,
    note_key,
    parse_note,
    parse_vkey,
    sign_note,
    verify_note,
)

ORIGIN = "example.com/unlearnkit/log1"
WITNESS = "witness.example/w1"
TEXT = f"{ORIGIN}\n300\nvJLUA2fjRh0MYSYmJTdyBf8+SRv2oPjX7aZfrDQZRPE=\n"
TIME = 1_800_000_000

# A checkpoint with a cosignature that other implementations accept (the log's vkey, and the note).
PUBLISHED_VKEY = "example.com/unlearnkit/log1+ddd9ecb5+AXyeP/J454gFBQgYFt8B0620KnEg4ooh+JpdKFQ4wGmC"
PUBLISHED_NOTE = (
    f"{TEXT}\n"
    "— example.com/unlearnkit/log1 "
    "3dnstfKl+dRxvI1meEe+X2suzVJ6+6qC2mV5P40GsTo0HhJJMNe9ZUAhum8xvLEoOX+CsJAURDo81CFEI7jClMDK+Qc=\n"
    "— witness.example/w1 "
    "+krOgAAAAABrBDP0JHRITf/Cp6rAon18OM81qcwyZNKZe/i3tq6EUaIQDlDo8WJ4zSuww/T8UJvQxp0sjXiYBTsIXcjJVy80DwV4AQ==\n"
)


@pytest.fixture(scope="module")
def log(log_key):
    return note_key(ORIGIN, log_key.public)


@pytest.fixture(scope="module")
def witness(witness_key):
    return note_key(WITNESS, witness_key.public, kind=NoteKind.COSIGNATURE)


@pytest.fixture(scope="module")
def note(log_key):
    return sign_note(TEXT, name=ORIGIN, signer=log_key)


@pytest.fixture(scope="module")
def cosigned(note, log, witness_key):
    return cosign_note(note, where="x", log=log, name=WITNESS, signer=witness_key, time=TIME)


def test_the_vectors_of_the_specification_verify(vectors):
    for vector in json.loads((vectors / "c2sp" / "signed_note.json").read_text())["vectors"]:
        key = parse_vkey(vector["vkey"], where="vkey")
        assert key.vkey == vector["vkey"]
        assert vector["valid"]
        assert verify_note(vector["note"].encode(), where="x", log=key).text == "This is an example message.\n"


def test_a_checkpoint_that_others_verified_verifies():
    log = parse_vkey(PUBLISHED_VKEY, where="vkey")
    assert verify_note(PUBLISHED_NOTE.encode(), where="x", log=log).text == TEXT
    with pytest.raises(SignatureError, match=r"x: the signature of example\.com/unlearnkit/log1 does not verify"):
        verify_note(PUBLISHED_NOTE.replace("\n300\n", "\n301\n").encode(), where="x", log=log)


def test_the_text_and_the_cosignatures_come_back(cosigned, log, witness):
    verified = verify_note(cosigned, where="x", log=log, witnesses=[witness], quorum=1)
    assert verified.text == TEXT
    assert verified.cosignatures == (Cosignature(witness, TIME),)


def test_strangers_lines_are_passed_over(cosigned, log, witness_key):
    assert verify_note(cosigned, where="x", log=log).cosignatures == ()
    same_name = note_key(WITNESS, PrivateKey.generate(Algorithm.ED25519).public, kind=NoteKind.COSIGNATURE)
    assert verify_note(cosigned, where="x", log=log, witnesses=[same_name]).cosignatures == ()


def test_a_note_without_the_logs_line_is_refused(note, log, log_key):
    other_name = note_key("example.com/other", log_key.public)
    with pytest.raises(
        SignatureError, match=f"x has no signature by example.com/other with key id {other_name.key_id.hex()}"
    ):
        verify_note(note, where="x", log=other_name)


def test_a_quorum_counts_keys_not_names(cosigned, log, witness, witness_key):
    alias = note_key("witness.example/alias", witness_key.public, kind=NoteKind.COSIGNATURE)
    twice = cosign_note(cosigned, where="x", log=log, name=alias.name, signer=witness_key, time=TIME + 1)
    assert len(verify_note(twice, where="x", log=log, witnesses=[witness, alias], quorum=1).cosignatures) == 2
    with pytest.raises(ThresholdError, match="x has too few cosignatures of known witnesses: got 1, expected 2"):
        verify_note(twice, where="x", log=log, witnesses=[witness, alias], quorum=2)
    with pytest.raises(ThresholdError, match="x has too few cosignatures of known witnesses: got 0, expected 1"):
        verify_note(cosigned, where="x", log=log, quorum=1)


def test_a_known_witness_that_is_forged_spoils_the_note(cosigned, log, witness):
    good = cosigned.splitlines(keepends=True)
    data = bytearray(base64.b64decode(good[-1].split()[-1]))
    for position in (4, 11, 12, len(data) - 1):  # the time and the signature
        forged = bytearray(data)
        forged[position] ^= 1
        raw = b"".join(good[:-1]) + f"— {WITNESS} {base64.b64encode(forged).decode()}\n".encode()
        with pytest.raises(SignatureError, match=f"x: the signature of {WITNESS} does not verify"):
            verify_note(raw, where="x", log=log, witnesses=[witness])
    short = b"".join(good[:-1]) + f"— {WITNESS} {base64.b64encode(data[:-1]).decode()}\n".encode()
    with pytest.raises(FormatError, match=f"x: cosignature by {WITNESS} has 71 bytes, expected 72"):
        verify_note(short, where="x", log=log, witnesses=[witness])


def test_keys_have_one_role(note, log, witness, log_key):
    for wrong in ({"log": witness}, {"log": log, "witnesses": [log]}):
        with pytest.raises(ValueError, match="the log's key must be of type 1, those of witnesses of type 4"):
            verify_note(note, where="x", **wrong)
    as_witness = note_key(ORIGIN, log_key.public, kind=NoteKind.COSIGNATURE)
    assert as_witness.key_id != log.key_id


def test_a_witness_signs_a_note_once_and_only_a_good_one(cosigned, note, log, witness_key):
    with pytest.raises(ValueError, match=f"x has been cosigned by {WITNESS} already"):
        cosign_note(cosigned, where="x", log=log, name=WITNESS, signer=witness_key, time=TIME)
    with pytest.raises(SignatureError, match="does not verify"):
        cosign_note(note.replace(b"300", b"301"), where="x", log=log, name=WITNESS, signer=witness_key, time=TIME)
    for time in (-1, 2**64):
        with pytest.raises(ValueError, match=f"not a time in POSIX seconds: got {time}"):
            cosign_note(note, where="x", log=log, name=WITNESS, signer=witness_key, time=time)


def test_cosigning_adds_a_line_and_changes_nothing(note, cosigned):
    assert cosigned.startswith(note)
    assert cosigned.removeprefix(note).count(b"\n") == 1


@given(st.lists(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_any_text_survives(lines):
    key = PrivateKey.generate(Algorithm.ED25519)
    text = "\n".join(lines) + "\n"
    raw = sign_note(text, name="n", signer=key)
    assert verify_note(raw, where="x", log=note_key("n", key.public)).text == text


@pytest.mark.parametrize("text", ["", "no newline", "a\r\n", "a\tb\n", "a\0\n", "a\n\x1f"])
def test_other_texts_are_not_signed(log_key, text):
    with pytest.raises(ValueError, match="the text of a note must end in a newline"):
        sign_note(text, name=ORIGIN, signer=log_key)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\nb", "a\u2003", "a\x01"])
def test_names_have_no_spaces_and_no_plus_signs(log_key, name):
    with pytest.raises(ValueError, match="not a key name"):
        note_key(name, log_key.public)
    with pytest.raises(FormatError, match=r"x is not a vkey|x is not (canonical )?base64"):
        parse_vkey(NoteKey(name, NoteKind.SIGNATURE, log_key.public).vkey, where="x")


def test_notes_need_ed25519_keys(signer):
    with pytest.raises(ValueError, match="notes need Ed25519 keys: got PublicKey"):
        sign_note(TEXT, name=ORIGIN, signer=signer)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\n— ", "\n- ", "must be an em dash"),
        ("\n— ", "\n—\u00a0", "must be an em dash"),
        ("— example", "—  example", "must be an em dash"),
        ("log1 ", "log1  ", "not base64"),
        ("+Qc=\n", "+Qc=", "must end in 1 to 64 signature lines"),
        ("+Qc=\n", "+Qc=\n\n", "must end in 1 to 64 signature lines"),
        ("+Qc=\n", "+Qc= \n", "not base64"),
        ("+Qc=\n", "+Qc=\r\n", "not base64"),
        ("+Qc=\n", "+Qd=\n", "not canonical base64"),
        ("+Qc=\n", "+Qc\n", "not base64"),
        ("+Qc=\n", "-Qc=\n", "not base64"),
        ("+Qc=\n", "+Qc=\nrubbish\n", "line 2 must be an em dash"),
        ("\n300\n", "\n300\r\n", "control characters"),
        ("\n300\n", "\n\t300\n", "control characters"),
        ("\n300\n", "\n300\x1f\n", "control characters"),
        ("\n\n", "\n", "must be text without control characters, an empty line"),
    ],
)
def test_every_byte_is_accounted_for(old, new, message):
    note = PUBLISHED_NOTE[: PUBLISHED_NOTE.index("— witness")]
    assert note.count(old) >= 1
    at = note.rindex(old)
    raw = (note[:at] + new + note[at + len(old) :]).encode()
    with pytest.raises(FormatError, match=message):
        parse_note(raw, where="x")


def test_a_line_is_not_repeated(note, log):
    line = note.splitlines(keepends=True)[-1]
    with pytest.raises(FormatError, match="x has two signatures with the same name and key id"):
        verify_note(note + line, where="x", log=log)


def test_a_note_is_utf8(note):
    with pytest.raises(FormatError, match="x is not UTF-8"):
        parse_note(note.replace("—".encode(), b"\xe2\x80"), where="x")


def test_the_number_of_lines_is_limited(note, log):
    def lines(count: int) -> bytes:
        return b"".join(f"— n{i} {base64.b64encode(bytes(68)).decode()}\n".encode() for i in range(count))

    assert verify_note(note + lines(MAX_SIGNATURES - 1), where="x", log=log).text == TEXT
    with pytest.raises(FormatError, match="x must end in 1 to 64 signature lines"):
        parse_note(note + lines(MAX_SIGNATURES), where="x")


def test_a_signature_line_has_more_than_a_key_id(note):
    with pytest.raises(FormatError, match="x: signature line 2 has 4 bytes, expected a key id of 4 and a signature"):
        parse_note(note + "— n AAAAAA==\n".encode(), where="x")


@pytest.mark.parametrize("kind", list(NoteKind))
def test_a_vkey_reads_back_as_it_was_and_no_byte_of_it_can_change(log_key, kind):
    key = note_key(ORIGIN, log_key.public, kind=kind)
    assert parse_vkey(key.vkey, where="vkey") == key
    for position in range(len(key.vkey)):
        for other in ("x" if key.vkey[position] != "x" else "y", ""):
            changed = key.vkey[:position] + other + key.vkey[position + 1 :]
            with pytest.raises(FormatError, match=r"vkey (is not a vkey|is not (canonical )?base64|has key id)"):
                parse_vkey(changed, where="vkey")


@pytest.mark.parametrize("kind", [2, 5, 6])
def test_vkeys_of_other_types_are_refused(log_key, kind):
    typed = base64.b64encode(bytes([kind]) + log_key.public.raw).decode()
    with pytest.raises(FormatError, match="x is not a vkey of an Ed25519 key"):
        parse_vkey(f"name+00000000+{typed}", where="x")


@needs.aics_tlog
def test_another_library_accepts_ours_and_not_a_tampered_one(cosigned, log, witness):
    from aics_tlog import checkpoint, cosign
    from aics_tlog import note as theirs

    vkey = theirs.parse_vkey(log.vkey)
    parsed = theirs.parse_note(cosigned)
    assert theirs.verify_note(parsed, [vkey])
    tampered = theirs.parse_note(cosigned.replace(b"\n300\n", b"\n301\n"))
    assert not theirs.verify_note(tampered, [vkey])
    for other, accepted in ((parsed, True), (tampered, False)):
        body = checkpoint.parse_checkpoint(other.text)
        [line] = [item for item in other.signatures if item.name == WITNESS]
        assert line.key_id == witness.key_id
        fields = (body.origin, body.size, body.root, body.extension_lines)
        assert bool(cosign.verify_cosignature(line.signature, WITNESS, witness.public.raw, *fields)) == accepted
