"""What does an adapter remember of a client? A small GPT whose frozen weights get a LoRA, trained on clients' names.

    python -m unlearnkit.examples.lora

Power series are kept for the adapter alone, which is how large models are sketched. The base model learned other names
before; a client asks what the adapter would say of their names had it never seen them (``own_loss``).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from unlearnkit.examples.names_gpt import TEST_NAMES, TRAINING_NAMES, NamesGPT, encode, name_losses
from unlearnkit.examples.question import Answers, ask, command

import unlearnkit as uk

CLIENTS = 12


class Adapted(nn.Module):
    """A linear layer that stays as it is, and a product of two small matrices beside it, which is trained."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(requires_grad=False)
        self.down = nn.Linear(layer.in_features, rank, bias=False)
        self.up = nn.Linear(rank, layer.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., in]`` to ``[..., out]``."""
        adapted: Tensor = self.layer(x) + self.up(self.down(x))
        return adapted


def adapted_model(rank: int = 2, steps: int = 40) -> NamesGPT:
    """The names GPT, trained on one half of the names, with adapters in the attention and nothing else to train."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = NamesGPT()
        known = encode(TRAINING_NAMES[::2])
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        for _ in range(steps):
            optimizer.zero_grad()
            name_losses(model, known).mean().backward()
            optimizer.step()
        model.requires_grad_(requires_grad=False)
        model.register_module("query_key_value", Adapted(model.query_key_value, rank))
        model.register_module("mix", Adapted(model.mix, rank))
    return model


def recipe(clients: int = CLIENTS, epochs: int = 8) -> uk.Recipe:
    """Train the adapters on the other half of the names, which belong to clients in turn."""
    names = TRAINING_NAMES[1::2][: 6 * clients]
    model, unseen = adapted_model(), encode(TEST_NAMES)
    return uk.Recipe(
        name="adapter",
        model=model,
        loss=name_losses,
        optimizer=torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9),
        data=encode(names),
        units=[f"client-{i % clients:02d}" for i in range(len(names))],
        epochs=epochs,
        batch_size=24,
        probes={"test_loss": lambda model: name_losses(model, unseen).mean(), "own_loss": uk.OwnLoss()},
    )


def _answers(*, small: bool) -> Iterator[tuple[str, Answers]]:
    asked = recipe(clients=4, epochs=1) if small else recipe()
    clients = asked.unit_names[:4]
    leaving = {client: [client] for client in clients} | {"all of them": list(clients)}
    yield "Loss on the names of the clients who leave", ask(asked, leaving, probe="own_loss")
    yield "Loss on names that nobody owns", ask(asked, leaving, probe="test_loss", rank=8)


main = command(__doc__, _answers)

if __name__ == "__main__":
    main()
