"""Schedules are played through beforehand; every step's settings are the ones that torch's own loop would see."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.optim import lr_scheduler

from unlearnkit.errors import RecipeError
from unlearnkit.training.schedule import play

EPOCHS, PER_EPOCH = 3, 4
STEPS = EPOCHS * PER_EPOCH


def optimizer(kind=torch.optim.SGD, **settings):
    a, b = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    settings = settings or ({"momentum": 0.9} if kind is torch.optim.SGD else {})
    return kind([{"params": [a], "lr": 0.2}, {"params": [b]}], lr=0.1, **settings)


SCHEDULERS = {
    "step": lambda o: lr_scheduler.StepLR(o, 2, gamma=0.5),
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS),
    "restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, [0.3, 0.4], total_steps=STEPS),
    "cyclic": lambda o: lr_scheduler.CyclicLR(o, 0.1, 0.5, step_size_up=3),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, [lambda t: 1 / (1 + t), lambda t: 0.9**t]),
    "multiplicative": lambda o: lr_scheduler.MultiplicativeLR(o, lambda t: 0.5 + t / 20),
    "sequential": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, total_iters=3), lr_scheduler.ExponentialLR(o, 0.8)], milestones=[3]
    ),
    "chained": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o, total_iters=2), lr_scheduler.ExponentialLR(o, 0.8)]
    ),
    "polynomial": lambda o: lr_scheduler.PolynomialLR(o, total_iters=5, power=2),
}


def real_loop(make, kind, every: int):
    """What the settings are when ``optimizer.step()`` is called, in a plain training loop."""
    o = optimizer(kind)
    scheduler = make(o)
    seen = []
    for step in range(STEPS):
        for group in o.param_groups:
            for p in group["params"]:
                p.grad = torch.ones_like(p)
        seen.append([{k: v for k, v in group.items() if k != "params"} for group in o.param_groups])
        o.step()
        if (step + 1) % every == 0:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # SequentialLR and ChainedScheduler warn about themselves
                scheduler.step()
    return seen


@pytest.mark.parametrize("interval", ["step", "epoch"])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_settings_are_those_of_a_plain_loop(name, kind, interval):
    o = optimizer(kind)
    scheduler = SCHEDULERS[name](o)
    before, rates = [dict(group) for group in o.param_groups], scheduler.get_last_lr()
    played = play(o, scheduler, epochs=EPOCHS, steps_per_epoch=PER_EPOCH, interval=interval)
    assert played == real_loop(SCHEDULERS[name], kind, PER_EPOCH if interval == "epoch" else 1)
    assert [dict(group) for group in o.param_groups] == before
    assert scheduler.get_last_lr() == rates


def test_one_cycle_cycles_the_momentum_too():
    o = optimizer()
    played = play(o, SCHEDULERS["one cycle"](o), epochs=EPOCHS, steps_per_epoch=PER_EPOCH, interval="step")
    assert len({step[0]["momentum"] for step in played}) > 4
    o = optimizer(torch.optim.Adam)
    played = play(o, SCHEDULERS["one cycle"](o), epochs=EPOCHS, steps_per_epoch=PER_EPOCH, interval="step")
    assert len({step[0]["betas"][0] for step in played}) > 4


def test_a_function_of_the_step_sets_the_rate_and_groups_keep_their_ratios():
    """As ``LambdaLR`` with the same factor for all groups would."""
    o = optimizer()
    played = play(o, lambda step: 0.2 * 0.5**step, epochs=1, steps_per_epoch=4, interval="epoch")
    expected = play(o, lr_scheduler.LambdaLR(o, lambda t: 0.5**t), epochs=1, steps_per_epoch=4, interval="step")
    rates = [[[group["lr"] for group in step] for step in run] for run in (played, expected)]
    assert rates[0] == rates[1] == [[0.2 * 0.5**s, 0.1 * 0.5**s] for s in range(4)]
    assert {group["momentum"] for step in played for group in step} == {0.9}


def test_groups_without_a_rate_stay_without_one_and_give_no_ratio():
    def of_rates(first, second):
        o = optimizer()
        o.param_groups[0]["lr"], o.param_groups[1]["lr"] = first, second
        (step,) = play(o, lambda _: 0.5, epochs=1, steps_per_epoch=1, interval="step")
        return [group["lr"] for group in step]

    assert of_rates(0.1, 0.0) == [0.5, 0.0]
    assert of_rates(0.0, 0.0) == [0.5, 0.5]
    with pytest.raises(RecipeError, match="rate of the first parameter group, which is 0") as caught:
        of_rates(0.0, 0.1)
    assert "LambdaLR" in caught.value.hint


def test_without_a_schedule_nothing_changes():
    played = play(optimizer(), None, epochs=2, steps_per_epoch=3, interval="step")
    assert len(played) == 6
    assert [group["lr"] for group in played[5]] == [0.2, 0.1]


def test_a_schedule_that_depends_on_a_measured_loss_is_refused():
    o = optimizer()
    with pytest.raises(RecipeError, match="ReduceLROnPlateau depends on a measured loss"):
        play(o, lr_scheduler.ReduceLROnPlateau(o), epochs=1, steps_per_epoch=1, interval="step")


def test_the_scheduler_of_another_optimizer_is_refused():
    with pytest.raises(RecipeError, match="built for another optimizer"):
        play(optimizer(), lr_scheduler.StepLR(optimizer(), 1), epochs=1, steps_per_epoch=1, interval="step")


@pytest.mark.parametrize(
    ("rate", "message"), [(-0.1, r"lr_schedule\(0\) is -0.1"), (float("nan"), "is nan"), (float("inf"), "is inf")]
)
def test_rates_that_are_no_rates_are_refused(rate, message):
    with pytest.raises(RecipeError, match=message):
        play(optimizer(), lambda _: rate, epochs=1, steps_per_epoch=1, interval="step")
