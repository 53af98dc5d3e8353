"""Values as notebooks show them: tables whose texts are text, whatever they hold."""

from __future__ import annotations

import html
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import unlearnkit as uk
from tests.docs.namespace import small_recipe
from tests.training.calls import sketched
from unlearnkit.bundle.ensemble import Average
from unlearnkit.estimation.stability import Profile, Size
from unlearnkit.notebook import html_table

EVERYBODY = list(small_recipe().unit_names)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> uk.Bundle:
    folder = tmp_path_factory.mktemp("notebook")
    settings = {"seed": 0, "dtype": "float64", "progress": False, "solo": uk.Solo(degree=2)}
    reverse = {"logits": uk.Reverse(rank=1, residual=0)}
    return sketched(small_recipe(), folder / "bundle", directions=4, reverse=reverse, **settings)


def cells(markup: str) -> list[list[str]]:
    """The table's rows, by a parser of XML."""
    root = ET.fromstring(f"<div>{markup}</div>")
    return [["".join(cell.itertext()) for cell in row] for row in root.iter("tr")]


def test_whatever_a_text_holds_it_is_no_markup_and_controls_no_terminal():
    markup = html_table("<b>", ["a"], [("<script>alert(1)</script>",), ("\x1b[2J&",)], below="</p>")
    assert "<script>" not in markup
    assert "\x1b" not in markup
    assert cells(markup) == [["a"], ["<script>alert(1)</script>"], ["\\x1b[2J&"]]


def test_a_prediction_shows_each_number_with_its_change(bundle):
    prediction = bundle.probe("logits").predict(["ann"])
    header, *rows = cells(prediction._repr_html_())
    assert header == ["number", "trained", "predicted", "change", "standard error", "series"]
    flat = prediction.value.reshape(-1)
    assert [float(row[2]) for row in rows] == pytest.approx(flat.tolist(), rel=1e-5)
    for row in rows:
        assert float(row[2]) - float(row[1]) == pytest.approx(float(row[3]), abs=1e-5)
    assert html.escape(prediction.explanation) in prediction._repr_html_()


def test_of_many_numbers_the_first_are_shown_and_it_says_so(bundle):
    prediction = bundle.probe("logits").predict(np.eye(5))
    if prediction.value.size <= 20:
        pytest.fail("the probe is too small for this test")
    assert len(cells(prediction._repr_html_())) == 1 + 20
    assert f"The first 20 of {prediction.value.size} numbers." in prediction._repr_html_()


def test_a_frame_has_a_row_for_each_set_and_number(bundle):
    prediction = bundle.probe("logits").predict(np.eye(5))
    frame = prediction.to_frame(EVERYBODY)
    assert len(frame) == prediction.value.size
    for position, name in enumerate(EVERYBODY):
        alone = bundle.probe("logits").predict([name])
        assert frame.loc[name, "value"].to_numpy() == pytest.approx(alone.value.reshape(-1), rel=1e-12)
        assert (frame.loc[name, "base"] + frame.loc[name, "change"]).tolist() == pytest.approx(
            prediction.value[position].reshape(-1).tolist()
        )
    assert len(bundle.probe("test_loss").predict(["ann"]).to_frame()) == 1


@pytest.mark.parametrize(("delete", "sets"), [(["ann"], ["a", "b"]), (np.eye(5), ["one"])])
def test_a_frame_with_other_names_than_sets_is_refused(bundle, delete, sets):
    with pytest.raises(ValueError, match="names of sets"):
        bundle.probe("test_loss").predict(delete).to_frame(sets)


def test_a_figure_has_what_was_trained_and_what_is_predicted(bundle):
    from matplotlib.figure import Figure

    prediction = bundle.probe("logits").predict(["ann"])
    drawn = prediction.plot(Figure().subplots())
    trained, predicted = (line.get_ydata() for line in drawn.get_lines()[:2])
    assert trained == pytest.approx(prediction.base.reshape(-1))
    assert predicted == pytest.approx(prediction.value.reshape(-1))


def test_a_bundle_shows_its_probes_and_that_nobody_looked_at_its_signature(bundle):
    rows = cells(bundle._repr_html_())[1:]
    assert [row[0] for row in rows] == [probe.name for probe in bundle.manifest.probes]
    assert {row[0]: row[2] for row in rows}["logits"] == "1, 2 by rank 1"
    assert "no signature was checked" in bundle._repr_html_()
    assert "5 units alone of degree 2" in bundle._repr_html_()


def test_an_average_shows_its_spread_from_run_to_run(bundle, tmp_path):
    other = sketched(small_recipe(seed=1), tmp_path / "bundle", directions=1, seed=0, dtype="float64", progress=False)
    members = tuple(each.probe("logits").predict(["ann"]) for each in (bundle, other))
    values = np.stack([member.value for member in members])
    spread = values.std(axis=0, ddof=1)
    average = Average(
        value=values.mean(0), base=members[0].base, change=values.mean(0) - members[0].base, spread=spread,
        standard_error=spread / 2**0.5, members=members,
    )  # fmt: skip
    header, *rows = cells(average._repr_html_())
    assert header[2:5] == ["predicted", "change", "spread of runs"]
    assert [float(row[4]) for row in rows] == pytest.approx(spread.reshape(-1).tolist(), rel=1e-5)
    assert "Over 2 runs." in average._repr_html_()


def test_a_profile_shows_a_row_for_each_degree():
    rows = cells(Profile([Size(1, 0.5, 0.4, 0.6), Size(2, 0.1, 0.0, float("inf"))])._repr_html_())
    assert rows[1:] == [["1", "0.5", "0.4", "0.6"], ["2", "0.1", "0", "inf"]]


def test_the_register_shows_every_request(tmp_path):
    office = uk.Workspace.create(tmp_path / "office", origin="example.com/log")
    received = office.receive(["ann@example.org", "ben@example.org"])
    rows = cells(office.view().register._repr_html_())[1:]
    assert [row[0] for row in rows] == [request.id for request in received]
    assert {row[1] for row in rows} == {"received"}
    assert rows[0][3] == received[0].respond.day.isoformat()
