"""What a loss, a probe or a model brings along follows the run's precision and device, and may be written into."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import unlearnkit as uk
from tests.training.calls import sketched
from tests.training.small import X, Y, model, recipe
from unlearnkit.audit.retraining import retrained_probes
from unlearnkit.training.captured import captured_tensors
from unlearnkit.training.run import make_run

SINGLE = X.float()
WEIGHTS = torch.tensor([1.0, 2.0, 0.5])
PAD = torch.zeros(len(X), 2, dtype=torch.bool)
PAD[1, 1] = True


def weighted(weight):
    """A loss that captures class weights, or makes them."""

    def loss(m, batch):
        return cross_entropy(m(batch[0]), batch[1], weight=weight() if callable(weight) else weight, reduction="none")

    return loss


class Weighted:
    """The same as an attribute; unhashable too."""

    __hash__ = None

    def __init__(self, weight) -> None:
        self.weight = {"of classes": [weight]}

    def __call__(self, m, batch):
        return cross_entropy(m(batch[0]), batch[1], weight=self.weight["of classes"][0], reduction="none")


def by_keyword(m, batch, *, weight):
    return weighted(weight)(m, batch)


def by_global(m, batch):
    return by_keyword(m, batch, weight=WEIGHTS)


CRITERION = nn.CrossEntropyLoss(WEIGHTS, reduction="none")
LOSSES = {
    "a closure": weighted(WEIGHTS),
    "an object": Weighted(WEIGHTS),
    "a partial function": functools.partial(by_keyword, weight=WEIGHTS),
    "a global of a function that is called": by_global,
    "a method": Weighted(WEIGHTS).__call__,
    "a module": lambda m, b: CRITERION(m(b[0]), b[1]),
    "made on the way": weighted(lambda: torch.tensor([1.0, 2.0, 0.5])),
}


@pytest.mark.parametrize("name", LOSSES)
def test_class_weights_follow_the_run_wherever_they_are_kept(name, tmp_path):
    """Expected: the same loss with weights that are in double precision by hand."""
    r = recipe(loss=LOSSES[name])
    truth = uk.retrain(recipe(loss=weighted(WEIGHTS.double())), ["b"], dtype="float64", device="cpu")
    found = uk.retrain(r, ["b"], dtype="float64", device="cpu")
    assert all(torch.equal(p, q) for p, q in zip(truth.parameters(), found.parameters(), strict=True))
    bundle = sketched(r, tmp_path / "bundle", directions=1, degree=1, dtype="float64", device="cpu")
    expected = uk.retrain(r, dtype="float64", device="cpu").state_dict()["last.weight"]
    assert np.allclose(bundle.model_state()["last.weight"], expected, atol=1e-13)
    assert WEIGHTS.dtype is torch.float32


def test_a_retraining_audit_evaluates_probes_with_class_weights():
    """It retrains in float64, whatever the recipe's own precision is."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        m = nn.Linear(4, 3)
    probes = {"loss": lambda m: cross_entropy(m(SINGLE), Y, weight=WEIGHTS)}
    settings = {"loss": weighted(WEIGHTS), "data": (SINGLE, Y), "probes": probes}
    r = recipe(model=m, optimizer_made=torch.optim.SGD(m.parameters(), lr=0.1), **settings)
    trained = uk.retrain(r, [r.unit_names[1]], dtype="float64", device="cpu").eval()
    expected = cross_entropy(trained(SINGLE.double()), Y, weight=WEIGHTS.double())
    assert np.allclose(retrained_probes(r, [1], "cpu")["loss"], expected.detach(), rtol=1e-12)


def test_a_run_leaves_nothing_behind_in_what_was_captured(tmp_path):
    """A moving average that the loss keeps is state of one run; the next one starts where the first did."""
    average = torch.zeros(3, dtype=torch.float64)

    def centred(m, batch):
        logits = m(batch[0])
        average.mul_(0.5).add_(0.5 * WEIGHTS.mean())
        return cross_entropy(logits * (1 + average), batch[1], reduction="none")

    r = recipe(loss=centred)
    one, two = (uk.retrain(r, dtype="float64", device="cpu").last.weight for _ in range(2))
    assert torch.equal(one, two)
    assert not average.any()


def test_tensors_that_are_made_on_the_way_are_of_the_runs_precision_and_afterwards_as_before():
    before = torch.get_default_dtype()
    run = make_run(recipe(), "float64", "cpu")
    with run.captured.following(run.recipe.loss):
        assert torch.zeros(1).dtype is torch.float64
    assert torch.get_default_dtype() is before
    assert torch.overrides._len_torch_function_stack() == 0


class Constant(nn.Module):
    """A tensor that is no buffer, so that moving the model leaves it where it is; and a teacher in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.scale = torch.tensor([1.0, 0.5, 2.0])
        self.teachers = [nn.Linear(4, 3)]

    def forward(self, x):
        return torch.nn.functional.linear(x, self.linear.weight * self.scale[:, None]) + self.teachers[0](x)


def test_what_a_model_keeps_besides_its_state_follows_too(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        m = Constant()
    probes = {"logits": lambda m: m(SINGLE)}
    r = recipe(model=m, optimizer_made=torch.optim.SGD(m.parameters(), lr=0.1), probes=probes)
    bundle = sketched(r, tmp_path / "bundle", directions=1, degree=1, dtype="float64", device="cpu")
    expected = uk.retrain(r, dtype="float64", device="cpu").linear.weight.detach()
    assert np.allclose(bundle.model_state()["linear.weight"], expected, atol=1e-13)


class Attending(nn.Module):
    """Attention over two halves of the features, some of which a mask leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.last = nn.MultiheadAttention(2, 1, batch_first=True), nn.Linear(2, 3)

    def forward(self, x, pad=None):
        x = x.unflatten(1, (2, 2))
        return self.last(self.attention(x, x, x, key_padding_mask=pad)[0].mean(1))


def drawn(m):
    """Numbers that follow from torch's default precision, and from how many bits a draw of it takes."""
    return m.last.weight.sum() * torch.rand(3) + Y[:3] / 7 + torch.linspace(0, 1, 3)


def scratch(m):
    """A buffer of the probe's own, which it fills."""
    buffer = torch.zeros_like(X[0])
    buffer.add_(m.last.weight[0].sum())
    buffer.zero_().add_(m.last.weight[0].sum())
    buffer[1] = m.last.weight[1].square().sum()
    return buffer


KEPT = torch.zeros(2, dtype=torch.float64)


def into_a_captured_one(m):
    KEPT.zero_()
    KEPT[0] += m.last.weight.sum()
    return KEPT * 2


THREE, MASK = X[:3].clone(), PAD[:3].clone()
PROBES = {
    "float_mask": lambda m: m(THREE, torch.zeros(3, 2, dtype=torch.float64).masked_fill(MASK, -torch.inf)),
    "bool_mask": lambda m: m(THREE, MASK),
    "selected": lambda m: m(THREE)[MASK.any(1)],
    "filled": lambda m: m(THREE).masked_fill(MASK[:, 1:], 1.0),
    "scratch": scratch,
    "drawn": drawn,
    "into_a_captured_one": into_a_captured_one,
    "copied": lambda m: THREE[0].clone().mul_(m.last.weight.sum()),
    "indexed": lambda m: m(THREE)[torch.arange(3), Y[:3]],
}


def attending(**probes) -> uk.Recipe:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        m = Attending().double()
    return recipe(model=m, optimizer_made=torch.optim.SGD(m.parameters(), lr=0.1), probes=probes)


ALONG_B = np.eye(8)[1:2] + 0j


def test_masks_and_writes_into_what_was_captured_are_sketched(tmp_path):
    """Expected: the probe of the retrained model, and finite differences of real retrainings."""
    r = attending(**PROBES)
    bundle = sketched(r, tmp_path / "bundle", directions=ALONG_B, degree=1, dtype="float64", device="cpu")
    assert not KEPT.any()  # nor have the retrainings below written into it yet
    step = 1e-4
    trained = [uk.retrain(r, ["b"], weight=w, device="cpu").eval() for w in (0.0, step, 2 * step)]
    for name, probe in PROBES.items():
        with torch.no_grad():
            base, near, far = (value_of(r, probe, model).numpy() for model in trained)
        slope = (4 * near - 3 * base - far) / (2 * step)
        assert np.allclose(bundle.probe(name).base, base, atol=1e-13), name
        assert np.allclose(bundle.probe(name).coefficients[0, 0], slope, rtol=1e-4, atol=1e-6), name
    assert np.array_equal(bundle.probe("bool_mask").base, bundle.probe("float_mask").base)


def value_of(r: uk.Recipe, probe, trained: nn.Module) -> torch.Tensor:
    """Plain torch's value, with the numbers that the run draws for probes."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with make_run(r, "float64", "cpu").random_numbers(r.steps):
            return probe(trained).clone()
    finally:
        torch.set_default_dtype(before)


def test_reverse_sweeps_see_the_same(tmp_path):
    r = attending(scratch=lambda m: scratch(m)[:2] * m(THREE, MASK)[1, :2] + drawn(m)[:2])
    forward = sketched(r, tmp_path / "forward", directions=ALONG_B, degree=1, dtype="float64", device="cpu")
    reverse = uk.sketch(r, tmp_path / "reverse", dtype="float64", device="cpu", progress=False)
    along_b = reverse.probe("scratch").influences()[1]
    assert np.allclose(along_b, forward.probe("scratch").coefficients[0, 0], rtol=1e-12)


def test_a_table_that_the_loss_picks_from_is_not_copied_at_each_step():
    """Soft labels of all examples, captured by the loss."""
    table = torch.softmax(torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64), 1)

    def distilled(m, batch):
        return -(table[batch[1]] * m(batch[0]).log_softmax(1)).sum(1)

    run = make_run(recipe(loss=distilled), "float64", "cpu")
    from unlearnkit.training.trainer import ACTIVE, Trainer

    trainer = Trainer(run, 1)
    arguments = trainer.arguments(run.initial_weights(), run.first_batch(), None)
    graph = trainer.gradient.prepare(*arguments, active=ACTIVE).trace.module.graph
    assert not graph.find_nodes(op="call_function", target=torch.ops.aten.lift_fresh_copy.default)
    assert any(node.op == "get_attr" for node in graph.nodes)


def test_every_captured_tensor_is_found_once_and_the_models_own_state_never():
    m, held = model(), torch.ones(1)
    loop: list[object] = [held]
    loop.append(loop)

    def function(_model, by_default=(loop, {"again": held})):
        return by_default, WEIGHTS, m

    assert {id(t) for t in captured_tensors(function, m)} == {id(held), id(WEIGHTS)}
    teacher = model()
    found = captured_tensors(lambda _: teacher, m)
    assert {id(t) for t in found} == {id(t) for t in (*teacher.parameters(), *teacher.buffers())}
