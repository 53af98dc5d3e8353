"""The register of a workspace as a page: what a month's meeting asks, from the log and the bundles at hand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from unlearnkit.compliance.releases.registry import Release
from unlearnkit.compliance.requests.punctuality import late_answers, late_records
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import UnlearnkitError
from unlearnkit.names import counted
from unlearnkit.office.cases import Case, cases, is_due_soon, summarise
from unlearnkit.office.outlook import Outlook
from unlearnkit.office.workspace import Workspace
from unlearnkit.report.figures import number
from unlearnkit.report.register import (
    AccountRow,
    DueRow,
    Joint,
    LateAnswer,
    LateRecord,
    OutlookRow,
    PolicyRow,
    RegisterPage,
    ReleaseRow,
    render_register,
)
from unlearnkit.verifier.account import CERTIFICATE_ISSUED, DeltaAccount, issued_certificates


def register_page(office: Workspace) -> str:
    """The register of a workspace, as HTML. Releases whose bundles are at hand are predicted without those answered."""
    view, today = office.view(), office.today
    found = cases(view, today)
    own = [case for case in found if not case.request.duplicate_of]
    late = tuple(_late_records(own, office))
    summary = summarise(found, today)
    counts = {
        "open": summary.open,
        "closed": summary.closed,
        "duplicates": summary.duplicates,
        "answered late": summary.answered_late,
        "recorded late": len(late),
    }
    page = RegisterPage(
        origin=office.origin,
        today=today,
        software=f"unlearnkit {version('unlearnkit')}",
        entries=len(view),
        unsigned=view.unsigned,
        unsigned_requests=tuple(c.request.id for c in own if not view.covers(c.request.steps[-1].index)),
        counts=counts,
        jurisdictions=tuple(summary.by_jurisdiction),
        table=_table(own),
        overdue=_due_rows(case for case in own if case.is_overdue),
        due_soon=_due_rows(case for case in own if is_due_soon(case)),
        answered_late=_late_answers(own),
        recorded_late=tuple(sorted(late, key=lambda row: -row.days)),
        policies=tuple(_policies(own, office)),
        releases=tuple(_release(office, release, found) for release in view.registry.releases.values()),
        accounts=tuple(_accounts(view)),
    )
    return render_register(page)


def _table(own: Iterable[Case]) -> dict[str, dict[str, int]]:
    table: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for case in own:
        table[case.request.state][case.request.receipt.jurisdiction or "not said"] += 1
    return {state: dict(by) for state, by in sorted(table.items())}


def _policies(own: Sequence[Case], office: Workspace) -> Iterator[PolicyRow]:
    """Those of now, and then the texts of before that requests were received under."""
    present = {policy.digest: policy for policy in office.policies().present}
    names = {digest: policy.name for digest, policy in present.items()}
    for case in own:
        names.setdefault(case.request.policy_digest, case.request.receipt.policy)
    for digest, name in names.items():
        theirs = [case.is_closed for case in own if case.request.policy_digest == digest]
        policy = present.get(digest)
        budget = policy and policy.certificate.delta_budget
        yield PolicyRow(
            name=name,
            digest=digest,
            open=theirs.count(False),
            closed=theirs.count(True),
            budget=None if policy is None else "nothing" if budget is None else str(budget),
        )


def _due_rows(found: Iterable[Case]) -> tuple[DueRow, ...]:
    rows = (
        DueRow(
            id=case.request.id,
            state=case.request.state,
            received=case.request.received,
            day=due.day,
            rule=due.rule,
            days=(due.day - case.today).days,
        )
        for case in found
        if (due := case.due) is not None
    )
    return tuple(sorted(rows, key=lambda row: row.days))


def _late_answers(own: Iterable[Case]) -> tuple[LateAnswer, ...]:
    rows = (
        LateAnswer(
            id=case.request.id,
            state=case.request.state,
            received=case.request.received,
            day=late.due.day,
            answered=late.step.on,
            days=late.days,
        )
        for case in own
        for late in late_answers([case.request])
    )
    return tuple(sorted(rows, key=lambda row: -row.days))


def _late_records(own: Iterable[Case], office: Workspace) -> Iterator[LateRecord]:
    for late in late_records((case.request for case in own), office.timezone):
        state, on = late.step.event.state, late.step.on
        yield LateRecord(id=late.request, state=state, on=on, recorded=late.recorded, days=late.days)


@dataclass(frozen=True, slots=True)
class _Known:
    """What the bundle of a release tells of who was answered; why_not: of one that is not at hand."""

    standing: str | None
    joint: tuple[Joint, ...] = ()
    why_not: str = ""
    outlook: tuple[OutlookRow, ...] = ()
    audited: str = ""


def _release(office: Workspace, release: Release, found: Iterable[Case]) -> ReleaseRow:
    known = _known(office, release) if release.is_in_force else _Known(None)
    asked = [case.request.steps[0].index for case in found if not case.is_closed]
    life = f"In force since {release.registered}"
    if not release.is_in_force:
        after = f", replaced by {release.replaced_by}" if release.replaced_by else ""
        life = f"In use from {release.registered} to {release.retired}{after}"
    return ReleaseRow(
        id=release.id,
        life=life,
        is_in_force=release.is_in_force,
        open=sum(release.was_in_force(before=index) for index in asked),
        standing=known.standing,
        why_not=known.why_not,
        joint=known.joint,
        outlook=known.outlook,
        audited=known.audited,
    )


def _known(office: Workspace, release: Release) -> _Known:
    try:
        standing, outlook = office.standing(release), office.outlook(release)
    except UnlearnkitError as err:
        return _Known(None, why_not=str(err))
    joint = tuple(
        Joint(
            probe=change.probe,
            change=number(change.largest, signed=True),
            tolerance=str(change.tolerance),
            used=f"{abs(change.largest) / float(change.tolerance):.0%}",
            convergence=change.convergence,
        )
        for change in standing.changes
    )
    return _Known(
        standing=f"{len(standing.people) or 'Nobody'} of {counted(standing.units, 'person')}",
        joint=joint if standing.people else (),
        outlook=tuple(_outlook(office, outlook)),
        audited="" if outlook.audited is None else str(outlook.audited),
    )


def _outlook(office: Workspace, outlook: Outlook) -> Iterator[OutlookRow]:
    for item in outlook.probes:
        half, few = (
            _least(item.tolerated.median, item.converges.median),
            _least(item.tolerated.few, item.converges.few),
        )
        days = [outlook.until(more, office.today) for more in (half, few)]
        yield OutlookRow(
            probe=item.probe,
            more="everybody" if half is None else str(half),
            until=str(days[0] or ""),
            surely="everybody" if few is None else str(few),
            surely_until=str(days[1] or ""),
        )


def _least(*reaches: int | None) -> int | None:
    """What comes first; None is everybody."""
    return min((reach for reach in reaches if reach is not None), default=None)


def _accounts(view: LogView) -> Iterator[AccountRow]:
    issued = issued_certificates(view.of_type(CERTIFICATE_ISSUED))
    for account in dict.fromkeys(item.account for item in issued):
        theirs = [item for item in issued if item.account == account]
        yield AccountRow(
            account=f"{account[:16]}...",
            releases=", ".join(dict.fromkeys(item.release for item in theirs)),
            certificates=len(theirs),
            spent=str(DeltaAccount(account, theirs).spent),
        )
