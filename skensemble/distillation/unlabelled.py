"""Rows without labels, on which students learn from the teacher alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from skensemble._data.rows import FitData, joined
from skensemble._fits.given import Given
from skensemble.distillation.transferring import TransferRows


def add_unlabelled(
    data: FitData,
    given: Given,
    classes: np.ndarray,
    check: Callable[[Any], Any],
    transfer: TransferRows | None = None,
    hold_out: bool = False,
) -> FitData:
    """Append rows without labels to those that the student sees: the user's, then a sampler's.

    Where rows have weights the user's count one, and a sampler's as much as a training row does
    in the mean. With `hold_out`, the last of the sampler's are held out, and nothing else is.
    """
    more = given.X_unlabelled
    if more is None and transfer is None:
        return data
    n_rows = len(data.X)

    def join() -> tuple[Any, np.ndarray, np.ndarray]:
        X = data.X
        if more is not None:
            X = joined(X, check(more))
        if transfer is not None:
            X = joined(X, transfer.kept())
        labelled = np.repeat(np.array([1.0, 0.0]), [n_rows, len(X) - n_rows])
        y = np.concatenate([data.y, np.zeros(len(X) - n_rows, data.y.dtype)])
        return X, y, labelled

    X, y, labelled = given.recall("joined", join, (data.X, transfer), tuple(classes))
    weight = data.weight
    if weight is not None:
        further = np.ones(len(X) - n_rows, weight.dtype)
        further[len(further) - (0 if transfer is None else len(transfer)) :] = weight[
            data.rows
        ].mean()
        weight = np.concatenate([weight, further])
    rows = np.concatenate([data.rows, np.arange(n_rows, len(X))])
    valid = data.valid
    if valid is not None and valid.X is data.X:
        valid = replace(valid, X=X, y=y, weight=weight, labelled=labelled)
    data = replace(data, X=X, y=y, weight=weight, rows=rows, valid=valid, labelled=labelled)
    if transfer is None or not hold_out:
        return data
    n_train = len(rows) - transfer.n_held_out
    valid = replace(data, rows=rows[n_train:], valid=None)
    return replace(data, rows=rows[:n_train], valid=valid)


def agreeing(data: FitData, said: np.ndarray, given: Given) -> FitData:
    """Give rows without labels the class that the teacher says, which scores are told against."""
    if data.labelled is None:
        return data

    def label() -> np.ndarray:
        return np.where(data.labelled > 0, data.y, said)

    y = given.recall("agreeing", label, (data.y, said))
    valid = data.valid
    if valid is not None and valid.y is data.y:
        valid = replace(valid, y=y)
    return replace(data, y=y, valid=valid)
