"""Figure 2 against the companion code of the paper: its series, and its truth, at degrees 1 to 3.

That code went along complex directions ``a + ib``. Figure 2 goes along real ones; those of a, b, a + b and a - b have
everything of it, for ``f_r`` is a form of degree r.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from unlearnkit.examples.names_gpt import encode, name_losses
from unlearnkit.examples.paper.run import Setting, initial

from unlearnkit.sketching.forward import ForwardSketching
from unlearnkit.training.retrain import PlainLoop
from unlearnkit.training.run import Run, make_run

DEGREE = 3  # the companion code's own highest is off (docs/theory.md section 2)


@pytest.fixture(scope="module")
def golden(vectors):
    with np.load(vectors / "names" / "golden.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def run(golden) -> Run:
    """Of figure 2, with the companion code's twelve names and its three probes."""
    random = Random(7)
    random.shuffle(list(range(32033)))
    names = tuple(str(name) for name in golden["docs"])
    asked = Setting(names, initial(random), letter="a", probe="max", directions=1, degree=DEGREE, out=Path())
    tests = encode([str(name) for name in golden["tests"]])
    recipe = asked.recipe().replace(probes={"losses": lambda model: name_losses(model, tests)})
    return make_run(recipe, "float64", "cpu")


def along(psi: np.ndarray) -> np.ndarray:
    """The real directions, ``[4, steps]``."""
    return np.stack([psi.real, psi.imag, psi.real + psi.imag, psi.real - psi.imag])


def polarised(terms: np.ndarray) -> np.ndarray:
    """``f_r(a + ib)``, ``[degree, P]``, from ``f_r`` of a, b, a + b and a - b, ``[4, degree, P]``."""
    a, b, plus, minus = terms
    first = a[0] + 1j * b[0]
    second = a[1] - b[1] + 1j * (plus[1] - a[1] - b[1])
    three_aab = (plus[2] - minus[2]) / 2 - b[2]
    three_abb = (plus[2] + minus[2]) / 2 - a[2]
    return np.stack([first, second, a[2] - three_abb + 1j * (three_aab - b[2])])


def test_its_series_are_the_companion_codes(golden, run):
    forward = ForwardSketching(run, DEGREE)
    forward.prepare()
    rows = torch.from_numpy(np.concatenate([along(psi) for psi in golden["directions"]]))
    base, found = forward.along(rows).probes["losses"]
    np.testing.assert_allclose(base, golden["test_loss"][0, :, 0].real, rtol=1e-12)
    for psi, four in enumerate(np.split(found.real, 2)):
        theirs = golden["test_loss"][psi, :, 1 : DEGREE + 1].T
        for mine, their in zip(polarised(four), theirs, strict=True):
            assert np.linalg.norm(mine - their) < 1e-10 * np.linalg.norm(their)


def test_its_truth_is_what_the_companion_codes_series_say(golden, run):
    """Retrained at nine weights along each, and the polynomial through them."""
    nodes = 0.3 * np.cos(np.pi * (np.arange(9) + 0.5) / 9)
    terms = []
    for direction in along(golden["directions"][0]):
        truth = np.stack([retrained(run, weight * direction) for weight in nodes])
        terms.append(np.polynomial.polynomial.polyfit(nodes, truth, 8)[: DEGREE + 1])
    base, found = np.array(terms)[:, 0], polarised(np.array(terms)[:, 1:])
    np.testing.assert_allclose(base, np.broadcast_to(golden["test_loss"][0, :, 0].real, base.shape), rtol=1e-9)
    for mine, their in zip(found, golden["test_loss"][0, :, 1 : DEGREE + 1].T, strict=True):
        assert np.linalg.norm(mine - their) < 1e-4 * np.linalg.norm(their)


def retrained(run: Run, downweights: np.ndarray) -> np.ndarray:
    loop = PlainLoop(run, downweights)
    for step in range(run.recipe.steps):
        loop.backward(step)
        loop.update(step)
    with torch.no_grad():
        return run.recipe.probes["losses"](loop.finished()).numpy()
