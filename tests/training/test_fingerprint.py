"""Digests of code change with everything that the code computes from, and with nothing else."""

from __future__ import annotations

import functools
import importlib.util
import sys
import types
from dataclasses import dataclass
from enum import Enum

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.data import TensorDataset

from unlearnkit.training.fingerprint import function_digest, model_digest, weights_digest

SCALE = 2.0
TABLE = {"a": [1, 2], "b": (torch.ones(2), None)}


def module_of(source: str, tmp_path, name: str = "user_code") -> types.ModuleType:
    """User code in a file of its own, as a script or a notebook exported to one would be."""
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    folder.mkdir()
    path = folder / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


USER = """
import functools
import torch
import torch.nn.functional as F
from torch import nn

SCALE = 2.0

def helper(x):
    return x * SCALE

class Base(nn.Module):
    def forward(self, x):
        return helper(x)

class Net(Base):
    heads = 3
    def __init__(self, width=2):
        super().__init__()
        self.width = width

class Callable:
    __slots__ = ()
    def __call__(self, model):
        return helper(model(1))

def loss(model, batch):
    def inner(x):
        return [helper(row) for row in x]
    return inner(model(batch))

def outside(model):
    return F.gelu(model(0))
"""
EDITS = {
    "a global number": ("SCALE = 2.0", "SCALE = 3.0"),
    "a helper's source": ("x * SCALE", "x + SCALE"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_what_code_refers_to_is_followed(edit, tmp_path):
    before, after = module_of(USER, tmp_path), module_of(USER.replace(*EDITS[edit]), tmp_path)
    for name in ("loss", "helper"):
        assert function_digest(getattr(before, name)) != function_digest(getattr(after, name))
    assert function_digest(before.Callable()) != function_digest(after.Callable())
    assert model_digest(before.Net()) != model_digest(after.Net())
    assert function_digest(before.outside) == function_digest(after.outside)


def test_places_and_names_of_modules_do_not_matter(tmp_path):
    """The same source as a script, imported, and from another folder."""
    one, two = module_of(USER, tmp_path, "script"), module_of(USER, tmp_path, "package_of_the_user")
    assert function_digest(one.loss) == function_digest(two.loss)
    assert function_digest(one.Callable()) == function_digest(two.Callable())
    assert model_digest(one.Net()) == model_digest(two.Net())


def test_lines_around_do_not_matter(tmp_path):
    one, two = module_of(USER, tmp_path), module_of("# a comment\n\nOTHER = 1\n" + USER, tmp_path)
    assert function_digest(one.loss) == function_digest(two.loss)


def closure(value):
    return lambda model: model(value)


def default(value):
    return lambda model, value=value: model(value)


def keyword(value):
    def function(model, *, value=value):
        return model(value)

    return function


class Method:
    def __init__(self, value) -> None:
        self.value = value

    def probe(self, model):
        return model(self.value)

    __call__ = probe


@dataclass(frozen=True, slots=True)
class Slots:
    value: object

    def __call__(self, model):
        return model(self.value)


def twice(value, model):
    return model(value), model(value)


WAYS = {
    "a closure": closure,
    "a default": default,
    "a keyword default": keyword,
    "a bound method": lambda value: Method(value).probe,
    "an object": Method,
    "an object with slots": Slots,
    "a partial function": lambda value: functools.partial(twice, value),
    "a dictionary": lambda value: closure({"key": value}),
    "a list": lambda value: closure([value, value]),
    "a dataset": lambda value: closure(TensorDataset(torch.as_tensor([1.0, len(repr(value))]))),
    "a function inside": lambda value: closure(closure(value)),
}


class Colour(Enum):
    RED = 1
    BLUE = 2


VALUES = [
    *(0, 1, 2.0, True, "1", b"1", None, 1 + 2j, (), (1,), [1], [1, 1], [[1], 1], [1, [1]], {1: 2}, {2: 1}, {1, 2}),
    *(torch.zeros(2), torch.zeros(2, 1), torch.zeros(2, dtype=torch.float64), torch.tensor([0.0, 1e-30])),
    *(np.zeros(2), np.zeros(2, np.int64), np.array(["a"]), np.array([None]), np.float32(0.5), np.array([1, 2])[::-1]),
    *(torch.float32, torch.float64, F.gelu, F.silu, Colour.RED, Colour.BLUE),
]


@pytest.mark.parametrize("way", [w for w in WAYS if w != "a dataset"])
def test_every_value_gives_its_own_digest(way):
    digests = [function_digest(WAYS[way](value)) for value in VALUES]
    assert len(set(digests)) == len(VALUES)
    assert digests == [function_digest(WAYS[way](value)) for value in VALUES]


def test_the_examples_of_a_dataset_count():
    digests = {function_digest(closure(TensorDataset(torch.tensor([float(i)])))) for i in range(3)}
    assert len(digests) == 3


def test_probes_made_in_a_loop_are_told_apart():
    """The source of all is the same line; only the captured number differs."""
    assert len({function_digest(lambda m, i=i: m[i]) for i in range(5)}) == 5


def test_copies_have_the_digest_of_the_original():
    values = [torch.arange(3.0), {"a": [1, "x"]}, np.arange(4)]
    copies = [torch.arange(3.0), {"a": [1, "x"]}, np.arange(4)]
    assert function_digest(closure(values)) == function_digest(closure(copies))
    strided = torch.arange(6.0).reshape(2, 3).T
    assert function_digest(closure(strided)) == function_digest(closure(torch.tensor([[0.0, 3], [1, 4], [2, 5]])))
    assert function_digest(closure({"b", "a"})) == function_digest(closure({"a", "b"}))


def test_a_teacher_in_a_closure_counts_with_its_weights():
    def teacher(shift: float) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            made = nn.Linear(2, 2)
        with torch.no_grad():
            made.bias += shift
        return made

    assert function_digest(closure(teacher(0))) == function_digest(closure(teacher(0)))
    assert function_digest(closure(teacher(0))) != function_digest(closure(teacher(1e-3)))


def test_values_that_refer_to_themselves_end():
    loop: list[object] = [1]
    loop.append(loop)
    other: list[object] = [1]
    other.append([1, other])
    assert function_digest(closure(loop)) != function_digest(closure(other))

    def recursive(model):
        return recursive(model)

    assert function_digest(recursive) == function_digest(recursive)


def test_code_without_source_is_told_apart_by_what_the_interpreter_keeps():
    def made(text: str):
        namespace: dict[str, object] = {}
        exec(text, namespace)
        return namespace["f"]

    one, two = made("def f(m): return m(1)"), made("def f(m): return m(2)")
    assert function_digest(one) != function_digest(two)
    assert function_digest(one) == function_digest(made("def f(m): return m(1)"))


# -- models ------------------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """What a model computes may hang on an attribute that torch does not show."""

    def __init__(self, heads: int = 2, activation=F.gelu, scale=None) -> None:
        super().__init__()
        self.heads, self.activation, self.scale = heads, activation, scale
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return self.activation(self.linear(x)).unflatten(-1, (self.heads, -1)) * self.scale


def half_evaluating() -> nn.Module:
    made = Attention()
    made.linear.eval()
    return made


MODELS = {
    "base": Attention,
    "heads": lambda: Attention(4),
    "activation": lambda: Attention(activation=F.silu),
    "scale": lambda: Attention(scale=2.0),
    "a tensor that is no buffer": lambda: Attention(scale=torch.ones(2)),
    "evaluating": lambda: Attention().eval(),
    "part of it evaluating": half_evaluating,
    "torch attention": lambda: nn.MultiheadAttention(4, 2),
    "torch attention, heads": lambda: nn.MultiheadAttention(4, 4),
    "torch attention, dropout": lambda: nn.MultiheadAttention(4, 4, dropout=0.1),
    "tanh": lambda: nn.RNN(2, 2),
    "relu": lambda: nn.RNN(2, 2, nonlinearity="relu"),
    "encoder": lambda: nn.TransformerEncoderLayer(4, 2, 8),
    "encoder, gelu": lambda: nn.TransformerEncoderLayer(4, 2, 8, activation=F.gelu),
    "encoder, norm first": lambda: nn.TransformerEncoderLayer(4, 2, 8, norm_first=True),
    "sequence": lambda: nn.Sequential(nn.Linear(2, 2), nn.Tanh()),
    "sequence, another": lambda: nn.Sequential(nn.Linear(2, 2), nn.Sigmoid()),
    "sequence, names": lambda: nn.Sequential(nn.Tanh(), nn.Linear(2, 2)),
}


def test_settings_of_modules_count_and_weights_do_not():
    digests = {name: model_digest(make()) for name, make in MODELS.items()}
    assert len(set(digests.values())) == len(MODELS)
    assert digests == {name: model_digest(make()) for name, make in MODELS.items()}  # with other random weights


def test_weights_and_buffers_count_wherever_they_are():
    def made(kind: str = "") -> nn.Module:
        m = nn.Linear(2, 2)
        nn.init.ones_(m.weight)
        nn.init.ones_(m.bias)
        m.register_buffer("shown", torch.ones(1) + (kind == "shown"))
        m.register_buffer("hidden", torch.ones(1) + (kind == "hidden"), persistent=False)
        if kind == "weight":
            nn.init.zeros_(m.bias)
        return m

    digests = [weights_digest(made(kind)) for kind in ("", "shown", "hidden", "weight")]
    assert len(set(digests)) == 4
    assert weights_digest(made()) == digests[0]


def test_where_a_pretrained_model_was_found_does_not_count():
    import transformers

    def made(place: str, **changed) -> nn.Module:
        config = transformers.GPT2Config(vocab_size=5, n_positions=4, n_embd=4, n_layer=1, n_head=2, **changed)
        config._name_or_path = place
        m = transformers.GPT2Model(config)
        m.name_or_path = place
        return m

    assert model_digest(made("/home/a/gpt2")) == model_digest(made("/scratch/gpt2"))
    assert model_digest(made("x")) != model_digest(made("x", scale_attn_by_inverse_layer_idx=True))
