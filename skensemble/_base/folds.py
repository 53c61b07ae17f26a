"""Folds that members hold out, one each: the one place where rows are dealt to members.

What a member has not seen serves its early stopping, and all members' together the calibration
of the ensemble and whatever else wants honest words on training rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from sklearn.model_selection import check_cv

from skensemble._arguments import naming
from skensemble._data.rows import FitData
from skensemble._seeding import Purpose, purpose_seed

# Folds where nobody says how many: each member of an ensemble of ten has its own, and of fewer
# members each sees less, so that together they leave out more.
_MANY_FOLDS, _FEW_FOLDS = 10, 5


@dataclass(frozen=True)
class Folds:
    """Rows that are trained on and held out, member by member.

    Attributes
    ----------
    train, held_out : tuple of ndarray of int
        Row numbers, one array a member.
    n_folds : int
        Folds in each round.
    """

    train: tuple[np.ndarray, ...]
    held_out: tuple[np.ndarray, ...]
    n_folds: int

    def of(self, data: FitData, number: int) -> FitData:
        """Return the data of one member."""
        valid = replace(data, rows=self.held_out[number], valid=None)
        return replace(data, rows=self.train[number], valid=valid)


def make_folds(
    cross_fit: Any,
    n_members: int,
    data: FitData,
    groups: Any,
    seed: int,
    name: str = "cross_fit",
) -> Folds:
    """Deal the rows of a fit to folds; member m holds out fold ``m mod k``.

    Where there are more members than folds, rows are dealt anew for each round of k members. The
    first members' folds do not depend on how many members follow.

    Parameters
    ----------
    cross_fit : "auto", int or splitter
        How many folds, or scikit-learn's splitter. Numbers make folds that hold each class's
        rows evenly and have one size: where rows are short, a fold has one that another has too.
    n_members : int
        Members.
    data : FitData
        The rows of the fit.
    groups : array-like of shape (n_samples,) or None
        Of all rows of `data`, for a splitter that may ask for them.
    seed : int
        What the dealing is drawn from.
    name : str, default="cross_fit"
        The parameter that holds `cross_fit`, for errors.
    """
    rows, y = data.rows, data.y[data.rows]
    if not is_splitter(cross_fit):
        k = _how_many(cross_fit, n_members, len(rows))
        parts = list(islice(_dealt(y, k, seed), n_members))
    else:
        own = None if groups is None else check_groups(groups, len(data.X))[rows]
        with naming(name, "be able to split the rows"):
            splits = list(check_cv(cross_fit).split(np.empty((len(rows), 1)), y, own))
        k = len(splits)
        parts = [splits[number % len(splits)] for number in range(n_members)]
    found = [(rows[train], rows[held_out]) for train, held_out in parts]
    for train, held_out in found:
        if len(train) == 0 or len(held_out) == 0:
            raise ValueError(
                f"The folds of cross_fit={cross_fit!r} must hold out rows and leave some. Got "
                f"{len(held_out)} held out and {len(train)} left."
            )
    train, held_out = zip(*found, strict=True)
    return Folds(train, held_out, k)


def is_splitter(cross_fit: Any) -> bool:
    """Whether folds are dealt by a splitter, which alone can mind groups."""
    return cross_fit is not None and not isinstance(cross_fit, str | int | np.integer)


def require_splitter(cross_fit: Any, groups: Any) -> None:
    """Refuse groups that no splitter would keep together."""
    if groups is not None and not is_splitter(cross_fit):
        raise ValueError(
            "The 'groups' of fit need a splitter as 'cross_fit', such as GroupKFold(5), since all "
            f"else holds rows out one by one. Got cross_fit={cross_fit!r} instead."
        )


def check_groups(groups: Any, n_rows: int) -> np.ndarray:
    """Return groups as an array, of one entry a row."""
    with naming("groups", "be one label a row"):
        groups = np.asarray(groups)
    if groups.shape != (n_rows,):
        raise ValueError(
            f"The 'groups' of fit must have one entry a row, here ({n_rows},). "
            f"Got {groups.shape} instead."
        )
    return groups


def _how_many(cross_fit: Any, n_members: int, n_rows: int) -> int:
    if cross_fit == "auto":
        folds = _FEW_FOLDS if 1 < n_members < _MANY_FOLDS else _MANY_FOLDS
        return max(2, min(folds, n_rows))
    if cross_fit > n_rows:
        raise ValueError(
            f"The 'cross_fit' must be at most the number of rows, {n_rows}. "
            f"Got {cross_fit} instead."
        )
    return int(cross_fit)


def _dealt(y: np.ndarray, k: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows left and rows held out, round after round of `k` stratified folds."""
    everything, size = np.arange(len(y)), -(-len(y) // k)
    turn = 0
    while True:
        rng = np.random.default_rng([purpose_seed(seed, Purpose.FOLDS), turn])
        # Cards are dealt class by class, so that each fold gets its share of each.
        shuffled = rng.permutation(len(y))
        order = shuffled[np.argsort(y[shuffled], kind="stable")]
        for fold in range(k):
            held_out = order[fold::k]
            left = np.setdiff1d(everything, held_out)
            if len(held_out) < size:
                more = rng.choice(left, size - len(held_out), replace=False)
                held_out, left = np.append(held_out, more), np.setdiff1d(left, more)
            yield left, np.sort(held_out)
        turn += 1
