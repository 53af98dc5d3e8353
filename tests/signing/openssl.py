"""A DSSE envelope as somebody checks it who has the specification, Python's own library and openssl."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path


def openssl_verifies(envelope: bytes, public_pem: bytes, folder: Path) -> bool:
    """Whether the first signature of an envelope, or of the one in a bundle by Sigstore, is by this key.

    folder: for the files that openssl reads.
    """
    record = json.loads(envelope)
    record = record.get("dsseEnvelope", record)
    kind, payload = record["payloadType"].encode(), base64.b64decode(record["payload"], validate=True)
    (folder / "pae").write_bytes(b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload))
    (folder / "sig").write_bytes(base64.b64decode(record["signatures"][0]["sig"], validate=True))
    (folder / "pub.pem").write_bytes(public_pem)
    printed = _openssl("pkey", "-pubin", "-in", "pub.pem", "-noout", "-text", folder=folder)
    printed.check_returncode()
    if b"ED25519" in printed.stdout:
        verify = ["pkeyutl", "-verify", "-pubin", "-inkey", "pub.pem", "-rawin", "-in", "pae", "-sigfile", "sig"]
    else:
        verify = ["dgst", "-sha256", "-verify", "pub.pem", "-signature", "sig", "pae"]
    return _openssl(*verify, folder=folder).returncode == 0


def _openssl(*arguments: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, check=False)
