"""Corrected weights as they are served: what torch and Hugging Face load is what the certificate is about."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from safetensors import safe_open

import unlearnkit as uk
from tests.docs.namespace import small_recipe
from tests.office.corrections import asked, prepare
from unlearnkit.errors import DigestMismatchError, RefusedError
from unlearnkit.office.serving import writer


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    prepare(folder, small_recipe())
    return folder


@pytest.fixture
def office(prepared, tmp_path, monkeypatch) -> uk.Workspace:
    subprocess.run(["cp", "-a", f"{prepared}/.", str(tmp_path)], check=True)
    monkeypatch.chdir(tmp_path / "office")
    return uk.Workspace.find()


def expected(office: uk.Workspace, *names: str) -> dict[str, np.ndarray]:
    return dict(office.bundle_of("small@1").correction(names).state)


def served(folder: Path, state) -> Path:
    """What was served before: a folder with a card and a vocabulary, two models, and what a training left."""
    for name in ("1_Pooling", "checkpoint-3", ".cache"):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text("{}")
    (folder / "config.json").write_text('{"model_type": "small"}')
    (folder / "vocab.txt").write_text("a\nb\n")
    (folder / "model.safetensors").write_bytes(safetensors.numpy.save(dict(state), metadata={"format": "pt"}))
    (folder / "pytorch_model.bin.index.json").write_text("{}")
    for name in ("pytorch_model.bin", "optimizer.pt", "1_Pooling/model.h5"):
        (folder / name).write_bytes(b"old")
    return folder


@pytest.mark.parametrize("ending", [".pt", ".pth", ".bin"])
def test_torch_loads_the_corrected_weights_and_the_certificate_knows_them(office, ending):
    made = office.correct(asked(office, "ann"), out=f"new{ending}")
    state = torch.load(made.model, weights_only=True)
    wanted = expected(office, "ann")
    assert state.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(state[name].numpy(), array, strict=True)
    model = copy.deepcopy(small_recipe().model)
    model.load_state_dict(state)
    torch.save(model.state_dict(), "again.pt")
    for path in (made.model, "again.pt"):
        checks = {c.name: c.found for c in office.verify(made.path, bundle="bundle", model=path).checks}
        assert "has the very 4 tensors of the corrected model" in checks["model in use"]
    state["0.weight"][0, 0] += 1e-9
    torch.save(state, "other.pt")
    with pytest.raises(DigestMismatchError, match="is not the corrected model: 1 of 4 tensors differ"):
        office.verify(made.path, bundle="bundle", model="other.pt")


def test_a_folder_is_as_the_original_was_but_for_the_weights(office):
    like = served(Path("served"), office.bundle_of("small@1").model_state())
    made = office.correct(asked(office, "ann"), out="new", like=like)
    there = sorted(path.relative_to("new").as_posix() for path in Path("new").rglob("*") if path.is_file())
    assert there == ["1_Pooling/config.json", "config.json", "model.safetensors", "vocab.txt"]
    assert json.loads(Path("new/config.json").read_text()) == {"model_type": "small"}
    with safe_open("new/model.safetensors", framework="np") as file:
        assert file.metadata() == {"format": "pt"}
        for name, array in expected(office, "ann").items():
            np.testing.assert_array_equal(file.get_tensor(name), array, strict=True)
    assert office.verify(made.path, bundle="bundle", model="new").checks[-1].name == "model in use"
    with pytest.raises(DigestMismatchError, match="4 of 4 tensors differ"):
        office.verify(made.path, bundle="bundle", model=like)


def test_the_same_weights_give_the_same_files(office, tmp_path):
    like = served(Path("served"), office.bundle_of("small@1").model_state())
    weights = office.bundle_of("small@1").correction(["ann"]).to_bytes()
    for name, folder in (("a.pt", None), ("b.pt", None), ("a", like), ("b", like)):
        writer(tmp_path / name, folder, {})(weights)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    for file in ("model.safetensors", "config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_names_that_the_folder_leaves_out_are_left_out_if_they_are_tied(tmp_path):
    state = {"a": np.ones(2), "b": np.ones(2), "c": np.zeros(1)}
    (tmp_path / "like").mkdir()
    (tmp_path / "like" / "model.safetensors").write_bytes(safetensors.numpy.save({"a": np.zeros(2), "c": np.ones(1)}))
    writer(tmp_path / "new", tmp_path / "like", {"b": "a"})(safetensors.numpy.save(state))
    assert set(safetensors.numpy.load_file(tmp_path / "new" / "model.safetensors")) == {"a", "c"}
    with pytest.raises(RefusedError, match="holds another model than the bundle: 'b' differ"):
        writer(tmp_path / "other", tmp_path / "like", {})(safetensors.numpy.save(state))


@pytest.mark.parametrize(
    "change",
    [lambda s: s.update(more=np.ones(1)), lambda s: s.pop("0.bias"), lambda s: s.update({"0.bias": np.ones(1)})],
)
def test_where_the_folder_holds_another_model_nothing_is_issued(office, change):
    state = dict(office.bundle_of("small@1").model_state())
    change(state)
    requests, before = asked(office, "ann"), len(office.view())
    with pytest.raises(RefusedError, match="served holds another model than the bundle"):
        office.correct(requests, out="new", like=served(Path("served"), state))
    assert len(office.view()) == before
    assert not Path("new").exists()
    assert not list(Path("certificates").glob("*"))


def test_what_is_there_stays(office):
    Path("new.pt").write_bytes(b"mine")
    with pytest.raises(RefusedError, match="is there already"):
        office.correct(asked(office, "ann"), out="new.pt")
    with pytest.raises(RefusedError, match="is no folder of a model"):
        office.correct(asked(office, "dan"), out="new", like="bundle/model.safetensors")
    assert Path("new.pt").read_bytes() == b"mine"
