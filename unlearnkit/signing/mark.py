"""Marks that only this user can make: an HMAC under a secret that is kept with the user's state, and nowhere else.

What lies around under the right name may have been delivered with something else; what bears a mark was made here.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from functools import cache

from unlearnkit.files import PRIVATE_MODE, make_private_folder, read_private, state_folder, write_new

_logger = logging.getLogger(__name__)

_BYTES = 32


def mark(what: str) -> str:
    """64 hexadecimal digits that nobody else can tell for ``what``."""
    return hmac.new(_secret(), what.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def is_mark(found: str, what: str) -> bool:
    """Whether ``found`` is the mark of ``what``."""
    return hmac.compare_digest(found.encode("utf-8", "replace"), mark(what).encode())


@cache
def _secret() -> bytes:
    """The user's secret, made when it is first needed; where no state can be kept, one for this process alone."""
    file = state_folder() / "secret"
    try:
        if not file.exists():
            make_private_folder(file.parent)
            write_new(file, secrets.token_bytes(_BYTES), mode=PRIVATE_MODE)
    except FileExistsError:  # another process was faster
        pass
    except OSError as err:
        _logger.warning("no state can be kept in %s (%s): nothing can be resumed later", file.parent, err.strerror)
        return secrets.token_bytes(_BYTES)
    return read_private(file)
