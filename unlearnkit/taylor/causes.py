"""Why code cannot be traced: what torch says of it, in the words of whoever wrote the code, with place and cure."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass
from pathlib import Path

import torch

from unlearnkit.errors import TraceError

_TORCH = Path(torch.__file__).parent
_OURS = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class _Cause:
    """what: ``{name}`` stands for that of an ``autograd.Function``. said: what torch's message matches."""

    what: str
    cure: str
    said: str


_CAUSES = (
    _Cause(
        "the custom autograd.Function{name} cannot be traced: torch does not differentiate its backward further",
        "write it in ordinary torch operations",
        said="setup_context|custom_function_call",
    ),
    _Cause(
        "compiled code cannot be traced",
        "pass what was given to torch.compile, not what came out",
        said="dynamo",
    ),
    _Cause(
        "a scripted function cannot be traced",
        "pass what was given to torch.jit, not what came out",
        said="ScriptModule|ScriptFunction|torch.jit",
    ),
    _Cause(
        "the function calls backward() itself",
        "return the losses: a sketch takes the gradients",
        said=r"backward\(\) called inside",
    ),
    _Cause(
        "the function changes what torch saves for the backward pass (saved_tensors_hooks)",
        "leave that out: gradients are the same",
        said="saved tensor hooks",
    ),
    _Cause(
        "the function leaves torch, as .numpy() does, and what it does there cannot be followed",
        "use torch operations, or work it out beforehand",
        said="data pointer of Tensor|numpy",
    ),
    _Cause(
        "nested tensors cannot be traced",
        "pad to one shape, and leave the padded places out of the loss by a mask",
        said="[Nn]estedTensor|nested tensor",
    ),
)


def trace_error(error: Exception) -> TraceError:
    """What to raise for an error that came up while a function was traced."""
    for cause in _CAUSES:
        if re.search(cause.said, str(error)):
            what = cause.what.format(name=_name_of_function(error))
            return TraceError(f"{what}{at_users_line(error)}", hint=cause.cure)
    message = f"the function could not be traced: {first_line(error)}{at_users_line(error)}"
    return TraceError(message, hint="it works on its own; write this place in other, ordinary torch operations")


def _name_of_function(error: Exception) -> str:
    """The class whose ``apply`` the error came through, after a space."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        called = frame.f_locals.get("cls")
        if frame.f_code.co_name == "apply" and isinstance(called, type):
            return f" {called.__qualname__}"
    return ""


def first_line(error: Exception) -> str:
    """Kind and first line of an error; torch's go on with its own stack and with advice about environments."""
    return ": ".join(filter(None, [type(error).__name__, *str(error).strip().splitlines()[:1]]))


def at_users_line(error: Exception) -> str:
    """`` (FILE:LINE: code)`` of the innermost line that is neither torch's nor the library's; "" when there is none."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_file() and not path.is_relative_to(_TORCH) and not _is_ours(path):
            return f" ({frame.filename}:{frame.lineno}: {frame.line})"
    return ""


def _is_ours(path: Path) -> bool:
    """Whether a file is the library's, its examples left aside, which are like a user's own code."""
    return path.is_relative_to(_OURS) and not path.is_relative_to(_OURS / "examples")
