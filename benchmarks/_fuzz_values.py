"""What the API fuzz passes: values, rows, labels, weights and nets, good ones and bad ones.

A pool is a dict of makers by label. A maker is a function of a seed, so that every call has
objects of its own and the label alone says what was passed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    Freezer,
    GradientNormClipping,
    InputShapeSetter,
    LRScheduler,
    ParamMapper,
    Unfreezer,
)
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from skensemble.nn import MLP, SimpleCNN

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
    return {label: partial(_same, value) for label, value in values.items()}


def _same(value: Any) -> Any:
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
    "raising": lambda: _raising,
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


def _raising(*args: Any, **kwargs: Any) -> None:
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


# -- nets --------------------------------------------------------------------------------------


class Norm(nn.Module):
    """A network with batch normalisation."""

    def __init__(self, in_shape: Any, n_classes: int) -> None:
        super().__init__()
        self.stem = nn.Linear(in_shape[0], 4)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        return self.head(torch.relu(self.norm(self.stem(x))))


class Dropped(MLP):
    """A network that draws in training."""

    def __init__(self, in_shape: Any, n_classes: int) -> None:
        super().__init__(in_shape, n_classes, (4,), dropout=0.5)


class Softmax(MLP):
    """A network of probabilities."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return probabilities."""
        return super().forward(x).softmax(-1)


class Loud(MLP):
    """A network that says NaN."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return NaN in every row."""
        return super().forward(x) * float("nan")


class Failing(MLP):
    """A network that raises."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Raise."""
        raise KeyError("inside")


class Saying(Callback):
    """A callback that raises in the middle of training."""

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Raise."""
        raise RuntimeError("told to")


def net(**settings: Any) -> NeuralNetClassifier:
    """Return a recipe of a few steps."""
    base = {
        "criterion": nn.CrossEntropyLoss,
        "optimizer": torch.optim.Adam,
        "lr": 0.01,
        "max_epochs": 2,
        "batch_size": 8,
        "train_split": None,
    }
    module = settings.pop("module", MLP)
    if module is MLP and not any(name.startswith("module__") for name in settings):
        base["module__hidden"] = (4,)
    return NeuralNetClassifier(module, **{**base, **settings})


def _none(*args: Any) -> None:
    """Score nothing."""


def _score(net: Any, X: Any, y: Any) -> float:
    return 0.5


def _nan(*args: Any) -> float:
    return float("nan")


def _schedulers() -> Iterator[tuple[str, Callable[[], Any]]]:
    for label, kwargs in {
        "cosine": {"policy": "CosineAnnealingLR", "T_max": 2},
        "cosine without T_max": {"policy": "CosineAnnealingLR"},
        "cosine T_max=0": {"policy": "CosineAnnealingLR", "T_max": 0},
        "cosine T_max='x'": {"policy": "CosineAnnealingLR", "T_max": "x"},
        "step": {"policy": "StepLR", "step_size": 1},
        "step_size=0": {"policy": "StepLR", "step_size": 0},
        "step gamma='x'": {"policy": "StepLR", "step_size": 1, "gamma": "x"},
        "step gamma=nan": {"policy": "StepLR", "step_size": 1, "gamma": float("nan")},
        "step gamma=-1": {"policy": "StepLR", "step_size": 1, "gamma": -1.0},
        "one cycle": {"policy": "OneCycleLR", "max_lr": 0.1, "total_steps": 6,
                      "step_every": "batch"},
        "one cycle, too short": {"policy": "OneCycleLR", "max_lr": 0.1, "total_steps": 1,
                                 "step_every": "batch"},
        "cyclic": {"policy": "CyclicLR", "base_lr": 0.1, "max_lr": 0.2, "step_every": "batch"},
        "plateau": {"policy": "ReduceLROnPlateau"},
        "plateau of nothing": {"policy": "ReduceLROnPlateau", "monitor": "nothing"},
        "unknown policy": {"policy": "Nothing"},
        "policy=5": {"policy": 5},
        "policy=None": {"policy": None},
        "unknown argument": {"policy": "StepLR", "step_size": 1, "foo": 2},
        "unknown step_every": {"policy": "StepLR", "step_size": 1, "step_every": "x"},
        "lambda": {"policy": "LambdaLR", "lr_lambda": lambda epoch: 0.5},
        "lambda that fails": {"policy": "LambdaLR", "lr_lambda": _raising},
        "lambda of None": {"policy": "LambdaLR", "lr_lambda": _none},
        "warm restarts": {"policy": "WarmRestartLR"},
        "multi step": {"policy": "MultiStepLR", "milestones": [1]},
        "exponential": {"policy": "ExponentialLR", "gamma": 0.5},
        "exponential without gamma": {"policy": "ExponentialLR"},
    }.items():  # fmt: skip
        yield f"LRScheduler {label}", partial(_list_of, LRScheduler, kwargs)


def _list_of(kind: Any, kwargs: dict[str, Any]) -> list[Any]:
    return [kind(**kwargs)]


def _stoppers() -> Iterator[tuple[str, Callable[[], Any]]]:
    for label, kwargs in {
        "plain": {},
        "train_loss": {"monitor": "train_loss", "patience": 1},
        "train_loss, best": {"monitor": "train_loss", "patience": 1, "load_best": True},
        "nothing": {"monitor": "nothing"},
        "None": {"monitor": None},
        "patience=0": {"monitor": "train_loss", "patience": 0},
        "patience='x'": {"monitor": "train_loss", "patience": "x"},
        "patience=None": {"monitor": "train_loss", "patience": None},
        "patience=nan": {"monitor": "train_loss", "patience": float("nan")},
        "patience=-1": {"monitor": "train_loss", "patience": -1},
        "threshold='x'": {"monitor": "train_loss", "threshold": "x"},
        "threshold=nan": {"monitor": "train_loss", "threshold": float("nan")},
        "threshold_mode='x'": {"monitor": "train_loss", "threshold_mode": "x"},
        "lower_is_better='x'": {"monitor": "train_loss", "lower_is_better": "x"},
        "sink=5": {"monitor": "train_loss", "patience": 1, "sink": 5},
    }.items():
        yield f"EarlyStopping {label}", partial(_list_of, EarlyStopping, kwargs)


def _scorings() -> Iterator[tuple[str, Callable[[], Any]]]:
    for label, scoring in {
        "accuracy": "accuracy", "of None": _none, "of a number": _score, "raising": _raising,
        "of nan": _nan, "unknown": "nothing", "5": 5, "None": None, "log loss": "neg_log_loss",
    }.items():  # fmt: skip
        for kind in (EpochScoring, BatchScoring):
            for on_train in (True, False):
                kwargs = {"scoring": scoring, "on_train": on_train, "name": "mine"}
                where = "train" if on_train else "valid"
                yield f"{kind.__name__} {label}, {where}", partial(_list_of, kind, kwargs)


CALLBACKS: Pool = {
    **dict(_schedulers()),
    **dict(_stoppers()),
    **dict(_scorings()),
    "['x']": lambda: ["x"],
    "[5]": lambda: [5],
    "[None]": lambda: [None],
    "5": lambda: 5,
    "'x'": lambda: "x",
    "disable": lambda: "disable",
    "None": lambda: None,
    "()": tuple,
    "class": lambda: [EarlyStopping],
    "scheduler class": lambda: [LRScheduler],
    "base": lambda: [Callback()],
    "raising": lambda: [Saying()],
    "callback itself": lambda: EarlyStopping(),
    "dict": lambda: {"a": Callback()},
    "pair": lambda: [("mine", Callback())],
    "pair of one": lambda: [("mine",)],
    "triple": lambda: [("mine", Callback(), 1)],
    "pair with None": lambda: [("mine", None)],
    "pair with a number": lambda: [(5, Callback())],
    "names twice": lambda: [("mine", Callback()), ("mine", Callback())],
    "empty pair": lambda: [()],
    "InputShapeSetter": lambda: [InputShapeSetter()],
    "InputShapeSetter of": lambda: [InputShapeSetter(param_name="in_shape")],
    "Freezer": lambda: [Freezer("layers.1*")],
    "Freezer and Unfreezer": lambda: [
        Freezer("layers.1*", at=1), Unfreezer("layers.1*", at=2),
    ],
    "Freezer of nothing": lambda: [Freezer("nothing*")],
    "Freezer of 5": lambda: [Freezer(5)],
    "Freezer of all": lambda: [Freezer("*")],
    "Freezer at 'x'": lambda: [Freezer("layers*", at="x")],
    "ParamMapper": lambda: [ParamMapper("layers.1*", fn=_raising)],
    "clipping": lambda: [GradientNormClipping(1.0)],
    "clipping of 'x'": lambda: [GradientNormClipping("x")],
    "clipping of None": lambda: [GradientNormClipping(None)],
    "clipping of nan": lambda: [GradientNormClipping(float("nan"))],
    "clipping of -1": lambda: [GradientNormClipping(-1.0)],
    "Checkpoint": lambda: [Checkpoint()],
    "iterator": lambda: iter([Callback()]),
}  # fmt: skip
SPLITS: Pool = {
    "None": lambda: None,
    "False": lambda: False,
    "ValidSplit(3)": lambda: ValidSplit(3),
    "ValidSplit(0.2)": lambda: ValidSplit(0.2, stratified=True),
    "ValidSplit(100)": lambda: ValidSplit(100),
    "ValidSplit(stratified, 30)": lambda: ValidSplit(30, stratified=True),
    "ValidSplit(0.01)": lambda: ValidSplit(0.01, stratified=True),
    "ValidSplit(0.99)": lambda: ValidSplit(0.99, stratified=True),
    "ValidSplit of splits": lambda: ValidSplit([([0, 1], [2])]),
    "ValidSplit of bad rows": lambda: ValidSplit([([0, 100], [2])]),
    "ValidSplit of none": lambda: ValidSplit([([], [2])]),
    "ValidSplit of nobody": lambda: ValidSplit([(list(range(20)), [])]),
    "predefined": lambda: predefined_split(Dataset(rows(), labels())),
    "predefined TensorDataset": lambda: predefined_split(
        TensorDataset(torch.from_numpy(rows()), torch.from_numpy(labels()))
    ),
    "predefined, no labels": lambda: predefined_split(Dataset(rows())),
    "predefined, other columns": lambda: predefined_split(Dataset(rows()[:, :2], labels())),
    "predefined, other labels": lambda: predefined_split(Dataset(rows(), labels() + 9)),
    "predefined, none": lambda: predefined_split(Dataset(rows()[:0], labels()[:0])),
    "predefined None": lambda: predefined_split(None),
    "5": lambda: 5,
    "'x'": lambda: "x",
    "0.2": lambda: 0.2,
    "class": lambda: ValidSplit,
    "function of None": lambda: _none,
    "function of two Nones": lambda: lambda dataset, y=None, **kwargs: (None, None),
    "function of one": lambda: lambda dataset, y=None, **kwargs: (dataset,),
    "function of numbers": lambda: lambda dataset, y=None, **kwargs: (1, 2),
    "function of strings": lambda: lambda dataset, y=None, **kwargs: "ab",
    "function of the same": lambda: lambda dataset, y=None, **kwargs: (dataset, dataset),
    "function of no valid": lambda: lambda dataset, y=None, **kwargs: (dataset, None),
    "function without arguments": lambda: lambda: None,
    "raising": lambda: _raising,
    "KFold": lambda: _kfold(),
}


def _kfold() -> Any:
    from sklearn.model_selection import KFold

    return KFold(3)


CRITERIA: Pool = {
    "CrossEntropyLoss": lambda: nn.CrossEntropyLoss,
    "instance": lambda: nn.CrossEntropyLoss(),
    "weighted instance": lambda: nn.CrossEntropyLoss(torch.ones(3)),
    "NLLLoss": lambda: nn.NLLLoss,
    "MSELoss": lambda: nn.MSELoss,
    "5": lambda: 5,
    "None": lambda: None,
    "'x'": lambda: "x",
    "function": lambda: _none,
    "raising": lambda: _raising,
    "module": lambda: nn.Linear(1, 1),
    "functional": lambda: nn.functional.cross_entropy,
    "object": Odd,
    "dict": dict,
}
CLASS_WEIGHTS: Pool = {
    "None": lambda: None,
    "ones": lambda: torch.ones(3),
    "too long": lambda: torch.ones(4),
    "too short": lambda: torch.ones(1),
    "empty": lambda: torch.ones(0),
    "zeros": lambda: torch.zeros(3),
    "negative": lambda: -torch.ones(3),
    "nan": lambda: torch.full((3,), float("nan")),
    "huge": lambda: torch.full((3,), 1e30),
    "tiny": lambda: torch.full((3,), 1e-30),
    "ints": lambda: torch.tensor([1, 2, 3]),
    "bools": lambda: torch.tensor([True, True, True]),
    "half": lambda: torch.ones(3).half(),
    "complex": lambda: torch.ones(3) + 1j,
    "2-D": lambda: torch.ones(3, 1),
    "list": lambda: [1.0, 1.0, 1.0],
    "array": lambda: np.ones(3),
    "string": lambda: "balanced",
    "number": lambda: 2.0,
    "zero": lambda: 0,
    "object": Odd,
}
OPTIMIZERS: Pool = {
    **{
        name: partial(_same, getattr(torch.optim, name))
        for name in (
            "SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta",
            "ASGD", "Rprop", "LBFGS", "SparseAdam", "Adafactor", "Optimizer",
        ) if hasattr(torch.optim, name)
    },
    "5": lambda: 5,
    "None": lambda: None,
    "'Adam'": lambda: "Adam",
    "function of None": lambda: _none,
    "raising": lambda: _raising,
    "partial": lambda: partial(torch.optim.SGD, momentum=0.9),
    "instance": lambda: torch.optim.SGD([torch.zeros(1)], lr=0.1),
    "scheduler": lambda: torch.optim.lr_scheduler.StepLR,
    "object": Odd,
    "module": lambda: nn.Linear,
}  # fmt: skip
MODULES: Pool = {
    "MLP": lambda: MLP,
    "batch norm": lambda: Norm,
    "dropout": lambda: Dropped,
    "softmax": lambda: Softmax,
    "NaN": lambda: Loud,
    "failing": lambda: Failing,
    "cnn": lambda: SimpleCNN,
    "linear": lambda: nn.Linear(4, 3),
    "linear of another width": lambda: nn.Linear(5, 3),
    "two outputs": lambda: nn.Linear(4, 2),
    "sequential": lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)),
    "empty": lambda: nn.Sequential(),
    "no parameters": lambda: nn.Identity(),
    "lazy": lambda: nn.LazyLinear(3),
    "class without defaults": lambda: nn.Linear,
    "nn.Module": lambda: nn.Module,
    "function of None": lambda: _none,
    "raising": lambda: _raising,
    "5": lambda: 5,
    "None": lambda: None,
    "'MLP'": lambda: "MLP",
    "object": Odd,
    "object class": lambda: Odd,
    "compiled": lambda: nn.Flatten(),
}
DEVICES: Pool = plain(
    cpu="cpu", zz="zz", cuda="cuda", cuda7="cuda:7", meta="meta", mps="mps", empty="", none=None,
    number=5, negative=-1, object=Odd(), torch=torch.device("cpu"), cpu0="cpu:0", cpu9="cpu:9",
    xla="xla", list=["cpu"],
)  # fmt: skip
NET_POOLS: dict[str, Pool] = {
    "module": MODULES,
    "criterion": CRITERIA,
    "criterion__weight": CLASS_WEIGHTS,
    "criterion__label_smoothing": ODD,
    "criterion__reduction": plain(mean="mean", sum="sum", x="x", none=None, number=5),
    "criterion__ignore_index": ODD,
    "criterion__foo": ODD,
    "optimizer": OPTIMIZERS,
    "optimizer__weight_decay": ODD,
    "optimizer__momentum": ODD,
    "optimizer__betas": {**ODD, "good": lambda: (0.5, 0.5), "bad": lambda: (2, -1)},
    "optimizer__eps": ODD,
    "optimizer__amsgrad": ODD,
    "optimizer__foreach": ODD,
    "optimizer__param_groups": {
        **ODD,
        "rate": lambda: [("layers.1*", {"lr": 0.0})],
        "rate of 'x'": lambda: [("layers.1*", {"lr": "x"})],
        "rate of -1": lambda: [("layers.1*", {"lr": -1})],
        "rate of nan": lambda: [("layers.1*", {"lr": float("nan")})],
        "no such": lambda: [("nothing*", {"lr": 0.1})],
        "unknown": lambda: [("layers.1*", {"foo": 1})],
        "no dict": lambda: [("layers.1*", 5)],
        "not a name": lambda: [(5, {"lr": 0.1})],
    },
    "optimizer__foo": ODD,
    "lr": ODD,
    "max_epochs": {key: ODD[key] for key in ODD if key not in ("1e30", "1e300")},
    "batch_size": ODD,
    "train_split": SPLITS,
    "callbacks": CALLBACKS,
    "device": DEVICES,
    "verbose": ODD,
    "warm_start": ODD,
    "predict_nonlinearity": {**ODD, "softmax": lambda: torch.softmax},
    "iterator_train": {**ODD, "DataLoader": lambda: DataLoader},
    "iterator_train__shuffle": ODD,
    "iterator_train__drop_last": ODD,
    "iterator_train__batch_size": ODD,
    "iterator_train__num_workers": ODD,
    "iterator_train__foo": ODD,
    "iterator_valid__batch_size": ODD,
    "iterator_valid__shuffle": ODD,
    "dataset": {**ODD, "Dataset": lambda: Dataset, "TensorDataset": lambda: TensorDataset},
    "classes": {**ODD, "three": lambda: [0, 1, 2]},
    "compile": {key: ODD[key] for key in ODD if key not in ("True",)},
    "use_caching": ODD,
    "torch_load_kwargs": ODD,
    "module__hidden": {**ODD, "two": lambda: (3, 2), "zero": lambda: (0,), "bad": lambda: (-1,)},
    "module__activation": {**ODD, "tanh": lambda: "tanh"},
    "module__dropout": ODD,
    "module__in_shape": {**ODD, "other": lambda: (7,)},
    "module__n_classes": ODD,
    "module__foo": ODD,
    "foo": ODD,
    "foo__bar": ODD,
    "callbacks__foo": ODD,
    "callbacks__foo__bar": ODD,
}
