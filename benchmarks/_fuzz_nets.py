"""The nets of the API fuzz, with good settings and odd ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from _fuzz_values import ODD, Odd, Pool, labels, plain, raising, rows, same
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
        "lambda that fails": {"policy": "LambdaLR", "lr_lambda": raising},
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
        "accuracy": "accuracy", "of None": _none, "of a number": _score, "raising": raising,
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
    "ParamMapper": lambda: [ParamMapper("layers.1*", fn=raising)],
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
    "raising": lambda: raising,
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
    "raising": lambda: raising,
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
        name: partial(same, getattr(torch.optim, name))
        for name in (
            "SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta",
            "ASGD", "Rprop", "LBFGS", "SparseAdam", "Adafactor", "Optimizer",
        ) if hasattr(torch.optim, name)
    },
    "5": lambda: 5,
    "None": lambda: None,
    "'Adam'": lambda: "Adam",
    "function of None": lambda: _none,
    "raising": lambda: raising,
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
    "raising": lambda: raising,
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
    # skorch itself refuses modules there, when the net is made.
    "classes": {
        **{key: ODD[key] for key in ODD if "module" not in key},
        "three": lambda: [0, 1, 2],
    },
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
