"""Sparse rows, which become dense a batch at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse


class SparseRows:
    """Rows of a sparse matrix, read like those of an array store: dense, and as they are asked for.

    Parameters
    ----------
    matrix : sparse matrix or array in CSR format
        The rows, which are not copied.
    """

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix
        self.shape = (int(matrix.shape[0]), int(matrix.shape[1]))
        self.dtype = np.dtype(matrix.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        """Return rows as a dense array."""
        found: np.ndarray = self.matrix[index].toarray()
        return found

    def part(self, index: Any) -> SparseRows:
        """Return rows that stay sparse."""
        return SparseRows(self.matrix[index])

    @property
    def nbytes(self) -> int:
        """How many bytes the rows take as they are."""
        one = self.matrix
        return int(one.data.nbytes + one.indices.nbytes + one.indptr.nbytes)


def part_of(X: Any, index: Any) -> Any:
    """Return rows of an array or store, sparse ones as sparse ones."""
    return X.part(index) if isinstance(X, SparseRows) else X[index]


def below(arrays: list[Any]) -> Any:
    """Put arrays, or sparse rows, below each other."""
    if isinstance(arrays[0], SparseRows):
        return SparseRows(sparse.vstack([one.matrix for one in arrays], format="csr"))
    return np.concatenate(arrays)
