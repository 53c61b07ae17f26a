"""The rows of a fit, converted to the network's dtype as they are taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skensemble._arguments import naming
from skensemble._data.sparse import SparseRows, below
from skensemble._data.tables import RowTables

# Data up to this share of an accelerator's free memory is moved there once.
_DEVICE_SHARE = 0.25


_CHUNK_ROWS = 4096


class Rows:
    """The rows of `X`, converted to the network's dtype as they are taken.

    Unsigned bytes with more than one axis a sample are images and are scaled to
    [0, 1]; other integers keep their values.

    Parameters
    ----------
    array : array
        Anything with a shape, a dtype and slicing by an array of row numbers.
    dtype : torch.dtype
        Floating dtype of the batches.
    device : str or torch.device
        Where the batches are wanted.
    """

    def __init__(self, array: Any, dtype: torch.dtype, device: str | torch.device = "cpu") -> None:
        self.array = array
        self.dtype = dtype
        with naming("device", "be one that this machine has"):
            self.device = torch.device(device)
            if self.device.type != "cpu":
                torch.empty(0, device=self.device)
        self.scale = 1 / 255 if array.dtype == np.uint8 and len(array.shape) > 2 else None
        self._tensor = self._share()

    def __len__(self) -> int:
        return int(self.array.shape[0])

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return tuple(self.array.shape[1:])

    def _share(self) -> Tensor | None:
        """Wrap the array as a tensor without a copy, or as one copy on the accelerator."""
        array = self.array
        if not (isinstance(array, np.ndarray) and array.flags.writeable):
            return None
        if any(step < 0 for step in array.strides) or not array.dtype.isnative:
            return None
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            free = torch.cuda.mem_get_info(self.device)[0]
            if tensor.nbytes > _DEVICE_SHARE * free:
                return tensor.pin_memory() if not isinstance(array, np.memmap) else tensor
            return tensor.to(self.device)
        return tensor

    def take(self, index: Tensor) -> Tensor:
        """Return the rows of an index of shape ``(member, sample)``, converted."""
        if self._tensor is not None:
            return self._convert(self._tensor[index.to(self._tensor.device)])
        if isinstance(self.array, np.ndarray):
            return self._convert(torch.from_numpy(self.array[index.numpy()]))
        # Stores on disk want increasing row numbers without repeats.
        unique, inverse = np.unique(index.numpy(), return_inverse=True)
        rows = np.asarray(self.array[unique])
        return self._convert(torch.from_numpy(rows[inverse.reshape(tuple(index.shape))]))

    def slice(self, start: int, stop: int) -> Tensor:
        """Return consecutive rows, converted, without a member axis."""
        if self._tensor is not None:
            return self._convert(self._tensor[start:stop])
        return self._convert(torch.from_numpy(np.array(self.array[start:stop])))

    def outside(self, bounds: tuple[float, float]) -> tuple[float, float] | None:
        """Return the range of the first chunk that leaves `bounds`, or None."""
        low, high = bounds
        if self.scale is not None and low <= 0 and high >= 1:
            return None
        for start in range(0, len(self), _CHUNK_ROWS):
            part = self.slice(start, min(start + _CHUNK_ROWS, len(self)))
            if part.min() < low or part.max() > high:
                return float(part.min()), float(part.max())
        return None

    def require_range(self, start: int = 0, stop: int | None = None, name: str = "X") -> None:
        """Refuse numbers of consecutive rows that the dtype has no room for."""
        dtype, limit = np.dtype(self.array.dtype), torch.finfo(self.dtype).max
        if dtype.kind != "f" or np.finfo(dtype).max <= limit:
            return
        stop = len(self) if stop is None else stop
        for at in range(start, stop, _CHUNK_ROWS):
            part = np.asarray(self.array[at : min(at + _CHUNK_ROWS, stop)])
            if part.max(initial=0) <= limit and part.min(initial=0) >= -limit:
                continue
            row, *column = np.argwhere(np.abs(part) > limit)[0].tolist()
            raise ValueError(
                f"{name} must fit into {str(self.dtype).removeprefix('torch.')}, in which the "
                f"networks compute: no number beyond {limit:.3g}. Got {part[row, *column]:.3g} in "
                f"row {at + row}, column {', '.join(map(str, column))} instead; scale the features."
            )

    def _convert(self, rows: Tensor) -> Tensor:
        rows = rows.to(self.device, self.dtype, non_blocking=True)
        return rows if self.scale is None else rows.mul_(self.scale)


class _Joined:
    """Rows of one array after those of another, read as they are asked for."""

    def __init__(self, first: Any, second: Any) -> None:
        self.first = first
        self.second = second
        self.dtype = first.dtype
        self.shape = (len(first) + len(second), *first.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        at = np.arange(len(self))[index]
        out = np.empty((len(at), *self.shape[1:]), self.dtype)
        is_first = at < len(self.first)
        out[is_first] = self.first[at[is_first]]
        out[~is_first] = self.second[at[~is_first] - len(self.first)]
        return out


def joined(first: Any, second: Any) -> Any:
    """Put rows after each other; in memory where they are there already."""
    if first.dtype != second.dtype and np.uint8 in (first.dtype, second.dtype):
        raise ValueError(
            "Rows of X and X_unlabelled must both be bytes or both be floats. "
            f"Got dtypes {first.dtype} and {second.dtype}."
        )
    if np.dtype(first.dtype) == np.float32:
        Rows(second, torch.float32).require_range(name="X_unlabelled")
    if all(isinstance(one, SparseRows) for one in (first, second)):
        return below([first, second])
    if all(type(array) is np.ndarray for array in (first, second)):
        return np.concatenate([first, second.astype(first.dtype, copy=False)])
    return _Joined(first, second)


@dataclass(frozen=True)
class FitData(RowTables):
    """Checked data of one fit, as arrays; what is sent to workers.

    Fits that share `X` and `y` (folds of one search) train together.

    Attributes
    ----------
    X : array of shape (n_samples, ...)
        The inputs as they arrived.
    y : ndarray of shape (n_samples,), dtype int64
        Class indices.
    weight : ndarray of shape (n_samples,) or None
        Sample weights.
    rows : ndarray of int
        The rows to train on.
    valid : FitData or None
        What is held out.
    targets, layers, labelled, teacher_diversity : ndarray of shape (n_samples, ...)
        See `RowTables`.
    """

    X: Any
    y: np.ndarray
    weight: np.ndarray | None
    rows: np.ndarray
    valid: FitData | None = None

    def require_range(self, dtype: torch.dtype) -> None:
        """Refuse numbers that networks of a dtype have no room for."""
        Rows(self.X, dtype).require_range()
        if self.valid is not None and self.valid.X is not self.X:
            Rows(self.valid.X, dtype).require_range(name="The X that train_split holds out")
