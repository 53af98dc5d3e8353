"""Policies: what an organisation has decided about deletion requests, as strictly validated TOML.

Whatever a policy does not state, it does not allow: a policy with a name and nothing else refuses everything.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

from unlearnkit.canonical import sha256_hex, take_fields
from unlearnkit.compliance.policy.deadlines import Deadline, WorkingDays, parse_deadline, parse_working_days
from unlearnkit.errors import FormatError, PolicyError, UnknownNameError, UnknownVersionError

SCHEMA = "unlearnkit/policy/v1"
FULFILMENTS = ("retrained", "negligible-effect")
"""How a request can be met: trained again without the data; or shown to have had an effect within tolerance."""
REFUSED = "refused"
BOUND_METHODS = ("certified", "audited")
"""Which kinds of bounds can count: proved; or conformal, from retrainings."""
ERRORS = ("sampling", "rounding", "truncation")
"""What a bound can cover: the chance of the directions, float arithmetic, and the degrees beyond the last one."""
ROLES = ("sketch-signer", "certificate-signer")

_TOKEN = re.compile(r"[a-z][a-z0-9-]{0,63}")
_PROBE = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,63}")
_PACKAGE = "unlearnkit.policies"
_NUMBER = (int, Decimal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The only words that requests may carry in the log, so that no personal data can slip in as free text."""

    actors: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    identity_methods: tuple[str, ...] = ()
    extension_reasons: tuple[str, ...] = ()
    grounds: tuple[str, ...] = ()
    refusal_reasons: tuple[str, ...] = ()
    withdrawal_reasons: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRules:
    """What a certificate must show to count.

    probes: those it must cover. tolerances: largest change of a probe, in the probe's unit, that is negligible.
    must_cover: the errors that a bound has to cover; all of them, unless the policy says which.
    stability: by probe, the factor by which the parts of each further degree are declared to shrink
    (docs/theory.md section 4.4a); a certified bound covers truncation only where this is declared, and the measured
    does not contradict it.
    rounding: by probe, the declared size of rounding errors (section 4.3); a replay in float64 measures it.
    delta_budget: sum of the deltas of all certificates from one bundle.
    """

    probes: tuple[str, ...] = ()
    tolerances: Mapping[str, Decimal] = field(default_factory=dict)
    bound_methods: tuple[str, ...] = ()
    must_cover: tuple[str, ...] = ERRORS
    stability: Mapping[str, Decimal] = field(default_factory=dict)
    rounding: Mapping[str, Decimal] = field(default_factory=dict)
    minimum_directions: int | None = None
    largest_epsilon: Decimal | None = None
    largest_delta: Decimal | None = None
    delta_budget: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningRules:
    """Who may sign certificates: keys that have one of ``roles`` in the trust store, ``threshold`` different ones."""

    roles: tuple[str, ...] = ()
    threshold: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A validated policy. A deadline that is None is not known to this policy.

    Attributes:
        name: a word.
        digest: SHA-256 of the file.
        text: the file.
        title: for people.
        jurisdiction: a word.
        working_days: which days are worked.
        acknowledge: until when receipt is to be confirmed.
        respond: until when the request is to be answered.
        extended: the whole time from receipt once it was extended.
        retention_months: how long the record of a request is kept after it was closed.
        accepted: fulfilments that count, and "refused".
        words: the only ones that requests may carry in the log.
        certificate: what a certificate must show to count.
        signing: who may sign one.

    Example:
        >>> policy = uk.Policy.load("gdpr")
        >>> policy.respond.rule, policy.respond.months
        ('GDPR Art. 12(3)', 1)

    """

    name: str
    digest: str
    text: str = field(default="", repr=False)
    title: str = ""
    jurisdiction: str = ""
    working_days: WorkingDays = field(default_factory=WorkingDays)
    acknowledge: Deadline | None = None
    respond: Deadline | None = None
    extended: Deadline | None = None
    retention_months: int = 0
    accepted: tuple[str, ...] = ()
    words: Words = field(default_factory=Words)
    certificate: CertificateRules = field(default_factory=CertificateRules)
    signing: SigningRules = field(default_factory=SigningRules)

    @classmethod
    def load(cls, source: str | Path) -> Policy:
        """A policy by the name of a packaged one, or from a file: a Path, or text with a slash or ending in .toml."""
        raw, where = read_policy(source)
        return parse_policy(raw, where=where)

    def require_word(self, kind: str, word: str) -> str:
        """A word that this policy lists.

        Args:
            kind: a list of `Words`, such as "sources".
            word: that ought to be in it.

        Returns:
            ``word``.

        Raises:
            PolicyError: it is not.

        """
        allowed: tuple[str, ...] = getattr(self.words, kind)
        if word not in allowed:
            raise PolicyError(
                f"policy {self.name} does not list {word!r} among its {kind}: "
                f"expected {', '.join(allowed) or 'nothing, for it lists none'}",
                hint=f"the log takes no free text; add the word to [words] {kind} of the policy",
            )
        return word

    def require_accepted(self, fulfilment: str) -> str:
        """``fulfilment``, if this policy lets a request end so; otherwise PolicyError."""
        if fulfilment not in self.accepted:
            listed = ", ".join(self.accepted) or "nothing"
            raise PolicyError(f"policy {self.name} does not accept {fulfilment!r}: it accepts {listed}")
        return fulfilment

    def require_deadline(self, name: str) -> Deadline:
        """The deadline ``respond`` or ``extended``; PolicyError if this policy has none."""
        deadline: Deadline | None = getattr(self, name)
        if deadline is None:
            raise PolicyError(f"policy {self.name} has no deadline {name!r}", hint=f"add [deadlines.{name}] to it")
        return deadline


def packaged_policies() -> dict[str, bytes]:
    """The policies that come with this package, by name."""
    files = resources.files(_PACKAGE).iterdir()
    return {
        file.name.removesuffix(".toml"): file.read_bytes()
        for file in sorted(files, key=lambda file: file.name)
        if file.name.endswith(".toml")
    }


def read_policy(source: str | Path) -> tuple[bytes, str]:
    """The text of a policy, and what to call it in errors; UnknownNameError if there is none."""
    if isinstance(source, Path) or "/" in source or source.endswith(".toml"):
        path = Path(source)
        if not path.is_file():
            raise UnknownNameError(f"no policy file {path}")
        return path.read_bytes(), str(path)
    packaged = packaged_policies()
    if source not in packaged:
        known = ", ".join(packaged)
        raise UnknownNameError(f"no policy {source!r}: there are {known}", hint="a file is named by its path")
    return packaged[source], f"policy {source}"


def parse_policy(raw: bytes, *, where: str) -> Policy:
    """A policy from TOML. FormatError says what is wrong where; UnknownVersionError for another schema."""
    try:
        record = tomllib.loads(raw.decode("utf-8"), parse_float=Decimal)
    except ValueError as err:
        raise FormatError(f"{where} is not TOML: {err}") from err
    if record.get("schema", SCHEMA) != SCHEMA:
        raise UnknownVersionError(f"{where}: schema is {record['schema']!r}, expected {SCHEMA!r}")
    fields = take_fields(record, where=where, required={"schema": str, "name": str}, optional=_SECTIONS)
    if not _TOKEN.fullmatch(fields["name"]):
        raise FormatError(f"{where}: name must be lower-case letters, digits and hyphens: got {fields['name']!r}")
    jurisdiction = fields.get("jurisdiction", "")
    if jurisdiction and not _TOKEN.fullmatch(jurisdiction):
        raise FormatError(f"{where}: jurisdiction must be lower-case letters, digits and hyphens: got {jurisdiction!r}")
    return Policy(
        name=fields["name"],
        digest=sha256_hex(raw),
        text=raw.decode(),
        title=fields.get("title", ""),
        jurisdiction=jurisdiction,
        certificate=_certificate(fields.get("certificate", {}), where=f"{where}: [certificate]"),
        signing=_signing(fields.get("signing", {}), where=f"{where}: [signing]"),
        words=_words(fields.get("words", {}), where=f"{where}: [words]"),
        **_requests(fields.get("requests", {}), where=f"{where}: [requests]"),
        **_deadlines(fields, where=where),
    )


_SECTIONS = {
    "title": str,
    "jurisdiction": str,
    "working_days": dict,
    "deadlines": dict,
    "requests": dict,
    "words": dict,
    "certificate": dict,
    "signing": dict,
}


def _deadlines(fields: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    names = ("acknowledge", "respond", "extended")
    tables = take_fields(
        fields.get("deadlines", {}), where=f"{where}: [deadlines]", required={}, optional=dict.fromkeys(names, dict)
    )
    found: dict[str, Any] = {
        name: parse_deadline(table, where=f"{where}: [deadlines.{name}]") for name, table in tables.items()
    }
    if "extended" in found and "respond" not in found:
        raise FormatError(f"{where}: [deadlines.extended] extends nothing: [deadlines.respond] is missing")
    if "working_days" in fields:
        found["working_days"] = parse_working_days(fields["working_days"], where=f"{where}: [working_days]")
    return found


def _requests(record: object, *, where: str) -> dict[str, Any]:
    fields = take_fields(record, where=where, required={}, optional={"accepted": list, "retention_months": int})
    months = fields.get("retention_months", 0)
    if not 0 <= months <= 1200:
        raise FormatError(f"{where}: retention_months must be from 0 to 1200: got {months}")
    accepted = _listed(fields, "accepted", where, allowed=(*FULFILMENTS, REFUSED))
    return {"accepted": accepted, "retention_months": months}


def _words(record: object, *, where: str) -> Words:
    kinds = list(Words.__dataclass_fields__)
    fields = take_fields(record, where=where, required={}, optional=dict.fromkeys(kinds, list))
    return Words(**{kind: _listed(fields, kind, where) for kind in kinds})


def _certificate(record: object, *, where: str) -> CertificateRules:
    numbers = ("largest_epsilon", "largest_delta", "delta_budget")
    optional: dict[str, type | tuple[type, ...]] = {
        "probes": list,
        "tolerances": dict,
        "bound_methods": list,
        "must_cover": list,
        "stability": dict,
        "rounding": dict,
        "minimum_directions": int,
        **dict.fromkeys(numbers, _NUMBER),
    }
    fields = take_fields(record, where=where, required={}, optional=optional)
    if fields.get("minimum_directions", 1) < 1:
        raise FormatError(f"{where}: minimum_directions must be at least 1: got {fields['minimum_directions']}")
    found = {name: _positive(fields[name], f"{where}: {name}") for name in numbers if name in fields}
    if any(found.get(name, 0) >= 1 for name in ("largest_delta", "delta_budget")):
        raise FormatError(f"{where}: largest_delta and delta_budget are probabilities: expected less than 1")
    if found.get("delta_budget", 1) < found.get("largest_delta", 0):
        raise FormatError(f"{where}: delta_budget is less than largest_delta: no certificate could use it")
    probes = _listed(fields, "probes", where, pattern=_PROBE)
    tolerances = {
        name: _positive(value, f"{where}: tolerance of {name}") for name, value in fields.get("tolerances", {}).items()
    }
    if missing := [name for name in probes if name not in tolerances]:
        raise FormatError(f"{where}: no tolerance for {', '.join(missing)}: what change is negligible?")
    stability, rounding = (
        {name: _positive(value, f"{where}: {table} of {name}") for name, value in fields.get(table, {}).items()}
        for table in ("stability", "rounding")
    )
    if any(factor >= 1 for factor in stability.values()):
        raise FormatError(f"{where}: stability must be less than 1: the parts of each further degree shrink by it")
    return CertificateRules(
        probes=probes,
        stability=stability,
        rounding=rounding,
        must_cover=_listed(fields, "must_cover", where, allowed=ERRORS) if "must_cover" in fields else ERRORS,
        tolerances=tolerances,
        bound_methods=_listed(fields, "bound_methods", where, allowed=BOUND_METHODS),
        minimum_directions=fields.get("minimum_directions"),
        **found,
    )


def _signing(record: object, *, where: str) -> SigningRules:
    fields = take_fields(record, where=where, required={}, optional={"roles": list, "threshold": int})
    if fields.get("threshold", 1) < 1:
        raise FormatError(f"{where}: threshold must be at least 1: got {fields['threshold']}")
    return SigningRules(roles=_listed(fields, "roles", where, allowed=ROLES), threshold=fields.get("threshold", 1))


def _listed(
    fields: Mapping[str, Any],
    name: str,
    where: str,
    *,
    allowed: tuple[str, ...] | None = None,
    pattern: re.Pattern[str] = _TOKEN,
) -> tuple[str, ...]:
    """A list of different words, each of ``allowed`` if that is given."""
    words = fields.get(name, [])
    wrong = [word for word in words if not isinstance(word, str) or not pattern.fullmatch(word)]
    if wrong:
        raise FormatError(f"{where}: {name} must be words of letters, digits and hyphens: got {wrong}")
    if len(set(words)) != len(words):
        raise FormatError(f"{where}: {name} has a word twice: got {words}")
    if allowed is not None and (unknown := [word for word in words if word not in allowed]):
        raise FormatError(f"{where}: {name} has unknown words: got {unknown}, expected some of {', '.join(allowed)}")
    return tuple(words)


def _positive(value: object, where: str) -> Decimal:
    if type(value) not in _NUMBER:
        raise FormatError(f"{where} must be a number: got {value!r}")
    number = Decimal(value)  # type: ignore[arg-type]
    if not number.is_finite() or number <= 0:
        raise FormatError(f"{where} must be a positive number: got {value}")
    return number
