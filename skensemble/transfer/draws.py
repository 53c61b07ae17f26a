"""Random numbers that are functions of a row's number, so that rows are made in any order."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from scipy.special import ndtri

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = 2**64 - 1


class Use(IntEnum):
    """What a random number of a row is for."""

    PARTNER = 0
    SHARE = 1
    CHOICE = 2
    JITTER = 3


def _scrambled(x: np.ndarray) -> np.ndarray:
    """Scramble 64 bits in place, as splitmix64 does (Steele, Lea and Flood, 2014)."""
    x ^= x >> np.uint64(30)
    x *= np.uint64(_FIRST)
    x ^= x >> np.uint64(27)
    x *= np.uint64(_SECOND)
    x ^= x >> np.uint64(31)
    return x


def _key(*parts: int) -> np.uint64:
    """Return where the sequence of a seed, a use and a column starts."""
    key = np.zeros(1, np.uint64)
    for part in parts:
        key = _scrambled((key + np.uint64(_GOLDEN)) ^ np.uint64(part & _MASK))
    return key[0]


class Draws:
    """Random numbers by the row's number, what they are for, and the column.

    Parameters
    ----------
    seed : int
        Of all of them.

    Examples
    --------
    >>> draws, index = Draws(0), np.array([7, 3])
    >>> bool(draws.uniform(index, Use.CHOICE)[1] == draws.uniform(index[1:], Use.CHOICE)[0])
    True
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def uniform(self, index: np.ndarray, use: Use, column: int = 0) -> np.ndarray:
        """Return numbers between 0 and 1, both excluded, in the shape of `index`."""
        # An array on the left: scalars would warn where they wrap around, arrays do not.
        bits = index.astype(np.uint64)
        bits *= np.uint64(_GOLDEN)
        bits += _key(self.seed, use, column)
        bits = _scrambled(bits)
        bits >>= np.uint64(12)
        # A half more is exact in 53 bits, and never 0 nor 1.
        return (bits + 0.5) * 2.0**-52

    def normal(self, index: np.ndarray, use: Use, column: int = 0) -> np.ndarray:
        """Return standard normal numbers."""
        return ndtri(self.uniform(index, use, column))

    def below(self, n: int, index: np.ndarray, use: Use, column: int = 0) -> np.ndarray:
        """Return integers of at least 0 and less than `n`."""
        return (self.uniform(index, use, column) * n).astype(np.int64)
