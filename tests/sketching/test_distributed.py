"""Many processes make what one makes, byte for byte, also when one of them is killed; errors come out of rank 0."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import unlearnkit as uk
from tests.sketching import spread
from tests.training.pieces import contents
from unlearnkit.audit.retraining import audit_retraining
from unlearnkit.bundle import Bundle
from unlearnkit.signing.dsse import parse_envelope
from unlearnkit.signing.keys import Algorithm, PrivateKey, write_private_key, write_public_key
from unlearnkit.sketching import ranks, sizing
from unlearnkit.verifier.evidence import parse_audit
from unlearnkit.verifier.plan import UnitDeletions

ROOT = Path(__file__).resolve().parents[2]
KILLED = "reverse/probe-range-0-3-1-2.safetensors"


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program of this Python, with one thread in each of its processes."""
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,  # instead of waiting for a process that is not told anything
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


@pytest.fixture(scope="module")
def key() -> PrivateKey:
    return PrivateKey.generate(Algorithm.P256)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, key) -> Path:
    folder = tmp_path_factory.mktemp("spread")
    write_private_key(folder / "key.pem", key)
    write_public_key(folder / "key.pub.pem", key.public)
    return folder


@pytest.fixture(scope="module")
def whole(folder, key) -> Bundle:
    """The bundle that one process makes: all kinds of pieces, several of each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        for name, lanes in spread.LANES.items():
            patch.setattr(sizing, name, lanes)
        bundle = uk.sketch(
            spread.recipe(),
            folder / "whole",
            forward=uk.Forward(directions=5, degree=1, chunk=2, keep_weights=True),
            reverse={"probe": uk.Reverse(rank=2, residual=1)},
            informed=uk.Informed(4, degree=2, leading=2, power_iterations=1),
            solo=uk.Solo(1),
            seed=1,
            device="cpu",
            signer=key,
        )
    torch.set_num_threads(threads)
    return bundle


def test_two_processes_of_which_one_is_killed_make_the_bundle_of_one_byte_for_byte(whole, folder, key):
    """What was finished before is not made again."""
    options = ("--directions", 5, "--degree", 1, "--chunk", 2, "--keep-weights", "--reverse", "probe:2:1")
    others = ("--informed", "4:2:2", "--solo", 1, "--seed", 1, "--device", "cpu", "--workers", 2)
    made = ("sketch", "tests/sketching/spread.py:spread", "-o", folder / "many", "--key", folder / "key.pem")
    notes = folder / "notes"
    result = run("unlearnkit", *made, *options, *others, NOTES=str(notes), KILLED=KILLED)
    assert result.returncode == 0, result.stderr
    assert "process 1 of 2 was killed: starting again, from what is finished" in result.stderr
    found, expected = contents(folder / "many"), contents(whole.path)
    assert found.pop("model.sig") != expected.pop("model.sig")  # ECDSA has random numbers in it
    assert found == expected
    assert Bundle.open(folder / "many", trust=[key.public]).digest == whole.digest
    names = notes.read_text().split()
    assert KILLED in names
    assert len(set(names)) == len(names)
    kinds = {name.partition("/")[0] for name in names}
    assert kinds == {"blocks", "sketch", "reverse", "solo", "informed"}


def test_retrainings_are_spread_by_torchrun_and_give_the_same_rows(whole, folder, key):
    opened = Bundle.open(whole.path, trust=[key.public])
    settings = {"deletions": UnitDeletions(least=1, most=2), "count": 4, "delta": 0.5, "signer": key}
    alone = audit_retraining(spread.recipe(), opened, out=folder / "alone.json", **settings)
    launcher = ("torch.distributed.run", "--standalone", "--nproc-per-node", 2, "-m", "unlearnkit", "audit", "retrain")
    which = (whole.path, "tests/sketching/spread.py:spread", "--size", "1:2", "--count", 4, "--delta", 0.5)
    keys = ("--key", folder / "key.pem", "--trust", folder / "key.pub.pem")
    notes = folder / "retrained"
    result = run(*launcher, *which, *keys, "-o", folder / "many.json", NOTES=str(notes))
    assert result.returncode == 0, result.stderr
    assert payload((folder / "many.json").read_bytes()) == payload(alone)
    different = len(set(parse_audit(payload(alone), where="x").deletions))
    assert len(notes.read_text().split()) == different // 2


def payload(raw: bytes) -> bytes:
    """What is signed; ECDSA signatures themselves differ from call to call."""
    return parse_envelope(raw, where="x").unverified_payload


@pytest.fixture(scope="module")
def groups() -> dict[str, list]:
    """What came out in two processes that did something together."""
    result = run("tests.sketching.groups")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_pieces_are_shared_in_rounds_and_only_rank_0_keeps_them(groups):
    leading, other = groups["spread"]
    assert (leading["done"], leading["arrived"]) == ([0, 3], [2, 4])
    assert leading["files"] == {"1": "before"} | {str(n): f"piece {n}" for n in (0, 2, 3, 4)}
    assert other == {"done": [2, 4], "arrived": [], "files": {}}


def test_elements_of_a_first_order_are_shared_where_products_dominate_and_the_bundle_is_that_of_one_process(groups):
    """In rounds of the largest sweeps that are left: process 1 has the second of each."""
    (many, alone), made = groups["first order"]
    assert many == alone
    assert "reverse/margins.safetensors" in many
    assert made == [f"reverse/margins-gradient-{e}-0-0.safetensors" for e in ("8-16", "24-32")]


def test_what_rank_0_tells_arrives_as_it_is_and_files_in_their_order(groups):
    assert groups["told"] == ["said", "bytes"]
    names = [["weights0", ""], ["probes0", ""], ["weights1", "weights" * 3], ["probes1", "probes" * 3]]
    assert groups["gathered"] == [names, []]


@pytest.mark.parametrize(
    ("scenario", "error"),
    [
        ("fails in 1", ["EstimationError", "process 1 of 2: it overflowed", "use float64"]),
        ("refused in 1", ["RefusedError", "process 1 of 2: no", None]),
        ("fails in both", ["ValueError", "mine", None]),
        ("cannot be kept", ["OSError", "[Errno 28] No space left on device", None]),
        ("fails early", ["KeyError", "'early'", None]),
    ],
)
def test_an_error_in_any_process_is_one_error_in_rank_0_and_the_others_are_dismissed(groups, scenario, error):
    assert groups[scenario] == [error, ["DismissedError", "", None]]


def test_a_defect_in_another_process_says_where(groups):
    (kind, message, _), other = groups["a defect in 1"]
    assert kind == "UnlearnkitError"
    assert message.startswith("process 1 of 2: ZeroDivisionError: division by zero (")
    assert "tests/sketching/groups.py, line" in message
    assert other[0] == "DismissedError"


@pytest.mark.parametrize(("number", "gpu"), [(0, 0), (1, 1), (2, 0)])
def test_each_process_takes_the_gpu_of_its_number_and_pieces_travel_by_gloo(number, gpu, monkeypatch):
    class Stop(Exception):
        pass

    def started(backend: str, **_: object) -> None:
        raise Stop(backend)

    taken = []
    monkeypatch.setattr(ranks, "is_launched", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(ranks.dist, "init_process_group", started)
    monkeypatch.setenv("LOCAL_RANK", str(number))
    with pytest.raises(Stop, match="gloo"), ranks.joined():
        pass
    assert taken == [gpu]


def test_who_waits_for_a_process_that_is_killed_is_told(groups):
    (left, gone), (gone_too, waiting) = groups["1 is killed"], groups["0 is killed"]
    assert gone is gone_too is None
    assert left[0] == waiting[0] == "PeerLostError"
