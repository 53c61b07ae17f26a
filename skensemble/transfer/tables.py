"""Tables in any container: rows taken column by column, and numbers put in between.

Continuous is a column of floats that are not all integers. Values of other columns are only
ever taken as they stand, so that none is new and dtypes stay.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import gen_batches

from skensemble._arguments import as_numpy, naming
from skensemble._tables.columns import frame_kind

__all__ = ["ArrayTable", "Table", "chunks_of", "is_table", "read_rows", "read_table", "take_rows"]

_BLOCK = 8192
# What an object column of floats may hold; a boolean is none of them.
_FLOATS = (float, np.floating, int, np.integer, type(None))


# -- containers ----------------------------------------------------------------------------


def read_rows(X: Any) -> Any:
    """Return rows as they are, or as an array where they are neither that nor a frame."""
    with naming("X", "be a data frame or an array"):
        return _read_rows(as_numpy(X))


def _read_rows(X: Any) -> Any:
    if issparse(X):
        raise ValueError("The 'X' must be dense. Got a sparse array instead; use X.toarray().")
    if frame_kind(X) is None and not (hasattr(X, "shape") and hasattr(X, "dtype")):
        array = np.asarray(X)
        # Numbers among strings would become strings.
        X = np.array(X, dtype=object) if array.dtype.kind in "US" else array
    if len(X.shape) < 2 or 0 in X.shape:
        raise ValueError(
            "The 'X' must be a data frame or an array of shape (n_samples, ...), with rows and "
            f"columns. Got shape {tuple(X.shape)} instead."
        )
    return X


def is_table(X: Any) -> bool:
    """Tell a table from images and the like."""
    return len(X.shape) == 2


def read_table(X: Any, owner: str) -> Table:
    """Return a table of rows that are in memory, or are read into it."""
    X = read_rows(X)
    if not is_table(X):
        raise ValueError(
            f"The 'X' of {owner} must be a table of shape (n_samples, n_features). Got shape "
            f"{tuple(X.shape)} instead; Mixup and Noise are for images too."
        )
    kind = frame_kind(X)
    if kind is None:
        return ArrayTable(np.asarray(X[:]))
    return _PandasTable(X) if kind == "pandas" else _PolarsTable(X)


def take_rows(array: Any, rows: np.ndarray) -> np.ndarray:
    """Return rows of an array or of a store, of which no others are read."""
    if isinstance(array, np.ndarray):
        return np.asarray(array[rows])
    # Stores on disk want increasing row numbers without repeats.
    unique, inverse = np.unique(rows, return_inverse=True)
    return np.asarray(array[unique])[inverse]


def chunks_of(array: Any) -> Any:
    """Yield consecutive rows of an array or a store."""
    for rows in gen_batches(array.shape[0], _BLOCK):
        yield np.asarray(array[rows])


# -- what columns hold ---------------------------------------------------------------------


def _spans(block: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which columns have fractions, and their lowest and highest finite values."""
    finite = np.isfinite(block)
    fractions = (finite & (block != np.floor(block))).any(0)
    low = np.where(finite, block, np.inf).min(0, initial=np.inf)
    return fractions, low, np.where(finite, block, -np.inf).max(0, initial=-np.inf)


def _floats(values: np.ndarray) -> np.ndarray | None:
    """Return a column of floats, or of objects that are floats, as float64; else None."""
    if values.dtype.kind == "f":
        return values.astype(np.float64, copy=False)
    if values.dtype.kind != "O":
        return None
    types = set(map(type, values))
    if bool in types or not all(issubclass(one, _FLOATS) for one in types):
        return None
    try:
        return values.astype(np.float64)
    except OverflowError:
        return None


class Table(ABC):
    """Rows of a container, by column.

    Attributes
    ----------
    n_rows, n_columns : int
        The shape.
    continuous : ndarray of bool of shape (n_columns,)
        Columns whose numbers may be new ones.
    low, high : ndarray of shape (n_columns,)
        Range of the finite numbers of those.
    """

    def __init__(self, n_rows: int, n_columns: int) -> None:
        self.n_rows, self.n_columns = n_rows, n_columns
        self.continuous = np.zeros(n_columns, bool)
        self.low, self.high = np.full(n_columns, np.inf), np.full(n_columns, -np.inf)

    def _see(self, at: Any, block: np.ndarray) -> None:
        """Take note of some values of some columns."""
        fractions, low, high = _spans(block)
        self.continuous[at] |= fractions
        self.low[at] = np.minimum(self.low[at], low)
        self.high[at] = np.maximum(self.high[at], high)

    def at_hand(self, *rows: np.ndarray) -> tuple[Table, tuple[np.ndarray, ...]]:
        """Return a table that has some rows close by, and their numbers there."""
        return self, rows

    @abstractmethod
    def some(self, rows: np.ndarray) -> Any:
        """Return rows in the container."""

    @abstractmethod
    def numbers(self, at: int, rows: Any) -> np.ndarray:
        """Return rows of a continuous column as float64, with NaN where one is missing."""

    @abstractmethod
    def taken(self, at: int, rows: np.ndarray) -> Any:
        """Return rows of a column as the container holds them, a copy."""

    @abstractmethod
    def replaced(self, column: Any, where: np.ndarray, numbers: np.ndarray) -> Any:
        """Return a taken column with numbers in some of its places."""

    @abstractmethod
    def built(self, columns: list[Any]) -> Any:
        """Return taken columns in the container."""


class ArrayTable(Table):
    """An array, or a store of rows, of shape ``(n_rows, n_columns)``."""

    def __init__(self, array: Any, like: Table | None = None) -> None:
        super().__init__(*array.shape)
        self.array = array
        if like is not None:
            self.continuous, self.low, self.high = like.continuous, like.low, like.high
            return
        kind = np.asarray(array[:1]).dtype.kind
        for chunk in chunks_of(array) if kind == "f" else ():
            self._see(slice(None), chunk)
        for at in range(self.n_columns) if kind == "O" else ():
            values = _floats(array[:][:, at])
            if values is not None:
                self._see(at, values)

    def at_hand(self, *rows: np.ndarray) -> tuple[Table, tuple[np.ndarray, ...]]:
        near = np.concatenate([take_rows(self.array, one) for one in rows])
        places = np.split(np.arange(len(near)), np.cumsum([len(one) for one in rows])[:-1])
        return ArrayTable(near, like=self), tuple(places)

    def some(self, rows: np.ndarray) -> np.ndarray:
        return take_rows(self.array, rows)

    def numbers(self, at: int, rows: Any) -> np.ndarray:
        return self.array[rows, at].astype(np.float64)

    def taken(self, at: int, rows: np.ndarray) -> np.ndarray:
        return self.array[rows, at]

    def replaced(self, column: np.ndarray, where: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        column[where] = numbers
        return column

    def built(self, columns: list[np.ndarray]) -> np.ndarray:
        out = np.empty((len(columns[0]), len(columns)), self.array.dtype)
        for at, column in enumerate(columns):
            out[:, at] = column
        return out


class _FrameTable(Table):
    """A data frame, whose columns of floats are at hand as float64."""

    def __init__(self, frame: Any) -> None:
        super().__init__(*frame.shape)
        self.frame = frame
        self._numbers: dict[int, np.ndarray] = {}
        for at in range(self.n_columns):
            values = self._floats(at)
            if values is not None:
                self._see(at, values)
                if self.continuous[at]:
                    self._numbers[at] = values

    @abstractmethod
    def _floats(self, at: int) -> np.ndarray | None:
        """Return a column of floats as float64, None for others."""

    def numbers(self, at: int, rows: Any) -> np.ndarray:
        return self._numbers[at][rows]


class _PandasTable(_FrameTable):
    def _floats(self, at: int) -> np.ndarray | None:
        series = self.frame.iloc[:, at]
        dtype = series.dtype
        if isinstance(dtype, np.dtype):
            return _floats(series.to_numpy())
        # Categories of floats are categories, whose dtype is of the kind "O".
        return series.to_numpy(np.float64, na_value=np.nan) if dtype.kind == "f" else None

    def some(self, rows: np.ndarray) -> Any:
        return self.frame.iloc[rows]

    def taken(self, at: int, rows: np.ndarray) -> Any:
        return self.frame.iloc[:, at].take(rows).reset_index(drop=True)

    def replaced(self, column: Any, where: np.ndarray, numbers: np.ndarray) -> Any:
        new, stays = np.zeros(len(column)), np.ones(len(column), bool)
        new[where], stays[where] = numbers, False
        pandas = sys.modules["pandas"]
        return column.where(stays, pandas.Series(new).astype(column.dtype))

    def built(self, columns: list[Any]) -> Any:
        # Under numbers first, as names may repeat.
        frame = sys.modules["pandas"].DataFrame(dict(enumerate(columns)), copy=False)
        frame.columns = self.frame.columns
        return frame


class _PolarsTable(_FrameTable):
    def _floats(self, at: int) -> np.ndarray | None:
        series = self.frame[:, at]
        if not series.dtype.is_float():
            return None
        return series.cast(sys.modules["polars"].Float64).to_numpy()

    def some(self, rows: np.ndarray) -> Any:
        return self.frame[rows]

    def taken(self, at: int, rows: np.ndarray) -> Any:
        return self.frame[:, at].gather(rows)

    def replaced(self, column: Any, where: np.ndarray, numbers: np.ndarray) -> Any:
        new, changes = np.zeros(len(column)), np.zeros(len(column), bool)
        new[where], changes[where] = numbers, True
        polars = sys.modules["polars"]
        return (
            polars.Series(column.name, new)
            .cast(column.dtype)
            .zip_with(polars.Series(changes), column)
        )

    def built(self, columns: list[Any]) -> Any:
        return sys.modules["polars"].DataFrame(columns)
