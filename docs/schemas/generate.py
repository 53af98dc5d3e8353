"""Write the JSON Schema (2020-12) of everything that is stored, from the declarations themselves: ``make schemas``.

A schema says what may stand where. What must hold between members, such as a digest that fits its text, no schema says;
reading checks it. The schemas of a certificate, an audit and a replay are about the predicate of their statement.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from unlearnkit.bundle.manifest import Manifest
from unlearnkit.bundle.pseudonym import KeptPseudonyms
from unlearnkit.bundle.settings import SketchSettings
from unlearnkit.compliance.log.aside import TAIL_SET_ASIDE, SetAside
from unlearnkit.compliance.log.entry import Entry
from unlearnkit.compliance.log.head import SignedHead
from unlearnkit.compliance.log.repair import ENTRY_SET_ASIDE, REPAIRED, EntrySetAside, Repaired
from unlearnkit.compliance.policy.expectations import ExpectationsFile
from unlearnkit.compliance.policy.keyring import KEY_BODIES, Succession
from unlearnkit.compliance.policy.policy import Policy
from unlearnkit.compliance.policy.trust import TrustFile
from unlearnkit.compliance.releases.release import RELEASE_BODIES
from unlearnkit.compliance.releases.sketches import SKETCH_BODIES
from unlearnkit.compliance.requests.receipt import Receipt
from unlearnkit.compliance.requests.register import KEY_CREATED, KEY_DESTROYED, KeyBody, KeyCreated
from unlearnkit.compliance.requests.steps import BODIES, PURGED, Purged
from unlearnkit.compliance.settings import Settings
from unlearnkit.compliance.workspace import CREATED, WorkspaceCreated
from unlearnkit.records import json_schema
from unlearnkit.verifier.absence import ABSENCE_ISSUED, EXCLUSION_ISSUED, Absence, Cleared, Exclusion
from unlearnkit.verifier.account import CERTIFICATE_ISSUED, Issued
from unlearnkit.verifier.certificate import Certificate
from unlearnkit.verifier.certificate_file import CertificateFile
from unlearnkit.verifier.correction import CORRECTION_ISSUED, CorrectionCertificate, LoggedCorrection
from unlearnkit.verifier.evidence import Audit
from unlearnkit.verifier.replayed import ReplayReport

FOLDER = Path(__file__).parent

RECORDS = {
    "signed-head": SignedHead,
    "manifest": Manifest,
    "log-entry": Entry,
    "certificate": Certificate,
    "certificate-file": CertificateFile,
    "retraining-audit": Audit,
    "replay": ReplayReport,
    "correction": CorrectionCertificate,
    "absence": Absence,
    "sketch-settings": SketchSettings,
    "exclusion": Exclusion,
    "key-rotation": Succession,
    "receipt": Receipt,
    "pseudonyms": KeptPseudonyms,
}
ENTRY_BODIES: dict[str, type] = {
    CREATED: WorkspaceCreated,
    KEY_CREATED: KeyCreated,
    KEY_DESTROYED: KeyBody,
    CERTIFICATE_ISSUED: Issued,
    CORRECTION_ISSUED: LoggedCorrection,
    ABSENCE_ISSUED: Cleared,
    EXCLUSION_ISSUED: Cleared,
    TAIL_SET_ASIDE: SetAside,
    ENTRY_SET_ASIDE: EntrySetAside,
    REPAIRED: Repaired,
    **KEY_BODIES,
    PURGED: Purged,
    **{event.value: kind for event, kind in BODIES.items()},
    **{event.value: kind for event, kind in RELEASE_BODIES.items()},
    **{event.value: kind for event, kind in SKETCH_BODIES.items()},
}
SETTINGS = {"policy": Policy, "trust": TrustFile, "expectations": ExpectationsFile, "workspace": Settings}


def schemas() -> dict[str, dict[str, Any]]:
    """Every schema, by the name of its file."""
    found: dict[str, dict[str, Any]] = {f"{name}.json": json_schema(kind) for name, kind in RECORDS.items()}
    found |= {f"entry-{name}.json": json_schema(kind) for name, kind in ENTRY_BODIES.items()}
    return found | {f"{name}.json": json_schema(kind, complete=False) for name, kind in SETTINGS.items()}


def files() -> dict[str, bytes]:
    """The files as they are written."""
    return {name: (json.dumps(schema, indent=2) + "\n").encode() for name, schema in schemas().items()}


if __name__ == "__main__":
    for name, raw in files().items():
        (FOLDER / name).write_bytes(raw)
