"""What a test needs that the test extra cannot install: marks, which skip before any fixture is made."""

from __future__ import annotations

import re
import shutil
import sys

import pytest

PROGRAMS = ("base64", "chromium", "jq", "node", "openssl", "pdfinfo", "pdftotext", "sha256sum", "strace")
_OTHERS = r"strace may not trace here|\S+ needs Python 3\.\d+|no GPU on this machine"
_ALLOWED = re.compile(rf"no ({'|'.join(PROGRAMS)}) on this machine|{_OTHERS}")


def program(*names: str) -> pytest.MarkDecorator:
    """The first missing one is named in the reason."""
    assert set(names) <= set(PROGRAMS)
    missing = next((name for name in names if shutil.which(name) is None), None)
    return pytest.mark.skipif(missing is not None, reason=f"no {missing} on this machine")


def is_allowed(reason: str) -> bool:
    """Whether a skip for this reason says that a program is missing or Python too old."""
    return _ALLOWED.fullmatch(reason) is not None


aics_tlog = pytest.mark.skipif(sys.version_info < (3, 12), reason="aics-tlog needs Python 3.12")
