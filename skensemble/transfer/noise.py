"""Rows with noise."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from skensemble._private import Interval
from skensemble._tables.preprocessor import TablePreprocessor
from skensemble.transfer.base import Sampler, Source
from skensemble.transfer.draws import Use
from skensemble.transfer.images import ImageSource
from skensemble.transfer.tables import Table, chunks_of, is_table, read_rows, read_table, take_rows

# The spread of pixels is that of so many images.
_MOST_IMAGES = 1000


@dataclass(frozen=True, eq=False)
class Noise(Sampler):
    """Rows with noise: the simplest sampler, to compare others with.

    A continuous column gets normal noise and is kept in its range; a value of another column
    is, with probability `scale`, drawn anew from all of the column. Pixels of images get normal
    noise.

    Parameters
    ----------
    scale : float, default=0.1
        Standard deviation of the noise, in units of the distance of the column's quartiles, or
        of half its range where they coincide; of all pixels for images.

    Examples
    --------
    >>> import numpy as np
    >>> from skensemble.transfer import Noise
    >>> Noise(scale=0.0).sample(np.array([[1.5, 2.5]]), 2, random_state=0)
    array([[1.5, 2.5],
           [1.5, 2.5]])
    """

    scale: float = 0.1

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "scale": [Interval(numbers.Real, 0, 1, closed="both")],
    }

    def over(self, X: Any, seed: int) -> Source:
        X = read_rows(X)
        if not is_table(X):
            return _NoisyImages(X, seed, self.scale)
        return _Noisy(read_table(X, "Noise"), seed, self.scale)


def _spread(values: np.ndarray) -> float:
    """Return the scale that tables are read with."""
    values = np.where(np.isfinite(values), values, np.nan).reshape(-1, 1)
    return float(np.nan_to_num(TablePreprocessor().fit(values).scale_[0]))


class _Noisy(Source):
    def __init__(self, table: Table, seed: int, scale: float) -> None:
        super().__init__(table.n_rows, seed)
        self.table, self.scale = table, scale
        self.spreads = {
            at: _spread(table.numbers(at, slice(None)))
            for at in np.flatnonzero(table.continuous).tolist()
        }

    def _made(self, index: np.ndarray, place: np.ndarray) -> Any:
        source = self.order[place]
        columns = [self._column(index, source, at) for at in range(self.table.n_columns)]
        return self.table.built(columns)

    def _column(self, index: np.ndarray, source: np.ndarray, at: int) -> Any:
        table, draws = self.table, self.draws
        if not table.continuous[at]:
            anew = draws.uniform(index, Use.CHOICE, at) < self.scale
            other = draws.below(self.n_rows, index, Use.PARTNER, at)
            return table.taken(at, np.where(anew, other, source))
        values = table.numbers(at, source)
        where = np.flatnonzero(np.isfinite(values))
        noise = draws.normal(index[where], Use.JITTER, at)
        new = values[where] + self.scale * self.spreads[at] * noise
        new = np.clip(new, table.low[at], table.high[at])
        return table.replaced(table.taken(at, source), where, new)


class _NoisyImages(ImageSource):
    def __init__(self, array: Any, seed: int, scale: float) -> None:
        super().__init__(array, seed)
        ranges = [(chunk.min(), chunk.max()) for chunk in chunks_of(array)]
        self.low, self.high = min(low for low, _ in ranges), max(high for _, high in ranges)
        some = np.sort(np.random.default_rng(0).permutation(self.n_rows)[:_MOST_IMAGES])
        self.sd = scale * _spread(take_rows(array, some).astype(np.float64))

    def _altered(self, rows: np.ndarray, index: np.ndarray, place: np.ndarray) -> np.ndarray:
        n_pixels = int(np.prod(rows.shape[1:]))
        pixels = index[:, None] * n_pixels + np.arange(n_pixels)
        noise = self.draws.normal(pixels, Use.JITTER).reshape(rows.shape)
        return np.clip(rows + self.sd * noise, self.low, self.high)
