"""``python -m unlearnkit``, the command line: what ``torchrun -m unlearnkit`` starts in each process."""

from __future__ import annotations

from unlearnkit.cli.main import main

if __name__ == "__main__":
    main(prog_name="unlearnkit")
