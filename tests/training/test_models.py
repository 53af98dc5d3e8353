"""Real models, unmodified: two training steps of each agree with torch's nested forward derivatives."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.overrides import TorchFunctionMode

import unlearnkit as uk
from tests.training.slow import derivatives
from unlearnkit.training.run import make_run
from unlearnkit.training.trainer import Trainer

BATCH, STEPS, RATE, DEGREE = 2, 2, 0.1, 3


def token_losses(model: nn.Module, batch) -> torch.Tensor:
    """Next-token loss of each row."""
    (ids,) = batch
    logits = model(input_ids=ids).logits[:, :-1]
    return cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none").mean(1)


def squared_outputs(model: nn.Module, batch) -> torch.Tensor:
    output = model(batch[0])
    output = output[0] if isinstance(output, tuple) else output
    return output.square().flatten(1).mean(1)


def ids() -> torch.Tensor:
    return torch.randint(3, 40, (BATCH * STEPS, 5), generator=torch.Generator().manual_seed(0))


def floats(*shape: int) -> torch.Tensor:
    return torch.randn(BATCH * STEPS, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def gpt2() -> nn.Module:
    import transformers

    config = transformers.GPT2Config(
        vocab_size=40, n_positions=8, n_embd=8, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2, pad_token_id=0
    )
    return transformers.GPT2LMHeadModel(config)


def bert() -> nn.Module:
    import transformers

    config = transformers.BertConfig(
        vocab_size=40,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=8,
        pad_token_id=0,
    )
    return transformers.BertForMaskedLM(config)


def llama() -> nn.Module:
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=40,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=16,
        max_position_embeddings=8,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return transformers.LlamaForCausalLM(config)


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.GroupNorm(2, 4),
        nn.SiLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 4, 3, stride=2, groups=2),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


MODELS = {
    "gpt2": (gpt2, token_losses, ids),
    "bert": (bert, token_losses, ids),
    "llama": (llama, token_losses, ids),
    "lstm": (lambda: nn.LSTM(3, 4, batch_first=True), squared_outputs, lambda: floats(3, 3)),
    "encoder layer": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu", batch_first=True),
        squared_outputs,
        lambda: floats(3, 8),
    ),
    "group norm convolutions": (convolutions, squared_outputs, lambda: floats(2, 6, 6)),
}


@pytest.mark.parametrize("name", MODELS)
def test_two_steps_agree_with_nested_derivatives(name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    make, loss, examples = MODELS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().double().train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # the slow path draws no masks
    data = examples()
    recipe = uk.Recipe(
        name="model",
        model=model,
        loss=loss,
        optimizer=torch.optim.SGD(model.parameters(), lr=RATE),
        data=(data,),
        units=list(range(len(data))),
        epochs=1,
        batch_size=BATCH,
        order=[list(range(len(data)))],
    )
    direction = torch.tensor([0.5, -0.3, 0.8, 0.2], dtype=torch.float64)
    with InDouble():
        found = Trainer(make_run(recipe, "float64", "cpu"), DEGREE).train(direction[None])
    start = {n: p.detach() for n, p in model.named_parameters()}

    def trained(w: torch.Tensor) -> list[torch.Tensor]:
        weights = start
        for step in range(STEPS):
            rows = slice(step * BATCH, (step + 1) * BATCH)

            def objective(p, rows=rows):
                losses = functional_call(
                    Wrapped(model, loss), {f"model.{n}": v for n, v in p.items()}, ((data[rows],),)
                )
                return ((1 - w[rows]) * losses).sum() / BATCH

            gradients = torch.func.grad(objective)(weights)
            weights = {n: p - RATE * gradients[n] for n, p in weights.items()}
        return list(weights.values())

    zero = torch.zeros(len(data), dtype=torch.float64)
    with InDouble():
        expected = derivatives(trained, [[zero, direction, *(zero for _ in range(DEGREE - 1))]])
    for order in range(DEGREE + 1):
        mine = [found[n].constant if order == 0 else found[n].coefficients[order - 1, 0] for n in start]
        theirs = [value / math.factorial(order) for value in expected[order]]
        flat_mine, flat_theirs = (torch.cat([v.reshape(-1) for v in values]) for values in (mine, theirs))
        assert float((flat_mine - flat_theirs).norm() / flat_theirs.norm()) < 1e-8


class InDouble(TorchFunctionMode):
    """Llama normalises in float32 whatever its weights are; with that rounding nothing agrees to more than 1e-7."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.to and args[1:] == (torch.float32,) and args[0].dtype is torch.float64:
            return args[0]
        return func(*args, **(kwargs or {}))


class Wrapped(nn.Module):
    """A loss as a module, so that ``functional_call`` can swap the model's weights."""

    def __init__(self, model: nn.Module, loss) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, batch):
        return self.loss(self.model, batch)
