"""The examples' commands at their small sizes: what is predicted stands beside what retraining gives."""

from __future__ import annotations

import pytest
from unlearnkit.examples import credit, images, lora, recommender, series
from unlearnkit.examples.question import Answer, Answers, ask

import unlearnkit as uk
from unlearnkit.estimation.convergence import VERDICTS

GALLERY = {"credit": credit, "images": images, "lora": lora, "recommender": recommender, "series": series}


@pytest.mark.parametrize("name", GALLERY)
def test_its_predictions_for_single_people_are_right_where_it_says_that_the_series_converges(name, capsys):
    GALLERY[name].main(["--small"])
    tables = capsys.readouterr().out.split("\n\n")[:-1]
    for table in tables:
        rows = [parsed(line) for line in table.splitlines() if line.endswith(VERDICTS)]
        largest = max(abs(real - base) for _, base, _, real, _ in rows)
        sure = [row for row in rows if row[0] == 1 and row[-1] == "converging"]
        assert len(rows) >= 5
        assert largest > 0
        for _, _, predicted, real, _ in sure:
            assert abs(predicted - real) < 0.05 * largest
    assert any("converging" in table for table in tables)


def parsed(line: str) -> tuple[int, float, float, float, str]:
    *_, people, base, predicted, real, series = line.split()
    return int(people), float(base), float(predicted), float(real), series


def test_scikit_learn_makes_the_same_models_from_the_table_without_somebodys_rows():
    customers, steps = 20, 50
    recipe = credit.recipe("network", customers=customers, steps=steps)
    leaving = ["customer-003", "customer-007"]
    real = float(recipe.probes["log_odds"](uk.retrain(recipe, leaving, device="cpu")).detach())
    assert credit.refit("network", leaving, customers=customers, steps=steps) == pytest.approx(real, abs=1e-12)
    assert credit.refit("network", [], customers=customers, steps=steps) != pytest.approx(real, abs=1e-3)


def test_its_logistic_regression_is_trained_to_the_optimum_that_scikit_learn_finds():
    recipe = credit.recipe(customers=30, steps=300)
    real = float(recipe.probes["log_odds"](uk.retrain(recipe, ["customer-003"], device="cpu")).detach())
    assert credit.refit("logistic", ["customer-003"], customers=30, steps=300) == pytest.approx(real, abs=1e-6)


def test_an_answer_about_own_losses_is_about_who_leaves():
    recipe = lora.recipe(clients=4, epochs=1)
    clients = list(recipe.unit_names[:2])
    (row,) = ask(recipe, {"two": clients}, probe="own_loss").rows
    model = uk.retrain(recipe, device="cpu")
    own = recipe.loss(model, recipe.data).detach()
    mine = [own[[i for i, unit in enumerate(recipe.units) if unit == client]].mean() for client in clients]
    assert row.base == pytest.approx(float(sum(mine)) / 2, rel=1e-5)


def test_the_largest_error_is_a_share_of_the_largest_change():
    rows = [
        Answer(leaving=name, people=1, base=1.0, predicted=predicted, real=real, series="converging")
        for name, predicted, real in [("a", 3.0, 2.0), ("b", 5.0, 5.0)]
    ]
    found = Answers(rows=tuple(rows), sketching=1.0, predicting=0.002, retraining=3.0)
    assert found.missed == 1 / 4
    assert "25.0% of the largest change" in found.table()
    assert "1.0 ms a prediction" in found.table()
