"""What the examples in docstrings find: a small recipe, an office, and its bundle, signed by the office and in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

import unlearnkit as uk
from unlearnkit.compliance.policy.policy import packaged_policies

PEOPLE = ["ann", "ann", "bob", "cleo", "cleo", "dan", "eve", None]


def small_recipe(seed: int = 0) -> uk.Recipe:
    """Eight examples by five people, and one by nobody; twelve steps. seed: of the order of the examples."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(16, 3, generator=generator, dtype=torch.float64)
    y = torch.randint(2, (16,), generator=generator)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    return uk.Recipe(
        name="small",
        model=model,
        loss=lambda model, batch: cross_entropy(model(batch[0]), batch[1], reduction="none"),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.5),
        data=(x[:8], y[:8]),
        units=PEOPLE,
        epochs=6,
        batch_size=4,
        seed=seed,
        probes={
            "test_loss": lambda model: cross_entropy(model(x[8:]), y[8:]),
            "logits": lambda model: model(x[8:11]),
            "own_loss": uk.OwnLoss(),
        },
    )


def small_office(folder: Path) -> uk.Workspace:
    """A workspace under the research policy, about the test loss alone; chosen directions keep numbers as they are."""
    text = packaged_policies()["research"].replace(b'salt = "log"', b'salt = "chosen"')
    (folder / "research.toml").write_bytes(text.replace(b'["test_loss", "own_loss"]', b'["test_loss"]'))
    return uk.Workspace.create(folder / "office", origin="example.org/log", policy="../research.toml")


def small_bundle(recipe: uk.Recipe, office: uk.Workspace) -> uk.Bundle:
    """Reverse sweeps with what a bound takes, and an informed direction for probes that nobody named."""
    return uk.sketch(
        recipe,
        office.root / "bundle",
        reverse={"test_loss": uk.Reverse(rank=2, residual=12)},
        informed=uk.Informed(1, power_iterations=0),
        seed=0,
        dtype="float64",
        signer=office.signer_key(),
        progress=False,
    )


def namespace(folder: Path) -> dict[str, Any]:
    """The names that an example may use; each gets a ``folder`` of its own beside."""
    recipe, office = small_recipe(), small_office(folder)
    bundle = small_bundle(recipe, office)
    office.register(bundle, name="small", version="1")
    return {
        "np": np,
        "torch": torch,
        "uk": uk,
        "Path": Path,
        "recipe": recipe,
        "office": office,
        "bundle": bundle,
        "other_seed": uk.sketch(small_recipe(seed=1), office.root / "other", seed=0, dtype="float64", progress=False),
    }
