"""Whatever is fed to verification ends in a verdict: no other exception, and nothing accepted that is not so."""

from __future__ import annotations

import json
import random

import pytest

from tests.attacks.fuzzing import Office, fuzz
from unlearnkit.errors import FormatError, UnknownNameError, VerificationError

INPUTS = 150  # each some milliseconds; `python -m benchmarks.fuzz` tries more


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    return Office(tmp_path_factory.mktemp("office"))


@pytest.mark.parametrize("seed", [1, 2])
def test_no_input_raises_anything_else_or_is_accepted_though_it_is_different(office, seed):
    outcome = fuzz(office, seed=seed, count=INPUTS)
    assert outcome.defects == []
    assert outcome.counts["exit code 3"] > INPUTS / 3
    assert outcome.counts["exit code 4"] > INPUTS / 20


def test_what_was_not_changed_is_accepted(office):
    """A positive control: the judges do accept."""
    for name, raw in office.files.items():
        assert office._judge(name, raw), name
    assert office._resigned(json.loads(office.files["bundle/manifest.json"]))


def test_a_false_certificate_is_malformed_or_false_never_refused_or_an_error(office):
    """Also when it is signed and logged; what names another log asks for a key that nobody gave, and does not pass."""
    draw = random.Random(3)
    for _ in range(40):
        told, judge = office._certificate(draw)
        assert verdict(judge), told


def verdict(judge) -> bool:
    try:
        return bool(judge())
    except (FormatError, VerificationError):
        return True
    except UnknownNameError as err:
        return "no trusted key for the log" in str(err)
