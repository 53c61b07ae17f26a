"""Fits that were made beforehand, for an estimator's own `fit` to take over.

A search trains its candidates side by side and leaves it to scikit-learn to ask each of them
for its `fit`. What is asked for is found by what it is, the estimator with its parameters and
the rows it is given, so that the order in which scikit-learn asks has no say. A fit that is
not found, as the last one of the best candidate on all rows, is made as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from types import FunctionType
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

    def take(self, estimator: Any, rows: Callable[[], str]) -> tuple[Any, Exception | None] | None:
        """Hand out the fit of this estimator on rows of a key, if there is one left."""
        if not self._made:
            return None
        key = estimator_key(estimator), rows()
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


def take_over(estimator: Any, rows: Callable[[], str]) -> bool:
    """Become what was fitted before, or fail as it did; False if this fit is to be made."""
    prepared = _prepared.get()
    found = None if prepared is None else prepared.take(estimator, rows)
    if found is None:
        return False
    fitted, error = found
    if error is not None:
        raise error
    vars(estimator).update(vars(fitted))
    return True


@contextmanager
def asking(estimator: Any) -> Iterator[Any]:
    """Yield a clone of an estimator that is not ours, whose `fit` asks for what was prepared.

    So do clones of it, as those that a search of scikit-learn's makes. With its fit each becomes
    an estimator as any other, and so does the first one after the block.
    """
    first = _made_to_ask(estimator)
    try:
        yield first
    finally:
        _ask_no_more(first)


def _made_to_ask(estimator: Any) -> Any:
    one = type(estimator).__sklearn_clone__(estimator)
    plain = one.fit

    @wraps(plain)
    def fit(X: Any, y: Any = None, **params: Any) -> Any:
        _ask_no_more(one)
        if not take_over(one, lambda: fold_key(X, y, params)):
            plain(X, y, **params)
        return one

    vars(one).update(fit=fit, __sklearn_clone__=lambda: _made_to_ask(one))
    return one


def _ask_no_more(one: Any) -> None:
    for name in ("fit", "__sklearn_clone__"):
        vars(one).pop(name, None)


def estimator_key(estimator: Any) -> str:
    """Return what is equal for unfitted estimators of one class with equal parameters."""
    return hash_of((type(estimator), estimator.get_params(deep=False)))


def hash_of(value: Any) -> str:
    """Return what is equal for equal values, networks and functions among them."""
    return str(_Hasher().hash(value))


def fold_key(X: Any, y: Any, params: dict[str, Any]) -> str:
    """Return what is equal for fits on equal rows, with equal parameters of `fit`."""
    return str(joblib.hash((X, y, dict(params)), hash_name="sha1"))


def rows_key(given: Given) -> str:
    """Return what is equal for fits on equal rows, labels and weights."""
    return str(joblib.hash(given.part(), hash_name="sha1"))  # twice as fast as its default


class _Hasher(NumpyHasher):  # type: ignore[misc]
    """joblib's hash, in which networks of equal values are equal."""

    def save(self, obj: Any) -> None:
        """Write tensors by their values; what is its own clone, and may be large, by its id.

        So are functions that have no place to be found in.
        """
        nowhere = isinstance(obj, FunctionType) and "<" in obj.__qualname__
        if nowhere or isinstance(obj, FrozenEstimator):
            obj = "itself", id(obj)
        elif isinstance(obj, Tensor) and not is_lazy(obj):
            values = obj.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            obj = type(obj), str(obj.dtype), tuple(obj.shape), obj.requires_grad, values
        super().save(obj)
