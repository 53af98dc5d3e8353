"""Key files that openssl and other libraries read, and secrets that stay where they are."""

from __future__ import annotations

import base64
import copy
import hashlib
import pickle
import stat
import subprocess
import traceback

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa

from tests import needs
from unlearnkit.errors import FormatError, RefusedError, SignatureError, VerificationError
from unlearnkit.signing.keys import (
    Algorithm,
    PrivateKey,
    PublicKey,
    is_encrypted,
    parse_private_key,
    parse_public_key,
    read_private_key,
    read_public_key,
    write_private_key,
    write_public_key,
)

ALGORITHMS = list(Algorithm)

# RFC 8032 section 7.1, test 2.
RFC8032_SECRET = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
RFC8032_PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
RFC8032_SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_verifies_what_its_other_half_signed(algorithm):
    key = PrivateKey.generate(algorithm)
    assert key.public.algorithm is algorithm
    assert key.public.verify(key.sign(b"message"), b"message") == b"message"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_other_messages_signatures_and_keys_do_not_verify(algorithm):
    key, other = PrivateKey.generate(algorithm), PrivateKey.generate(algorithm)
    signature = key.sign(b"message")
    for public, value, message in (
        (key.public, signature, b"massage"),
        (other.public, signature, b"message"),
        (key.public, signature[:-1], b"message"),
        (key.public, signature + b"\0", b"message"),
        (key.public, b"", b"message"),
    ):
        with pytest.raises(SignatureError, match=f"the signature does not verify with key {public.key_id}"):
            public.verify(value, message)


def test_a_raw_p256_signature_is_not_one(signer):
    with pytest.raises(SignatureError, match="does not verify"):
        signer.public.verify(bytes(64), b"message")


def test_ed25519_is_that_of_rfc_8032():
    public = PublicKey.from_raw(RFC8032_PUBLIC)
    assert public.raw == RFC8032_PUBLIC
    assert public.verify(RFC8032_SIGNATURE, b"\x72") == b"\x72"
    pkcs8 = bytes.fromhex("302e020100300506032b657004220420") + RFC8032_SECRET  # RFC 8410 section 7
    key = parse_private_key(_pem("PRIVATE KEY", pkcs8), where="key")
    assert key.public == public
    assert key.sign(b"\x72") == RFC8032_SIGNATURE


def test_only_ed25519_keys_have_raw_bytes(signer):
    with pytest.raises(ValueError, match="only Ed25519 keys have raw bytes: got PublicKey"):
        _ = signer.public.raw


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("passphrase", [None, b"correct horse battery staple", b"\xff\x00\n"])
def test_keys_survive_their_files(tmp_path, algorithm, passphrase):
    key = PrivateKey.generate(algorithm)
    write_private_key(tmp_path / "key.pem", key, passphrase=passphrase)
    write_public_key(tmp_path / "key.pub.pem", key.public)
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "key.pub.pem").stat().st_mode) == 0o644
    assert is_encrypted((tmp_path / "key.pem").read_bytes()) == (passphrase is not None)
    assert read_public_key(tmp_path / "key.pub.pem") == key.public
    again = read_private_key(tmp_path / "key.pem", passphrase=passphrase)
    assert again.public == key.public
    assert key.public.verify(again.sign(b"x"), b"x") == b"x"


def test_the_key_id_is_what_sha256sum_prints_for_the_public_file(tmp_path, vectors, signer):
    write_public_key(tmp_path / "pub.pem", signer.public)
    assert signer.public.key_id == hashlib.sha256((tmp_path / "pub.pem").read_bytes()).hexdigest()
    published = read_public_key(vectors / "model_signing" / "p256.pub.pem")
    assert published.key_id == "a34bfc3f44e7dc8032d9502b22392825fa0fec955cf8fc9051fb5bd0d68ba535"


def test_line_ends_do_not_change_a_key(signer):
    windows = signer.public.pem.replace(b"\n", b"\r\n")
    assert (
        parse_public_key(windows, where="x") == parse_public_key(signer.public.pem.rstrip(), where="x") == signer.public
    )


def test_equal_keys_are_equal_and_hash_alike(signer, stranger):
    again = parse_public_key(signer.public.pem, where="x")
    assert {again, signer.public, stranger.public} == {signer.public, stranger.public}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604])
def test_a_private_key_that_others_can_read_is_refused(tmp_path, signer, mode):
    write_private_key(tmp_path / "key.pem", signer)
    (tmp_path / "key.pem").chmod(mode)
    with pytest.raises(RefusedError, match=f"key.pem is open to others: its mode is {mode:04o}, expected 0600"):
        read_private_key(tmp_path / "key.pem")


def test_keys_are_never_overwritten(tmp_path, signer, stranger):
    write_private_key(tmp_path / "key", signer)
    for write, key in ((write_private_key, stranger), (write_public_key, stranger.public)):
        with pytest.raises(FileExistsError, match="key"):
            write(tmp_path / "key", key)
    assert read_private_key(tmp_path / "key").public == signer.public


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_passphrases_must_fit(algorithm):
    key = PrivateKey.generate(algorithm)
    locked, plain = key.private_pem(b"right"), key.private_pem()
    with pytest.raises(VerificationError, match=r"k\.pem cannot be decrypted: wrong passphrase, or a damaged file"):
        parse_private_key(locked, where="k.pem", passphrase=b"wrong")
    for missing in (None, b""):
        with pytest.raises(VerificationError, match=r"k\.pem is encrypted, and no passphrase was given"):
            parse_private_key(locked, where="k.pem", passphrase=missing)
    with pytest.raises(VerificationError, match=r"k\.pem is not encrypted, but a passphrase was given"):
        parse_private_key(plain, where="k.pem", passphrase=b"right")


def test_an_empty_passphrase_is_not_one(signer):
    with pytest.raises(ValueError, match="must be 1 or more bytes"):
        signer.private_pem(b"")


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (lambda: ec.generate_private_key(ec.SECP384R1()), "secp384r1"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "secp256k1"),
        (lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048), "RSA"),
        (ed448.Ed448PrivateKey.generate, "Ed448"),
    ],
)
def test_other_kinds_of_keys_are_refused(key, kind):
    made = key()
    private = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = made.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    message = f"x is a key of another kind: got {kind}.*, expected P-256 or Ed25519"
    with pytest.raises(FormatError, match=message):
        parse_private_key(private, where="x")
    with pytest.raises(FormatError, match=message):
        parse_public_key(public, where="x")


def test_only_one_pem_block_of_the_right_kind_is_read(signer, stranger):
    public, private = signer.public.pem, signer.private_pem()
    sec1 = private.replace(b"PRIVATE KEY", b"EC PRIVATE KEY")
    for parse, pem, got in (
        (parse_public_key, public + stranger.public.pem, "2 PEM blocks"),
        (parse_public_key, private, "'BEGIN PRIVATE KEY', expected BEGIN PUBLIC KEY"),
        (parse_public_key, b"", "0 PEM blocks"),
        (parse_private_key, public, "'BEGIN PUBLIC KEY', expected BEGIN PRIVATE KEY or BEGIN ENCRYPTED PRIVATE KEY"),
        (parse_private_key, sec1, "'BEGIN EC PRIVATE KEY'"),
        (parse_private_key, private + private, "2 PEM blocks"),
    ):
        with pytest.raises(FormatError, match=f"x must be one PEM block: got {got}"):
            parse(pem, where="x")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_damaged_keys_are_malformed_or_other_keys(algorithm):
    key = PrivateKey.generate(algorithm)
    for parse, pem in ((parse_public_key, key.public.pem), (parse_private_key, key.private_pem())):
        for position in range(len(pem)):
            damaged = bytearray(pem)
            damaged[position] ^= 1
            try:
                parse(bytes(damaged), where="x")
            except FormatError:
                continue


@needs.program("openssl")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("passphrase", [None, b"correct horse battery staple"])
def test_openssl_reads_the_keys_and_the_signatures(tmp_path, algorithm, passphrase):
    key = PrivateKey.generate(algorithm)
    write_private_key(tmp_path / "key.pem", key, passphrase=passphrase)
    write_public_key(tmp_path / "pub.pem", key.public)
    extra = ["-passin", f"pass:{passphrase.decode()}"] if passphrase else []
    assert _openssl("pkey", "-in", tmp_path / "key.pem", "-pubout", *extra).stdout == key.public.pem
    (tmp_path / "message").write_bytes(b"message")
    (tmp_path / "signature").write_bytes(key.sign(b"message"))
    verify = ["pkeyutl", "-verify", "-pubin", "-inkey", tmp_path / "pub.pem", "-rawin", "-in", tmp_path / "message"]
    verify += ["-sigfile", tmp_path / "signature", *(["-digest", "sha256"] if algorithm is Algorithm.P256 else [])]
    assert _openssl(*verify).returncode == 0
    (tmp_path / "message").write_bytes(b"massage")
    assert _openssl(*verify).returncode == 1


@needs.program("openssl")
@pytest.mark.parametrize(("algorithm", "name"), [(Algorithm.P256, "P-256"), (Algorithm.ED25519, "ED25519")])
def test_keys_made_by_openssl_are_read(tmp_path, algorithm, name):
    options = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"] if name == "P-256" else ["-algorithm", name]
    pem = _openssl("genpkey", *options).stdout
    assert parse_private_key(pem, where="x").public.algorithm is algorithm


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_secret_is_in_no_text_but_its_own(tmp_path, algorithm):
    key = PrivateKey.generate(algorithm)
    texts = [repr(key), str(key), f"{key}", repr([key]), repr(key.public), repr(vars(PrivateKey))]
    for passphrase in (b"hunter2hunter2", None):
        pem = key.private_pem(passphrase)
        for broken in (pem[:-40], pem.replace(b"PRIVATE", b"SECRET", 1), pem + pem, pem.replace(b"M", b"N", 1)):
            for given in (None, b"hunter2hunter2", b"wrongwrongwrong"):
                texts += _complaints(parse_private_key, broken, where="key.pem", passphrase=given)
        texts += _complaints(parse_public_key, pem, where="key.pem")
        (tmp_path / "open.pem").write_bytes(pem)
        (tmp_path / "open.pem").chmod(0o644)
        texts += _complaints(read_private_key, tmp_path / "open.pem")
    texts += _complaints(pickle.dumps, key)
    everything = "\n".join(texts)
    for secret in _secrets(key):
        assert secret not in everything
    assert "hunter2" not in everything
    assert "wrongwrong" not in everything
    assert copy.copy(key).public == key.public


def _secrets(key: PrivateKey) -> list[str]:
    """The secret number in every form in which it could be printed."""
    if key.public.algorithm is Algorithm.ED25519:
        raw = key._key.private_bytes_raw()
    else:
        raw = key._key.private_numbers().private_value.to_bytes(32, "big")
    number = int.from_bytes(raw, "big")
    encoded = "".join(key.private_pem().decode().splitlines()[1:-1])
    return [raw.hex(), str(number), repr(raw)[2:-1], repr(list(raw)), encoded[24:56]]


def _complaints(function, *args, **kwargs) -> list[str]:
    """Whatever an error says, its causes, notes and traceback included."""
    try:
        function(*args, **kwargs)
    except (FormatError, VerificationError, RefusedError, TypeError) as err:
        return ["".join(traceback.format_exception(err)), repr(err), str(getattr(err, "hint", ""))]
    return []


def _openssl(*args) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["openssl", *args], capture_output=True, check=False)


def _pem(label: str, der: bytes) -> bytes:
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n".encode()
