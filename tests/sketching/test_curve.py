"""The series along one deletion, against plain trainings with the people partly left out."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

import unlearnkit as uk
from tests.sketching import unrolled
from tests.training.calls import sketched
from tests.training.small import recipe
from unlearnkit.errors import UnknownNameError

GONE = ["b", "7"]


@pytest.fixture(scope="module")
def curves():
    made = recipe(probes={**recipe().probes, "own_loss": uk.OwnLoss()})
    return uk.curve(made, GONE, degree=5, retrained=[0, 0.1, 0.2, 0.4], device="cpu")


def test_every_degree_takes_the_error_to_the_next_power_of_the_weight(curves):
    """So what is left at weight 0.2 is at most a little more than ``2^-(k+1)`` of what is left at 0.4."""
    for curve in curves.values():
        for degree in range(1, 4):
            small, large = (np.abs(curve.error(degree=degree)[i]).max() for i in (2, 3))
            assert small <= 1.5 * large / 2 ** (degree + 1)


def test_at_weight_zero_it_is_the_trained_model(curves):
    for curve in curves.values():
        np.testing.assert_array_equal(curve.at(0), curve.base)
        np.testing.assert_allclose(curve.truth[0], curve.base, rtol=1e-12)


def test_its_first_terms_are_what_reverse_sweeps_find(curves, tmp_path):
    """The gradient over the units, summed over who leaves."""
    reverse = {"scalar": uk.Reverse(rank=unrolled.UNITS, residual=0)}
    bundle = sketched(
        recipe(), tmp_path / "bundle", directions=0, reverse=reverse, seed=1, dtype="float64", device="cpu"
    )
    prediction = bundle.probe("scalar").predict(GONE, degree=2)
    for degree in (1, 2):
        np.testing.assert_allclose(curves["scalar"].terms[degree - 1], prediction.terms[degree - 1].value, rtol=1e-8)


def test_it_is_drawn_with_a_line_a_degree_and_a_dot_a_retraining(curves):
    lines = curves["probe"].plot(Figure().subplots(), element=1).get_lines()
    assert len(lines) == 6
    np.testing.assert_allclose(lines[2].get_ydata(), curves["probe"].at(np.linspace(0, 1, 101), degree=3)[:, 0, 1])
    np.testing.assert_allclose(lines[-1].get_ydata(), curves["probe"].truth[:, 0, 1])


def test_bad_questions_are_refused(curves):
    with pytest.raises(UnknownNameError, match="no unit 'zoe'"):
        uk.curve(recipe(), ["zoe"])
    with pytest.raises(ValueError, match="expected a degree >= 1"):
        uk.curve(recipe(), GONE, degree=0)
    with pytest.raises(ValueError, match="weights from 0 to 1"):
        uk.curve(recipe(), GONE, retrained=[1.5])
    with pytest.raises(ValueError, match="the curve has degrees 0 to 5"):
        curves["probe"].at(0.5, degree=6)
