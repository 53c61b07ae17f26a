"""What stands before a network in a pipeline, fitted once a fold and setting.

Candidates of a search that differ behind their transformers, or in later ones of them, share what
the earlier ones make of a fold's rows.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.metadata_routing import get_routing_for_object, process_routing
from sklearn.utils.validation import _num_samples

from skensemble._base.classifier import BaseNetworkClassifier
from skensemble._fits.given import Given
from skensemble._fits.prepared import hash_of
from skensemble._private import callbacks_of


def network_of(estimator: Any) -> BaseNetworkClassifier | None:
    """Return the network estimator of ours that a pipeline ends in, or that is given itself.

    None where there is none, and where a pipeline does what is left to scikit-learn alone.
    """
    while type(estimator) is Pipeline and estimator.steps:
        told = any(callbacks_of(one) for one in (estimator, *dict(estimator.steps).values()))
        if told or estimator.transform_input is not None:
            return None
        estimator = estimator.steps[-1][1]
    return estimator if isinstance(estimator, BaseNetworkClassifier) else None


@dataclass
class _Fitted:
    """What a transformer made of a fold's rows, or the error it failed with."""

    transformer: Any = None
    X: Any = None
    error: Exception | None = None


@dataclass(frozen=True)
class Front:
    """What a network is given at the end of a pipeline.

    Attributes
    ----------
    given : Given
        The rows as the transformers leave them, and what the network's fit is passed.
    keys : tuple of tuple
        Under which the seconds of the transformers are found.
    """

    given: Given
    keys: tuple[Any, ...]


@dataclass
class Chains:
    """Transformers of pipelines, fitted on the training rows of folds.

    Parameters
    ----------
    X, y : array-like
        As they arrived.
    rows : list of ndarray of int
        The training rows of each fold.
    params : dict
        What `fit` is passed.
    """

    X: Any
    y: Any
    rows: list[np.ndarray]
    params: dict[str, Any]
    nbytes: int = 0
    _seconds: dict[Any, float] = field(default_factory=dict)
    _users: Counter[Any] = field(default_factory=Counter)
    _made: dict[Any, _Fitted] = field(default_factory=dict)
    _folds: dict[int, tuple[Any, Any, dict[str, Any]]] = field(default_factory=dict)
    _fronts: dict[Any, Given] = field(default_factory=dict)

    def fold(self, number: int) -> tuple[Any, Any, dict[str, Any]]:
        """Return rows, labels and what `fit` is passed, as scikit-learn cuts them out."""
        if number not in self._folds:
            rows, n_rows = self.rows[number], _num_samples(self.X)
            self._folds[number] = (
                _safe_indexing(self.X, rows),
                _safe_indexing(self.y, rows),
                {name: _cut(value, rows, n_rows) for name, value in self.params.items()},
            )
        return self._folds[number]

    def fit(self, pipeline: Pipeline, number: int) -> Front:
        """Put fitted transformers into a pipeline, and return what is left for its network."""
        X, y, params = self.fold(number)
        key: tuple[Any, ...] = (number,)
        keys = []
        while type(pipeline) is Pipeline:
            pipeline.steps = list(pipeline.steps)
            for at, (name, step) in enumerate(pipeline.steps[:-1]):
                if step is None or step == "passthrough":
                    continue
                part = _alone(pipeline, name, step)
                key = (*key, hash_of(part))
                made = self._make(key, part, X, y, params)
                if made.error is not None:
                    raise made.error
                X = made.X
                pipeline.steps[at] = (name, made.transformer)
                keys.append(key)
            params = _for_last(pipeline, params)
            pipeline = pipeline.steps[-1][1]
        for each in keys:
            self._users[each] += 1
        return Front(self._given(key, X, y, params), tuple(keys))

    def _make(
        self, key: tuple[Any, ...], part: Pipeline, X: Any, y: Any, params: dict[str, Any]
    ) -> _Fitted:
        if key not in self._made:
            start = time.perf_counter()
            try:
                made = part.fit_transform(X, y, **_consumed(part, params))
                self._made[key] = _Fitted(part.steps[0][1], made)
                self.nbytes += _count_bytes(made)
            except Exception as error:  # scikit-learn reports it in its own way
                self._made[key] = _Fitted(error=error)
            self._seconds[key] = time.perf_counter() - start
        return self._made[key]

    def _given(self, key: tuple[Any, ...], X: Any, y: Any, params: dict[str, Any]) -> Given:
        """Return one object for all networks that are given the same."""
        key = (key, tuple(sorted(params)))
        if key not in self._fronts:
            self._fronts[key] = Given(X, y, rows=np.arange(_num_samples(X)), **params)
        return self._fronts[key]

    def share_of(self, front: Front) -> float:
        """Return the seconds of the transformers, shared by all who stand behind them."""
        return sum(self._seconds[key] / self._users[key] for key in front.keys)

    def forget(self) -> None:
        """Let go of the rows."""
        self.nbytes = 0
        for held in (self._made, self._fronts, self._folds):
            held.clear()


def _alone(pipeline: Pipeline, name: str, step: Any) -> Pipeline:
    """Return a transformer as a pipeline, which takes its parameters and minds its memory."""
    steps = [(name, step)]
    if pipeline.memory is not None:  # which remembers all steps but the last
        steps.append((f"{name}-done", "passthrough"))
    return Pipeline(steps, memory=pipeline.memory, verbose=pipeline.verbose)


def _consumed(part: Pipeline, params: dict[str, Any]) -> dict[str, Any]:
    """Return what of the fit's parameters is for a transformer."""
    if get_config()["enable_metadata_routing"]:
        names = get_routing_for_object(part).consumes("fit_transform", params.keys())
    else:
        names = [name for name in params if name.partition("__")[0] == part.steps[0][0]]
    return {name: params[name] for name in names}


def _for_last(pipeline: Pipeline, params: dict[str, Any]) -> dict[str, Any]:
    """Return what of the fit's parameters is for the last step, under the names it knows."""
    last = pipeline.steps[-1][0]
    if get_config()["enable_metadata_routing"]:
        routed: Mapping[str, Any] = process_routing(pipeline, "fit", **params)[last].fit
        return dict(routed)
    strange = [name for name in params if name.partition("__")[0] not in dict(pipeline.steps)]
    if strange:
        raise ValueError(f"Pipeline.fit does not accept the {strange[0]} parameter.")
    split = [(*name.partition("__"), value) for name, value in params.items()]
    return {name: value for step, _, name, value in split if step == last}


def _cut(value: Any, rows: np.ndarray, n_rows: int) -> Any:
    """Return the rows' part of what has an entry a row; all else as it is."""
    is_rows = hasattr(value, "__len__") or hasattr(value, "shape")
    if isinstance(value, str | dict) or not is_rows or _num_samples(value) != n_rows:
        return value
    return _safe_indexing(value, rows)


def _count_bytes(X: Any) -> int:
    if hasattr(X, "memory_usage"):
        return int(X.memory_usage().sum())
    return int(getattr(X, "nbytes", 0))
