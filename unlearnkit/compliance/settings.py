"""The settings of a workspace: the file ``unlearnkit.toml``."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from unlearnkit.errors import FormatError
from unlearnkit.names import Origin, Pattern, Word
from unlearnkit.records import from_toml
from unlearnkit.shapes import As

_PATH = Pattern("[A-Za-z0-9_./-]{1,200}", "a name or a path of plain letters")
TEMPLATE = """\
# A workspace of unlearnkit. Commands find it from any directory inside it.
schema = "{schema}"
origin = '{origin}'             # name of the audit log, unique among all logs; it is in every checkpoint
policy = "{policy}"             # a packaged policy, or the path of a file from here: "policies/ours.toml"
policies = [{policies}]         # further ones, for other jurisdictions: requests of those are handled under them
actor = "{actor}"               # who works here: a word from the policy's list of actors
timezone = "{timezone}"         # where requests are received: days begin and end there

# The jurisdiction of requests that come in from there, where they do not say one themselves:
# [sources]
# uk-web-form = "uk"

# A command that signs in the place of keys/signer.pem, for keys in hardware: it gets a SHA-256 digest (32 bytes), and
# writes a P-256 signature (DER). Its public half is keys/signer.pub.pem.
# sign = ["pkcs11-sign", "--label", "privacy-office"]
# The same for the log's key, in the place of keys/log.pem: it gets the text of the checkpoint, and writes an Ed25519
# signature (64 bytes).
# sign_log = ["pkcs11-sign", "--label", "deletion-log"]

# Who may read the log, bundles, evidence and certificates: "owner" (0600), "group" (0640) or "everybody" (0644). Keys
# and letters are the owner's always. What was shared stays shared.
# readers = "group"

# Who writes letters, and to whom people can complain: 'unlearnkit requests letter' needs it.
# [sender]
# name = "Example Ltd"
# address = ["1 Example Street", "Exampletown"]
# contact = "privacy@example.org"
# authority = "the supervisory authority of ..., https://..."
"""


def _timezone(name: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"must be one of the IANA database, such as Europe/Berlin: got {name!r}") from None


Timezone = Annotated[zoneinfo.ZoneInfo, As(Annotated[str, _PATH], _timezone, str)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who writes letters. contact: how they are reached. authority: to whom people can complain about them."""

    name: str
    address: tuple[str, ...] = ()
    contact: str
    authority: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The file of a workspace. origin: name of the log. policy: a packaged one, or a path. actor: who works here.

    policies: further ones, each for other jurisdictions. sources: by source of requests, the jurisdiction that they are
    under where they do not say one.
    sender: who writes letters. sign: a command that signs, for keys in hardware; empty: keys/signer.pem does.
    sign_log: one that signs for the log, in the place of keys/log.pem.
    readers: who may read the log, bundles, evidence and certificates.
    """

    schema: Literal["unlearnkit/workspace/v1"] = "unlearnkit/workspace/v1"
    origin: Origin
    policy: Annotated[str, _PATH]
    policies: tuple[Annotated[str, _PATH], ...] = ()
    sources: Mapping[Word, Word] = field(default_factory=dict)
    actor: str
    timezone: Timezone
    sender: Sender | None = None
    sign: tuple[str, ...] = ()
    sign_log: tuple[str, ...] = ()
    readers: Literal["owner", "group", "everybody"] = "owner"


def given_settings(origin: str, policy: str, policies: Sequence[str], actor: str, timezone: str) -> Settings:
    """Settings as they were given; ValueError says which makes no sense."""
    members = {"origin": origin, "policy": policy, "policies": [*policies], "actor": actor, "timezone": timezone}
    try:
        return from_toml(Settings, {"schema": "unlearnkit/workspace/v1", **members}, where="settings")
    except FormatError as err:
        raise ValueError(str(err)) from None
