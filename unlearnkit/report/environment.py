"""How pages are made of templates: everything is escaped, and what is not given is an error."""

from __future__ import annotations

from functools import cache
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined

from unlearnkit.names import shown


@cache
def environment() -> Environment:
    """For the templates of this package."""
    folder = resources.files("unlearnkit.report") / "templates"
    return Environment(
        loader=FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
        autoescape=True,
        finalize=lambda value: shown(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
