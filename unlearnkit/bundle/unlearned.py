"""The unlearned model: trained weights predicted without some units' data (THEORY.md section 8)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from unlearnkit.errors import RefusedError

if TYPE_CHECKING:
    import torch

    from unlearnkit.bundle.bundle import Bundle
    from unlearnkit.verifier import Sketch

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


def unlearned_state(bundle: Bundle, model: torch.nn.Module, delete: Iterable[str | int], degree: int) -> UnlearnedState:
    """Predict each trained weight like a probe; everything else in the model stays as it is."""
    units = delete if isinstance(delete, str) else list(delete)  # a text is no list of letters: `predict` refuses it
    own, stored = model.state_dict(), bundle.model_state()
    predicted = {name: sketch.predict(units, degree=degree) for name, sketch in _sketches(bundle, stored).items()}
    shared = {id(p): name for name, p in model.named_parameters() if name in predicted}
    source = {name: shared.get(id(p), name) for name, p in model.named_parameters(remove_duplicate=False)}
    values = {n: predicted[s].value if (s := source.get(n, n)) in predicted else stored[n] for n in own}
    state = UnlearnedState({name: own[name].new_tensor(value) for name, value in values.items()})
    state.standard_error = {name: prediction.standard_error for name, prediction in predicted.items()}
    state.explanation = next(iter(predicted.values())).explanation
    return state


def _sketches(bundle: Bundle, stored: Mapping[str, Array]) -> dict[str, Sketch]:
    """Each trained weight as a probe, with what was kept of it along random and informed directions."""
    if not bundle.keeps_weights:
        raise RefusedError(
            "the bundle kept no weight sketches, so it cannot predict weights",
            hint="sketch with keep_weights=True or informed=",
        )
    blocks: dict[str, list[Array]] = {}
    for _, _, tensors in bundle.weight_sketches():
        for name, array in tensors.items():
            blocks.setdefault(name, []).append(array)
    slopes = {} if bundle.informed is None else bundle.informed.weights
    sketches = {}
    for name in sorted({*blocks, *slopes}):
        none = np.zeros((0, bundle.manifest.degree, *stored[name].shape))
        coefficients = np.concatenate(blocks.get(name, [none]))
        sketches[name] = bundle.new_sketch(name, stored[name], coefficients, slopes.get(name))
    return sketches
