"""Batches of in-memory or on-disk rows, sliced by index, each member in its own order.

A per-row ``DataLoader`` costs more than a small network's whole step; here a batch is
one indexing call. An array is never copied as a whole: NumPy arrays that can be written
to are shared with torch, all others (memory maps, HDF5, zarr) are read batch by batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Data up to this share of an accelerator's free memory is moved there once.
_DEVICE_SHARE = 0.25
_CHUNK_ROWS = 4096


@dataclass(frozen=True)
class Batch:
    """What an objective sees of the data: targets, weights and whatever it asked for.

    `y` are class indices ``(member, sample)``, or, where an augmentation has mixed rows,
    each class's share of a row, floating, ``(member, sample, class)``.
    `extras` are cut from the tables of the fit; `features` are what the network's tapped
    layers put out for this batch; `progress` goes from 0 to 1 over the epochs; `other` is
    what the network says of altered rows `other_x`, where there are any. Every tensor starts
    with ``(member, sample)``; the member axis is 1 where all members see the same rows.
    """

    x: Tensor
    y: Tensor
    weight: Tensor | None = None
    extras: dict[str, Tensor] = field(default_factory=dict)
    features: dict[str, Tensor] = field(default_factory=dict)
    progress: float = 1.0
    other_x: Tensor | None = None
    other: Tensor | None = None


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
        self.device = torch.device(device)
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
            "Rows to be joined must both be bytes or both be floats. "
            f"Got dtypes {first.dtype} and {second.dtype}."
        )
    if np.dtype(first.dtype) == np.float32:
        Rows(second, torch.float32).require_range(name="X_unlabelled")
    if all(type(array) is np.ndarray for array in (first, second)):
        return np.concatenate([first, second.astype(first.dtype, copy=False)])
    return _Joined(first, second)


@dataclass
class FitData:
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
    extras : dict of ndarray of shape (n_samples, ...)
        What an objective needs beside the labels, such as teacher predictions.
    """

    X: Any
    y: np.ndarray
    weight: np.ndarray | None
    rows: np.ndarray
    valid: FitData | None = None
    extras: dict[str, np.ndarray] = field(default_factory=dict)

    def require_range(self, dtype: torch.dtype) -> None:
        """Refuse numbers that networks of a dtype have no room for."""
        Rows(self.X, dtype).require_range()
        if self.valid is not None and self.valid.X is not self.X:
            Rows(self.valid.X, dtype).require_range(name="The X that train_split holds out")


@dataclass
class TrainingData:
    """Rows and labels that all members share, and per-row tables that they may not.

    Attributes
    ----------
    rows : Rows
        The inputs.
    y : Tensor of shape (n_samples,), dtype int64
        Class indices.
    weight : Tensor of shape (n_tables, n_samples) or None
        Sample weights.
    extras : dict of Tensor of shape (n_tables, n_samples, ...)
        What an objective needs beside the labels.
    table : Tensor of shape (n_members or 1, 1), dtype int64
        Which table each member reads.
    """

    rows: Rows
    y: Tensor
    weight: Tensor | None
    extras: dict[str, Tensor]
    table: Tensor

    @classmethod
    def gather(
        cls, data: Sequence[FitData], dtype: torch.dtype, device: str | torch.device
    ) -> TrainingData:
        """Join the data of members; equal weights and extras are kept once."""
        tables: dict[tuple[int, ...], int] = {}
        kept: list[FitData] = []
        table = []
        for one in data:
            key = (id(one.weight), *(id(values) for values in one.extras.values()))
            if key not in tables:
                tables[key] = len(kept)
                kept.append(one)
            table.append(tables[key])
        first = data[0]

        def stack(arrays: list[Any]) -> Tensor:
            tensor = torch.from_numpy(np.stack(arrays))
            return tensor.to(device, dtype if tensor.is_floating_point() else None)

        return cls(
            Rows(first.X, dtype, device),
            torch.from_numpy(first.y.copy()).to(device),
            None if first.weight is None else stack([one.weight for one in kept]),
            {name: stack([one.extras[name] for one in kept]) for name in first.extras},
            torch.tensor(table if len(kept) > 1 else [0], device=device).unsqueeze(1),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, index: Tensor) -> Batch:
        """Gather one batch for an index of shape ``(member, sample)``."""
        at = index.to(self.y.device)
        return Batch(
            self.rows.take(index),
            self.y[at],
            None if self.weight is None else self._pick(self.weight, at),
            {name: self._pick(values, at) for name, values in self.extras.items()},
        )

    def _pick(self, values: Tensor, index: Tensor) -> Tensor:
        return values[0][index] if len(values) == 1 else values[self.table, index]


class MemberBatches:
    """Iterate over batches, every member in an order of its own.

    Parameters
    ----------
    data : TrainingData
        What to draw from.
    index : Tensor of shape (n_members or 1, n_rows)
        The rows each member may see; one row of it where all share them.
    batch_size : int
        Rows a batch; -1 takes all.
    generators : sequence of torch.Generator, default=()
        One a row of `index`; none leaves the order as it is.
    drop_last : bool, default=False
        Whether to leave out a last batch that is not full.

    Notes
    -----
    A last batch of a single row would stop every network with batch normalisation; that
    row joins the batch before it.
    """

    def __init__(
        self,
        data: TrainingData,
        index: Tensor,
        batch_size: int,
        generators: Sequence[torch.Generator] = (),
        drop_last: bool = False,
    ) -> None:
        self.data = data
        self.index = index
        self.batch_size = index.shape[1] if batch_size == -1 else batch_size
        self.generators = generators
        self.drop_last = drop_last

    def _bounds(self) -> list[int]:
        n_rows, size = self.index.shape[1], self.batch_size
        bounds = [*range(0, n_rows, size), n_rows]
        if n_rows > size and n_rows % size:
            if self.drop_last:
                del bounds[-1]
            elif n_rows % size == 1:
                del bounds[-2]
        return bounds

    def __len__(self) -> int:
        return len(self._bounds()) - 1

    def __iter__(self) -> Iterator[Batch]:
        order = self.index
        if self.generators:
            n_rows = order.shape[1]
            draws = [torch.randperm(n_rows, generator=draw) for draw in self.generators]
            order = order.gather(1, torch.stack(draws))
        for start, stop in pairwise(self._bounds()):
            yield self.data.batch(order[:, start:stop])
