"""Every example is a recipe that can be sketched, whose training teaches something."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from unlearnkit.cli.recipes import RecipeSource
from unlearnkit.examples import credit, digits, images, lora, names_gpt, recommender, series

import unlearnkit as uk
from tests.training.calls import sketched

ROOT = Path(__file__).resolve().parents[2]
RECIPES = {
    "credit": lambda: credit.recipe(customers=40, steps=30),
    "digits": digits.recipe,
    "images": lambda: images.recipe(images=50, epochs=3),
    "lora": lambda: lora.recipe(clients=4, epochs=40),
    "names_gpt": names_gpt.recipe,
    "recommender": lambda: recommender.recipe(users=12, films=8, epochs=3),
    "series": lambda: series.recipe(households=10, days=3, epochs=8),
}


def test_every_example_is_tested():
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == {
        "__init__",
        "finetuned_gpt",
        "question",
        *RECIPES,
    }
    assert (ROOT / "tests" / "examples" / "test_finetuned_gpt.py").exists()


@pytest.mark.parametrize("name", RECIPES)
def test_nothing_stands_in_the_way_of_sketching(name):
    assert uk.check(RECIPES[name]()) == ()


@pytest.mark.parametrize("name", RECIPES)
def test_commands_take_it_by_its_file(name):
    assert RecipeSource(ROOT / "examples" / f"{name}.py", "recipe").load().unit_names


@pytest.mark.parametrize("name", RECIPES)
def test_training_lowers_the_loss(name):
    recipe = RECIPES[name]()
    trained = uk.retrain(recipe, device="cpu")
    with torch.no_grad():
        before, after = (float(recipe.loss(model, recipe.data).mean()) for model in (recipe.model, trained))
    assert after < 0.9 * before


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipe_is_the_same_each_time(name):
    assert RECIPES[name]().digest == RECIPES[name]().digest


def test_the_sketch_of_the_names_is_centred_on_the_real_training_run(tmp_path):
    recipe = names_gpt.recipe()
    bundle = sketched(recipe, tmp_path / "bundle", directions=1, degree=1, device="cpu", progress=False)
    with torch.no_grad():
        real = recipe.probes["test_losses"](uk.retrain(recipe))
    np.testing.assert_allclose(bundle.probe("test_losses").base, real.numpy(), rtol=1e-4)


def test_every_person_owns_an_image_and_prefers_a_digit():
    labels = np.arange(1000) % 10
    owners = digits.owners(labels)
    assert len(owners) == 1000
    assert set(owners) == {f"person-{p:03d}" for p in range(200)}
    liked = Counter(int(owner[-1]) == label for owner, label in zip(owners, labels, strict=True))
    assert 0.3 < liked[True] / 1000 < 0.6  # by lot it would be a tenth


def test_margins_are_log_odds():
    logits = torch.tensor([[2.0, 0.5, -1.0]], dtype=torch.float64)
    p = logits.softmax(1)[0, 1]
    torch.testing.assert_close(digits.margins(logits, torch.tensor([1])), (p / (1 - p)).log()[None])


def test_a_name_predicts_its_letters_and_its_end():
    inputs, targets = names_gpt.encode(["ab"])
    end, padding = names_gpt.BOUNDARY, names_gpt.PADDING
    assert inputs[0, :3].tolist() == [end, 0, 1]
    assert targets[0, :4].tolist() == [0, 1, end, padding]


def test_padding_does_not_count():
    model = names_gpt.recipe().model
    inputs, targets = names_gpt.encode(["zora"])
    with torch.no_grad():
        short = torch.nn.functional.cross_entropy(model(inputs[:, :5])[0], targets[0, :5])
        assert float(names_gpt.name_losses(model, (inputs, targets))) == pytest.approx(float(short), rel=1e-5)
