"""When something is due, as it follows from a policy and from what happened to a request before."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from unlearnkit.compliance.policy.deadlines import Due, due
from unlearnkit.compliance.policy.policy import APPEAL, Policy
from unlearnkit.compliance.requests.request import Request
from unlearnkit.compliance.requests.steps import (
    Appealed,
    AppealExtended,
    Body,
    Corrected,
    Event,
    Extended,
    Received,
    Resumed,
)


def respond_due(
    policy: Policy, jurisdiction: str | None, received: date, *, extended: bool = False, paused: int = 0
) -> Due:
    """Until when a request is to be answered; PolicyError if the policy has no such deadline.

    extended: the person was told that it takes longer. paused: days on which the clock stood still.
    """
    deadline = policy.require_deadline("extended" if extended else "respond", jurisdiction)
    return due(deadline, received, policy.working_days, paused=paused)


def acknowledge_due(policy: Policy, jurisdiction: str | None, received: date) -> Due | None:
    """Until when receipt is to be confirmed; None if the law does not say."""
    deadline = policy.deadline("acknowledge", jurisdiction)
    return None if deadline is None else due(deadline, received, policy.working_days)


def appeal_due(policy: Policy, jurisdiction: str | None, kind: str, on: date) -> Due | None:
    """Until when an appeal is to be answered: only one to the controller is, where the law says until when."""
    deadline = policy.deadline("appeal", jurisdiction) if kind == APPEAL else None
    return None if deadline is None else due(deadline, on, policy.working_days)


def appeal_extended_due(policy: Policy, request: Request) -> Due:
    """Until when an appeal is to be answered whose answer was put off; PolicyError if the law knows no such thing."""
    appealed = request.last(Event.APPEALED)
    deadline = policy.require_deadline("appeal_extended", request.jurisdiction)
    return due(deadline, request.received if appealed is None else appealed.on, policy.working_days)


def resumed_due(policy: Policy, request: Request, on: date) -> Due:
    """Until when a request is to be answered whose clock runs on from a day on."""
    paused = request.last(Event.PAUSED)
    stood = 0 if paused is None else (on - paused.on).days
    return _moved(policy, request, request.received, request.paused + stood)


def corrected_due(policy: Policy, request: Request, received: date) -> Due:
    """Until when a request is to be answered that was received on another day."""
    return _moved(policy, request, received, request.paused)


def _moved(policy: Policy, request: Request, received: date, paused: int) -> Due:
    extended = request.last(Event.EXTENDED) is not None
    return respond_due(policy, request.jurisdiction, received, extended=extended, paused=paused)


def required_due(policy: Policy, request: Request, body: Body) -> Mapping[str, Due | None]:
    """What a step has to say is due, by the name of the deadline. request: before that step."""
    place = request.jurisdiction
    match body:
        case Received():
            return {
                "acknowledge": acknowledge_due(policy, place, body.received),
                "respond": respond_due(policy, place, body.received),
            }
        case Extended():
            return {"extended": respond_due(policy, place, request.received, extended=True, paused=request.paused)}
        case Resumed():
            return {"respond": resumed_due(policy, request, body.on)}
        case Corrected():
            return {
                "acknowledge": acknowledge_due(policy, place, body.received),
                "respond": corrected_due(policy, request, body.received),
            }
    return _required_of_appeal(policy, request, body)


def _required_of_appeal(policy: Policy, request: Request, body: Body) -> Mapping[str, Due | None]:
    match body:
        case Appealed():
            return {"appeal": appeal_due(policy, request.jurisdiction, body.kind, body.on)}
        case AppealExtended():
            return {"appeal_extended": appeal_extended_due(policy, request)}
    return {}


def said_due(body: Body) -> Mapping[str, Due | None]:
    """What a step does say is due, by the same names."""
    match body:
        case Received() | Corrected():
            return {"acknowledge": body.acknowledge, "respond": body.respond}
        case Extended():
            return {"extended": body.respond}
        case Resumed():
            return {"respond": body.respond}
        case Appealed():
            return {"appeal": body.respond}
        case AppealExtended():
            return {"appeal_extended": body.respond}
    return {}
