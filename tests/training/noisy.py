"""Models that draw random numbers for tensors of awkward layouts, each with a classifier of 3 classes at its end."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.functional import cross_entropy

import unlearnkit as uk

EXAMPLES, LENGTH, WIDTH, CLASSES = 8, 4, 6, 3


class Head(nn.Module):
    """``noise`` for ``[B, LENGTH, WIDTH]``, between a first layer and the mean over the length."""

    def __init__(self, noise: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.noise = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES), noise

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x))
        return self.last((self.noise(hidden) if self.training else hidden).mean(1))


class Within(nn.Module):
    """A layer of torch's own from ``[B, LENGTH, WIDTH]`` to the same, as it is called by ``use``."""

    def __init__(self, layer: nn.Module, use: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.use, self.last = layer, use, nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.use(self.layer, x).mean(1))


class Picture(nn.Module):
    """Convolutions in channels-last order; dropout of elements and of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 2), nn.Conv2d(4, 4, 1)
        self.last = nn.Linear(4, CLASSES)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        x = x.reshape(len(x), 2, 3, LENGTH).contiguous(memory_format=torch.channels_last)
        hidden = F.dropout(torch.tanh(self.first(x)), 0.3, self.training)
        return self.last(F.dropout2d(torch.tanh(self.second(hidden)), 0.3, self.training).mean((2, 3)))


class Words(nn.Module):
    """An embedding, transposed before dropout as convolutions over time want it."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.last = nn.Embedding(5, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.words((x[..., 0] > 0).long() + (x[..., 1] > 0).long()).transpose(1, 2)
        return self.last(F.dropout(hidden, 0.4, self.training).mean(2))


def with_written_noise(x: Tensor) -> Tensor:
    noise = torch.zeros_like(x)
    noise[:, :, ::2].normal_()
    return x + 0.3 * noise


def with_shared_noise(x: Tensor) -> Tensor:
    return x * torch.rand_like(x[:, :1].expand(-1, LENGTH, -1))


def with_own_noise(x: Tensor) -> Tensor:
    return x + 0.3 * torch.randn_like(x.transpose(0, 1)).transpose(0, 1) + 0.1 * torch.randn_like(x[:, 1:2])


def encoder(**settings: object) -> nn.Module:
    return nn.TransformerEncoderLayer(WIDTH, 2, 8, dropout=0.2, activation="gelu", **settings)


def translator() -> nn.Module:
    return nn.Transformer(WIDTH, 2, 1, 1, 8, dropout=0.2, activation="gelu", batch_first=True)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "encoder layer, batch first": lambda: Within(encoder(batch_first=True), lambda layer, x: layer(x)),
    "encoder layer, length first": lambda: Within(encoder(), lambda layer, x: layer(x.transpose(0, 1)).transpose(0, 1)),
    "transformer": lambda: Within(translator(), lambda layer, x: layer(x, x.flip(1))),
    "attention": lambda: Within(
        nn.MultiheadAttention(WIDTH, 2, dropout=0.3, batch_first=True), lambda layer, x: layer(x, x, x)[0]
    ),
    "lstm": lambda: Within(nn.LSTM(WIDTH, WIDTH, 2, dropout=0.4, batch_first=True), lambda layer, x: layer(x)[0]),
    "channels last": Picture,
    "embedding, transposed": Words,
    "alpha dropout of a transposed tensor": lambda: Head(
        lambda x: F.alpha_dropout(x.transpose(0, 1), 0.3, training=True).transpose(0, 1)
    ),
    "feature dropout of a permuted tensor": lambda: Head(
        lambda x: F.feature_alpha_dropout(F.dropout1d(x.permute(2, 0, 1), 0.3), 0.2, training=True).permute(1, 2, 0)
    ),
    "noise like a view": lambda: Head(with_own_noise),
    "noise like an expanded tensor": lambda: Head(with_shared_noise),
    "noise written into a view": lambda: Head(with_written_noise),
    "mask of transposed probabilities": lambda: Head(
        lambda x: x * torch.bernoulli(torch.sigmoid(x.detach().transpose(0, 2))).transpose(0, 2)
    ),
}


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return cross_entropy(model(batch[0]), batch[1], reduction="none")


def recipe(make: Callable[[], nn.Module], **settings: object) -> uk.Recipe:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().double()
        x = torch.randn(EXAMPLES, LENGTH, WIDTH, dtype=torch.float64)
        data = x, torch.randint(CLASSES, (EXAMPLES,))
    defaults = {
        "name": "noisy",
        "model": model,
        "loss": loss,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.5),
        "data": data,
        "units": [f"u{i % 4}" for i in range(EXAMPLES)],
        "epochs": 2,
        "batch_size": 4,
        "probes": {"loss": lambda m: cross_entropy(m(data[0]), data[1])},
        "allow_piecewise": True,
    }
    return uk.Recipe(**(defaults | settings))
