"""Corrected models of the digits example, 200 people: what strangers can tell of them, and what certificates are worth.

    python -m benchmarks.corrections --run membership
    python -m benchmarks.corrections --run certificates

Membership: 60 people corrected one by one; how often a loss threshold ranks an example of who left before a stranger's
(area under the curve), for the kept, the retrained and the corrected model, beside the standard error of such an area.

Certificates: an office under the packaged GDPR policy, but that it audits 1, 2 to 4, 5 to 19 and 20 to 40 people. In
each of three orders, 60 people ask; the k-th certificate is about the first k of them, and its claims are held against
real retraining without these (`tests/examples/many.py`). Another process, without torch, verifies every one beside the
file of its weights, and refuses the file with a bit changed, the file of the certificate before, and another bundle.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from scipy.stats import rankdata
from torch import Tensor, nn
from unlearnkit.examples import digits

import unlearnkit as uk
from tests.examples.many import retrain_many
from tests.sketching.people import loaded
from unlearnkit.audit.corrected import probes_at
from unlearnkit.compliance.policy.policy import packaged_policies

Array = np.ndarray[Any, Any]

PEOPLE, ORDERS = 60, 3
_STRATA = "\n".join(
    f"  {{ least = {least}, most = {most}, count = 59 }}," for least, most in ((1, 1), (2, 4), (5, 19), (20, 40))
)
_OUTSIDER = """
import json, sys
sys.modules["torch"] = None
from pathlib import Path
import unlearnkit as uk
from unlearnkit.errors import UnlearnkitError
known = json.load(sys.stdin)
tried = {"verified": 0, "bit": 0, "other file": 0, "other bundle": 0}
given = {"log": "audit", "trust": "trust.toml", "evidence": known["evidence"]}
def refused(certificate, **beside):
    try:
        uk.verify(certificate, **given, **beside)
    except UnlearnkitError:
        return True
    return False
for i, (certificate, model) in enumerate(known["made"]):
    uk.verify(certificate, bundle="bundle", model=model, **given)
    tried["verified"] += 1
    raw = bytearray(Path(model).read_bytes())
    raw[-1 - i * 97 % 9000] ^= 1
    Path("changed").write_bytes(raw)
    tried["bit"] += refused(certificate, bundle="bundle", model="changed")
    if i:
        tried["other file"] += refused(certificate, bundle="bundle", model=known["made"][i - 1][1])
    tried["other bundle"] += refused(certificate, bundle="other")
print(json.dumps(tried))
"""


def area(left: Array, strange: Array) -> float:
    """Chance that an example of who left has the lower loss: 0.5 tells nothing."""
    ranks = rankdata(-np.concatenate([left, strange]))
    return float((ranks[: len(left)].sum() - len(left) * (len(left) + 1) / 2) / (len(left) * len(strange)))


def membership() -> None:
    """A row for each model."""
    recipe = digits.recipe()
    images, labels = digits.digits()
    owner, names = np.asarray(recipe.unit_of_example), recipe.unit_names
    people = np.random.default_rng(3).choice(len(names), PEOPLE, replace=False)
    with tempfile.TemporaryDirectory() as folder:
        solo = uk.Solo(3, units=[names[i] for i in people], keep_weights=True)
        bundle = uk.sketch(recipe, Path(folder) / "bundle", solo=solo, reverse={}, seed=0, device="cpu", progress=False)
        kept = loaded(recipe, {n: torch.from_numpy(a.copy()) for n, a in bundle.model_state().items()})
        found: dict[str, list[tuple[Array, Array]]] = {"kept": [], "retrained": [], "corrected": []}
        for who in people:
            made = {
                "kept": kept,
                "retrained": uk.retrain(recipe, delete=[names[who]], device="cpu").eval(),
                "corrected": loaded(recipe, bundle.corrected_model(recipe.model, [names[who]])),
            }
            own = tuple(part[torch.as_tensor(owner == who)] for part in recipe.dataset.parts)
            for name, model in made.items():
                found[name].append(
                    (_losses(recipe, model, own), _losses(recipe, model, (images[1000:], labels[1000:])))
                )
    for name, pairs in found.items():
        left, strange = np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs])
        strangers = len(pairs[0][1])
        error = np.sqrt((len(left) + strangers + 1) / (12 * len(left) * strangers))
        print(f"{name}: {area(left, strange):.4f} ({len(left)} images, {strangers} strangers', error {error:.4f})")


def _losses(recipe: uk.Recipe, model: nn.Module, batch: tuple[Tensor, ...]) -> Array:
    with torch.no_grad():
        found: Array = recipe.loss(model, batch).numpy()
    return found


@dataclass
class Found:
    """Of one order: claims whose truth is not inside, and all of them, by probe and stratum."""

    outside: dict[str, list[bool]] = field(default_factory=dict)
    decisions: Counter[str] = field(default_factory=Counter)
    convergence: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    epsilons: dict[str, set[float]] = field(default_factory=dict)
    made: list[tuple[str, str]] = field(default_factory=list)


def prepare(folder: Path) -> uk.Workspace:
    """``office`` with digits@1, sketched under its log and audited; beside it the bundle of another training."""
    text = packaged_policies()["gdpr"].decode()
    text, changed = re.subn(r"strata = \[.*?\n\]", f"strata = [\n{_STRATA}\n]", text, flags=re.DOTALL)
    assert changed == 1
    (folder / "policy.toml").write_text(text)
    office = uk.Workspace.create(folder / "office", origin="example.com/digits", policy="../policy.toml")
    start = time.perf_counter()
    solo, recipe = uk.Solo(degree=3, keep_weights=True), digits.recipe()
    reverse = {"own_loss": uk.Reverse(rank=0, residual=0), "test_loss": uk.Reverse(rank=0, residual=0)}
    bundle = office.sketch(recipe, office.root / "bundle", solo=solo, reverse=reverse, progress=False)
    print(f"sketch of 200 people: {time.perf_counter() - start:.0f} s", flush=True)
    few = uk.Solo(degree=1, units=["person-000"], keep_weights=True)
    office.sketch(digits.recipe(epochs=1), office.root / "other", solo=few, reverse={}, progress=False)
    office.register(bundle, name="digits", version="1")
    start = time.perf_counter()
    office.audit(None, recipe, progress=False)
    print(f"audit of {59 * 4} retrainings: {time.perf_counter() - start:.0f} s", flush=True)
    return office


def go_through(office: uk.Workspace, recipe: uk.Recipe, order: Sequence[int], truth: dict[str, Array]) -> Found:
    """Certify the first, the first two, and so on. truth: of each of these sets."""
    found, requests = Found(), list[str]()
    for request in office.receive([recipe.unit_names[who] for who in order]):
        office.verify_identity(request, method="in-person")
        requests.append(request.id)
    for k in range(1, len(order) + 1):
        out = office.root / f"{k}.safetensors"
        try:
            made = office.correct(requests[:k], out=out, certificate=office.root / f"{k}.json")
        except uk.RefusedError as error:
            found.refused += 1
            print(f"refused for {k}: {error}", flush=True)
            continue
        weights = {name: torch.from_numpy(array.astype(np.float64)) for name, array in load_file(out).items()}
        given, left = probes_at(recipe, weights, "cpu"), list(order[:k])
        off = {
            "test_loss": abs(float(given["test_loss"]) - float(truth["test_loss"][k - 1])),
            "own_loss": float(np.abs(given["own_loss"] - truth["own_loss"][k - 1])[left].max()),
        }
        for claim in made.certificate.claims:
            name = f"{claim.probe}, {claim.method.rpartition(', ')[2]}"
            found.outside.setdefault(name, []).append(off[claim.probe] > float(claim.epsilon))
            found.epsilons.setdefault(name, set()).add(float(claim.epsilon))
        found.decisions[made.certificate.decision.outcome] += 1
        found.convergence[made.certificate.convergence] += 1
        found.made.append((str(made.path), str(out)))
    return found


def outsider(office: uk.Workspace, found: Found) -> dict[str, int]:
    """What another process, which has no torch, verified and refused."""
    evidence = [str(path) for path in (office.root / "evidence").glob("*.json")]
    said = json.dumps({"made": found.made, "evidence": evidence})
    run = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-c", _OUTSIDER], input=said, cwd=office.root, capture_output=True, text=True, check=True
    )
    return dict(json.loads(run.stdout))


def certificates() -> None:
    """Three orders, a paragraph each, and all together."""
    recipe, total = digits.recipe(), dict[str, list[bool]]()
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "prepared").mkdir()
        prepare(Path(scratch) / "prepared")
        for seed in range(ORDERS):
            os.environ["XDG_STATE_HOME"] = f"{scratch}/state-{seed}"  # copies of one log, which go on differently
            shutil.copytree(Path(scratch) / "prepared", Path(scratch) / str(seed), symlinks=True)
            office = uk.Workspace.find(Path(scratch) / str(seed) / "office")
            order = np.random.default_rng(seed).permutation(len(recipe.unit_names))[:PEOPLE].tolist()
            masks = np.zeros((PEOPLE, len(recipe.unit_names)))
            for k in range(PEOPLE):
                masks[k, order[: k + 1]] = 1
            found = go_through(office, recipe, order, retrain_many(recipe, masks))
            print(f"order {seed}: {dict(found.decisions)}, {dict(found.convergence)}, refused {found.refused}")
            for name, outside in found.outside.items():
                print(f"  {name}: {sum(outside)} of {len(outside)} outside, epsilon {sorted(found.epsilons[name])}")
                total.setdefault(name, []).extend(outside)
            print(f"  without torch: {outsider(office, found)} of {len(found.made)}", flush=True)
    for name, outside in total.items():
        print(f"all, {name}: {sum(outside)} of {len(outside)} outside")


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    runs: dict[str, Callable[[], None]] = {"membership": membership, "certificates": certificates}
    parser.add_argument("--run", choices=list(runs), required=True)
    torch.set_num_threads(1)
    runs[parser.parse_args().run]()


if __name__ == "__main__":
    main()
