"""The section of a model card that says what the model keeps of people, and how they ask to be left out.

Markdown, as Hugging Face's model cards are. Of what it says, nothing is certified: certificates are about requests.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from pathlib import Path

from unlearnkit.bundle import Bundle
from unlearnkit.compliance.releases.registry import Release
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import UnknownNameError
from unlearnkit.names import counted, shown
from unlearnkit.office.releases import ReleaseNamed, Standing, release_id
from unlearnkit.office.workspace import Workspace
from unlearnkit.verifier.audits import logged_audits

HEADING = "## People's data in this model"

_LIMITS = (
    "Predictions say what the same training run would have given without somebody's data: the same start, order and "
    "random numbers. They are not about other copies of the data or of the model, and not about what another training "
    "would have learned. Only certificates, which answer requests, state errors."
)


def model_card(office: Workspace, release: ReleaseNamed, bundle: Bundle | Path | str | None = None) -> str:
    """The section for a release, as Markdown.

    Args:
        office: The workspace.
        release: Which.
        bundle: The one that was registered with it; None: where it lay then.

    Raises:
        VerificationError: It is another bundle, or it does not verify.
        RefusedError: Who is in the bundle cannot be told: its pseudonyms are made with another key.
        UnknownNameError: There is no such release, or its bundle is not at hand.

    Example:
        >>> print(model_card(office, "small@1").splitlines()[0])
        ## People's data in this model
    """
    opened = office.bundle_of(release) if bundle is None else office.open_bundle(bundle)
    view = office.view()
    found, standing = view.registry.get(release_id(release)), office.standing(release, opened)
    rows = [*_run(found, opened), *_people(standing), *_evidence(view, opened), *_asking(office, found)]
    table = ["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows)]
    return "\n".join([HEADING, "", *table, "", _LIMITS, ""])


def _run(release: Release, bundle: Bundle) -> Iterator[tuple[str, str]]:
    manifest = bundle.manifest
    until = f" to {release.retired}" if release.retired else ""
    yield "Release", f"{_plain(release.id)}, in use from {release.registered}{until}"
    if release.corrects is not None:
        yield (
            "Corrected",
            f"from {_plain(release.corrects.release)}, without {counted(len(release.without), 'person')}, "
            "by prediction",
        )
    probes = ", ".join(_probe(probe.name, probe.shape) for probe in manifest.probes)
    name = _plain(str(manifest.recipe.description.get("name")))
    yield (
        "Sketched",
        f"training run {name} with the data of {counted(manifest.units, 'person')}; {probes or 'no probes'}",
    )
    yield "Recipe", f"SHA-256 `{manifest.recipe_digest}`"
    yield "Sketch bundle", f"SHA-256 of its manifest `{bundle.digest}`"


def _probe(name: str, shape: tuple[int, ...]) -> str:
    return f"`{name}`" + (
        f" ({' x '.join(map(str, shape))} {'number' if math.prod(shape) == 1 else 'numbers'})" if shape else ""
    )


def _people(standing: Standing) -> Iterator[tuple[str, str]]:
    who = f"{len(standing.people)} of {counted(standing.units, 'person')}"
    moved = [
        f"`{change.probe}` would move by {change.largest:+.3g} without them, by prediction "
        f"(tolerated: {change.tolerance}; the series is {change.convergence})"
        for change in standing.changes
    ]
    yield "Answered without a new training", "; ".join([who, *moved]) if standing.people else who
    if (spread := standing.strangers) is not None:
        yield (
            "Losses on people's own data",
            f"half of all people's, had the model never seen them, lie between {spread.low:.3g} and {spread.high:.3g}"
            + (
                "" if spread.within is None else f"; {spread.within:.0%} differ from that by no more than the tolerance"
            ),
        )


def _evidence(view: LogView, bundle: Bundle) -> Iterator[tuple[str, str]]:
    audits = logged_audits(view, bundle.manifest.recipe_digest)
    done = [item.evidence for item in audits if item.evidence is not None]
    if audits:
        files = ", ".join(f"`{digest}`" for digest in done)
        yield (
            "Audits by retraining",
            f"{len(audits)} committed to, {len(done)} finished" + (f": {files}" if done else ""),
        )
    else:
        yield "Audits by retraining", "none"


def _asking(office: Workspace, release: Release) -> Iterator[tuple[str, str]]:
    try:
        sender = office.sender()
    except UnknownNameError:
        yield "To ask", "whoever runs this model; their workspace does not say how they are reached"
    else:
        yield "To ask", f"{_plain(sender.name)}, {_plain(sender.contact)}; to complain: {_plain(sender.authority)}"
    yield "Audit log", f"`{_plain(office.origin)}`, in which {_plain(release.id)} is entry {release.index}"


def _plain(text: str) -> str:
    """Text that ends no cell and begins no markup."""
    return escape(shown(text, lines=False)).replace("|", "&#124;").replace("`", "&#96;")
