"""Words have one look, and numbers one spelling."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearnkit import names
from unlearnkit.errors import FormatError
from unlearnkit.names import (
    MAX_DIGITS,
    PROBABILITY,
    Pattern,
    checked_name,
    collisions,
    counted,
    decimal_text,
    normal_name,
    ordinal,
    probability,
    probability_text,
)

PATTERNS = {name: value for name, value in vars(names).items() if isinstance(value, Pattern)}
RIGHT = {
    "SHA256": ["0" * 64, "abcdef0123456789" * 4],
    "KEY_FINGERPRINT": ["0123456789abcdef"],
    "PROBE_NAME": ["a", "test_loss", "0", "_x", "a.b-c", "a" * 64, "a..b"],
    "WORD": ["a", "web-form", "art-17-1-a", "a" * 64],
    "VERSION": ["1", "0.1.0", "2026-11-26", "a" * 32],
    "RELEASE_ID": ["digits@1", "a-b@0.1"],
    "REQUEST_ID": ["R0", "R17", "R9007199254740991"],
    "DECIMAL": ["0", "-0.25", "1E-7", "12.50", "1E+300"],
    "TIME": ["2025-01-31T09:30:00Z"],
    "ORIGIN": ["example.com/deletion-log", "x"],
    "SOFTWARE": ["unlearnkit 0.1.0", "unlearnkit 1.0.dev3+local"],
    "PROBABILITY": ["0.05", "0.5", "0.000000000000001", "0." + "9" * 15],
}
WRONG = {
    "SHA256": ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64],
    "KEY_FINGERPRINT": ["0" * 15, "0" * 17, "F" * 16],
    "PROBE_NAME": ["", ".", "../a", "a/b", "A", "-a", "a b", "a" * 65, "é"],
    "WORD": ["", "A", "1a", "-a", "a_b", "a b", "a" * 65, "ä"],
    "VERSION": ["", ".1", "-1", "A", "1 2", "a" * 33, "1@2"],
    "RELEASE_ID": ["", "digits", "@1", "digits@", "Digits@1", "digits@1@2", "digits@1 "],
    "REQUEST_ID": ["R", "R01", "r1", "1", "R-1", "R1.0", "R" + "1" * 17],
    "DECIMAL": ["", "NaN", "Infinity", "+1", "01", ".5", "1.", "1e5", "1E", "0x1", "1E9999", "1_0", "\u0661"],
    "TIME": ["2025-01-31T09:30:00", "2025-01-31 09:30:00Z", "2025-01-31T09:30:00.5Z", "2025-01-31T09:30:00+00:00"],
    "ORIGIN": ["", "a b", "a+b", 'a"b', "a'b", "ä", "a" * 201],
    "SOFTWARE": [
        "",
        "unlearnkit",
        "unlearnkit x",
        "other 0.1.0",
        "unlearnkit 0.1.0 by Ann",
        "unlearnkit 0." + "1" * 64,
    ],
    "PROBABILITY": ["0", "1", "1.0", "0.0", "0.50", "5E-2", ".5", "-0.1", "0." + "0" * 15 + "1", "0." + "9" * 16],
}


def test_every_pattern_is_tried():
    assert set(PATTERNS) == set(RIGHT) == set(WRONG)


@pytest.mark.parametrize("name", PATTERNS)
def test_a_word_fits_its_pattern_whole_and_with_nothing_after_it(name):
    for text in RIGHT[name]:
        assert PATTERNS[name].require(text, where="x") == text
        for altered in (text + "\n", " " + text, text + "\0", text + " "):
            assert not PATTERNS[name].fits(altered)


@pytest.mark.parametrize("name", PATTERNS)
def test_what_does_not_fit_is_refused_and_shown(name):
    for text in WRONG[name]:
        with pytest.raises(FormatError, match=re.escape(f"x must be {PATTERNS[name].what}: got {text!r}")):
            PATTERNS[name].require(text, where="x")


DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12)


@given(DECIMALS)
def test_a_number_has_one_plain_spelling_that_reads_as_it(value):
    text = decimal_text(value)
    assert Fraction(text) == Fraction(value)
    assert re.fullmatch(r"0|-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?", text)
    assert text != "-0"


@given(DECIMALS, st.integers(0, 5))
def test_equal_numbers_have_equal_texts(value, zeros):
    sign, digits, exponent = value.as_tuple()
    assert decimal_text(Decimal((sign, (*digits, *[0] * zeros), exponent - zeros))) == decimal_text(value)


@pytest.mark.parametrize("value", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_what_is_no_number_has_no_text(value):
    with pytest.raises(ValueError, match="not a finite number"):
        decimal_text(Decimal(value))


@given(st.integers(1, 10**MAX_DIGITS - 1))
def test_every_probability_of_so_many_digits_is_taken_and_is_a_double_between_0_and_1(units):
    value = Decimal(units).scaleb(-MAX_DIGITS)
    text = probability_text(value)
    assert Fraction(text) == Fraction(units, 10**MAX_DIGITS)
    assert PROBABILITY.fits(text)
    assert 0 < float(text) < 1
    assert Decimal(repr(float(text))) == value  # different ones are different doubles


@given(st.lists(st.integers(1, 10**MAX_DIGITS - 1), max_size=40))
def test_sums_of_probabilities_are_exact(units):
    total = sum((Decimal(probability_text(Decimal(unit).scaleb(-MAX_DIGITS))) for unit in units), Decimal(0))
    assert Fraction(total) == Fraction(sum(units), 10**MAX_DIGITS)


@pytest.mark.parametrize(
    "value",
    ["0", "-0", "1", "-0.5", "1.5", "NaN", "sNaN", "Infinity", "1E-16", "0.1234567890123456789012", "1E-999999"],
)
def test_what_is_no_probability_or_has_too_many_digits_is_refused_by_name(value):
    with pytest.raises(ValueError, match=rf"not a probability above 0 and below 1, .* at most {MAX_DIGITS} digits"):
        probability(Decimal(value))


SPELLINGS = {
    "ann@example.org": ["ann@example.org", "\ufeffann@example.org\r\n", "ann@example.org\u200b\n", "Ann@Example.org"],
    "Jos\u00e9": [
        "Jos\u00e9",
        "Jose\u0301",
        "\u00a0Jos\u00e9 ",
        "Jo\u00ads\u00e9",
        "\u202aJose\u0301\u202c",
        "Jose\u200d\u0301",
    ],
    "Ann Lee": ["Ann Lee", "Ann  Lee", "Ann\u00a0Lee", "Ann\u2009\u2009Lee\t"],
    "m\u00fcller@stra\u00dfe.de": ["M\u00dcLLER@STRA\u00dfE.DE", "mu\u0308ller@stra\u00dfe.de"],
    "\u0627\u0645": ["\u0627\u0645", "\u200f\u0627\u0645\u200e"],
    "17": [17, "17", " 17"],
}


@pytest.mark.parametrize("normal", SPELLINGS)
def test_spellings_that_look_the_same_are_one_name(normal):
    assert {normal_name(spelling) for spelling in SPELLINGS[normal]} == {normal}


def test_names_that_look_different_stay_different():
    others = [
        "ann",
        "Ann",
        "ann lee",
        "Ann Lee",
        "AnnLee",
        "wei\u00df@x.de",
        "weiss@x.de",
        "a\tb",
        "a b",
        "\u2460",
        "1",
        "ﬁ",
        "fi",
    ]
    assert len({normal_name(name) for name in others}) == len(others)


@given(st.text())
def test_a_name_in_the_normal_form_stays_as_it_is(name):
    normal = normal_name(name)
    assert normal_name(normal) == normal
    assert unicodedata.is_normalized("NFC", normal)
    assert not any(unicodedata.category(character) == "Cf" for character in normal)


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="@")))
def test_plain_names_are_what_they_were(name):
    assert normal_name(name) == name


@pytest.mark.parametrize("name", ["", " \ufeff\u200b", "a\tb", "a\nb", "a\0b", "\ud800", "x" * 1001])
def test_what_names_nobody_is_refused_and_not_repeated(name):
    with pytest.raises(ValueError, match="a name must") as refused:
        checked_name(name)
    assert len(name.strip()) < 3 or name not in str(refused.value)


def test_spellings_of_one_name_are_listed_together():
    assert collisions(["ann@x", "bob", "Ann@x", "bob", "\ufeffbob"]) == [("ann@x", "Ann@x"), ("bob", "\ufeffbob")]


def test_a_number_of_things_is_said_as_people_say_it():
    nouns = ("request", "person", "more person", "entry", "day")
    assert [counted(1, noun) for noun in nouns] == [f"1 {noun}" for noun in nouns]
    assert [counted(2, noun) for noun in nouns] == ["2 requests", "2 people", "2 more people", "2 entries", "2 days"]
    assert counted(0, "person") == "0 people"
    assert [counted(1, "entry", verb) for verb in ("are", "have", "carry", "change")] == [
        "1 entry is",
        "1 entry has",
        "1 entry carries",
        "1 entry changes",
    ]
    assert [counted(count, "entry", "are") for count in (0, 2)] == ["0 entries are", "2 entries are"]


def test_a_place_in_an_order_has_the_ending_that_english_gives_it():
    said = " ".join(map(ordinal, (0, 1, 2, 3, 4, 10, 11, 12, 13, 21, 22, 23, 100, 101, 111, 112, 113, 122)))
    assert said == "0th 1st 2nd 3rd 4th 10th 11th 12th 13th 21st 22nd 23rd 100th 101st 111th 112th 113th 122nd"
