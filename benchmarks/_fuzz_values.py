"""What the API fuzz passes: values, rows, labels, weights and nets, good ones and bad ones.

A pool is a dict of makers by label. A maker is a function of a seed, so that every call has
objects of its own and the label alone says what was passed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
import torch
from skorch.dataset import Dataset
from torch import nn

Pool = dict[str, Callable[[], Any]]
N_ROWS, N_FEATURES, N_CLASSES = 24, 4, 3


def rows(n_rows: int = N_ROWS) -> np.ndarray:
    """Return rows that are like each other."""
    return np.random.default_rng(0).normal(size=(n_rows, N_FEATURES))


def labels(n_rows: int = N_ROWS, n_classes: int = N_CLASSES) -> np.ndarray:
    """Return labels, all classes equally often."""
    return np.arange(n_rows) % n_classes


def images() -> np.ndarray:
    """Return small images."""
    return np.random.default_rng(0).normal(size=(N_ROWS, 2, 6, 6)).astype(np.float32)


def plain(**values: Any) -> Pool:
    """Return makers of values that nobody alters."""
    return {label: partial(same, value) for label, value in values.items()}


def same(value: Any) -> Any:
    """Return the value."""
    return value


# -- anything ----------------------------------------------------------------------------------


class Odd:
    """An object that nobody expects."""

    def __repr__(self) -> str:
        return "Odd()"


ODD: Pool = {
    "None": lambda: None,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-inf": lambda: -float("inf"),
    "0": lambda: 0,
    "-1": lambda: -1,
    "1": lambda: 1,
    "2": lambda: 2,
    "3": lambda: 3,
    "0.0": lambda: 0.0,
    "0.5": lambda: 0.5,
    "1.0": lambda: 1.0,
    "-0.5": lambda: -0.5,
    "1.5": lambda: 1.5,
    "1e-30": lambda: 1e-30,
    "1e30": lambda: 1e30,
    "1e-300": lambda: 1e-300,
    "1e300": lambda: 1e300,
    "True": lambda: True,
    "False": lambda: False,
    "''": lambda: "",
    "'x'": lambda: "x",
    "'1'": lambda: "1",
    "'auto'": lambda: "auto",
    "b'x'": lambda: b"x",
    "1j": lambda: 1j,
    "[]": list,
    "()": tuple,
    "[1]": lambda: [1],
    "['x']": lambda: ["x"],
    "[None]": lambda: [None],
    "{}": dict,
    "{'x': 1}": lambda: {"x": 1},
    "{1: 'x'}": lambda: {1: "x"},
    "set()": set,
    "object": Odd,
    "class": lambda: Odd,
    "function": lambda: lambda *args, **kwargs: None,
    "raising": lambda: raising,
    "slice": lambda: slice(None),
    "np.int64(2)": lambda: np.int64(2),
    "np.float32(0.5)": lambda: np.float32(0.5),
    "np.nan32": lambda: np.float32("nan"),
    "np.array([1, 2])": lambda: np.array([1, 2]),
    "np.array([nan])": lambda: np.array([np.nan]),
    "np.array(0.5)": lambda: np.array(0.5),
    "tensor(0.5)": lambda: torch.tensor(0.5),
    "tensor([1, 2])": lambda: torch.tensor([1, 2]),
    "RandomState": lambda: np.random.RandomState(0),
    "Generator": lambda: np.random.default_rng(0),
    "module": lambda: nn.Linear(4, 3),
    "module class": lambda: nn.Linear,
    "iterator": lambda: iter([1, 2]),
}


def raising(*args: Any, **kwargs: Any) -> None:
    """Raise."""
    raise RuntimeError("told to")


# -- rows --------------------------------------------------------------------------------------


def _with(value: float) -> np.ndarray:
    X = rows()
    X[3, 1] = value
    return X


def _frame(**more: Any) -> pd.DataFrame:
    return pd.DataFrame(rows(), columns=list("abcd")).assign(**more)


GOOD_X: Pool = {
    "float64": rows,
    "float32": lambda: rows().astype(np.float32),
    "list": lambda: rows().tolist(),
    "fortran": lambda: np.asfortranarray(rows()),
    "strided": lambda: np.repeat(rows(), 2, 0)[::2],
    "read-only": lambda: _read_only(),
    "int": lambda: (10 * rows()).astype(int),
    "bool": lambda: rows() > 0,
    "frame": _frame,
    "tensor": lambda: torch.from_numpy(rows()),
    "float16": lambda: rows().astype(np.float16),
    "constant": lambda: np.ones((N_ROWS, N_FEATURES)),
}
ODD_X: Pool = {
    "nan": lambda: _with(np.nan),
    "inf": lambda: _with(np.inf),
    "-inf": lambda: _with(-np.inf),
    "huge": lambda: _with(1e300),
    "large": lambda: _with(1e30),
    "tiny": lambda: rows() * 1e-300,
    "scaled 1e38": lambda: rows() * 1e38,
    "all nan": lambda: np.full((N_ROWS, N_FEATURES), np.nan),
    "empty": lambda: rows()[:0],
    "no columns": lambda: rows()[:, :0],
    "one row": lambda: rows()[:1],
    "two rows": lambda: rows()[:2],
    "fewer rows": lambda: rows()[:-1],
    "more rows": lambda: rows(N_ROWS + 1),
    "one column": lambda: rows()[:, :1],
    "more columns": lambda: np.hstack([rows(), rows()]),
    "1-D": lambda: rows()[:, 0],
    "0-D": lambda: np.float64(1),
    "3-D": lambda: rows().reshape(-1, 2, 2),
    "images": images,
    "bytes of images": lambda: (images() > 0).astype(np.uint8),
    "channels last": lambda: images().transpose(0, 2, 3, 1),
    "5-D": lambda: images()[:, None],
    "object numbers": lambda: rows().astype(object),
    "object mixed": lambda: _mixed(),
    "strings": lambda: rows().astype(str),
    "letters": lambda: np.full((N_ROWS, N_FEATURES), "a"),
    "bytes": lambda: rows().astype("S5"),
    "complex": lambda: rows() + 1j,
    "datetime": lambda: np.full((N_ROWS, N_FEATURES), np.datetime64("2020-01-01")),
    "uint8": lambda: (rows() > 0).astype(np.uint8),
    "csr": lambda: scipy.sparse.csr_matrix(rows()),
    "csc array": lambda: scipy.sparse.csc_array(rows()),
    "frame of strings": lambda: _frame(a="x"),
    "frame with missing": lambda: _frame(a=np.nan),
    "frame of None": lambda: _frame(a=None),
    "frame of categories": lambda: _frame(a=pd.Categorical(["u", "v"] * (N_ROWS // 2))),
    "frame of dates": lambda: _frame(a=pd.Timestamp("2020-01-01")),
    "frame of objects": lambda: _frame(a=[Odd()] * N_ROWS),
    "frame of lists": lambda: _frame(a=[[1]] * N_ROWS),
    "frame, other names": lambda: _frame().rename(columns={"a": "z"}),
    "frame, names twice": lambda: _frame().set_axis(list("aabc"), axis=1),
    "frame, names of numbers": lambda: _frame().set_axis([0, 1, 2, 3], axis=1),
    "frame, mixed names": lambda: _frame().set_axis([0, "a", 2, "b"], axis=1),
    "empty frame": lambda: _frame().iloc[:0],
    "series": lambda: _frame()["a"],
    "ragged": lambda: [[1, 2], [3]],
    "dict": lambda: {"a": rows()},
    "string": lambda: "rows",
    "None": lambda: None,
    "number": lambda: 3.0,
    "object": Odd,
    "dataset": lambda: Dataset(rows(), labels()),
    "iterator": lambda: iter(rows()),
    "masked": lambda: np.ma.masked_less(rows(), 0),
    "matrix of half NaN": lambda: np.where(rows() > 0, rows(), np.nan),
    "bfloat16 tensor": lambda: torch.from_numpy(rows()).bfloat16(),
    "tensor that wants gradients": lambda: torch.from_numpy(rows()).requires_grad_(),
    "sparse tensor": lambda: torch.from_numpy(rows()).to_sparse(),
    "records": lambda: np.zeros(N_ROWS, [("a", float), ("b", float)]),
}


def _read_only() -> np.ndarray:
    X = rows()
    X.flags.writeable = False
    return X


def _mixed() -> np.ndarray:
    X = rows().astype(object)
    X[0, 0], X[1, 1], X[2, 2] = "a", None, Odd()
    return X


GOOD_Y: Pool = {
    "ints": labels,
    "strings": lambda: np.array(["u", "v", "w"])[labels()],
    "objects": lambda: np.array(["u", "v", "w"], object)[labels()],
    "bools": lambda: labels() > 0,
    "list": lambda: labels().tolist(),
    "series": lambda: pd.Series(labels()),
    "two classes": lambda: labels(n_classes=2),
    "floats": lambda: labels().astype(float),
    "negative": lambda: labels() - 5,
    "column": lambda: labels()[:, None],
    "categories": lambda: pd.Series(pd.Categorical(np.array(["u", "v", "w"])[labels()])),
    "tensor": lambda: torch.from_numpy(labels()),
}
ODD_Y: Pool = {
    "one class": lambda: np.zeros(N_ROWS, int),
    "a class of one row": lambda: np.r_[7, labels()[1:] % 2],
    "each its own": lambda: np.arange(N_ROWS),
    "None": lambda: None,
    "fewer": lambda: labels()[:-1],
    "more": lambda: labels(N_ROWS + 3),
    "empty": lambda: labels()[:0],
    "nan": lambda: np.where(labels() > 1, np.nan, labels()),
    "inf": lambda: np.where(labels() > 1, np.inf, labels()),
    "continuous": lambda: rows()[:, 0],
    "2-D": lambda: rows() > 0,
    "3-D": lambda: np.zeros((N_ROWS, 2, 2), int),
    "two columns": lambda: np.c_[labels(), labels()],
    "mixed": lambda: np.array([1, "a", None, 2.5] * (N_ROWS // 4), object),
    "None among strings": lambda: np.array(["u", "v", None] * (N_ROWS // 3), object),
    "0-D": lambda: np.int64(1),
    "number": lambda: 1,
    "string": lambda: "labels",
    "object": Odd,
    "dict": lambda: {"y": 1},
    "csr": lambda: scipy.sparse.csr_matrix(labels()[:, None]),
    "complex": lambda: labels() + 1j,
    "dates": lambda: np.array(["2020-01-01", "2021-01-01"] * (N_ROWS // 2), "datetime64[D]"),
    "lists": lambda: [[1], [2, 3], []] * (N_ROWS // 3),
    "bytes": lambda: np.array([b"u", b"v", b"w"])[labels()],
    "frame": lambda: pd.DataFrame({"y": labels()}),
    "series of missing": lambda: pd.Series([0, 1, None] * (N_ROWS // 3)),
    "iterator": lambda: iter(labels()),
    "huge ints": lambda: labels() + 2**62,
    "one row": lambda: labels()[:1],
}
WEIGHTS: Pool = {
    "ones": lambda: np.ones(N_ROWS),
    "list": lambda: [1.0] * N_ROWS,
    "some zero": lambda: (labels() > 0).astype(float),
    "all but one zero": lambda: np.eye(N_ROWS)[0],
    "zeros": lambda: np.zeros(N_ROWS),
    "negative": lambda: -np.ones(N_ROWS),
    "one negative": lambda: np.r_[-1.0, np.ones(N_ROWS - 1)],
    "nan": lambda: np.r_[np.nan, np.ones(N_ROWS - 1)],
    "inf": lambda: np.r_[np.inf, np.ones(N_ROWS - 1)],
    "tiny": lambda: np.full(N_ROWS, 1e-300),
    "small": lambda: np.full(N_ROWS, 1e-30),
    "huge": lambda: np.full(N_ROWS, 1e300),
    "large": lambda: np.full(N_ROWS, 1e30),
    "fewer": lambda: np.ones(N_ROWS - 1),
    "empty": lambda: np.ones(0),
    "column": lambda: np.ones((N_ROWS, 1)),
    "number": lambda: 2.0,
    "string": lambda: "balanced",
    "strings": lambda: ["a"] * N_ROWS,
    "objects": lambda: [Odd()] * N_ROWS,
    "None": lambda: None,
    "dict": lambda: {0: 1.0},
    "complex": lambda: np.ones(N_ROWS) * 1j,
    "ints": lambda: np.ones(N_ROWS, int),
    "bools": lambda: labels() > 0,
    "series": lambda: pd.Series(np.ones(N_ROWS)),
    "Nones": lambda: [None] * N_ROWS,
}
