"""The table of cases for the Taylor rules: ordinary torch functions that between them use every rule there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, inf

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """function: of float tensors with these shapes. jets: which of them are jets. domain: where constant terms lie."""

    name: str
    function: Callable[..., Any]
    shapes: tuple[Shape, ...]
    jets: tuple[bool, ...]
    domain: str = "real"
    piecewise: bool = False

    def constants(self, generator: torch.Generator) -> list[Tensor]:
        """Constant terms, drawn from the domain."""
        return [DOMAINS[self.domain](torch.randn(s, generator=generator, dtype=torch.float64)) for s in self.shapes]


DOMAINS: dict[str, Callable[[Tensor], Tensor]] = {
    "real": lambda x: x,
    "positive": lambda x: x.abs() + 0.5,
    "zero": torch.zeros_like,
    "negative": lambda x: -x.abs() - 0.5,
}


def smooth(name: str, function: Callable[..., Any], *shapes: Shape, domain: str = "real") -> Case:
    """All arguments are jets."""
    return Case(name, function, shapes, (True,) * len(shapes), domain)


def mixed(name: str, function: Callable[..., Any], *shapes: Shape, domain: str = "real") -> list[Case]:
    """One case with jets alone, and one for each way in which one argument is a jet and the others plain tensors."""
    alone = [tuple(i == j for j in range(len(shapes))) for i in range(len(shapes))]
    return [
        Case(f"{name}[{''.join('cj'[jet] for jet in jets)}]", function, shapes, jets, domain)
        for jets in [(True,) * len(shapes), *alone]
    ]


def kinked(name: str, function: Callable[..., Any], *shapes: Shape) -> Case:
    """A function with kinks; random constant terms stay clear of them."""
    return Case(name, function, shapes, (True,) * len(shapes), piecewise=True)


A, B, M, V, S = (2, 3), (3, 2), (3, 3), (3,), ()
IMAGE, SEQUENCE = (1, 2, 4, 4), (1, 2, 5)
ROWS = torch.tensor([2, 0, 2])
CELLS = torch.tensor([[1, 0, 2], [0, 0, 1]])
MASK = torch.tensor([[True, False, True], [False, True, True]])
CLASSES = torch.tensor([2, 0])
CAUSAL = torch.tensor([[0.0, -inf, -inf], [0.0, 0.0, -inf], [0.0, 0.0, 0.0]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)


def assign(x: Tensor, y: Tensor, *key: Any) -> Tensor:
    """``x`` with ``y`` written into ``x[key]``."""
    x = x.clone()
    x[key] = y
    return x


def loss(**settings: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: F.cross_entropy(x, CLASSES, **settings)


def weighted_bce(x: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(x, y, weight=WEIGHTS, pos_weight=WEIGHTS + 1, reduction="sum")


ELEMENTWISE = [
    *(smooth(f.__name__, f, A) for f in (torch.exp, torch.exp2, torch.expm1, torch.sin, torch.cos, torch.tan)),
    *(smooth(f.__name__, f, A) for f in (torch.sinh, torch.cosh, torch.tanh, torch.sigmoid, torch.erf, torch.erfc)),
    *(smooth(f.__name__, f, A) for f in (torch.atan, torch.neg, torch.square, F.gelu, F.silu, F.softplus, F.mish)),
    *(smooth(f.__name__, f, A, domain="positive") for f in (torch.log, torch.log1p, torch.log2, torch.log10)),
    *(smooth(f.__name__, f, A, domain="positive") for f in (torch.sqrt, torch.rsqrt, torch.reciprocal)),
    smooth("gelu tanh", lambda x: F.gelu(x, approximate="tanh"), A),
    smooth("softplus with a threshold", lambda x: F.softplus(x, beta=2, threshold=0.5), A),
    smooth("logsigmoid", F.logsigmoid, A),
    smooth("glu", F.glu, (2, 4)),
    smooth("of a number", torch.tanh, S),
    smooth("of nothing", torch.tanh, (0, 3)),
]

POWERS = [
    *(smooth(f"power {p}", lambda x, p=p: x**p, A) for p in (0, 1, 2, 3, 5)),
    *(smooth(f"power {p} at 0", lambda x, p=p: x**p, A, domain="zero") for p in (1, 2, 3, 2.0)),
    *(smooth(f"power {p}", lambda x, p=p: x**p, A, domain="positive") for p in (-2, -0.5, 0.5, 2.5)),
    smooth("power -3 of negative numbers", lambda x: x**-3, A, domain="negative"),
    smooth("power of 2", lambda x: 2.0**x, A),
    *mixed("power of tensors", torch.pow, A, V, domain="positive"),
    smooth("power 2 by a tensor", lambda x: x ** torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64), A),
    smooth("power 2 by a tensor at 0", lambda x: x ** torch.tensor(2.0, dtype=torch.float64), A, domain="zero"),
]

ARITHMETIC = [
    *mixed("add", torch.add, A, V),
    *mixed("add a multiple", lambda x, y: torch.add(x, y, alpha=3), V, A),
    *mixed("subtract", torch.sub, A, (2, 1)),
    *mixed("subtract a multiple", lambda x, y: torch.sub(x, y, alpha=0.5), S, A),
    *mixed("multiply", torch.mul, A, V),
    *mixed("multiply outer", torch.mul, (2, 1), (1, 3)),
    *mixed("multiply by a number", torch.mul, S, A),
    *mixed("divide", torch.div, A, V, domain="positive"),
    *mixed("divide number", torch.div, S, A, domain="positive"),
    smooth("python numbers", lambda x: (1 - x) * 2 / 3 + 4 - 1 / (x + 3), A, domain="positive"),
    smooth("integer tensor", lambda x: x * torch.arange(3) + torch.arange(3), A),
    smooth("same tensor twice", lambda x: x * x / (x + x) - torch.addcmul(x, x, x), V, domain="positive"),
    *mixed("addcmul", lambda x, y, z: torch.addcmul(x, y, z, value=0.5), A, V, A),
    *mixed("addcdiv", lambda x, y, z: torch.addcdiv(x, y, z, value=0.5), A, V, A, domain="positive"),
    smooth("lerp", lambda x, y: torch.lerp(x, y, 0.3), A, A),
]

REDUCTIONS = [
    smooth("sum", torch.sum, A),
    smooth("sum of rows", lambda x: x.sum(-1), (2, 3, 2)),
    smooth("sum kept", lambda x: x.sum((0, 2), keepdim=True), (2, 3, 2)),
    smooth("sum of a number", lambda x: x.sum(), S),
    smooth("mean", torch.mean, A),
    smooth("mean of rows", lambda x: x.mean(0, keepdim=True), A),
    smooth("var", torch.var, A),
    smooth("var of rows", lambda x: x.var(1, correction=0, keepdim=True), A),
    smooth("std", lambda x: x.std(1), A),
    smooth("var_mean", lambda x: torch.var_mean(x, dim=1), A),
    smooth("cumsum", lambda x: x.cumsum(1), A),
    smooth("cumsum of a number", lambda x: x.cumsum(0), S),
    smooth("prod", lambda x: x.prod(1), A),
    smooth("prod kept", lambda x: x.prod(0, keepdim=True), A),
    smooth("prod of all", lambda x: x.prod(), A),
    smooth("prod of a number", lambda x: x.prod() + x.prod(0) + x.cumprod(0), S),
    smooth("cumprod", lambda x: x.cumprod(-1), A),
    smooth("norm", lambda x: torch.linalg.vector_norm(x, dim=1), A),
    smooth("norm of all", torch.linalg.norm, A),
    smooth("logsumexp", lambda x: x.logsumexp(1), A),
    smooth("logsumexp kept", lambda x: x.logsumexp((0, 1), keepdim=True), A),
    smooth("softmax", lambda x: x.softmax(-1), A),
    smooth("softmax of a number", lambda x: x.softmax(0), S),
    smooth("softmax with a mask", lambda x: (x + CAUSAL).softmax(-1), M),
    smooth("log_softmax", lambda x: x.log_softmax(0), A),
    smooth("large softmax", lambda x: (x + 1e4).softmax(-1) + (x - 1e4).log_softmax(-1), A),
]

PRODUCTS = [
    *mixed("mm", torch.mm, A, B),
    *mixed("bmm", torch.bmm, (2, 2, 3), (2, 3, 2)),
    *mixed("matmul", torch.matmul, (2, 1, 2, 3), (2, 3, 2)),
    *mixed("mv", torch.mv, A, V),
    *mixed("dot", torch.dot, V, V),
    *mixed("addmm", lambda x, a, b: torch.addmm(x, a, b, beta=0.5, alpha=2), (2,), A, B),
    *mixed("baddbmm", lambda x, a, b: torch.baddbmm(x, a, b, alpha=2), (2, 2, 2), (2, 2, 3), (2, 3, 2)),
    *mixed("linear", F.linear, (2, 2, 3), A, (2,)),
    smooth("gram", lambda x: x @ x.T, A),
    smooth("outer", torch.outer, V, (2,)),
    smooth("einsum", lambda x, y: torch.einsum("bij,jk->bik", x, y), (2, 2, 3), B),
    smooth("einsum diagonal", lambda x, y: torch.einsum("ii,ij->j", x, y), M, B),
    smooth("einsum three", lambda x, y, z: torch.einsum("i,ij,j->", x, y, z), (2,), A, V),
    smooth("tensordot", lambda x, y: torch.tensordot(x, y, dims=([0, 2], [1, 0])), (2, 2, 3), (3, 2)),
]

CONVOLUTIONS = [
    *mixed("conv1d", lambda x, w, b: F.conv1d(x, w, b, stride=2, padding=1), SEQUENCE, (2, 2, 3), (2,)),
    *mixed("conv2d", F.conv2d, (2, 1, 3, 3), (2, 1, 2, 2), (2,)),
    smooth("conv2d in groups", lambda x, w: F.conv2d(x, w, padding=(1, 0), groups=2), IMAGE, (2, 1, 3, 2)),
    smooth("conv2d dilated", lambda x, w: F.conv2d(x, w, stride=(1, 2), dilation=2), IMAGE, (1, 2, 2, 1)),
    smooth("conv1d same", lambda x, w: F.conv1d(x, w, padding="same"), SEQUENCE, (1, 2, 3)),
    smooth("conv1d unbatched", F.conv1d, (2, 5), (1, 2, 3)),
    *mixed("conv_transpose1d", lambda x, w: F.conv_transpose1d(x, w, stride=2, output_padding=1), SEQUENCE, (2, 1, 2)),
    smooth("conv_transpose2d", lambda x, w: F.conv_transpose2d(x, w, padding=1, groups=2), (1, 2, 2, 2), (2, 1, 3, 3)),
]

NORMALISATIONS = [
    *mixed("layer_norm", lambda x, w, b: F.layer_norm(x, (3,), w, b), A, V, V),
    smooth("layer_norm of two dimensions", lambda x: F.layer_norm(x, (2, 3)), (2, 2, 3)),
    *mixed("group_norm", lambda x, w, b: F.group_norm(x, 2, w, b), (2, 4, 3), (4,), (4,)),
    smooth("group_norm of images", lambda x: F.group_norm(x, 1), (1, 2, 2, 2)),
    smooth("rms_norm", lambda x, w: F.rms_norm(x, (3,), w), A, V),
    smooth("instance_norm", lambda x, w, b: F.instance_norm(x, weight=w, bias=b), (2, 2, 3), (2,), (2,)),
    *mixed("batch_norm", lambda x, w, b: F.batch_norm(x, -WEIGHTS, WEIGHTS, w, b, eps=0.1), A, V, V),
    smooth("batch_norm of images", lambda x: F.batch_norm(x, -WEIGHTS[:2], WEIGHTS[1:]), IMAGE),
]

EMBEDDINGS = [
    smooth("embedding", lambda w: F.embedding(CELLS, w), (4, 2)),
    smooth("embedding with padding", lambda w: F.embedding(CELLS, w, padding_idx=0), (4, 2)),
    smooth("embedding by frequency", lambda w: F.embedding(CELLS, w, scale_grad_by_freq=True), (4, 2)),
    smooth("embedding of one", lambda w: F.embedding(torch.tensor(1), w), (4, 2)),
    smooth("index_select", lambda x: x.index_select(1, ROWS), A),
]

LOSSES = [
    smooth("cross_entropy", loss(), A),
    smooth("cross_entropy per example", loss(reduction="none"), A),
    smooth("cross_entropy ignoring", loss(ignore_index=0), A),
    smooth("cross_entropy smoothed", loss(label_smoothing=0.1), A),
    smooth("cross_entropy weighted", loss(weight=WEIGHTS, label_smoothing=0.2, ignore_index=2), A),
    smooth("cross_entropy of sequences", lambda x: F.cross_entropy(x, CELLS, ignore_index=1), (2, 3, 3)),
    *mixed("cross_entropy with probabilities", lambda x, y: F.cross_entropy(x, y.softmax(-1)), A, A),
    smooth("mse", F.mse_loss, A, A),
    *mixed("binary cross entropy", F.binary_cross_entropy_with_logits, A, A),
    smooth("weighted binary cross entropy", weighted_bce, A, A),
    smooth("kl_div", lambda x, y: F.kl_div(x.log_softmax(-1), y.softmax(-1), reduction="batchmean"), A, A),
    smooth("logaddexp", torch.logaddexp, A, V),
    smooth("poisson", lambda x: F.poisson_nll_loss(x, WEIGHTS), A),
]

ATTENTION = [
    *mixed("attention", F.scaled_dot_product_attention, (2, 3, 2), (2, 3, 2), (2, 3, 2)),
    smooth("causal", lambda q, k: F.scaled_dot_product_attention(q, k, q, is_causal=True), (1, 3, 2), (1, 3, 2)),
    smooth("masked", lambda q, k: F.scaled_dot_product_attention(q, k, k, CAUSAL), (1, 3, 2), (1, 3, 2)),
    smooth("row masked out", lambda q: F.scaled_dot_product_attention(q, q, q, MASK[:, :1] & MASK[:, :2]), (1, 2, 2)),
]
