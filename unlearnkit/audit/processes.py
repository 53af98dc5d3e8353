"""Retrainings by several processes of this machine, which share its disk."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from typing import Any, Protocol, TypeAlias

import torch
from tqdm import tqdm

from unlearnkit.errors import UnlearnkitError, VerificationError
from unlearnkit.sketching.ranks import RESTARTS
from unlearnkit.training.recipe import Recipe

RecipeSource: TypeAlias = Recipe | Callable[[], Recipe]


class Work(Protocol):
    """What is done, in another process too."""

    @property
    def recipe(self) -> str:
        """Digest of the recipe that it is done with."""

    def is_finished(self, deletion: Sequence[int], /) -> bool:
        """Whether it is on disk."""

    def do(self, recipe: Recipe, deletion: Sequence[int], /) -> None:
        """Do one retraining, and keep it on disk."""


def share(work: Work, recipe: RecipeSource, todo: Sequence[tuple[int, ...]], workers: int, bar: tqdm[Any]) -> None:
    """Let processes do the retrainings, every one its share: they all cost the same. Raises what one of them raises.

    One that is killed is started again.
    """
    context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads and locks, not running
    errors: SimpleQueue[UnlearnkitError] = context.SimpleQueue()

    def started(number: int) -> BaseProcess:
        process = context.Process(target=worker, args=(work, recipe, todo[number::workers], errors), daemon=True)
        process.start()
        return process

    processes, restarts = [], RESTARTS
    try:
        processes += [started(number) for number in range(workers)]
        while errors.empty():
            for number in [n for n, process in enumerate(processes) if _was_killed(process)][:restarts]:
                processes[number] = started(number)
                restarts -= 1
            if not (running := [process.sentinel for process in processes if process.is_alive()]):
                break
            wait(running, timeout=1.0)
            bar.update(bar.total - sum(not work.is_finished(deletion) for deletion in todo) - bar.n)
        if not errors.empty():
            raise errors.get()
    finally:
        _stop(processes)
    if failed := [process for process in processes if process.exitcode]:
        raise UnlearnkitError(
            f"{len(failed)} of {workers} processes ended with exit code {failed[0].exitcode}; finished work is kept",
            hint="what they printed says why; the same call goes on",
        )


def _was_killed(process: BaseProcess) -> bool:
    return process.exitcode is not None and process.exitcode < 0


def _stop(processes: Sequence[BaseProcess]) -> None:
    """End those that still run; what they have finished is on disk."""
    running = [process for process in processes if process.is_alive()]
    for process in running:
        process.terminate()
    for process in running:
        process.join()


def worker(
    work: Work, recipe: RecipeSource, deletions: Sequence[tuple[int, ...]], errors: SimpleQueue[UnlearnkitError]
) -> None:
    """What a process does. When the one that started it is killed, it stops after the retraining that it is at."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    try:
        loaded = recipe if isinstance(recipe, Recipe) else recipe()
        if loaded.digest != work.recipe:
            raise VerificationError("the function that makes the recipe made another one this time")
        for deletion in deletions:
            if parent is not None and not parent.is_alive():
                return
            if not work.is_finished(deletion):
                work.do(loaded, deletion)
    except UnlearnkitError as err:
        errors.put(err)
        sys.exit(1)
