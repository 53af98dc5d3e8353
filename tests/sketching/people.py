"""Two runs of people's own data, their own losses, and how near a corrected model comes to the retrained one."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from unlearnkit.examples import digits
from unlearnkit.examples.names_gpt import BOUNDARY, PADDING, NamesGPT

import unlearnkit as uk

LENGTH = 12


def digits_recipe() -> uk.Recipe:
    """200 people's digits, 200 steps of SGD with momentum."""
    return digits.recipe()


def names_recipe(
    optimizer: str, *, people: int = 100, epochs: int = 3, rate: float | None = None, start: nn.Module | None = None
) -> uk.Recipe:
    """A GPT of one block that spells names: four a person, warm-up and linear decay. start: None for random weights."""
    data, steps = _encoded(_made_up(4 * people)), 4 * people * epochs // 8
    model = copy.deepcopy(start) if start is not None else fresh_gpt()
    made, usual = {
        "sgd": (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), 0.1),
        "adamw": (lambda p: torch.optim.AdamW(p, lr=0.01), 0.01),
    }[optimizer]
    rate = usual if rate is None else rate
    return uk.Recipe(
        name="names",
        model=model,
        loss=_losses,
        optimizer=made(model.parameters()),
        data=data,
        units=[f"person-{i // 4:03d}" for i in range(4 * people)],
        epochs=epochs,
        batch_size=8,
        lr_schedule=lambda step: rate * min(1, (step + 1) / 10) * (1 - step / (steps + 1)),
        probes={"own_loss": uk.OwnLoss()},
    )


def fresh_gpt() -> NamesGPT:
    """Always the same random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return NamesGPT()


def pretrained_gpt(count: int = 1600, epochs: int = 3) -> nn.Module:
    """Trained on names that nobody bears, neither the people of `names_recipe` nor `strangers_names`."""
    inputs, targets = strangers_names(count, skip=1000)
    model = fresh_gpt().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(1)
    for _ in range(epochs):
        for rows in torch.randperm(count, generator=generator).split(16):
            optimizer.zero_grad()
            _losses(model, (inputs[rows], targets[rows])).mean().backward()
            optimizer.step()
    return model.eval()


def strangers_names(count: int, *, people: int = 100, skip: int = 0) -> tuple[Tensor, Tensor]:
    """Names that nobody of `names_recipe` bears. skip: so many of them."""
    return _encoded(_made_up(4 * people + skip + count)[4 * people + skip :])


def _made_up(count: int) -> list[str]:
    """Names of two to four syllables, each once."""
    rng = np.random.default_rng(0)
    found: dict[str, None] = {}
    while len(found) < count:
        syllables = ["".join(rng.choice(list(part)) for part in ("bdfgklmnprstvz", "aeiou")) for _ in range(4)]
        found["".join(syllables[: rng.integers(2, 5)]) + rng.choice(["", "n", "s", "ra"])] = None
    return list(found)


def _encoded(names: Sequence[str]) -> tuple[Tensor, Tensor]:
    inputs, targets = torch.full((len(names), LENGTH), BOUNDARY), torch.full((len(names), LENGTH), PADDING)
    for row, name in enumerate(names):
        tokens = torch.tensor([BOUNDARY, *(ord(letter) - ord("a") for letter in name), BOUNDARY])
        inputs[row, : len(tokens) - 1], targets[row, : len(tokens) - 1] = tokens[:-1], tokens[1:]
    return inputs, targets


def _losses(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    losses = cross_entropy(model(batch[0]).transpose(1, 2), batch[1], ignore_index=PADDING, reduction="none")
    return losses.sum(1) / (batch[1] != PADDING).sum(1)


def own_losses(recipe: uk.Recipe, model: nn.Module) -> np.ndarray:
    """Mean loss of everybody's own examples, ``[units]``, written out."""
    owner = torch.as_tensor(recipe.unit_of_example)
    with torch.no_grad():
        losses = recipe.loss(model.eval(), recipe.dataset.parts).double()
    owned = owner >= 0
    sums = torch.zeros(len(recipe.unit_names), dtype=torch.float64).index_add(0, owner[owned], losses[owned])
    return (sums / torch.bincount(owner[owned])).numpy()


def loaded(recipe: uk.Recipe, state) -> nn.Module:
    model = copy.deepcopy(recipe.model)
    model.load_state_dict(state)
    return model.eval()


def distance(one: nn.Module, other: nn.Module) -> float:
    """Between all weights of two models."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return float(torch.sqrt(sum((a.double() - b.double()).square().sum() for a, b in pairs)))
