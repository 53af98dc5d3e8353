"""How a loss reads tables: which rows ``F.embedding(..., sparse=True)`` looks up, and whether anything else reads them.

A loss that only looks rows up is a function of those rows: it can be given them alone, with their numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from unlearnkit.errors import RecipeError

# What of a table is the same for all its rows.
_OF_ALL_ROWS = {Tensor.device.__get__, Tensor.dtype.__get__, Tensor.requires_grad.__get__}  # type: ignore[attr-defined]


class _Reading(TorchFunctionMode):
    """Takes calls that look up rows of some tensors, by identity, apart from all others that get one of them."""

    def __init__(self, tables: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._names = {id(table): name for name, table in tables.items()}

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # noqa: ANN401  the result of any function
        given = kwargs or {}
        if func is F.embedding and (found := self._looked_up(*args, **given)) is not None:
            return self.look_up(*found)
        if func not in _OF_ALL_ROWS:
            for leaf in pytree.tree_leaves((args, given)):
                if id(leaf) in self._names:
                    self.read_otherwise(self._names[id(leaf)])
        return func(*args, **given)

    def _looked_up(
        self,
        input: Tensor,  # noqa: A002  as torch's
        weight: Tensor,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        _norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,  # noqa: FBT001, FBT002  as torch's
        sparse: bool = False,  # noqa: FBT001, FBT002  as torch's
        **_: object,
    ) -> tuple[str, Tensor, Tensor, int | None] | None:
        """Name of the table, ids, the table, and which row never gets a gradient; None for other calls."""
        name = self._names.get(id(weight))
        if name is None or not sparse or max_norm is not None or scale_grad_by_freq:
            return None
        return name, input, weight, padding_idx

    def look_up(self, name: str, ids: Tensor, table: Tensor, padding: int | None) -> Tensor:
        """Do it."""
        raise NotImplementedError

    def read_otherwise(self, name: str) -> None:
        """A call takes the table as a whole."""
        raise NotImplementedError


class Watching(_Reading):
    """Writes down what is looked up of the model's tables. ids: by table. whole: those that something else reads."""

    def __init__(self, tables: Mapping[str, Tensor]) -> None:
        super().__init__(tables)
        self.ids: dict[str, list[Tensor]] = {name: [] for name in tables}
        self.whole: set[str] = set()

    def look_up(self, name: str, ids: Tensor, table: Tensor, padding: int | None) -> Tensor:
        """Do it, and write it down."""
        self.ids[name].append(ids.detach().reshape(-1).long())
        return F.embedding(ids, table, padding, sparse=True)

    def read_otherwise(self, name: str) -> None:
        """Write it down."""
        self.whole.add(name)


class Renumbered(_Reading):
    """Looks rows up in tables that hold some alone. rows: which, sorted, by table."""

    def __init__(self, tables: Mapping[str, Tensor], rows: Mapping[str, Tensor]) -> None:
        super().__init__({name: tables[name] for name in rows})
        self._rows = rows

    def look_up(self, name: str, ids: Tensor, table: Tensor, padding: int | None) -> Tensor:
        """A row that is not at hand is an index out of range."""
        rows, ids = self._rows[name], ids.long().contiguous()
        places = torch.searchsorted(rows, ids)
        is_there = rows[places.clamp(max=len(rows) - 1)] == ids
        found = F.embedding(torch.where(is_there, places, len(rows)), table)
        return found if padding is None else torch.where((ids == padding).unsqueeze(-1), found.detach(), found)

    def read_otherwise(self, name: str) -> None:
        """RecipeError: at the first step nothing did."""
        raise read_as_whole(name)


def read_as_whole(name: str) -> RecipeError:
    """The error for a table of which the first step looked up rows alone."""
    message = f"the loss reads table {name!r} as a whole at some step, and only looks up rows of it at the first"
    return RecipeError(message, hint="build the embedding with sparse=False")
