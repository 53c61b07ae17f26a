"""Rows in between two training rows."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import betaincinv

from skensemble._private import Interval
from skensemble._tables.columns import frame_kind
from skensemble.transfer.base import Sampler, Source
from skensemble.transfer.draws import Draws, Use
from skensemble.transfer.images import ImageSource
from skensemble.transfer.pairs import Pairs, PairSource
from skensemble.transfer.partners import Anyone
from skensemble.transfer.tables import ArrayTable, Table, is_table, read_rows, read_table, take_rows


@dataclass(frozen=True, eq=False)
class Mixup(Sampler):
    r"""Rows in between any two: :math:`\lambda a + (1 - \lambda) b` [1]_.

    One :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)` a row. Columns that are not
    continuous take a with probability :math:`\lambda`, else b. Images are mixed by their pixels,
    and bytes stay bytes. Arrays on disk are read by the rows that are asked for.

    Parameters
    ----------
    alpha : float, default=1.0
        The smaller, the closer rows stay to one of the two; 1 is uniform.

    References
    ----------
    .. [1] Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: beyond empirical risk minimization", 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from skensemble.transfer import Mixup
    >>> Mixup().sample(np.array([[0.5, 1], [1.5, 2]]), 2, random_state=0).round(2).shape
    (2, 2)
    """

    alpha: float = 1.0

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "alpha": [Interval(numbers.Real, 0, None, closed="neither")],
    }

    def over(self, X: Any, seed: int) -> Source:
        X = read_rows(X)
        if not is_table(X):
            return _MixedImages(X, seed, self.alpha)
        table = ArrayTable(X) if frame_kind(X) is None else read_table(X, "Mixup")
        return _Mixed(table, seed, self.alpha)


@dataclass(frozen=True, eq=False)
class Interpolate(Sampler):
    r"""Rows in between one and a near one, as SMOTE makes them [1]_.

    As `Mixup` with :math:`\lambda \sim U(0, 1)`, for tables.

    Parameters
    ----------
    n_neighbours : int, default=5
        The neighbour is drawn among so many nearest rows; of more than 20,000 rows, nearest
        among 20,000 of them.

    References
    ----------
    .. [1] Chawla, Bowyer, Hall and Kegelmeyer, "SMOTE: synthetic minority over-sampling
       technique", 2002.

    Examples
    --------
    >>> import numpy as np
    >>> from skensemble.transfer import Interpolate
    >>> Interpolate().sample(np.array([[0.5, 1], [1.5, 2]]), 3, random_state=0).shape
    (3, 2)
    """

    n_neighbours: int = 5

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "n_neighbours": [Interval(numbers.Integral, 1, None, closed="left")],
    }

    def over(self, X: Any, seed: int) -> Source:
        return _Mixed(read_table(X, "Interpolate"), seed, 1.0, self.n_neighbours)


def _shares(alpha: float, index: np.ndarray, draws: Draws) -> np.ndarray:
    """Return how much of each row is the row it starts from."""
    uniform = draws.uniform(index, Use.SHARE)
    return uniform if alpha == 1 else betaincinv(alpha, alpha, uniform)


class _Mixed(PairSource):
    def __init__(
        self, table: Table, seed: int, alpha: float, n_neighbours: int | None = None
    ) -> None:
        super().__init__(table, seed, n_neighbours)
        self.alpha = alpha

    def _columns(self, pairs: Pairs) -> list[Any]:
        share = _shares(self.alpha, pairs.index, pairs.draws)
        return [self._column(pairs, at, share) for at in range(self.table.n_columns)]

    def _column(self, pairs: Pairs, at: int, share: np.ndarray) -> Any:
        table = pairs.table
        column = pairs.chosen(at, pairs.choice(at) >= share)
        if not table.continuous[at]:
            return column
        a, b = table.numbers(at, pairs.source), table.numbers(at, pairs.partner)
        where = np.flatnonzero(np.isfinite(a) & np.isfinite(b))
        a, b, share = a[where], b[where], share[where]
        mixed = np.clip(share * a + (1 - share) * b, np.minimum(a, b), np.maximum(a, b))
        return table.replaced(column, where, mixed)


class _MixedImages(ImageSource):
    def __init__(self, array: Any, seed: int, alpha: float) -> None:
        super().__init__(array, seed)
        self.alpha = alpha
        self.partners = Anyone(self.order)

    def _altered(self, rows: np.ndarray, index: np.ndarray, place: np.ndarray) -> np.ndarray:
        share = _shares(self.alpha, index, self.draws).astype(rows.dtype)
        share = share.reshape(-1, *[1] * (rows.ndim - 1))
        others = take_rows(self.array, self.partners.of(index, place, self.draws))
        return share * rows + (1 - share) * others.astype(rows.dtype, copy=False)
