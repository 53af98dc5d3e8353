"""The retraining audit: draw deletions, retrain without them for real, sign what came out (docs/theory.md section 5).

Each finished retraining is kept at once, in ``.NAME.partial`` beside the evidence NAME, under the digest of the units
that it left out. The same call goes on from what is there, also with more retrainings, or more processes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from unlearnkit.audit.corrected import audited_run, corrected_probes, probes_at
from unlearnkit.audit.processes import RecipeSource, share
from unlearnkit.audit.replay import require_same_recipe
from unlearnkit.audit.rows import Row, gathered, retrained_before
from unlearnkit.bundle import Bundle
from unlearnkit.bundle.tensors import parse_tensors, tensor_bytes
from unlearnkit.canonical import canonicalize, sha256_hex
from unlearnkit.errors import EstimationError, RefusedError, VerificationError
from unlearnkit.estimation.conformal import require_retrainings
from unlearnkit.files import write_atomic, write_new
from unlearnkit.names import Sha256, counted
from unlearnkit.records import Count, read_json, to_json, write_json
from unlearnkit.sketching.lock import locked
from unlearnkit.sketching.ranks import Ranks
from unlearnkit.sketching.shelf import Shelf
from unlearnkit.training.beside import agree
from unlearnkit.training.recipe import Array, Recipe
from unlearnkit.training.retrain import retrain
from unlearnkit.verifier.evidence import Evidence, RetrainedIn, sign_evidence
from unlearnkit.verifier.plan import Distribution, draw_deletions
from unlearnkit.verifier.planned import PlannedDeletions

if TYPE_CHECKING:
    from unlearnkit.signing.keys import PrivateKey


_RUN = "run.json"
# Retrainings of an experiment.
_COUNT = 100
# Before the names of what a corrected model gave; no probe has a slash in its name.
_CORRECTED = "corrected/"


def audit_retraining(
    recipe: RecipeSource,
    bundle: Bundle,
    *,
    deletions: Distribution,
    count: int | None = None,
    delta: float = 0.05,
    signer: PrivateKey,
    out: str | os.PathLike[str],
    known: Sequence[Evidence] = (),
    workers: int = 1,
    device: str | torch.device | None = "cpu",
    progress: bool | None = None,
) -> bytes:
    """Retrain without ``count`` drawn deletion sets, in float64, and write signed evidence to ``out``; returns it.

    A run that lowers its precision (autocast, weights in bfloat16) is retrained as it is. First nobody is deleted:
    the bundle's base must be what that plain run gives, to half the digits of float32.

    Args:
        recipe: the one that was sketched; for several processes, a function at the top level of a module that makes it.
        bundle: signed, and opened with the keys that are trusted: the draws follow from its digest, so it has to be
            settled before anybody knows them.
        deletions: what the sets are drawn from. Bounds hold for deletions like these alone. A distribution that you
            chose makes an experiment; certificates rest on what a policy planned, see `Workspace.audit`.
        count: fixed beforehand; who stops when the results please has no bound. None: 100, or those of the plan.
        delta: the least that bounds of an experiment shall have.
        signer: signs the evidence (P-256).
        out: where the evidence goes, a file that is not there yet.
        known: earlier evidence about this bundle; what it has retrained is not retrained again.
        workers: processes on this machine, each with one thread; of a group that ``torchrun`` made, no more.
        device: a torch device; None takes a GPU when there is one.
        progress: show a progress bar; None: on a terminal.

    Returns:
        The bytes of the file.

    Raises:
        FileExistsError: there is something at ``out``.
        VerificationError: the recipe is another one, or the bundle's base is not the plain run's.
        RefusedError: the bundle has no verified signature, or the unfinished audit there is another one, or somebody is
            at work on it.
        EstimationError: too few retrainings, with the number that would do; or one that diverges.
        ValueError: settings out of range.

    Example:
        >>> evidence = uk.audit_retraining(
        ...     recipe,
        ...     bundle,
        ...     deletions=uk.UnitDeletions(least=1, most=1),
        ...     count=3,
        ...     delta=0.25,
        ...     signer=office.signer_key(),
        ...     out=folder / "evidence.json",
        ...     progress=False,
        ... )
        >>> evidence == (folder / "evidence.json").read_bytes()
        True

    """
    final, count = Path(out), _count(deletions, count, delta)
    if workers < 1:
        raise ValueError(f"workers={workers}: expected a whole number >= 1")
    if final.exists():
        raise FileExistsError(f"{final} exists already; choose another name or remove it")
    if workers > 1 and isinstance(recipe, Recipe):
        raise ValueError(f"workers={workers}: processes need a function that makes the recipe, got the recipe itself")
    probes = _audited_probes(bundle)
    loaded = recipe if isinstance(recipe, Recipe) else recipe()
    require_same_recipe(loaded, bundle)
    run = audited_run(loaded, device)
    drawn = draw_deletions(bundle, deletions, count)
    with _opened(final, bundle, deletions) as folder:
        work = Retrainings(folder, loaded.digest, str(run.device), bundle.path if bundle.corrects else None)
        _verify_base(work, loaded, bundle, probes)
        done = retrained_before(known)
        _finish(work, recipe, loaded, sorted(set(drawn) - done.keys()), workers, progress=progress)
        rows = [done.get(deletion) or work.row(deletion, bundle.manifest.own_loss) for deletion in drawn]
        precision: RetrainedIn = "float64" if run.dtype is torch.float64 else "as trained"
        raw = sign_evidence(gathered(bundle, deletions, rows, probes, precision), [signer])
        write_new(final, raw)
        shutil.rmtree(folder)
    return raw


def _count(deletions: Distribution, count: int | None, delta: float) -> int:
    """How many retrainings are asked for. A plan says it itself, and has its own content and confidence."""
    if isinstance(deletions, PlannedDeletions):
        if count not in (None, deletions.count):
            raise ValueError(f"count={count}: the plan has {counted(deletions.count, 'deletion')}")
        return deletions.count
    wanted = _COUNT if count is None else count
    if wanted < 1:
        raise ValueError(f"count={count}: expected a whole number >= 1")
    require_retrainings(wanted, delta)
    return wanted


def _verify_base(work: Retrainings, recipe: Recipe, bundle: Bundle, probes: Sequence[str]) -> None:
    """VerificationError when the bundle's base is not that of the plain run: its predictions start somewhere else."""
    if not work.is_finished(()):
        with one_thread():
            work.do(recipe, ())
    plain = work.load(())
    for name in probes:
        base = bundle.probe(name).base
        if not agree(base, plain[name], float(np.finfo(np.float32).eps)):
            off = float(np.abs(base - plain[name]).max())
            raise VerificationError(
                f"probe {name!r}: the bundle's base is off by {off:.3g} from the plain run of its recipe",
                hint="it was made by other code, or training amplifies rounding: sketch in float64",
            )


def _audited_probes(bundle: Bundle) -> list[str]:
    """The pinned probes that can be predicted. RefusedError without any, and for a bundle that nobody vouches for."""
    if not bundle.signers:
        raise RefusedError(
            "the bundle has no verified signature, so its maker could try bundles until the draws please",
            hint="sign it when it is made, and open it with the signer's public key as trusted",
        )
    sketches = [bundle.probe(name) for name in bundle.probe_names]
    if found := [sketch.name for sketch in sketches if sketch.base.size and sketch.degree]:
        return found
    raise RefusedError(
        "the bundle predicts no pinned probe, so there is nothing to audit", hint="pin one in the recipe"
    )


@contextmanager
def _opened(final: Path, bundle: Bundle, distribution: Distribution) -> Iterator[Path]:
    """The folder of finished retrainings, locked. Which sets are drawn later does not matter to it."""
    folder = final.with_name(f".{final.name}.partial")
    with locked(folder, busy=f"another process is at work on {final}"):
        mine = canonicalize({"bundle": bundle.digest, "distribution": to_json(distribution)})
        if not (folder / _RUN).exists():
            write_atomic(folder / _RUN, mine)
        elif (folder / _RUN).read_bytes() != mine:
            raise RefusedError(
                f"{folder} holds an unfinished audit of another bundle or distribution",
                hint="repeat that call, write elsewhere, or remove the folder",
            )
        yield folder


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    recipe: Sha256
    device: str
    correcting: str
    deletions: tuple[tuple[Count, ...], ...]


@dataclass(frozen=True)
class Retrainings:
    """Retrainings in a folder, each a file of its own. recipe: digest of the one that is retrained.

    folder: None in a process other than rank 0. correcting: the bundle whose corrected models are evaluated beside
    them.
    """

    folder: Path | None
    recipe: str
    device: str
    correcting: Path | None = None

    @classmethod
    def told(cls) -> tuple[Retrainings, list[tuple[int, ...]]]:
        """In a process other than rank 0: what rank 0 tells."""
        job = read_json(_Job, Ranks.here().heard(), where="what rank 0 says")
        return cls(None, job.recipe, job.device, Path(job.correcting) if job.correcting else None), list(job.deletions)

    def tell(self, deletions: Sequence[tuple[int, ...]]) -> None:
        """Tell the other processes what is to be done, and wait until they have the recipe."""
        ranks, device, correcting = self.shelf.ranks, torch.device(self.device).type, str(self.correcting or "")
        job = _Job(recipe=self.recipe, device=device, correcting=correcting, deletions=tuple(deletions))
        ranks.say(write_json(job))
        ranks.together(lambda: None)

    @cached_property
    def shelf(self) -> Shelf:
        """Where the files are."""
        return Shelf(self.folder, Ranks.here())

    def is_finished(self, deletion: Sequence[int]) -> bool:
        """Whether it is on disk."""
        return self.shelf.has(_name(deletion))

    def spread(self, recipe: Recipe, deletions: Sequence[tuple[int, ...]], progress: Callable[[], object]) -> None:
        """Have those done that are not, by all processes of the group."""

        def work(deletion: tuple[int, ...]) -> None:
            self.do(recipe, deletion)
            progress()

        with one_thread():
            self.shelf.spread(deletions, self.is_finished, work, lambda _: progress())

    def load(self, deletion: Sequence[int]) -> dict[str, Array]:
        """The probes after a finished retraining."""
        return {name: array for name, array in self._load(deletion).items() if not name.startswith(_CORRECTED)}

    def load_corrected(self, deletion: Sequence[int]) -> dict[str, Array]:
        """What `corrected_probes` found beside it."""
        found = self._load(deletion)
        return {name.removeprefix(_CORRECTED): found[name] for name in found if name.startswith(_CORRECTED)}

    def _load(self, deletion: Sequence[int]) -> dict[str, Array]:
        file = self.shelf.file(_name(deletion))
        return parse_tensors(file.read_bytes(), where=str(file))

    def row(self, deletion: Sequence[int], own_loss: str) -> Row:
        """What a finished retraining gave."""
        corrected = None if self.correcting is None else self.load_corrected(deletion)
        return Row.of(self.load(deletion), corrected, deletion, own_loss)

    def do(self, recipe: Recipe, deletion: Sequence[int]) -> None:
        """Retrain, and keep what the probes are then. EstimationError when they are not finite."""
        weights = retrained_weights(recipe, deletion, self.device)
        values = probes_at(recipe, weights, self.device)
        for name, value in values.items():
            if not np.isfinite(value).all():
                raise EstimationError(
                    f"retraining without {counted(len(deletion), 'unit')} gives a {name!r} that is not finite"
                )
        if self.correcting is not None and deletion:
            made = corrected_probes(recipe, _opened_bundle(self.correcting), deletion, weights, self.device)
            values |= {f"{_CORRECTED}{name}": array for name, array in made.items()}
        self.shelf.put(_name(deletion), tensor_bytes(values))


def _name(deletion: Sequence[int]) -> str:
    return f"{sha256_hex(canonicalize(list(deletion)))}.safetensors"


@lru_cache(maxsize=1)
def _opened_bundle(path: Path) -> Bundle:
    """The bundle that is audited, once in each process."""
    return Bundle.open(path)


def retrained_probes(recipe: Recipe, deletion: Sequence[int], device: str) -> dict[str, Array]:
    """Every pinned probe after a real retraining without the units at these positions."""
    return probes_at(recipe, retrained_weights(recipe, deletion, device), device)


def retrained_weights(recipe: Recipe, deletion: Sequence[int], device: str) -> dict[str, torch.Tensor]:
    """The trained weights after a real retraining without the units at these positions."""
    run = audited_run(recipe, device)
    model = retrain(recipe, [recipe.unit_names[i] for i in deletion], dtype=run.precision, device=device)
    parameters = dict(model.named_parameters())
    return {name: parameters[name].detach() for name in run.trained_names}


def _finish(
    work: Retrainings,
    recipe: RecipeSource,
    loaded: Recipe,
    deletions: Sequence[tuple[int, ...]],
    workers: int,
    *,
    progress: bool | None,
) -> None:
    """Do the retrainings that are not on disk yet."""
    todo = [deletion for deletion in deletions if not work.is_finished(deletion)]
    disable = None if progress is None else not progress
    done = len(deletions) - len(todo)
    with tqdm(total=len(deletions), initial=done, disable=disable, unit="retraining", desc=loaded.name) as bar:
        if workers > 1 and len(todo) > 1 and work.shelf.ranks.size == 1:
            share(work, recipe, todo, min(workers, len(todo)), bar)
            return
        work.tell(todo)
        work.spread(loaded, todo, bar.update)


@contextmanager
def one_thread() -> Iterator[None]:
    """Whatever the number of threads or processes: the same sums, the same bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
