"""What tells one fit from another: its parameters and its data, as plain words."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
from torch import Tensor

# They change nothing of a fit, or only how its members are dealt out, which each record says.
_WITHOUT_EFFECT = ("checkpoint", "memory", "n_jobs", "verbose")
_CHUNK_ROWS = 1 << 16


def told(value: Any) -> Any:
    """Describe a parameter: equal words for equal values, whatever process says them."""
    if isinstance(value, bool | int | str | type(None)):
        return value
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, set | frozenset):  # whose order another process does not share
        return sorted((told(one) for one in value), key=repr)
    if isinstance(value, list | tuple):
        return [told(one) for one in value]
    if isinstance(value, dict):
        return {str(key): told(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | np.generic | Tensor):
        return data_of(np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value))
    if isinstance(value, type) or not hasattr(value, "get_params"):
        return _named(value)
    params = value.get_params(deep=False)
    weights = getattr(value, "weights_digest", None)  # of what a network starts from
    return {
        "class": _named(type(value)),
        **({} if weights is None else {"weights": weights()}),
        **{name: told(one) for name, one in params.items() if name not in _WITHOUT_EFFECT},
    }


def _named(value: Any) -> str:
    """Return a name without an address in memory."""
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    words = repr(value)
    return _named(type(value)) if " at 0x" in words else words


def data_of(value: Any) -> str | None:
    """Describe rows, labels or weights by their shape, their dtype and a digest."""
    if value is None:
        return None
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None or getattr(dtype, "kind", "O") not in "biufU":  # pandas has kinds of its own
        words = type(value).__name__, "" if shape is None else tuple(shape), joblib.hash(value)
        return " ".join(map(str, words))
    digest = hashlib.sha256()
    if isinstance(value, np.ndarray) and value.flags.c_contiguous:
        digest.update(value.reshape(-1).view(np.uint8).data)
    else:  # also stores on disk, which are read by slices
        for start in range(0, shape[0] if shape else 0, _CHUNK_ROWS):
            digest.update(np.ascontiguousarray(value[start : start + _CHUNK_ROWS]).tobytes())
    return f"{np.dtype(dtype)} {tuple(shape)} {digest.hexdigest()[:16]}"


def differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    """Say where two descriptions differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in {**before, **now}:
            inner = f"{name}__{key}" if name else str(key)
            yield from differences(before.get(key), now.get(key), inner)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for number, pair in enumerate(zip(before, now, strict=True)):
            yield from differences(*pair, f"{name}[{number}]")
    elif before != now:
        yield f"{name} was {before!r} and is {now!r}"
