"""Sketches on a GPU, in bare loops of the same run and against the card's own rate of products.

    python benchmarks/gpu.py [--device cuda] [--cases names,gpt,lora] [--small]

A transformer on names, a GPT of 10 million weights, and adapters (LoRA) in a frozen one of 100 million, on random
tokens, each with AdamW: first order of a probe by a reverse sweep, and a block of random directions of degree one. The
rate is that of float32 products of square matrices on this device, TF32 off, measured just before; a direction's limit
is three trainings' products (docs/theory.md section 6), a training's six a weight and token. ``--small`` takes tiny
models, to see that it runs. Prints a markdown table.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import unlearnkit as uk
from unlearnkit.training.retrain import PlainLoop
from unlearnkit.training.run import make_run

UNITS, DIRECTIONS = 16, 8


@dataclass(frozen=True)
class Size:
    """Of a GPT. rank: of the adapters in it, 0 for none."""

    vocabulary: int
    width: int
    layers: int
    context: int
    batch: int
    steps: int
    rank: int = 0


SIZES = {
    "names": Size(32, 64, 2, 16, 32, 200),
    "gpt": Size(256, 384, 6, 128, 16, 50),
    "lora": Size(8192, 768, 12, 128, 8, 20, rank=8),
}
SMALL = {name: Size(16, 16, 1, 8, 4, 2, size.rank and 2) for name, size in SIZES.items()}


class Adapted(nn.Module):
    """A frozen linear layer beside a trained product of low rank."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.frozen = nn.Linear(inputs, outputs)
        self.frozen.requires_grad_(requires_grad=False)
        self.down, self.up = nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Both."""
        return self.frozen(x) + self.up(self.down(x))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention and a perceptron, each with its normalisation and a way around it."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        width = size.width

        def linear(inputs: int, outputs: int) -> nn.Module:
            return Adapted(inputs, outputs, size.rank) if size.rank else nn.Linear(inputs, outputs)

        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.heads, self.join = linear(width, 3 * width), linear(width, width)
        self.perceptron = nn.Sequential(linear(width, 4 * width), nn.GELU(), linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, width]`` to the same."""
        q, k, v = self.heads(self.before(x)).chunk(3, -1)
        hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        share = (q @ k.transpose(1, 2) / x.shape[2] ** 0.5).masked_fill(hidden, -torch.inf).softmax(-1)
        x = x + self.join(share @ v)
        return x + self.perceptron(self.between(x))  # type: ignore[no-any-return]


class Gpt(nn.Module):
    """A small language model."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.tokens = nn.Embedding(size.vocabulary, size.width)
        self.places = nn.Parameter(0.02 * torch.randn(size.context, size.width))
        self.blocks = nn.Sequential(*(Block(size) for _ in range(size.layers)))
        self.last = nn.Linear(size.width, size.vocabulary, bias=False)
        if size.rank:
            self.requires_grad_(requires_grad=False)
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(".down." in name or ".up." in name)

    def forward(self, ids: Tensor) -> Tensor:
        """``[B, T]`` to logits."""
        return self.last(self.blocks(self.tokens(ids) + self.places))  # type: ignore[no-any-return]


def losses(model: nn.Module, batch: tuple[Tensor]) -> Tensor:
    """Of each example, the mean over its tokens."""
    logits = model(batch[0][:, :-1])
    return cross_entropy(logits.transpose(1, 2), batch[0][:, 1:], reduction="none").mean(1)


def recipe(name: str, size: Size) -> uk.Recipe:
    """The training run."""
    torch.manual_seed(0)
    model, ids = Gpt(size), torch.randint(0, size.vocabulary, (size.batch * size.steps, size.context + 1))
    return uk.Recipe(
        name=name,
        model=model,
        loss=losses,
        optimizer=torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, eps=1e-4),
        data=(ids,),
        units=[i % UNITS for i in range(len(ids))],
        epochs=1,
        batch_size=size.batch,
        probes={"loss": lambda m: losses(m, (ids[: size.batch],)).mean()},
    )


def seconds(work: Callable[[], object], device: str) -> float:
    """On the clock, everything on the device done."""
    _wait(device)
    start = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def rate(device: str, width: int) -> float:
    """Operations a second of float32 products."""
    a = torch.randn(width, width, device=device)
    times = [seconds(lambda: a @ a, device) for _ in range(5)]
    return 2 * width**3 / min(times)


def bare(r: uk.Recipe, device: str) -> None:
    """The plain training."""
    loop = PlainLoop(make_run(r, "float32", device), np.zeros(len(r.unit_names)))
    for step in range(r.steps):
        loop.backward(step)
        loop.update(step)


def row(name: str, size: Size, device: str, speed: float) -> str:
    """One line of the table: tracing does not count, which a sketch beforehand does."""
    r = recipe(name, size)
    weights = sum(p.numel() for p in r.model.parameters())
    flops = 6 * weights * size.batch * size.context * size.steps
    settings = {"first order": {}, "directions": {"forward": uk.Forward(directions=DIRECTIONS, degree=1)}}
    taken = {}
    for kind, asked in settings.items():
        with tempfile.TemporaryDirectory() as folder:
            for number in range(2):
                path = Path(folder) / str(number)
                taken[kind] = seconds(
                    lambda p=path, a=asked: uk.sketch(r, p, device=device, progress=False, **a), device
                )  # type: ignore[misc]
    loop = min(seconds(lambda: bare(r, device), device) for _ in range(2))
    numbers = [loop, taken["first order"] / loop, taken["directions"] / loop / DIRECTIONS]
    counted = 3 * DIRECTIONS * flops / speed
    told = " | ".join(f"{number:.3g}" for number in [*numbers, taken["directions"] / counted])
    return f"| {name} | {weights} | {size.steps} | {told} |"


def main() -> None:
    """Measure, and print a line for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--cases", default=",".join(SIZES))
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    card = torch.cuda.get_device_name() if options.device == "cuda" else "a processor"
    speed = rate(options.device, 512 if options.small else 8192)
    print(f"{card}, torch {torch.__version__}, float32 products at {speed / 1e12:.3g} Tflop/s, TF32 off")
    print("| model | weights | steps | bare loop, s | first order | a direction | of its flop count |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for name in options.cases.split(","):
        print(row(name, (SMALL if options.small else SIZES)[name], options.device, speed), flush=True)


if __name__ == "__main__":
    main()
