"""Rows that are images, or other arrays of more than one axis: all of their numbers alike."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from skensemble.transfer.base import Source
from skensemble.transfer.tables import take_rows


class ImageSource(Source):
    """Altered images in the dtype of those in training; integers are rounded.

    Parameters
    ----------
    array : array or store of shape (n_samples, ...)
        The training rows, read as they are asked for.
    seed : int
        Of everything that is drawn.
    """

    def __init__(self, array: Any, seed: int) -> None:
        super().__init__(array.shape[0], seed)
        self.array = array
        self.dtype = np.asarray(array[:1]).dtype
        if self.dtype.kind not in "uif":
            raise ValueError(
                "An 'X' with more than two axes must hold integers or floats. Got dtype "
                f"{self.dtype} instead."
            )

    def _made(self, index: np.ndarray, place: np.ndarray) -> np.ndarray:
        rows = take_rows(self.array, self.order[place])
        rows = rows.astype(np.result_type(self.dtype, np.float32), copy=False)
        altered = self._altered(rows, index, place)
        return (altered if self.dtype.kind == "f" else np.rint(altered)).astype(self.dtype)

    @abstractmethod
    def _altered(self, rows: np.ndarray, index: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Return what becomes of some rows, in a floating dtype of at least 32 bits."""
