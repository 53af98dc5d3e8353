"""Sketches in a workspace: announced in the log before they are computed, along directions that follow from the log."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from unlearnkit.bundle import Bundle
from unlearnkit.bundle.manifest import FILE_NAME
from unlearnkit.canonical import file_sha256_hex
from unlearnkit.compliance.log.checkpoint import checkpoint_text
from unlearnkit.compliance.log.entry import draft
from unlearnkit.compliance.log.publication import publish_checkpoint
from unlearnkit.compliance.releases.sketches import Commitment, Committed, Finished, Sketches, SketchEvent
from unlearnkit.compliance.view import LogView
from unlearnkit.errors import RefusedError
from unlearnkit.office.certificates import CertificateSteps
from unlearnkit.records import to_json
from unlearnkit.signing.keys import PrivateKey

if TYPE_CHECKING:
    from unlearnkit.sketching.settings import Forward, Informed, Reverse, Solo
    from unlearnkit.training.recipe import Recipe


@dataclass(frozen=True)
class SketchSteps(CertificateSteps):
    """What is done with sketches, as `RequestSteps` is for requests; the same words mean the same."""

    def sketch(
        self,
        recipe: Recipe,
        path: str | os.PathLike[str],
        *,
        forward: Forward | None = None,
        reverse: Mapping[str, Reverse] | None = None,
        informed: Informed | None = None,
        solo: Solo | None = None,
        dtype: Literal["float32", "float64"] = "float32",
        device: str | None = None,
        memory_budget: int | None = None,
        signer: PrivateKey | None = None,
        overwrite: bool = False,
        progress: bool | None = None,
    ) -> Bundle:
        """`unlearnkit.sketch`, whose random directions nobody chose: the log has an entry for it before they are known.

        The entry has the digests of recipe and settings; the salt follows from the recipe and the log up to that entry,
        which is covered by a checkpoint before anything is computed; then another entry says what came out. An
        interrupted call goes on under the entry that it made. One that is not the same is another sketch of the recipe,
        which every certificate names. Needs torch and the training data.

        Args:
            recipe: The training run.
            path: Where the bundle goes.
            forward: As in `unlearnkit.sketch`.
            reverse: As there.
            informed: As there.
            solo: As there.
            dtype: As there.
            device: As there.
            memory_budget: As there.
            signer: Signs the bundle; None: the workspace's key.
            overwrite: Replace what is at ``path``: a new sketch, with an entry of its own.
            progress: As there.

        Raises:
            FileExistsError: There is something else at ``path``.
            RefusedError: The same sketch was finished meanwhile, and came out otherwise.
            VerificationError: The log is not what was signed before.
        """
        from unlearnkit.sketching.asked import settings_of  # noqa: PLC0415 - brings torch
        from unlearnkit.sketching.sketch import sketch  # noqa: PLC0415

        log_key, signer = self.log_key(self.passphrase), signer or self.signer_key(self.passphrase)
        wanted = settings_of(recipe, forward=forward, reverse=reverse, informed=informed, solo=solo, dtype=dtype)
        announced = Committed(recipe=recipe.digest, settings=wanted.digest)
        log, view = self.open_log(), self.view()
        commitment = self._announce(view, announced, Path(path), overwrite=overwrite)
        publish_checkpoint(log, log_key, recompute=view.history)
        bundle = sketch(
            recipe,
            path,
            forward=forward,
            reverse=reverse,
            informed=informed,
            solo=solo,
            salt=salt_text(self.origin, view, commitment).encode(),
            dtype=dtype,
            device=device,
            memory_budget=memory_budget,
            signer=signer,
            overwrite=overwrite,
            progress=progress,
        )
        self.share(bundle.path)
        self._finish(view, commitment, bundle)
        return bundle

    def _announce(self, view: LogView, announced: Committed, path: Path, *, overwrite: bool) -> Commitment:
        """The entry that the sketch is made under: one to go on with, or a new one."""
        with self.open_log().exclusive() as writer:
            sketches = view.up_to(writer.end).sketches
            known = None if overwrite else _to_go_on_with(sketches, announced, path)
            if known is not None:
                return known
            if path.exists() and not overwrite:
                raise FileExistsError(
                    f"{path} holds something else; choose another path, or replace it: overwrite=True"
                )
            (entry,) = writer.record_many([draft(SketchEvent.COMMITTED, to_json(announced))])
        return Commitment(index=entry.index, recipe=announced.recipe, settings=announced.settings)

    def _finish(self, view: LogView, commitment: Commitment, bundle: Bundle) -> None:
        """Record what came out, once."""
        with self.open_log().exclusive() as writer:
            known = view.up_to(writer.end).sketches.commitments[commitment.index]
            if known.bundle is None:
                finished = Finished(commitment=commitment.index, bundle=bundle.digest)
                writer.record_many([draft(SketchEvent.FINISHED, to_json(finished))])
            elif known.bundle != bundle.digest:
                raise RefusedError(
                    f"the sketch of entry {known.index} was finished meanwhile: as {known.bundle}, and here as "
                    f"{bundle.digest}",
                    hint="sketch again with overwrite=True, under an entry of its own",
                )


def salt_text(origin: str, view: LogView, commitment: Commitment) -> str:
    """What the salt follows from: the text of the checkpoint that signs the log up to the commitment.

    Without signatures, for a signer could make as many as it likes.
    """
    size = commitment.index + 1
    return checkpoint_text(origin, size, view.root_at(size))


def _to_go_on_with(sketches: Sketches, announced: Committed, path: Path) -> Commitment | None:
    """The last sketch that is the same, and is unfinished or lies at the path."""
    manifest = path / FILE_NAME
    there = file_sha256_hex(manifest) if manifest.is_file() else None
    same = [item for item in sketches.of_recipe(announced.recipe) if item.settings == announced.settings]
    return next((item for item in reversed(same) if item.bundle in (None, there)), None)
