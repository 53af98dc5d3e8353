"""Nothing up the sleeve: a trusted signer who is dishonest, and signs whatever is in the folder, is caught."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.bundle.small import rewrite, small
from unlearnkit.bundle import Bundle, write_bundle
from unlearnkit.bundle.tensors import parse_tensors, tensor_bytes
from unlearnkit.canonical import canonicalize, file_sha256_hex
from unlearnkit.errors import FormatError, VerificationError
from unlearnkit.signing.keys import Algorithm, PrivateKey
from unlearnkit.signing.model_signature import sign_listing

Abuse = Callable[[Path], None]


@pytest.fixture(scope="module")
def signer() -> PrivateKey:
    return PrivateKey.generate(Algorithm.P256)


@pytest.fixture
def bundle(tmp_path, signer) -> Path:
    contents = small(tmp_path, weights=False)
    write_bundle(tmp_path / "bundle", manifest=contents.manifest, signer=signer, **contents.contents)
    return tmp_path / "bundle"


def _manifest(**changes: Callable[[object], object]) -> Abuse:
    def abuse(path: Path) -> None:
        record = json.loads((path / "manifest.json").read_bytes())
        record |= {name: change(record[name]) for name, change in changes.items()}
        (path / "manifest.json").write_bytes(canonicalize(record))

    return abuse


def _tensor(name: str, change: Callable[[dict[str, np.ndarray]], object], file: str = "probes/margins") -> Abuse:
    def abuse(path: Path) -> None:
        raw = (path / f"{file}.safetensors").read_bytes()
        tensors = {key: array.copy() for key, array in parse_tensors(raw, where=file).items()}
        tensors[name] = np.asarray(change(tensors[name]))
        rewrite(path, f"{file}.safetensors", tensor_bytes(tensors))

    return abuse


def _with_entry(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array.flat[-1] = value
        return array

    return change


def _directions(**changes: object) -> Abuse:
    return _manifest(directions=lambda old: {**old, **changes})


def _first_file(**changes: object) -> Abuse:
    return _manifest(files=lambda old: [{**old[0], **changes}, *old[1:]])


def _replaced(old: bytes, new: bytes) -> Abuse:
    def abuse(path: Path) -> None:
        file = path / "manifest.json"
        file.write_bytes(file.read_bytes().replace(old, new))

    return abuse


SLEEVES = {
    "NaN": (_tensor("coefficients", _with_entry(np.nan)), "'coefficients' holds numbers that are not finite"),
    "infinity": (_tensor("coefficients", _with_entry(-np.inf)), "'coefficients' holds numbers that are not finite"),
    "base": (_tensor("base", _with_entry(np.nan)), "'base' holds numbers that are not finite"),
    "weights": (_tensor("layer.bias", _with_entry(np.nan), "model"), "'layer.bias' holds numbers that are not finite"),
    "a degree too few": (_tensor("coefficients", lambda a: a[:, :1]), "'coefficients' has shape"),
    "a direction too few": (_tensor("coefficients", lambda a: a[:-1]), "'coefficients' has shape"),
    "real numbers": (_tensor("coefficients", lambda a: a[..., 0]), "'coefficients' has shape"),
    "other precision": (_tensor("coefficients", lambda a: a.astype(np.float32)), "is float32, expected float64"),
    "claims another degree": (_manifest(degree=lambda d: d + 1), "'coefficients' has shape"),
    "claims other units": (_manifest(units=lambda n: n + 1), "got 5 different pseudonyms in 5, expected 6"),
    "claims more directions": (_directions(count=7), "'coefficients' has shape"),
    "another salt": (_directions(salt="00" * 32), "recipe and salt give"),
    "another key": (_directions(key="00" * 16), "recipe and salt give"),
    "another recipe": (_manifest(recipe=lambda old: {**old, "digest": "cd" * 32}), "its description gives"),
    "another description": (_manifest(recipe=lambda old: {**old, "description": {}}), "its description gives"),
    "another schema": (_manifest(schema=lambda _: "unlearnkit/bundle/v2"), "unlearnkit/bundle/v2"),
    "another size": (_first_file(size=1), "bytes, the manifest says 1"),
    "another digest": (_first_file(sha256="0" * 64), "list different files: 'model.safetensors'"),
    "a path outside": (_first_file(path="../model.safetensors"), r"'\.\./model\.safetensors'"),
    "a file twice": (_manifest(files=lambda old: [old[0], *old]), "model.safetensors"),
    "a field twice": (_replaced(b'"degree":2', b'"degree":2,"degree":2'), "degree"),
    "a field of its own": (_manifest(informed=lambda old: {**old, "trust": 1}), "trust"),
    "other spelling": (_replaced(b'"degree":2', b'"degree": 2'), "canonical"),
    "a file of no use": (lambda path: (path / "more").touch(), "list different files: 'more'"),
}


def _sign(path: Path, signer: PrivateKey) -> None:
    """As a signer who does not look: every file that is there, whatever it holds."""
    (path / "model.sig").unlink()
    files = [file for file in path.rglob("*") if file.is_file()]
    digests = {file.relative_to(path).as_posix(): file_sha256_hex(file) for file in files}
    (path / "model.sig").write_bytes(sign_listing(digests, name="bundle", signers=[signer]))


@pytest.mark.parametrize("name", SLEEVES)
def test_a_dishonest_signer_is_caught(bundle, signer, name):
    abuse, message = SLEEVES[name]
    abuse(bundle)
    _sign(bundle, signer)
    with pytest.raises((FormatError, VerificationError), match=message):
        Bundle.open(bundle, trust=[signer.public])


def test_the_same_signer_is_believed_without_abuse(bundle, signer):
    _sign(bundle, signer)
    assert Bundle.open(bundle, trust=[signer.public]).signers == (signer.public.key_id,)
