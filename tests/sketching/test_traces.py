"""What was traced once in a process is not traced again for the same recipe."""

from __future__ import annotations

import unlearnkit as uk
from tests.training.small import recipe
from unlearnkit.audit.replay import replay, verify_replay
from unlearnkit.taylor import function as function_module


def test_checks_sketches_sweeps_and_replays_share_their_traces(tmp_path, monkeypatch):
    traces: list[object] = []
    trace = function_module.trace
    monkeypatch.setattr(function_module, "trace", lambda f, *a, **k: traces.append(f) or trace(f, *a, **k))
    r = recipe(dropout=0.3)

    def made(name: str, degree: int) -> uk.Bundle:
        forward, reverse = uk.Forward(directions=3, degree=degree), {"scalar": uk.Reverse(rank=2, residual=2)}
        return uk.sketch(r, tmp_path / name, forward=forward, reverse=reverse, dtype="float64", device="cpu")

    assert uk.check(r) == ()
    bundle = made("first", 2)
    before = len(traces)
    assert before > 0
    assert uk.check(r) == ()
    made("second", 3)
    verify_replay(replay(bundle, r, [0], device="cpu"))
    assert len(traces) == before
