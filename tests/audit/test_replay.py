"""Replays: honest bundles pass in either precision; a dishonest signer's change is found and named."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import unlearnkit as uk
from tests.audit.amiss import amiss
from tests.bundle.small import rewrite
from tests.training import small
from tests.training.calls import sketched
from tests.training.small import recipe
from unlearnkit.audit import fitted
from unlearnkit.audit.replay import default_tolerance, replay, verify_replay
from unlearnkit.bundle import Bundle, real_pairs, sign_bundle
from unlearnkit.bundle.tensors import parse_tensors, tensor_bytes
from unlearnkit.canonical import canonicalize
from unlearnkit.errors import RecipeError, VerificationError
from unlearnkit.estimation.draws import Draw
from unlearnkit.estimation.estimators import symmetric_dimension
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.verifier.replayed import directions_from_seed, pickable

SIGNER = PrivateKey.generate(Algorithm.P256)
CALL = {"directions": 6, "degree": 2, "seed": 1, "dtype": "float32", "device": "cpu", "chunk": 2, "signer": SIGNER}
ADJOINT = {"probe": uk.Reverse(rank=2, residual=3)}
CUBIC = {"probe": uk.Reverse(rank=2, residual=3, cubic=2)}
SOLO = uk.Solo(3, units=["a", "c", "d", 7, "b"], keep_weights=True)
ALL = {"keep_weights": True, "reverse": CUBIC, "informed": 2, "informed_degree": 2, "solo": SOLO}
UNITS = 8
SWEPT = {"gradient", "residual", "cubic basis", "cubic"}
OWN = {"own": uk.OwnLoss()}
KINDS = {"model", "base", "coefficients", "weight sketch", "slopes", "form", *SWEPT, "series", "weight series"}
INFORMED = "sketch/informed.safetensors"
WEIGHTS = "sketch/directions-00002-00004.safetensors"
SOLO_WEIGHTS = "sketch/solo-00000-00005.safetensors"
REVERSE = "reverse/probe.safetensors"


@cache
def same() -> uk.Recipe:
    """The recipe, traced once."""
    return recipe()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Bundle:
    """A signed bundle with everything in it."""
    return sketched(same(), tmp_path_factory.mktemp("whole") / "bundle", **CALL, **ALL)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Bundle:
    """A signed bundle of random directions alone."""
    return sketched(same(), tmp_path_factory.mktemp("plain") / "bundle", **CALL)


def copied(bundle: Bundle, folder: Path) -> Path:
    shutil.copytree(bundle.path, folder / "bundle")
    shutil.copy(bundle.path.parent / "pseudonym.key", folder)
    return folder / "bundle"


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    """A copy of the whole bundle, and of the pseudonym key beside it, to tamper with."""
    return copied(whole, tmp_path)


@pytest.fixture
def plain_copy(plain, tmp_path) -> Path:
    return copied(plain, tmp_path)


def sign_again(path: Path) -> Bundle:
    """What a dishonest signer does last; everything fits then."""
    (path / "model.sig").unlink()
    sign_bundle(path, SIGNER)
    return Bundle.open(path, trust=[SIGNER.public])


def tensors_of(path: Path, file: str) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in parse_tensors((path / file).read_bytes(), where=file).items()}


def alter(path: Path, file: str, tensor: str, place: tuple[int, ...], share: float = 1e-3) -> Bundle:
    """Move one number by a share of the largest of its tensor, with digests and a signature that fit."""
    tensors = tensors_of(path, file)
    tensors[tensor][place] += share * np.abs(tensors[tensor]).max()
    rewrite(path, file, tensor_bytes(tensors))
    return sign_again(path)


def restate(path: Path, **changes: object) -> Bundle:
    """Say something else in the manifest."""
    manifest = json.loads((path / "manifest.json").read_bytes())
    (path / "manifest.json").write_bytes(canonicalize(manifest | changes))
    return sign_again(path)


@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
def test_an_honest_bundle_agrees_in_everything(whole, dtype):
    found = verify_replay(replay(whole, same(), [1, 4], dtype=dtype, device="cpu"))
    assert {c.kind for c in found.comparisons} == KINDS
    assert (found.indices, found.dtype, found.names_units) == ((1, 4), dtype or "float32", True)
    rows = {c.kind: c.rows for c in found.comparisons}
    assert rows["coefficients"] == rows["weight sketch"] == (1, 4)
    assert rows["slopes"] == (0, 1)  # modulo the two informed directions
    assert rows["form"] == (1,)  # modulo the three points on their span
    assert rows["residual"] == (1,)  # modulo three
    assert rows["gradient"] == tuple(range(6))
    assert rows["cubic"] == (1,)
    assert rows["series"] == rows["weight series"] == (1, 6)  # positions of the second and the last of five


@pytest.mark.parametrize(
    ("file", "tensor", "place", "message"),
    [
        ("probes/probe.safetensors", "coefficients", (2, 1, 0, 2, 1), r"probe 'probe', degree 2, direction 2, .*0, 2"),
        ("probes/scalar.safetensors", "coefficients", (2, 0, 0), "probe 'scalar', degree 1, direction 2: the bundle"),
        ("probes/scalar.safetensors", "base", (), "probe 'scalar', base: the bundle has"),
        ("model.safetensors", "last.weight", (1, 1), r"trained weight 'last.weight', position \[1, 1\]"),
        ("model.safetensors", "shift", (0,), r"trained weight 'shift', position \[0\]"),
        (WEIGHTS, "first.bias", (0, 0, 3, 0), r"weight 'first.bias', degree 1, direction 2, position \[3\]"),
        (INFORMED, "weights/last.weight", (0, 1, 1), "weight 'last.weight', along informed"),
        (INFORMED, "probes/scalar", (0,), "probe 'scalar', along informed directions"),
        (
            INFORMED,
            "degree-2/weights/last.weight",
            (2, 1, 1),
            r"last.weight', on the span of .*, degree 2, point 2, pos",
        ),
        (
            INFORMED,
            "degree-2/probes/scalar",
            (2,),
            "probe 'scalar', on the span of informed directions, degree 2, point 2",
        ),
        ("reverse/probe.safetensors", "gradient", (4, 3), r"gradient by reverse sweeps, degree 1, element 4, .*\[3\]"),
        ("reverse/probe.safetensors", "residual", (2, 1, 5, 0), "residual of reverse sweeps, degree 2, direction 2"),
        (REVERSE, "cubic", (2, 5, 3), r"cubic form by reverse sweeps, degree 3, pair 2, position \[5, 3\]"),
        ("solo.safetensors", "probes/probe", (2, 2, 1, 1), r"probe', series along units alone, degree 3, unit 2, pos"),
        ("solo.safetensors", "probes/scalar", (2, 0), "probe 'scalar', series along units alone, degree 1, unit 2: "),
        (SOLO_WEIGHTS, "last.weight", (2, 1, 1, 1), r"'last.weight', series along units alone, degree 2, unit 2, pos"),
    ],
)
def test_one_altered_number_of_a_replayed_direction_is_found(copy, file, tensor, place, message):
    altered = alter(copy, file, tensor, place)
    with pytest.raises(VerificationError, match="does not hold what its recipe gives") as caught:
        verify_replay(replay(altered, same(), [2], device="cpu"))
    (line,) = str(caught.value).splitlines()[1:]
    assert re.search(message, line)


def test_a_cubic_form_in_a_basis_that_is_none_is_found(copy):
    """Slices that are true of vectors that are not orthonormal say something else."""
    tensors = tensors_of(copy, REVERSE)
    tensors["basis"][1] = tensors["basis"][0]
    tensors["cubic"][1:] = tensors["cubic"][0]
    rewrite(copy, REVERSE, tensor_bytes(tensors))
    found = replay(sign_again(copy), same(), [2], device="cpu")
    assert [c.kind for c in found.comparisons if not c.agrees] == ["cubic basis"]


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Bundle:
    """Own losses, with series and gradients."""
    call = CALL | {"directions": 0, "solo": uk.Solo(3), "reverse": {"own": uk.Reverse(rank=2, residual=2)}}
    return sketched(recipe(probes=OWN), tmp_path_factory.mktemp("people") / "bundle", **call)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_own_losses_are_replayed_each_units_own(people, tmp_path, dtype):
    found = verify_replay(replay(people, recipe(probes=OWN), [0, 5], dtype=dtype, device="cpu"))
    assert {c.kind for c in found.comparisons} == {"model", "base", "series", "gradient", "residual"}
    (third,) = [c for c in found.comparisons if (c.kind, c.degree) == ("series", 3)]
    assert (third.rows, third.stored.shape) == ((0, 5), (2,))
    altered = alter(copied(people, tmp_path), "solo.safetensors", "probes/own", (5, 1), share=1e-2)
    with pytest.raises(VerificationError, match="probe 'own', series along units alone, degree 2, unit 5: the bundle"):
        verify_replay(replay(altered, recipe(probes=OWN), [0, 5], dtype=dtype, device="cpu"))


def two_sizes(m: nn.Module) -> torch.Tensor:
    """The same twice, once a thousand times smaller."""
    return torch.stack([small.scalar_probe(m), small.scalar_probe(m) / 1000])


SMALLER = {
    ("base", "probes/two.safetensors", "base"): (1,),
    ("coefficients", "probes/two.safetensors", "coefficients"): (2, 1, 1, 0),
    ("series", "solo.safetensors", "probes/two"): (2, 0, 1),
    ("gradient", "reverse/two.safetensors", "gradient"): (1, 4),
    ("residual", "reverse/two.safetensors", "residual"): (0, 1, 4, 1),
    ("cubic", "reverse/two.safetensors", "cubic"): (0, 1, 4),
    ("slopes", INFORMED, "probes/two"): (0, 1),
}


def test_every_element_of_a_probe_has_its_own_tolerance(tmp_path):
    """What would be nothing to the larger element is seen of the smaller one."""
    swept = {"two": uk.Reverse(rank=2, residual=1, cubic=1)}
    mixed = recipe(probes={"two": two_sizes})
    bundle = sketched(mixed, tmp_path / "bundle", **CALL, reverse=swept, solo=uk.Solo(1), informed=1)
    verify_replay(replay(bundle, mixed, [2], device="cpu"))
    for (_, file, tensor), place in SMALLER.items():
        bundle = alter(bundle.path, file, tensor, place, share=2e-5)
    wrong = [c for c in replay(bundle, mixed, [2], device="cpu").comparisons if not c.agrees]
    assert {c.kind for c in wrong} == {kind for kind, _, _ in SMALLER}
    assert len(wrong) == len(SMALLER)


def test_an_altered_coefficient_is_found_in_float64_too(plain_copy):
    altered = alter(plain_copy, "probes/scalar.safetensors", "coefficients", (2, 1, 0))
    found = replay(altered, same(), [2], dtype="float64", device="cpu")
    assert [(c.name, c.degree) for c in found.comparisons if not c.agrees] == [("scalar", 2)]


def test_a_direction_that_is_not_replayed_keeps_its_secret(plain_copy):
    altered = alter(plain_copy, "probes/scalar.safetensors", "coefficients", (3, 0, 0))
    verify_replay(replay(altered, same(), [0, 2, 5], device="cpu"))
    found = replay(altered, same(), [2, 3], device="cpu")
    assert [(c.kind, c.name, c.degree) for c in found.comparisons if not c.agrees] == [("coefficients", "scalar", 1)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_base_that_is_not_the_plain_runs_fails(tmp_path, monkeypatch, dtype):
    """Whether or not whoever replays it makes the same mistake."""
    with monkeypatch.context() as patched:
        amiss(patched)
        bundle = sketched(recipe(), tmp_path / "bundle", **(CALL | {"dtype": dtype}))
    with pytest.raises(VerificationError, match=r"trained weight 'first.weight'"):
        verify_replay(replay(bundle, recipe(), [0], device="cpu"))
    amiss(monkeypatch, unseen=False)
    with pytest.raises(VerificationError, match=r"plain run: training step 2: the update of 'first.weight' is off"):
        replay(bundle, recipe(), [0], device="cpu")
    with pytest.raises(RecipeError, match=r"training step 2: the update of 'first.weight' is off by"):
        sketched(recipe(), tmp_path / "other", **CALL)


def test_numbers_that_are_not_finite_never_agree(plain):
    found = replay(plain, same(), [0], device="cpu").comparisons[0]
    broken = replace(found, stored=np.full_like(found.stored, np.nan))
    assert found.agrees
    assert not broken.agrees


def test_another_recipe_is_refused(whole):
    for other in (recipe("sgd"), recipe(epochs=3), recipe(seed=1), recipe(probes={"probe": small.probe})):
        with pytest.raises(VerificationError, match="the recipe is not the one of the bundle"):
            replay(whole, other, [0], device="cpu")


def described(path: Path) -> dict:
    return json.loads((path / "manifest.json").read_bytes())["recipe"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: {"counterfactual": "any other seed"}, "says it predicts 'any other seed'"),
        (
            lambda path: {"recipe": described(path) | {"description": {"name": "harmless"}}},
            "the recipe is .*, but its description gives",
        ),
    ],
)
def test_what_the_bundle_says_of_its_recipe_is_true(copy, change, message):
    with pytest.raises(VerificationError, match=message):
        replay(restate(copy, **change(copy)), recipe(), [0], device="cpu")


def test_every_unit_is_the_one_that_it_is_called(copy):
    units = json.loads((copy / "units.json").read_bytes())
    rewrite(copy, "units.json", canonicalize([units[1], units[0], *units[2:]]))
    with pytest.raises(VerificationError, match="units are not those of its recipe, or in another order"):
        replay(sign_again(copy), recipe(), [0], device="cpu")
    rewrite(copy, "units.json", canonicalize(["0" * 64, *units[1:]]))
    with pytest.raises(VerificationError, match="units are not those of its recipe"):
        replay(sign_again(copy), recipe(), [0], device="cpu")


def test_without_the_pseudonym_key_nobody_can_tell_who_is_who(plain_copy):
    (plain_copy.parent / "pseudonym.key").unlink()
    found = verify_replay(replay(Bundle.open(plain_copy), same(), [0], device="cpu"))
    assert not found.names_units
    uk.PseudonymKey(bytes(32)).save(plain_copy.parent / "pseudonym.key")  # an auditor's own
    assert not replay(Bundle.open(plain_copy), same(), [0], device="cpu").names_units


def test_a_probe_that_was_left_out_is_missed(plain_copy):
    manifest = json.loads((plain_copy / "manifest.json").read_bytes())
    (plain_copy / "probes/scalar.safetensors").unlink()
    probes = [entry for entry in manifest["probes"] if entry["name"] != "scalar"]
    files = [entry for entry in manifest["files"] if "scalar" not in entry["path"]]
    altered = restate(plain_copy, probes=probes, files=files)
    with pytest.raises(VerificationError, match=r"the bundle has the probes \['probe'\], its recipe \['probe', 'scala"):
        replay(altered, recipe(), [0], device="cpu")


def kinked_loss(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return cross_entropy(model(batch[0]).relu(), batch[1], reduction="none")


def test_what_is_only_piecewise_analytic_cannot_be_hidden(tmp_path):
    kinked = recipe(loss=kinked_loss, allow_piecewise=True)
    bundle = sketched(kinked, tmp_path / "bundle", **CALL)
    assert bundle.manifest.piecewise
    verify_replay(replay(bundle, kinked, [0], device="cpu"))
    with pytest.raises(VerificationError, match=r"does not say that these are only piecewise analytic: .*relu"):
        replay(restate(bundle.path, piecewise=[]), kinked, [0], device="cpu")


@pytest.mark.parametrize(
    ("settings", "count", "kinds"),
    [
        ({"reverse": {"probe": uk.Reverse(rank=0, residual=0)}}, 0, {"model", "base", "gradient"}),
        ({"reverse": ADJOINT}, 3, {"model", "base", "gradient", "residual"}),
        ({"informed": 4}, 4, {"model", "base", "slopes"}),
        ({"informed": 4, "informed_degree": 2}, 10, {"model", "base", "slopes", "form"}),
    ],
)
def test_a_bundle_without_random_directions_has_the_rest_replayed(tmp_path, settings, count, kinds):
    bundle = sketched(recipe(), tmp_path / "bundle", **(CALL | {"directions": 0} | settings))
    assert pickable(bundle) == count
    chosen = directions_from_seed(bundle, "heads", 2)
    assert len(chosen) == min(count, 2)
    found = verify_replay(replay(bundle, recipe(), chosen, dtype="float64", device="cpu"))
    assert {c.kind for c in found.comparisons} == kinds
    assert found.numeric_error("probe").shape == (1, 2, 3)
    altered = alter(bundle.path, "probes/probe.safetensors", "base", (1, 1))
    assert not all(c.agrees for c in replay(altered, recipe(), chosen, device="cpu").comparisons)


def test_eigenpairs_that_were_fitted_to_the_residual_directions_are_found(tmp_path):
    """Across all residual directions nothing shows of what is added here; all products in the bundle are true.

    With three directions the alarm begins at 6,000 times what they leave out: so at a rank that leaves out little.
    """
    settings = {"directions": 0, "reverse": {"scalar": uk.Reverse(rank=6, residual=3)}, "dtype": "float64"}
    bundle = sketched(recipe(), tmp_path / "bundle", **(CALL | settings))
    verify_replay(replay(bundle, recipe(), [0, 1, 2], device="cpu"))
    file = "reverse/scalar.safetensors"
    arrays, psi = tensors_of(bundle.path, file), bundle.probe("scalar").reverse.directions.block(0, 3)
    across = np.linalg.svd(np.concatenate([psi.real, psi.imag]))[2][-1]
    vectors, values = arrays["vectors"][0], arrays["values"][0]
    hidden = np.abs(values).max() * np.outer(across, across)
    arrays["values"][0], arrays["vectors"][0] = np.linalg.eigh((vectors * values) @ vectors.T + hidden)
    rewrite(bundle.path, file, tensor_bytes(arrays))
    with pytest.raises(VerificationError, match="eigenpairs of probe 'scalar', element 0: along a fresh random direct"):
        replay(sign_again(bundle.path), recipe(), [0, 1, 2], device="cpu")


def test_informed_directions_that_were_fitted_to_the_random_ones_are_found(tmp_path):
    """One informed direction explains all that the random ones see of a gradient, and the rest of it is lost."""
    settings = {"directions": 3, "informed": 1, "dtype": "float64"}
    bundle = sketched(recipe(), tmp_path / "bundle", **(CALL | settings))
    verify_replay(replay(bundle, recipe(), [0], device="cpu"))
    arrays = tensors_of(bundle.path, INFORMED)
    coefficients, psi = bundle.probe("scalar").coefficients[:, 0], bundle.directions.block(0, 3)
    seen = np.concatenate([psi.real, psi.imag])
    found = np.linalg.lstsq(seen, np.concatenate([coefficients.real, coefficients.imag]), rcond=None)[0]
    fitted = found / np.linalg.norm(found)
    axes = {"directions": np.eye(UNITS), "seed": None, "degree": 1, "keep_weights": True, "chunk": UNITS}
    along_axes = sketched(recipe(), tmp_path / "axes", **(CALL | {"dtype": "float64"} | axes))
    ((_, _, tails),) = along_axes.weight_sketches()
    slopes = {f"probes/{name}": along_axes.probe(name).coefficients for name in ("probe", "scalar")}
    for name, array in (slopes | {f"weights/{name}": tail for name, tail in tails.items()}).items():
        arrays[name][0] = np.tensordot(fitted, array[:, 0].real, axes=1)
    arrays["directions"][0] = fitted
    rewrite(bundle.path, INFORMED, tensor_bytes(arrays))
    with pytest.raises(VerificationError, match="informed directions and probe 'scalar', element 0: along a fresh"):
        replay(sign_again(bundle.path), recipe(), [0], device="cpu")


@pytest.mark.parametrize("count", [1, 2, 5, 32])
@pytest.mark.parametrize("rank", [1, 3])
def test_what_was_fitted_to_nothing_seldom_raises_an_alarm(monkeypatch, count, rank):
    """Each element a quadratic form of random vectors; the fresh one real, which varies more."""
    monkeypatch.setattr(fitted, "_CHANCE", 0.02)
    rng, trials = np.random.default_rng(count), 20_000
    weights = rng.exponential(size=rank)
    kept = np.tensordot(rng.exponential(size=(count, trials, rank)), weights, axes=1)
    fresh = rng.chisquare(1, size=(trials, rank)) @ weights
    alarms = 0
    for element in range(trials):
        try:
            fitted.verify_not_fitted("x", kept[:, element : element + 1], fresh[element : element + 1], np.zeros(1))
        except VerificationError:
            alarms += 1
    assert alarms <= 0.02 * trials


def test_explicit_directions_can_be_replayed_too(tmp_path):
    psi = np.random.default_rng(0).standard_normal((3, UNITS)) + 0j
    bundle = sketched(same(), tmp_path / "bundle", **(CALL | {"directions": psi, "seed": None}))
    verify_replay(replay(bundle, same(), [0, 2], device="cpu"))


def test_directions_follow_from_seed_and_bundle_as_documented(whole):
    text = b"unlearnkit/replay/v1\0" + whole.digest.encode() + b"\0heads"
    expected = Draw(hashlib.sha256(text).digest()[:16], 0).subset(6, 3)
    assert list(directions_from_seed(whole, "heads", 3)) == expected
    assert directions_from_seed(whole, "heads", 9) == tuple(range(6))
    assert len({directions_from_seed(whole, seed, 3) for seed in "abcdefgh"}) > 3


@pytest.mark.parametrize(
    ("indices", "message"), [([], "no directions were picked"), ([-1], "has 6"), ([1, 6], r"\[6\]: the bundle has 6")]
)
def test_directions_that_are_not_there_are_refused(whole, indices, message):
    with pytest.raises(ValueError, match=message):
        replay(whole, recipe(), indices, device="cpu")


def test_the_tolerance_is_that_of_the_coarser_precision_and_the_steps(plain):
    assert default_tolerance("float32", "float64", 25) == 64 * 2.0**-23 * 5
    assert default_tolerance("float64", "float64", 100) == 64 * 2.0**-52 * 10
    steps = same().steps
    found = replay(plain, same(), [0], dtype="float64", device="cpu")
    assert {c.tolerance for c in found.comparisons} == {64 * 2.0**-23 * steps**0.5}
    strict = replay(plain, same(), [0], dtype="float64", device="cpu", tolerance=1e-12)
    with pytest.raises(VerificationError, match="apart expected"):
        verify_replay(strict)


@pytest.fixture(scope="module")
def precisions(tmp_path_factory) -> dict[str, Bundle]:
    """The same directions, sketched in both precisions."""
    folder, rng = tmp_path_factory.mktemp("precisions"), np.random.default_rng(3)
    psi = rng.standard_normal((6, UNITS)) + 1j * rng.standard_normal((6, UNITS))
    psi = (psi / np.linalg.norm(psi, axis=1, keepdims=True)).astype(np.complex64)
    call = CALL | {"directions": psi.astype(np.complex128), "seed": None}
    names = ("float32", "float64")
    return {name: sketched(recipe(), folder / name, **(call | {"dtype": name})) for name in names}


@pytest.mark.parametrize("probe", ["probe", "scalar"])
def test_the_numeric_error_is_the_difference_from_a_sketch_in_float64(precisions, probe):
    single, double = (precisions[name].probe(probe) for name in ("float32", "float64"))
    found = replay(precisions["float32"], same(), range(6), dtype="float64", device="cpu").numeric_error(probe)
    assert found.shape == (3, *single.base.shape)
    assert 0 < found.max() < 1e-6
    np.testing.assert_allclose(found[0], np.abs(single.base - double.base), atol=1e-14)
    expected = np.abs(single.coefficients - double.coefficients).max(0)
    np.testing.assert_allclose(found[1:], expected, atol=1e-14)


def test_no_prediction_is_off_by_more_than_the_numeric_error_allows(precisions):
    """As its docstring says: every coefficient off by ``e_r`` at worst, times what it counts in the estimate."""
    single, double = (precisions[name].probe("scalar") for name in ("float32", "float64"))
    error = replay(precisions["float32"], same(), range(6), dtype="float64", device="cpu").numeric_error("scalar")
    x = np.eye(UNITS)[:3]
    predict = {"degree": 2, "unbiased": True}

    def counts(row: int, factor: complex) -> np.ndarray:
        one = np.zeros_like(double.coefficients)
        one[row, 0] = factor
        return replace(double, coefficients=one).predict(x, **predict).change

    first = sum(np.hypot(counts(row, 1), counts(row, 1j)) for row in range(6))
    h = np.abs(precisions["float64"].directions.block(0, 6) @ x.T)
    second = symmetric_dimension(UNITS, 2) * (h**2).mean(0)
    allowed = error[0] + error[1] * first + error[2] * second
    off = np.abs(single.predict(x, **predict).value - double.predict(x, **predict).value)
    assert (off <= allowed).all()
    assert (off > 0).all()


def test_a_replay_in_single_precision_tells_no_rounding_error(plain):
    with pytest.raises(ValueError, match="replay in float64"):
        replay(plain, same(), [0], device="cpu").numeric_error("probe")


class Attention(nn.Module):
    """One head. The bias of the keys changes nothing, so all that is known of it is rounding."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.query(x) @ self.key(x).transpose(-1, -2)
        return self.last((scores.softmax(-1) @ x).mean(1))


SEQUENCES = torch.randn(12, 3, 4, generator=torch.Generator().manual_seed(0))


def total(model: nn.Module) -> torch.Tensor:
    """One, whatever the model."""
    return model(SEQUENCES[:2]).softmax(1).sum(1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_that_are_zero_but_for_rounding_raise_no_alarm(tmp_path, dtype):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Attention()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    data = (SEQUENCES, small.Y)
    idle = recipe(model=model, optimizer_made=optimizer, data=data, epochs=5, probes={"total": total})
    bundle = sketched(idle, tmp_path / "bundle", **CALL, keep_weights=True, informed=2, informed_degree=2)
    found = verify_replay(replay(bundle, idle, [1], dtype=dtype, device="cpu"))
    names = {c.name for c in found.comparisons if (np.abs(c.replayed) < c.floor).all()}
    assert names >= ({"key.bias", "total"} if dtype == "float64" else set())


def test_complex_numbers_are_compared_as_such(plain):
    """Both parts count: the stored pairs of real numbers are the complex numbers that are compared."""
    found = replay(plain, same(), [2], device="cpu").comparisons
    (scalar,) = [c for c in found if (c.kind, c.name, c.degree) == ("coefficients", "scalar", 1)]
    raw = (plain.path / "probes/scalar.safetensors").read_bytes()
    stored = parse_tensors(raw, where="x")["coefficients"][2, 0]
    np.testing.assert_array_equal(real_pairs(scalar.stored)[0], stored)
    assert scalar.difference == np.abs(scalar.stored - scalar.replayed).max()


def test_the_differences_of_a_replay_cover_all_that_claims_use(precisions, whole, people):
    found = replay(whole, same(), range(6), dtype="float64", device="cpu")
    swept, other = found.differences("probe"), found.differences("scalar")
    assert swept.base.shape == swept.gradient.shape == swept.residual.shape == swept.slopes.shape == (6,)
    assert (swept.coefficients.shape, swept.solo.shape) == ((2, 6), (3, 6))
    assert (other.base.shape, other.gradient, other.residual) == ((1,), None, None)
    single, double = (precisions[name].probe("probe") for name in ("float32", "float64"))
    alone = replay(precisions["float32"], same(), range(6), dtype="float64", device="cpu").differences("probe")
    np.testing.assert_allclose(alone.base, np.abs(single.base - double.base).ravel(), atol=1e-14)
    expected = np.abs(single.coefficients - double.coefficients).max(0).reshape(2, 6)
    np.testing.assert_allclose(alone.coefficients, expected, atol=1e-14)
    own = replay(people, recipe(probes=OWN), [0, 5], dtype="float64", device="cpu").differences("own")
    assert own.solo.shape == (3, UNITS)
    np.testing.assert_array_equal(own.solo, own.solo[:, :1].repeat(UNITS, axis=1))


def test_a_certified_interval_from_single_precision_holds_that_from_double_with_the_replays_rounding(tmp_path):
    """What is bounded is exact here, so rounding is all there is between the two."""
    call = CALL | {"directions": 0, "solo": uk.Solo(3), "reverse": {"probe": uk.Reverse(rank=0, residual=0)}}
    single, double = (
        sketched(same(), tmp_path / dtype, **(call | {"dtype": dtype})) for dtype in ("float32", "float64")
    )
    found = replay(single, same(), range(UNITS), dtype="float64", device="cpu")
    for name, degree, sets in (("probe", 3, np.eye(UNITS)), ("scalar", 3, np.eye(UNITS)), ("probe", 1, 1 - np.eye(8))):
        rounding = found.differences(name)
        one = single.probe(name).bound(sets, 0.05, degree=degree, rounding=rounding)
        true = double.probe(name).bound(sets, 0.05, degree=degree).estimate
        assert "rounding" in one.covers
        assert (np.abs(one.estimate - true) <= one.epsilon).all()
        assert 0 < one.epsilon.max() < 1e-5
        assert (np.abs(one.estimate - true).max() > 1e-9).all()
