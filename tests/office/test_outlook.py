"""How many more people weights can be corrected for, and whether that pays: as the office itself would decide."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from unlearnkit.cli.main import main

import unlearnkit as uk
from tests.docs.namespace import small_recipe
from tests.office.corrections import asked, policy, prepare
from unlearnkit.compliance.releases.outlook import weights_reach
from unlearnkit.errors import AssumptionError


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    prepare(folder, small_recipe())
    return folder


@pytest.fixture
def office(prepared, tmp_path, monkeypatch) -> uk.Workspace:
    subprocess.run(["cp", "-a", f"{prepared}/.", str(tmp_path)], check=True)
    monkeypatch.chdir(tmp_path / "office")
    return uk.Workspace.find()


def outlook(name: str) -> dict:
    found = CliRunner().invoke(main, ["--json", "release", "outlook", name])
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


def test_as_many_more_as_certificates_would_let_be_served(office):
    names = sorted(office.bundle_of("small@1").units)
    made = office.outlook("small@1").corrections
    assert (made.without, made.more, made.total) == (0, 3, 3)
    assert all("sets of 1, 2 to 3 are audited" in reason for reason in made.ends)
    requests = asked(office, *(unit for unit in small_recipe().unit_names[:4]))
    for count, outcome in ((3, "correct"), (4, "insufficient")):
        certified = office.correct(requests[:count], out=f"{count}.safetensors", force=True)
        assert certified.certificate.decision.outcome == outcome
        assert len(certified.certificate.without) == count <= len(names)


def test_whom_a_release_leaves_out_counts_and_it_has_no_standing_set(office):
    requests = asked(office, "ann")
    certified = office.correct(requests, out="new.safetensors")
    office.register_correction(certified.path, name="small", version="1.1")
    office.fulfil(requests[0], method="corrected", evidence=[certified.path])
    found = office.outlook("small@1.1")
    assert (found.people, found.probes) == (0, ())
    assert (found.corrections.without, found.corrections.more) == (1, 2)


def test_where_a_tolerance_ends_it_that_is_said(office):
    (office.root.parent / "policy.toml").write_bytes(
        policy("\n[correction.tolerances]\ntest_loss = 1e-9\nown_loss = 1\n")
    )
    made = office.outlook("small@1").corrections
    assert made.more == 0
    assert "and the tolerance is 1E-9" in made.ends[0]


def test_nothing_is_corrected_before_it_is_audited(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("policy.toml").write_bytes(policy())
    office = uk.Workspace.create(tmp_path / "office", origin="example.com/log", policy="../policy.toml")
    solo, signer = uk.Solo(2, units=["ann", "bob"], keep_weights=True), office.signer_key()
    first = dict.fromkeys(("test_loss", "own_loss"), uk.Reverse(rank=0, residual=0))
    settings = {"signer": signer, "seed": 0, "progress": False}
    bundle = uk.sketch(small_recipe(), office.root / "b", solo=solo, reverse=first, **settings)
    office.register(bundle, name="small", version="1")
    made = office.outlook("small@1").corrections
    assert made.more == 0
    assert "no audit says how near corrected models are" in made.ends[0]
    assert made.series.unknown == 3


def test_the_series_reach_as_far_as_corrections_are_made(office):
    """All orders of five people, against refusals."""
    bundle = office.bundle_of("small@1")

    def reached(order) -> float:
        for count in range(1, len(order) + 1):
            try:
                bundle.correction([bundle.units[i] for i in order[:count]])
            except AssumptionError:
                return count - 1
        return np.inf

    every = [reached(order) for order in itertools.permutations(range(len(bundle.units)))]
    found = weights_reach(bundle, [])
    assert found.unknown == 0
    for got, share in ((found.converges.median, 0.5), (found.converges.few, 0.05)):
        expected = np.quantile(every, share, method="lower")
        assert got == (None if np.isinf(expected) else expected)


def test_it_says_where_training_again_is_cheaper(office):
    """Fourteen retrainings, and five people to the third degree: fifteen occasions, and three people at most."""
    found = outlook("small@1")["economics"]
    assert (found["audit"], found["occasions"], found["pays"]) == (14, 15, False)
    assert found["sketch"] == pytest.approx(0.9)
    assert found["years"] == pytest.approx(15 * 30.4 / 365.25, abs=0.1)
    text = CliRunner().invoke(main, ["release", "outlook", "small@1"]).stdout
    assert "retraining is cheaper in computing: corrections reach 3;" in text
    assert "may leave out 3 more people" in text
