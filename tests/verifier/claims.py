"""Claims, policies and certificates made up for tests."""

from __future__ import annotations

from unlearnkit.compliance.policy.policy import Policy, parse_policy
from unlearnkit.verifier.audits import LoggedAudit
from unlearnkit.verifier.certificate import Certificate, Claim, Curve, Decision, Kind, Norm, Outcome, Series

POLICY = """\
schema = "unlearnkit/policy/v1"
name = "strict"

[certificate]
probes = ["loss"]
bound_methods = ["certified", "audited"]
minimum_directions = 8
largest_ratio = 1
largest_delta = 0.05
delta_budget = 0.12

[certificate.tolerances]
loss = 0.02

[audit]
content = 0.9
confidence = 0.95
strata = [{ least = 1, most = 1, count = 29 }, { least = 2, most = 9, count = 40 }]

[signing]
roles = ["certificate-signer"]
threshold = 1
"""


def policy(text: str = POLICY) -> Policy:
    return parse_policy(text.encode(), where="policy")


def surety(kind: str) -> dict[str, str | None]:
    """How sure a claim is."""
    if kind == Kind.AUDITED:
        return {"delta": None, "content": "0.9", "confidence": "0.95"}
    return {"delta": "0.05" if kind == Kind.CERTIFIED else None, "content": None, "confidence": None}


def claim(**changed) -> Claim:
    members = {
        "probe": "loss",
        "shape": (),
        "people": (),
        "base": ("0.5",),
        "predicted": ("0.505",),
        "asked": changed.get("predicted", ("0.505",)),
        "epsilon": ("0.003",),
        "epsilon_each": changed.get("epsilon", ("0.003",)),
        **surety(changed.get("kind", Kind.AUDITED)),
        "kind": Kind.AUDITED,
        "method": "audited: tolerance interval",
        "degree": 2,
        "explanation": "Degree 1: used.",
        "covers": ("sampling", "rounding", "truncation"),
        "assumptions": ("drawn alike",),
        "evidence": ("e" * 64,),
        "question": "a" * 64,
        "convergence": Series(verdict="converging", terms="0.4", norms="0.5"),
        "curve": Curve(element=0, weights=("0", "1"), values=("0.5", "0.505"), standard_errors=("0", "0.001")),
        "stability": (Norm(degree=1, norm="0.1", low="0.09", high="0.11"),),
    }
    return Claim(**{**members, **changed})


def certificate(**changed) -> Certificate:
    members = {
        "bundle": "b" * 64,
        "model": "c" * 64,
        "release": "small@1",
        "recipe": "d" * 64,
        "account": "a" * 64,
        "requests": ("R2",),
        "subjects": ("1" * 64,),
        "standing": (),
        "deleted": ("1" * 64,),
        "counterfactual": "the same run without their losses",
        "units": 20,
        "directions": 16,
        "sketches": (),
        "audits": (LoggedAudit(committed=3, bundle="b" * 64, evidence="e" * 64),),
        "claims": (claim(),),
        "policy": POLICY,
        "decision": Decision(outcome=Outcome.KEEP, rule="certificate.tolerances", reasons=("loss: fine",)),
        "spent": "0.05",
        "budget": "0.12",
        "log": "example.org/log",
        "issued": "2025-01-31T09:30:00Z",
        "software": "unlearnkit 0.1.0",
    }
    return Certificate(**{**members, **changed})
