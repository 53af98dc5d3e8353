"""What a recipe's digest covers, piece by piece: settings in clear, data and code as digests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from unlearnkit.canonical import sha256_hex
from unlearnkit.training.batches import Steps
from unlearnkit.training.data import Augmented, MapDataset, data_digest
from unlearnkit.training.fingerprint import function_digest, model_digest, weights_digest
from unlearnkit.training.optimizers import Group
from unlearnkit.training.owners import Ownership

Array = np.ndarray[Any, Any]


def describe_model(model: nn.Module) -> dict[str, Any]:
    """Class, structure, weights and mode of a model."""
    return {
        "class": type(model).__qualname__,
        "structure": model_digest(model),
        "weights": weights_digest(model),
        "training_mode": model.training,
    }


def describe_group(group: Group) -> dict[str, Any]:
    """A parameter group, its rule, the digest of its numbers at every step, and of a state that it begins with."""
    start = [array_digest(tensor.cpu().numpy()) for tensor in group.start]
    return {
        **group.rule.described(),
        "parameters": list(group.parameters),
        "schedule": array_digest(np.asarray(group.schedule, dtype=np.float64)),
        "first_step": list(group.schedule[0]),
        **({"start": start} if start else {}),
    }


def describe_data(dataset: MapDataset, epochs: int | None) -> dict[str, Any]:
    """How many examples, and the digest of all; of augmented ones in every epoch."""
    described: dict[str, Any] = {"examples": len(dataset), "sha256": data_digest(dataset)}
    if not isinstance(dataset, Augmented):
        return described
    others = [data_digest(Augmented(dataset.data, epoch)) for epoch in range(1, epochs or 1)]
    return described | {"later_epochs": sha256_hex("".join(others).encode())}


def describe_owners(ownership: Ownership) -> dict[str, Any]:
    """How many units, whose examples are whose by position, and what several owners have in common."""
    described = {"count": len(ownership.names), "sha256": array_digest(ownership.of_example)}
    if not ownership.joint:
        return described
    members, shares = array_digest(ownership.members), array_digest(ownership.shares)
    return described | {"joint": len(ownership.joint), "members": members, "shares": shares}


def describe_unusual(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that most runs do without, where this one has them."""
    recorded, collate_fn, reduction = settings["recorded"], settings["collate_fn"], settings["reduction"]
    asked = {
        "recorded": recorded and recorded.digest,
        "accumulate": recorded and recorded.accumulate,
        "collate_fn": collate_fn and function_digest(collate_fn),
        "reduction": reduction if reduction != "mean" else None,
        "average": settings["average"] and True,
        "clip_grad_norm": settings["clip_grad_norm"],
        "clip_grad_value": settings["clip_grad_value"],
    }
    return {name: value for name, value in asked.items() if value is not None}


def order_digest(steps: Steps) -> str:
    """SHA-256 of which examples come when, and of how they are cut into batches."""
    sizes = [tuple(len(batch) for batch in step) for step in steps]
    flat = np.concatenate([batch for step in steps for batch in step])
    if len(set(sizes)) == 1 and len(sizes[0]) == 1:
        return array_digest(flat.reshape(len(steps), -1))
    return sha256_hex(f"{sizes} {array_digest(flat)}".encode())


def array_digest(array: Array) -> str:
    """SHA-256 of type, shape and little-endian bytes."""
    little_endian = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return sha256_hex(f"{little_endian.dtype.str}{little_endian.shape}".encode() + little_endian.tobytes())
