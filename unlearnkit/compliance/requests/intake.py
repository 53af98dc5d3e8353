"""Requests as other systems and spreadsheets hand them over: lists of names, tables, fides and OpenDSR documents.

Reading never guesses. What cannot be taken is a problem with its row, and whoever asked decides what becomes of the
rest.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, tzinfo
from typing import Any

from unlearnkit.compliance.policy.policies import Policies
from unlearnkit.errors import FormatError, PolicyError
from unlearnkit.files import decode_text
from unlearnkit.names import checked_name, counted
from unlearnkit.records import read_day

COLUMNS = ("subject", "received", "source", "reference", "jurisdiction")
"""Of a table, in any order; only the first has to be there."""
MAX_LISTED = 20
"""Problems that an error lists."""
_SEPARATORS = ",;\t"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A request before it is recorded. row: of its file, as people count. None: today; the policy's first source.

    subject, reference: names, which are stored as pseudonyms only.
    """

    subject: str
    row: int = 1
    received: date | None = None
    source: str | None = None
    reference: str | None = None
    jurisdiction: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a row cannot be taken. It repeats no name."""

    row: int
    what: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.what}"


@dataclass(frozen=True, slots=True)
class Intake:
    """What a file holds: requests that can be taken, and rows that cannot."""

    arrivals: tuple[Arrival, ...]
    problems: tuple[Problem, ...] = ()

    def require_whole(self, where: str) -> Intake:
        """Itself, if every row can be taken; otherwise FormatError, which lists the first of those that cannot."""
        if self.problems:
            listed = "\n".join(f"  - {problem}" for problem in self.problems[:MAX_LISTED])
            more = len(self.problems) - MAX_LISTED
            rest = f"\n  - and {more} more" if more > 0 else ""
            total = len(self.problems) + len(self.arrivals)
            raise FormatError(
                f"{where}: {len(self.problems)} of {counted(total, 'row')} cannot be taken, so none was:\n"
                f"{listed}{rest}",
                hint="mend these rows, or take all others with --skip-bad",
            )
        return self


def read_subjects(raw: bytes, *, where: str) -> tuple[str, ...]:
    """Names, one a line; FormatError for a table, whose header is nobody."""
    lines = [line for line in decode_text(raw, where=where).splitlines() if line.strip()]
    if lines and "subject" in _cells(lines[0]):
        hint = "`unlearnkit requests import` reads tables; or take the header and the other columns away"
        raise FormatError(f"{where} is a table, with the header {lines[0]!r}: expected one name a line", hint=hint)
    return tuple(lines)


def read_intake(raw: bytes, *, where: str, timezone: tzinfo, identity: str = "email") -> Intake:
    """The requests in a table with a header line, or in a JSON document of fides or OpenDSR.

    Args:
        raw: The file.
        where: What to call it in errors.
        timezone: Where requests are received: documents tell moments, and a request has a day.
        identity: Which identity of a document names the person.

    Raises:
        FormatError: It is neither; a column is unknown, missing or there twice.
    """
    text = decode_text(raw, where=where)
    if text.lstrip()[:1] in ("{", "["):
        return _read_documents(text, where, _Reading(timezone, identity))
    return _read_table(text, where)


def checked(intake: Intake, policies: Policies, *, today: date, jurisdiction: str | None = None) -> Intake:
    """What of ``intake`` can be recorded; the rest are problems, in the order of the rows.

    jurisdiction: of requests that do not say one; None: that of their source, or the default.
    """
    good, bad = [], list(intake.problems)
    for arrival in intake.arrivals:
        try:
            said = replace(arrival, jurisdiction=arrival.jurisdiction or jurisdiction)
            good.append(_checked(said, policies, today))
        except (ValueError, PolicyError) as err:
            bad.append(Problem(arrival.row, str(err)))
    return Intake(tuple(good), tuple(sorted(bad, key=lambda problem: problem.row)))


def in_order(arrivals: Sequence[Arrival], *, today: date) -> tuple[Arrival, ...]:
    """The order of the file, but that of one person the earliest comes first: whose day counts, the others follow."""
    of_each: defaultdict[str, deque[Arrival]] = defaultdict(deque)
    for arrival in sorted(arrivals, key=lambda item: item.received or today):
        of_each[checked_name(arrival.subject)].append(arrival)
    return tuple(of_each[checked_name(arrival.subject)].popleft() for arrival in arrivals)


def _checked(arrival: Arrival, policies: Policies, today: date) -> Arrival:
    checked_name(arrival.subject)
    if arrival.reference is not None:
        checked_name(arrival.reference)
    if arrival.received is not None and arrival.received > today:
        raise ValueError(f"received in the future: got {arrival.received}, today is {today}")
    policy, _ = policies.place(source=arrival.source, jurisdiction=arrival.jurisdiction)
    source = next(iter(policy.words.sources), "") if arrival.source is None else arrival.source
    return replace(arrival, source=policy.require_word("sources", source))


def _cells(line: str) -> list[str]:
    """The cells of a header line, whatever separates them."""
    separator = max(_SEPARATORS, key=line.count)
    return [cell.strip().strip('"').lower() for cell in line.split(separator)]


def _read_table(text: str, where: str) -> Intake:
    header, _, _ = text.partition("\n")
    names = _cells(header)
    _require_columns(names, where)
    rows = csv.reader(text.splitlines(keepends=True), delimiter=max(_SEPARATORS, key=header.count), strict=True)
    try:
        next(rows)
        numbered = [(rows.line_num, cells) for cells in rows if any(cell.strip() for cell in cells)]
    except csv.Error as err:
        raise FormatError(f"{where} line {rows.line_num}: {err}") from None
    return _taken(numbered, lambda row, cells: _from_cells(row, names, cells))


def _require_columns(names: Sequence[str], where: str) -> None:
    expected = f"expected {', '.join(COLUMNS)} in any order; only subject has to be there"
    if "subject" not in names:
        raise FormatError(f"{where} has no column 'subject': got {', '.join(map(repr, names))}, {expected}")
    if unknown := [name for name in names if name not in COLUMNS]:
        raise FormatError(f"{where} has unknown columns {', '.join(map(repr, unknown))}: {expected}")
    if len(set(names)) < len(names):
        raise FormatError(f"{where} has a column twice: got {', '.join(map(repr, names))}")


def _from_cells(row: int, names: Sequence[str], cells: Sequence[str]) -> Arrival:
    if len(cells) != len(names):
        raise ValueError(f"got {counted(len(cells), 'cell')}, expected {len(names)}")
    said = {name: cell.strip() for name, cell in zip(names, cells, strict=True)}
    return Arrival(
        row=row,
        subject=said["subject"],
        received=read_day(said["received"]) if said.get("received") else None,
        source=said.get("source") or None,
        reference=said.get("reference") or None,
        jurisdiction=said.get("jurisdiction") or None,
    )


def _taken(rows: Iterable[tuple[int, Any]], read: Callable[[int, Any], Arrival]) -> Intake:
    """Every row by itself; what reading one raises is a problem of that row."""
    arrivals, problems = [], []
    for row, value in rows:
        try:
            arrivals.append(read(row, value))
        except ValueError as err:
            problems.append(Problem(row, str(err)))
    return Intake(tuple(arrivals), tuple(problems))


@dataclass(frozen=True, slots=True)
class _Reading:
    """How documents are read."""

    timezone: tzinfo
    identity: str

    def day(self, moment: object) -> date | None:
        """The day of a moment, where requests are received."""
        if moment is None:
            return None
        found = datetime.fromisoformat(str(moment))
        if found.tzinfo is None:
            raise ValueError(f"a moment without its time zone: got {moment!r}")
        return found.astimezone(self.timezone).date()

    def from_fides(self, row: int, said: Mapping[str, Any]) -> Arrival:
        """A privacy request of fides, as it lists or takes them."""
        kinds = {rule.get("action_type") for rule in (said.get("policy") or {}).get("rules", ())}
        if kinds and "erasure" not in kinds:
            raise ValueError(f"no request to erase: its policy is for {', '.join(sorted(map(str, kinds)))}")
        value = said["identity"].get(self.identity)
        value = value.get("value") if isinstance(value, Mapping) else value
        moment = said.get("requested_at") or said.get("created_at")
        return self._arrival(row, value, moment, said.get("external_id") or said.get("id"))

    def from_opendsr(self, row: int, said: Mapping[str, Any]) -> Arrival:
        """A request of OpenDSR."""
        if str(said.get("subject_request_type", "")).lower() != "erasure":
            raise ValueError(f"no request to erase: got {said.get('subject_request_type')!r}")
        named = [item for item in said["subject_identities"] if item.get("identity_type") == self.identity]
        if any(item.get("identity_format", "raw") != "raw" for item in named):
            raise ValueError("the identity is a digest, which names nobody here: expected it raw")
        if len(named) > 1:
            raise ValueError(f"got {len(named)} identities of type {self.identity!r}, expected one")
        value = named[0].get("identity_value") if named else None
        return self._arrival(row, value, said.get("submitted_time"), said.get("subject_request_id"))

    def _arrival(self, row: int, value: object, moment: object, reference: object) -> Arrival:
        if not isinstance(value, str) or not value:
            raise ValueError(f"no identity of type {self.identity!r}")
        number = None if reference is None else str(reference)
        return Arrival(row=row, subject=value, received=self.day(moment), reference=number)


def _read_documents(text: str, where: str, reading: _Reading) -> Intake:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise FormatError(f"{where} is not JSON: {err}") from None
    found = list(_items(value))
    items = [item for item in found if isinstance(item, dict)]
    if not items or len(items) < len(found):
        raise FormatError(f"{where}: expected requests of fides or OpenDSR, one or an array of them")
    readers = [_reader(item, reading) for item in items]
    if None in readers:
        row = readers.index(None) + 1
        hint = "fides has 'identity', OpenDSR 'subject_request_type' and 'subject_identities'"
        raise FormatError(f"{where}: request {row} is neither of fides nor of OpenDSR", hint=hint)
    pairs = list(zip(readers, items, strict=True))
    return _taken(enumerate(pairs, 1), lambda row, pair: _well_formed(pair[0], row, pair[1]))


def _items(value: object) -> Iterator[object]:
    """The requests in a document: itself, an array of them, or the array ``items`` of a page of fides."""
    if isinstance(value, dict) and isinstance(value.get("items"), list):
        yield from value["items"]
    elif isinstance(value, list):
        yield from value
    else:
        yield value


def _reader(item: Mapping[str, Any], reading: _Reading) -> Callable[[int, Mapping[str, Any]], Arrival] | None:
    if isinstance(item.get("subject_identities"), list):
        return reading.from_opendsr
    return reading.from_fides if isinstance(item.get("identity"), dict) else None


def _well_formed(read: Callable[[int, Mapping[str, Any]], Arrival], row: int, item: Mapping[str, Any]) -> Arrival:
    try:
        return read(row, item)
    except (AttributeError, TypeError, KeyError):
        raise ValueError("malformed: members are not as fides or OpenDSR have them") from None
