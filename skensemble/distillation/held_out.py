"""Held-out rows, for a teacher to be asked about them alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import joblib
import numpy as np
from sklearn.utils import _safe_indexing

from skensemble._data.rows import FitData
from skensemble._fits.given import Given


def rows_as_given(valid: FitData, X: Any, given: Given, is_raw: bool) -> Any:
    """Return held-out rows of `X` for a teacher to be asked about: raw tables' as they came."""
    if hasattr(X, "columns") or is_raw:
        return _safe_indexing(X, valid.rows)
    return held_apart(valid, given).X


def held_apart(valid: FitData, given: Given) -> FitData:
    """Cut held-out rows out of all rows, so that a teacher can be asked about them alone."""
    X, rows = valid.X, valid.rows

    def cut() -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(rows)  # stores on disk want increasing numbers
        found = np.asarray(X[rows[order]])
        return found[np.argsort(order)], valid.y[rows]

    found, y = given.recall("held apart", cut, (X, valid.y), (joblib.hash(rows),))
    weight = None if valid.weight is None else valid.weight[rows]
    tables = valid.map_tables(lambda values: values[rows])
    return replace(valid, X=found, y=y, weight=weight, rows=np.arange(len(rows)), **tables)
