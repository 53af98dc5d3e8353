"""Laws of every page: it loads nothing, runs nothing, can be read aloud, and takes no text for anything else."""

from __future__ import annotations

import re
from dataclasses import fields
from itertools import pairwise

import pytest

from tests.report.pages import decided, page, policy_text, read, wide_claim
from tests.verifier.claims import certificate, claim
from unlearnkit.report import Verified
from unlearnkit.verifier.certificate import Certificate, Claim, Decision, Outcome

SAMPLES = {
    "one number": page(),
    "few": page(claims=(wide_claim(4),)),
    "many": page(claims=(wide_claim(40),), verified=Verified.SIGNATURE),
    "very many": page(claims=(wide_claim(1200),), verified=Verified.NOTHING),
    "two probes": page(claims=(claim(), wide_claim(12, probe="margins", kind="certified", stability=()))),
    "no claims": page(claims=(), decision=decided("insufficient")),
}
each_sample = pytest.mark.parametrize("html", SAMPLES.values(), ids=SAMPLES)


@each_sample
def test_the_page_is_well_formed_and_loads_nothing(html):
    assert html.startswith("<!DOCTYPE html>")
    root = read(html)
    assert not root.all("script", "link", "img", "iframe", "object", "embed", "form", "base")
    for node in root.all():
        assert not {"src", "srcset", "style", "action", "data"} & node.attributes.keys()
        assert not [name for name in node.attributes if name.startswith("on")]
        assert node.attributes.get("href", "#").startswith("#")
    assert not re.search(r"url\(|@import|expression", root.one("style").text)


@each_sample
def test_the_content_policy_forbids_everything_but_styles(html):
    (meta,) = [m for m in read(html).all("meta") if "http-equiv" in m.attributes]
    assert meta.attributes["http-equiv"] == "Content-Security-Policy"
    policy = dict(part.strip().split(" ", 1) for part in meta.attributes["content"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["style-src"] == "'unsafe-inline'"
    assert policy["img-src"] == "data:"
    assert "script-src" not in policy


@each_sample
def test_screen_readers_find_their_way(html):
    root = read(html)
    assert root.one("html").attributes["lang"] == "en"
    assert len(root.all("main")) == len(root.all("h1")) == 1
    assert root.one("nav").attributes["aria-label"]
    levels = [int(node.tag[1]) for node in root.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = [node.attributes["id"] for node in root.all() if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    for node in root.all():
        for name in node.attributes.get("aria-labelledby", "").split():
            assert root.by_id(name).text
        if node.tag == "a":
            assert root.by_id(node.attributes["href"][1:])


@each_sample
def test_every_table_has_a_caption_and_its_headers_a_scope(html):
    tables = read(html).all("table")
    assert tables
    for table in tables:
        assert table.one("caption").text
        assert all(th.attributes["scope"] in ("col", "row") for th in table.all("th"))
        widths = {len(row.all("th", "td")) for row in table.all("tr")}
        assert len(widths) == 1


@each_sample
def test_every_figure_says_in_words_what_it_shows(html):
    for svg in (node for node in read(html).all("svg") if node.parent.tag != "svg"):
        assert svg.attributes["role"] == "img"
        title, description = svg.attributes["aria-labelledby"].split()
        assert svg.one("title").attributes["id"] == title
        assert svg.one("desc").attributes["id"] == description
        assert len(svg.one("title").text) > 10
        assert len(svg.one("desc").text) > 20


EVIL = "<script>alert(1)</script>\"'&{{ 7 * 7 }}"
TEXTS = [f.name for f in fields(Claim) if f.type == "str" and f.name not in ("delta", "question")]


@pytest.mark.parametrize("name", ["requests", "counterfactual", "log", "issued", "software", *TEXTS, "covers"])
def test_whatever_a_certificate_says_is_text(name):
    value = (EVIL,) if name in ("covers", "requests") else EVIL
    whole = name in {f.name for f in fields(Certificate)}
    html = page(**({name: value} if whole else {"claims": (claim(**{name: value}),)}))
    assert not read(html).all("script")
    assert EVIL in read(html).text or EVIL in read(html).raw_text


@pytest.mark.parametrize("place", ["rule", "reasons", "assumptions", "pseudonym", "file", "check", "policy"])
def test_lists_checks_and_file_names_are_text_too(place):
    made, extra = certificate(), {}
    if place in ("rule", "reasons"):
        members = {"outcome": Outcome.KEEP, "rule": "r", "reasons": ()}
        members[place] = EVIL if place == "rule" else (EVIL,)
        made = certificate(decision=Decision(**members))
    elif place == "assumptions":
        made = certificate(claims=(claim(assumptions=(EVIL,)),))
    elif place == "pseudonym":
        made = certificate(deleted=(EVIL,), subjects=(EVIL,))
    elif place == "policy":
        text = policy_text(loss="0.02").replace('name = "strict"', f'name = "strict"\ntitle = """{EVIL}"""')
        made = certificate(policy=text)
    else:
        extra = {"file": EVIL} if place == "file" else {"checks": [(EVIL, EVIL)]}
    html = page(made, **extra)
    assert not read(html).all("script")
    assert "alert(1)" in read(html).text.lower()
