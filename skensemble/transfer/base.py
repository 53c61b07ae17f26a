"""What every sampler is, and the endless rows it makes of training rows."""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from skensemble._parameters import Parameters
from skensemble._seeding import root_seed
from skensemble.transfer.draws import Draws


class Source(ABC):
    """Transfer rows by number, as many as are asked for; none are kept.

    A row is a function of the training rows, the seed and its own number. Each `n_rows`
    numbers in turn start from every training row once.

    Parameters
    ----------
    n_rows : int
        Number of training rows.
    seed : int
        Of everything that is drawn.
    """

    def __init__(self, n_rows: int, seed: int) -> None:
        self.n_rows = n_rows
        self.draws = Draws(seed)
        self.order = np.random.default_rng(seed % 2**64).permutation(n_rows)

    def rows(self, index: np.ndarray) -> Any:
        """Return the rows of some numbers, in the container of the training rows.

        Parameters
        ----------
        index : ndarray of int of shape (n,)
            Numbers of at least 0, in any order.

        Returns
        -------
        ndarray or DataFrame of n rows
            With the columns and dtypes of the training rows.
        """
        index = np.asarray(index)
        fine = index.ndim == 1 and (index.dtype.kind in "iu" or not index.size)
        if not fine or (index < 0).any():
            raise ValueError(
                "The 'index' must be a one-dimensional array of ints of at least 0. Got dtype "
                f"{index.dtype} and shape {index.shape} instead, or an int below 0."
            )
        index = index.astype(np.int64)
        return self._made(index, index % self.n_rows)

    @abstractmethod
    def _made(self, index: np.ndarray, place: np.ndarray) -> Any:
        """Return the rows of some numbers, which start at some places of the order."""


@dataclass(frozen=True, eq=False)
class Sampler(Parameters, ABC):
    """Abstract sampler of transfer rows.

    Fields are parameters that scikit-learn searches, as ``transfer__swap``.
    """

    @abstractmethod
    def over(self, X: Any, seed: int) -> Source:
        """Return the source of rows made of training rows.

        Parameters
        ----------
        X : DataFrame or array of shape (n_samples, ...)
            Training rows.
        seed : int
            Of everything that is drawn.

        Returns
        -------
        Source
            Endless rows by number.
        """

    def sample(self, X: Any, n: int, random_state: Any = None) -> Any:
        """Return rows made of training rows.

        Parameters
        ----------
        X : DataFrame or array of shape (n_samples, ...)
            Training rows.
        n : int
            How many rows to make.
        random_state : int, RandomState instance or None, default=None
            What is drawn.

        Returns
        -------
        DataFrame or ndarray of n rows
            Rows in the container of `X`, with its columns and dtypes.
        """
        self.check_params()
        if not isinstance(n, numbers.Integral) or isinstance(n, bool) or n < 1:
            raise ValueError(f"The 'n' must be an int of at least 1. Got {n!r} instead.")
        return self.over(X, root_seed(random_state)).rows(np.arange(n))
