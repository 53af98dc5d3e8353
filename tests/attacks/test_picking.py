"""What an issuer might pick until it pleases: seeds, roots, groups, counts, files, deltas, policies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from tests.verifier.issuance import RULES, Issuer, audited, issuer
from unlearnkit.compliance.policy.policy import parse_policy
from unlearnkit.errors import PolicyError, UnknownNameError, UnlearnkitError, VerificationError
from unlearnkit.verifier.plan import GroupDeletions, UnitDeletions

Attack = Callable[[Path], object]


def _audited(folder: Path) -> Issuer:
    """A plan of five single people, and nine sets of two or three."""
    return issuer(folder, rules=audited(), count=16)


def seeds_until_the_directions_please(folder: Path) -> None:
    office = issuer(folder, rules=RULES.replace('salt = "chosen"', 'salt = "log"'))
    office.issue(office.request())


def seeds_and_a_certificate_that_says_nothing_of_it(folder: Path) -> None:
    """Under a policy that takes them, though the request was received under one that does not."""
    office = issuer(folder, rules=RULES)
    issued = office.issue(office.request())
    strict = issued.certificate.policy.replace('salt = "chosen"', 'salt = "log"')
    office.verify(office.forge(issued, lambda made: replace(made, policy=strict)))


def roots_until_the_draws_please(folder: Path) -> None:
    office = _audited(folder)
    committed, planned = office.commit(), office.planned()
    tried = replace(planned, strata=tuple(replace(stratum, root="ab" * 32) for stratum in planned.strata))
    office.issue(office.request(), evidence=[office.finish(committed, office.evidence(tried))])


def groups_until_one_is_harmless(folder: Path) -> None:
    office = _audited(folder)
    free = office.evidence(GroupDeletions(groups=((1, 2), (3, 4))), count=30)
    office.issue(office.request(), evidence=[office.finish(office.commit(), free)])


def a_share_of_groups(folder: Path) -> None:
    office = _audited(folder)
    free = office.evidence(GroupDeletions(groups=((1, 2, 3),), share=Decimal("0.0282561")), count=30)
    office.issue(office.request(), evidence=[office.finish(office.commit(), free)])


def counts_until_the_largest_error_is_small(folder: Path) -> None:
    office = _audited(folder)
    free = office.evidence(UnitDeletions(least=1, most=1), count=7)
    office.issue(office.request(), evidence=[office.finish(office.commit(), free)])


def sizes_that_nobody_committed_to(folder: Path) -> None:
    office = _audited(folder)
    committed, planned = office.commit(), office.planned()
    other = replace(planned, strata=(replace(planned.strata[1], least=2, most=4),))
    office.issue(office.request(), evidence=[office.finish(committed, office.evidence(other))])


def one_of_several_files_left_out(folder: Path) -> None:
    office = _audited(folder)
    office.audit()
    more = parse_policy(office.policy.text.replace("count = 5", "count = 8").encode(), where="policy")
    larger = replace(office, policy=more)
    second = larger.audit()
    office.issue(office.request(), evidence=[office.read(second)])


def one_of_several_files_left_out_by_whoever_verifies_too(folder: Path) -> None:
    office = _audited(folder)
    raw = office.audit()
    issued = office.issue(office.request(), evidence=[office.read(raw)])
    office.verify(office.forge(issued, lambda made: replace(made, audits=())), evidence=[raw])


def a_file_that_nobody_recorded(folder: Path) -> None:
    office = _audited(folder)
    raw = office.audit()
    kinder = office.read(office.evidence(office.planned(), lie=0.5))
    office.issue(office.request(), evidence=[office.read(raw), kinder])


def an_old_question_again_with_a_tiny_delta(folder: Path) -> None:
    office = issuer(folder, rules=RULES)
    issued = office.issue(office.request())
    (claim,) = issued.certificate.claims
    office.verify(office.forge(issued, lambda made: replace(made, claims=(replace(claim, delta="0.0001"),))))


def a_laxer_policy_after_the_question(folder: Path) -> None:
    office = issuer(folder, rules=RULES)
    issued = office.issue(office.request())
    laxer = issued.certificate.policy.replace("test_loss = 20", "test_loss = 30")
    office.verify(office.forge(issued, lambda made: replace(made, policy=laxer)))


def a_policy_that_was_edited_since(folder: Path) -> None:
    office = issuer(folder, rules=RULES)
    request = office.request()
    laxer = parse_policy(office.policy.text.replace("test_loss = 20", "test_loss = 30").encode(), where="policy")
    office.issue(request, policy=laxer)


ATTACKS: dict[Attack, tuple[type[UnlearnkitError], str]] = {
    seeds_until_the_directions_please: (PolicyError, "the directions of the bundle were chosen"),
    seeds_and_a_certificate_that_says_nothing_of_it: (VerificationError, "directions of the bundle were chosen"),
    roots_until_the_draws_please: (VerificationError, "does not follow from what the log committed to"),
    groups_until_one_is_harmless: (VerificationError, "is an experiment: who made it chose what was drawn"),
    a_share_of_groups: (VerificationError, "is an experiment: who made it chose what was drawn"),
    counts_until_the_largest_error_is_small: (VerificationError, "is an experiment: who made it chose"),
    sizes_that_nobody_committed_to: (VerificationError, "commits to no audit of deletions of 2 to 4 people"),
    one_of_several_files_left_out: (UnknownNameError, r"the audit of entry \d+ counts, and its evidence .* is not"),
    one_of_several_files_left_out_by_whoever_verifies_too: (VerificationError, "it names 0 audits, the log has 1"),
    a_file_that_nobody_recorded: (VerificationError, "is of no finished audit that the log has"),
    an_old_question_again_with_a_tiny_delta: (VerificationError, "records a question with two deltas"),
    a_laxer_policy_after_the_question: (VerificationError, "the request was received under"),
    a_policy_that_was_edited_since: (PolicyError, "was received under another version of its policy"),
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_it_is_refused_with_its_reason(attack, tmp_path):
    error, reason = ATTACKS[attack]
    with pytest.raises(error, match=reason):
        attack(tmp_path)


def test_what_was_planned_and_carried_out_is_accepted(tmp_path):
    office = _audited(tmp_path)
    raw = office.audit()
    issued = office.issue(office.request(), evidence=[office.read(raw)])
    assert len(issued.certificate.audits) == 1
    office.verify(issued.raw, evidence=[raw])
