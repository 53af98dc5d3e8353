"""One of a thing is named in the singular: every count in a sentence is made by ``counted``, or is never one."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
NOUNS = (
    "requests entries people days rows files releases certificates letters receipts keys signatures audits policies "
    "units words steps examples numbers probes tensors bytes deletions retrainings trainings sets directions months"
)
COUNT = re.compile(r"(?<! to )\{[^{}]*\} (?:" + "|".join(NOUNS.split()) + r")\b(?!=)|\} [a-z]+\((?:s|es)\)")
READ = ("cli", *(f"unlearnkit/{name}" for name in ["bundle", "compliance", "office", "report", "signing", "verifier"]))
"""What officers and auditors read comes from there."""
NEVER_ONE = {
    "unlearnkit/compliance/log/verification.py": 1,  # what was signed of a log: its creation and its key at least
    "unlearnkit/compliance/log/repair.py": 1,
    "unlearnkit/compliance/log/witness.py": 1,
    "unlearnkit/verifier/materials.py": 1,
    "cli/log_views.py": 1,
    "unlearnkit/compliance/log/entry.py": 2,  # the limit of a line
    "unlearnkit/compliance/policy/audits.py": 1,  # a range
    "unlearnkit/bundle/ensemble.py": 1,  # the rows of a long table
    "cli/certify.py": 1,  # one has a line of its own
    "cli/correct.py": 1,
    "unlearnkit/office/intake.py": 1,  # policies that are too many
    "unlearnkit/office/keys.py": 1,  # keys that one prefix names
    "unlearnkit/verifier/recording.py": 3,  # thirty days; a list of sizes; one has a line of its own
    "cli/intake.py": 1,  # ninety days
    "cli/options.py": 1,
    "cli/demo_views.py": 2,  # digits of many people; sizes of sets
    "cli/demo_story.py": 1,
}
"""Of each file, how many such places are left that cannot be of one thing."""


def test_no_sentence_counts_one_thing_in_the_plural():
    found: dict[str, list[str]] = {}
    for folder in READ:
        for path in sorted((ROOT / folder).rglob("*.py")):
            lines = [line.strip() for line in path.read_text().splitlines() if 'f"' in line or "f'" in line]
            hits = [line for line in lines if COUNT.search(line)]
            if hits:
                found[str(path.relative_to(ROOT))] = hits
    assert {name: len(hits) for name, hits in found.items()} == NEVER_ONE, found
