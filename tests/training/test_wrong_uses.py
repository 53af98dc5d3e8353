"""What people do wrong, and what they are told: where it is and what to do, before any work is done."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import unlearnkit as uk
from tests.training.small import OWNERS, X, Y, loss
from unlearnkit.errors import (
    NonFiniteError,
    PiecewiseOpsError,
    RecipeError,
    TraceError,
    UnknownNameError,
    UnlearnkitError,
    UnsupportedOpsError,
)

HERE = r"test_wrong_uses.py:\d+: "


def logits(m: nn.Module) -> torch.Tensor:
    return m(X[:2])


def use(make: Any = None, *, optimizer: Any = None, call: Any = None, **settings: Any) -> Any:
    """What the user does: a recipe, and a sketch of it."""

    def do(folder):
        m = nn.Sequential(nn.Linear(4, 3)).double() if make is None else make()
        made = torch.optim.SGD(m.parameters(), lr=0.1) if optimizer is None else optimizer(m)
        defaults = {"name": "wrong", "model": m, "loss": loss, "optimizer": made, "data": (X, Y), "units": OWNERS}
        defaults |= {"epochs": 2, "batch_size": 4, "probes": {"logits": logits}}
        recipe = uk.Recipe(**(defaults | settings))
        return uk.sketch(recipe, folder / "bundle", dtype="float64", device="cpu", progress=False, **(call or {}))

    return do


class Net(nn.Module):
    """Two layers, with something between them."""

    def __init__(self, between) -> None:
        super().__init__()
        self.first, self.last, self.between = nn.Linear(4, 5), nn.Linear(5, 3), between

    def forward(self, x):
        return self.last(self.between(self, x))


def between(function) -> Any:
    return lambda: Net(function).double()


class Square(torch.autograd.Function):
    """The way that torch had first."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


class SquareApart(torch.autograd.Function):
    """The way that torch.func asks for."""

    @staticmethod
    def forward(x):
        return x * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


def hooked(m, x):
    hidden = m.first(x)
    hidden.register_hook(lambda gradient: gradient.tanh())
    return hidden


def saved(m, x):
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.half(), lambda t: t.double()):
        return torch.tanh(m.first(x))


def stepped(m: nn.Module) -> torch.optim.Optimizer:
    optimizer = torch.optim.Adam(m.parameters())
    loss(m, (X, Y)).sum().backward()
    optimizer.step()
    return optimizer


def frozen() -> nn.Module:
    return nn.Linear(4, 3).double().requires_grad_(False)


def holding(value: float, *, buffer: bool) -> Any:
    def make() -> nn.Module:
        m = nn.Linear(4, 3).double()
        if buffer:
            m.register_buffer("causal", torch.full((2, 2), value))
        else:
            nn.init.constant_(m.weight, value)
        return m

    return make


def backward_inside(m, batch):
    own = loss(m, batch)
    own.sum().backward(retain_graph=True)
    return own


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


class Missing:
    """Counts its examples from one."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int):
        return {i + 1: (X[i], Y[i]) for i in range(12)}[index]


class Noisy(Missing):
    def __getitem__(self, index: int):
        return X[index] + torch.randn(4), Y[index]


OUTSIDE = nn.Linear(4, 3).double()
WITH_NAN = X.clone()
WITH_NAN[3, 1] = float("nan")


def jit(m: nn.Module) -> nn.Module:
    with pytest.warns(DeprecationWarning, match="torch.jit.trace"):
        return torch.jit.trace(m, X[:4])


Case = tuple[Any, type[UnlearnkitError], str, str]
MODELS: dict[str, Case] = {
    "no module": (
        use(lambda: nn.Linear(4, 3).double(), model=len),
        RecipeError,
        "model: got builtin",
        "wrap functions",
    ),
    "data parallel inside": (
        use(lambda: nn.Sequential(nn.DataParallel(nn.Linear(4, 3))).double()),
        RecipeError,
        "module '0' is wrapped in DataParallel",
        "pass the module inside: 0.module",
    ),
    "scripted": (use(lambda: jit(nn.Linear(4, 3).double())), RecipeError, "the model is scripted", "that was scripted"),
    "lazy": (
        use(lambda: nn.Sequential(nn.LazyLinear(3))),
        RecipeError,
        "'0.weight' has no shape yet",
        "on a batch once before",
    ),
    "complex": (
        use(lambda: nn.Linear(4, 3, dtype=torch.complex64)),
        RecipeError,
        "'weight' is torch.complex64, expected real numbers",
        "two real tensors",
    ),
    "weights of nan": (
        use(holding(float("nan"), buffer=False)),
        RecipeError,
        "model: 'weight' holds numbers that are not finite$",
        "load the checkpoint again",
    ),
    "a mask of -inf": (
        use(holding(-torch.inf, buffer=True)),
        RecipeError,
        "model: 'causal' holds numbers that are not finite, and a bundle stores",
        "persistent=False",
    ),
    "frozen": (use(frozen), RecipeError, "holds no parameter that requires a gradient", "requires_grad_"),
    "batch norm": (
        use(lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).double()),
        UnsupportedOpsError,
        r"native_batch_norm \(module '1'.*let one example act on the others.*GroupNorm",
        "smooth, supported operations",
    ),
    "spectral norm": (
        use(
            lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3).double()),
            allow_piecewise=True,
        ),
        RecipeError,
        "the model has spectral norm, which changes its buffers in training",
        r"unlearnkit.fix\(model\) takes it off",
    ),
    "relu": (
        use(lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU()).double()),
        PiecewiseOpsError,
        r"aten.relu \(module '1'.*use GELU",
        "allow_piecewise=True",
    ),
    "a function of autograd": (
        use(between(lambda m, x: Square.apply(m.first(x)))),
        TraceError,
        f"the custom autograd.Function Square cannot be traced.*{HERE}",
        "ordinary torch operations",
    ),
    "a function of autograd, new": (
        use(between(lambda m, x: SquareApart.apply(m.first(x)))),
        TraceError,
        f"the custom autograd.Function SquareApart cannot be traced.*{HERE}",
        "ordinary torch operations",
    ),
    "a hook on a tensor that a probe reaches": (
        use(between(hooked)),
        RecipeError,
        f"probe 'logits' raised RuntimeError: cannot register a hook.*{HERE}",
        "on the model in eval mode",
    ),
    "hooks on what is saved": (use(between(saved)), TraceError, f"saved_tensors_hooks.*{HERE}", "leave that out"),
    "an operation nobody knows": (
        use(between(lambda m, x: torch.special.bessel_j0(m.first(x)))),
        UnsupportedOpsError,
        rf"aten.special_bessel_j0 \(.*{HERE}",
        "smooth, supported operations",
    ),
    "a branch by a value": (
        use(between(lambda m, x: m.first(x) if m.first(x).sum() > 0 else -m.first(x))),
        PiecewiseOpsError,
        f"{HERE}.*Python branches",
        "allow_piecewise=True",
    ),
}
LOSSES: dict[str, Case] = {
    "a scalar": (
        use(loss=lambda m, b: loss(m, b).mean()),
        RecipeError,
        r"loss\(model, batch\) has shape \(\), expected .* shape \(4,\)",
        'reduction="none"',
    ),
    "a column": (use(loss=lambda m, b: loss(m, b)[:, None]), RecipeError, r"has shape \(4, 1\)", 'reduction="none"'),
    "whole numbers": (
        use(loss=lambda m, b: (m(b[0]).argmax(1) != b[1]).long()),
        RecipeError,
        "is torch.int64, expected .* real numbers",
        'reduction="none"',
    ),
    "complex numbers": (use(loss=lambda m, b: 1j * loss(m, b)), RecipeError, "is torch.complex128", 'reduction="none"'),
    "nothing": (use(loss=lambda m, b: None), RecipeError, "is a NoneType, expected a tensor", 'reduction="none"'),
    "no function": (use(loss=3), RecipeError, "loss: got int, expected a function", "not what it returns"),
    "one of torch's, as it is": (
        use(loss=F.cross_entropy),
        RecipeError,
        r"loss\(model, batch\) raised TypeError: cross_entropy_loss\(\): argument 'input'",
        "on the model and a batch",
    ),
    "one argument": (
        use(loss=lambda m: m.weight.sum()),
        RecipeError,
        "raised TypeError: .*takes 1 positional argument but 2 were given",
        "on the model and a batch",
    ),
    "shapes that do not fit": (
        use(data=(X[:, :2], Y)),
        RecipeError,
        r"loss\(model, batch\) raised RuntimeError: mat1 and mat2 shapes cannot be multiplied .*small.py",
        "on the model and a batch",
    ),
    "labels out of range": (
        use(data=(X, Y + 3)),
        RecipeError,
        r"loss\(model, batch\) raised IndexError: Target \d is out of bounds",
        "on the model and a batch",
    ),
    "a model from outside": (
        use(loss=lambda m, b: loss(OUTSIDE, b)),
        RecipeError,
        "does not depend on any parameter that requires a gradient",
        "the model that the loss is given",
    ),
    "without gradients": (
        use(loss=torch.no_grad()(loss)),
        RecipeError,
        "does not depend on any parameter that requires a gradient",
        "no_grad",
    ),
    "its own backward": (
        use(loss=backward_inside),
        TraceError,
        rf"calls backward\(\) itself.*{HERE}",
        "return the losses",
    ),
    "numpy": (
        use(loss=lambda m, b: loss(m, b) * torch.from_numpy(m(b[0]).detach().numpy()).sum()),
        TraceError,
        f"leaves torch, as .numpy.*{HERE}",
        "torch operations",
    ),
    "nan in the data": (
        use(data=(WITH_NAN, Y), order=[[1, 2, 3, 4]], epochs=1),
        NonFiniteError,
        "training step 0: the loss of example 3 is not finite in plain training too",
        "NaN in the data",
    ),
}
DATA: dict[str, Case] = {
    "a dictionary of tensors": (use(data={"x": X, "y": Y}), RecipeError, "data: got dict", "a tuple of its tensors"),
    "a loader": (
        use(data=DataLoader(TensorDataset(X, Y), batch_size=4)),
        RecipeError,
        "data: got DataLoader",
        "pass loader.dataset",
    ),
    "a stream": (use(data=Stream()), RecipeError, "Stream has no length or no indexing", "map-style"),
    "arrays": (use(data=(X.numpy(), Y.numpy())), RecipeError, "a tuple that is not all tensors", "from_numpy"),
    "a list of tensors": (use(data=[X, Y]), RecipeError, "got 12 owners for 2 examples", "for each example"),
    "nothing": (use(data=(X[:0], Y[:0]), units=[]), RecipeError, "there are no examples", "is trained on"),
    "lengths that differ": (
        use(data=[torch.ones(i + 1) for i in range(12)]),
        RecipeError,
        "the examples of a batch cannot be stacked",
        "pad the examples",
    ),
    "text": (use(data=[("a", 1)] * 12), RecipeError, "a batch holds a str", "as tensors"),
    "an example that is missing": (
        use(data=Missing(), order=[[1, 2, 0, 3]], epochs=1),
        RecipeError,
        rf"data: dataset\[0\] raised KeyError: 0 \(.*{HERE}",
        "for every index below its length",
    ),
    "augmentation": (use(data=Noisy()), RecipeError, "gave two different examples", "beforehand"),
    "owners too few": (use(units=OWNERS[:3]), RecipeError, "got 3 owners for 12 examples", "for each example"),
    "owners that are numbers with a point": (
        use(units=[0.5] * 12),
        RecipeError,
        "example 0 is owned by a float",
        "by text or whole numbers",
    ),
    "owners in one text": (use(units="abcdefghijkl"), RecipeError, "units: got str", "one owner, or None"),
    "no owners": (use(units=None), RecipeError, "units: got NoneType", "one owner, or None"),
    "nobody": (use(units=[None] * 12), RecipeError, "no example is owned by anybody", "nobody can ask"),
}
SETTINGS: dict[str, Case] = {
    "a used optimizer": (use(optimizer=stepped), RecipeError, "stepped already", "make a new one"),
    "an unknown optimizer": (
        use(optimizer=lambda m: torch.optim.Adamax(m.parameters())),
        RecipeError,
        "optimizer=Adamax is not supported",
        "use one of .*SGD",
    ),
    "a class": (use(optimizer=lambda _: torch.optim.SGD), RecipeError, "got the class SGD", r"model.parameters\(\)"),
    "another model's optimizer": (
        use(optimizer=lambda _: torch.optim.SGD(OUTSIDE.parameters(), lr=0.1)),
        RecipeError,
        "holds 2 parameters not in the model",
        "the recipe's own model",
    ),
    "a negative batch size": (use(batch_size=-4), RecipeError, "batch_size=-4, expected", "how many examples"),
    "no batch size": (use(batch_size=None), RecipeError, "batch_size=None, expected", "how many examples"),
    "batches and epochs": (
        use(batches=[[0, 1]]),
        RecipeError,
        "batches and epochs and batch_size are given",
        "leave the others",
    ),
    "an empty batch": (
        use(batches=[[0, 1], []], epochs=None, batch_size=None),
        RecipeError,
        "number 1 is a float64 array",
        "positions of its",
    ),
    "a batch beyond the data": (
        use(batches=[[12]], epochs=None, batch_size=None),
        RecipeError,
        "number 0: indices from 12 to 12",
        "from 0",
    ),
    "a collator that draws": (
        use(collate_fn=lambda rows: (torch.stack([x for x, _ in rows]) + torch.randn(()), Y[: len(rows)])),
        RecipeError,
        "collate_fn makes another batch",
        "beforehand",
    ),
    "a collator that fails": (
        use(collate_fn=lambda rows: rows["x"]),
        RecipeError,
        rf"collate_fn raised TypeError.*{HERE}",
        "a list of examples",
    ),
    "clipping to nothing": (use(clip_grad_norm=0), RecipeError, "clip_grad_norm=0, expected", "not clipped"),
    "clipping twice": (
        use(clip_grad_norm=1.0, clip_grad_value=1.0),
        RecipeError,
        "by norm and by value",
        "choose one",
    ),
    "a norm of more than is trained": (
        use(clip_grad_norm=1.0, optimizer=lambda m: torch.optim.SGD([m[0].weight], lr=0.1)),
        RecipeError,
        "no optimizer holds have gradients: 0.bias",
        "freeze them",
    ),
    "tokens that are not counted": (
        use(reduction="tokens"),
        RecipeError,
        r"is a Tensor, expected \(sums, counts\)",
        "over how many tokens",
    ),
    "an order beyond the data": (
        use(order=[[12, 1, 2, 3]] * 2),
        RecipeError,
        "from 1 to 12, but",
        "count examples from 0",
    ),
    "an order in one row": (use(order=list(range(12))), RecipeError, r"shape \(12,\)", "each epoch a row"),
    "an order of unequal rows": (use(order=[[1, 2], [1]]), RecipeError, "order raised ValueError", "as many in each"),
    "a schedule by name": (use(lr_schedule="cosine"), RecipeError, "lr_schedule: got str", "lambda step"),
    "a list of probes": (use(probes=[logits]), RecipeError, "probes: got list, expected a mapping", "probes={"),
    "a probe's name with a space": (
        use(probes={"Test loss": logits}),
        RecipeError,
        "'Test loss' cannot be",
        "a-z",
    ),
    "a probe that is a value": (use(probes={"p": 3.0}), RecipeError, "probe 'p': got float", "not what it returns"),
    "a mistyped probe": (
        use(call={"reverse": {"logit": uk.Reverse()}}),
        UnknownNameError,
        "reverse: the recipe has no probe 'logit'; it has: logits",
        "by the same names",
    ),
}
PROBES: dict[str, Case] = {
    "a number of Python's": (lambda m: float(m(X).sum()), RecipeError, "probe 'p' returned float", "torch.stack"),
    "classes": (lambda m: m(X).argmax(1), RecipeError, "probe 'p' returned torch.int64", "no argmax"),
    "several": (lambda m: {"a": m(X)}, RecipeError, "probe 'p' returned dict", "torch.stack"),
    "nowhere": (
        lambda m: m(X).to("meta"),
        RecipeError,
        "probe 'p' returned a tensor on the meta device",
        "as they are",
    ),
    "a wrong shape": (
        lambda m: m(X.T),
        RecipeError,
        rf"probe 'p' raised RuntimeError: mat1 and mat2 shapes cannot be multiplied .*{HERE}",
        "on the model in eval mode",
    ),
    "a missing key": (
        lambda m: m(X)[:, {}["a"]],
        RecipeError,
        rf"probe 'p' raised KeyError: 'a' \(.*{HERE}",
        "on the model in eval mode",
    ),
    "inference mode": (
        torch.inference_mode()(logits),
        RecipeError,
        "probe 'p' runs in torch.inference_mode",
        "no_grad",
    ),
    "a parameter by name": (
        lambda m: m.get_parameter("0.weight").sum(),
        RecipeError,
        rf"probe 'p' raised AttributeError: .*{HERE}",
        "such as model.weight",
    ),
    "accuracy": (lambda m: (m(X).argmax(1) == Y).double(), PiecewiseOpsError, "only ever jumps", "allow_piecewise"),
}
CASES = {
    **{f"model: {name}": case for name, case in MODELS.items()},
    **{f"loss: {name}": case for name, case in LOSSES.items()},
    **{f"data: {name}": case for name, case in DATA.items()},
    **{f"settings: {name}": case for name, case in SETTINGS.items()},
    **{f"probe: {name}": (use(probes={"p": probe}), *rest) for name, (probe, *rest) in PROBES.items()},
}


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_use_is_told_with_its_place_and_its_cure(name, tmp_path):
    do, kind, message, cure = CASES[name]
    with pytest.raises(UnlearnkitError) as caught:
        do(tmp_path)
    assert type(caught.value) is kind
    assert caught.match("(?s)" + message)
    assert re.search(cure, caught.value.hint or "")
    assert "INTERNAL ASSERT" not in str(caught.value)
    assert not list(tmp_path.iterdir())
