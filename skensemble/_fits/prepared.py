"""Fits that were made beforehand, for an estimator's own `fit` to take over.

A search trains its candidates side by side and leaves it to scikit-learn to ask each of them
for its `fit`. What is asked for is found by what it is, the estimator with its parameters and
the rows it is given, so that the order in which scikit-learn asks has no say. A fit that is
not found, as the last one of the best candidate on all rows, is made as ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import joblib
import torch
from joblib.hashing import NumpyHasher
from sklearn.frozen import FrozenEstimator
from torch import Tensor
from torch.nn.parameter import is_lazy

from skensemble._fits.given import Given

_prepared: ContextVar[Prepared | None] = ContextVar("prepared", default=None)


class Prepared:
    """Fits by the keys of their estimators and rows; each is taken over once."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], list[tuple[Any, Exception | None]]] = {}

    def add(self, key: tuple[str, str], estimator: Any, error: Exception | None) -> None:
        """Lay down a fitted estimator, or the error it failed with."""
        self._made.setdefault(key, []).append((estimator, error))

    @property
    def n_left(self) -> int:
        """How many fits nobody has taken over."""
        return sum(map(len, self._made.values()))

    def take(self, estimator: Any, given: Given) -> tuple[Any, Exception | None] | None:
        """Hand out the fit of this estimator on these rows, if there is one left."""
        if not self._made:
            return None
        key = estimator_key(estimator), rows_key(given)
        waiting = self._made.get(key, [])
        found = waiting.pop(0) if waiting else None
        if not waiting:
            self._made.pop(key, None)
        return found


@contextmanager
def offered(prepared: Prepared) -> Iterator[None]:
    """Let the fits of this thread take over what was prepared."""
    token = _prepared.set(prepared)
    try:
        yield
    finally:
        _prepared.reset(token)


def take_over(estimator: Any, given: Given) -> bool:
    """Become what was fitted before, or fail as it did; False if this fit is to be made."""
    prepared = _prepared.get()
    found = None if prepared is None else prepared.take(estimator, given)
    if found is None:
        return False
    fitted, error = found
    if error is not None:
        raise error
    vars(estimator).update(vars(fitted))
    return True


def estimator_key(estimator: Any) -> str:
    """Return what is equal for unfitted estimators of one class with equal parameters."""
    return str(_Hasher().hash((type(estimator), estimator.get_params(deep=False))))


def rows_key(given: Given) -> str:
    """Return what is equal for fits on equal rows, labels and weights."""
    return str(joblib.hash(given.part(), hash_name="sha1"))  # twice as fast as its default


class _Hasher(NumpyHasher):  # type: ignore[misc]
    """joblib's hash, in which networks of equal values are equal."""

    def save(self, obj: Any) -> None:
        """Write tensors by their values; what is its own clone, and may be large, by its id."""
        if isinstance(obj, FrozenEstimator):
            obj = "itself", id(obj)
        elif isinstance(obj, Tensor) and not is_lazy(obj):
            values = obj.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            obj = type(obj), str(obj.dtype), tuple(obj.shape), obj.requires_grad, values
        super().save(obj)
