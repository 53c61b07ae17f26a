"""MUNGE: rows with values of their neighbours."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from skensemble._private import Interval
from skensemble.transfer.base import Sampler, Source
from skensemble.transfer.draws import Use
from skensemble.transfer.pairs import Pairs, PairSource
from skensemble.transfer.tables import Table, read_table


@dataclass(frozen=True, eq=False)
class Munge(Sampler):
    r"""Rows some of whose values are a near row's: MUNGE of Bucila et al. (2006) [1]_.

    Each column takes the neighbour's value with probability `swap`. A continuous one takes
    :math:`N(b, |a - b| / \mathrm{spread})` instead, kept in the column's range, where a is the
    row's own number and b the neighbour's.

    Parameters
    ----------
    swap : float, default=0.5
        Probability with which a column takes the neighbour's value.
    spread : float, default=1.0
        The larger, the closer a continuous column comes to the neighbour's value.
    n_neighbours : int, default=5
        The neighbour is drawn among so many nearest rows; of more than 20,000 rows, nearest
        among 20,000 of them.

    References
    ----------
    .. [1] Bucila, Caruana and Niculescu-Mizil, "Model compression", 2006.

    Examples
    --------
    >>> import pandas as pd
    >>> from skensemble.transfer import Munge
    >>> X = pd.DataFrame({"age": [20, 30, 40], "city": ["Rome", "Oslo", "Oslo"]})
    >>> Munge(swap=0.3).sample(X, 2, random_state=0)
       age  city
    0   40  Oslo
    1   20  Rome
    """

    swap: float = 0.5
    spread: float = 1.0
    n_neighbours: int = 5

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "swap": [Interval(numbers.Real, 0, 1, closed="both")],
        "spread": [Interval(numbers.Real, 0, None, closed="neither")],
        "n_neighbours": [Interval(numbers.Integral, 1, None, closed="left")],
    }

    def over(self, X: Any, seed: int) -> Source:
        return _Munged(self, read_table(X, "Munge"), seed)


class _Munged(PairSource):
    def __init__(self, sampler: Munge, table: Table, seed: int) -> None:
        super().__init__(table, seed, sampler.n_neighbours)
        self.swap, self.spread = sampler.swap, sampler.spread

    def _columns(self, pairs: Pairs) -> list[Any]:
        return [self._column(pairs, at) for at in range(self.table.n_columns)]

    def _column(self, pairs: Pairs, at: int) -> Any:
        table = pairs.table
        swapped = pairs.choice(at) < self.swap
        column = pairs.chosen(at, swapped)
        if not table.continuous[at]:
            return column
        where = np.flatnonzero(swapped)
        a = table.numbers(at, pairs.source[where])
        b = table.numbers(at, pairs.partner[where])
        known = np.isfinite(a) & np.isfinite(b)
        a, b, where = a[known], b[known], where[known]
        noise = pairs.draws.normal(pairs.index[where], Use.JITTER, at)
        with np.errstate(over="ignore"):
            new = b + noise * (np.abs(a - b) / self.spread)
        return table.replaced(column, where, np.clip(new, table.low[at], table.high[at]))
