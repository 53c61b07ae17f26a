"""Rows like the training rows, on which students learn from the teacher alone.

They are made by a sampler, row by row from its number, so that many of them need no memory:
what students read of them is made as batches ask for it, unless it is small enough to be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
from scipy.sparse import issparse
from sklearn.utils import _safe_indexing, gen_batches

from skensemble._data.rows import FitData
from skensemble._fits.given import Given
from skensemble.transfer import Sampler

__all__ = ["TransferRows", "count_transfer", "make_transfer", "training_rows"]

# As many rows as there are nine times over are enough for a small table; a large one has many.
_TIMES, _ENOUGH, _LARGE_SHARE = 9, 18_000, 0.5
# The share of the rows that tells when a student agrees with its teacher, within bounds.
_HELD_OUT, _MOST_HELD_OUT = 0.1, 2_000
# Of what students read; more is made again for every batch.
_KEPT_BYTES = 256 << 20
_CHUNK_ROWS = 4096


def count_transfer(size: Any, n_rows: int) -> int:
    """Return how many rows are made: `size` times the training rows, or by a rule."""
    if size != "auto":
        return max(1, round(float(size) * n_rows))
    return int(min(_TIMES * n_rows, max(_ENOUGH, _LARGE_SHARE * n_rows)))


@dataclass(frozen=True, eq=False)
class TransferRows:
    """Rows of a sampler, as a teacher is asked about them and as students read them.

    Attributes
    ----------
    raw : callable
        Maps numbers of rows to rows in the container of the training rows.
    read : callable
        Maps these to the array that students see.
    shape : tuple of int
        Of that array, with all rows.
    dtype : dtype
        Of that array.
    """

    raw: Callable[[np.ndarray], Any]
    read: Callable[[Any], np.ndarray]
    shape: tuple[int, ...]
    dtype: Any

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        at = np.arange(len(self))[index]
        if len(at) == 0:
            return np.empty((0, *self.shape[1:]), self.dtype)
        return np.asarray(self.read(self.raw(at)), self.dtype)

    def chunks(self) -> Iterator[Any]:
        """Yield all rows as a teacher is asked about them."""
        for part in gen_batches(len(self), _CHUNK_ROWS):
            yield self.raw(np.arange(part.start, part.stop))

    @property
    def n_held_out(self) -> int:
        """How many of the last rows are not learned."""
        return max(1, min(round(_HELD_OUT * len(self)), _MOST_HELD_OUT, len(self) - 1))

    def kept(self) -> Any:
        """Return the array that students read, in memory where that is small."""
        if int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize > _KEPT_BYTES:
            return self
        parts = [np.asarray(self.read(chunk), self.dtype) for chunk in self.chunks()]
        return np.concatenate(parts)


def training_rows(X: Any, data: FitData, given: Given, is_raw: bool) -> Any:
    """Return the rows that are trained on, as they came where the teacher must see them so."""
    if issparse(X):
        raise ValueError(
            "With 'transfer' rows are made of those of 'X', which must be dense. Got a sparse "
            "array instead; use transfer=None, or X.toarray() where that has room."
        )
    if hasattr(X, "columns"):
        source = X
    elif is_raw:
        source = X if hasattr(X, "dtype") else np.asarray(X, dtype=object)
    else:
        source = data.X
    if len(data.rows) == source.shape[0]:
        return source
    return given.recall(
        "training rows", lambda: _safe_indexing(source, data.rows), (X,), (joblib.hash(data.rows),)
    )


def make_transfer(
    sampler: Any,
    size: Any,
    rows: Any,
    seed: int,
    read: Callable[[Any], np.ndarray],
) -> TransferRows:
    """Return rows that a sampler makes of training rows.

    Parameters
    ----------
    sampler : Sampler, or object with a method ``sample(X, n, random_state)``
        An object's rows are made at once, and kept.
    size : float or "auto"
        How many times the training rows.
    rows : DataFrame or array
        The training rows.
    seed : int
        What is drawn.
    read : callable
        How students read rows.
    """
    n_more = count_transfer(size, rows.shape[0])
    if isinstance(sampler, Sampler):
        raw = sampler.over(rows, seed).rows
    else:
        made = sampler.sample(rows, n_more, seed)
        n_made = getattr(made, "shape", (None,))[0]
        if not n_made:
            raise ValueError(
                f"The 'transfer' {type(sampler).__name__} must return rows from sample(X, n, "
                f"random_state). Got {type(made).__name__} of shape {np.shape(made)} instead."
            )
        n_more = int(n_made)

        def raw(index: np.ndarray) -> Any:
            return _safe_indexing(made, index)

    first = read(raw(np.arange(1)))
    return TransferRows(raw, read, (n_more, *first.shape[1:]), first.dtype)
