"""Tables of which a step touches some rows alone, and the state of a run in those rows.

``nn.Embedding(sparse=True)`` under an optimizer that lets all other rows rest: a step is then a function of the rows
that it looks up, and everything about it (gradients, updates, states that are kept, cotangents, tails) needs no others.
A *narrow* state holds all other parameters and, of each table, those rows; what a step makes of it is put back into the
whole one. Steps that look up as many have as many rows, so that one trace serves them all: further ones fill the places
of those that are looked up twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from unlearnkit.errors import RecipeError
from unlearnkit.taylor.jet import Jet
from unlearnkit.training.lookups import Watching, read_as_whole
from unlearnkit.training.lowered import is_lowered
from unlearnkit.training.run import Batch, Run
from unlearnkit.training.state import GroupState, Leaf, empty_like

# The part of a table that a step may look up; of more there is nothing to gain.
_SHARE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows of tables, ``{name: [k]}``, each once and sorted; what is no table is taken as a whole."""

    of: Mapping[str, Tensor]

    def given(self, batches: list[Batch]) -> list[Batch]:
        """The batches of a step that is done in these rows."""
        return [replace(batch, rows=self.of) for batch in batches] if self.of else batches

    def narrow(self, states: list[GroupState]) -> list[GroupState]:
        """The states in these rows, in memory of their own; a group without tables as it is."""
        return [self._narrowed(state) if self._touches(state) else state for state in states]

    def widen(self, states: list[GroupState], narrow: list[GroupState]) -> list[GroupState]:
        """The states, in place, after what became of the narrow ones; of a group without tables those."""
        return [
            self._widened(state, part) if self._touches(state) else part
            for state, part in zip(states, narrow, strict=True)
        ]

    def take(self, state: GroupState, flat: Leaf) -> Leaf:
        """A whole group's flat leaf ``[..., P]`` in these rows: ``[..., p]``, a copy."""
        if isinstance(flat, Jet):
            return Jet(self._taken(state, flat.constant), self._taken(state, flat.tail))
        return self._taken(state, flat)

    def put(self, state: GroupState, flat: Leaf, narrow: Leaf) -> None:
        """Write what `take` gave back into the whole."""
        for target, source in zip(_tensors(flat), _tensors(narrow), strict=True):
            self._put(state, target, source)

    def picked(self, name: str, whole: Tensor) -> Tensor:
        """Of a parameter, or of its gradient, which may be sparse, the rows of a table; else all of it."""
        rows = self.of.get(name)
        if rows is None:
            return whole.to_dense() if whole.is_sparse else whole
        if not whole.is_sparse:
            return whole.index_select(0, rows)
        ids, values = whole._indices()[0], whole._values()  # noqa: SLF001  with repetitions
        places = torch.searchsorted(rows, ids).clamp_(max=len(rows) - 1)
        if not torch.equal(rows[places], ids):
            message = f"which rows of {name!r} the loss looks up depends on weights"
            raise RecipeError(message, hint="build the embedding with sparse=False")
        return values.new_zeros(len(rows), *values.shape[1:]).index_add_(0, places, values)

    def spread(self, name: str, gradient: Tensor, whole: Tensor) -> Tensor:
        """A gradient in these rows in place of one that torch made, in the form of that."""
        rows = self.of.get(name)
        if rows is None:
            return gradient.clone() if whole.is_sparse else whole.copy_(gradient)
        if not whole.is_sparse:
            return whole.index_copy_(0, rows, gradient)
        return torch.sparse_coo_tensor(rows[None], gradient, whole.shape, is_coalesced=True, check_invariants=False)

    def put_back(self, name: str, whole: Tensor, rows: Tensor) -> None:
        """Write what `picked` is to be into the whole, in place."""
        whole.copy_(rows) if name not in self.of else whole.index_copy_(0, self.of[name], rows)

    def write(self, wholes: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
        """Copy weights, of tables these rows, into whole parameters."""
        plain = [name for name in wholes if name not in self.of]
        torch._foreach_copy_([wholes[n] for n in plain], [weights[n] for n in plain])
        for name, rows in self.of.items():
            wholes[name].index_copy_(0, rows, weights[name].to(wholes[name]))

    def _touches(self, state: GroupState) -> bool:
        return not self.of.keys().isdisjoint(state.group.parameters)

    def _narrowed(self, state: GroupState) -> GroupState:
        weights, *moments = (self.take(state, leaf) for leaf in (state.weights, *state.moments))
        shapes = tuple(
            torch.Size([len(self.of[name]), *shape[1:]]) if name in self.of else shape
            for name, shape in zip(state.group.parameters, state.shapes, strict=True)
        )
        return GroupState(state.group, shapes, weights, moments, empty_like(weights))

    def _widened(self, state: GroupState, narrow: GroupState) -> GroupState:
        pairs = zip([state.weights, *state.moments], [narrow.weights, *narrow.moments], strict=True)
        for whole, part in pairs:
            self.put(state, whole, part)
        return state

    def _parts(self, state: GroupState) -> Iterable[tuple[slice, torch.Size, Tensor | None]]:
        """Each parameter's place in a flat whole, its shape, and which rows of it; None: all."""
        offset = 0
        for name, shape in zip(state.group.parameters, state.shapes, strict=True):
            yield slice(offset, offset + shape.numel()), shape, self.of.get(name)
            offset += shape.numel()

    def _taken(self, state: GroupState, flat: Tensor) -> Tensor:
        parts = []
        for place, shape, rows in self._parts(state):
            part = flat[..., place]
            parts.append(part if rows is None else _rows(part, shape).index_select(-2, rows).flatten(-2))
        return torch.cat(parts, -1)

    def _put(self, state: GroupState, flat: Tensor, narrow: Tensor) -> None:
        offset = 0
        for place, shape, rows in self._parts(state):
            size = shape.numel() if rows is None else len(rows) * shape[1]
            target, source = flat[..., place], narrow[..., offset : offset + size]
            if rows is None:
                target.copy_(source)
            else:
                _rows(target, shape).index_copy_(-2, rows, _rows(source, (len(rows), shape[1])))
            offset += size


WHOLE = Rows({})
"""No rows of any table: everything as a whole."""


class Tables:
    """The tables of a run, and the rows that each step looks up, which follow from its data."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._rows: dict[int, Rows] = {}
        self._tables = {} if is_lowered(run) else _sparse(run)
        if self._tables:
            first = self._watched(0, list(run.batches(0)))
            few = {name: sum(map(len, ids)) <= _SHARE * len(self._tables[name]) for name, ids in first.ids.items()}
            self._tables = {n: t for n, t in self._tables.items() if few[n] and n not in first.whole}

    def __bool__(self) -> bool:
        return bool(self._tables)

    @property
    def names(self) -> frozenset[str]:
        """Of the parameters."""
        return frozenset(self._tables)

    def step(self, step: int) -> tuple[Rows, list[Batch] | None]:
        """The rows of a step, and its batches in these rows; None where there are no tables, and nothing needs them."""
        if not self._tables:
            return WHOLE, None
        batches = list(self.run.batches(step))
        rows = self.at(step, batches)
        return rows, rows.given(batches)

    def at(self, step: int, batches: Sequence[Batch] | None = None) -> Rows:
        """The rows of a step. batches: of the step, where they are at hand."""
        if not self._tables:
            return WHOLE
        if step not in self._rows:
            watched = self._watched(step, list(self.run.batches(step)) if batches is None else batches)
            if watched.whole:
                raise read_as_whole(min(watched.whole))
            self._rows[step] = Rows({n: _filled(ids, self._tables[n]) for n, ids in watched.ids.items()})
        return self._rows[step]

    def over(self, steps: Iterable[int]) -> Rows:
        """The rows of some steps together."""
        every = [self.at(step) for step in steps]
        return Rows({name: torch.unique(torch.cat([rows.of[name] for rows in every])) for name in self._tables})

    def _watched(self, step: int, batches: Sequence[Batch]) -> Watching:
        """What the loss of a step reads, at the initial weights."""
        loss, watching = self.run.recipe.loss, Watching(self._tables)
        own = dict(self.run.model.named_parameters())
        weights = {name: own[name] for name in self.run.trained_names}
        with torch.enable_grad(), watching:
            for batch in batches:
                fixed = {name: tensor.clone() for name, tensor in self.run.fixed.items()}  # the loss may write into it
                with self.run.random_numbers(step, batch.number):
                    self.run.call(loss, weights, fixed, batch.examples)
        return watching


def _rows(flat: Tensor, shape: Sequence[int]) -> Tensor:
    """A flat table ``[..., N * d]`` as ``[..., N, d]``, without copying."""
    return flat.view(*flat.shape[:-1], *shape)


def _tensors(leaf: Leaf) -> tuple[Tensor, ...]:
    return (leaf.constant, leaf.tail) if isinstance(leaf, Jet) else (leaf,)


def tables_of(run: Run) -> Tables:
    """The tables of a run, which all who train or sweep over it share."""
    return run.remembered("tables", lambda: Tables(run))


def _sparse(run: Run) -> dict[str, Tensor]:
    """Weights of embeddings with sparse gradients, whose optimizer lets rows without one rest."""
    resting = {n for group in run.recipe.groups if group.rests for n in group.parameters}
    named = {id(p): name for name, p in run.model.named_parameters() if name in resting}
    tables = [m.weight for m in run.model.modules() if isinstance(m, nn.Embedding) and m.sparse]
    return {named[id(table)]: table for table in tables if id(table) in named}


def _filled(looked_up: Sequence[Tensor], table: Tensor) -> Tensor:
    """The ids, each once, and further ones until there are as many as there were with repetitions; sorted."""
    ids = torch.cat([torch.zeros(0, dtype=torch.long, device=table.device), *looked_up])
    known, wanted = torch.unique(ids), min(len(ids), len(table))
    others = torch.arange(wanted, device=ids.device)
    free = others[torch.isin(others, known, invert=True)][: wanted - len(known)]
    return torch.cat([known, free]).sort().values
