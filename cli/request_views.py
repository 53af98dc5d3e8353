"""How deletion requests are printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .output import Document, fields

if TYPE_CHECKING:
    from unlearnkit.compliance.requests.desk import Desk
    from unlearnkit.compliance.requests.register import Request
    from unlearnkit.compliance.requests.steps import Step


def document_of(request: Request, desk: Desk) -> dict[str, Any]:
    """A request as the commands print it; days are counted from the desk's today."""
    from unlearnkit.records import to_json

    due, original = request.next_due, desk.register().original(request)
    return {
        "id": request.id,
        "state": request.state,
        "closed": original.is_closed,
        "received": request.received.isoformat(),
        "subject": request.subject,
        "reference": request.reference,
        "due": None if due is None else {**to_json(due), "days_left": (due.day - desk.today).days},
        "duplicate_of": request.duplicate_of,
        "follows": request.follows,
        "duplicates": list(request.duplicates),
        "steps": [_step_document(step) for step in request.steps],
    }


def _step_document(step: Step) -> dict[str, Any]:
    """A step: its entry and state, and what the entry says, days as text."""
    from unlearnkit.records import to_json

    members = {name: value for name, value in to_json(step.body).items() if name not in ("request", "on")}
    return {"entry": step.index, "state": step.event.state, "on": step.on.isoformat(), **members}


def render_list(document: Document) -> Iterable[str]:
    """A line for each request."""
    record: dict[str, Any] = dict(document)
    return fields([(item["id"], _line(item)) for item in record["requests"]])


def _line(item: dict[str, Any]) -> str:
    links = [f"{name.replace('_', ' ')} {item[name]}" for name in ("duplicate_of", "follows") if item[name]]
    if item["duplicates"]:
        links.append(f"duplicates {', '.join(item['duplicates'])}")
    parts = [f"{item['state']:<17}", f"received {item['received']}", _urgency(item), *links]
    return "  ".join(part for part in parts if part)


def _urgency(item: dict[str, Any]) -> str:
    due = item["due"]
    if due is None:
        return ""
    left = due["days_left"]
    when = f"OVERDUE by {-left} days" if left < 0 else f"in {left} days" if left else "today"
    return f"due {due['day']} ({due['rule']}), {when}"


def render_one(document: Document) -> Iterator[str]:
    """A request and its steps."""
    record: dict[str, Any] = dict(document)
    yield from fields(
        [(record["id"], _line(record)), ("subject", record["subject"]), ("reference", record["reference"])]
    )
    for step in record["steps"]:
        said = {name: value for name, value in step.items() if name not in ("entry", "state", "on", "subject", "key")}
        members = ", ".join(f"{name.replace('_', ' ')} {_said(value)}" for name, value in said.items())
        yield f"  {step['on']}  {step['state']:<17}  entry {step['entry']}: {members}"


def _said(value: object) -> str:
    if isinstance(value, dict):
        return f"until {value['day']} ({value['rule']})"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)
