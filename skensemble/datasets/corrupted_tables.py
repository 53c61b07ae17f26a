"""Tables as they are met outside of the training set."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

import numpy as np

from skensemble._arguments import as_numpy, naming
from skensemble._private import Interval, StrOptions, validate_params
from skensemble._seeding import numbered, root_seed

__all__ = ["TABLE_CORRUPTIONS", "corrupt_table"]

# At severities 1 to 5: in standard deviations of a column, and as shares of its cells.
_LEVELS: dict[str, tuple[float, ...]] = {
    "noise": (0.1, 0.25, 0.5, 0.75, 1.0),
    "missing": (0.05, 0.1, 0.2, 0.3, 0.5),
    "shift": (0.1, 0.25, 0.5, 0.75, 1.0),
    "permute": (0.05, 0.1, 0.2, 0.3, 0.5),
}

#: Names of the corruptions of `corrupt_table`.
TABLE_CORRUPTIONS: tuple[str, ...] = tuple(_LEVELS)


@validate_params(
    {
        "corruption": [StrOptions(set(TABLE_CORRUPTIONS))],
        "severity": [Interval(numbers.Integral, 1, 5, closed="both")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def corrupt_table(X: Any, corruption: str, *, severity: int = 3, random_state: Any = None) -> Any:
    """Corrupt the columns of a table, to see what a classifier makes of it.

    Parameters
    ----------
    X : array-like or DataFrame of pandas, of shape (n_samples, n_features)
        Numbers, of which some may be missing; a frame may have other columns too.
    corruption : {"noise", "missing", "shift", "permute"}
        Gaussian noise of 0.1, 0.25, 0.5, 0.75 or 1 standard deviation of the column; a share of
        0.05, 0.1, 0.2, 0.3 or 0.5 of the cells missing; columns shifted up or down by as
        many deviations as the noise has; or as large a share of each column's cells permuted
        among themselves as would be missing.
    severity : int, default=3
        From 1 to 5.
    random_state : int, RandomState instance or None, default=None
        Seed; each column draws by itself.

    Returns
    -------
    ndarray or DataFrame of the shape of `X`
        A copy. Numbers become floats, of 32 bits where they were; in a frame columns of categories,
        booleans and dates stay as they are, but for "missing".

    Examples
    --------
    >>> import numpy as np
    >>> from skensemble.datasets import corrupt_table
    >>> X = np.arange(20.0).reshape(10, 2)
    >>> int(np.isnan(corrupt_table(X, "missing", severity=5, random_state=0)).sum())
    8
    """
    root, level = root_seed(random_state), _LEVELS[corruption][severity - 1]
    kind = _KINDS[corruption]

    def altered(values: np.ndarray, number: int) -> np.ndarray:
        if np.isinf(values).any():
            raise ValueError(
                "The 'X' must have finite numbers, or NaN where one is missing. Got infinity in "
                f"column {number}."
            )
        return kind(values, level, numbered(root, number))

    if hasattr(X, "isetitem"):  # of pandas
        return _in_frame(X, altered, corruption == "missing")
    if hasattr(X, "columns"):
        module = type(X).__module__.partition(".")[0]
        raise TypeError(
            f"The 'X' must be an array or a DataFrame of pandas. Got {module}'s {type(X).__name__}."
        )
    with naming("X", "be a table of numbers"):
        X = np.array(as_numpy(X))
        X = X if X.dtype == np.float32 else X.astype(np.float64)
    if X.ndim != 2:
        raise ValueError(
            f"The 'X' must be a table of shape (n_samples, n_features). Got shape {X.shape}."
        )
    for number in range(X.shape[1]):
        X[:, number] = altered(X[:, number], number)
    return X


def _in_frame(X: Any, altered: Callable[[np.ndarray, int], np.ndarray], everywhere: bool) -> Any:
    X = X.copy()
    for number, dtype in enumerate(X.dtypes):
        column = X.iloc[:, number]
        if getattr(dtype, "kind", "O") in "iuf":
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
            found = altered(values, number)
            small = dtype == np.float32
            X.isetitem(number, found.astype(np.float32) if small else found)
        elif everywhere:
            gone = np.isnan(altered(np.zeros(len(X)), number))
            X.isetitem(number, column.mask(gone))
    return X


def _deviation(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.std()) if len(known) else 0.0


def _noise(values: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    return values + level * _deviation(values) * rng.normal(size=len(values))


def _missing(values: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    return np.where(rng.uniform(size=len(values)) < level, np.nan, values)


def _shift(values: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    return values + level * _deviation(values) * rng.choice([-1.0, 1.0])


def _permute(values: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    rows = rng.permutation(len(values))[: round(level * len(values))]
    values = values.copy()
    values[rows] = values[np.roll(rows, 1)]  # none keeps its place, and in random order
    return values


_KINDS: dict[str, Callable[..., np.ndarray]] = {
    "noise": _noise,
    "missing": _missing,
    "shift": _shift,
    "permute": _permute,
}
