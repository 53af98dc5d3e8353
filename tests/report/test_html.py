"""The page: what it says, what it never does, and who can read it."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.report.pages import CHECKS, MINUS, OUTCOMES, TIMES, decided, page, policy_text, read, wide_claim
from tests.verifier.claims import certificate, claim
from unlearnkit.errors import FormatError
from unlearnkit.report import Verified, render_report
from unlearnkit.report.html import RequestDates
from unlearnkit.verifier.certificate import Curve, Kind, Norm, Outcome


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_verdict_is_the_first_heading_and_the_title(outcome):
    headline = {"keep": "Negligible", "retrain": "Retraining needed"}.get(outcome, "Not enough")
    root = read(page(decision=decided(outcome)))
    assert root.one("h1").text.startswith(headline)
    assert root.one("head").one("title").text.startswith(headline)
    verdict = root.by_id("verdict").text
    for said in (outcome, "certificate.tolerances.loss", "loss: because", "R2", "2025-01-31 09:30:00 UTC"):
        assert said in verdict


def test_the_page_says_how_much_was_verified():
    everything, signature, nothing = (read(page(verified=extent)).by_id("verdict").text for extent in Verified)
    assert "Verified and recomputed for this report" in everything
    assert "2 checks passed" in everything
    assert "Signature verified, numbers not recomputed" in signature
    assert "UNVERIFIED" in nothing
    assert not [text for text in (everything, signature) if "UNVERIFIED" in text]
    assert not [text for text in (signature, nothing) if "Verified and recomputed" in text]


def test_an_unverified_page_says_so_before_its_verdict_in_its_title_and_on_every_sheet():
    html = page(verified=Verified.NOTHING)
    assert html.index("<strong>UNVERIFIED.") < html.index("<h1")
    assert read(html).one("head").one("title").text.startswith("UNVERIFIED: ")
    assert 'content: "UNVERIFIED"' in read(html).one("style").text
    assert "UNVERIFIED" not in page()


def test_every_check_is_listed():
    section = read(page()).by_id("verify").parent.text
    for name, found in CHECKS:
        assert name.capitalize() in section
        assert found in section


def test_a_claim_is_told_in_words_and_numbers():
    text = read(page(claims=(claim(kind=Kind.CERTIFIED),))).by_id("claim-1").parent.text
    assert "would be 0.50500 instead of 0.50000: a change of +0.00500 ± 0.00300" in text
    assert "tolerates a change of up to 0.02: the whole error bar stays within that" in text
    assert "The bound is certified; the chance that it is wrong is at most δ = 0.05 (5 %)" in text
    assert "is not from 0.50200 to 0.50800" in text


def test_an_audited_claim_says_which_share_is_inside_and_how_sure_that_is():
    text = read(page()).by_id("claim-1").parent.text
    assert "The bound is audited; of all such deletions at least 90 % are inside, with confidence 95 %" in text
    assert "one statement for all requests, which spends no δ" in text
    retrained = read(page(claims=(claim(kind=Kind.RETRAINED, epsilon=("0",)),))).by_id("claim-1").parent.text
    assert "Retrained. The model was trained again without the data of just these people" in retrained


@pytest.mark.parametrize(
    ("tolerance", "said"),
    [("0.001", "lies beyond that"), ("0.005", "is neither all within nor all beyond"), ("0.008", "stays within that")],
)
def test_the_error_bar_is_held_against_the_tolerance(tolerance, said):
    assert said in read(page(policy=policy_text(loss=tolerance))).by_id("claim-1").parent.text


def test_elements_are_counted_against_the_tolerance():
    text = read(page(claims=(wide_claim(40),))).by_id("claim-1").parent.text
    assert "within that: 19 of 40 elements; beyond it: 17; neither all within nor all beyond: 4" in text


def test_certified_audited_and_asymptotic_are_not_mixed_up():
    root = read(page(claims=(claim(), claim(probe="margins", kind="certified", method="certified: proved"))))
    audited, certified = (root.by_id(f"claim-{n}").parent.text for n in (1, 2))
    assert "Audited. Taken from real retrainings" in audited
    assert "ertified" not in audited
    assert "Certified. Proved" in certified
    assert "udited" not in certified
    assert (
        "An asymptotic band, two standard errors to either side: for the eye only" in root.by_id("curves").parent.text
    )
    assert "with certified 95 % intervals" in root.by_id("stability").parent.text
    assert "symptotic" not in audited + certified


def test_what_is_not_covered_is_said():
    text = read(page(claims=(claim(covers=("sampling",)),))).by_id("claim-1").parent.text
    covered, rest = text.split("ε does not cover")
    missing = rest.split("δ")[0]
    assert "Sampling" in covered
    assert "Sampling" not in missing
    assert "Rounding" in missing
    assert "Truncation" in missing


def test_a_kind_that_nobody_knows_is_called_so():
    assert "Unknown kind: asymptotic" in read(page(claims=(claim(kind="asymptotic"),))).text


def test_many_elements_do_not_drown_the_reader():
    section = read(page(claims=(wide_claim(1200),))).by_id("claim-1").parent
    first, rest = (table for table in section.all("table") if "numbers" in table.attributes["class"])
    assert [row.all("th")[0].text for row in first.all("tr")[1:]] == [str(i) for i in range(1199, 1189, -1)]
    assert rest.parent.parent.tag == "details"
    assert len(rest.all("tr")) == 501
    assert "690 elements with smaller changes are not listed here" in section.text


def test_elements_are_named_by_their_place():
    section = read(page(claims=(wide_claim(6, shape=(2, 3)),))).by_id("claim-1").parent
    assert [row.all("th")[0].text for row in section.all("table")[0].all("tr")[1:]][:2] == ["1, 2", "1, 1"]


def test_a_stability_profile_that_is_not_there_is_not_known():
    assert "loss: not known" in read(page(claims=(claim(stability=()),))).by_id("stability").parent.text
    assert "not known" not in read(page()).by_id("stability").parent.text


def test_digests_and_commands_are_given():
    made = certificate()
    text = read(page(made, file="it's.json")).by_id("verify").parent.text
    for digest in (made.bundle, made.model, made.recipe, made.policy_digest, made.deleted_digest, "e" * 64, "f" * 64):
        assert digest in text
    assert "0.05 of a budget of 0.12" in text
    assert "example.org/log" in text
    assert f"""grep -c '"certificate":"{"f" * 64}"' LOG/log.jsonl""" in text
    command = (
        """unlearnkit verify 'it'"'"'s.json' \\ --bundle BUNDLE --log LOG --trust TRUST \\ --evidence AUDIT.json"""
    )
    assert command in text


def test_assumptions_are_listed_once_with_the_probes_that_rest_on_them():
    shared, own = "drawn alike", "only for the other"
    other = claim(probe="other", assumptions=(shared, own))
    items = [item.text for item in read(page(claims=(claim(), other))).one("ol").all("li")]
    assert items == [shared, f"{own} (other)"]


decimals = st.decimals(min_value=-1000, max_value=1000, allow_nan=False, places=7)
sizes = st.decimals(min_value=0, max_value=10, allow_nan=False, places=9)


@settings(max_examples=60, deadline=None)
@given(base=decimals, change=decimals.map(lambda x: x / 1000), epsilon=sizes)
def test_a_printed_error_bar_contains_the_one_that_is_claimed(base, change, epsilon):
    predicted = base + change
    numbers = {"base": (f"{base:f}",), "predicted": (f"{predicted:f}",), "epsilon": (f"{epsilon:f}",)}
    made = claim(kind=Kind.CERTIFIED, **numbers)
    section = read(page(claims=(made,))).by_id("claim-1").parent
    cells = [node.text for node in section.all("table")[0].all("td")]
    _, near, moved, width = (_decimal(text) for text in cells[:4])
    assert near - width <= predicted - epsilon
    assert near + width >= predicted + epsilon
    assert moved - width <= change - epsilon
    assert moved + width >= change + epsilon
    low, high = (_decimal(x) for x in re.search(r"is not from (.*) to (.*), if the", section.text).groups())
    assert low <= predicted - epsilon
    assert high >= predicted + epsilon
    assert [node.attributes["value"] for node in section.all("data")] == [
        *made.base, *made.predicted, *made.epsilon
    ]  # fmt: skip


def _decimal(text: str) -> Decimal:
    mantissa, _, power = text.replace(MINUS, "-").partition(f" {TIMES} 10")
    superscripts = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    return Decimal(mantissa).scaleb(int(power.translate(superscripts) or 0))


@pytest.mark.parametrize(
    ("changed", "printed"),
    [
        ({"base": ("0",), "predicted": ("0",), "epsilon": ("0",)}, ["0", "0", "0", "0"]),
        (
            {"base": ("0",), "predicted": ("1E-12",), "epsilon": ("0",)},
            ["0", f"1.00 {TIMES} 10⁻¹²", f"+1.00 {TIMES} 10⁻¹²", "0"],
        ),
        (
            {"base": ("1",), "predicted": ("0.5",), "epsilon": ("1E-9",)},
            ["1.000000", "0.500000", f"{MINUS}0.500000", "0.000001"],
        ),
        (
            {"base": ("4E12",), "predicted": ("5E12",), "epsilon": ("1",)},
            [f"{digits} {TIMES} 10¹²" for digits in ("4.000000", "5.000000", "+1.000000")],
        ),
    ],
)
def test_small_and_large_numbers_can_be_read(changed, printed):
    changed["curve"] = Curve(element=0, weights=("0", "1"), values=("0", "0"), standard_errors=("0", "0"))
    cells = [n.text for n in read(page(claims=(claim(**changed),))).by_id("claim-1").parent.all("table")[0].all("td")]
    assert cells[: len(printed)] == printed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"curve": Curve(element=1, weights=("0",), values=("0",), standard_errors=("0",))}, "of element 1, of 1"),
        ({"curve": Curve(element=0, weights=("0",), values=(), standard_errors=("0",))}, "different lengths"),
        ({"curve": Curve(element=0, weights=(), values=(), standard_errors=())}, "or empty ones"),
        ({"predicted": ("1E400",)}, "got the number 1E400"),
        ({"epsilon": ("1E-99999999999999999999",)}, "got the number 1E-9"),
        ({"stability": (Norm(degree=1, norm="9" * 400, low="0", high="1"),)}, "which no float64 is near"),
        ({"shape": (0,), "base": (), "predicted": (), "epsilon": ()}, "of element 0, of 0"),
    ],
)
def test_what_cannot_be_printed_is_refused(changed, message):
    with pytest.raises(FormatError, match=message):
        page(claims=(claim(**changed),))


def test_an_error_that_nobody_knows_is_not_zero():
    curve = Curve(element=0, weights=("0", "1"), values=("0", "1"), standard_errors=("unknown", "unknown"))
    text = read(page(claims=(claim(curve=curve),))).text
    assert "not known" in text
    assert "with no band, for its error is not known" in text


def test_a_policy_that_is_none_is_refused():
    with pytest.raises(FormatError, match="the certificate's policy is not TOML"):
        page(policy="not a policy")


def test_a_probe_without_a_tolerance_has_none():
    html = page(claims=(claim(probe="other"),), decision=decided(Outcome.RETRAIN))
    assert "The policy states no tolerance for it" in read(html).text


PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from tests.report.pages import page, wide_claim
sys.stdout.write(page(claims=(wide_claim(40),)))
"""


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_same_certificate_gives_the_same_bytes(seed):
    program = PROGRAM.format(root=str(Path(__file__).resolve().parents[2]))
    environment = {"PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, env=environment)
    assert run.stdout.decode() == page(claims=(wide_claim(40),))


def test_without_jinja_the_error_says_what_to_install():
    program = """
import sys
sys.modules["jinja2"] = None
from unlearnkit.errors import UnlearnkitError
try:
    import unlearnkit.report
except UnlearnkitError as err:
    print(err, err.hint)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert run.stdout == 'a report needs Jinja, which is not installed pip install "unlearnkit[report]"\n'


def test_the_digest_of_the_policy_is_of_the_text_that_decided():
    made = certificate()
    assert made.policy_digest in read(page(made)).by_id("verify").parent.text
    other = replace(made, policy=policy_text(loss="0.03"))
    assert made.policy_digest not in read(page(other)).text


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_page_is_of_an_effect_certificate_and_never_says_that_data_were_deleted(outcome):
    text = read(page(decision=decided(outcome))).text
    assert "Effect certificate about small@1, for request R2" in text
    assert "Our policystrict; SHA-256" in text
    assert "What it does not say" in text
    assert "deletion certificate" not in text.lower()
    assert not re.search(
        r"(was|were|been) (deleted|erased|removed)",
        text.replace("That anything was deleted", "").replace("That the data was deleted", ""),
    )


def test_what_is_printed_adds_up():
    for base, predicted in (("0.5004", "0.5015"), ("0.50049", "0.50151"), ("-1.2345", "2.3456")):
        made = page(claims=(claim(base=(base,), predicted=(predicted,), epsilon=("0.1",)),))
        row = next(row for row in read(made).all("tr") if row.all("data"))
        begin, near, change = (Decimal(cell.text.replace(MINUS, "-")) for cell in row.all("td")[:3])
        assert begin + change == near


def test_people_are_named_by_their_requests_where_the_log_is_at_hand():
    """Own losses are of people: an element is one of them, and never a number."""
    who = ("a" * 64, "c" * 64)
    own = wide_claim(2, probe="own_loss", people=who)
    reasons = (f"own_loss of {who[0][:8]}: it changes by 0.00496396644426 at most, and the tolerance is 0.05",)
    decision = replace(decided("keep"), reasons=reasons)
    made = certificate(claims=(own,), decision=decision, subjects=who)
    days = (date(2026, 1, 1), date(2026, 2, 1), None)
    dates = (RequestDates("R7", who[0], *days), RequestDates("R9", who[1], *days))
    for known, names in ((dates, ("R7", "R9")), ((), ("a" * 8, "c" * 8))):
        page = read(
            render_report(
                made, [], verified=Verified.EVERYTHING, file="c", digest="f" * 64, dates=known, controller="Us"
            )
        )
        rows = [row.one("th").text for table in page.all("table") for row in table.all("tr") if len(row.all("td")) == 4]
        assert sorted(rows) == sorted(names)
        assert f"own_loss of {names[0]}: it changes by 0.00497 at most, and the tolerance is 0.05" in page.text
        assert "Probe own_loss, 2 people" in page.text
        assert "these people\N{RIGHT SINGLE QUOTATION MARK}s data" in page.text
        assert "Us, with the audit log" in page.text
