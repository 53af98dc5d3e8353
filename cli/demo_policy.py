"""The policy of the demo: the packaged one for the GDPR, but for what a demo has no time or no use for."""

from __future__ import annotations

OWN_LOSS = "own_loss"

_BASE = "gdpr"
_AUDIT = """[audit]
content = 0.9
confidence = 0.9
strata = [
  { least = 1, most = 1, count = 22 },
  { least = 2, most = 10, count = 22 },
]
"""


def policy_text() -> str:
    """The packaged GDPR policy with fewer retrainings, of a smaller content, and one rule that is looser.

    The tolerance of a correction in own losses is that of the packaged research policy.
    """
    from unlearnkit.compliance.policy.policy import Policy

    before, rest = Policy.load(_BASE).text.split("[audit]\n", 1)
    after = rest.split("\n]\n", 1)[1]
    own, looser = (f"{OWN_LOSS} = {value}\n" for value in ("0.05", "0.2"))
    before = _replaced(before, f'name = "{_BASE}"', 'name = "demo"')
    return before + _AUDIT + _replaced(after, own, looser)


def _replaced(text: str, old: str, new: str) -> str:
    if text.count(old) != 1:
        raise AssertionError(f"the packaged policy has {text.count(old)} of {old!r}, expected one")
    return text.replace(old, new)
