"""Text and JSON of the same document."""

from __future__ import annotations

import json

import numpy as np
import pytest
from unlearnkit.cli.output import Output, fields, number, values


@pytest.mark.parametrize(
    "array",
    [np.array(2.5), np.arange(6.0).reshape(2, 3).T, np.zeros(0), np.float32([1 / 3]), np.array([True])],
    ids=["scalar", "transposed", "empty", "float32", "bool"],
)
def test_any_array_is_one_json_value(capsys, array):
    Output(json=True).emit({"schema": "x", "array": array}, lambda _: ["text"])
    parsed = json.loads(capsys.readouterr().out)["array"]
    assert np.array_equal(np.asarray(parsed, dtype=array.dtype), array)


def test_what_is_no_json_value_is_a_defect():
    with pytest.raises(TypeError, match="JSON"):
        Output(json=True).emit({"schema": "x", "value": object()}, lambda _: [])


def test_text_is_what_the_renderer_makes_of_the_document(capsys):
    Output().emit({"schema": "x", "n": 3}, lambda document: ["first", f"n is {document['n']}"])
    assert capsys.readouterr().out == "first\nn is 3\n"


@pytest.mark.parametrize(
    ("verbosity", "heard"), [(-1, ""), (0, "said\n"), (1, "said\ndetail\n")], ids=["quiet", "normal", "verbose"]
)
def test_talk_goes_to_stderr_and_as_far_as_it_is_wanted(capsys, verbosity, heard):
    output = Output(verbosity=verbosity)
    output.say("said")
    output.detail("detail")
    assert capsys.readouterr() == ("", heard)


def test_fields_stand_in_columns_and_leave_out_what_is_none():
    assert fields([("a", 1), ("long", "x"), ("gone", None)]) == ["a     1", "long  x"]
    assert fields([]) == []


def test_few_numbers_are_shown_and_many_are_summed_up():
    assert values(np.array([1.0, -2.0]), signed=True) == "+1 -2"
    assert values(np.arange(12.0).reshape(3, 4)) == "mean 5.5, from 0 to 11 (3 x 4 values)"
    assert number(1 / 3) == "0.333333"
