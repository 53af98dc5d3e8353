"""Register pages for the tests."""

from __future__ import annotations

from datetime import date, timedelta

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

TODAY = date(2026, 11, 26)


def day(offset: int) -> date:
    return TODAY + timedelta(days=offset)


def due(name: str, days: int) -> DueRow:
    return DueRow(
        id=name, state="identity verified", received=day(days - 30), day=day(days), rule="GDPR Art. 12(3)", days=days
    )


POLICY = PolicyRow(name="gdpr", digest="a" * 64, open=12, closed=80, budget="0.5")
JOINT = Joint(probe="test_loss", change="+0.0123", tolerance="0.01", used="123%", convergence="doubtful")
OUTLOOK = OutlookRow(probe="test_loss", more="12", until="2027-03-01", surely="4", surely_until="2026-12-20")
FULL = {
    "origin": "example.com/log",
    "today": TODAY,
    "software": "unlearnkit 0.1.0",
    "entries": 120,
    "unsigned": 3,
    "unsigned_requests": ("R7",),
    "counts": {"open": 12, "closed": 80, "duplicates": 2, "answered late": 1, "recorded late": 1},
    "jurisdictions": ("eu", "us-ca", "not said"),
    "table": {"received": {"eu": 10, "us-ca": 2}, "refused": {"eu": 80}},
    "overdue": (due("R4", -9), due("R5", -1)),
    "due_soon": (due("R6", 0), due("R7", 1), due("R8", 7)),
    "answered_late": (
        LateAnswer(id="R2", state="refused", received=day(-60), day=day(-30), answered=day(-29), days=1),
    ),
    "recorded_late": (LateRecord(id="R3", state="assessed", on=day(-9), recorded=day(-4), days=5),),
    "policies": (POLICY,),
    "releases": (
        ReleaseRow(
            id="digits@1", life="In use from 2026-01-01 to 2026-06-01", is_in_force=False, open=0, standing=None,
            why_not="", joint=(),
        ),
        ReleaseRow(
            id="digits@2", life="In force since 2026-06-01", is_in_force=True, open=4, standing="3 of 300 people",
            why_not="", joint=(JOINT,), outlook=(OUTLOOK,), audited="19",
        ),
        ReleaseRow(
            id="letters@1", life="In force since 2026-06-01", is_in_force=True, open=4, standing=None,
            why_not="the bundle of letters@1 is not at hand", joint=(),
        ),
    ),
    "accounts": (AccountRow(account="0123456789abcdef...", releases="digits@1", certificates=4, spent="0.125"),),
}  # fmt: skip
EMPTY = {
    **FULL,
    "unsigned": 0,
    "unsigned_requests": (),
    "counts": dict.fromkeys(FULL["counts"], 0),
    "jurisdictions": (),
    "table": {},
    **dict.fromkeys(("overdue", "due_soon", "answered_late", "recorded_late", "releases", "accounts"), ()),
}


def register(members=FULL, **changed) -> str:
    return render_register(RegisterPage(**{**members, **changed}))
