"""docs/schemas is what the declarations give, and describes what is really written."""

from __future__ import annotations

import json
import runpy
import tomllib
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from tests.bundle.small import small
from tests.compliance.requests.desks import STEPS, Clock, desk_of, new_log
from tests.schema_check import is_valid
from tests.verifier.claims import certificate
from unlearnkit.bundle.manifest import Manifest
from unlearnkit.compliance.log.entry import Entry
from unlearnkit.compliance.policy.policy import packaged_policies
from unlearnkit.compliance.workspace import WorkspaceFiles
from unlearnkit.records import from_json, to_json

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "schemas"


@pytest.fixture(scope="module")
def generated() -> dict[str, bytes]:
    return runpy.run_path(str(FOLDER / "generate.py"))["files"]()


def schema(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_bytes())


def test_the_files_are_those_that_the_declarations_give(generated):
    """If not: make schemas."""
    assert {path.name: path.read_bytes() for path in FOLDER.glob("*.json")} == generated


def written(raw: bytes) -> dict:
    """TOML as a reader without types of its own sees it."""
    return json.loads(json.dumps(tomllib.loads(raw.decode()), default=lambda x: str(x) if isinstance(x, date) else x))


@pytest.mark.parametrize("name", packaged_policies())
def test_the_packaged_policies_fit(name):
    record = written(packaged_policies()[name])
    assert is_valid(record, schema("policy"))
    assert not is_valid(record | {"extra": 1}, schema("policy"))


def test_a_new_workspace_fits(tmp_path):
    root = WorkspaceFiles.create(tmp_path / "w", origin="o", policy="gdpr", actor=None, timezone="Europe/Berlin").root
    assert is_valid(written((root / "trust.toml").read_bytes()), schema("trust"))
    assert is_valid(written((root / "unlearnkit.toml").read_bytes()), schema("workspace"))
    assert [fits(json.loads(line)) for line in (root / "audit" / "log.jsonl").read_bytes().splitlines()] == [True] * 2


def fits(record: dict) -> bool:
    return is_valid(record, schema("log-entry")) and is_valid(record["body"], schema(f"entry-{record['type']}"))


def test_a_bundle_and_a_certificate_fit(tmp_path):
    path = small(tmp_path, swept=True).write(tmp_path / "bundle")
    assert is_valid(json.loads((path / "manifest.json").read_bytes()), schema("manifest"))
    assert isinstance(Manifest.from_bytes((path / "manifest.json").read_bytes()), Manifest)
    assert is_valid(to_json(certificate()), schema("certificate"))


def test_every_step_of_a_request_fits_and_a_line_is_what_its_declaration_says(tmp_path):
    log = new_log(tmp_path / "log", Clock())
    desk = desk_of(log)
    for number, steps in enumerate((["acknowledge", "verify", "extend", "assess", "fulfil"], ["refuse"], ["withdraw"])):
        (request,) = desk.receive([f"person {number}"], source="email")
        for step in steps:
            STEPS[step](desk, request.id)
    for entry in log.entries():
        record = json.loads(entry.line)
        assert fits(record)
        assert from_json(Entry, record, where="x", line=entry.line) == entry
        assert to_json(entry) == record


def test_numbers_of_toml_are_numbers_of_a_schema():
    assert is_valid({"x": Decimal("0.5")}, {"properties": {"x": {"type": "number", "exclusiveMinimum": 0}}})
