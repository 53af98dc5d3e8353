"""Processes are started again when one was killed, and not when one had an error."""

from __future__ import annotations

import signal
import sys

import pytest
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.testing._internal.distributed.fake_pg import FakeStore

from unlearnkit.errors import UnlearnkitError
from unlearnkit.sketching import launch
from unlearnkit.sketching.memory import memory_for
from unlearnkit.sketching.ranks import LOST, RESTARTS, Ranks


@pytest.fixture
def started(monkeypatch):
    """Lets the processes that are started end as they are listed: exit codes by process, or an exception."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")

    def ending(*ends: dict[int, int] | Exception) -> list[tuple[str, ...]]:
        calls: list[tuple[str, ...]] = []

        def elastic_launch(config, program):
            assert (program, config.nproc_per_node, config.max_restarts) == (sys.executable, 2, 0)

            def call(*arguments: str) -> None:
                end = ends[min(len(calls), len(ends) - 1)]
                calls.append(arguments)
                if isinstance(end, Exception):
                    raise end
                if end:
                    failures = {rank: ProcessFailure(rank, 1, code, "<NONE>") for rank, code in end.items()}
                    raise ChildFailedError("unlearnkit", failures)

            return call

        monkeypatch.setattr(launch, "elastic_launch", elastic_launch)
        return calls

    return ending


def test_the_command_is_run_once_when_all_goes_well(started):
    calls = started({})
    assert launch.launch(["-q", "sketch", "r.py:r"], 2, pytest.fail) == 0
    assert calls == [("-m", "unlearnkit", "-q", "sketch", "r.py:r")]


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5])
def test_an_error_is_its_exit_code_and_nothing_is_started_again(started, code):
    calls = started({0: code})
    assert launch.launch(["sketch"], 2, pytest.fail) == code
    assert len(calls) == 1


@pytest.mark.parametrize("end", [{1: -signal.SIGKILL}, {0: -signal.SIGSEGV}, {0: LOST}])
def test_after_a_kill_all_are_started_again(started, end):
    calls, said = started(end, end, {}), []
    assert launch.launch(["sketch"], 2, said.append) == 0
    assert len(calls) == 3
    assert said == [f"process {min(end)} of 2 was killed: starting again, from what is finished"] * 2


def test_an_error_after_a_kill_is_the_exit_code(started):
    calls = started({1: -signal.SIGKILL}, {0: 5})
    assert launch.launch(["sketch"], 2, lambda _: None) == 5
    assert len(calls) == 2


def test_kills_without_end_are_an_error(started):
    calls, said = started({1: -signal.SIGKILL}), []
    with pytest.raises(UnlearnkitError, match="one of 2 processes was killed, 4 times; what is finished is kept"):
        launch.launch(["sketch"], 2, said.append)
    assert (len(calls), len(said)) == (RESTARTS + 1, RESTARTS)


def test_after_an_interruption_nothing_is_started_again(started):
    calls = started(SignalException("stop", signal.SIGINT))
    assert launch.launch(["sketch"], 2, pytest.fail) == 1
    assert len(calls) == 1


def test_a_group_that_trains_together_is_not_asked_to_help():
    """Rank 0 of such a group may sketch while the others wait for something else."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        assert Ranks.here() == Ranks(0, 1)
    finally:
        dist.destroy_process_group()


def test_processes_of_one_machine_share_its_memory(monkeypatch):
    monkeypatch.setattr("unlearnkit.sketching.memory._free", lambda _: 8000)
    assert memory_for("cpu", None) == 2000
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert memory_for("cpu", None) == 500
    assert memory_for("cpu", 700) == 700
