"""Trees of tensors, arrays and plain values as JSON beside named tensors, and back.

What is kept of a training is nested as torch and skorch have it: state dicts with numbers for
keys, tuples of rates, histories. JSON alone would give back other keys and lists for tuples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

_PLAIN = (bool, int, float, str, type(None))


class NotRecordable(TypeError):
    """Something that no record can hold; its first argument is where it stands in the tree."""


def is_recordable(value: Any) -> bool:
    """Whether a record gives back what it is given."""
    try:
        flatten(value)
    except NotRecordable:
        return False
    return True


def flatten(tree: Any) -> tuple[Any, dict[str, Tensor]]:
    """Return what JSON can say of a tree, and its tensors by the names that it gives them."""
    tensors: dict[str, Tensor] = {}

    def keep(value: Any) -> str:
        name = str(len(tensors))
        # A copy: parameters that are tied share their memory, which a file of tensors refuses.
        tensors[name] = torch.as_tensor(value).detach().cpu().contiguous().clone()
        return name

    return _described(tree, keep, ""), tensors


def _described(value: Any, keep: Callable[[Any], str], at: str) -> Any:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Tensor):
        return {"tensor": keep(value)}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        kind = "array" if isinstance(value, np.ndarray) else "number"
        return {kind: keep(np.ascontiguousarray(value).reshape(np.shape(value)))}
    if isinstance(value, list | tuple):
        items = [_described(one, keep, f"{at}[{n}]") for n, one in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, set) and all(type(one) in _PLAIN for one in value):
        return {"set": sorted(value, key=repr)}
    if isinstance(value, dict) and all(type(key) in _PLAIN for key in value):
        return {"dict": [[k, _described(one, keep, f"{at}[{k!r}]")] for k, one in value.items()]}
    raise NotRecordable(at, type(value).__name__)


def restored(about: Any, tensors: dict[str, Tensor]) -> Any:
    """Return the tree of which this was said."""
    if isinstance(about, list):
        return [restored(one, tensors) for one in about]
    if not isinstance(about, dict):
        return about
    (kind, inside), *_ = about.items()
    if kind == "tensor":
        return tensors[inside]
    if kind == "array":
        return tensors[inside].numpy()
    if kind == "number":
        return tensors[inside].numpy()[()]
    if kind == "set":
        return set(inside)
    if kind == "tuple":
        return tuple(restored(one, tensors) for one in inside)
    return {key: restored(one, tensors) for key, one in inside}
