"""``unlearnkit policy``: which policies there are, and whether a file is one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from .output import Document, Output, fields, pass_output

if TYPE_CHECKING:
    from unlearnkit.compliance.policy.policy import Policy


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
    output.emit(
        {"schema": "unlearnkit/policies/v1", "policies": [{"name": item.name, "title": item.title} for item in found]},
        _render_list,
    )


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
    text = raw.decode()
    output.emit({**document_of(parse_policy(raw, where=where)), "text": text}, lambda _: [text.removesuffix("\n")])


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
    output.emit(document_of(found), _render_check)
    for warning in warnings(found):
        output.say(f"note: {warning}")


def document_of(found: Policy) -> dict[str, Any]:
    """What ``check`` prints."""
    clocks = {name: getattr(found.deadlines, name) for name in ("acknowledge", "respond", "extended")}
    certificate = found.certificate
    numbers = ("largest_epsilon", "largest_delta", "delta_budget")
    return {
        "schema": "unlearnkit/policy/v1",
        "name": found.name,
        "title": found.title,
        "digest": found.digest,
        "jurisdiction": found.jurisdiction,
        "deadlines": {
            name: None if clock is None else {"rule": clock.rule, "period": _period(clock)}
            for name, clock in clocks.items()
        },
        "retention_months": found.requests.retention_months,
        "accepted": list(found.requests.accepted),
        "words": {name: list(getattr(found.words, name)) for name in found.words.__dataclass_fields__},
        "certificate": {
            "probes": list(certificate.probes),
            "tolerances": {name: str(value) for name, value in certificate.tolerances.items()},
            "bound_methods": list(certificate.bound_methods),
            "must_cover": list(certificate.must_cover),
            "stability": {name: str(value) for name, value in certificate.stability.items()},
            "rounding": {name: str(value) for name, value in certificate.rounding.items()},
            "minimum_directions": certificate.minimum_directions,
            **{name: None if (value := getattr(certificate, name)) is None else str(value) for name in numbers},
        },
        "signing": {"roles": list(found.signing.roles), "threshold": found.signing.threshold},
    }


def warnings(found: Policy) -> Iterator[str]:
    """What a policy refuses because it does not state it: legal, but perhaps not meant."""
    if found.deadlines.respond is None:
        yield "no [deadlines.respond]: no request can be received"
    if found.deadlines.extended is None:
        yield "no [deadlines.extended]: no request can be extended"
    for name in ("actors", "sources", "identity_methods"):
        if not getattr(found.words, name):
            yield f"no [words] {name}: nothing can be recorded that needs one"
    if not found.requests.accepted:
        yield "[requests] accepts nothing: no request can be fulfilled or refused"
    if not found.certificate.bound_methods or not found.signing.roles:
        yield "[certificate] bound_methods or [signing] roles are missing: no certificate counts"


def _period(clock: Any) -> str:
    (unit,) = [name for name in ("months", "days", "business_days") if getattr(clock, name)]
    rolled = ", then the next working day" if clock.next_working_day else ""
    return f"{getattr(clock, unit)} {unit.replace('_', ' ')}{rolled}"


def _render_list(document: Document) -> Iterable[str]:
    record: dict[str, Any] = dict(document)
    return fields([(item["name"], item["title"]) for item in record["policies"]])


def _render_check(document: Document) -> Iterable[str]:
    record: dict[str, Any] = dict(document)
    certificate, signing = record["certificate"], record["signing"]
    clocks = {name: clock and f"{clock['period']} ({clock['rule']})" for name, clock in record["deadlines"].items()}
    tolerances, decays, rounding = (
        ", ".join(f"{name} {value}" for name, value in certificate[table].items())
        for table in ("tolerances", "stability", "rounding")
    )
    return fields(
        [
            ("policy", record["name"]),
            ("title", record["title"] or None),
            ("digest", record["digest"]),
            *((name, clock or "no deadline") for name, clock in clocks.items()),
            ("accepts", ", ".join(record["accepted"]) or "nothing"),
            ("records kept", f"{record['retention_months']} months"),
            ("bounds", ", ".join(certificate["bound_methods"]) or "none"),
            ("covering", ", ".join(certificate["must_cover"]) or "nothing"),
            ("decay", decays or "none declared"),
            ("rounding", rounding or "none declared"),
            ("tolerances", tolerances or "none"),
            ("directions", f"at least {certificate['minimum_directions']}"),
            ("epsilon", f"at most {certificate['largest_epsilon']}"),
            ("delta", f"at most {certificate['largest_delta']}, and {certificate['delta_budget']} for a bundle"),
            ("signed by", f"{signing['threshold']} of {', '.join(signing['roles']) or 'nobody'}"),
        ]
    )
