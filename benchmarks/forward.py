"""Training along complex directions against its flop count, and beside nested ``torch.func.jvp`` under ``vmap``.

    python benchmarks/forward.py [--widths 256,1024] [--batches 256,50] [--degrees 1,2,3] [--repeats 7] [--peer]

A perceptron of three square layers, SGD with momentum, float32, one thread, seconds of a processor. The flop count is
that of docs/theory.md section 6, product by product of a plain step: a direction takes 4, 12, 24 of each to degree 1,
2, 3, and 2, 4, 6 where only one factor has a series. It is divided by the rate at which this processor multiplies real
matrices of the same shapes just before and after each step. *Bytes* are those that a step moves at least (weights read
twice, their gradient written and read, weights and momentum read and written, each coefficient), at the rate at which
this processor copies memory, in shares of the same time.
``--peer``: three steps along 4 real directions instead, by this engine and by nested jvp, in seconds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn.functional import cross_entropy

import unlearnkit as uk
from unlearnkit.training.run import make_run
from unlearnkit.training.state import constant_of
from unlearnkit.training.trainer import Trainer

LAYERS, RATE, MOMENTUM = 3, 0.01, 0.9
WHOLE, HALF = {1: 4, 2: 12, 3: 24}, {1: 2, 2: 4, 3: 6}  # products of a direction, by degree
PASSES = 8


def recipe(width: int, batch: int, steps: int) -> uk.Recipe:
    """A perceptron, each example a unit."""
    torch.manual_seed(0)
    model = nn.Sequential(*[m for _ in range(LAYERS) for m in (nn.Linear(width, width), nn.GELU())][:-1])
    data = torch.randn(2 * batch, width), torch.randint(0, width, (2 * batch,))
    return uk.Recipe(
        name="forward",
        model=model,
        loss=lambda m, b: cross_entropy(m(b[0]), b[1], reduction="none"),
        optimizer=torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM),
        data=data,
        units=[f"unit-{i}" for i in range(2 * batch)],
        epochs=-(-steps // 2),
        batch_size=batch,
        probes={"logits": lambda m: m(data[0][:2])[:, 0]},
    )


def seconds(work: Callable[[], object]) -> float:
    """Of a processor, for one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def flop_rate(width: int, batch: int, directions: int) -> float:
    """Real multiplications and additions a second, in products of a layer's shape."""
    x, weights = torch.randn(directions * batch, width), torch.randn(width, width)
    out = torch.empty_like(x)
    taken = min(seconds(lambda: torch.mm(x, weights, out=out)) for _ in range(5))
    return 2 * directions * batch * width**2 / taken


def byte_rate() -> float:
    """Bytes a second that are read or written, in copies of 128 MB."""
    a, b = torch.ones(1 << 25), torch.ones(1 << 25)
    return 8 * (1 << 25) / min(seconds(lambda: a.copy_(b)) for _ in range(5))


def ratios(width: int, batch: int, degree: int, directions: int, repeats: int) -> Iterator[float]:
    """What a step takes, in its flop count at the rate of the moment."""
    r = recipe(width, batch, repeats + 1)
    trainer = Trainer(make_run(r, "float32", "cpu"), degree)
    psi = torch.randn(directions, len(r.unit_names), dtype=torch.complex64)
    states = trainer.start(psi)
    trainer.advance(0, states, psi)
    for step in range(1, repeats + 1):
        before = flop_rate(width, batch, directions)
        taken = seconds(lambda step=step: trainer.advance(step, states, psi))  # type: ignore[misc]
        yield taken * max(before, flop_rate(width, batch, directions)) / flops(width, batch, degree, directions)


def flops(width: int, batch: int, degree: int, directions: int) -> float:
    """Of a step's products: in each layer forward and for the weights, and for the inputs of all but the first."""
    products = 2 * HALF[degree] + 3 * (LAYERS - 1) * WHOLE[degree]
    return 2.0 * products * directions * batch * width**2


def line(width: int, batch: int, degree: int, repeats: int) -> str:
    """A row of the table."""
    directions = 8 if width <= 256 else 4
    found = list(ratios(width, batch, degree, directions, repeats))
    moved = PASSES * 4 * 2 * degree * directions * LAYERS * width**2
    bytes_share = moved / byte_rate() * flop_rate(width, batch, directions) / flops(width, batch, degree, directions)
    told = f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
    return f"| {width} | {batch} | {degree} | {told} | {bytes_share:.2f} |"


def by_jvp(r: uk.Recipe, psi: Tensor, degree: int) -> dict[str, Tensor]:
    """Derivatives of this degree of the trained weights, by training inside nested jvp."""
    assert isinstance(r.data, tuple)
    inputs, labels = r.data
    start = {name: p.detach() for name, p in r.model.named_parameters()}

    def loss(weights: dict[str, Tensor], rows: Tensor, w: Tensor) -> Tensor:
        logits = functional_call(r.model, weights, (inputs[rows],))
        return ((1 - w) * cross_entropy(logits, labels[rows], reduction="none")).sum() / len(rows)

    def trained(direction: Tensor, z: Tensor) -> dict[str, Tensor]:
        weights, momentum = start, {name: torch.zeros_like(p) for name, p in start.items()}
        for (rows,) in r.parts:
            at = torch.as_tensor(rows)
            slope = grad(loss)(weights, at, z * direction[at])
            momentum = {name: MOMENTUM * momentum[name] + slope[name] for name in slope}
            weights = {name: weights[name] - RATE * momentum[name] for name in slope}
        return weights

    def derived(f: Callable[[Tensor], dict[str, Tensor]]) -> Callable[[Tensor], dict[str, Tensor]]:
        return lambda z: jvp(f, (z,), (torch.ones(()),))[1]

    def along(direction: Tensor) -> dict[str, Tensor]:
        f: Callable[[Tensor], dict[str, Tensor]] = lambda z: trained(direction, z)  # noqa: E731
        for _ in range(degree):
            f = derived(f)
        return f(torch.zeros(()))

    return vmap(along)(psi)


def peer(width: int, batch: int, degree: int, repeats: int) -> str:
    """A row of the other table: seconds of this engine and of nested jvp, and how far they are apart."""
    r = recipe(width, batch, 4)
    trainer = Trainer(make_run(r, "float32", "cpu"), degree)
    psi = torch.randn(4, len(r.unit_names)) / 10
    factor = float(torch.arange(1, degree + 1).prod())
    ours, theirs = trainer.train(psi), by_jvp(r, psi, degree)
    apart = max(
        float((leaf.coefficients[-1] * factor - theirs[name]).norm() / theirs[name].norm())  # type: ignore[union-attr]
        for name, leaf in ours.items()
    )
    assert all(constant_of(leaf).isfinite().all() for leaf in ours.values())
    pairs = [(seconds(lambda: trainer.train(psi)), seconds(lambda: by_jvp(r, psi, degree))) for _ in range(repeats)]
    mine, other = (statistics.median(x) for x in zip(*pairs, strict=True))
    return f"| {width} | {batch} | {degree} | {mine:.2f} | {other:.2f} | {other / mine:.2f} | {apart:.0e} |"


def main() -> None:
    """Measure, and print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", default="256,1024")
    parser.add_argument("--batches", default="256,50")
    parser.add_argument("--degrees", default="1,2,3")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--peer", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    widths, batches, degrees = ([int(x) for x in text.split(",")] for text in _lists(options))
    for width in widths:
        for batch in batches:
            for degree in degrees:
                print((peer if options.peer else line)(width, batch, degree, options.repeats), flush=True)


def _lists(options: argparse.Namespace) -> tuple[str, str, str]:
    return options.widths, options.batches, options.degrees


if __name__ == "__main__":
    main()
