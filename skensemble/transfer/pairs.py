"""Rows of a table that are made of two training rows each, column by column."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from skensemble.transfer.base import Source
from skensemble.transfer.draws import Draws, Use
from skensemble.transfer.partners import Anyone, Nearest
from skensemble.transfer.tables import Table


@dataclass(frozen=True)
class Pairs:
    """What some transfer rows are made of.

    Attributes
    ----------
    index : ndarray of int of shape (n,)
        Their numbers.
    source, partner : ndarray of int of shape (n,)
        The row each starts from, and the other one.
    table : Table
        Which has these rows.
    draws : Draws
        Random numbers.
    """

    index: np.ndarray
    source: np.ndarray
    partner: np.ndarray
    table: Table
    draws: Draws

    def chosen(self, at: int, from_partner: np.ndarray) -> Any:
        """Return a column of which some values are the partner's."""
        return self.table.taken(at, np.where(from_partner, self.partner, self.source))

    def choice(self, at: int) -> np.ndarray:
        """Return the uniform numbers that tell whose value is taken."""
        return self.draws.uniform(self.index, Use.CHOICE, at)


class PairSource(Source):
    """Rows of a table made of two rows each.

    Parameters
    ----------
    table : Table
        The training rows.
    seed : int
        Of everything that is drawn.
    n_neighbours : int or None
        Of how many nearest rows one is the partner; None for any row.
    """

    def __init__(self, table: Table, seed: int, n_neighbours: int | None) -> None:
        super().__init__(table.n_rows, seed)
        self.table = table
        self.partners: Anyone | Nearest = Anyone(self.order)
        if n_neighbours is not None:
            self.partners = Nearest(table, self.order, n_neighbours)

    def _made(self, index: np.ndarray, place: np.ndarray) -> Any:
        partner = self.partners.of(index, place, self.draws)
        table, (source, partner) = self.table.at_hand(self.order[place], partner)
        return table.built(self._columns(Pairs(index, source, partner, table, self.draws)))

    @abstractmethod
    def _columns(self, pairs: Pairs) -> list[Any]:
        """Return the columns of some rows."""
