"""The demo at a smaller scale: what it tells holds, for people and as JSON, and its files stay."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from unlearnkit.cli.demo import render, tell
from unlearnkit.cli.demo_story import Scale
from unlearnkit.cli.output import Output

from unlearnkit.bundle import PseudonymKey
from unlearnkit.compliance.log import clock
from unlearnkit.signing.keys import Algorithm, PrivateKey

SMALL = Scale(epochs=2, rank=8, residual=8, processes=1)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Which people are drawn for the audit follows from the pseudonyms, and from the log, its key and its times."""
    keys = {
        Algorithm.ED25519: PrivateKey(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))),
        Algorithm.P256: PrivateKey(ec.derive_private_key(1, ec.SECP256R1())),
    }
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(PseudonymKey, "generate", lambda: PseudonymKey(bytes(32)))
        patched.setattr(PrivateKey, "generate", keys.get)
        patched.setattr(clock, "utc_now", lambda: datetime(2027, 3, 5, 9, tzinfo=UTC))
        return tell(tmp_path_factory.mktemp("told") / "demo", Output(verbosity=-1), SMALL)


@pytest.fixture
def record(told, capsys) -> dict:
    Output(json=True).emit(told, render)
    return json.loads(capsys.readouterr().out)


def test_what_is_certified_of_each_request_is_really_so(record):
    assert record["units"] == 200
    claims = [claim for row in record["requests"] for claim in row["claims"]]
    assert [claim["probe"] for claim in claims] == ["test_loss", "own_loss"] * len(record["requests"])
    assert all(claim["inside"] for claim in claims)
    assert [name for name, _ in record["requests"][0]["checks"]][-2:] == ["numbers", "decision"]
    assert {claim["kind"] for claim in claims} <= {"audited", "retrained"}


def test_each_order_is_nearer_to_what_retraining_gives(record):
    for row in record["deletions"]:
        assert row["margins"]["second"] < row["margins"]["first"] < row["margins"]["real"]
        loss = row["test_loss"]
        assert abs(loss["second"] - loss["real"]) < abs(loss["first"] - loss["real"]) < abs(loss["real"])
        assert row["rank_correlation"] > 0.9


def test_people_are_told_the_same(told):
    text = "\n".join(render(told))
    for row in told.requests:
        assert f"{row.request:<8} {row.images:>6}   {row.decision}" in text
        assert all(f"{claim.change:+.6f} +- {claim.epsilon:.6f}" in text for claim in row.claims)
    assert f"Everything is in {told.kept}" in text


def test_everything_is_kept(told):
    names = {path.name for path in told.kept.iterdir()}
    assert {"bundle", "audit", "evidence", "report.html"} <= names
    assert any("certificate" in path.name for path in told.kept.rglob("*.json"))
