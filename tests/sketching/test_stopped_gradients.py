"""``detach`` and ``torch.no_grad`` stop the gradient that training takes, and nothing else: what training does depends
on the stopped values all the same, and so do probes.

Expected: finite differences of real retrainings, and the forward sketch along each person alone.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import unlearnkit as uk
from tests.training.calls import sketched
from tests.training.small import X, loss, recipe

CALL = {"dtype": "float64", "device": "cpu", "progress": False}


def focal(m, batch):
    own = loss(m, batch)
    return (1 - torch.exp(-own)).square().detach() * own


def with_its_own_teacher(m, batch):
    with torch.no_grad():
        taught = m(batch[0]).softmax(1)
    return loss(m, batch) - (taught * m(batch[0]).log_softmax(1)).sum(1)


def outputs(m):
    return m(X[:2]).softmax(1)


def stopped_in_part(m):
    logits = m(X[:2])
    return logits * logits.detach().sigmoid()


CASES = {
    "a focal weight": {"loss": focal, "probes": {"p": outputs}},
    "a teacher without gradients": {"loss": with_its_own_teacher, "probes": {"p": outputs}},
    "a probe without gradients": {"probes": {"p": torch.no_grad()(outputs)}},
    "a probe that detaches": {"probes": {"p": stopped_in_part}},
    "a probe of what is detached": {"probes": {"p": lambda m: outputs(m).detach()}},
}


@pytest.mark.parametrize("name", CASES)
def test_reverse_sweeps_see_through_what_stops_the_gradient_of_training(name, tmp_path):
    r = recipe("sgd", **CASES[name])
    reverse = uk.sketch(r, tmp_path / "reverse", **CALL).probe("p").influences()
    forward = sketched(r, tmp_path / "forward", directions=np.eye(8) + 0j, degree=1, **CALL).probe("p").coefficients
    assert np.allclose(reverse, forward[:, 0].real, rtol=1e-12, atol=1e-15)
    step = 1e-4
    base, near, far = (
        r.probes["p"](uk.retrain(r, ["b"], weight=w, device="cpu").eval()).detach().numpy()
        for w in (0.0, step, 2 * step)
    )
    assert np.allclose(reverse[1], (4 * near - 3 * base - far) / (2 * step), rtol=1e-5, atol=1e-8)
    assert np.abs(reverse).max() > 1e-3


def test_second_order_and_own_losses_see_through_it_too(tmp_path):
    r = recipe("sgd", loss=focal, probes={"p": lambda m: outputs(m)[0].detach(), "own_loss": uk.OwnLoss()})
    settings = {"p": uk.Reverse(rank=8, residual=0), "own_loss": uk.Reverse(rank=0, residual=0)}
    reverse = uk.sketch(r, tmp_path / "reverse", reverse=settings, **CALL)
    forward = sketched(r, tmp_path / "forward", directions=np.eye(8) + 0j, degree=2, **CALL)
    exact = forward.probe("p").coefficients[:, 1].real
    curves = reverse.probe("p").reverse
    diagonal = np.einsum("eup,ep,eup->ue", curves.vectors, curves.values, curves.vectors)
    assert np.allclose(diagonal / 2, exact, rtol=1e-10, atol=1e-13)
    own = forward.probe("own_loss").coefficients[:, 0].real
    assert np.allclose(reverse.probe("own_loss").influences(), own, rtol=1e-10, atol=1e-13)


def test_convolutions_under_group_norm_are_swept(tmp_path):
    """Their gradients come out with other strides each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        m = nn.Sequential(nn.Conv2d(1, 4, 2), nn.GroupNorm(2, 4), nn.SiLU(), nn.Conv2d(4, 4, 1, groups=2), nn.Flatten())
    m = nn.Sequential(nn.Unflatten(1, (1, 2, 2)), m, nn.Linear(4, 3)).double()
    r = recipe(model=m, optimizer_made=torch.optim.SGD(m.parameters(), lr=0.1), probes={"p": outputs})
    reverse = uk.sketch(r, tmp_path / "reverse", **CALL).probe("p").influences()
    forward = sketched(r, tmp_path / "forward", directions=np.eye(8) + 0j, degree=1, **CALL).probe("p").coefficients
    assert np.allclose(reverse, forward[:, 0].real, rtol=1e-10, atol=1e-14)
