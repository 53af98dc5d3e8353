"""model.sig as the OpenSSF tool writes and reads it, and stricter than that tool wherever it is lenient."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import PurePosixPath

import pytest

from unlearnkit.errors import DigestMismatchError, FormatError, SignatureError, ThresholdError, UnknownVersionError
from unlearnkit.signing.dsse import pae
from unlearnkit.signing.keys import read_public_key
from unlearnkit.signing.model_signature import SIGNATURE_NAME, sign_listing, verify_listing

FILES = {
    "manifest.json": b"{}",
    ".hidden": b"h",
    "probes/margins.safetensors": b"tensor",
    "probes.txt": b"sorts after probes/ by parts, before it by characters",
    "empty": b"",
    "sub/deep/ünïcode name.txt": b"x",
}
KIND = "application/vnd.in-toto+json"

BAD_PATHS = (
    "/etc/passwd ../x a/../b a//b ./a a/. a/ .. . a\\b c:x "
    ".git/config .gitignore .gitattributes .github/x model.sig model.sig/x"
)


def _digests(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


DIGESTS = _digests(FILES)


@pytest.fixture(scope="module")
def signature(signer):
    return sign_listing(DIGESTS, name="bundle", signers=[signer])


def _statement(raw: bytes) -> dict:
    return json.loads(base64.b64decode(json.loads(raw)["dsseEnvelope"]["payload"]))


def _resigned(raw: bytes, signer, statement) -> bytes:
    """The same file around another statement, honestly signed: what only the owner of a trusted key can make."""
    payload = statement if isinstance(statement, bytes) else json.dumps(statement).encode()
    bundle = json.loads(raw)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signer.sign(pae(KIND, payload))).decode()
    return _compact(bundle)


def _compact(value) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def test_the_listing_comes_back_with_its_signers(signature, signer, stranger):
    listing = verify_listing(signature, where="model.sig", keys=[stranger.public, signer.public])
    assert dict(listing.digests) == DIGESTS
    assert (listing.name, listing.keys) == ("bundle", (signer.public,))


def test_the_published_example_verifies(vectors):
    folder = vectors / "model_signing"
    key = read_public_key(folder / "p256.pub.pem")
    listing = verify_listing((folder / "example.sig").read_bytes(), where="example.sig", keys=[key])
    files = {path for path in (folder / "b").rglob("*") if path.is_file()}
    assert dict(listing.digests) == _digests({str(path.relative_to(folder / "b")): path.read_bytes() for path in files})
    assert listing.name == "b"


def test_the_statement_is_that_of_the_tool(signature, vectors):
    ours = _statement(signature)
    theirs = json.loads((vectors / "model_signing" / "example.payload.json").read_text())
    assert _shape(ours) == _shape(theirs)
    assert ours["predicate"]["serialization"].pop("ignore_paths") == [SIGNATURE_NAME]
    theirs["predicate"]["serialization"].pop("ignore_paths")
    assert ours["predicate"]["serialization"] == theirs["predicate"]["serialization"]
    assert [ours[name] for name in ("_type", "predicateType")] == [theirs[name] for name in ("_type", "predicateType")]


def test_files_are_listed_in_order_of_their_paths_parts(signature):
    names = [resource["name"] for resource in _statement(signature)["predicate"]["resources"]]
    assert names == [str(path) for path in sorted(map(PurePosixPath, FILES))]
    assert names.index("probes/margins.safetensors") < names.index("probes.txt")


def test_the_listing_does_not_depend_on_the_order_it_is_given_in(signature, signer):
    backwards = sign_listing(dict(reversed(DIGESTS.items())), name="bundle", signers=[signer])
    assert _statement(backwards) == _statement(signature)


def test_the_hint_is_the_digest_of_the_public_key_file(signature, signer):
    bundle = json.loads(signature)
    assert bundle["verificationMaterial"]["publicKey"]["hint"] == hashlib.sha256(signer.public.pem).hexdigest()


def test_several_signers_count_towards_a_threshold(signer, second_signer, stranger):
    raw = sign_listing(DIGESTS, name="bundle", signers=[signer, second_signer])
    keys = [signer.public, second_signer.public]
    assert verify_listing(raw, where="x", keys=keys, threshold=2).keys == tuple(keys)
    with pytest.raises(ThresholdError, match="x has too few trusted signatures: got 1, expected 2"):
        verify_listing(raw, where="x", keys=[signer.public, stranger.public], threshold=2)


def test_no_keys_verify_nothing(signature, stranger):
    for keys in ([], [stranger.public]):
        with pytest.raises(ThresholdError, match="x has too few trusted signatures: got 0, expected 1"):
            verify_listing(signature, where="x", keys=keys)


def test_a_listing_that_was_not_signed_does_not_verify(signature, signer, stranger):
    with pytest.raises(SignatureError, match="x: the signature does not verify"):
        verify_listing(_resigned(signature, stranger, _statement(signature)), where="x", keys=[signer.public])


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (
            ["mediaType"],
            "application/vnd.dev.sigstore.bundle.v0.2+json",
            (UnknownVersionError, "x: mediaType is '.*v0.2"),
        ),
        (["extra"], 1, (FormatError, "x has unknown fields: got 'extra'")),
        (
            ["verificationMaterial", "extra"],
            1,
            (FormatError, "x: verificationMaterial has unknown fields: got 'extra'"),
        ),
        (["verificationMaterial", "tlogEntries"], [{}], (FormatError, "x is not written as model signatures are")),
        (["verificationMaterial", "publicKey", "hint"], "", (FormatError, "x must have a key id with every signature")),
        (
            ["verificationMaterial", "publicKey", "hint"],
            "abc",
            (FormatError, "x is not written as model signatures are"),
        ),
        (["dsseEnvelope", "extra"], 1, (FormatError, "x: dsseEnvelope has unknown fields")),
        (
            ["dsseEnvelope", "payloadType"],
            "text/plain",
            (UnknownVersionError, "x: payloadType is 'text/plain', expected"),
        ),
        (["dsseEnvelope", "payload"], "QR==", (FormatError, "x: payload is not canonical base64")),
        (["dsseEnvelope", "payload"], "-_==", (FormatError, "x: payload is not base64")),
        (["dsseEnvelope", "signatures"], [], (FormatError, "x must have 1 to 16 signatures: got 0")),
        (["dsseEnvelope", "signatures", 0, "sig"], "QQ==", (SignatureError, "x: the signature does not verify")),
        (["dsseEnvelope", "signatures", 0, "keyid"], "abc", (FormatError, "x is not written as model signatures are")),
        (
            ["dsseEnvelope", "signatures", 0, "extra"],
            "",
            (FormatError, "x: dsseEnvelope.signatures\\[0\\] has unknown fields: got 'extra'"),
        ),
    ],
)
def test_other_files_are_refused(signature, signer, path, value, problem):
    bundle = inner = json.loads(signature)
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    error, message = problem
    with pytest.raises(error, match=message):
        verify_listing(_compact(bundle), where="x", keys=[signer.public])


def test_a_hint_to_another_key_is_refused(signature, signer, stranger):
    theirs = signature.replace(signer.public.key_id.encode(), stranger.public.key_id.encode())
    with pytest.raises(
        SignatureError, match=f"a signature by {signer.public.key_id} claims to be by '{stranger.public.key_id}'"
    ):
        verify_listing(theirs, where="x", keys=[signer.public])


def test_another_spelling_of_the_file_is_malformed(signature, signer):
    bundle = json.loads(signature)
    for raw in (json.dumps(bundle).encode(), signature + b"\n", _compact(dict(reversed(bundle.items())))):
        with pytest.raises(FormatError, match="x is not written as model signatures are"):
            verify_listing(raw, where="x", keys=[signer.public])


@pytest.mark.parametrize("name", [*BAD_PATHS.split(" "), "", "a\nb", "a\0b", "a\u202eb"])
def test_paths_that_leave_the_folder_or_are_ignored_are_refused(signature, signer, name):
    with pytest.raises(ValueError, match="listing has the path"):
        sign_listing({name: "0" * 64}, name="bundle", signers=[signer])
    statement = _with_resources(_statement(signature), [(name, "0" * 64)])
    with pytest.raises(
        FormatError, match=r"x: resource 0 has the path .*, (expected plain names|which verifiers ignore)"
    ):
        verify_listing(_resigned(signature, signer, statement), where="x", keys=[signer.public])


@pytest.mark.parametrize("digest", ["0" * 63, "0" * 65, "A" * 64, "", "0" * 63 + "g"])
def test_digests_are_64_hexadecimal_digits(signature, signer, digest):
    with pytest.raises(ValueError, match="a must be 64 lower-case hexadecimal digits: got"):
        sign_listing({"a": digest}, name="bundle", signers=[signer])
    statement = _statement(signature)
    statement["predicate"]["resources"][0]["digest"] = digest
    with pytest.raises(
        FormatError, match=r"x: predicate: resources\[0\]\.digest must be 64 lower-case hexadecimal digits: got"
    ):
        verify_listing(_resigned(signature, signer, statement), where="x", keys=[signer.public])


@pytest.mark.parametrize(
    ("resources", "error", "message"),
    [
        ([("a", "0" * 64), ("a", "0" * 64)], FormatError, "none of them twice"),
        ([("a", "0" * 64), ("a", "1" * 64)], FormatError, "none of them twice"),
        ([("b", "0" * 64), ("a", "0" * 64)], FormatError, "in order of their path's parts"),
        ([("a.txt", "0" * 64), ("a/b", "0" * 64)], FormatError, "in order of their path's parts"),
    ],
)
def test_repeated_and_disordered_files_are_malformed(signature, signer, resources, error, message):
    statement = _with_resources(_statement(signature), resources)
    with pytest.raises(error, match=message):
        verify_listing(_resigned(signature, signer, statement), where="x", keys=[signer.public])


def test_a_listing_that_does_not_add_up_is_refused(signature, signer):
    statement = _statement(signature)
    statement["subject"][0]["digest"]["sha256"] = "0" * 64
    with pytest.raises(
        DigestMismatchError, match=f"x: the listing has digest [0-9a-f]{{64}}, but its subject {'0' * 64}"
    ):
        verify_listing(_resigned(signature, signer, statement), where="x", keys=[signer.public])


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (["extra"], 1, (FormatError, "x has unknown fields: got 'extra'")),
        (["_type"], "https://in-toto.io/Statement/v0.1", (UnknownVersionError, "x: _type is")),
        (["predicateType"], "https://model_signing/Digests/v0.1", (UnknownVersionError, "x: predicateType is")),
        (
            ["subject"],
            [{"name": n, "digest": {"sha256": "0" * 64}} for n in "ab"],
            (FormatError, "x must have one subject: got 2"),
        ),
        (["subject", 0, "digest", "sha512"], "", (FormatError, "x: subject\\[0\\].digest has unknown fields")),
        (["predicate", "extra"], {}, (FormatError, "x: predicate has unknown fields")),
        (["predicate", "resources"], {}, (FormatError, "x: predicate: resources must be an array")),
        (["predicate", "resources", 0], "a", (FormatError, "x: predicate: resources\\[0\\] must be an object")),
        (
            ["predicate", "resources", 0, "size"],
            1,
            (FormatError, "x: predicate: resources\\[0\\] has unknown fields: got 'size'"),
        ),
        (
            ["predicate", "resources", 0, "algorithm"],
            "blake2b",
            (FormatError, "x: predicate: resources\\[0\\].algorithm must be 'sha256': got 'blake2b'"),
        ),
        (
            ["predicate", "serialization", "method"],
            "shards",
            (FormatError, "serialization.method must be 'files': got"),
        ),
        (
            ["predicate", "serialization", "hash_type"],
            "sha512",
            (FormatError, "serialization.hash_type must be 'sha256': got"),
        ),
        (["predicate", "serialization", "allow_symlinks"], True, (FormatError, "x: serialization is not supported")),
        (["predicate", "serialization", "extra"], 1, (FormatError, "x: predicate: serialization has unknown fields")),
        (
            ["predicate", "serialization", "ignore_paths"],
            ["probes"],
            (FormatError, r"ignores too much: got \['probes'\]"),
        ),
        (
            ["predicate", "serialization", "ignore_paths"],
            [["model.sig"]],
            (FormatError, r"ignore_paths\[0\] must be a string"),
        ),
        (["predicate", "serialization", "ignore_paths"], ["model.sig"] * 2, (FormatError, "got 'model.sig' twice")),
        (["predicate", "serialization", "ignore_paths"], ["model.sig/"], (FormatError, "ignores too much")),
    ],
)
def test_other_statements_are_refused_although_they_are_signed(signature, signer, path, value, problem):
    statement = inner = _statement(signature)
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    error, message = problem
    with pytest.raises(error, match=message):
        verify_listing(_resigned(signature, signer, statement), where="x", keys=[signer.public])


def test_a_signed_payload_that_repeats_a_key_is_malformed(signature, signer):
    payload = json.dumps(_statement(signature)).encode().replace(b'"resources"', b'"resources": [], "resources"', 1)
    with pytest.raises(FormatError, match="x is not strict JSON: the key 'resources' is repeated"):
        verify_listing(_resigned(signature, signer, payload), where="x", keys=[signer.public])


def test_model_signatures_need_p256_keys(log_key, signer):
    with pytest.raises(ValueError, match=r"model signatures need P-256 keys: got \[.*ed25519"):
        sign_listing(DIGESTS, name="bundle", signers=[signer, log_key])
    with pytest.raises(ValueError, match="different signers: got 0"):
        sign_listing(DIGESTS, name="bundle", signers=[])


def _with_resources(statement: dict, resources: list[tuple[str, str]]) -> dict:
    statement["predicate"]["resources"] = [
        {"algorithm": "sha256", "name": name, "digest": digest} for name, digest in resources
    ]
    root = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, digest in resources)).hexdigest()
    statement["subject"][0]["digest"]["sha256"] = root
    return statement


def _shape(value):
    """The names and types in a JSON value, of arrays the first element's."""
    if isinstance(value, dict):
        return {key: _shape(item) for key, item in value.items()}
    return [_shape(item) for item in value[:1]] if isinstance(value, list) else type(value)
