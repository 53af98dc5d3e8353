"""``unlearnkit policy``: which policies there are, and whether a file is one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from unlearnkit.names import counted

from .output import Document, Output, columns, pass_output

if TYPE_CHECKING:
    from unlearnkit.compliance.policy.audits import AuditRules
    from unlearnkit.compliance.policy.deadlines import Deadline
    from unlearnkit.compliance.policy.policy import CertificateRules, Place, Policy


@click.group()
def policy() -> None:
    """What an organisation allows: deadlines, words, bounds, signers."""


@policy.command("list")
@pass_output
def list_policies(output: Output) -> None:
    """List the policies that come with unlearnkit.

    \b
    Example:
      unlearnkit policy list
    """
    from unlearnkit.compliance.policy.policy import packaged_policies, parse_policy

    found = [parse_policy(raw, where=f"policy {name}") for name, raw in packaged_policies().items()]
    output.emit(_Policies(policies=tuple(_Named(item.name, item.title) for item in found)), _render_list)


@policy.command()
@click.argument("name")
@pass_output
def show(output: Output, name: str) -> None:
    """Print the policy NAME, or the one in the file NAME, as it is written; its comments explain it.

    \b
    Example:
      unlearnkit policy show gdpr > policies/ours.toml
    """
    from unlearnkit.compliance.policy.policy import parse_policy, read_policy

    raw, where = read_policy(name)
    found = _Policy.of(parse_policy(raw, where=where))
    output.emit(found, lambda _: [found.text.removesuffix("\n")])


@policy.command()
@click.argument("name")
@pass_output
def check(output: Output, name: str) -> None:
    """Check the policy NAME, or the one in the file NAME, and say what it allows.

    \b
    Example:
      unlearnkit policy check policies/ours.toml
    """
    from unlearnkit.compliance.policy.policy import Policy

    found = Policy.load(name)
    output.emit(_Policy.of(found), _render_check)
    for warning in _warnings(found):
        output.say(f"note: {warning}")


@policy.command("diff")
@click.argument("before")
@click.argument("after")
@pass_output
def diff(output: Output, *, before: str, after: str) -> None:
    """Say in which settings the policy AFTER differs from BEFORE; each is a packaged one or a file.

    \b
    Example:
      unlearnkit policy diff gdpr policies/ours.toml
    """
    from unlearnkit.compliance.policy.comparison import compare
    from unlearnkit.compliance.policy.policy import Policy

    found = compare(Policy.load(before), Policy.load(after))
    rows = tuple(_Difference(item.setting, item.before, item.after) for item in found)
    output.emit(_Differences(before=before, after=after, differences=rows), _render_diff)


@policy.command("holidays")
@click.argument("place")
@click.argument("years", type=click.IntRange(1900, 2200), nargs=-1, required=True)
@click.option("--into", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Add them to this policy.")
@pass_output
def holidays(output: Output, *, place: str, years: tuple[int, ...], into: Path | None) -> None:
    """List the public holidays of PLACE (DE-BE, GB-ENG, US) in YEARS, as a policy has them; needs the extra 'holidays'.

    They become part of the policy's text: no installed package decides on a deadline. Read them before you rely on it.

    \b
    Example:
      unlearnkit policy holidays DE-BE 2027 2028 --into policies/ours.toml
    """
    from unlearnkit.compliance.policy.public_holidays import public_holidays, with_holidays
    from unlearnkit.files import MAX_SETTINGS, read_bounded, write_atomic

    found = public_holidays(place, years)
    if into is not None:
        write_atomic(into, with_holidays(read_bounded(into, MAX_SETTINGS), found, where=str(into)))
        output.say(f"{counted(len(found), 'day', 'are')} in {into}; requests that were received before keep their days")
    days = tuple(_Holiday(day.isoformat(), name) for day, name in found.items())
    output.emit(_Holidays(place=place, path=into, days=days), _render_holidays)


@dataclass(frozen=True, slots=True)
class _Difference:
    setting: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Differences(Document):
    """Settings in which two policies differ."""

    schema: ClassVar[str] = "unlearnkit/policy-diff/v1"

    before: str
    after: str
    differences: tuple[_Difference, ...]


def _render_diff(found: _Differences) -> Iterator[str]:
    if not found.differences:
        yield "no setting differs"
    for item in found.differences:
        yield item.setting
        yield f"  - {'(nothing)' if item.before is None else item.before}"
        yield f"  + {'(nothing)' if item.after is None else item.after}"


@dataclass(frozen=True, slots=True)
class _Holiday:
    day: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Holidays(Document):
    """Public holidays. path: the policy that they were added to."""

    schema: ClassVar[str] = "unlearnkit/holidays/v1"

    place: str
    path: Path | None
    days: tuple[_Holiday, ...]


def _render_holidays(found: _Holidays) -> Iterable[str]:
    return [f"{item.day},  # {item.name}" for item in found.days]


@dataclass(frozen=True, slots=True)
class _Named:
    name: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Policies(Document):
    schema: ClassVar[str] = "unlearnkit/policies/v1"

    policies: tuple[_Named, ...]


@dataclass(frozen=True, slots=True)
class _Clock:
    rule: str
    period: str

    @classmethod
    def of(cls, deadline: Deadline | None) -> _Clock | None:
        return None if deadline is None else cls(deadline.rule, _period(deadline))

    def __str__(self) -> str:
        return f"{self.period} ({self.rule})"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Certificate:
    """The rules of ``[certificate]``, decimals as text."""

    probes: tuple[str, ...]
    tolerances: Mapping[str, str]
    bound_methods: tuple[str, ...]
    must_cover: tuple[str, ...]
    stability: Mapping[str, str]
    rounding: Mapping[str, str]
    minimum_directions: int | None
    largest_ratio: str | None
    largest_delta: str | None
    delta_budget: str | None

    @classmethod
    def of(cls, rules: CertificateRules) -> _Certificate:
        return cls(
            probes=rules.probes,
            tolerances=_texts(rules.tolerances),
            bound_methods=rules.bound_methods,
            must_cover=rules.must_cover,
            stability=_texts(rules.stability),
            rounding=_texts(rules.rounding),
            minimum_directions=rules.minimum_directions,
            largest_ratio=_text(rules.largest_ratio),
            largest_delta=_text(rules.largest_delta),
            delta_budget=_text(rules.delta_budget),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Audit:
    """What is retrained as evidence. strata: least, most and count of each."""

    strata: tuple[tuple[int, int, int], ...]
    content: str | None
    confidence: str | None

    @classmethod
    def of(cls, rules: AuditRules) -> _Audit:
        strata = tuple((stratum.least, stratum.most, stratum.count) for stratum in rules.strata)
        return cls(strata=strata, content=_text(rules.content), confidence=_text(rules.confidence))

    def __str__(self) -> str:
        if not self.strata:
            return "none planned"
        people = (
            counted(most, "person") if least == most else f"{least} to {most} people" for least, most, _ in self.strata
        )
        sets = ", ".join(f"{count} of {who}" for who, (_, _, count) in zip(people, self.strata, strict=True))
        return f"{sets}; content {self.content} at confidence {self.confidence}"


@dataclass(frozen=True, slots=True)
class _Signing:
    roles: tuple[str, ...]
    threshold: int


@dataclass(frozen=True, slots=True)
class _Place:
    """A further jurisdiction. deadlines: those that are other there."""

    title: str
    law: str
    deadlines: Mapping[str, _Clock | None]

    @classmethod
    def of(cls, place: Place) -> _Place:
        return cls(place.title, place.law, {name: _Clock.of(clock) for name, clock in place.deadlines.items()})

    def __str__(self) -> str:
        clocks = (f"{name.replace('_', ' ')} {clock}" for name, clock in self.deadlines.items())
        return "; ".join([f"{self.title}, {self.law}", *clocks])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Policy(Document):
    """What a policy allows, and its text. deadlines: None for one that it does not know."""

    schema: ClassVar[str] = "unlearnkit/policy/v1"

    name: str
    title: str
    digest: str
    jurisdiction: str
    places: Mapping[str, _Place]
    deadlines: Mapping[str, _Clock | None]
    retention_months: int
    accepted: tuple[str, ...]
    attested: tuple[str, ...]
    words: Mapping[str, tuple[str, ...]]
    certificate: _Certificate
    audit: _Audit
    signing: _Signing
    text: str

    @classmethod
    def of(cls, policy: Policy) -> _Policy:
        clocks = {field.name: getattr(policy.deadlines, field.name) for field in fields(policy.deadlines)}
        return cls(
            name=policy.name,
            title=policy.title,
            digest=policy.digest,
            jurisdiction=policy.jurisdiction or "",
            places={word: _Place.of(place) for word, place in policy.places.items()},
            deadlines={name: _Clock.of(clock) for name, clock in clocks.items()},
            retention_months=policy.requests.retention_months,
            accepted=policy.requests.accepted,
            attested=policy.requests.attested,
            words=asdict(policy.words),
            certificate=_Certificate.of(policy.certificate),
            audit=_Audit.of(policy.audit),
            signing=_Signing(policy.signing.roles, policy.signing.threshold),
            text=policy.text,
        )


def _texts(decimals: Mapping[str, Decimal]) -> dict[str, str]:
    return {name: str(value) for name, value in decimals.items()}


def _text(decimal: Decimal | None) -> str | None:
    return None if decimal is None else str(decimal)


def _warnings(found: Policy) -> Iterator[str]:
    """What a policy refuses because it does not state it: legal, but perhaps not meant."""
    if found.deadlines.respond is None:
        yield "no [deadlines.respond]: no request can be received"
    if found.deadlines.extended is None:
        yield "no [deadlines.extended]: no request can be extended"
    words = {"actors": found.words.actors, "sources": found.words.sources}
    for name, listed in {**words, "identity_methods": found.words.identity_methods}.items():
        if not listed:
            yield f"no [words] {name}: nothing can be recorded that needs one"
    if not found.requests.accepted:
        yield "[requests] accepts nothing: no request can be fulfilled or refused"
    if not found.certificate.bound_methods or not found.signing.roles:
        yield "[certificate] bound_methods or [signing] roles are missing: no certificate counts"


def _period(clock: Deadline) -> str:
    lengths = {"month": clock.months, "day": clock.days, "business day": clock.business_days}
    ((unit, length),) = [(unit, length) for unit, length in lengths.items() if length]
    rolled = ", then the next working day" if clock.next_working_day else ""
    return f"{counted(length, unit)}{rolled}"


def _stated(text: str, value: object) -> str:
    return "not stated" if value is None else text.format(value)


def _render_list(found: _Policies) -> Iterable[str]:
    return columns([(item.name, item.title) for item in found.policies])


def _render_check(policy: _Policy) -> Iterable[str]:
    rules, signing = policy.certificate, policy.signing
    tolerances, decays, rounding = (
        ", ".join(f"{name} {value}" for name, value in table.items())
        for table in (rules.tolerances, rules.stability, rules.rounding)
    )
    return columns(
        [
            ("policy", policy.name),
            ("title", policy.title or None),
            ("digest", policy.digest),
            *((name.replace("_", " "), clock or "no deadline") for name, clock in policy.deadlines.items()),
            *((word, place) for word, place in policy.places.items()),
            ("accepts", ", ".join(policy.accepted) or "nothing"),
            ("attested", ", ".join(policy.attested) or "nothing"),
            ("records kept", f"{counted(policy.retention_months, 'month')}"),
            ("bounds", ", ".join(rules.bound_methods) or "none"),
            ("covering", ", ".join(rules.must_cover) or "nothing"),
            ("decay", decays or "none declared"),
            ("rounding", rounding or "none declared"),
            ("tolerances", tolerances or "none"),
            ("directions", _stated("at least {}", rules.minimum_directions)),
            ("ratio", _stated("at most {}", rules.largest_ratio)),
            ("delta", _stated("at most {}", rules.largest_delta)),
            ("delta budget", _stated("{} for a bundle", rules.delta_budget)),
            ("audits", policy.audit),
            ("signed by", f"{signing.threshold} of {', '.join(signing.roles) or 'nobody'}"),
        ]
    )
