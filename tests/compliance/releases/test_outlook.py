"""The outlook of a release, against orders that are gone through one person at a time, and known polynomials."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from tests.bundle.small import UNITS, own_losses, small
from unlearnkit.bundle import Bundle
from unlearnkit.compliance.releases import outlook
from unlearnkit.compliance.releases.outlook import probe_outlook, strangers


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    """Everything is exact: 16 directions, five units, degree two."""
    folder = tmp_path_factory.mktemp("outlook")
    return Bundle.open(small(folder, weights=False, count=16, own=True).write(folder / "bundle"))


def by_hand(bundle, tolerance: float, standing: list[int], seed: int) -> list[int]:
    """For each order how many go before the first who is one too many, one prediction at a time."""
    random, sketch, found = np.random.default_rng(seed), bundle.probe("test_loss"), []
    others = [unit for unit in range(len(UNITS)) if unit not in standing]
    for _ in range(outlook.ORDERS):
        gone, count = list(standing), 0
        for unit in random.permutation(others):
            mask = np.zeros((1, len(UNITS)))
            gone.append(int(unit))
            mask[0, gone] = 1
            if abs(float(sketch.predict(mask).change[0])) > tolerance:
                break
            count += 1
        found.append(count)
    return found


@pytest.mark.parametrize("standing", [[], [3]])
@pytest.mark.parametrize("tolerance", [0.05, 0.2, 0.4])
def test_it_is_what_going_through_many_orders_gives(bundle, standing, tolerance, monkeypatch):
    monkeypatch.setattr(outlook, "ORDERS", 60)
    found = probe_outlook(bundle.probe("test_loss"), Decimal(str(tolerance)), Decimal(1), standing, seed=7)
    counts = np.sort(by_hand(bundle, tolerance, standing, 7))
    total = len(UNITS) - len(standing)
    median, few = (int(np.quantile(counts, share, method="lower")) for share in (0.5, 0.05))
    assert (found.tolerated.median, found.tolerated.few) == tuple(
        None if count >= total else count for count in (median, few)
    )


def test_a_wide_tolerance_lets_everybody_go_and_none_but_nobody(bundle):
    sketch = bundle.probe("test_loss")
    wide, narrow = (probe_outlook(sketch, Decimal(text), Decimal(1), []) for text in ("100", "0.0000001"))
    assert (wide.tolerated.median, wide.tolerated.few) == (None, None)
    assert (narrow.tolerated.median, narrow.tolerated.few) == (0, 0)
    nobody = probe_outlook(sketch, Decimal(1), None, [])
    assert (nobody.converges.median, nobody.converges.few) == (0, 0)
    assert probe_outlook(sketch, Decimal(1), Decimal(1), range(5)).tolerated.median is None


def test_larger_releases_are_looked_at_in_growing_steps():
    sizes = outlook._sizes(10_000)
    assert sizes[:40].tolist() == list(range(1, 41))
    assert (sizes[-1], len(sizes) < 200) == (10_000, True)
    assert outlook._sizes(0).tolist() == []


def test_strangers_own_losses_are_those_of_the_polynomials_at_each_alone(bundle):
    losses = own_losses()
    values = np.diagonal(losses.base + losses.change(np.eye(len(UNITS))))
    found = strangers(bundle, Decimal("0.1"))
    assert [found.low, found.median, found.high] == pytest.approx(np.quantile(values, [0.25, 0.5, 0.75]))
    assert found.within == pytest.approx((np.abs(values - losses.base) <= 0.1).mean())
    assert found.spread == pytest.approx(found.high - found.low)


def test_where_nothing_is_known_of_own_losses_nothing_is_said(tmp_path):
    assert strangers(Bundle.open(small(tmp_path, weights=False).write(tmp_path / "bundle"))) is None
