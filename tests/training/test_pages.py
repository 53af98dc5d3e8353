"""Freed memory stays with the process, where the C library can be asked for it."""

from __future__ import annotations

import subprocess
import sys

from unlearnkit.training.pages import keep_freed_memory

_FAULTS = """
import resource, torch
from unlearnkit.training.pages import keep_freed_memory
keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.zeros(1 << 20) for _ in range(8)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults(), [faults() for _ in range(3)][-1])
"""


def test_blocks_that_were_freed_are_used_again():
    done = subprocess.run([sys.executable, "-c", _FAULTS], capture_output=True, text=True, check=True)
    first, later = map(int, done.stdout.split())
    assert first > 100
    assert later < first / 10 or sys.platform != "linux"


def test_asking_again_changes_nothing():
    keep_freed_memory()
    assert keep_freed_memory.cache_info().currsize == 1
