"""Models that people build of torch's own layers, and adapters by peft."""

from __future__ import annotations

import warnings

import peft
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.zoo.architectures import DECODERS, WORDS, Architecture, next_words, words

PAD = 0


class Tagger(nn.Module):
    """A class for each word of a sentence, by recurrent layers over packed sentences."""

    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM, layers: int = 1) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 4, padding_idx=PAD)
        self.layers = kind(4, 3, layers, batch_first=True, bidirectional=True, dropout=0.2 if layers > 1 else 0.0)
        self.dropout, self.last = nn.Dropout(0.1), nn.Linear(6, WORDS)

    def forward(self, ids: Tensor) -> Tensor:
        lengths = (ids != PAD).sum(1).cpu()
        packed = pack_padded_sequence(self.words(ids), lengths, batch_first=True, enforce_sorted=False)
        padded, _ = pad_packed_sequence(self.layers(packed)[0], batch_first=True, total_length=ids.shape[1])
        return self.last(self.dropout(padded))


def sentences() -> Tensor:
    """One to three words each, padded."""
    ids = words()[:, :3].clone()
    for row, length in enumerate((2, 3, 1, 3)):
        ids[row, length:] = PAD
    return ids


def tags(model: nn.Module, batch: tuple[Tensor]) -> Tensor:
    (ids,) = batch
    return cross_entropy(model(ids).transpose(1, 2), ids, reduction="none", ignore_index=PAD).mean(1)


class Recommender(nn.Module):
    """How somebody who liked a bag of things likes another one; embeddings get sparse gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.liked = nn.EmbeddingBag(WORDS, 4, mode="mean", padding_idx=PAD, sparse=True)
        self.things = nn.Embedding(WORDS, 4, sparse=True)
        self.pair, self.dropout, self.last = nn.Bilinear(4, 4, 3), nn.Dropout(0.2), nn.Linear(3, 1)

    def forward(self, bags: Tensor, things: Tensor) -> Tensor:
        return self.last(torch.tanh(self.pair(self.dropout(self.liked(bags)), self.things(things)))).squeeze(1)


def ratings(model: nn.Module, batch: tuple[Tensor]) -> Tensor:
    (ids,) = batch
    return (model(ids[:, :4], ids[:, 4]) - ids[:, 0] / WORDS).square()


def lora() -> nn.Module:
    """GPT-2 with low-rank adapters, which alone are trained."""
    config = peft.LoraConfig(r=2, lora_alpha=4, lora_dropout=0.1, target_modules=["c_attn"], fan_in_fan_out=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by names that it has renamed
        return peft.get_peft_model(DECODERS["GPT-2"](), config)


OF_TORCH = {
    "LSTM, packed": Architecture(Tagger, tags, sentences),
    "recommender": Architecture(Recommender, ratings, words),
    "GPT-2 with LoRA": Architecture(lora, next_words, words),
}
