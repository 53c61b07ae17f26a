"""Errors that name the argument they are about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import NotFittedError
from torch import Tensor


@contextmanager
def naming(name: str, must: str) -> Iterator[None]:
    """Say of an error that arises inside which argument it is about, unless it says so itself.

    NumPy, torch and scikit-learn's conversions speak of a value, not of whose it is.

    Parameters
    ----------
    name : str
        The argument.
    must : str
        What it must be, as in ``"be an array of numbers"``.

    Examples
    --------
    >>> with naming("tau", "be a number"):
    ...     float("x")
    Traceback (most recent call last):
        ...
    ValueError: The 'tau' must be a number. Got: could not convert string to float: 'x'
    """
    try:
        yield
    except (MemoryError, NotFittedError):
        raise
    except Exception as error:  # whatever reading a value brings up
        purposeful = isinstance(error, (TypeError, ValueError))
        if purposeful and re.search(rf"\b{name}\b", str(error)):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"The {name!r} must {must}. Got: {error}") from error


def as_numpy(X: Any) -> Any:
    """Return a tensor as an array; anything else as it is.

    NumPy has no bfloat16: it becomes float32, which holds it exactly. An array with a mask is
    taken for its numbers, unless some of them are masked.
    """
    if isinstance(X, np.ma.MaskedArray):
        if np.ma.is_masked(X):
            raise ValueError("masked entries are no numbers; filled(numpy.nan) makes them missing")
        return X.data
    if not isinstance(X, Tensor):
        return X
    X = X.detach().cpu()
    return (X.float() if X.dtype == torch.bfloat16 else X).numpy()


def require_dtype(dtype: Any) -> None:
    """Refuse what is no dtype of real numbers."""
    try:
        kind = np.dtype(dtype).kind
    except (TypeError, ValueError):
        kind = ""
    if kind not in ("i", "u", "f"):
        raise ValueError(f"The 'dtype' must be one of real numbers. Got {dtype!r} instead.")
