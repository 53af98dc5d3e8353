"""Architectures of ``transformers``, as small as they go and randomly initialised: built from configurations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

WORDS, EXAMPLES = 40, 4


@dataclass(frozen=True)
class Architecture:
    """How a model is made, what it is trained on, and the loss of each example.

    piecewise: whether it has kinks, such as ReLU.
    """

    make: Callable[[], nn.Module]
    loss: Callable[[nn.Module, Any], Tensor]
    examples: Callable[[], Tensor]
    piecewise: bool = False


def words() -> Tensor:
    """Sentences of five words."""
    return torch.randint(3, WORDS, (EXAMPLES, 5), generator=torch.Generator().manual_seed(0))


def pictures(size: int) -> Callable[[], Tensor]:
    """Pictures with three channels."""
    generator = torch.Generator().manual_seed(1)
    return lambda: torch.randn(EXAMPLES, 3, size, size, generator=generator, dtype=torch.float64)


def next_words(model: nn.Module, batch: tuple[Tensor]) -> Tensor:
    (ids,) = batch
    return _cross_entropies(model(input_ids=ids).logits[:, :-1], ids[:, 1:])


def own_words(model: nn.Module, batch: tuple[Tensor]) -> Tensor:
    (ids,) = batch
    return _cross_entropies(model(input_ids=ids).logits, ids)


def translated_words(model: nn.Module, batch: tuple[Tensor]) -> Tensor:
    (ids,) = batch
    return _cross_entropies(model(input_ids=ids, decoder_input_ids=ids[:, :-1]).logits, ids[:, 1:])


def _cross_entropies(logits: Tensor, ids: Tensor) -> Tensor:
    return cross_entropy(logits.transpose(1, 2), ids, reduction="none").mean(1)


def scores(model: nn.Module, batch: tuple[Tensor]) -> Tensor:
    """Squared distance of the scores from a target that is the pictures' own brightness."""
    return (model(batch[0]).logits - batch[0].mean((1, 2, 3)).unsqueeze(1)).square().mean(1)


def _made(model: str, config: str, **settings: Any) -> Callable[[], nn.Module]:
    return lambda: getattr(transformers, model)(getattr(transformers, config)(**settings))


def _frozen(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """With the statistics of batch norm frozen, as in fine-tuning."""

    def frozen() -> nn.Module:
        model = make().train()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return model

    return frozen


SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
BERT = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
ENCODER = {**BERT, "vocab_size": WORDS, "max_position_embeddings": 16, "pad_token_id": 0}
DECODER = {**ENCODER, **SPECIAL, "attention_dropout": 0.1}
GROUPED = {**DECODER, "num_key_value_heads": 1}
DROPOUT = {"hidden_dropout": 0.1, "attention_dropout": 0.1}

ENCODERS = {
    "BERT": _made("BertForMaskedLM", "BertConfig", **ENCODER),
    "RoBERTa": _made("RobertaForMaskedLM", "RobertaConfig", **ENCODER),
    "ELECTRA": _made("ElectraForMaskedLM", "ElectraConfig", **ENCODER, embedding_size=8),
    "ALBERT": _made("AlbertForMaskedLM", "AlbertConfig", **ENCODER, embedding_size=8),
    "MPNet": _made("MPNetForMaskedLM", "MPNetConfig", **ENCODER),
    "DistilBERT": _made(
        "DistilBertForMaskedLM",
        "DistilBertConfig",
        vocab_size=WORDS,
        dim=8,
        n_layers=1,
        n_heads=2,
        hidden_dim=16,
        max_position_embeddings=16,
    ),
    "DeBERTa": _made(
        "DebertaV2ForMaskedLM",
        "DebertaV2Config",
        **ENCODER,
        relative_attention=True,
        position_buckets=4,
        pos_att_type=["p2c", "c2p"],
    ),
}

DECODERS = {
    "GPT-2": _made(
        "GPT2LMHeadModel",
        "GPT2Config",
        **{"vocab_size": WORDS, "n_positions": 8, "n_embd": 8, "n_layer": 1, "n_head": 2, **SPECIAL},
    ),
    "GPT-NeoX": _made("GPTNeoXForCausalLM", "GPTNeoXConfig", **DECODER, hidden_dropout=0.1),
    "Llama": _made("LlamaForCausalLM", "LlamaConfig", **GROUPED),
    "Mistral": _made("MistralForCausalLM", "MistralConfig", **GROUPED, sliding_window=3),
    "Qwen2": _made("Qwen2ForCausalLM", "Qwen2Config", **GROUPED),
    "Qwen3": _made("Qwen3ForCausalLM", "Qwen3Config", **GROUPED, head_dim=4),
    "Gemma": _made("GemmaForCausalLM", "GemmaConfig", **GROUPED, head_dim=4),
    "Gemma 2": _made("Gemma2ForCausalLM", "Gemma2Config", **GROUPED, head_dim=4, query_pre_attn_scalar=4),
    "Phi": _made("PhiForCausalLM", "PhiConfig", **DECODER, resid_pdrop=0.1),
    "Falcon": _made(
        "FalconForCausalLM",
        "FalconConfig",
        vocab_size=WORDS,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        **{"ffn_hidden_size": 16, **DROPOUT, **SPECIAL},
    ),
    "Mamba": _made(
        "MambaForCausalLM",
        "MambaConfig",
        vocab_size=WORDS,
        hidden_size=8,
        num_hidden_layers=1,
        state_size=4,
        time_step_rank=2,
        **SPECIAL,
    ),
}

KINKED_DECODERS = {
    "OPT": _made(
        "OPTForCausalLM",
        "OPTConfig",
        vocab_size=WORDS,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        ffn_dim=16,
        **{"max_position_embeddings": 16, "word_embed_proj_dim": 8, **SPECIAL},
    ),
    "Mixtral": _made(
        "MixtralForCausalLM",
        "MixtralConfig",
        **GROUPED,
        num_local_experts=2,
        num_experts_per_tok=1,
        experts_implementation="eager",
    ),
}

TRANSLATORS = {
    "BART": _made(
        "BartForConditionalGeneration",
        "BartConfig",
        vocab_size=WORDS,
        d_model=8,
        encoder_layers=1,
        decoder_layers=1,
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        **{"max_position_embeddings": 16, "decoder_start_token_id": 2, "forced_eos_token_id": 2, **SPECIAL},
    ),
}

KINKED_TRANSLATORS = {
    "T5": _made(
        "T5ForConditionalGeneration",
        "T5Config",
        vocab_size=WORDS,
        d_model=8,
        d_kv=4,
        d_ff=16,
        num_layers=1,
        num_heads=2,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    ),
}

OF_TEXT = {
    **{name: Architecture(make, own_words, words) for name, make in ENCODERS.items()},
    **{name: Architecture(make, next_words, words) for name, make in DECODERS.items()},
    **{name: Architecture(make, next_words, words, piecewise=True) for name, make in KINKED_DECODERS.items()},
    **{name: Architecture(make, translated_words, words) for name, make in TRANSLATORS.items()},
    **{name: Architecture(make, translated_words, words, piecewise=True) for name, make in KINKED_TRANSLATORS.items()},
}

VIT = _made(
    "ViTForImageClassification",
    "ViTConfig",
    **{**BERT, "image_size": 8, "patch_size": 4, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1},
)
CONVNEXT = _made(
    "ConvNextForImageClassification",
    "ConvNextConfig",
    num_stages=2,
    hidden_sizes=[8, 8],
    depths=[1, 1],
    drop_path_rate=0.5,
)
MOBILENET = _made(
    "MobileNetV2ForImageClassification",
    "MobileNetV2Config",
    image_size=32,
    depth_multiplier=0.1,
    depth_divisible_by=4,
    min_depth=4,
    expand_ratio=2,
)
RESNET = _made("ResNetForImageClassification", "ResNetConfig", embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1])

OF_PICTURES = {
    "ViT": Architecture(VIT, scores, pictures(8)),
    "ConvNeXt": Architecture(CONVNEXT, scores, pictures(16)),
    "MobileNetV2": Architecture(_frozen(MOBILENET), scores, pictures(32), piecewise=True),
    "ResNet": Architecture(_frozen(RESNET), scores, pictures(16), piecewise=True),
}
