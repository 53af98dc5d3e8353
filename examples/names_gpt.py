"""A very small GPT that learns to spell names; every name belongs to the person who bears it.

unlearnkit sketch examples/names_gpt.py:recipe -o run/names --directions 64
unlearnkit predict run/names --probe test_loss --delete zuzanna --delete zoran
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, scaled_dot_product_attention

import unlearnkit as uk

CONTEXT = 16
BOUNDARY = 26  # the token before and after a name; a to z are 0 to 25
PADDING = -1

TRAINING_NAMES = """
    adela agata alban alda alina alvin amara amos anika anselm arlo astrid aurel basil beata benno berit bodil brano
    bruna carla caspar cecil celia clara corin cyril dagny dalia daniel daria delia dora edgar edith elias elina elke
    elmar emil enno erika ersin esther fabian farid fatima fenja flora frida gala georg gerda gilda goran greta gunnar
    hanna hedda helga henrik hilda hugo igor ilka imre ines ingrid irena isolde ivar jadwiga jakob janne jasna
    jelena jorun josef jovan judith julek kalle karin kasimir keno klara konrad lasse leila lennart leona lorenz
    ludmila luka magda malin marek marit matti meike milan mira nadja nele niklas nora olga oskar otto
    petra piet quentin radka rahel ramon renata roman runa sanna selma sigrid silas sonja stina sven tamar tarek thea
    tilda timo ulla ulrik urban vera viggo vilma wanda wenzel xenia yusuf zdenka zelda zoran zuzanna
""".split()  # noqa: SIM905  a list of quoted names would be no easier to read
TEST_NAMES = ["alma", "jonas", "marina", "selina", "viktor", "zora"]


class RMSNorm(nn.Module):
    """Scale each vector to root mean square one."""

    def forward(self, x: Tensor) -> Tensor:
        """``[..., width]`` to the same shape."""
        return x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt()


class NamesGPT(nn.Module):
    """One transformer block of width 16 with 4 heads, over contexts of at most 16 letters."""

    def __init__(self, *, vocabulary: int = 27, width: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.letters = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(CONTEXT, width)
        self.norm = RMSNorm()
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.mix = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        self.head = nn.Linear(width, vocabulary, bias=False)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.08)

    def forward(self, tokens: Tensor) -> Tensor:
        """``[batch, length]`` tokens to ``[batch, length, vocabulary]`` logits of the token that follows each."""
        x = self.norm(self.letters(tokens) + self.positions.weight[: tokens.shape[1]])
        x = x + self._attention(self.norm(x))
        x = x + self.down(gelu(self.up(self.norm(x))))
        logits: Tensor = self.head(x)
        return logits

    def _attention(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        heads = self.query_key_value(x).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
        attended: Tensor = self.mix(mixed.transpose(1, 2).reshape(batch, length, width))
        return attended


def encode(names: list[str]) -> tuple[Tensor, Tensor]:
    """Inputs and targets, both ``[names, 16]``: a name between boundaries, the target one token ahead, then padding."""
    inputs = torch.full((len(names), CONTEXT), BOUNDARY)
    targets = torch.full((len(names), CONTEXT), PADDING)
    for row, name in enumerate(names):
        tokens = torch.tensor([BOUNDARY, *(ord(letter) - ord("a") for letter in name), BOUNDARY])
        inputs[row, : len(tokens) - 1] = tokens[:-1]
        targets[row, : len(tokens) - 1] = tokens[1:]
    return inputs, targets


def name_losses(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean surprise per letter of each name, ``[batch]``, in nats; padding does not count."""
    inputs, targets = batch
    losses = cross_entropy(model(inputs).transpose(1, 2), targets, ignore_index=PADDING, reduction="none")
    return losses.sum(1) / (targets != PADDING).sum(1)


def recipe() -> uk.Recipe:
    """Train with an Adam whose epsilon is inside the root, so that it is analytic; probes: losses of unseen names."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = NamesGPT()
    test = encode(TEST_NAMES)
    return uk.Recipe(
        name="names",
        model=model,
        loss=name_losses,
        optimizer=uk.Adam(
            model.parameters(), lr=0.01, betas=(0.85, 0.99), eps=1e-3, weight_decay=0.0, eps_inside_sqrt=True
        ),
        data=encode(TRAINING_NAMES),
        units=TRAINING_NAMES,
        epochs=4,
        batch_size=16,
        probes={
            "test_loss": lambda model: name_losses(model, test).mean(),
            "test_losses": lambda model: name_losses(model, test),
        },
    )
