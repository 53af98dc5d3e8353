"""Requests one after another under a packaged policy: what certificates claim of everybody who stands, and what is so.

    python benchmarks/standing.py            # 60 of 200 people in random order, three seeds, GDPR; minutes

Whoever is decided to be kept stands from then on, and counts in every later claim. The truth is real retraining of each
claim's set, many side by side (`tests/examples/many.py`, held against `uk.retrain` there).
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import numpy as np
from unlearnkit.examples import digits

import unlearnkit as uk
from tests.examples.many import retrain_many
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.verifier.claims import make_claims
from unlearnkit.verifier.decision import decide
from unlearnkit.verifier.evidence import Audit, Evidence, sign_evidence, verify_evidence
from unlearnkit.verifier.plan import draw_deletions
from unlearnkit.verifier.planned import CommittedStratum, PlannedDeletions

Array = np.ndarray


@dataclass
class Found:
    """What one order of requests came to. outside: of each probe, claims whose truth is not inside, and all claims."""

    decisions: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    outside: dict[str, list[bool]] = field(default_factory=dict)
    remembered: int = 0
    kept_though_remembered: int = 0


def sketch(recipe: uk.Recipe, folder: Path, key: PrivateKey) -> uk.Bundle:
    """The test loss to the second order, everybody's own loss by series along them alone, and what others do to it."""
    reverse = {"test_loss": uk.Reverse(rank=24, residual=16), "own_loss": uk.Reverse(rank=0, residual=0)}
    settings = {"seed": 0, "signer": key, "progress": True}
    uk.sketch(recipe, folder / "bundle", reverse=reverse, solo=uk.Solo(degree=2), **settings)
    return uk.Bundle.open(folder / "bundle", trust=[key.public])


def evidence(bundle: uk.Bundle, recipe: uk.Recipe, policy: Policy, key: PrivateKey, root: str) -> Evidence:
    """What the policy plans, drawn as after the log's ``root``."""
    strata = [
        CommittedStratum(least=s.least, most=s.most, count=s.count, committed=0, root=root)
        for s in policy.audit.within(len(bundle.units))
    ]
    planned = PlannedDeletions(strata=tuple(strata))
    drawn = draw_deletions(bundle, planned, planned.count)
    truth = retrain_many(recipe, masks_of(drawn, len(bundle.units)))
    own = [truth["own_loss"][row, list(deletion)].tolist() for row, deletion in enumerate(drawn)]
    audit = Audit.of(bundle, planned, {"test_loss": truth["test_loss"]}, own)
    return verify_evidence(sign_evidence(audit, [key]), where="evidence", keys=[key.public], bundle=bundle)


def masks_of(sets: list[tuple[int, ...]] | tuple[tuple[int, ...], ...], units: int) -> Array:
    """``[sets, units]``."""
    masks = np.zeros((len(sets), units))
    for mask, members in zip(masks, sets, strict=True):
        mask[list(members)] = 1
    return masks


def go_through(
    bundle: uk.Bundle,
    policy: Policy,
    audits: Evidence,
    order: list[int],
    truth: Callable[[list[int]], dict[str, Array]],
) -> Found:
    """Certify one person after another."""
    found, standing = Found(), list[int]()
    tolerance = float(policy.certificate.tolerances["own_loss"])
    for person in order:
        together = sorted({*standing, person})
        deleted = sorted(bundle.units[i] for i in together)
        asking = [bundle.units[person]]
        claims = make_claims(bundle, deleted, policy, asking=asking, delta=Decimal("0.05"), evidence=[audits])
        decision = decide(claims, policy, people=len(together), directions=bundle.manifest.direction_count)
        real = truth(together)
        for claim in claims:
            value = real["own_loss"][person] if claim.people else real["test_loss"]
            off = abs(float(value) - float(claim.predicted[0]))
            # a set that was itself retrained has its value, but for the last bits
            found.outside.setdefault(f"{claim.probe} ({claim.kind})", []).append(off > float(claim.epsilon[0]) + 1e-12)
        moved = abs(float(real["own_loss"][person]) - float(bundle.probe("own_loss").base[person]))
        found.decisions[decision.outcome] += 1
        found.rules[decision.rule] += 1
        found.remembered += moved > 2 * tolerance
        found.kept_though_remembered += moved > 2 * tolerance and decision.outcome == "keep"
        if decision.outcome == "keep":
            standing.append(person)
    return found


def main() -> None:
    """Print a row for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="gdpr")
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--largest-ratio", type=Decimal, help="instead of the policy's")
    options = parser.parse_args()
    recipe, policy = digits.recipe(epochs=options.epochs), Policy.load(options.policy)
    if options.largest_ratio is not None:
        policy = replace(policy, certificate=replace(policy.certificate, largest_ratio=options.largest_ratio))
    with tempfile.TemporaryDirectory() as scratch:
        key = PrivateKey.generate(Algorithm.P256)
        bundle = sketch(recipe, Path(scratch), key)
        for seed in range(options.seeds):
            audits = evidence(bundle, recipe, policy, key, f"{seed:064x}")
            order = np.random.default_rng(seed).permutation(len(bundle.units))[: options.requests].tolist()

            def truth(together: list[int]) -> dict[str, Array]:
                rows = retrain_many(recipe, masks_of([tuple(together)], len(bundle.units)))
                return {name: values[0] for name, values in rows.items()}

            told(seed, go_through(bundle, policy, audits, order, truth))


def told(seed: int, found: Found) -> None:
    """One seed's findings."""
    print(f"seed {seed}: {dict(found.decisions)}, by {dict(found.rules)}", flush=True)
    for name, outside in sorted(found.outside.items()):
        print(f"  {name}: {sum(outside)} of {len(outside)} outside", flush=True)
    print(f"  remembered {found.remembered}, of them kept {found.kept_though_remembered}", flush=True)


if __name__ == "__main__":
    main()
