"""A real ``transformers.Trainer`` with its defaults: dropout, clipping, AdamW, a decaying rate, a small last batch."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainingArguments,
)

import unlearnkit as uk
from unlearnkit.errors import RecipeError
from unlearnkit.office.serving import writer
from unlearnkit.verifier.served import verify_weights

EXAMPLES = 9
OWNERS = [f"person-{i // 3}" for i in range(EXAMPLES)]
WORDS = torch.randint(1, 16, (EXAMPLES, 6), generator=torch.Generator().manual_seed(1))


def gpt2() -> nn.Module:
    config = GPT2Config(vocab_size=16, n_positions=8, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    return GPT2LMHeadModel(config)


def bert() -> nn.Module:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "max_position_embeddings": 8}
    return BertForSequenceClassification(
        BertConfig(vocab_size=16, num_hidden_layers=1, num_attention_heads=2, num_labels=3, **sizes)
    )


def padded(examples: list[dict[str, list[int]]]) -> dict[str, Tensor]:
    """Texts of two lengths, and a column of text that no model takes."""
    assert all(isinstance(example["text"], str) for example in examples)
    ids = nn.utils.rnn.pad_sequence([torch.tensor(e["input_ids"]) for e in examples], batch_first=True)
    return {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": ids.masked_fill(ids == 0, -100)}


TEXTS = [{"input_ids": row[: 4 + 2 * (i % 2)].tolist(), "text": "".join(map(str, row))} for i, row in enumerate(WORDS)]
LABELLED = [{"input_ids": row, "labels": torch.tensor(i % 3)} for i, row in enumerate(WORDS)]
SETTINGS = {"remove_unused_columns": False, "report_to": [], "use_cpu": True, "disable_tqdm": True}


def trainer(make: Any, folder: Any, recorder: uk.Recorder | None, **arguments: Any) -> Trainer:
    logging.getLogger("transformers").setLevel(logging.ERROR)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make()
    more = {key: arguments.pop(key) for key in ("compute_loss_func",) if key in arguments}
    plain = {"num_train_epochs": 2, "per_device_train_batch_size": 4, "save_strategy": "no", "learning_rate": 1e-3}
    return Trainer(
        model,
        TrainingArguments(str(folder), **(SETTINGS | plain | arguments)),
        train_dataset=LABELLED if make is bert else TEXTS,
        data_collator=None if make is bert else padded,
        callbacks=[recorder.callback()] if recorder else [],
        **more,
    )


@pytest.mark.parametrize(("make", "accumulate"), [(gpt2, 1), (gpt2, 2), (bert, 1)])
def test_its_run_is_repeated(make, accumulate, tmp_path):
    recorder = uk.Recorder()
    trained = trainer(make, tmp_path, recorder, gradient_accumulation_steps=accumulate)
    trained.train()
    recipe = uk.Recipe.from_trainer(trained, units=OWNERS)
    assert (recipe.steps, recipe.clip_grad_norm) == ({1: 6, 2: 4}[accumulate], 1.0)
    assert {len(step) for step in recipe.parts} == ({1} if accumulate == 1 else {1, 2})
    found = uk.compare(recipe, trained.model, device="cpu")
    assert max(found.values()) < 1e-5
    assert found.first_step is None
    plain = dict(uk.retrain(recipe, device="cpu").named_parameters())
    largest = {n: float((p - plain[n]).detach().abs().max()) for n, p in trained.model.named_parameters()}
    assert max(v for n, v in largest.items() if "attn.c_attn.bias" not in n and "key.bias" not in n) < 1e-6
    assert max(uk.compare(recipe, recipe.model, device="cpu").values()) > 1e-3


def test_a_run_under_autocast_is_repeated_to_the_last_bit(tmp_path):
    """``bf16=True`` wraps the model's forward pass, attention and dropout included."""
    trained = trainer(gpt2, tmp_path, uk.Recorder(), num_train_epochs=1, bf16=True)
    trained.train()
    recipe = uk.Recipe.from_trainer(trained, units=OWNERS, probes={"words": lambda model: model.lm_head.weight[0]})
    state = uk.sketch(recipe, tmp_path / "bundle", device="cpu").model_state()
    for name, p in trained.model.named_parameters():
        np.testing.assert_array_equal(state[name], p.detach().numpy())


def test_first_orders_are_those_of_real_retrainings(tmp_path):
    trained = trainer(gpt2, tmp_path, uk.Recorder(), num_train_epochs=1, per_device_train_batch_size=5)
    trained.train()
    probes = {"probe": lambda model: model(input_ids=WORDS[:2]).logits.logsumexp(-1).mean()}
    recipe = uk.Recipe.from_trainer(trained, units=OWNERS, name="words", probes=probes)
    swept = uk.sketch(recipe, tmp_path / "bundle", dtype="float64", device="cpu").probe("probe")

    def value(unit: str, weight: float) -> float:
        model = uk.retrain(recipe, [unit], weight=weight, dtype="float64", device="cpu").eval()
        return float(recipe.probes["probe"](model).detach())

    base, h = value("person-0", 0.0), 1e-4
    expected = np.array([(4 * value(u, h / 2) - value(u, h) - 3 * base) / h for u in recipe.unit_names])
    found = np.array([float(swept.predict([unit]).change) for unit in recipe.unit_names])
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_a_run_that_goes_on_with_another_is_told(tmp_path):
    arguments = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    trainer(bert, tmp_path, None, **arguments).train()
    resumed = trainer(bert, tmp_path, uk.Recorder(), **arguments)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    with pytest.raises(RecipeError, match="resume_from_checkpoint, or a second train\\(\\), after step 2, is on"):
        uk.Recipe.from_trainer(resumed, units=OWNERS)


def test_an_optimizer_of_transformers_is_refused_by_its_whole_name(tmp_path):
    other = trainer(bert, tmp_path, uk.Recorder(), optim="adafactor", max_steps=1)
    other.train()
    with pytest.raises(RecipeError, match=r"optimizer=transformers\.Adafactor is not supported") as caught:
        uk.Recipe.from_trainer(other, units=OWNERS)
    assert "Adafactor, " in caught.value.hint


def test_what_cannot_be_repeated_is_told_at_once(tmp_path):
    with pytest.raises(RecipeError, match="has not trained with a recorder") as caught:
        uk.Recipe.from_trainer(trainer(bert, tmp_path, None), units=OWNERS)
    assert "callbacks=" in caught.value.hint
    arguments = {"label_smoothing_factor": 0.1, "neftune_noise_alpha": 5.0, "max_steps": 1}
    odd = trainer(gpt2, tmp_path, uk.Recorder(), **arguments)
    odd.train()
    summing = trainer(bert, tmp_path, uk.Recorder(), gradient_accumulation_steps=2, max_steps=1)
    summing.train()
    with pytest.raises(RecipeError, match="adds up the means of the batches"):
        uk.Recipe.from_trainer(summing, units=OWNERS)
    with pytest.raises(RecipeError, match="neftune_noise_alpha is on; label_smoothing_factor, without loss= is on"):
        uk.Recipe.from_trainer(odd, units=OWNERS)


def test_a_corrected_folder_is_loaded_as_the_model_without_somebody(tmp_path):
    """GPT-2's output layer is tied to its words: its folder has them once."""
    made = trainer(gpt2, tmp_path, uk.Recorder(), num_train_epochs=1)
    made.train()
    recipe = uk.Recipe.from_trainer(made, units=OWNERS)
    made.model.save_pretrained(tmp_path / "served")
    solo = uk.Solo(1, units=["person-0"], keep_weights=True)
    bundle = uk.sketch(recipe, tmp_path / "bundle", solo=solo, seed=0, dtype="float32", device="cpu", progress=False)
    correction = bundle.correction(["person-0"])
    writer(tmp_path / "new", tmp_path / "served", bundle.manifest.tied)(correction.to_bytes())
    loaded = GPT2LMHeadModel.from_pretrained(tmp_path / "new").state_dict()
    assert loaded.keys() == correction.state.keys()
    for name, array in correction.state.items():
        np.testing.assert_array_equal(loaded[name].numpy(), array, strict=True)
    said = verify_weights(tmp_path / "new", correction.to_bytes(), what="it", tied=bundle.manifest.tied)
    assert f"has the very {len(loaded) - 1} tensors" in said
