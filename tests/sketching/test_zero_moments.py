"""AdamW as torch has it, where a second moment is exactly zero or only rounding (docs/theory.md section 1)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import unlearnkit as uk
from unlearnkit.bundle.manifest import Piecewise
from unlearnkit.errors import NonFiniteError

EXAMPLES, UNITS = 16, 8
X = torch.randn(EXAMPLES, 4, generator=torch.Generator().manual_seed(0))
Y = torch.randint(0, 3, (EXAMPLES,), generator=torch.Generator().manual_seed(1))


class Lora(nn.Module):
    """The second factor starts at zero, so that the first one has no gradient then."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(4, 3).requires_grad_(False)
        self.a, self.b = nn.Parameter(torch.randn(2, 4)), nn.Parameter(torch.zeros(3, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ self.a.T @ self.b.T


class KeyBias(nn.Module):
    """Softmax does not see the bias of keys."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.last = nn.MultiheadAttention(4, 1, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        sequence = x.unsqueeze(-1) * torch.arange(1.0, 5.0).to(x)
        return self.last(self.attention(sequence, sequence, sequence, need_weights=False)[0].mean(1))


class Rows(nn.Module):
    """Rows of an embedding that no batch has met yet."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.last = nn.Embedding(20, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.rows((x[:, 0].abs() * 9).long().clamp_max(19)))


class Sparse(nn.Module):
    """Features that are mostly zero."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.where(x > 1.0, x, 0.0))


class Dead(nn.Module):
    """Units that are off for everybody."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 3)
        with torch.no_grad():
            self.first.bias[:2] = -100.0

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).relu())


MODELS: dict[str, Callable[[], nn.Module]] = {
    "lora": Lora,
    "key bias": KeyBias,
    "rows": Rows,
    "sparse": Sparse,
    "dead": Dead,
}


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return cross_entropy(model(batch[0]), batch[1], reduction="none")


def probe(model: nn.Module) -> Tensor:
    return cross_entropy(model(X[:5]), Y[:5])


def recipe(make: Callable[[], nn.Module], **settings: object) -> uk.Recipe:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make()
    defaults = {
        "name": "zero moments",
        "model": model,
        "loss": loss,
        "optimizer": torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2),
        "data": (X, Y),
        "units": [i % UNITS for i in range(EXAMPLES)],
        "epochs": 2,
        "batch_size": 4,
        "probes": {"probe": probe},
        "allow_piecewise": make is Dead,
    }
    return uk.Recipe(**(defaults | settings))


def slopes(r: uk.Recipe, h: float = 1e-4) -> np.ndarray:
    """Finite differences of real retrainings along each unit, ``[units]``."""

    def value(unit: str, weight: float) -> float:
        model = uk.retrain(r, [unit], weight=weight, dtype="float64", device="cpu")
        return cross_entropy(model(X[:5].double()), Y[:5]).item()

    base = value("0", 0.0)
    return np.array([(4 * value(u, h / 2) - value(u, h) - 3 * base) / h for u in r.unit_names])


@pytest.mark.parametrize("name", MODELS)
def test_first_orders_are_those_of_real_retrainings(name, tmp_path):
    r = recipe(MODELS[name])
    expected = slopes(r)
    axes = uk.Forward(directions=np.eye(UNITS) + 0j, degree=1)
    pushed = uk.sketch(r, tmp_path / "forward", forward=axes, device="cpu").probe("probe").coefficients[:, 0].real
    for dtype, allowed in (("float32", 1e-3), ("float64", 1e-5)):
        swept = uk.sketch(r, tmp_path / dtype, dtype=dtype, device="cpu").probe("probe")
        found = np.array([float(swept.predict([unit]).change) for unit in r.unit_names])
        assert np.abs(found - expected).max() <= allowed * np.abs(expected).max()
    assert np.abs(pushed - expected).max() <= 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_rounding_alone_moves_as_in_torch_and_has_no_series(dtype, tmp_path):
    r = recipe(KeyBias)
    bundle = uk.sketch(
        r, tmp_path / "b", forward=uk.Forward(directions=2, keep_weights=True), dtype=dtype, device="cpu"
    )
    assert bundle.manifest.piecewise == (
        Piecewise("4 of 12 coordinates held fixed", "attention.in_proj_bias", "rounding"),
    )
    (found,) = [problem for problem in uk.check(r) if problem.kind.value == "rounding"]
    assert "'attention.in_proj_bias' is rounding alone there, for 8 to 8 steps" in found.where
    keys = slice(4, 8)
    start, end = r.model.attention.in_proj_bias, bundle.model_state()["attention.in_proj_bias"]
    plain = uk.retrain(r, dtype=dtype, device="cpu").attention.in_proj_bias.detach().numpy()
    assert np.abs(end[keys] - start[keys].detach().numpy()).max() > 0
    assert np.allclose(end, plain, rtol=0, atol=0.2)  # noise, of the size of the learning rate
    ((_, _, tails),) = bundle.weight_sketches()
    assert not tails["attention.in_proj_bias"][..., keys].any()
    assert tails["attention.in_proj_bias"][..., :4].any()


class Balanced(nn.Module):
    """Two classes, equally many of each in the first batch: the bias has no gradient there, and a derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.bias.expand(len(x), 2)


def balanced(**settings: object) -> uk.Recipe:
    return recipe(Balanced, data=(X, torch.arange(EXAMPLES) % 2), epochs=1, batch_size=EXAMPLES, **settings)


def test_a_gradient_that_is_zero_here_alone_has_its_first_order(tmp_path):
    """One step from zero moments moves by ``lr g / (|g| + eps)``, whose slope at 0 is ``lr / eps``."""
    r = balanced(probes={"bias": lambda model: model.bias[0]})
    slope = -(1e-2 / 1e-8) * 0.5 / EXAMPLES  # unit 0 has two examples of class 0
    bundle = uk.sketch(r, tmp_path / "b", dtype="float64", device="cpu")
    axes = uk.Forward(directions=np.eye(UNITS) + 0j, degree=1)
    pushed = uk.sketch(r, tmp_path / "f", forward=axes, dtype="float64", device="cpu")
    assert float(bundle.probe("bias").predict(["0"]).change) == pytest.approx(2 * slope)
    assert pushed.probe("bias").coefficients[0, 0] == pytest.approx(2 * slope)


def test_and_no_second_one(tmp_path):
    r = balanced(probes={"bias": lambda model: model.bias[0]})
    with pytest.raises(NonFiniteError, match=r"step 0: a Taylor coefficient is not there .* of 'bias'") as caught:
        uk.sketch(r, tmp_path / "b", forward=uk.Forward(directions=2, degree=2), device="cpu")
    assert "eps_inside_sqrt" in caught.value.hint
