"""Starting the processes of a group on this machine, by torch's elastic launcher, and again when one was killed."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
from collections.abc import Callable, Sequence

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from unlearnkit.errors import UnlearnkitError
from unlearnkit.sketching.ranks import LOST, RESTARTS


def launch(arguments: Sequence[str], workers: int, say: Callable[[str], None]) -> int:
    """Run ``python -m unlearnkit`` with these arguments in so many processes, each with one thread if nobody said more.

    They talk to each other within the machine. When one is killed, all are started again, and go on from what is
    finished; an error is one the next time, too, and nothing is started again.

    Args:
        arguments: Of the command line.
        workers: How many processes.
        say: Is told what happens.

    Returns:
        The exit code: that of rank 0.

    Raises:
        UnlearnkitError: a process was killed again and again.

    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", _loopback())
    _quiet()
    for left in reversed(range(RESTARTS + 1)):
        try:
            elastic_launch(_config(workers), sys.executable)("-m", "unlearnkit", *arguments)
        except ChildFailedError as err:
            rank, failure = err.get_first_failure()
            if failure.exitcode not in (LOST, *range(-64, 0)):
                return failure.exitcode
            if left:
                say(f"process {rank} of {workers} was killed: starting again, from what is finished")
        except SignalException:
            return 1  # the processes were interrupted, too, and rank 0 says so
        else:
            return 0
    raise UnlearnkitError(
        f"one of {workers} processes was killed, {RESTARTS + 1} times; what is finished is kept",
        hint="is there enough memory for so many? The same command goes on",
    )


def _config(workers: int) -> LaunchConfig:
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=workers,
        run_id=secrets.token_hex(8),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="127.0.0.1",
        max_restarts=0,  # torch would start errors again, too
    )


def _loopback() -> str:
    return next(name for _, name in socket.if_nameindex() if name.startswith("lo"))


def _quiet() -> None:
    """What torch logs of a process that failed is said better elsewhere."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
