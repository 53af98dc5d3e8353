"""Policies: what an organisation has decided about deletion requests, as strictly validated TOML.

Whatever a policy does not state, it does not allow: a policy with a name and nothing else refuses everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.policy.audits import AuditRules
from unlearnkit.compliance.policy.deadlines import Deadline, WorkingDays
from unlearnkit.errors import PolicyError, UnknownNameError
from unlearnkit.files import MAX_SETTINGS, read_bounded
from unlearnkit.names import ProbeName, Word, probability
from unlearnkit.records import ELSEWHERE, read_toml
from unlearnkit.shapes import As, Items, Limits


class Ending(StrEnum):
    """How a request can end.

    The model was trained again without the data; the data was shown to have had a negligible effect; the weights were
    corrected for it; no model in use has any; or the request was refused.
    """

    RETRAINED = "retrained"
    NEGLIGIBLE_EFFECT = "negligible-effect"
    CORRECTED = "corrected"
    NO_DATA_HELD = "no-data-held"
    REFUSED = "refused"


FULFILMENTS = (Ending.RETRAINED, Ending.NEGLIGIBLE_EFFECT, Ending.CORRECTED, Ending.NO_DATA_HELD)
"""The endings by which a request is met."""


class BoundMethod(StrEnum):
    """Which kinds of bounds can count: proved; or from retrainings that were fixed beforehand."""

    CERTIFIED = "certified"
    AUDITED = "audited"


class Covered(StrEnum):
    """What a bound can cover: the chance of the directions, float arithmetic, and the degrees beyond the last one."""

    SAMPLING = "sampling"
    ROUNDING = "rounding"
    TRUNCATION = "truncation"


class SaltOrigin(StrEnum):
    """Where the salt of random directions may come from: the log; or anywhere, also from somebody who tried several."""

    LOG = "log"
    CHOSEN = "chosen"


class Role(StrEnum):
    """What somebody's signature can count for."""

    SKETCH_SIGNER = "sketch-signer"
    CERTIFICATE_SIGNER = "certificate-signer"


WordList = Annotated[tuple[Word, ...], Items(distinct=True)]
Positive = Annotated[Decimal, Limits(above=0)]
Share = Annotated[Decimal, Limits(above=0, below=1)]
Probability = Annotated[Decimal, As(Decimal, probability, probability)]

OWN_LOSS = "own_loss"
"""The probe with one element a person, the mean loss on their own examples: no other probe may have this name."""

APPEAL = "appeal"
"""The word for an appeal to the controller, whose answer has a deadline of its own."""

MISTAKE = "recorded-by-mistake"
"""The reason of a withdrawal which says that nobody ever made the request."""

_PACKAGE = "unlearnkit.policies"


Clock = Literal["acknowledge", "respond", "extended", "appeal", "appeal_extended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """The legal clocks; one that is None is not known to the policy. extended: the whole time from receipt then.

    appeal: until when an appeal to the controller is answered, from its receipt. appeal_extended: the whole time from
    there, if that was put off.
    """

    acknowledge: Deadline | None = None
    respond: Deadline | None = None
    extended: Deadline | None = None
    appeal: Deadline | None = None
    appeal_extended: Deadline | None = None

    def __post_init__(self) -> None:
        if self.extended and not self.respond:
            raise ValueError("[deadlines.extended] extends nothing: [deadlines.respond] is missing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A jurisdiction that the policy is for besides its own. deadlines: those that are other than the policy's.

    law: the provision.
    """

    title: str
    law: str
    deadlines: Mapping[Clock, Deadline] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRules:
    """How requests may end, and how long their records are needed after that.

    attested: endings that somebody's document may show; any other has to be shown by a certificate.
    """

    accepted: Annotated[tuple[Ending, ...], Items(distinct=True)] = ()
    attested: Annotated[
        tuple[Literal[Ending.RETRAINED, Ending.NEGLIGIBLE_EFFECT, Ending.NO_DATA_HELD], ...], Items(distinct=True)
    ] = ()
    retention_months: Annotated[int, Limits(least=0, most=1200)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The only words that requests may carry in the log, so that no personal data can slip in as free text.

    pause_reasons: why the clock may stand still; none where the law lets it run. appeals: what somebody who was
    answered can do about it; `APPEAL` goes to the controller, others to an authority or a court.
    """

    actors: WordList = ()
    sources: WordList = ()
    identity_methods: WordList = ()
    extension_reasons: WordList = ()
    pause_reasons: WordList = ()
    grounds: WordList = ()
    refusal_reasons: WordList = ()
    withdrawal_reasons: WordList = ()
    appeals: WordList = ()
    recipients: WordList = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRules:
    """What a certificate must show to count.

    probes: those it must cover. tolerances: largest change of a probe, in the probe's unit, that is negligible.
    must_cover: the errors that a bound has to cover; all of them, unless the policy says which.
    stability: by probe, the factor by which the parts of each further degree are declared to shrink
    (docs/theory.md section 4.4a); a certified bound covers truncation only where this is declared, and the measured
    does not contradict it.
    rounding: by probe, the declared size of rounding errors (section 4.3); a replay in float64 measures it.
    largest_ratio: of neighbouring degrees of a series, beyond which it is doubtful (section 13); of what rests on
    retrainings only that of the deletion's own terms counts; a certified bound is never accepted beyond 1.
    salt: where the random directions of a bundle may come from.
    delta_budget: sum of the deltas of all certificates from one recipe and salt.
    """

    probes: Annotated[tuple[ProbeName, ...], Items(distinct=True)] = ()
    tolerances: Mapping[ProbeName, Positive] = field(default_factory=dict)
    bound_methods: Annotated[tuple[BoundMethod, ...], Items(distinct=True)] = ()
    must_cover: Annotated[tuple[Covered, ...], Items(distinct=True)] = tuple(Covered)
    stability: Mapping[ProbeName, Share] = field(default_factory=dict)
    rounding: Mapping[ProbeName, Positive] = field(default_factory=dict)
    salt: SaltOrigin = SaltOrigin.LOG
    minimum_directions: Annotated[int, Limits(least=1)] | None = None
    largest_ratio: Positive | None = None
    largest_delta: Probability | None = None
    delta_budget: Probability | None = None

    def __post_init__(self) -> None:
        if self.delta_budget and self.largest_delta and self.delta_budget < self.largest_delta:
            raise ValueError("delta_budget is less than largest_delta: no certificate could use it")
        if missing := [name for name in self.probes if name not in self.tolerances]:
            raise ValueError(f"no tolerance for {', '.join(missing)}: what change is negligible?")


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionRules:
    """How near a corrected model must be to the retrained one, to be served in its place.

    tolerances: by probe, the largest difference between the two, in the probe's unit, that audits may leave open; none:
    no corrected model is served.
    """

    tolerances: Mapping[ProbeName, Positive] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningRules:
    """Who may sign certificates: keys that have one of ``roles`` in the trust store, ``threshold`` different ones."""

    roles: Annotated[tuple[Role, ...], Items(distinct=True)] = ()
    threshold: Annotated[int, Limits(least=1)] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A validated policy. A deadline that is None is not known to this policy.

    Attributes:
        schema: of the file.
        name: a word.
        title: for people.
        jurisdiction: a word.
        places: further jurisdictions that it is for, by their words.
        working_days: which days are worked.
        deadlines: until when receipt is to be confirmed, and the request answered.
        requests: how requests can end, and how long their record is kept.
        words: the only ones that requests may carry in the log.
        certificate: what a certificate must show to count.
        audit: what is retrained as evidence.
        correction: how near a corrected model must be to the retrained one.
        signing: who may sign one.
        raw: the file that it was read from.

    Example:
        >>> policy = uk.Policy.load("gdpr")
        >>> policy.deadlines.respond.rule, policy.deadlines.respond.months
        ('GDPR Art. 12(3)', 1)

    """

    schema: Literal["unlearnkit/policy/v1"]
    name: Word
    title: str = ""
    jurisdiction: Word | None = None
    places: Mapping[Word, Place] = field(default_factory=dict)
    working_days: WorkingDays = field(default_factory=WorkingDays)
    deadlines: Deadlines = Deadlines()
    requests: RequestRules = RequestRules()
    words: Words = Words()
    certificate: CertificateRules = field(default_factory=CertificateRules)
    audit: AuditRules = field(default_factory=AuditRules)
    correction: CorrectionRules = field(default_factory=CorrectionRules)
    signing: SigningRules = SigningRules()
    raw: Annotated[bytes, ELSEWHERE] = field(repr=False)

    def __post_init__(self) -> None:
        probes = [name for name in self.certificate.probes if name not in self.correction.tolerances]
        if self.correction.tolerances and probes:
            raise ValueError(f"[correction.tolerances] has none for {', '.join(probes)}: how near must it be?")
        for place in (None, *self.places):
            if self.deadline("appeal_extended", place) and not self.deadline("appeal", place):
                where = f"[places.{place}] deadlines" if place else "[deadlines]"
                raise ValueError(f"{where}: appeal_extended extends nothing, for appeal is missing")

    @classmethod
    def load(cls, source: str | Path) -> Policy:
        """A policy by the name of a packaged one, or from a file: a Path, or text with a slash or ending in .toml."""
        raw, where = read_policy(source)
        return parse_policy(raw, where=where)

    @property
    def text(self) -> str:
        """The file's text."""
        return self.raw.decode()

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return sha256_hex(self.raw)

    def require_word(self, kind: str, word: str) -> str:
        """A word that this policy lists.

        Args:
            kind: a list of `Words`, such as "sources".
            word: that ought to be in it.

        Returns:
            ``word``.

        Raises:
            PolicyError: it is not.

        """
        allowed: tuple[str, ...] = getattr(self.words, kind)
        if word not in allowed:
            raise PolicyError(
                f"policy {self.name} does not list {word!r} among its {kind}: "
                f"expected {', '.join(allowed) or 'nothing, for it lists none'}",
                hint=f"the log takes no free text; add the word to [words] {kind} of the policy",
            )
        return word

    def require_accepted(self, ending: str) -> str:
        """``ending``, if this policy lets a request end so; otherwise PolicyError."""
        if ending not in self.requests.accepted:
            listed = ", ".join(self.requests.accepted) or "nothing"
            raise PolicyError(f"policy {self.name} does not accept {str(ending)!r}: it accepts {listed}")
        return ending

    @property
    def jurisdictions(self) -> tuple[str, ...]:
        """All that it is for."""
        return (*([self.jurisdiction] if self.jurisdiction else []), *self.places)

    def deadline(self, name: str, jurisdiction: str | None = None) -> Deadline | None:
        """A deadline, as a place has it, or else the policy.

        Args:
            name: of `Deadlines`, such as "respond".
            jurisdiction: where; None: as the policy has it.

        Returns:
            The deadline; None if neither has one.

        """
        place = self.places.get(jurisdiction or "")
        own: Mapping[str, Deadline] = {} if place is None else dict(place.deadlines.items())
        found: Deadline | None = own.get(name, getattr(self.deadlines, name))
        return found

    def require_deadline(self, name: str, jurisdiction: str | None = None) -> Deadline:
        """`deadline`, where there has to be one.

        Args:
            name: of `Deadlines`, such as "respond".
            jurisdiction: where; None: as the policy has it.

        Returns:
            The deadline.

        Raises:
            PolicyError: there is none.

        """
        deadline = self.deadline(name, jurisdiction)
        if deadline is None:
            raise PolicyError(f"policy {self.name} has no deadline {name!r}", hint=f"add [deadlines.{name}] to it")
        return deadline


def packaged_policies() -> dict[str, bytes]:
    """The policies that come with this package, by name."""
    files = resources.files(_PACKAGE).iterdir()
    return {
        file.name.removesuffix(".toml"): file.read_bytes()
        for file in sorted(files, key=lambda file: file.name)
        if file.name.endswith(".toml")
    }


def read_policy(source: str | Path) -> tuple[bytes, str]:
    """The text of a policy, and what to call it in errors; UnknownNameError if there is none."""
    if isinstance(source, Path) or "/" in source or source.endswith(".toml"):
        path = Path(source)
        if not path.is_file():
            raise UnknownNameError(f"no policy file {path}")
        return read_bounded(path, MAX_SETTINGS), str(path)
    packaged = packaged_policies()
    if source not in packaged:
        known = ", ".join(packaged)
        raise UnknownNameError(f"no policy {source!r}: there are {known}", hint="a file is named by its path")
    return packaged[source], f"policy {source}"


def parse_policy(raw: bytes, *, where: str) -> Policy:
    """A policy from TOML. FormatError says what is wrong where; UnknownVersionError for another schema."""
    return read_toml(Policy, raw, where=where, raw=raw)
