"""A sketch says what to expect before it starts, by the numbers that `plan` shows, and only where it shows progress."""

from __future__ import annotations

import io

import pytest

import unlearnkit as uk
from tests.training.small import probe, recipe, scalar_probe
from unlearnkit.bundle.work import sketch_work
from unlearnkit.sketching import expectation
from unlearnkit.sketching.expectation import Expectation, is_shown

SETTINGS = {
    "first order": {},
    "a rank": {"reverse": {"probe": uk.Reverse(rank=3, residual=2)}},
    "directions": {"forward": uk.Forward(directions=6)},
    "alone": {"solo": uk.Solo(degree=2), "informed": uk.Informed(2)},
}


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_work_that_is_expected_is_that_of_the_bundle(settings, tmp_path, capsys, monkeypatch):
    told = []
    real = expectation.expected
    monkeypatch.setattr(expectation, "expected", lambda *a: told.append(real(*a)) or told[-1])
    r = recipe(probes={"probe": probe, "scalar": scalar_probe})
    bundle = uk.sketch(r, tmp_path / "b", device="cpu", progress=True, **SETTINGS[settings])
    assert [found.trainings for found in told] == [pytest.approx(sketch_work(bundle.manifest))]
    assert told[0].memory > 0
    assert told[0].seconds > 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.lstrip().startswith(f"small: expect {told[0]}, of that order\n")


def test_it_says_nothing_where_no_progress_is_shown(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(expectation, "expected", lambda *_: pytest.fail("it was worked out"))
    for number, progress in enumerate((False, None)):  # None: the tests are no terminal
        uk.sketch(recipe(), tmp_path / str(number), device="cpu", progress=progress)
    assert "expect" not in "".join(capsys.readouterr())


def test_what_is_expected_does_not_change_the_bundle(tmp_path):
    made = [
        uk.sketch(recipe(dropout=0.2), tmp_path / str(shown), forward=uk.Forward(directions=2), seed=0, progress=shown)
        for shown in (False, True)
    ]
    numbers = [{p.name: p.read_bytes() for p in b.path.rglob("*.safetensors")} for b in made]
    assert numbers[0] == numbers[1] != {}


def test_a_terminal_is_where_standard_error_goes(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(expectation.sys, "stderr", Terminal())
    assert is_shown(progress=None)
    assert not is_shown(progress=False)


@pytest.mark.parametrize(("seconds", "words"), [(0.123, "0.12 s"), (90, "90 s"), (600, "10 min"), (9000, "2.5 h")])
def test_times_are_said_in_units_that_people_use(seconds, words):
    assert str(Expectation(trainings=11, seconds=seconds, memory=3_000_000)).startswith(f"about {words} (11 plain")
