"""Letters about deletion requests, in plain words, from templates that anybody can replace.

A template says nothing that the record does not: it is given facts from the log alone, and fails on one that it is not
given. The words of a policy become words for people by ``words.toml`` in the folder of the language.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Literal

from jinja2 import Environment, FunctionLoader, StrictUndefined

from unlearnkit.errors import UnknownNameError
from unlearnkit.names import Word
from unlearnkit.records import read_toml
from unlearnkit.shapes import Items

WIDTH = 76
"""Columns of a letter."""
FOLDER = "letters"
"""Of a workspace, whose files take the place of packaged ones: a folder a language in it."""
_WORDS = "words.toml"
_UNBROKEN = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterWords:
    """What a language calls things: months, dates, and the words of policies as they stand in a sentence.

    written_release: a model in use. decimal_point: of numbers. rights: what a person can do against an answer, by
    jurisdiction. rules: those of deadlines that have another name in the language; all others stand as in the policy.
    """

    schema: Literal["unlearnkit/letter-words/v1"]
    language: str
    months: Annotated[tuple[str, ...], Items(least=12)]
    written_day: str
    written_release: str
    decimal_point: str
    conjunction: str
    identity: Mapping[Word, str]
    reasons: Mapping[Word, str]
    recipients: Mapping[Word, str]
    rights: Mapping[Word, str]
    rules: Mapping[str, str] = field(default_factory=dict)

    def day(self, day: date) -> str:
        """A day, as people write it; its parts stay on one line."""
        written = self.written_day.format(day=day.day, month=self.months[day.month - 1], year=day.year)
        return written.replace(" ", _UNBROKEN)

    def release(self, name: str) -> str:
        """A model in use, which the log calls ``digits@1``."""
        model, _, version = name.partition("@")
        return self.written_release.format(name=model, version=version).replace(" ", _UNBROKEN)

    def share(self, share: Decimal) -> str:
        """A share, in percent."""
        percent = f"{(share * 100).normalize():f}{_UNBROKEN}%"
        return percent.replace(".", self.decimal_point)

    def rule(self, rule: str) -> str:
        """The rule that sets a deadline."""
        return self.rules.get(rule, rule)

    def listed(self, items: Sequence[str]) -> str:
        """Several things in a sentence."""
        if len(items) < 2:
            return "".join(items)
        return f"{', '.join(items[:-1])} {self.conjunction} {items[-1]}"

    def say(self, kind: str, word: str) -> str:
        """A word of a policy in words for people; UnknownNameError if this language has none for it."""
        words: Mapping[str, str] = getattr(self, kind)
        if word not in words:
            hint = f"add it to [{kind}] of {_WORDS} in a copy of the language's folder"
            raise UnknownNameError(f"{self.language} has no words for {word!r}", hint=hint)
        return words[word]

    def rights_in(self, jurisdiction: str | None, authority: str) -> str:
        """What a person can do against an answer."""
        return self.rights.get(jurisdiction or "", self.rights["other"]).replace("AUTHORITY", authority)


@dataclass(frozen=True)
class Letters:
    """The letters in one language. folder: of a workspace, whose files take the place of packaged ones."""

    language: str
    folder: Path | None = None

    def __post_init__(self) -> None:
        if not any(place.is_dir() for place in self._places):
            raise UnknownNameError(
                f"no letters in language {self.language!r}: there are {', '.join(packaged_languages())}",
                hint=f"add a language by a folder: {FOLDER}/{self.language} in the workspace",
            )

    @cached_property
    def words(self) -> LetterWords:
        """What the language calls things."""
        return read_toml(LetterWords, self._read(_WORDS).encode(), where=f"{FOLDER}/{self.language}/{_WORDS}")

    def write(self, kind: str, facts: Mapping[str, object]) -> str:
        """A letter as text, in lines of at most WIDTH columns.

        Args:
            kind: Of the template ``KIND.txt``.
            facts: What it may say.

        Raises:
            UnknownNameError: There is no such template, or the language has no word for something.
        """
        environment = Environment(  # noqa: S701 - it is plain text, of words, days and names of releases alone
            loader=FunctionLoader(self._read),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        return _filled(environment.get_template(f"{kind}.txt").render(facts))

    @property
    def _places(self) -> Iterator[Traversable]:
        if self.folder is not None:
            yield self.folder / self.language
        yield resources.files("unlearnkit.policies") / FOLDER / self.language

    def _read(self, name: str) -> str:
        for place in self._places:
            if (place / name).is_file():
                return (place / name).read_text(encoding="utf-8")
        raise UnknownNameError(f"the letters in {self.language!r} have no {name}")


def packaged_languages() -> list[str]:
    """The languages that come with the package."""
    return sorted(item.name for item in (resources.files("unlearnkit.policies") / FOLDER).iterdir())


def _filled(text: str) -> str:
    """Paragraphs in lines; those that begin with two spaces are kept as they are."""
    paragraphs: list[str] = []
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line.strip()]
        if not lines:
            continue
        kept = all(line.startswith("  ") for line in lines)
        pieces = lines if kept else [" ".join(line.strip() for line in lines)]
        hang = "    " if kept else ""
        paragraphs.append(
            "\n".join(textwrap.fill(line, WIDTH, subsequent_indent=hang, break_on_hyphens=False) for line in pieces)
        )
    return "\n\n".join(paragraphs).replace(_UNBROKEN, " ") + "\n"
