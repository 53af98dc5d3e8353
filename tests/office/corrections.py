"""A workspace whose policy lets corrected models be served, with an audited release."""

from __future__ import annotations

from pathlib import Path

import unlearnkit as uk
from tests.verifier.issuance import RULES, audited, policy_text

BOTH = RULES.replace('["test_loss"]', '["test_loss", "own_loss"]').replace(
    "test_loss = 20\n", "test_loss = 20\nown_loss = 20\n"
)
# Above the largest difference of all sets of one to three of the five people, 0.104 and 0.463: whatever is drawn.
CORRECTION = "\n[correction.tolerances]\ntest_loss = 0.11\nown_loss = 0.5\n"


def policy(rules: str = CORRECTION) -> bytes:
    """Fourteen retrainings: five of one person, nine of two or three."""
    text = policy_text(audited(BOTH)).decode()
    return text.replace("\n[signing]", f"{rules}\n[signing]", 1).encode()


EVERYBODY = uk.Solo(degree=3, keep_weights=True)


def prepare(
    folder: Path,
    recipe: uk.Recipe,
    *,
    solo: uk.Solo = EVERYBODY,
    informed: uk.Informed | None = None,
    is_audited: bool = True,
) -> None:
    """``policy.toml`` and ``office`` in a folder: small@1, from ``office/bundle``, and its audit."""
    (folder / "policy.toml").write_bytes(policy())
    office = uk.Workspace.create(folder / "office", origin="example.com/log", policy="../policy.toml")
    settings = {"signer": office.signer_key(), "seed": 0, "dtype": "float64", "progress": False}
    bundle = uk.sketch(recipe, office.root / "bundle", reverse={}, solo=solo, informed=informed, **settings)
    office.register(bundle, name="small", version="1")
    if is_audited:
        office.audit(None, recipe, progress=False)


def asked(office: uk.Workspace, *names: str) -> list[str]:
    """Requests of these people, whose identity is known."""
    found = office.receive(names)
    for request in found:
        office.verify_identity(request, method="in-person")
    return [request.id for request in found]
