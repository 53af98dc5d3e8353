"""Reports for the tests, and a reader of their HTML that shares no code with what wrote them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from tests.verifier.claims import POLICY, certificate, claim
from unlearnkit.report import Verified, render_report
from unlearnkit.verifier.certificate import Certificate, Claim, Curve, Decision, Outcome

CHECKS = [("signature", "signed by 0123456789abcdef"), ("numbers", "1 claims, made again from the bundle, agree")]
OUTCOMES = (Outcome.KEEP, Outcome.RETRAIN, Outcome.INSUFFICIENT)
MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
VOID = {"meta", "br", "hr", "img", "link", "input"}


def page(made: Certificate | None = None, *, verified: Verified = Verified.EVERYTHING, checks=None, **changed) -> str:
    checks = ([] if verified is Verified.NOTHING else CHECKS) if checks is None else checks
    file = changed.pop("file", "R2.certificate.json")
    return render_report(made or certificate(**changed), checks, verified=verified, file=file, digest="f" * 64)


def decided(outcome: str) -> Decision:
    return Decision(outcome=outcome, rule="certificate.tolerances.loss", reasons=("loss: because",))


def wide_claim(count: int, *, step: float = 0.001, epsilon: str = "0.002", **changed) -> Claim:
    """A claim about ``count`` numbers, of which number i changes by i steps."""
    members = {
        "shape": (count,),
        "base": ("1.5",) * count,
        "predicted": tuple(f"{1.5 + step * i:.6f}" for i in range(count)),
        "epsilon": (epsilon,) * count,
        "curve": Curve(element=count - 1, weights=("0", "1"), values=("1.5", "1.6"), standard_errors=("0", "0")),
    }
    return claim(**{**members, **changed})


def policy_text(**tolerances: str) -> str:
    names = ", ".join(f'"{name}"' for name in tolerances)
    lines = "\n".join(f"{name} = {value}" for name, value in tolerances.items())
    return POLICY.replace('probes = ["loss"]', f"probes = [{names}]").replace("loss = 0.02", lines)


@dataclass
class Node:
    """An element: its tag, attributes, children (elements and texts) and parent."""

    tag: str
    attributes: dict[str, str]
    parent: Node | None = None
    children: list[Node | str] = field(default_factory=list)

    def all(self, *tags: str) -> list[Node]:
        found = []
        for child in self.children:
            if isinstance(child, Node):
                found += ([child] if not tags or child.tag in tags else []) + child.all(*tags)
        return found

    def one(self, tag: str) -> Node:
        (found,) = self.all(tag)
        return found

    def by_id(self, name: str) -> Node:
        (found,) = (node for node in self.all() if node.attributes.get("id") == name)
        return found

    @property
    def text(self) -> str:
        texts = (child if isinstance(child, str) else child.text for child in self.children)
        return re.sub(r"\s+", " ", "".join(texts)).strip()

    @property
    def raw_text(self) -> str:
        return "".join(child if isinstance(child, str) else child.raw_text for child in self.children)


class _Reader(HTMLParser):
    """Builds the tree, and refuses what browsers would have to repair."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self.place = Node("", {})

    def handle_starttag(self, tag, attrs):
        node = Node(tag, dict(attrs), self.place)
        assert len(node.attributes) == len(attrs), f"{tag} has an attribute twice"
        self.place.children.append(node)
        if tag not in VOID:
            self.place = node

    def handle_startendtag(self, tag, attrs):
        self.place.children.append(Node(tag, dict(attrs), self.place))

    def handle_endtag(self, tag):
        assert self.place.tag == tag, f"</{tag}> closes <{self.place.tag}>"
        self.place = self.place.parent

    def handle_data(self, data):
        self.place.children.append(data)


def read(html: str) -> Node:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader.place is reader.root, f"<{reader.place.tag}> is not closed"
    return reader.root
