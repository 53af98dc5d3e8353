"""Errors that a user's own code raises when it runs: said as such, with the line that they come from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from unlearnkit.errors import RecipeError, UnlearnkitError
from unlearnkit.taylor.causes import at_users_line, first_line

# What `nn.Module.get_parameter` says of a tensor that stands in for a parameter.
_NO_PARAMETER = "is not an nn.Parameter"
_STANDS_IN = (
    "other tensors stand in for the parameters while they are differentiated: read them as attributes, such as "
    "model.weight, or from model.named_parameters(), not with model.get_parameter()"
)


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
        cure = _STANDS_IN if _NO_PARAMETER in str(error) else hint
        raise RecipeError(f"{what} raised {first_line(error)}{at_users_line(error)}", hint=cure) from error
