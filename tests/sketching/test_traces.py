"""What was traced once in a process is not traced again for the same recipe."""

from __future__ import annotations

import pytest
import torch

import unlearnkit as uk
from tests.training.small import X, recipe, scalar_probe
from unlearnkit.audit.replay import replay, verify_replay
from unlearnkit.sketching import reverse
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


@pytest.mark.parametrize("count", [1, 3])
def test_first_orders_of_any_number_of_probes_record_the_reverse_step_once(count, tmp_path, monkeypatch):
    traces: list[object] = []
    trace = function_module.trace
    monkeypatch.setattr(function_module, "trace", lambda f, *a, **k: traces.append(f) or trace(f, *a, **k))
    probes = {f"logit-{i}": lambda m, i=i: m(X[i : i + 1])[0, 0] for i in range(count - 1)} | {"scalar": scalar_probe}
    r = recipe("sgd", probes=probes, epochs=1)
    together = uk.sketch(r, tmp_path / "bundle", dtype="float64", device="cpu")
    assert sum(function is reverse._pull for function in traces) == 1
    alone = uk.sketch(recipe("sgd", epochs=1), tmp_path / "alone", dtype="float64", device="cpu")
    found, expected = (torch.as_tensor(bundle.probe("scalar").influences()) for bundle in (together, alone))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)
