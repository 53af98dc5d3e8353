"""Words that are written down: what each kind may look like, in one place.

Nothing that is stored is free text unless it says so: identifiers, digests and numbers in words have one spelling each,
so that files can be compared by their bytes, and no personal data slips into a log that forgets nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, TypeAlias

from unlearnkit.errors import FormatError

MAX_DIGITS = 15
"""Digits of a probability after the point. With so many, different ones are different doubles, none of which is 0 or 1,
and sums of them are exact in the 28 digits that Decimal reckons with."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a text must look like. regex: of the whole text, of any dialect. what: the same in words, for errors."""

    regex: str
    what: str
    _compiled: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_compiled", re.compile(self.regex))

    def fits(self, text: str) -> bool:
        """Whether all of ``text`` looks like this."""
        return self._compiled.fullmatch(text) is not None

    def require(self, text: str, *, where: str) -> str:
        """``text``, if it fits; otherwise FormatError."""
        if not self.fits(text):
            raise FormatError(f"{where} must be {self.what}: got {text!r}")
        return text


SHA256 = Pattern("[0-9a-f]{64}", "64 lower-case hexadecimal digits")
KEY_FINGERPRINT = Pattern("[0-9a-f]{16}", "16 lower-case hexadecimal digits")
PROBE_NAME = Pattern("[a-z0-9_][a-z0-9_.-]{0,63}", "1 to 64 of a-z, 0-9, '_', '.' and '-', the last two not first")
WORD = Pattern("[a-z][a-z0-9-]{0,63}", "a word of lower-case letters, digits and hyphens, at most 64 of them")
VERSION = Pattern("[0-9a-z][0-9a-z.-]{0,31}", "at most 32 of 0-9, a-z, '.' and '-', the last two not first")
RELEASE_ID = Pattern(rf"{WORD.regex}@{VERSION.regex}", "the id of a release, such as digits@1")
REQUEST_ID = Pattern("R(0|[1-9][0-9]{0,15})", "the id of a request, such as R17")
DECIMAL = Pattern(
    r"-?(0|[1-9][0-9]{0,399})(\.[0-9]{1,399})?(E[+-]?[0-9]{1,3})?", "a decimal, such as -0.25, and no infinity"
)
TIME = Pattern("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", "a time in UTC, YYYY-MM-DDTHH:MM:SSZ")
PROBABILITY = Pattern(
    rf"0\.[0-9]{{0,{MAX_DIGITS - 1}}}[1-9]",
    f"a probability above 0 and below 1, such as 0.05, with at most {MAX_DIGITS} digits after the point",
)

Sha256: TypeAlias = Annotated[str, SHA256]
KeyFingerprint: TypeAlias = Annotated[str, KEY_FINGERPRINT]
ProbeName: TypeAlias = Annotated[str, PROBE_NAME]
Word: TypeAlias = Annotated[str, WORD]
Version: TypeAlias = Annotated[str, VERSION]
ReleaseId: TypeAlias = Annotated[str, RELEASE_ID]
RequestId: TypeAlias = Annotated[str, REQUEST_ID]
DecimalText: TypeAlias = Annotated[str, DECIMAL]
TimeText: TypeAlias = Annotated[str, TIME]
ProbabilityText: TypeAlias = Annotated[str, PROBABILITY]


def decimal_text(value: Decimal) -> str:
    """The shortest plain spelling: ``0.5``, never ``0.50`` or ``5E-1``. ValueError for NaN and infinities."""
    if not value.is_finite():
        raise ValueError(f"not a finite number: got {value}")
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def probability(value: Decimal) -> Decimal:
    """``value``, if it can be written down and reckoned with; otherwise ValueError."""
    is_near = value.is_finite() and 0 < value < 1 and value.adjusted() >= -MAX_DIGITS
    if not is_near or not PROBABILITY.fits(decimal_text(value)):
        raise ValueError(f"not {PROBABILITY.what}: got {value}")
    return value


def probability_text(value: Decimal) -> str:
    """The one spelling of a `probability`: equal numbers are equal texts. ValueError for what is none."""
    return decimal_text(probability(value))


UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def shown(text: str, *, lines: bool = True) -> str:
    """Text from anywhere as it can be shown: what controls a terminal, or cannot be seen, is written as its escape.

    These are the control characters (C0 but tab and newline, C1), those that change the direction of text, those of no
    width, line separators, and lone surrogates. lines: line feeds stay.
    """
    found = UNSEEN.sub(lambda match: _escape(match[0]), text)
    return found if lines else found.replace("\n", "\\n")


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
