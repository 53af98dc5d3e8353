"""The days of the requests in a log: due as their policies say, and what came late.

The log keeps beside it the texts under which requests were received, by their digests; packaged ones are known anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from unlearnkit.canonical import sha256_hex
from unlearnkit.compliance.policy.policies import Shelf
from unlearnkit.compliance.policy.policy import Policy, packaged_policies, parse_policy
from unlearnkit.compliance.requests.punctuality import late_answers, late_records
from unlearnkit.compliance.requests.recount import Difference, recount
from unlearnkit.compliance.requests.request import Request
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import UnknownNameError, VerificationError
from unlearnkit.names import counted
from unlearnkit.verifier.checks import Checklist

MOST_LISTED = 20
"""So many late answers, steps recorded late, and days that differ a verification names; it counts all."""


def verify_days(view: LogView, checks: Checklist) -> None:
    """Count the days of all requests again, and say what came late: a day in the past hides nothing.

    checks: filled in.

    Raises:
        VerificationError: An entry states another day than the policy of its request does, or a text was changed.
        FormatError: A text that is kept is no policy.
    """
    requests = tuple(view.register.requests.values())
    known = _texts(Shelf.beside(view.path), {request.policy_digest for request in requests})
    right, differences = list[Request](), list[Difference]()
    for request in requests:
        policy = known.get(request.policy_digest)
        found = None if policy is None else recount(request, policy)
        right.append(request if found is None else found.request)
        differences += () if found is None else found.differences
    late = _listed([*late_answers(right)])
    if differences:
        raise VerificationError(
            f"days differ from those of the policies that requests were received under: {_listed(differences)}; "
            f"by the policies, answers after their day: {late}"
        )
    _report(requests, known, late, checks)


def _report(requests: Sequence[Request], known: dict[str, Policy], late: str, checks: Checklist) -> None:
    texts = {request.policy_digest for request in requests}
    missing = sorted(texts - known.keys())
    unknown = [request for request in requests if request.policy_digest in missing]
    if known:
        again = counted(len(requests) - len(unknown), "request")
        checks.add("days", f"{again} counted again, due as the policies say under which they were received")
    records = _listed([*late_records(requests)])
    checks.add("times", f"answers after their day: {late}; steps recorded days after they happened: {records}")
    if missing:
        whose = counted(len(unknown), "request")
        checks.leave_out(
            f"when {whose} had to be answered: their policies, SHA-256 {', '.join(missing)}, are not beside the log"
        )


def _texts(shelf: Shelf, digests: Iterable[str]) -> dict[str, Policy]:
    """The policies with these digests that are at hand."""
    packaged = {sha256_hex(raw): raw for raw in packaged_policies().values()}
    found: dict[str, Policy] = {}
    for digest in sorted(digests):
        try:
            found[digest] = shelf.get(digest)
        except UnknownNameError:
            if digest in packaged:
                found[digest] = parse_policy(packaged[digest], where=f"policy {digest}")
    return found


def _listed(found: Sequence[object]) -> str:
    more = f", and {len(found) - MOST_LISTED} more" if len(found) > MOST_LISTED else ""
    return f"{len(found)} ({', '.join(map(str, found[:MOST_LISTED]))}{more})" if found else "none"
