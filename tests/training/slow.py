"""torch's own nested forward derivatives, shared with the tests of the Taylor engine."""

from tests.taylor.slow_path import derivatives

__all__ = ["derivatives"]
