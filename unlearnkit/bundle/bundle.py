"""Reading a bundle: every byte is checked against the manifest before anything is made of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unlearnkit.bundle.bfloat16 import wide
from unlearnkit.bundle.contents import contents_table
from unlearnkit.bundle.correction import CorrectedState, Correcting, Correction, as_state_dict
from unlearnkit.bundle.directions import Directions, direction_key, salt_from_checkpoint
from unlearnkit.bundle.fit import require_fit
from unlearnkit.bundle.informed import InformedSlopes
from unlearnkit.bundle.integrity import (
    verify_digest,
    verify_files,
    verify_listing_agrees,
    verify_signature,
)
from unlearnkit.bundle.manifest import (
    EXPLICIT_DIRECTIONS,
    FILE_NAME,
    INFORMED,
    Manifest,
    Shape,
    probe_file,
)
from unlearnkit.bundle.pseudonym import PseudonymKey
from unlearnkit.bundle.pseudonyms import Pseudonyms
from unlearnkit.bundle.reverse import read_reverse
from unlearnkit.bundle.solo import SoloSketch
from unlearnkit.bundle.tensors import complex_numbers, read_tensors
from unlearnkit.bundle.units import Units
from unlearnkit.bundle.weights import StoredWeights
from unlearnkit.canonical import canonicalize, sha256_hex
from unlearnkit.errors import FormatError, RefusedError, UnknownNameError, VerificationError
from unlearnkit.estimation import Prediction, Projection, ReverseSketch, Sketch, SoloSeries
from unlearnkit.files import MAX_DOCUMENT, read_bounded

if TYPE_CHECKING:
    import torch

    from unlearnkit.signing.keys import PublicKey
    from unlearnkit.signing.model_signature import SignedListing

Array = np.ndarray[Any, Any]

# Purpose of random vectors beside the sketch's own (`directions.direction_key`): the search for informed directions.
INFORMED_START = "informed"


class Bundle:
    """A sketch on disk. Opening it and predicting from pinned probes needs neither torch nor the data.

    Made by `open`. Whatever makes one, everything in it is verified before it is there.

    Attributes:
        path: its directory.
        manifest: what it holds.
        digest: SHA-256 of the manifest, and so of everything in the bundle.
        signers: key ids of the trusted keys that signed it; none when no signature was looked at.

    Example:
        >>> bundle = uk.Bundle.open(office.root / "bundle", trust=office.trust().keys("sketch-signer"))
        >>> bundle.probe_names, len(bundle.units)
        (('logits', 'own_loss', 'test_loss'), 5)
        >>> from copy import deepcopy
        >>> model = bundle.load_model(deepcopy(recipe.model))
        >>> state = bundle.corrected_model(recipe.model, delete=["ann"])

    """

    def __init__(self, path: Path, key: PseudonymKey | None, signed: SignedListing | None) -> None:
        raw_manifest = read_bounded(path / FILE_NAME, MAX_DOCUMENT)
        self.path = path
        self.signers = () if signed is None else tuple(key.key_id for key in signed.keys)
        self.manifest = Manifest.from_bytes(raw_manifest)
        self.digest = sha256_hex(raw_manifest)
        if signed is not None:
            verify_listing_agrees(signed, raw_manifest, self.manifest)
        verify_files(path, self.manifest)
        self._units = Units.read(path, self.manifest, key)
        self._verify_contents()

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        trust: Sequence[PublicKey] | None = None,
        threshold: int = 1,
        pseudonym_key: PseudonymKey | None = None,
    ) -> Bundle:
        """Verify the signature, check every file of a bundle, then open it.

        Args:
            path: its directory.
            trust: the keys that may have signed it; none of them verify nothing. None: no signature is looked at, and
                ``signers`` stays empty.
            threshold: how many different ones must have.
            pseudonym_key: lets callers name units; None takes the one of `PseudonymKey.path_for`, if that can be read.

        Raises:
            FileNotFoundError: nothing is there.
            FormatError: malformed contents.
            SignatureError: no signature, or one that does not verify.
            ThresholdError: too few trusted signatures.
            DigestMismatchError: altered contents.
            VerificationError: directions that do not follow from recipe and salt.

        """
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"no {path}")
        if not (path / FILE_NAME).is_file():
            raise FormatError(f"{path} is not a bundle: it has no {FILE_NAME}")
        key = pseudonym_key if pseudonym_key is not None else PseudonymKey.beside(path)
        signed = None if trust is None else verify_signature(path, keys=trust, threshold=threshold)
        return cls(path, key, signed)

    def __repr__(self) -> str:
        count, units = self.manifest.direction_count, self.manifest.units
        return f"Bundle({str(self.path)!r}, {units=}, directions={count}, degree={self.manifest.degree})"

    def _repr_html_(self) -> str:
        return contents_table(self.manifest, path=str(self.path), signers=self.signers)

    def _verify_contents(self) -> None:
        """Shapes, precision and finiteness of everything that predictions rest on, and the origin of the directions."""
        manifest = self.manifest
        described = sha256_hex(canonicalize(dict(manifest.recipe.description)))
        if described != manifest.recipe_digest:
            raise VerificationError(
                f"{FILE_NAME}: the recipe is {manifest.recipe_digest}, but its description gives {described}"
            )
        if not manifest.is_explicit:
            expected = direction_key(manifest.recipe_digest, bytes.fromhex(manifest.salt)).hex()
            if (key := manifest.directions.key) != expected:
                raise VerificationError(
                    f"{FILE_NAME}: the directions' key is {key}, but recipe and salt give {expected}"
                )
        if manifest.checkpoint:
            from_log = salt_from_checkpoint(manifest.recipe_digest, manifest.checkpoint).hex()
            if manifest.salt != from_log:
                raise VerificationError(f"{FILE_NAME}: salt {manifest.salt}, but recipe and checkpoint give {from_log}")
        self.model_state()
        if self.solo is not None:
            self.solo.verify_weights()
        for probe in manifest.probes:
            self._probe_arrays(probe)
            self._reverse(probe)
        _ = self.directions, self.informed

    def _bytes(self, name: str) -> bytes:
        """A listed file, which still has the bytes that the manifest promises."""
        file = next(file for file in self.manifest.files if file.path == name)
        raw = read_bounded(self.path / name, file.size)
        verify_digest(file, len(raw), sha256_hex(raw))
        return raw

    def _probe_arrays(self, probe: Shape) -> dict[str, Array]:
        manifest, name = self.manifest, probe_file(probe.name)
        shape = (manifest.direction_count, manifest.degree, *probe.shape, 2)
        shapes = {"base": probe.shape, "coefficients": shape}
        return read_tensors(self._bytes(name), shapes, manifest.dtype, where=name)

    def _reverse(self, probe: Shape) -> ReverseSketch | None:
        """What reverse sweeps found out about a pinned probe, if there were any."""
        solo = None if self.solo is None else self.solo.series(probe.name)
        return read_reverse(self.manifest, probe, self._bytes, solo)

    @cached_property
    def directions(self) -> Directions:
        """The directions of the sketch, made from the seed, or read when they are explicit."""
        manifest = self.manifest
        if not manifest.is_explicit:
            salt = bytes.fromhex(manifest.salt)
            return Directions.random(
                manifest.recipe_digest, salt, manifest.direction_count, manifest.units, manifest.dtype
            )
        shapes = {"directions": (manifest.direction_count, manifest.units, 2)}
        tensors = read_tensors(self._bytes(EXPLICIT_DIRECTIONS), shapes, "float64", where=EXPLICIT_DIRECTIONS)
        return Directions.explicit(complex_numbers(tensors["directions"]))

    @cached_property
    def informed(self) -> InformedSlopes | None:
        """The directions that were found from the data, if there are any."""
        return InformedSlopes.from_bytes(self._bytes(INFORMED), self.manifest) if self.manifest.informed.count else None

    @cached_property
    def solo(self) -> SoloSketch | None:
        """The series along units alone, if there are any."""
        return SoloSketch.of(self.manifest, self._bytes) if self.manifest.solo.units else None

    @property
    def keeps_weights(self) -> bool:
        """Whether probes that nobody pinned can be sketched."""
        return bool(self.manifest.weight_sketches) or self.informed is not None

    @property
    def corrects(self) -> bool:
        """Whether every machine finds the same corrected weights: see `correction`."""
        alone = self.solo is not None and self.solo.keeps_weights
        return not self.manifest.weight_sketches and (alone or self.informed is not None)

    @cached_property
    def _projection(self) -> Projection:
        return Projection(self.directions, None if self.informed is None else self.informed.basis)

    @property
    def units(self) -> Pseudonyms:
        """The units' pseudonyms, in the order of the units: a sequence of texts, which takes 32 bytes for each."""
        return self._units.pseudonyms

    @property
    def probe_names(self) -> tuple[str, ...]:
        """The pinned probes."""
        return tuple(probe.name for probe in self.manifest.probes)

    def probe(self, name: str) -> Sketch:
        """The sketch of a pinned probe. UnknownNameError lists the ones there are."""
        for probe in self.manifest.probes:
            if probe.name == name:
                arrays = self._probe_arrays(probe)
                coefficients = complex_numbers(arrays["coefficients"])
                informed = self.informed
                slopes = None if informed is None else informed.probes[name]
                forms = () if informed is None else [forms[name] for forms in informed.probe_forms]
                solo = None if self.solo is None else self.solo.series(name)
                return self.new_sketch(name, arrays["base"], coefficients, slopes, self._reverse(probe), solo, forms)
        known = ", ".join(self.probe_names) or "none"
        hint = "pin it in the recipe, or use uk.evaluate(bundle, recipe, fn) on a bundle that kept its weights"
        raise UnknownNameError(f"the bundle has no probe {name!r}; it has: {known}", hint=hint)

    def own_loss(self, delete: Sequence[str | int]) -> Prediction:
        """Predict the mean loss on their own data, had these units been left out together (docs/theory.md section 11).

        What a model keeps of somebody shows there, more than on test data. For one unit its series alone answers; for
        several, each one's own series and what the others do to it, to first order by reverse sweeps and above by what
        else was sketched of this probe.

        Args:
            delete: unit names, all of which are left out.

        Returns:
            A prediction with one element for each name, in their order; mean losses.

        Raises:
            RefusedError: the recipe pinned no ``OwnLoss()``.
            UnknownNameError, ValueError: see `Units.indices`.

        """
        if not self.manifest.own_loss:
            hint = 'pin it in the recipe: probes={"own_loss": uk.OwnLoss()}'
            raise RefusedError("the bundle has no own losses of its units", hint=hint)
        names = [delete] if isinstance(delete, str) else list(delete)
        return self.probe(self.manifest.own_loss).of(self.unit_indices(names)).predict(names)

    def new_sketch(
        self,
        name: str,
        base: Array,
        coefficients: Array,
        slopes: Array | None = None,
        reverse: ReverseSketch | None = None,
        solo: SoloSeries | None = None,
        forms: Sequence[Array] = (),
    ) -> Sketch:
        """A sketch along this bundle's directions. Where there are no coefficients, informed directions answer alone.

        Args:
            name: of the probe.
            base: ``[*P]``.
            coefficients: ``[directions, degree, *P]``.
            slopes: along its informed directions, ``[q, *P]``, which a bundle with such directions needs.
            reverse: what reverse sweeps found out.
            solo: series along units alone.
            forms: of the degrees 2, 3, ... on the span of leading informed directions, ``[points, *P]``.

        """
        projection = self._projection
        if not len(coefficients) and self.directions.count:
            projection = Projection(Directions(0, self.manifest.units), projection.informed)
        return Sketch(
            name=name,
            base=np.asarray(base, dtype=np.float64),
            coefficients=np.asarray(coefficients, dtype=np.complex128),
            projection=projection,
            resolve=self._units.places,
            slopes=None if self.informed is None or slopes is None else self.informed.in_basis(slopes),
            reverse=reverse,
            solo=solo,
            span=None if self.informed is None else self.informed.span(forms),
            is_random=not self.manifest.is_explicit,
        )

    def unit_indices(self, names: Sequence[str | int]) -> Array:
        """Positions of units ``[len(names)]``; see `Units.indices` for what it raises."""
        return self._units.indices(names)

    def model_state(self) -> dict[str, Array]:
        """The trained model: the constant term of the sketch, by state-dict name; bfloat16 in float32."""
        return {name: wide(array) for name, array in self._weights.stored().items()}

    @property
    def _weights(self) -> StoredWeights:
        return StoredWeights(self.manifest, self._bytes)

    def load_model(self, model: torch.nn.Module) -> torch.nn.Module:
        """Load the trained weights into a model of the recipe's class, in its own precision; returns it.

        ValueError for a model with other weights, which then stays as it is.
        """
        require_fit(model, self._weights.shapes)
        own, stored = model.state_dict(), self.model_state()
        model.load_state_dict({name: own[name].new_tensor(array) for name, array in stored.items()})
        return model

    def correction(self, delete: Iterable[str | int], *, degree: int | None = None) -> Correction:
        """The trained weights predicted without some units' data (docs/theory.md section 14); needs no torch.

        Units along which the weights' series was kept are answered by it, others by informed directions, or by random
        ones, which are far less sharp. Where informed directions have degrees above one, these also tell what units do
        to one another, as far as that lies in their span.

        Args:
            delete: names of units, everybody who is to be left out.
            degree: of what is taken, at most; None: all of the series along units alone and of informed directions, and
                of random ones the first order.

        Returns:
            The corrected weights, how they were found, and whether their series converges.

        Raises:
            RefusedError: nothing is known of the weights without one of them.
            AssumptionError: the series diverges for so many units together.
            UnknownNameError, ValueError: see `Units.indices`; the degree was not sketched.

        """
        if degree is not None and degree < 1:
            raise ValueError(f"degree={degree}, expected a whole number >= 1")
        units = delete if isinstance(delete, str) else list(delete)  # a text is for `unit_indices` to refuse
        stored, solo = self._weights.stored(), self.solo
        return Correcting(
            stored,
            self.manifest.tied,
            solo=solo if solo is not None and solo.keeps_weights else None,
            informed=self.informed,
            sampled=self._weight_probes(stored),
        ).without(self.unit_indices(units).tolist(), degree)

    def corrected_model(
        self, model: torch.nn.Module, delete: Iterable[str | int], *, degree: int | None = None
    ) -> CorrectedState:
        """The `correction` as a state dict for a model of the recipe's class, with the predictions of its probes.

        Args:
            model: of the recipe's class; it stays as it is.
            delete: names of units, everybody who is to be left out.
            degree: of what is taken, at most; see `correction`.

        Returns:
            A state dict to load.

        Raises:
            ValueError: the model does not fit; and whatever `correction` raises.

        """
        require_fit(model, self._weights.shapes)
        names = delete if isinstance(delete, str) else list(delete)
        state = as_state_dict(self.correction(names, degree=degree), model)
        own = self.manifest.own_loss
        state.predictions = {
            name: self.own_loss(names) if name == own else self.probe(name).predict(names) for name in self.probe_names
        }
        return state

    def _weight_probes(self, stored: Mapping[str, Array]) -> dict[str, Sketch]:
        """Each trained weight as a probe, where it was kept along random directions."""
        blocks: dict[str, list[Array]] = {}
        for _, _, tensors in self.weight_sketches():
            for name, array in tensors.items():
                blocks.setdefault(name, []).append(array)
        slopes = {} if self.informed is None else self.informed.weights
        return {
            name: self.new_sketch(name, wide(stored[name]), np.concatenate(arrays), slopes.get(name))
            for name, arrays in sorted(blocks.items())
        }

    def weight_sketches(self) -> Iterator[tuple[int, int, dict[str, Array]]]:
        """Block by block: first and last direction, and each trained weight's complex ``[directions, degree, *S]``."""
        return self._weights.sketches()
