"""The days of a request counted again from its policy: what its entries say is due, held to what the policy says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from unlearnkit.compliance.policy.deadlines import Due
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.compliance.requests.clocks import required_due, said_due
from unlearnkit.compliance.requests.request import Request
from unlearnkit.compliance.requests.steps import (
    Appealed,
    AppealExtended,
    Body,
    Corrected,
    Extended,
    Received,
    Resumed,
    Step,
)
from unlearnkit.errors import PolicyError


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A day that an entry states otherwise than the policy. name: of the deadline. said, required: None for never."""

    request: str
    index: int
    name: str
    said: Due | None
    required: Due | None
    policy: str

    def __str__(self) -> str:
        return (
            f"entry {self.index} says that request {self.request} is due ({self.name}) {_day(self.said)}, "
            f"which the policy {self.policy} puts {_day(self.required)}"
        )


@dataclass(frozen=True, slots=True)
class Recount:
    """A request as it is by the days of its policy, and where its entries say otherwise."""

    request: Request
    differences: tuple[Difference, ...]


def recount(request: Request, policy: Policy) -> Recount:
    """Go through what happened to a request, with the days that the policy gives.

    Args:
        request: As the log tells it.
        policy: The text that it was received under.
    """
    found: list[Difference] = []
    counted: Request | None = None
    for step in request.steps:
        before = Request.received_with(step, step.body) if isinstance(step.body, Received) else counted
        assert before is not None  # noqa: S101 - every request begins with its receipt
        required, said = _required(policy, before, step.body), said_due(step.body)
        found += [
            Difference(
                request=request.id, index=step.index, name=name, said=said[name], required=day, policy=policy.name
            )
            for name, day in required.items()
            if said[name] != day
        ]
        right = _with_days(step, required)
        counted = Request.received_with(right, right.body) if isinstance(right.body, Received) else before.after(right)
    assert counted is not None  # noqa: S101 - it has a step
    return Recount(counted, tuple(found))


def _required(policy: Policy, before: Request, body: Body) -> Mapping[str, Due | None]:
    """What a step has to say is due; what the policy knows no deadline for never is."""
    try:
        return required_due(policy, before, body)
    except PolicyError:
        return dict.fromkeys(said_due(body))


def _with_days(step: Step, required: Mapping[str, Due | None]) -> Step:
    """The step as it would be with these days."""
    return replace(step, body=_with(step.body, required)) if required else step


def _with(body: Body, required: Mapping[str, Due | None]) -> Body:
    match body:
        case Received() | Corrected():
            return replace(body, respond=required["respond"] or body.respond, acknowledge=required["acknowledge"])
        case Appealed():
            return replace(body, respond=required["appeal"])
        case Extended() | AppealExtended() | Resumed():
            (respond,) = required.values()
            return body if respond is None else replace(body, respond=respond)
    return body


def _day(due_on: Due | None) -> str:
    return "never" if due_on is None else f"on {due_on.day} by {due_on.rule}"
