"""Batches of in-memory or on-disk rows, sliced by index, each member in its own order.

A per-row ``DataLoader`` costs more than a small network's whole step; here a batch is
one indexing call. An array is never copied as a whole: NumPy arrays that can be written
to are shared with torch, all others (memory maps, HDF5, zarr) are read batch by batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise, zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skensemble._data.rows import FitData, Rows
from skensemble._data.sparse import below as stacked
from skensemble._data.tables import RowTables

EVERYBODY = slice(None)  # of the members


@dataclass(frozen=True)
class Batch(RowTables):
    """What an objective sees of the data: targets, weights and whatever it asked for.

    `y` are class indices ``(member, sample)``, or, where an augmentation has mixed rows,
    each class's share of a row, floating, ``(member, sample, class)``.
    `targets` are what a term asked of the teacher, and `layers` what the teacher's layers put
    out; `features` are what the network's own tapped layers put out for this batch; `labelled`
    is zero for rows without a label; `progress` goes from 0 to 1 over the epochs; `other` is
    what the network says of altered rows `other_x`, where there are any. Every tensor starts
    with ``(member, sample)``; the member axis is 1 where all members see the same rows.
    """

    x: Tensor
    y: Tensor
    weight: Tensor | None = None
    features: dict[str, Tensor] = field(default_factory=dict)
    progress: float = 1.0
    other_x: Tensor | None = None
    other: Tensor | None = None


@dataclass(frozen=True)
class TrainingData(RowTables):
    """Rows and labels that all members share, and per-row tables that they may not.

    Attributes
    ----------
    rows : Rows
        The inputs.
    y : Tensor of shape (n_samples,), dtype int64
        Class indices.
    weight : Tensor of shape (n_tables, n_samples) or None
        Sample weights.
    table : Tensor of shape (n_members or 1, 1), dtype int64
        Which table each member reads.
    starts : tuple of int
        Where the rows of each member's own data begin.
    targets, layers, labelled, teacher_diversity : Tensor of shape (n_tables, n_samples, ...)
        See `RowTables`.
    """

    rows: Rows
    y: Tensor
    weight: Tensor | None
    table: Tensor
    starts: tuple[int, ...]

    @classmethod
    def gather(
        cls, data: Sequence[FitData], dtype: torch.dtype, device: str | torch.device
    ) -> TrainingData:
        """Join the data of members; what several of them share is kept once.

        Rows of different arrays stand below each other, with all that belongs to them. Where the
        rows are the same and only weights or tables differ, the rows are kept once.
        """
        own: dict[tuple[int, ...], int] = {}
        kept: list[FitData] = []
        places = []
        for one in data:
            key = tuple(map(id, (one.X, one.y, one.weight, *one.tables().values())))
            if key not in own:
                own[key] = len(kept)
                kept.append(one)
            places.append(own[key])
        first, *others = kept
        below = any(one.X is not first.X or one.y is not first.y for one in others)
        begins = np.cumsum([0, *(len(one.y) if below else 0 for one in kept)])

        def join(*arrays: Any) -> Tensor:
            tensor = torch.from_numpy(np.concatenate(arrays)[None] if below else np.stack(arrays))
            return tensor.to(device, dtype if tensor.is_floating_point() else None)

        X = stacked([one.X for one in kept]) if below else first.X
        y = np.concatenate([one.y for one in kept]) if below else first.y.copy()
        return cls(
            Rows(X, dtype, device),
            torch.from_numpy(y).to(device),
            None if first.weight is None else join(*(one.weight for one in kept)),
            torch.tensor([0] if below or not others else places, device=device).unsqueeze(1),
            tuple(int(begins[at]) for at in places),
            **first.map_tables(join, *others),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, index: Tensor, members: slice = EVERYBODY) -> Batch:
        """Gather one batch for some members, whose index has the shape ``(member, sample)``."""
        at, table = index.to(self.y.device), self.table[members]

        def pick(values: Tensor) -> Tensor:
            return values[0][at] if len(values) == 1 else values[table, at]

        return Batch(
            self.rows.take(index),
            self.y[at],
            None if self.weight is None else pick(self.weight),
            **self.map_tables(pick),
        )


@dataclass(frozen=True)
class Part:
    """A batch, and which of the members it is for."""

    batch: Batch
    members: slice = field(default_factory=lambda: EVERYBODY)


def bounds(n_rows: int, batch_size: int, drop_last: bool = False) -> list[int]:
    """Return where batches begin, and where the last one ends.

    A last batch of a single row would stop every network with batch normalisation; that row joins
    the batch before it.

    >>> bounds(10, 4), bounds(9, 4), bounds(10, 4, drop_last=True), bounds(10, -1)
    ([0, 4, 8, 10], [0, 4, 9], [0, 4, 8], [0, 10])
    """
    size = n_rows if batch_size == -1 else batch_size
    found = [*range(0, n_rows, size), n_rows]
    if n_rows > size and n_rows % size:
        if drop_last:
            del found[-1]
        elif n_rows % size == 1:
            del found[-2]
    return found


class MemberBatches:
    """Iterate over steps, every member in an order of its own.

    A step has one batch for all members, or, where they have not equally many rows left, one for
    each run of members that have.

    Parameters
    ----------
    data : TrainingData
        What to draw from.
    runs : sequence of Tensor of shape (n_members or 1, n_rows)
        The rows each member may see, of members with equally many rows in one tensor; one row of
        it where all members share them.
    batch_size : int
        Rows a batch; -1 takes all.
    generators : sequence of torch.Generator, default=()
        One a member; none leaves the order as it is.
    drop_last : bool, default=False
        Whether to leave out a last batch that is not full.
    """

    def __init__(
        self,
        data: TrainingData,
        runs: Sequence[Tensor],
        batch_size: int,
        generators: Sequence[torch.Generator] = (),
        drop_last: bool = False,
    ) -> None:
        self.data = data
        self.runs = runs
        self.generators = generators
        self._cuts = [list(pairwise(bounds(run.shape[1], batch_size, drop_last))) for run in runs]
        ends = [0, *accumulate(map(len, runs))]
        self._members = [slice(*pair) for pair in pairwise(ends)] if len(runs) > 1 else [EVERYBODY]

    def __len__(self) -> int:
        return max(map(len, self._cuts))

    def __iter__(self) -> Iterator[list[Part]]:
        orders = self._orders()
        for cuts in zip_longest(*self._cuts):
            if len(set(cuts)) == 1:
                start, stop = cuts[0]
                index = [order[:, start:stop] for order in orders]
                yield [Part(self.data.batch(index[0] if len(index) == 1 else torch.cat(index)))]
            else:
                each = zip(orders, cuts, self._members, strict=True)
                yield [
                    Part(self.data.batch(order[:, slice(*cut)], members), members)
                    for order, cut, members in each
                    if cut is not None
                ]

    def _orders(self) -> list[Tensor]:
        if not self.generators:
            return list(self.runs)
        orders = []
        for run, members in zip(self.runs, self._members, strict=True):
            own = self.generators[members]
            draws = [torch.randperm(run.shape[1], generator=draw) for draw in own]
            orders.append(run.gather(1, torch.stack(draws)))
        return orders
