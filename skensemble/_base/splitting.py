"""Rows held out by the net's ``train_split``, which may also bring rows of its own."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_array
from skorch.dataset import Dataset as SkorchDataset
from torch.utils.data import Subset, TensorDataset

from skensemble._arguments import naming
from skensemble._data.rows import FitData


class _Kept(SkorchDataset):
    """The rows of a fit; `X` is gathered only if a split asks for it."""

    def __init__(self, data: FitData, classes: np.ndarray) -> None:
        self._data = data
        self.y = classes[data.y[data.rows]]

    def __len__(self) -> int:
        return len(self._data.rows)

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        return self._data.X[self._data.rows[index]], self.y[index]

    @property
    def X(self) -> Any:
        """The inputs as they arrived."""
        return self._data.X[self._data.rows]


def apply_split(
    split: Any, data: FitData, classes: np.ndarray, seed: int, other_rows: bool, owner: str
) -> FitData:
    """Return the data to train on, with what is held out.

    A split is given a dataset of inputs and labels as they came to `fit`. It returns
    ``Subset``s of it, or datasets that hold rows of their own, each to be used as it is.

    Parameters
    ----------
    split : callable
        skorch's ``train_split``.
    data : FitData
        The rows of the fit.
    classes : ndarray of shape (n_classes,)
        The labels.
    seed : int
        For a split that would draw from NumPy's global generator.
    other_rows : bool
        Whether the fit can train on rows that are not those of `X`.
    owner : str
        Whose fit it is, for errors.
    """
    kept = _Kept(data, classes)
    held_out = None
    with naming("train_split", "split the rows of the fit into two"):
        train, valid = _seeded_split(split, seed)(kept, kept.y)
        if valid is not None:
            at = _rows_in(valid, kept)
            held_out = _own_rows(valid, data, classes) if at is None else replace(data, rows=at)
        at = _rows_in(train, kept)
    if at is not None and not len(at):
        raise ValueError("The 'train_split' of the net must leave rows to train on. Got none.")
    if held_out is not None and not len(held_out.rows):
        raise ValueError(
            "The 'train_split' of the net must hold out at least one row, or return None in the "
            "place of held-out rows. Got none of them."
        )
    if at is None:
        _check_other_rows(data, other_rows, owner)
        return replace(_own_rows(train, data, classes), valid=held_out)
    return replace(data, rows=at, valid=held_out)


def _rows_in(dataset: Any, kept: _Kept) -> np.ndarray | None:
    """Return which rows of the fit a dataset is made of, or None where it has its own."""
    if dataset is kept:
        return kept._data.rows
    if not isinstance(dataset, Subset):
        return None
    rows = _rows_in(dataset.dataset, kept)
    return None if rows is None else rows[np.asarray(dataset.indices, dtype=int)]


def _own_rows(dataset: Any, data: FitData, classes: np.ndarray) -> FitData:
    """Take the rows that a dataset holds, checked against those of the fit."""
    X, labels = _arrays(dataset)
    is_bytes = getattr(X, "dtype", None) == np.uint8
    X = check_array(X, dtype=None if is_bytes else [np.float64, np.float32], allow_nd=True)
    if X.shape[1:] != data.X.shape[1:]:
        raise ValueError(
            f"The rows of train_split must have the shape of those of X, {data.X.shape[1:]}. "
            f"Got {X.shape[1:]} instead."
        )
    if labels.shape != (len(X),):
        raise ValueError(
            f"The labels of train_split must have one entry a row, here ({len(X)},). "
            f"Got {labels.shape} instead."
        )
    at = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    if not np.array_equal(classes[at], labels):
        unknown = sorted(set(labels.tolist()) - set(classes.tolist()))
        raise ValueError(f"The rows of train_split have labels that y has not: {unknown}.")
    return FitData(X, at.astype(np.int64), None, np.arange(len(X)))


def _arrays(dataset: Any) -> tuple[Any, np.ndarray]:
    """Return inputs and labels of a dataset that has them as arrays."""
    X: Any
    y: Any
    if isinstance(dataset, Subset):
        X, y = _arrays(dataset.dataset)
        return X[np.asarray(dataset.indices)], y[np.asarray(dataset.indices)]
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) == 2:
        X, y = dataset.tensors
    else:
        X, y = getattr(dataset, "X", None), getattr(dataset, "y", None)
    if X is None or y is None:
        raise ValueError(
            "The 'train_split' of the net must return Subsets of the dataset it is given, or "
            "datasets with arrays, such as skorch.dataset.Dataset(X, y) and "
            f"TensorDataset(X, y). Got a {type(dataset).__name__} without X and y instead."
        )
    X, y = (one.detach().cpu() if isinstance(one, torch.Tensor) else one for one in (X, y))
    return np.asarray(X), np.asarray(y)


def _check_other_rows(data: FitData, other_rows: bool, owner: str) -> None:
    if other_rows and data.weight is None:
        return
    why = "the weights" if other_rows else "what a teacher or a kernel says"
    raise ValueError(
        "The 'train_split' of the net must return a Subset of the dataset it is given to train "
        f"on, since {why} in {owner} belong to the rows of X. Got other rows instead; pass "
        "them to fit, and hold rows out with skorch.helper.predefined_split."
    )


def _seeded_split(split: Any, seed: int) -> Any:
    """Give a split that would draw from NumPy's global generator a seed of ours."""
    split = copy.deepcopy(split)
    owner: Any
    for owner in (split, getattr(split, "cv", None)):
        draws = not hasattr(owner, "shuffle") or owner.shuffle
        if draws and getattr(owner, "random_state", 0) is None:
            owner.random_state = seed
    return split
