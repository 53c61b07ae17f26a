"""Which other training row a transfer row is made of."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

from skensemble._tables.preprocessor import TablePreprocessor
from skensemble.transfer.draws import Draws, Use
from skensemble.transfer.tables import Table

# Neighbours are looked for among so many rows, so that time is not quadratic in all of them.
_MOST_CANDIDATES = 20_000
_BLOCK = 1024
# In more dimensions a tree of 20,000 points is slower than all distances.
_MOST_OF_TREE = 6


class Anyone:
    """Any row but the one itself.

    Parameters
    ----------
    order : ndarray of int of shape (n_rows,)
        The rows that places stand for.
    """

    def __init__(self, order: np.ndarray) -> None:
        self.order = order

    def of(self, index: np.ndarray, place: np.ndarray, draws: Draws) -> np.ndarray:
        """Return the partners of rows at some places of the order."""
        n_rows = len(self.order)
        if n_rows == 1:
            return self.order[place]
        away = 1 + draws.below(n_rows - 1, index, Use.PARTNER)
        return self.order[(place + away) % n_rows]


class Nearest:
    """One of the nearest rows, found in blocks of the order when first asked for.

    A block is the same whichever of its rows is asked for, to the last bit of a distance. The
    distance is that of numbers in units of the distance of their quartiles, and 1 between two
    categories.

    Parameters
    ----------
    table : Table
        The training rows.
    order : ndarray of int of shape (n_rows,)
        The rows that places stand for.
    n_neighbours : int
        How many there are to draw from.
    """

    def __init__(self, table: Table, order: np.ndarray, n_neighbours: int) -> None:
        self.table, self.order = table, order
        n_rows = len(order)
        # The order is random; so are its first rows.
        self.candidates = order[:_MOST_CANDIDATES]
        self.n_neighbours = min(n_neighbours, len(self.candidates) - 1)
        # No more than 500 flags a column.
        least = max(2, min(10, n_rows // 100), n_rows // 500)
        self._encoder = TablePreprocessor(min_count=least).fit(table.some(np.arange(n_rows)))
        self._units = _flag_units(self._encoder)
        encoded = self._encoded(self.candidates)
        algorithm = "kd_tree" if encoded.shape[1] <= _MOST_OF_TREE else "brute"
        self._search = NearestNeighbors(algorithm=algorithm).fit(encoded)
        self._found = np.full((n_rows, self.n_neighbours), -1, np.int32)
        self._is_found = np.zeros(-(-n_rows // _BLOCK), bool)

    def _encoded(self, rows: np.ndarray) -> np.ndarray:
        encoded = self._encoder.transform(self.table.some(rows))
        encoded[:, encoded.shape[1] - len(self._units) :] *= self._units
        # Where all columns are constant all rows are equally near.
        return encoded if encoded.shape[1] else np.zeros((len(rows), 1), np.float32)

    def _find(self, block: int) -> None:
        here = slice(block * _BLOCK, (block + 1) * _BLOCK)
        rows = self.order[here]
        at = self._search.kneighbors(
            self._encoded(rows), self.n_neighbours + 1, return_distance=False
        )
        near = self.candidates[at]
        # The row itself goes last, and then the last one goes.
        last = np.argsort(near == rows[:, None], axis=1, kind="stable")
        self._found[here] = np.take_along_axis(near, last, 1)[:, : self.n_neighbours]
        self._is_found[block] = True

    def of(self, index: np.ndarray, place: np.ndarray, draws: Draws) -> np.ndarray:
        """Return the partners of rows at some places of the order."""
        if self.n_neighbours == 0:
            return self.order[place]
        blocks = np.unique(place // _BLOCK)
        for block in blocks[~self._is_found[blocks]]:
            self._find(int(block))
        which = draws.below(self.n_neighbours, index, Use.PARTNER)
        return self._found[place, which].astype(np.int64)


def _flag_units(encoder: TablePreprocessor) -> np.ndarray:
    """Return factors of the flags under which two categories are 1 apart."""
    units: list[float] = []
    columns = zip(encoder.indicators_, encoder.encodings_, encoder.categories_, strict=True)
    for has_missing, encoding, categories in columns:
        units += [1.0] * bool(has_missing)
        units += {"sign": [0.5], "one-hot": [0.5**0.5] * len(categories)}.get(encoding, [])
    return np.array(units, np.float32)
