"""The reading of a table as a module, for graphs and modules that are run elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skensemble._tables.columns import as_floats, as_keys, read_column
from skensemble._tables.preprocessor import TablePreprocessor

__all__ = ["TableReader", "code_of_missing", "coded_columns", "coded_rows", "require_readable"]

_TIMES = ("date", "duration")


def require_readable(table: TablePreprocessor) -> None:
    """Refuse times: float32 counts days since 1970 to minutes alone."""
    times = [
        (name, kind)
        for name, kind in zip(table._names(), table.kinds_, strict=True)
        if kind in _TIMES
    ]
    if times:
        raise ValueError(
            "A graph that reads the raw table takes numbers and categories. Got the column "
            f"{times[0][0]!r} of kind {times[0][1]!r}; fit on its number of days since a day of "
            "yours, or use preprocessed=True, whose input is what preprocessor_.transform(X) "
            "returns."
        )


def coded_columns(table: TablePreprocessor) -> list[bool]:
    """Return which columns hold categories, whose place in `categories_` stands for them."""
    return [kind in ("category", "boolean") for kind in table.kinds_]


def code_of_missing(table: TablePreprocessor, at: int) -> int:
    """Return the code that a missing value of a column of categories stands for."""
    names = table.categories_[at]
    return len(names) if names and names[-1] is None else 0


def coded_rows(table: TablePreprocessor, X: Any) -> np.ndarray:
    """Return a raw table as float32, with codes in the place of categories.

    Parameters
    ----------
    table : TablePreprocessor
        Fitted.
    X : DataFrame or array-like of shape (n_samples, n_features)
        Rows.
    """
    require_readable(table)
    X = table._check(X, reset=False)
    out = np.empty((X.shape[0], table.n_features_in_), np.float32)
    for at, (name, is_coded) in enumerate(zip(table._names(), coded_columns(table), strict=True)):
        kind, values = table.kinds_[at], read_column(X, at)[0]
        if is_coded:
            out[:, at] = table._codes(as_keys(values, kind, name), at)
        elif kind == "empty":
            out[:, at] = np.nan  # nothing is read of it
        else:
            with np.errstate(over="ignore"):
                out[:, at] = as_floats(values, kind, name)
    return out


class TableReader(nn.Module):
    """What a fitted `TablePreprocessor` makes of numbers and of codes that stand for categories.

    The code of a category is k for ``categories_[column][k - 1]``; 0 and whatever is no code
    is "other". NaN is missing, in numbers and in codes.

    Parameters
    ----------
    table : TablePreprocessor
        Fitted; on no dates and durations.
    """

    numbers: Tensor
    center: Tensor
    scale: Tensor
    flagged: Tensor

    def __init__(self, table: TablePreprocessor) -> None:
        super().__init__()
        require_readable(table)
        self.table = table
        scaled = np.array([one == "scaled" for one in table.encodings_])
        self._keep(numbers=np.flatnonzero(scaled), flagged=np.flatnonzero(table.indicators_))
        self.register_buffer("center", torch.tensor(table.center_[scaled], dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(table.scale_[scaled], dtype=torch.float32))
        used = any(one in ("sign", "one-hot", "code") for one in table.encodings_)
        self.categories = _Categories(table) if used else None

    def _keep(self, **places: np.ndarray) -> None:
        for name, at in places.items():
            self.register_buffer(name, torch.from_numpy(at.astype(np.int64)))

    def forward(self, x: Tensor) -> Tensor:
        """Map raw numbers and codes to scaled numbers, flags and codes."""
        z = ((x.index_select(1, self.numbers) - self.center) / self.scale).clamp(-1e6, 1e6)
        z = z / torch.sqrt(1 + (z / 3) ** 2)
        z = torch.where(z.isnan(), torch.zeros_like(z), z)
        flags = x.index_select(1, self.flagged).isnan().to(x.dtype)
        parts = [z, flags] if self.categories is None else [z, *self.categories(x, flags)]
        read = torch.cat(parts, 1)
        return read if read.shape[1] else torch.zeros_like(x[:, :1])


class _Categories(nn.Module):
    """Flags and codes of columns of categories, in the places that the table gives them."""

    columns: Tensor
    missing: Tensor
    most: Tensor
    source: Tensor
    one: Tensor
    minus: Tensor
    order: Tensor
    codes: Tensor

    def __init__(self, table: TablePreprocessor) -> None:
        super().__init__()
        columns = [
            at for at, one in enumerate(table.encodings_) if one in ("sign", "one-hot", "code")
        ]
        place = {at: number for number, at in enumerate(columns)}
        flags = [one for at in columns for one in _flags_of(table, at)]
        starts = [int(table._places[1, at]) for at in np.flatnonzero(table.indicators_)]
        starts += [int(table._places[1, at]) + nth for at, nth, *_ in flags]
        coded = [place[at] for at in columns if table.encodings_[at] == "code"]
        counts = [len(table.categories_[at]) for at in columns]
        for name, value in {
            "columns": columns,
            "missing": [float(code_of_missing(table, at)) for at in columns],
            "most": [float(count) for count in counts],
            "source": [place[at] for at, *_ in flags],
            # A flag is 1 where the code is `one`, -1 where it is `minus`, which may be none.
            "one": [float(one) for _, _, one, _ in flags],
            "minus": [float(minus) for *_, minus in flags],
            "order": np.argsort(starts).tolist(),
            "codes": coded,
        }.items():
            kind = torch.float32 if name in ("missing", "most", "one", "minus") else torch.int64
            self.register_buffer(name, torch.tensor(value, dtype=kind))

    def forward(self, x: Tensor, indicators: Tensor) -> list[Tensor]:
        """Return all flags, those of missing numbers among them, and codes."""
        k = x.index_select(1, self.columns)
        k = torch.where(k.isnan(), self.missing, k)
        known = (k >= 0) & (k <= self.most) & (k == k.floor())
        k = torch.where(known, k, torch.zeros_like(k))
        own = k.index_select(1, self.source)
        flags = (own == self.one).to(x.dtype) - (own == self.minus).to(x.dtype)
        flags = torch.cat([indicators, flags], 1).index_select(1, self.order)
        return [flags, k.index_select(1, self.codes)]


def _flags_of(table: TablePreprocessor, at: int) -> list[tuple[int, int, int, int]]:
    """Return a column's flags: column, which of its flags, its code of 1 and its code of -1."""
    names = table.categories_[at]
    if table.encodings_[at] == "sign":
        return [(at, 0, len(names), len(names) - 1)]
    if table.encodings_[at] == "one-hot":
        return [(at, nth, nth + 1, -1) for nth in range(len(names))]
    return []
