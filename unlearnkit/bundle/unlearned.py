"""The unlearned model: trained weights predicted without some units' data (docs/theory.md section 8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from unlearnkit.estimation import Prediction

if TYPE_CHECKING:
    import torch


Array = np.ndarray[Any, Any]


class UnlearnedState(dict[str, "torch.Tensor"]):
    """A state dict that ``load_state_dict`` takes, with what is known of its error.

    standard_error: by weight, of its shape; over the randomness of the directions, asymptotic. NaN: not known.
    explanation: how the weights were predicted, and what that does not cover, in words.
    """

    standard_error: Mapping[str, Array]
    explanation: str

    @property
    def sampling_noise(self) -> float:
        """Root of the sum of all squared standard errors: how far the directions' chance may move the weights."""
        return float(np.sqrt(sum(float((error**2).sum()) for error in self.standard_error.values())))


def unlearned_state(
    model: torch.nn.Module, stored: Mapping[str, Array], predicted: Mapping[str, Prediction]
) -> UnlearnedState:
    """A state dict for ``model``: the predicted weights, and everything else as it is stored.

    stored: the trained model by state-dict name. predicted: by the name of each trained weight.
    """
    own = model.state_dict()
    shared = {id(p): name for name, p in model.named_parameters() if name in predicted}
    source = {name: shared.get(id(p), name) for name, p in model.named_parameters(remove_duplicate=False)}
    values = {n: predicted[s].value if (s := source.get(n, n)) in predicted else stored[n] for n in own}
    state = UnlearnedState({name: own[name].new_tensor(value) for name, value in values.items()})
    state.standard_error = {name: prediction.standard_error for name, prediction in predicted.items()}
    state.explanation = next(iter(predicted.values())).explanation
    return state
