"""Which rows the members of a stack see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from skorch.dataset import Dataset
from torch import Tensor

from skensemble._data.batches import TrainingData


class Split(Dataset):
    """The rows of a data set that the members may see; to skorch's callbacks, a dataset.

    Parameters
    ----------
    data : TrainingData
        The rows and their labels.
    runs : sequence of Tensor of shape (n_members or 1, n_rows)
        Which rows each member sees, members with equally many in one tensor; one row of it where
        all see the same.
    """

    def __init__(self, data: TrainingData, runs: Sequence[Tensor]) -> None:
        self.data = data
        self.runs = runs

    def __len__(self) -> int:
        return self.runs[0].shape[1]

    @property
    def X(self) -> np.ndarray:
        """The first member's inputs, as they arrived."""
        return np.asarray(self.data.rows.array[self.runs[0][0].numpy()])

    @property
    def y(self) -> np.ndarray:
        """The first member's class indices."""
        return self.data.y.cpu()[self.runs[0][0]].numpy()
