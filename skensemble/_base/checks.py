"""What arrives, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor


def _slices_only(X: Any) -> bool:
    """Whether `X` is an array store (HDF5, zarr, ...) that must not be read as a whole."""
    if isinstance(X, (np.ndarray, Tensor)) or hasattr(X, "iloc") or hasattr(X, "tocsr"):
        return False
    if type(X).__module__.split(".")[0] in {"polars", "pyarrow", "scipy", "pandas"}:
        return False
    return all(hasattr(X, name) for name in ("shape", "dtype", "__getitem__", "__len__"))


def _surely_finite(X: np.ndarray) -> bool:
    """Whether one pass shows `X` to be finite; a "no" leaves the question open."""
    if not X.flags.c_contiguous:
        return False
    with np.errstate(all="ignore"):
        flat = X.reshape(-1)
        return bool(np.isfinite(np.dot(flat, flat)))


def _is_bytes(X: Any) -> bool:
    return getattr(X, "dtype", None) == np.uint8
