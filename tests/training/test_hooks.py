"""Hooks on forward passes are honoured and fingerprinted; hooks on gradients and updates are refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.optim import optimizer as torch_optimizer

import unlearnkit as uk
from tests.training.calls import sketched
from tests.training.small import model, recipe, trained
from unlearnkit.errors import RecipeError


def clip(*_):
    """A hook of any kind; it changes nothing, but it could."""


class Clipping:
    def __call__(self, *_) -> None:
        """A hook that is an object."""


REFUSED = {
    "a parameter's": (
        lambda m, o: m.last.weight.register_hook(clip),
        r"clip on parameter 'last.weight' \(register_hook\)",
    ),
    "a parameter's, after accumulation": (
        lambda m, o: m.first.bias.register_post_accumulate_grad_hook(Clipping()),
        r"Clipping on parameter 'first.bias' \(register_post_accumulate_grad_hook\)",
    ),
    "a module's backward": (
        lambda m, o: m.first.register_full_backward_hook(clip),
        r"clip on module 'first' \(register_full_backward_hook\)",
    ),
    "a module's backward, before": (
        lambda m, o: m.register_full_backward_pre_hook(clip),
        r"clip on the model \(register_full_backward_pre_hook\)",
    ),
    "the optimizer's, before": (
        lambda m, o: o.register_step_pre_hook(clip),
        r"clip on the optimizer \(register_step_pre_hook\)",
    ),
    "the optimizer's, after": (
        lambda m, o: o.register_step_post_hook(clip),
        r"clip on the optimizer \(register_step_post_hook\)",
    ),
    "every module's": (lambda m, o: torch_module.register_module_full_backward_hook(clip), "clip on every module"),
    "every optimizer's": (
        lambda m, o: torch_optimizer.register_optimizer_step_post_hook(clip),
        "clip on every optimizer",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_hooks_on_gradients_and_updates_are_refused_by_name(kind):
    register, message = REFUSED[kind]
    m = model()
    optimizer = torch.optim.SGD(trained(m), lr=0.1)
    handle = register(m, optimizer)
    try:
        with pytest.raises(RecipeError, match=f"hooks change gradients or updates: {message}") as caught:
            recipe(model=m, optimizer_made=optimizer)
    finally:
        handle.remove()
    assert "forward passes are honoured" in caught.value.hint
    assert recipe(model=m, optimizer_made=optimizer).steps


def test_all_of_them_are_named_at_once():
    m = model()
    m.last.weight.register_hook(clip)
    m.first.register_full_backward_hook(clip)
    with pytest.raises(RecipeError, match=r"last.weight.*; .*module 'first'"):
        recipe(model=m, optimizer_made=torch.optim.SGD(trained(m), lr=0.1))


def scaled(_module: nn.Module, _args: object, output: torch.Tensor) -> torch.Tensor:
    return 0.5 * output


def shifted(_module: nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    return (args[0] + 1,)


def hooked(*hooks) -> uk.Recipe:
    m = model()
    for hook in hooks:
        register = m.last.register_forward_hook if hook is scaled else m.last.register_forward_pre_hook
        register(hook)
    return recipe(model=m, optimizer_made=torch.optim.SGD(trained(m), lr=0.1))


def test_hooks_on_forward_passes_are_run_in_sketch_and_retraining(tmp_path):
    plain = uk.retrain(hooked(), dtype="float64", device="cpu").last.weight.detach()
    r = hooked(scaled, shifted)
    truth = uk.retrain(r, dtype="float64", device="cpu").last.weight.detach()
    bundle = sketched(r, tmp_path / "bundle", directions=1, degree=1, dtype="float64", device="cpu")
    assert np.allclose(bundle.model_state()["last.weight"], truth, atol=1e-13)
    assert not torch.allclose(plain, truth, atol=1e-3)


def test_a_hook_on_a_tensor_of_the_forward_pass_is_part_of_it(tmp_path):
    """Gradient reversal, as domain adaptation uses it, where there is a gradient."""

    class Reversing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x):
            hidden = torch.tanh(self.first(x))
            if self.training:
                hidden.register_hook(lambda gradient: -0.5 * gradient)
            return self.last(hidden)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        m = Reversing().double()
    r = recipe(model=m, optimizer_made=torch.optim.SGD(m.parameters(), lr=0.1))
    assert uk.check(r) == ()
    truth = uk.retrain(r, dtype="float64", device="cpu").first.weight.detach()
    bundle = sketched(r, tmp_path / "bundle", directions=1, degree=1, dtype="float64", device="cpu")
    assert np.allclose(bundle.model_state()["first.weight"], truth, atol=1e-13)


def test_hooks_on_forward_passes_change_the_digest():
    digests = [hooked(*hooks).digest for hooks in ((), (scaled,), (shifted,), (scaled, shifted))]
    assert len(set(digests)) == 4
    assert hooked(scaled).digest == digests[1]
