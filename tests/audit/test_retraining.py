"""Retraining audits: real retrainings of drawn deletions, none of them done twice, none of them picked."""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import signal
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import unlearnkit as uk
from tests.audit.amiss import amiss
from tests.training.calls import sketched
from tests.training.small import OWNERS, recipe, scalar_probe
from unlearnkit.audit import processes
from unlearnkit.audit import retraining as retraining_audit
from unlearnkit.audit.retraining import audit_retraining
from unlearnkit.bundle import Bundle, sign_bundle
from unlearnkit.errors import EstimationError, RefusedError, UnlearnkitError, VerificationError
from unlearnkit.signing.dsse import parse_envelope
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.verifier.evidence import Evidence, parse_audit, verify_evidence
from unlearnkit.verifier.plan import GroupDeletions, UnitDeletions, draw_deletions

SIGNER, AUDITOR = PrivateKey.generate(Algorithm.P256), PrivateKey.generate(Algorithm.P256)
SKETCH = {"directions": 4, "degree": 1, "seed": 1, "dtype": "float64", "device": "cpu", "signer": SIGNER}
SIZES = UnitDeletions(least=1, most=2)
COUNT = 20


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return sketched(recipe(), tmp_path_factory.mktemp("audit") / "bundle", **SKETCH)


@pytest.fixture(scope="module")
def audit(bundle):
    def audit(out: Path, source=None, **changed) -> bytes:
        settings = {"bundle": bundle, "deletions": SIZES, "count": COUNT, "signer": AUDITOR, "progress": False}
        return audit_retraining(source or recipe(), out=out, **(settings | changed))

    return audit


@pytest.fixture(scope="module")
def whole(audit, tmp_path_factory) -> bytes:
    """The evidence of an uninterrupted audit."""
    return audit(tmp_path_factory.mktemp("whole") / "audit.json")


def payload(raw: bytes) -> bytes:
    """What is signed; ECDSA signatures themselves differ from call to call."""
    return parse_envelope(raw, where="x").unverified_payload


def deletions_in(raw: bytes) -> list[tuple[int, ...]]:
    return list(parse_audit(payload(raw), where="x").deletions)


def verified(raw: bytes, bundle: Bundle) -> Evidence:
    return verify_evidence(raw, where="audit.json", keys=[AUDITOR.public], bundle=bundle)


@pytest.fixture
def calls(monkeypatch) -> list[tuple[int, ...]]:
    """The deletions that were retrained in this process, in their order."""
    done: list[tuple[int, ...]] = []
    real = retraining_audit.retrained_weights

    def counted(recipe: uk.Recipe, deletion: tuple[int, ...], device: str) -> dict[str, np.ndarray]:
        done.append(deletion)
        return real(recipe, deletion, device)

    monkeypatch.setattr(retraining_audit, "retrained_weights", counted)
    return done


class Stop(Exception):
    """The power goes off."""


def stop_after(monkeypatch, finished: int) -> None:
    """The next retrainings but ``finished`` do not come to an end."""
    real, started = retraining_audit.retrained_weights, []

    def until(*args: object) -> dict[str, np.ndarray]:
        started.append(args)
        if len(started) > finished:
            raise Stop
        return real(*args)

    monkeypatch.setattr(retraining_audit, "retrained_weights", until)


def test_the_evidence_holds_what_real_retrainings_give(whole, bundle, tmp_path):
    evidence = verified(whole, bundle)
    assert evidence.audit.deletions == draw_deletions(bundle, SIZES, COUNT)
    assert evidence.probes == ("probe", "scalar")
    names = list(dict.fromkeys(str(owner) for owner in OWNERS if owner is not None))
    for number in (0, 7, COUNT - 1):
        deleted = [names[i] for i in evidence.audit.deletions[number]]
        model = uk.retrain(recipe(), deleted, dtype="float64", device="cpu").eval()
        with torch.no_grad():
            assert float(scalar_probe(model)) == pytest.approx(evidence.audit.probes["scalar"][number], rel=1e-12)


def test_the_bound_covers_as_many_of_its_own_retrainings_as_its_ranks_say(whole, bundle):
    """Of each size by itself."""
    evidence = verified(whole, bundle)
    sizes = [len(deletion) for deletion in evidence.audit.deletions]
    inside = 0
    for deletion, truth in zip(evidence.audit.deletions, evidence.audit.probes["probe"], strict=True):
        names = [bundle.units[i] for i in deletion]
        bound = evidence.bound(bundle.probe("probe"), names, delta=0.2)
        inside += bool((np.abs(truth - bound.estimate) <= bound.epsilon).all())
    assert inside >= sum(math.ceil((sizes.count(size) + 1) * 0.8) for size in set(sizes))


@pytest.mark.parametrize("finished", [0, 5])
def test_an_interrupted_audit_goes_on_to_the_same_evidence(audit, whole, tmp_path, monkeypatch, calls, finished):
    different = len({(), *deletions_in(whole)})  # first nobody is deleted
    with monkeypatch.context() as interrupted:
        stop_after(interrupted, finished)
        with pytest.raises(Stop):
            audit(tmp_path / "audit.json")
    assert not (tmp_path / "audit.json").exists()
    assert len(calls) == finished
    assert payload(audit(tmp_path / "audit.json")) == payload(whole)
    assert len(calls) == len(set(calls)) == different
    assert [path.name for path in tmp_path.iterdir()] == ["audit.json"]


def test_what_is_finished_counts_for_a_longer_audit_too(audit, whole, tmp_path, monkeypatch, calls):
    with monkeypatch.context() as interrupted:
        stop_after(interrupted, 9)
        with pytest.raises(Stop):
            audit(tmp_path / "audit.json")
    longer = deletions_in(audit(tmp_path / "audit.json", count=COUNT + 10))
    assert longer[:COUNT] == deletions_in(whole)
    assert len(calls) == len(set(calls)) == len({(), *longer})


@dataclass(frozen=True)
class KilledOnce:
    """Makes the recipe; the first process that was started to do so is killed at it."""

    marker: Path

    def __call__(self) -> uk.Recipe:
        if multiprocessing.parent_process() is not None and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return recipe()


def test_processes_find_the_same_and_go_on_from_what_is_there(
    audit, whole, tmp_path, tmp_path_factory, monkeypatch, calls
):
    """Also when one of them is killed."""
    marker = tmp_path_factory.mktemp("killed") / "marker"
    with monkeypatch.context() as interrupted:
        stop_after(interrupted, 3)
        with pytest.raises(Stop):
            audit(tmp_path / "audit.json")
    raw = audit(tmp_path / "audit.json", KilledOnce(marker), workers=2)
    assert marker.exists()
    assert payload(raw) == payload(whole)
    assert len(calls) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["audit.json"]


@dataclass
class Shifty:
    """Makes the recipe here; what another process gets in its place makes something else there."""

    other: partial

    def __call__(self) -> uk.Recipe:
        return recipe()

    def __reduce__(self) -> tuple:
        return partial, (self.other.func, *self.other.args)


@pytest.mark.parametrize(
    ("other", "error", "message"),
    [
        (partial(recipe, "sgd"), VerificationError, "made another one this time"),
        (partial(os._exit, 3), UnlearnkitError, "2 of 2 processes ended with exit code 3; finished work is kept"),
    ],
)
def test_what_goes_wrong_in_a_process_is_an_error_here(audit, tmp_path, other, error, message):
    with pytest.raises(error, match=message):
        audit(tmp_path / "audit.json", Shifty(other), workers=2)
    assert not (tmp_path / "audit.json").exists()
    assert not multiprocessing.active_children()


def test_a_process_stops_when_the_one_that_started_it_is_gone(tmp_path, monkeypatch, calls):
    class Gone:
        def is_alive(self) -> bool:
            return False

    monkeypatch.setattr(multiprocessing, "parent_process", Gone)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    work = retraining_audit.Retrainings(tmp_path, recipe().digest, "cpu")
    processes.worker(work, recipe, [(0,), (1,)], multiprocessing.get_context("spawn").SimpleQueue())
    assert not calls


def test_a_recipe_that_other_processes_cannot_be_told_of_is_refused(audit, tmp_path):
    with pytest.raises(ValueError, match="processes need a function that makes the recipe, got the recipe itself"):
        audit(tmp_path / "audit.json", recipe(), workers=2)
    with pytest.raises(AttributeError, match="pickle local object"):
        audit(tmp_path / "audit.json", lambda: recipe("momentum"), workers=2)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("count", "delta", "needed"), [(18, 0.05, 19), (98, 0.01, 99), (20, 0.03, 33)])
def test_too_few_retrainings_are_refused_before_any_is_done(audit, tmp_path, calls, count, delta, needed):
    with pytest.raises(EstimationError, match=f"{count} retrainings carry no bound at delta={delta}") as caught:
        audit(tmp_path / "audit.json", count=count, delta=delta)
    assert f"audit at least {needed} deletions" in str(caught.value.hint)
    assert not calls
    assert not list(tmp_path.iterdir())


def test_a_bundle_without_a_verified_signature_is_refused(bundle, tmp_path, calls):
    """Unsigned ones, and signed ones that nobody checked."""
    unsigned = sketched(recipe(), tmp_path / "bundle", **(SKETCH | {"signer": None}))
    for opened in (unsigned, Bundle.open(bundle.path)):
        with pytest.raises(RefusedError, match="the bundle has no verified signature"):
            audit_retraining(recipe(), opened, deletions=SIZES, signer=AUDITOR, out=tmp_path / "audit.json")
    assert not calls


def test_the_draws_follow_from_the_bundle_and_not_from_who_signs(bundle, audit, whole, tmp_path):
    """Signing once more is free and changes no draw; another salt does."""
    shutil.copytree(bundle.path, tmp_path / "again")
    (tmp_path / "again/model.sig").unlink()
    sign_bundle(tmp_path / "again", AUDITOR)
    again = Bundle.open(tmp_path / "again", trust=[AUDITOR.public])
    shutil.copy(bundle.path.parent / "pseudonym.key", tmp_path)
    salted = sketched(recipe(), tmp_path / "salted", **(SKETCH | {"seed": 2}))
    for made, same in ((again, True), (salted, False)):
        raw = audit(tmp_path / f"{same}.json", bundle=made)
        assert (deletions_in(raw) == deletions_in(whole)) is same


def test_groups_are_audited_too(audit, bundle, tmp_path):
    groups = GroupDeletions(groups=((0, 1, 2), (3, 4)))
    raw = audit(tmp_path / "audit.json", deletions=groups)
    assert set(verified(raw, bundle).audit.deletions) == set(groups.groups)


def test_only_probes_that_are_predicted_are_audited(tmp_path):
    """One has a sketch, the other its base alone."""
    settings = SKETCH | {"directions": 0, "reverse": {"scalar": uk.Reverse(rank=0, residual=0)}}
    made = sketched(recipe(), tmp_path / "bundle", **settings)
    out = tmp_path / "audit.json"
    raw = audit_retraining(recipe(), made, deletions=SIZES, count=19, signer=AUDITOR, out=out, progress=False)
    assert verified(raw, made).probes == ("scalar",)
    bare = sketched(recipe(probes={}), tmp_path / "bare", **SKETCH)
    with pytest.raises(RefusedError, match="predicts no pinned probe"):
        audit_retraining(recipe(probes={}), bare, deletions=SIZES, signer=AUDITOR, out=tmp_path / "other.json")


def test_another_recipe_is_refused(audit, tmp_path, calls):
    with pytest.raises(VerificationError, match="the recipe is not the one of the bundle"):
        audit(tmp_path / "audit.json", recipe("sgd"))
    assert not calls


def test_nothing_is_overwritten_and_nothing_is_mixed(audit, tmp_path, monkeypatch, calls):
    (tmp_path / "there.json").write_bytes(b"precious")
    with pytest.raises(FileExistsError, match=r"there.json exists already"):
        audit(tmp_path / "there.json")
    assert (tmp_path / "there.json").read_bytes() == b"precious"
    with monkeypatch.context() as interrupted:
        stop_after(interrupted, 1)
        with pytest.raises(Stop):
            audit(tmp_path / "audit.json")
    with pytest.raises(RefusedError, match="holds an unfinished audit of another bundle or distribution"):
        audit(tmp_path / "audit.json", deletions=UnitDeletions(least=1, most=3))
    assert len(calls) == 1


def test_two_audits_do_not_share_their_work(audit, tmp_path, bundle):
    with (
        retraining_audit._opened(tmp_path / "audit.json", bundle, SIZES),
        pytest.raises(RefusedError, match="another process is at work on"),
    ):
        audit(tmp_path / "audit.json")


def test_a_retraining_that_diverges_is_an_error_and_not_evidence(audit, tmp_path, monkeypatch):
    broken = {"probe": np.full((2, 3), np.nan), "scalar": np.zeros(())}
    monkeypatch.setattr(retraining_audit, "probes_at", lambda *_: broken)
    with pytest.raises(EstimationError, match=r"retraining without \d units gives a 'probe' that is not finite"):
        audit(tmp_path / "audit.json")
    assert not (tmp_path / "audit.json").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "expected a whole number >= 1"),
        ({"workers": 0}, "expected a whole number >= 1"),
        ({"delta": 1.5}, "expected a probability between 0 and 1"),
        ({"device": "tpu9"}, "device='tpu9'"),
        ({"deletions": UnitDeletions(least=1, most=9)}, "deletions of up to 9 units: there are 8"),
    ],
)
def test_settings_out_of_range_are_refused(audit, tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        audit(tmp_path / "audit.json", **settings)
    assert not list(tmp_path.iterdir())


def test_the_number_of_threads_is_as_it_was(audit, tmp_path):
    before = torch.get_num_threads()
    audit(tmp_path / "audit.json")
    assert torch.get_num_threads() == before


def test_a_bundle_whose_base_is_not_the_plain_runs_is_refused_first(audit, tmp_path, monkeypatch, calls):
    with monkeypatch.context() as patched:
        amiss(patched)
        made = sketched(recipe(), tmp_path / "bundle", **SKETCH)
    with pytest.raises(
        VerificationError, match=r"probe '\w+': the bundle's base is off by .* from the plain run"
    ) as caught:
        audit(tmp_path / "audit.json", bundle=made)
    assert "float64" in caught.value.hint
    assert calls == [()]
    assert not (tmp_path / "audit.json").exists()
