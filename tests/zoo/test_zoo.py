"""Models as people have them, trained as they train: the sketch starts from that run and moves as retraining does."""

from __future__ import annotations

import pytest

import unlearnkit as uk
from tests.zoo.runs import deleted, plain, recipe, slope

# Each of them one way, 20 of transformers: python benchmarks/zoo.py does all that there are, forward and in reverse.
FORWARD = (
    *("Gemma", "Gemma 2", "Qwen2", "Qwen3", "Mistral", "Phi", "OPT", "RoBERTa", "DistilBERT"),
    *("Mamba", "ConvNeXt", "MobileNetV2", "T5", "LSTM, packed"),
)
REVERSE = (
    *("BERT", "ELECTRA", "GPT-2", "GPT-NeoX", "Llama", "Falcon", "BART"),
    *("ViT", "recommender", "GPT-2 with LoRA"),
)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("name", FORWARD)
def test_series_start_from_the_plain_run_and_move_as_retraining_does(name, tmp_path):
    made = recipe(name)
    forward = uk.Forward(directions=deleted()[None], degree=1)
    probe = uk.sketch(made, tmp_path / "b", forward=forward, dtype="float64", device="cpu").probe("loss")
    assert float(probe.base) == pytest.approx(plain(made, 0.0), rel=1e-6)
    assert probe.coefficients[0].item() == pytest.approx(slope(made), rel=1e-3)


@pytest.mark.parametrize("name", REVERSE)
def test_reverse_sweeps_do_too(name, tmp_path):
    made = recipe(name)
    probe = uk.sketch(made, tmp_path / "b", dtype="float64", device="cpu").probe("loss")
    assert float(probe.base) == pytest.approx(plain(made, 0.0), rel=1e-6)
    assert (probe.reverse.gradient[0] @ deleted()) == pytest.approx(slope(made), rel=1e-3)


def test_all_but_mamba_which_has_none_train_with_dropout():
    names = {*FORWARD, *REVERSE} - {"Mamba"}
    seeds = {name: [plain(recipe(name).replace(seed=seed), 0.0) for seed in (0, 1)] for name in names}
    assert [name for name, (one, other) in seeds.items() if one == other] == []
