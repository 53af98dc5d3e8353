"""How long a release lasts, kept or corrected, and whether that pays, by prediction and audits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from unlearnkit.bundle import Bundle
from unlearnkit.bundle.work import sketch_work
from unlearnkit.compliance.policy.deadlines import due
from unlearnkit.compliance.policy.policy import OWN_LOSS, BoundMethod, Policy
from unlearnkit.compliance.releases.outlook import (
    ProbeOutlook,
    Strangers,
    WeightsReach,
    probe_outlook,
    strangers,
    weights_reach,
)
from unlearnkit.compliance.releases.standing import answered_without_retraining, standing_set
from unlearnkit.office.audits import evidence_files
from unlearnkit.office.countersigning import CountersigningSteps
from unlearnkit.office.releases import ReleaseNamed, aggregate, requests_since
from unlearnkit.verifier.certificate import Outcome
from unlearnkit.verifier.evidence import Evidence
from unlearnkit.verifier.nearness import decide_correction, nearness
from unlearnkit.verifier.retrainings import Retrainings


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionOutlook:
    """How many more people weights can be corrected for, before a training is due.

    without: whom a correction leaves out already. more: so many further people are within what audits have shown, and
    within the policy's tolerances. ends: why no more are. series: how far the weights' series converges; None: nothing
    is known of that. informed: how many directions answer for people without series of their own.
    """

    without: int
    more: int
    ends: tuple[str, ...]
    series: WeightsReach | None
    informed: int

    @property
    def total(self) -> int:
        """For how many people in all."""
        return self.without + self.more


@dataclass(frozen=True, slots=True, kw_only=True)
class Economics:
    """What sketch and audit cost, in plain trainings, about. each: days within which the policy wants an answer."""

    sketch: float
    audit: int
    each: int | None

    @property
    def occasions(self) -> int:
        """After so many separate occasions on which one would train again, they have paid."""
        return math.ceil(self.sketch + self.audit)

    @property
    def years(self) -> float | None:
        """So long it takes, for whoever answers everybody at once when the first answer is due; None: no day is."""
        return None if self.each is None else self.occasions * self.each / 365.25

    def pays(self, people: int) -> bool:
        """Whether so many people can be the occasions."""
        return people >= self.occasions


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """How long a release lasts, by prediction; nothing is certified.

    people: how many stand. asked: how many asked since it is in use, for so many ``days``. audited: the most people
    whom the policy's audit leaves out together; None: it plans none. probes: the aggregate ones of the policy; none for
    a corrected release, whose bundle is about the trained one. corrections: None where none are made. units: how many
    people the bundle holds.
    """

    release: str
    people: int
    asked: int
    days: int
    audited: int | None
    probes: tuple[ProbeOutlook, ...]
    strangers: Strangers | None
    corrections: CorrectionOutlook | None
    economics: Economics
    units: int

    def until(self, more: int | None, today: date) -> date | None:
        """The day on which so many more have asked, at the rate so far; None: never, as far as that tells."""
        if more is None or not self.asked:
            return None
        return today + timedelta(days=min(more * self.days // self.asked, 36500))


@dataclass(frozen=True)
class OutlookSteps(CountersigningSteps):
    """What lies ahead, as the other steps are about what is done."""

    def outlook(self, release: ReleaseNamed, bundle: Bundle | Path | str | None = None) -> Outlook:
        """How many more people can be answered without retraining, kept or corrected, until when, and if it pays.

        Args:
            release: Which.
            bundle: The one that was registered with it; None: where it lay then.

        Raises:
            VerificationError: It is another bundle.
            RefusedError: Who is in the bundle cannot be told: its pseudonyms are made with another key.
            UnknownNameError: There is no such release, or the policy names a probe that the bundle does not have.
        """
        view, policy = self.view(), self.policy()
        rules = policy.certificate
        found, opened = self._registered(view, release, bundle)
        people = set(standing_set(view.register, opened)) - set(found.without)
        standing = opened.units.positions(people)
        audited = bool(policy.audit.strata) and BoundMethod.AUDITED in rules.bound_methods
        aggregates = aggregate(opened, rules.probes) if found.corrects is None else []
        gone = answered_without_retraining(view.register, opened)
        evidence = [self.open_evidence(file, opened) for file in evidence_files(self.root, view, opened)]
        return Outlook(
            release=found.id,
            people=len(standing),
            asked=len(requests_since(view, found)),
            days=max(1, (self.today - found.registered).days),
            audited=max((stratum.most for stratum in policy.audit.strata), default=None),
            probes=tuple(
                probe_outlook(
                    opened.probe(name), rules.tolerances[name], rules.largest_ratio, standing, audited=audited
                )
                for name in aggregates
            ),
            strangers=strangers(opened, rules.tolerances.get(OWN_LOSS)),
            corrections=_corrections(opened, policy, {*gone, *found.without}, evidence) if opened.corrects else None,
            economics=_economics(opened, policy, self.today),
            units=opened.manifest.units,
        )


def _corrections(bundle: Bundle, policy: Policy, leaving: set[str], evidence: Sequence[Evidence]) -> CorrectionOutlook:
    """As `unlearnkit.verifier.issue_correction` decides for one more, two more, and so on."""
    retrainings, size = Retrainings.of(bundle, evidence, policy.audit), len(leaving)
    ends: tuple[str, ...] = ("everybody in the bundle would be left out",)
    while size < bundle.manifest.units:
        decision = decide_correction(nearness(policy, retrainings, size + 1), policy, people=size + 1)
        if decision.outcome != Outcome.CORRECT:
            ends = decision.reasons
            break
        size += 1
    series = weights_reach(bundle, bundle.units.positions(leaving))
    return CorrectionOutlook(
        without=len(leaving),
        more=size - len(leaving),
        ends=ends,
        series=series,
        informed=bundle.manifest.informed.count,
    )


def _economics(bundle: Bundle, policy: Policy, today: date) -> Economics:
    answer = policy.deadlines.respond
    return Economics(
        sketch=sketch_work(bundle.manifest),
        audit=sum(stratum.count for stratum in policy.audit.within(bundle.manifest.units)),
        each=None if answer is None else (due(answer, today, policy.working_days).day - today).days,
    )
