"""The register as one page for people: what is due, what is late, which models, what is spent.

It needs no network and no script, and is a pure function of what it is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from unlearnkit.report.environment import environment

MOST_ROWS = 300
"""Rows of a table; a page says how many it leaves out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DueRow:
    """Something that is due. days: from the day of the page; below 0 overdue."""

    id: str
    state: str
    received: date
    day: date
    rule: str
    days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LateAnswer:
    """An answer after its day. days: so many."""

    id: str
    state: str
    received: date
    day: date
    answered: date
    days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LateRecord:
    """A step that was recorded days after it happened."""

    id: str
    state: str
    on: date
    recorded: date
    days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """How far a probe moves without all who were answered without retraining, by prediction; numbers as texts."""

    probe: str
    change: str
    tolerance: str
    used: str
    convergence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlookRow:
    """How many more people a release can answer without a new training, in a probe; numbers and days as texts.

    more, until: in half of all orders in which people can ask. surely, surely_until: in 95 % of them.
    """

    probe: str
    more: str
    until: str
    surely: str
    surely_until: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRow:
    """A release. standing: who was answered without retraining, of how many; None where that cannot be told: why.

    audited: how many people together our policy audits.
    """

    id: str
    life: str
    is_in_force: bool
    open: int
    standing: str | None
    why_not: str
    joint: tuple[Joint, ...]
    outlook: tuple[OutlookRow, ...] = ()
    audited: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRow:
    """What certificates from one recipe and salt have spent."""

    account: str
    releases: str
    certificates: int
    spent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRow:
    """A policy and how many requests were received under it. budget: what certificates may spend, as a text.

    budget is None of a text of before, under which nothing is received any more.
    """

    name: str
    digest: str
    open: int
    closed: int
    budget: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterPage:
    """What stands on the page. table: states by jurisdiction. unsigned: entries that no checkpoint covers.

    policies: those of now first, the default one before all.
    """

    origin: str
    today: date
    software: str
    entries: int
    unsigned: int
    unsigned_requests: tuple[str, ...]
    counts: Mapping[str, int]
    jurisdictions: tuple[str, ...]
    table: Mapping[str, Mapping[str, int]]
    overdue: tuple[DueRow, ...]
    due_soon: tuple[DueRow, ...]
    answered_late: tuple[LateAnswer, ...]
    recorded_late: tuple[LateRecord, ...]
    policies: tuple[PolicyRow, ...]
    releases: tuple[ReleaseRow, ...]
    accounts: tuple[AccountRow, ...]


def render_register(page: RegisterPage) -> str:
    """The page, as HTML 5."""
    return environment().get_template("register.html").render(page=page, shown=_shown)


def _shown(rows: Sequence[object]) -> Sequence[object]:
    return rows[:MOST_ROWS]
