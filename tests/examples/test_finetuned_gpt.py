"""The run as people have them, at a smaller size: predictions against real retrainings."""

from __future__ import annotations

import numpy as np
import pytest
from unlearnkit.examples import finetuned_gpt
from unlearnkit.examples.finetuned_gpt import FINE_TUNED, Size, agreement, changes, draw, recipe

import unlearnkit as uk

SMALL = Size(owners=2, names=3, epochs=(1, 1), width=8)


def test_first_orders_are_in_step_with_retrainings_of_both_phases(tmp_path):
    run = recipe(SMALL)
    assert {len(batch) for step in run.parts for batch in step} == {finetuned_gpt.BATCH, 60 % 24, 18}
    sketch = uk.sketch(run, tmp_path / "bundle", device="cpu", progress=False).probe("losses")
    sets = [[unit] for unit in run.unit_names[::2]]
    predicted = np.stack([np.asarray(sketch.predict(delete, degree=1).change) for delete in sets])
    lds, _ = agreement(predicted, changes(run, sets))
    assert lds > 0.6  # few names of each: the larger size is linear to more than that
    assert sketch.base.shape == (len(FINE_TUNED) + 1,)


def test_a_name_is_of_one_origin_and_unseen_names_are_nobodys():
    names, owners, unseen = draw(Size())
    assert len(set(names)) == len(names) == len(owners) == 600
    assert not set(names) & {name for some in unseen.values() for name in some}
    assert all(0 < len(some) <= finetuned_gpt.UNSEEN for some in unseen.values())


def test_the_rate_warms_up_and_falls_in_both_phases():
    rates = [step[0]["lr"] for step in recipe(Size()).settings]
    turns = [i for i in range(1, len(rates) - 1) if rates[i] > max(rates[i - 1], rates[i + 1])]
    assert (len(turns), rates[0] < rates[turns[0]], rates[-1]) == (2, True, pytest.approx(0, abs=1e-9))
