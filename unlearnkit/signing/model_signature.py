"""OpenSSF model signatures (``model.sig``), which `model_signing verify key` accepts: which files a model consists of.

A Sigstore bundle v0.3 with a public key instead of a certificate, around an in-toto statement that lists every file
with its SHA-256. There is no specification; the format is what model-signing 1.1.1 writes (method "files", hash
"sha256"). That tool lets pass repeated names, ignored folders, unknown fields and every signature after the first;
this module does not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Annotated, Any, Literal

from unlearnkit.canonical import decode_base64, encode_base64, parse_json
from unlearnkit.errors import DigestMismatchError, FormatError, UnknownVersionError
from unlearnkit.names import SHA256, Sha256
from unlearnkit.records import from_json, to_json
from unlearnkit.shapes import Items
from unlearnkit.signing.dsse import (
    EnvelopeFile,
    Signature,
    pae,
    require_distinct,
    sign_payload,
    verify_signatures,
)
from unlearnkit.signing.keys import Algorithm, PrivateKey, PublicKey
from unlearnkit.signing.statement import PAYLOAD_TYPE, Statement, encode_statement, parse_statement

SIGNATURE_NAME = "model.sig"
"""Name of the signature's own file, at the top of the directory it signs."""

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_IGNORABLE = frozenset({SIGNATURE_NAME, ".git", ".github", ".gitignore", ".gitattributes"})


@dataclass(frozen=True, slots=True)
class KeyHint:
    """Which key made the first signature."""

    hint: str


@dataclass(frozen=True, slots=True)
class Material:
    """What to verify the signatures with. Nothing is in a transparency log."""

    publicKey: KeyHint  # noqa: N815  Sigstore's name
    tlogEntries: tuple[Any, ...]  # noqa: N815  Sigstore's name


@dataclass(frozen=True, slots=True)
class BundleFile:
    """The file as it is written."""

    mediaType: str  # noqa: N815  Sigstore's name
    verificationMaterial: Material  # noqa: N815  Sigstore's name
    dsseEnvelope: EnvelopeFile  # noqa: N815  Sigstore's name


@dataclass(frozen=True, slots=True)
class Resource:
    """A file of the model."""

    algorithm: Literal["sha256"]
    name: str
    digest: Sha256


@dataclass(frozen=True, slots=True)
class Serialization:
    """How the files were listed."""

    method: Literal["files"]
    hash_type: Literal["sha256"]
    allow_symlinks: bool
    ignore_paths: Annotated[tuple[str, ...], Items(distinct=True)]


@dataclass(frozen=True, slots=True)
class Listing:
    """The predicate: every file, and how they were listed."""

    resources: tuple[Resource, ...]
    serialization: Serialization


@dataclass(frozen=True, slots=True)
class SignedListing:
    """name: what the signer called the directory. digests: SHA-256 (hexadecimal) by path. keys: the trusted signers.

    Paths are relative to the directory, with slashes, in order. The statement says nothing about other files: whoever
    relies on it compares the whole directory, ``model.sig`` aside.
    """

    name: str
    digests: Mapping[str, str]
    keys: tuple[PublicKey, ...]


def sign_listing(digests: Mapping[str, str], *, name: str, signers: Sequence[PrivateKey]) -> bytes:
    """The bytes of ``model.sig`` for the files of a directory, all but ``model.sig`` itself.

    digests: SHA-256 (hexadecimal) by path relative to the directory. signers: P-256; model_signing checks the first.
    ValueError for bad paths, digests and keys.
    """
    if any(signer.public.algorithm is not Algorithm.P256 for signer in signers):
        raise ValueError(f"model signatures need P-256 keys: got {[signer.public for signer in signers]}")
    ordered = {path: digests[path] for path in sorted(digests, key=_order)}
    payload = _encode_listing(name, ordered)
    signatures = sign_payload(payload, payload_type=PAYLOAD_TYPE, signers=signers)
    return _encode(payload, signatures, first_id=signatures[0].key_id)


def verify_listing(raw: bytes, *, where: str, keys: Iterable[PublicKey], threshold: int = 1) -> SignedListing:
    """The files that at least ``threshold`` different ``keys`` signed for.

    Raises FormatError for malformed bytes, UnknownVersionError for another format, DigestMismatchError if the listing
    does not add up to its subject, and as `unlearnkit.signing.dsse.verify_signatures` does.
    """
    payload, signatures = _parse(raw, where)
    accepted = verify_signatures(pae(PAYLOAD_TYPE, payload), signatures, where=where, keys=keys, threshold=threshold)
    name, digests = _parse_listing(payload, where)
    return SignedListing(name, digests, accepted)


def _encode(payload: bytes, signatures: Sequence[Signature], *, first_id: str) -> bytes:
    """The fields in the tool's own order, so that its files and ours are of one form."""
    ids = [first_id, *(item.key_id for item in signatures[1:])]
    envelope = {
        "payload": encode_base64(payload),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [
            {"sig": encode_base64(item.value), "keyid": key_id} for item, key_id in zip(signatures, ids, strict=True)
        ],
    }
    material = {"publicKey": {"hint": signatures[0].key_id}, "tlogEntries": []}
    bundle = {"mediaType": _MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope}
    return json.dumps(bundle, separators=(",", ":")).encode()


def _parse(raw: bytes, where: str) -> tuple[bytes, tuple[Signature, ...]]:
    """Payload and signatures, unverified. The tool writes no key id, but a hint to the first signature's key."""
    bundle = from_json(BundleFile, parse_json(raw, where=where), where=where)
    envelope, hint = bundle.dsseEnvelope, bundle.verificationMaterial.publicKey.hint
    _require_version("mediaType", bundle.mediaType, _MEDIA_TYPE, where)
    _require_version("payloadType", envelope.payloadType, PAYLOAD_TYPE, where)
    payload = decode_base64(envelope.payload, where=f"{where}: payload")
    values = [decode_base64(item.sig, where=f"{where}: signature {i}") for i, item in enumerate(envelope.signatures)]
    ids = [hint, *(item.keyid for item in envelope.signatures[1:])]
    signatures = tuple(Signature(key_id, value) for key_id, value in zip(ids, values, strict=False))
    require_distinct(signatures, where=where)
    if raw not in [_encode(payload, signatures, first_id=first_id) for first_id in (hint, "")]:
        raise FormatError(f"{where} is not written as model signatures are (field order, spaces, hint and key id)")
    return payload, signatures


def _encode_listing(name: str, digests: Mapping[str, str]) -> bytes:
    resources = tuple(Resource("sha256", path, digest) for path, digest in digests.items())
    predicate = Listing(
        resources, Serialization("files", "sha256", allow_symlinks=False, ignore_paths=(SIGNATURE_NAME,))
    )
    try:
        for path, digest in digests.items():
            _require_path(path, "listing")
            SHA256.require(digest, where=path)
    except FormatError as err:
        raise ValueError(str(err)) from err
    return encode_statement(Statement({name: _root(digests)}, _PREDICATE_TYPE, to_json(predicate)))


def _parse_listing(payload: bytes, where: str) -> tuple[str, Mapping[str, str]]:
    statement = parse_statement(payload, where=where, predicate_type=_PREDICATE_TYPE)
    if len(statement.subjects) != 1:
        raise FormatError(f"{where} must have one subject: got {len(statement.subjects)}")
    listing = from_json(Listing, dict(statement.predicate), where=f"{where}: predicate")
    _check_serialization(listing.serialization, f"{where}: serialization")
    digests = {resource.name: resource.digest for resource in listing.resources}
    paths = [resource.name for resource in listing.resources]
    for number, path in enumerate(paths):
        _require_path(path, f"{where}: resource {number}")
    if paths != sorted(set(paths), key=_order):
        raise FormatError(f"{where} must list its files in order of their path's parts, and none of them twice")
    [(name, root)] = statement.subjects.items()
    if root != _root(digests):
        raise DigestMismatchError(f"{where}: the listing has digest {_root(digests)}, but its subject {root}")
    return name, MappingProxyType(digests)


def _check_serialization(found: Serialization, where: str) -> None:
    if found.allow_symlinks:
        raise FormatError(f"{where} is not supported: got links followed, expected allow_symlinks false")
    if not _IGNORABLE.issuperset(found.ignore_paths):
        ignored = list(found.ignore_paths)
        raise FormatError(f"{where} ignores too much: got {ignored}, expected at most {sorted(_IGNORABLE)}")


def _require_path(path: str, where: str) -> None:
    """A file's path that stays inside the directory on every system, and is spelled in the one shortest way."""
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or not path.isprintable() or "\\" in path or ":" in path:
        raise FormatError(f"{where} has the path {path!r}, expected plain names joined by slashes")
    if parts[0] in _IGNORABLE:
        raise FormatError(f"{where} has the path {path!r}, which verifiers ignore")


def _root(digests: Mapping[str, str]) -> str:
    return hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in digests.values())).hexdigest()


def _order(path: str) -> tuple[str, ...]:
    return PurePosixPath(path).parts


def _require_version(name: str, got: str, expected: str, where: str) -> None:
    if got != expected:
        raise UnknownVersionError(f"{where}: {name} is {got!r}, expected {expected!r}")
