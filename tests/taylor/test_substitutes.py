"""Functions that are taken apart another way than torch's: the same values, and gradients where torch has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import unlearnkit as uk
from unlearnkit.taylor import packed
from unlearnkit.taylor.substitutes import SUBSTITUTES, without_checkpointing

GENERATOR = torch.Generator().manual_seed(0)
A, B = (torch.randn(4, 3, generator=GENERATOR, dtype=torch.float64) for _ in range(2))
TABLE = torch.randn(9, 3, generator=GENERATOR, dtype=torch.float64)
IDS = torch.randint(9, (4, 5), generator=GENERATOR)
WEIGHTS = torch.rand(4, 5, generator=GENERATOR, dtype=torch.float64)
CUBE = torch.randn(2, 3, 3, generator=GENERATOR, dtype=torch.float64)
OFFSETS = torch.tensor([0, 3, 3, 11])
LAST = torch.tensor([0, 3, 3, 20])
CALLS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = {
    "normalize": (F.normalize, (A,), {}),
    "normalize a zero": (F.normalize, (A * 0,), {"eps": 1e-3}),
    "normalize by another norm": (F.normalize, (A,), {"p": 1.0, "dim": 0}),
    "cosine": (F.cosine_similarity, (A, B[:1]), {}),
    "cosine over columns": (torch.cosine_similarity, (A, B), {"dim": 0}),
    "cdist": (torch.cdist, (A, B[:2]), {}),
    "cdist of stacks": (torch.cdist, (A.expand(2, 4, 3), B), {"p": 2.0}),
    "cdist by another norm": (torch.cdist, (A, B), {"p": 1.0}),
    "bilinear": (F.bilinear, (A, B, CUBE, B[0, :2]), {}),
    "bilinear without bias": (F.bilinear, (A, B, CUBE), {}),
    "embedding": (F.embedding, (IDS, TABLE, 3), {}),
    "means of bags": (F.embedding_bag, (IDS, TABLE), {}),
    "means of bags with padding": (F.embedding_bag, (IDS, TABLE), {"padding_idx": int(IDS[0, 0])}),
    "sums of bags": (F.embedding_bag, (IDS, TABLE), {"mode": "sum", "per_sample_weights": WEIGHTS}),
    "largest of bags": (F.embedding_bag, (IDS, TABLE), {"mode": "max"}),
    "bags by offsets": (F.embedding_bag, (IDS.flatten(), TABLE, OFFSETS), {}),
    "sums of bags by offsets": (F.embedding_bag, (IDS.flatten(), TABLE, OFFSETS), {"mode": "sum"}),
    "bags with the last offset": (F.embedding_bag, (IDS.flatten(), TABLE, LAST), {"include_last_offset": True}),
    "largest of bags with padding": (F.embedding_bag, (IDS, TABLE), {"mode": "max", "padding_idx": int(IDS[0, 0])}),
    "largest by offsets": (F.embedding_bag, (IDS.flatten(), TABLE, OFFSETS), {"mode": "max"}),
    "bags by frequency": (F.embedding_bag, (IDS, TABLE), {"scale_grad_by_freq": True, "mode": "sum"}),
    "cross entropy": (F.binary_cross_entropy_with_logits, (A, B.sigmoid()), {"pos_weight": B[0].exp()}),
}


@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients_are_torchs(name):
    function, arguments, settings = CALLS[name]
    results = []
    for call in (function, SUBSTITUTES[function]):
        leaves = [
            a.clone().requires_grad_() if torch.is_floating_point(a) else a for a in arguments if torch.is_tensor(a)
        ]
        others = [a for a in arguments if not torch.is_tensor(a)]
        value = call(*leaves, *others, **settings)
        gradients = torch.autograd.grad(value.sin().sum(), [leaf for leaf in leaves if leaf.requires_grad])
        results.append([value, *gradients])
    assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-12) for a, b in zip(*results, strict=True))


def test_every_substitute_is_tried():
    assert {function for function, _, _ in CALLS.values()} == set(SUBSTITUTES) - set(packed.SUBSTITUTES)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpointed_part_is_called_once_directly(reentrant):
    calls: list[Tensor] = []

    def part(x: Tensor, y: Tensor) -> Tensor:
        calls.append(x)
        return (x * y).tanh()

    a, b = A.clone().requires_grad_(), B.clone().requires_grad_()
    with without_checkpointing():
        found = torch.autograd.grad(checkpoint(part, a, b, use_reentrant=reentrant).sum(), [a, b])
    assert len(calls) == 1
    assert all(map(torch.equal, found, torch.autograd.grad((a * b).tanh().sum(), [a, b])))
    calls.clear()
    torch.autograd.grad(checkpoint(part, a, b, use_reentrant=False).sum(), [a, b])
    assert len(calls) == 2


class Recommender(nn.Module):
    """Bags of items, sparse gradients, checkpointing, a distance, a normalised output."""

    def __init__(self) -> None:
        super().__init__()
        self.items = nn.EmbeddingBag(9, 3, mode="sum", sparse=True)
        self.users = nn.Embedding(4, 3, sparse=True)
        self.mix, self.last = nn.Bilinear(3, 3, 3), nn.Linear(3, 3)

    def forward(self, ids: Tensor) -> Tensor:
        mixed = self.mix(self.items(ids), self.users(ids[:, 0] % 4))
        hidden = checkpoint(lambda h: self.last(h).tanh(), mixed, use_reentrant=False)
        return F.normalize(hidden) - torch.cdist(hidden, self.users.weight)[:, :3]


def test_a_run_with_all_of_it_compiled_is_sketched_as_it_is(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Recommender().double()
    ids = torch.randint(9, (12, 5), generator=torch.Generator().manual_seed(1))
    recipe = uk.Recipe(
        name="recommender",
        model=torch.compile(model, backend="eager"),
        loss=lambda m, batch: F.cross_entropy(m(batch[0]), batch[1], reduction="none"),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.2),
        data=(ids, ids[:, 1] % 3),
        units=[i // 3 for i in range(12)],
        epochs=2,
        batch_size=5,
        probes={"probe": lambda m: m(ids[:2]).logsumexp(1).mean()},
    )
    swept = uk.sketch(recipe, tmp_path / "bundle", dtype="float64", device="cpu").probe("probe")
    values = [float(recipe.probes["probe"](uk.retrain(recipe, ["1"], weight=w)).detach()) for w in (0.0, 1e-5)]
    assert float(swept.base) == pytest.approx(values[0], abs=1e-12)
    assert float(swept.predict(["1"]).change) == pytest.approx((values[1] - values[0]) / 1e-5, rel=1e-3)
