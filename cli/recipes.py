"""A recipe named on the command line: ``FILE.py:NAME``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from unlearnkit.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class RecipeSource:
    """Where a recipe is defined. ``name`` is a Recipe, or a function without parameters that returns one."""

    path: Path
    name: str

    def load(self) -> Recipe:
        """Run the file and return its recipe; whatever the file itself raises passes through."""
        from unlearnkit.training.recipe import Recipe

        module = self._module()
        if not hasattr(module, self.name):
            found = sorted(name for name, value in vars(module).items() if isinstance(value, Recipe))
            raise click.UsageError(f"{self.path} defines no {self.name!r}; its recipes: {', '.join(found) or 'none'}")
        value = getattr(module, self.name)
        recipe = value() if callable(value) else value
        if not isinstance(recipe, Recipe):
            kind = type(recipe).__name__
            raise click.UsageError(f"{self.path}:{self.name} is no recipe: got {kind}, expected unlearnkit.Recipe")
        return recipe

    def _module(self) -> ModuleType:
        """The file as a module of its own name, with its folder importable, as ``python FILE.py`` would have it."""
        spec = spec_from_file_location(f"recipe_{self.path.stem}", self.path)
        if spec is None or spec.loader is None:
            raise click.UsageError(f"{self.path} cannot be imported")
        module = module_from_spec(spec)
        sys.path.insert(0, str(self.path.parent.resolve()))
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module


class RecipeType(click.ParamType[RecipeSource]):
    """Parses ``FILE.py:NAME``; the file is read only by ``RecipeSource.load``."""

    name = "FILE.py:NAME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> RecipeSource:
        """Split the argument, and see that the file is there."""
        if isinstance(value, RecipeSource):
            return value
        file, colon, name = str(value).rpartition(":")
        if not colon or not name.isidentifier() or not file.endswith(".py"):
            self.fail(f"got {value!r}, expected FILE.py:NAME, for example examples/digits.py:recipe", param, ctx)
        if not Path(file).is_file():
            self.fail(f"no such file: {file}", param, ctx)
        return RecipeSource(Path(file), name)
