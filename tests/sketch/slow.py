"""torch's own nested forward derivatives, shared with the tests of the Taylor engine."""

from taylor.slow_path import derivatives

__all__ = ["derivatives"]
