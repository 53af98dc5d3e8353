"""Text and JSON of the same document."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from unlearnkit.cli.output import Document, Output, columns, number, values


@dataclass(frozen=True, slots=True, kw_only=True)
class Made(Document):
    schema: ClassVar[str] = "x"

    value: object


@pytest.mark.parametrize(
    "array",
    [np.array(2.5), np.arange(6.0).reshape(2, 3).T, np.zeros(0), np.float32([1 / 3]), np.array([True])],
    ids=["scalar", "transposed", "empty", "float32", "bool"],
)
def test_any_array_is_one_json_value(capsys, array):
    Output(json=True).emit(Made(value=array), lambda _: ["text"])
    parsed = json.loads(capsys.readouterr().out)["value"]
    assert np.array_equal(np.asarray(parsed, dtype=array.dtype), array)


def test_what_is_no_number_and_what_is_without_end_are_told_apart(capsys):
    odd = [math.nan, math.inf, -math.inf, 0.5]
    nested = {"list": (odd, Made(value=odd)), "array": np.array(odd), "one": np.float64("nan")}
    Output(json=True).emit(Made(value=nested), lambda _: [])
    told = ["nan", "inf", "-inf", 0.5]
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["value"]
    assert found == {"list": [told, {"value": told}], "array": told, "one": "nan"}


def test_what_is_no_json_value_is_a_defect():
    with pytest.raises(TypeError, match="JSON"):
        Output(json=True).emit(Made(value=object()), lambda _: [])


def test_a_document_is_its_members_and_its_schema(capsys, tmp_path):
    Output(json=True).emit(Made(value=(tmp_path, Made(value=None))), lambda _: [])
    assert json.loads(capsys.readouterr().out) == {"schema": "x", "value": [str(tmp_path), {"value": None}]}


def test_text_is_what_the_renderer_makes_of_the_document(capsys):
    Output().emit(Made(value=3), lambda made: ["first", f"n is {made.value}"])
    assert capsys.readouterr().out == "first\nn is 3\n"


@pytest.mark.parametrize(("verbosity", "heard"), [(-1, ""), (0, "said\n"), (1, "said\nlog.view: read\n")])
def test_talk_goes_to_stderr_and_the_librarys_log_only_with_v(capsys, verbosity, heard):
    output = Output(verbosity=verbosity)
    with output.log_shown():
        output.say("said")
        logging.getLogger("unlearnkit.log.view").info("read")
    logging.getLogger("unlearnkit.log.view").info("not any more")
    assert capsys.readouterr() == ("", heard)


def test_columns_are_aligned_and_leave_out_what_is_none():
    assert columns([("a", 1), ("long", "x"), ("gone", None)]) == ["a     1", "long  x"]
    assert columns([]) == []


def test_few_numbers_are_shown_and_many_are_summed_up():
    assert values(np.array([1.0, -2.0]), signed=True) == "+1 -2"
    assert values(np.arange(12.0).reshape(3, 4)) == "mean 5.5, from 0 to 11 (3 x 4 values)"
    assert number(1 / 3) == "0.333333"
