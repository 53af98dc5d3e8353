"""Words that are written down: what each kind may look like, in one place.

Nothing that is stored is free text unless it says so: identifiers, digests and numbers in words have one spelling each,
so that files can be compared by their bytes, and no personal data slips into a log that forgets nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Final, Literal, TypeAlias

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
ORIGIN = Pattern("[!#-&(-*,-~]{1,200}", "printable ASCII without spaces, quotes and plus signs")
SOFTWARE = Pattern("unlearnkit [0-9][0-9a-z.+]{0,63}", "unlearnkit and its version, such as unlearnkit 0.1.0")
PROBABILITY = Pattern(
    rf"0\.[0-9]{{0,{MAX_DIGITS - 1}}}[1-9]",
    f"a probability above 0 and below 1, such as 0.05, with at most {MAX_DIGITS} digits after the point",
)

NamesVersion: TypeAlias = Literal["unlearnkit/names/v1"]
NAMES: Final[NamesVersion] = "unlearnkit/names/v1"
"""How names of people are brought into one form before they become pseudonyms: `normal_name` is version 1."""
MAX_NAME = 1000
"""Characters in the name of a person or thing."""
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+")
_UNSEEN = re.compile("[\u034f\ufe00-\ufe0f]")
_SPACES = re.compile(r"[^\S\t-\r\x1c-\x1f\x85]+")  # and no control characters
_NO_TEXT = frozenset({"Cc", "Cs"})

Sha256: TypeAlias = Annotated[str, SHA256]
KeyFingerprint: TypeAlias = Annotated[str, KEY_FINGERPRINT]
ProbeName: TypeAlias = Annotated[str, PROBE_NAME]
Word: TypeAlias = Annotated[str, WORD]
Version: TypeAlias = Annotated[str, VERSION]
ReleaseId: TypeAlias = Annotated[str, RELEASE_ID]
RequestId: TypeAlias = Annotated[str, REQUEST_ID]
DecimalText: TypeAlias = Annotated[str, DECIMAL]
TimeText: TypeAlias = Annotated[str, TIME]
Origin: TypeAlias = Annotated[str, ORIGIN]
Software: TypeAlias = Annotated[str, SOFTWARE]
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


def normal_name(name: str | int) -> str:
    """The form in which a name of a person becomes a pseudonym: spellings that look the same are one name.

    Characters without width or of format alone go (byte-order marks, zero-width spaces and joiners, soft hyphens, marks
    of direction, variation selectors), white space at either end goes, runs of spaces inside become one, accents are
    composed (Unicode NFC), and the letters of an e-mail address are small. A number is its decimal text. What is in
    this form already stays as it is.
    """
    name = str(name)
    if name.isascii() and name.isprintable() and " " not in name and "@" not in name:
        return name  # as most are; recipes have millions
    seen = "".join(c for c in name if unicodedata.category(c) != "Cf")
    words = _SPACES.sub(" ", _UNSEEN.sub("", seen)).strip()
    text = unicodedata.normalize("NFC", words)
    return unicodedata.normalize("NFC", text.lower()) if _ADDRESS.fullmatch(text) else text


def checked_name(name: str) -> str:
    """`normal_name` of what can name somebody. ValueError for what cannot, which does not repeat it."""
    normal = normal_name(name)
    if not 0 < len(normal) <= MAX_NAME:
        raise ValueError(f"a name must have 1 to {MAX_NAME} characters: got {len(normal)}")
    if any(unicodedata.category(character) in _NO_TEXT for character in normal):
        raise ValueError("a name must be text without control characters")
    return normal


def collisions(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Different spellings that are one name, in the order in which they come."""
    first: dict[str, str] = {}
    others: dict[str, dict[str, None]] = {}
    for name in names:
        normal = normal_name(name)
        if first.setdefault(normal, name) != name:
            others.setdefault(normal, {first[normal]: None})[name] = None
    return [tuple(others[normal]) for normal in first if normal in others]


_OF_ONE = {"are": "is", "were": "was", "have": "has", "carry": "carries", "do": "does"}


def counted(count: int, noun: str, verb: str = "") -> str:
    """``1 request``, ``2 requests``, ``2 people``, ``1 entry is``: a number of things, for people. verb: of several."""
    things = f"{count} {noun if count == 1 else plural(noun)}"
    return f"{things} {_OF_ONE.get(verb, f'{verb}s') if count == 1 else verb}" if verb else things


def plural(noun: str) -> str:
    """Several of them: ``person`` becomes ``people``, ``entry`` becomes ``entries``."""
    if noun.endswith("person"):
        return f"{noun.removesuffix('person')}people"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def ordinal(number: int) -> str:
    """``1st``, ``2nd``, ``3rd``, ``4th``, ``11th``, ``22nd``: a place in an order, for people."""
    last = number % 10 if number % 100 // 10 != 1 else 0
    return f"{number}{('th', 'st', 'nd', 'rd')[last if last < 4 else 0]}"
