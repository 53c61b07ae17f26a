"""Rows without labels, on which students learn from the teacher alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from skensemble._data.rows import FitData, joined
from skensemble._fits.given import Given


def add_unlabelled(
    data: FitData, given: Given, classes: np.ndarray, check: Callable[[Any], Any]
) -> FitData:
    """Append the rows without labels that a fit was given to those that the student sees."""
    more = given.X_unlabelled
    if more is None:
        return data
    n_rows = len(data.X)

    def join() -> tuple[Any, np.ndarray, np.ndarray]:
        X = check(more)
        labelled = np.repeat(np.array([1.0, 0.0]), [n_rows, len(X)])
        y = np.concatenate([data.y, np.zeros(len(X), data.y.dtype)])
        return joined(data.X, X), y, labelled

    X, y, labelled = given.recall("joined", join, values=tuple(classes))
    weight = data.weight
    if weight is not None:
        weight = np.concatenate([weight, np.ones(len(X) - n_rows, weight.dtype)])
    rows = np.concatenate([data.rows, np.arange(n_rows, len(X))])
    valid = data.valid
    if valid is not None and valid.X is data.X:
        valid = replace(valid, X=X, y=y, weight=weight, labelled=labelled)
    return replace(data, X=X, y=y, weight=weight, rows=rows, valid=valid, labelled=labelled)
