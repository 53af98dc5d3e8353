"""Where the directions of a bundle came from: the log, before they were known, or somebody who chose them."""

from __future__ import annotations

from dataclasses import dataclass

from unlearnkit.bundle.manifest import Manifest
from unlearnkit.bundle.settings import SketchSettings
from unlearnkit.compliance.log.checkpoint import checkpoint_text
from unlearnkit.compliance.policy.policy import Policy, SaltOrigin
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import PolicyError, VerificationError


@dataclass(frozen=True, slots=True)
class SketchOrigin:
    """What the log says of a sketch. commitment: the entry that announced it; None: its salt was chosen.

    others: the entries that announced other sketches of the same recipe.
    """

    commitment: int | None
    others: tuple[int, ...]


def require_salt(manifest: Manifest, policy: Policy) -> None:
    """PolicyError if the policy takes only directions that follow from the log, and these were chosen."""
    if policy.certificate.salt is SaltOrigin.LOG and not manifest.checkpoint:
        raise PolicyError(
            f"the directions of the bundle were chosen: policy {policy.name} takes only those that follow from the log",
            hint="sketch it in the workspace: `unlearnkit sketch` without --seed, or Workspace.sketch",
        )


def sketch_origin(manifest: Manifest, view: LogView, *, origin: str, before: int | None = None) -> SketchOrigin:
    """What a log says of a bundle's sketch, and of others of its recipe.

    Args:
        manifest: Of the bundle.
        view: The log.
        origin: The log's name.
        before: Only what was announced before this entry; None: everything.

    Raises:
        VerificationError: The salt says that it follows from this log, and it does not, or the log announced another
            sketch there.
    """
    commitment = None if not manifest.checkpoint else _commitment(manifest, view, origin)
    announced = view.sketches.of_recipe(manifest.recipe_digest, before=before)
    return SketchOrigin(commitment, tuple(item.index for item in announced if item.index != commitment))


def _commitment(manifest: Manifest, view: LogView, origin: str) -> int:
    """The entry that announced the sketch: the last one under the checkpoint that its salt follows from."""
    size = _size(manifest.checkpoint, origin)
    index = size - 1
    announced = view.sketches.commitments.get(index)
    if announced is None or manifest.checkpoint != checkpoint_text(origin, size, view.root_at(size)):
        raise VerificationError(f"the salt of the bundle follows from no entry of {origin} that announced a sketch")
    if (announced.recipe, announced.settings) != (manifest.recipe_digest, SketchSettings.of(manifest).digest):
        raise VerificationError(f"entry {index} of {origin} announced another sketch than this one")
    return index


def _size(text: str, origin: str) -> int:
    """How many entries the checkpoint covers that the salt follows from; VerificationError if it is of another log."""
    name, size, *_ = [*text.split("\n"), "", ""]
    if name != origin or not size.isascii() or not size.isdecimal():
        raise VerificationError(f"the salt of the bundle follows from another log: {name!r}, expected {origin!r}")
    return int(size)
