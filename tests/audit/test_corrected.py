"""What corrected models give, in an audit, beside the models that were really retrained."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import unlearnkit as uk
from tests.sketching.people import loaded, own_losses
from tests.training.calls import sketched
from tests.training.small import recipe
from unlearnkit.audit.retraining import audit_retraining
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.verifier.evidence import Audit, Evidence, verify_evidence
from unlearnkit.verifier.plan import UnitDeletions

SIGNER = PrivateKey.generate(Algorithm.P256)
COUNT = 6


def made() -> uk.Recipe:
    return recipe("momentum", epochs=8, probes={**recipe().probes, "own_loss": uk.OwnLoss()})


def apart(one: torch.nn.Module, other: torch.nn.Module) -> float:
    """Distance of all weights, each once, tied ones too."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return float(torch.sqrt(sum((a.detach().double() - b.detach()).square().sum() for a, b in pairs)))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> uk.Bundle:
    path = tmp_path_factory.mktemp("corrected") / "bundle"
    solo = uk.Solo(3, keep_weights=True)
    return sketched(made(), path, directions=0, solo=solo, seed=1, device="cpu", signer=SIGNER)


def audited(bundle: uk.Bundle, path, **changed) -> Evidence:
    settings = {"deletions": UnitDeletions(least=1, most=3), "count": COUNT, "delta": 0.5, "signer": SIGNER}
    raw = audit_retraining(made(), bundle, out=path, progress=False, **(settings | changed))
    return verify_evidence(raw, where="audit", keys=[SIGNER.public], bundle=bundle)


@pytest.fixture(scope="module")
def audit(bundle, tmp_path_factory) -> Audit:
    return audited(bundle, tmp_path_factory.mktemp("evidence") / "audit.json").audit


def test_it_holds_what_the_corrected_model_gives(bundle, audit):
    """Evaluated once more in plain torch, from the state that would be served."""
    run = made()
    kept = loaded(run, {n: torch.from_numpy(a.copy()) for n, a in bundle.model_state().items()})
    assert audit.corrected.refused != tuple(range(COUNT))
    for i, deletion in enumerate(audit.deletions):
        if i in audit.corrected.refused:
            continue
        names = [run.unit_names[unit] for unit in deletion]
        corrected = loaded(run, bundle.corrected_model(run.model, names))
        real = uk.retrain(run, names, dtype="float64", device="cpu").eval()
        with torch.no_grad():
            for name in ("probe", "scalar"):
                value = run.probes[name](corrected).numpy()
                np.testing.assert_allclose(audit.corrected.probes[name][i], value, rtol=1e-9)
        np.testing.assert_allclose(audit.corrected.own_losses[i], own_losses(run, corrected)[list(deletion)], rtol=1e-9)
        assert audit.corrected.shares[i] == pytest.approx(apart(corrected, real) / apart(kept, real), rel=1e-6)


def test_where_no_correction_is_made_it_says_so_and_gives_the_kept_model(bundle, tmp_path):
    """Everybody together is beyond the reach of the series."""
    everybody = UnitDeletions(least=len(bundle.units), most=len(bundle.units))
    found = audited(bundle, tmp_path / "audit.json", deletions=everybody, count=1).audit.corrected
    assert found.refused == (0,)
    assert found.shares == (1.0,)
    np.testing.assert_allclose(found.probes["scalar"][0], bundle.probe("scalar").base, rtol=1e-6)


def test_a_bundle_that_corrects_nothing_is_audited_without(tmp_path):
    plain = sketched(
        made(),
        tmp_path / "bundle",
        directions=0,
        seed=1,
        device="cpu",
        signer=SIGNER,
        reverse={"scalar": uk.Reverse(rank=0, residual=0)},
    )
    assert audited(plain, tmp_path / "audit.json").audit.corrected is None


def test_a_second_audit_goes_on_from_what_the_first_found(bundle, audit, tmp_path, monkeypatch):
    first = audited(bundle, tmp_path / "first.json")
    monkeypatch.setattr("unlearnkit.audit.retraining.corrected_probes", None)
    again = audited(bundle, tmp_path / "second.json", known=[first]).audit
    assert again.corrected.shares == audit.corrected.shares
    assert again.corrected.refused == audit.corrected.refused
