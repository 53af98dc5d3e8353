"""The one place where time comes from. Everything that needs the time takes a `Clock`; tests give their own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone

from unlearnkit.errors import FormatError
from unlearnkit.names import TIME

_EAST, _WEST = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))

Clock = Callable[[], datetime]
"""Returns the present as an aware datetime."""


def utc_now() -> datetime:
    """The system's clock."""
    return datetime.now(UTC)


def format_time(time: datetime) -> str:
    """RFC 3339 in UTC, to the second: ``2025-01-31T09:30:00Z``. ValueError for a datetime without a time zone."""
    if time.tzinfo is None:
        raise ValueError(f"a time needs a time zone: got {time!r}")
    return time.astimezone(UTC).isoformat()[:19] + "Z"


def latest_day(time: datetime) -> date:
    """The day that it is then where days begin first."""
    return time.astimezone(_EAST).date()


def earliest_day(time: datetime) -> date:
    """The day that it is then where days begin last."""
    return time.astimezone(_WEST).date()


def parse_time(text: str, *, where: str) -> datetime:
    """What `format_time` writes, and nothing else."""
    try:
        if TIME.fits(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise FormatError(f"{where} is not a time: got {text!r}, expected YYYY-MM-DDTHH:MM:SSZ")
