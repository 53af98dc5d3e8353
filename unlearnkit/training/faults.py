"""Errors that a user's own code raises when it runs: said as such, with the line that they come from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from unlearnkit.errors import RecipeError, UnlearnkitError
from unlearnkit.taylor.causes import at_users_line, first_line


@contextmanager
def raised_by(what: str, hint: str) -> Iterator[None]:
    """RecipeError for whatever comes up within it, from ``what``, by which messages call the user's code.

    Inside a trace errors pass: there the same code may fail for reasons of the trace's.
    """
    try:
        yield
    except UnlearnkitError:
        raise
    except Exception as error:
        if torch._C._functorch.peek_interpreter_stack() is not None:  # noqa: SLF001
            raise
        raise RecipeError(f"{what} raised {first_line(error)}{at_users_line(error)}", hint=hint) from error
