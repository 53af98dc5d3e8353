"""Other libraries that attribute what a model does to its training data, each behind one call.

Each takes a `Case` and settings, and gives by how much each query would change were each unit left out alone, ``[units,
queries]``. What a library is told is what its documentation asks for; it is imported when it is called.

- kronfluence: influence functions by Kronecker-factored curvature (Grosse et al. 2023).
- dattri: influence functions by the Hessian itself, TracIn, TRAK, data value embeddings (Deng et al. 2024).
- traker: TRAK by its authors (Park et al. 2023).
"""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import DataLoader, TensorDataset

import unlearnkit as uk
from unlearnkit.training.retrain import PlainLoop
from unlearnkit.training.run import Batch, make_run

Array = np.ndarray[Any, Any]
State = dict[str, Tensor]
OfOutputs = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Case:
    """A training run in which each example is a unit, and queries.

    seeded: the recipe with other initial weights and another order; 0: the run itself. rate: of learning, over one less
    the momentum. Functions of outputs and targets, one number for each example: loss: trained on. measure: queried.
    score: what TRAK is linear in; slope: of the loss with respect to it; chain: of the measure. sample: targets drawn
    from the model's own distribution.
    """

    seeded: Callable[[int], uk.Recipe]
    train: tuple[Tensor, Tensor]
    queries: tuple[Tensor, Tensor]
    rate: float
    loss: OfOutputs
    measure: OfOutputs
    score: OfOutputs
    slope: OfOutputs
    chain: OfOutputs
    sample: Callable[[Tensor], Tensor]

    @cached_property
    def recipe(self) -> uk.Recipe:
        """The run itself."""
        return self.seeded(0)

    @cached_property
    def trained(self) -> nn.Module:
        """In float32, in which the libraries work."""
        return uk.retrain(self.recipe, dtype="float32").eval()

    @cached_property
    def others(self) -> list[State]:
        """Trained with other seeds, for ensembles."""
        return [uk.retrain(self.seeded(seed), dtype="float32").state_dict() for seed in range(1, 10)]

    def states(self, models: int) -> list[State]:
        """An ensemble, with the run itself at its head."""
        return [self.trained.state_dict(), *(self.others[: models - 1] if models > 1 else [])]

    def steps(self) -> Iterator[tuple[int, PlainLoop, Batch]]:
        """The run once more, before each of its steps."""
        run = make_run(self.recipe, "float32", "cpu")
        loop = PlainLoop(run, np.zeros(len(self.recipe.unit_names)))
        for step in range(self.recipe.steps):
            (batch,) = run.batches(step)
            yield step, loop, batch
            loop.backward(step)
            loop.update(step)
        yield self.recipe.steps, loop, batch

    def of(self, function: OfOutputs, model: nn.Module) -> Callable[[Mapping[str, Tensor], Sequence[Tensor]], Tensor]:
        """``mean function(outputs, targets)`` of weights and examples, of a single one too."""
        shapes = [part.shape[1:] for part in self.train]

        def f(weights: Mapping[str, Tensor], batch: Sequence[Tensor]) -> Tensor:
            x, y = (part.reshape(-1, *shape) for part, shape in zip(batch, shapes, strict=True))
            return function(functional_call(model, dict(weights), (x,)), y).mean()

        return f

    def loaders(self) -> tuple[Any, Any]:
        """Of the training data and the queries, whole."""
        parts = (TensorDataset(*self.train), TensorDataset(*self.queries))
        train, queries = (DataLoader(part, batch_size=len(part)) for part in parts)
        return train, queries

    def at_queries(self) -> Array:
        """The slope of the measure with respect to the score, ``[queries]``."""
        with torch.no_grad():
            found: Array = self.chain(self.trained(self.queries[0]), self.queries[1]).numpy()
        return found


def kronfluence(case: Case, strategy: str, damping: float | None = 1e-8) -> Array:
    """Influence functions. damping: 1e-8 is its default; None: a tenth of the mean eigenvalue."""
    analyzer, arguments, tasks = (import_module(f"kronfluence.{name}") for name in ("analyzer", "arguments", "task"))

    class Attributed(tasks.Task):  # type: ignore[misc, name-defined]
        def compute_train_loss(self, batch: Sequence[Tensor], model: nn.Module, sample: bool = False) -> Tensor:  # noqa: FBT001, FBT002
            outputs = model(batch[0])
            return case.loss(outputs, case.sample(outputs.detach()) if sample else batch[1]).sum()

        def compute_measurement(self, batch: Sequence[Tensor], model: nn.Module) -> Tensor:
            return case.measure(model(batch[0]), batch[1]).sum()

    torch.manual_seed(0)  # of the sampled targets
    task = Attributed()
    model = analyzer.prepare_model(copy.deepcopy(case.trained), task)
    train, queries = TensorDataset(*case.train), TensorDataset(*case.queries)
    with tempfile.TemporaryDirectory() as folder:
        work = analyzer.Analyzer("attributed", model, task, cpu=True, disable_tqdm=True, output_dir=folder)
        kept = {"factors_name": "factors", "per_device_batch_size": len(train)}
        work.fit_all_factors(dataset=train, factor_args=arguments.FactorArguments(strategy=strategy), **kept)
        work.compute_pairwise_scores(
            scores_name="scores",
            factors_name="factors",
            query_dataset=queries,
            train_dataset=train,
            per_device_query_batch_size=len(queries),
            per_device_train_batch_size=len(train),
            score_args=arguments.ScoreArguments(damping_factor=damping),
        )
        scores = work.load_pairwise_scores("scores")["all_modules"]
    return np.asarray(scores.T.numpy() / len(train))


def hessian(case: Case, solver: str, **settings: float) -> Array:
    """Influence functions by dattri."""
    model = copy.deepcopy(case.trained)
    loss, measure = case.of(case.loss, model), case.of(case.measure, model)
    task = import_module("dattri.task").AttributionTask(
        loss_func=loss, target_func=measure, model=model, checkpoints=model.state_dict()
    )
    attributor = getattr(import_module("dattri.algorithm.influence_function"), f"IFAttributor{solver}")
    torch.manual_seed(0)
    found = attributor(task=task, **settings)
    train, queries = case.loaders()
    found.cache(train)
    with torch.no_grad():
        return np.asarray(found.attribute(train, queries).numpy() / len(case.train[0]))


def tracin(case: Case, epochs: int, projected: int) -> Array:
    """TracIn by dattri, at the ends of the last epochs. projected: dimensions, 512 by default; 0: as they are."""
    model, per = copy.deepcopy(case.trained), case.recipe.steps // int(case.recipe.epochs or 1)
    states = [copy.deepcopy(loop.model.state_dict()) for step, loop, _ in case.steps() if step and step % per == 0]
    task = import_module("dattri.task").AttributionTask(
        loss_func=case.of(case.loss, model),
        target_func=case.of(case.measure, model),
        model=model,
        checkpoints=states[-epochs:],
    )
    share = case.rate / int(case.recipe.batch_size or 1) * (int(case.recipe.epochs or 1) / epochs)
    found = import_module("dattri.algorithm.tracin").TracInAttributor(
        task=task, weight_list=[share] * epochs, normalized_grad=False, projector_kwargs=_projector(projected)
    )
    return np.asarray(found.attribute(*case.loaders()).numpy())


def _projector(dimensions: int) -> dict[str, Any]:
    """Every key, since dattri writes them into its defaults."""
    kind = "normal" if dimensions else "identity"
    return {"proj_dim": dimensions or 1, "proj_max_batch_size": 32, "proj_seed": 0, "proj_type": kind, "device": "cpu"}


def dattri_trak(case: Case, models: int, projected: int, regularization: float) -> Array:
    """TRAK by dattri."""
    model = copy.deepcopy(case.trained)
    score = case.of(case.score, model)
    task = import_module("dattri.task").AttributionTask(loss_func=score, model=model, checkpoints=case.states(models))
    found = import_module("dattri.algorithm.trak").TRAKAttributor(
        task=task,
        correct_probability_func=case.of(lambda outputs, targets: 1 + case.slope(outputs, targets), model),
        projector_kwargs=_projector(projected),
        regularization=regularization,
    )
    train, queries = case.loaders()
    with torch.no_grad():
        found.cache(train)
        scores = found.attribute(queries)
    return np.asarray(-scores.numpy() * case.at_queries())


def embeddings(case: Case, projected: int | None, factored: str) -> Array:
    """Data value embeddings by dattri, which follow this very run; the rate makes up for the momentum."""
    found, tasks = None, import_module("dattri.task")

    def task(function: OfOutputs, model: nn.Module) -> object:
        plain = case.of(function, model)

        def of_model(model: nn.Module, batch: Sequence[Tensor], device: object) -> Tensor:  # noqa: ARG001  as dattri calls it
            return plain(dict(model.named_parameters()), batch)

        f = plain if factored == "none" else of_model
        return tasks.AttributionTask(loss_func=f, model=model, checkpoints=[model.state_dict()])

    per = case.recipe.steps // int(case.recipe.epochs or 1)
    for step, loop, batch in case.steps():
        if found is None:
            made = import_module("dattri.algorithm.dvemb").DVEmbAttributor
            found = made(task=task(case.loss, loop.model), proj_dim=projected, factorization_type=factored)
        if step < case.recipe.steps:
            found.cache_gradients(step // per, batch.examples, batch.units, case.rate)
    assert found is not None
    found.cache()
    found.task = task(case.measure, loop.model)  # else it takes the loss for the queries too
    with torch.enable_grad():
        scores = found.attribute(case.loaders()[1])
    return np.asarray(scores.detach().numpy())


def traker(case: Case, models: int, projected: int, regularization: float) -> Array:
    """TRAK by its authors."""
    trak, outputs_ = import_module("trak"), import_module("trak.modelout_functions")

    class Output(outputs_.AbstractModelOutput):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            pass

        @staticmethod
        def get_output(model: nn.Module, weights: State, buffers: State, x: Tensor, y: Tensor) -> Tensor:
            return case.score(functional_call(model, (weights, buffers), x[None]), y[None]).sum()

        def get_out_to_loss_grad(
            self, model: nn.Module, weights: State, buffers: State, batch: Sequence[Tensor]
        ) -> Tensor:
            return -case.slope(functional_call(model, (weights, buffers), batch[0]), batch[1]).detach()[:, None]

    units, states = len(case.train[0]), case.states(models)
    with tempfile.TemporaryDirectory() as folder:
        found = trak.TRAKer(
            model=copy.deepcopy(case.trained),
            task=Output(),
            train_set_size=units,
            save_dir=folder,
            device="cpu",
            use_half_precision=False,
            proj_dim=projected,
            lambda_reg=regularization,
            logging_level=logging.ERROR,
        )
        for i, state in enumerate(states):
            found.load_checkpoint(state, model_id=i)
            found.featurize(case.train, num_samples=units)
        found.finalize_features()
        for i, state in enumerate(states):
            found.start_scoring_checkpoint("queries", state, model_id=i, num_targets=len(case.queries[0]))
            found.score(case.queries, num_samples=len(case.queries[0]))
        scores = np.array(found.finalize_scores("queries"))
    return np.asarray(-scores * case.at_queries())
