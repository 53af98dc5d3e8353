"""How much memory a block of directions or a reverse sweep may take."""

from __future__ import annotations

import os
from pathlib import Path

import torch

# Share of the free memory that a block of directions may take when nobody says how much.
MEMORY_SHARE = 0.25


def memory_for(device: str, budget: int | None) -> int:
    """Bytes: the budget, or a share of what is free on the device, beside other processes of the group there."""
    return budget if budget is not None else int(MEMORY_SHARE * _free(device)) // _processes(device)


def _processes(device: str) -> int:
    """How many of the group are on this machine, and at one GPU where it has some."""
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, -(-beside // torch.cuda.device_count())) if device == "cuda" else beside


def _free(device: str) -> int:
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except OSError:  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
