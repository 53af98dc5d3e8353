"""Riding along somebody's own training loop: what a recipe needs to repeat it."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import nn
from torch.utils.data import DataLoader

from unlearnkit.errors import RecipeError
from unlearnkit.training.adapters import lightning
from unlearnkit.training.adapters.lightning import Riding
from unlearnkit.training.adapters.transformers import RecorderCallback
from unlearnkit.training.batches import Array
from unlearnkit.training.models import uncompiled
from unlearnkit.training.optimizers import Optimizers, each_of
from unlearnkit.training.randomness import RandomState
from unlearnkit.training.recording import RecordedBatch, RecordedStep, Recording, checksums, gradient_norm
from unlearnkit.training.sampling import tell


class Recorder:
    """Rides along a training loop, and keeps what a recipe needs to repeat it; the loop computes what it always did.

    Kept are the examples of every batch, in the order in which they come (whatever sampler drew them, and however many
    workers load them); the random states of torch, Python and numpy when the batch is handed out; at every step the
    settings of the optimizer, the norm of its gradient, and now and then sums over the weights, by which `compare`
    finds the first step that differs.

    Args:
        every: keep sums over the weights every so many steps.
        accumulate: how many batches the loop averages a step's loss over, also where a step has fewer; None: as many
            as each step has.

    Example:
        >>> import copy
        >>> model = torch.nn.Linear(2, 1)
        >>> start, recorder = copy.deepcopy(model), uk.Recorder()
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> x, y = torch.randn(6, 2), torch.randn(6, 1)
        >>> dataset = torch.utils.data.TensorDataset(x, y)
        >>> loader = recorder.loader(torch.utils.data.DataLoader(dataset, batch_size=4, shuffle=True))
        >>> for a, b in loader:
        ...     optimizer.zero_grad()
        ...     (model(a) - b).square().mean().backward()
        ...     optimizer.step()
        ...     recorder.step(model, optimizer)
        >>> repeated = uk.Recipe(
        ...     name="as recorded",
        ...     model=start,
        ...     loss=lambda model, batch: (model(batch[0]) - batch[1]).square().mean(1),
        ...     optimizer=torch.optim.SGD(start.parameters(), lr=0.1),
        ...     data=dataset,
        ...     units=["ann", "ann", "bob", "bob", None, None],
        ...     recorded=recorder,
        ... )
        >>> max(uk.compare(repeated, model).values()) < 1e-5
        True

    """

    def __init__(self, *, every: int = 1, accumulate: int | None = None) -> None:
        if every < 1 or (accumulate is not None and accumulate < 1):
            raise ValueError(f"every={every}, accumulate={accumulate}, expected whole numbers >= 1")
        self.every = every
        self.accumulate = accumulate
        self._steps: list[RecordedStep] = []
        self._batches: list[RecordedBatch] = []
        self._state: RandomState | None = None

    def loader(self, loader: DataLoader[Any]) -> RecordedLoader:
        """The same loader, which tells the recorder what it hands out.

        Args:
            loader: of a map-style dataset.

        Returns:
            What to loop over instead.

        Raises:
            RecipeError: the loader has no batches of indices.

        Example:
            >>> dataset = torch.utils.data.TensorDataset(torch.arange(5))
            >>> len(uk.Recorder().loader(torch.utils.data.DataLoader(dataset, batch_size=2)))
            3

        """
        return RecordedLoader(loader, self)

    def batch(self, indices: Array, epoch: int = 0) -> None:
        """A batch is handed out: call this before its forward pass where no loader does.

        Args:
            indices: the positions of its examples in the data, ``[B]``.
            epoch: how often the data was gone through before, for data that augment; a loader counts it.

        Example:
            >>> recorder = uk.Recorder()
            >>> recorder.batch([0, 3])

        """
        self._state = RandomState.now(self._state)
        self._batches.append(RecordedBatch(np.asarray(indices, dtype=np.int64), self._state, epoch))

    def step(self, model: nn.Module, optimizer: Optimizers) -> None:
        """A step is done: call this after ``optimizer.step()``, before a scheduler changes the rate.

        Args:
            model: as it is after the step.
            optimizer: with the settings, and its parameters the gradients, of the step; a list of several.

        Raises:
            RecipeError: no batch was handed out since the last step.

        Example:
            >>> model, recorder = torch.nn.Linear(2, 1), uk.Recorder()
            >>> recorder.batch([0])
            >>> recorder.step(model, torch.optim.SGD(model.parameters(), lr=0.1))
            >>> recorder.recording.steps[0].settings[0]["lr"]
            0.1

        """
        if not self._batches:
            message = f"recorder.step: no batch was handed out since step {len(self._steps)}"
            raise RecipeError(message, hint="loop over recorder.loader(loader), or call recorder.batch(indices)")
        groups = [group for one in each_of(optimizer) for group in one.param_groups]
        settings = [{k: copy.deepcopy(v) for k, v in g.items() if k != "params"} for g in groups]
        sums = checksums(uncompiled(model)) if (len(self._steps) + 1) % self.every == 0 else None
        self._steps.append(RecordedStep(tuple(self._batches), tuple(settings), gradient_norm(groups), sums))
        self._batches = []

    def callback(self) -> RecorderCallback:
        """A callback for ``transformers.Trainer``, after which `Recipe.from_trainer` repeats its run.

        Returns:
            A ``transformers.TrainerCallback``.

        Example:
            >>> type(uk.Recorder().callback()).__name__
            'RecorderCallback'

        """
        return RecorderCallback(self)

    def lightning_callback(self) -> Riding:
        """A callback for ``lightning.Trainer``, after which `Recipe.from_lightning` repeats its run.

        Returns:
            A ``lightning.Callback``.

        Raises:
            RecipeError: Lightning is not imported.

        Example:
            >>> trainer = lightning.Trainer(callbacks=[uk.Recorder().lightning_callback()])  # doctest: +SKIP

        """
        return lightning.callback(self)

    @property
    def recording(self) -> Recording:
        """What was recorded up to the last step."""
        return Recording(tuple(self._steps), self.accumulate)


class RecordedLoader:
    """A loader that tells a recorder which examples each of its batches holds."""

    def __init__(self, loader: DataLoader[Any], recorder: Recorder) -> None:
        self.loader = loader
        self.recorder = recorder
        self._passes = 0
        self._drawn: deque[Array] = deque()
        self._telling = copy.copy(loader)
        tell(self._telling, self._drawn)

    def __iter__(self) -> Iterator[Any]:
        epoch, self._passes = self._passes, self._passes + 1
        for batch in self._telling:
            self.recorder.batch(self._drawn.popleft(), epoch)
            yield batch

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever a loader has
        return getattr(self.loader, name)
