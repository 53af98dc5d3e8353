"""A recipe in a file, for commands that load one."""

from tests.training.small import recipe

__all__ = ["recipe"]
