"""Estimators, teachers, folds and other objects that the API fuzz passes as parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _fuzz_nets import MODULES, Norm, net
from _fuzz_values import N_CLASSES, N_FEATURES, N_ROWS, ODD, WEIGHTS, Pool, images, labels, rows
from scipy.stats import loguniform
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, LeaveOneOut, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from skorch import NeuralNetRegressor

from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    NTKClassifier,
    PrunedClassifier,
    SelfDistiller,
    StackedGridSearchCV,
    TeacherCommittee,
    augmentation,
    nn,
    objectives,
    perturbation,
    transfer,
)


def objects(module: Any, base: type, more: Pool) -> Pool:
    """Return makers of a module's parameter objects, as they come and with odd fields."""
    pool: Pool = {}
    for name in module.__all__:
        cls = getattr(module, name)
        if not isinstance(cls, type) or not issubclass(cls, base) or inspect.isabstract(cls):
            continue
        pool[name] = _with_field(cls)
        for field_ in _fields(cls):
            for label in ("None", "nan", "-1", "0", "'x'", "[]", "1e30", "object", "2"):
                pool[f"{name}({field_}={label})"] = _with_field(cls, field_, ODD[label])
    return {**ODD, **pool, **more}


def _fields(cls: type) -> list[str]:
    return [name for name in inspect.signature(cls).parameters if name not in ("args", "kwargs")]


def _with_field(
    cls: type, name: str | None = None, value: Callable[[], Any] | None = None
) -> Callable[[], Any]:
    base: dict[str, Any] = {}
    if cls is augmentation.Transform:
        base = {"function": _same}
    elif cls is augmentation.InTurn:
        base = {"parts": (augmentation.MixUp(),)}
    return lambda: cls(**{**base, **({} if name is None else {name: value()})})


def _same(x: Any) -> Any:
    return x


def options(cls: type) -> dict[str, Pool]:
    """Return for each parameter odd values and the words that its constraints list."""
    found = {}
    for name in inspect.signature(cls).parameters:
        rules = cls._parameter_constraints.get(name, [])
        words = {
            repr(word): (lambda word=word: word)
            for rule in (rules if isinstance(rules, list) else [])
            for word in getattr(rule, "options", ())
        }
        found[name] = {**ODD, **words}
    return found


class Sampling:
    """A user's sampler."""

    def sample(self, X: Any, n: int, random_state: Any = None) -> Any:
        """Return rows of another shape."""
        return np.zeros((n, 2))


class Proba(BaseEstimator):
    """A user's teacher, with probabilities of another shape."""

    classes_ = np.arange(N_CLASSES)

    def fit(self, X: Any, y: Any) -> Proba:
        """Do nothing."""
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predict the first class."""
        return np.zeros(len(X), int)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return one column."""
        return np.ones((len(X), 1))


class NanProba(Proba):
    """A user's teacher that knows nothing."""

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return NaN."""
        return np.full((len(X), N_CLASSES), np.nan)


def ensemble(**kwargs: Any) -> DeepEnsembleClassifier:
    """Return a small ensemble."""
    return DeepEnsembleClassifier(net(), 2, random_state=0, **kwargs)


def _fit_net() -> Any:
    module = torch.nn.Linear(N_FEATURES, N_CLASSES)
    return net(module=module, verbose=0).fit(rows().astype(np.float32), labels())


def fitted(estimator: Any, X: Any = None, y: Any = None) -> Any:
    return estimator.fit(rows() if X is None else X, labels() if y is None else y)


RECIPES: Pool = {
    **{f"module {name}": make for name, make in MODULES.items()},
    **ODD,
    "net": net,
    "net class": lambda: type(net()),
    "fitted net": lambda: _fit_net(),
    "regressor net": lambda: NeuralNetRegressor(nn.MLP),
    "pipeline": lambda: make_pipeline(StandardScaler(), net()),
    "logistic": LogisticRegression,
    "network": lambda: NetworkClassifier(net()),
    "ensemble": ensemble,
    "batch ensemble": lambda: BatchEnsembleClassifier(net(), 2),
    "kernel": lambda: NTKClassifier(net()),
    "pruned": lambda: PrunedClassifier(net(), finetune=1),
    "distilled": lambda: DistilledClassifier(LogisticRegression(), net()),
    "self": lambda: SelfDistiller(net()),
    "NetworkClassifier class": lambda: NetworkClassifier,
    "search": lambda: search(),
    "list of nets": lambda: [net(), net()],
}
TEACHERS: Pool = {
    **{name: RECIPES[name] for name in RECIPES if name not in ODD},
    **ODD,
    "tree": lambda: DecisionTreeClassifier(random_state=0),
    "dummy": DummyClassifier,
    "dummy regressor": DummyRegressor,
    "linear regression": LinearRegression,
    "ridge": RidgeClassifier,
    "svm": SVC,
    "class": lambda: LogisticRegression,
    "scaler": StandardScaler,
    "fitted": lambda: fitted(LogisticRegression()),
    "frozen": lambda: FrozenEstimator(fitted(LogisticRegression())),
    "frozen, unfitted": lambda: FrozenEstimator(LogisticRegression()),
    "frozen ensemble": lambda: FrozenEstimator(fitted(ensemble())),
    "frozen network": lambda: FrozenEstimator(fitted(NetworkClassifier(net()))),
    "of other classes": lambda: FrozenEstimator(fitted(LogisticRegression(), y=labels() + 5)),
    "of two classes": lambda: FrozenEstimator(fitted(LogisticRegression(), y=labels(n_classes=2))),
    "of more classes": lambda: FrozenEstimator(fitted(LogisticRegression(), y=labels(n_classes=4))),
    "of other columns": lambda: FrozenEstimator(fitted(LogisticRegression(), rows()[:, :2])),
    "of words": lambda: FrozenEstimator(
        fitted(LogisticRegression(), y=np.array(["u", "v", "w"])[labels()])
    ),
    "of images": lambda: FrozenEstimator(
        NetworkClassifier(net(module=nn.SimpleCNN, module__width=2, module__depth=1)).fit(
            images(), labels()
        )
    ),
    "pipeline of trees": lambda: make_pipeline(
        StandardScaler(), DecisionTreeClassifier(random_state=0)
    ),
    "grid": lambda: GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=2),
    "list": lambda: [LogisticRegression(), DecisionTreeClassifier(random_state=0)],
    "tuple": lambda: (LogisticRegression(), ensemble()),
    "mixed list": lambda: [LogisticRegression(), FrozenEstimator(fitted(LogisticRegression()))],
    "list of regressors": lambda: [LinearRegression()],
    "list in list": lambda: [[LogisticRegression()]],
    "committee": lambda: TeacherCommittee([LogisticRegression(), ensemble()]),
    "wrong shape": Proba,
    "NaN": NanProba,
    "frozen wrong shape": lambda: FrozenEstimator(Proba()),
    "frozen NaN": lambda: FrozenEstimator(NanProba()),
}
CVS: Pool = {
    **{name: ODD[name] for name in ODD if name not in ("1e30",)},
    "'auto'": lambda: "auto",
    "5": lambda: 5,
    "30": lambda: 30,
    "KFold": lambda: KFold(2),
    "KFold(30)": lambda: KFold(30),
    "unsorted": lambda: KFold(2, shuffle=True, random_state=0),
    "stratified": lambda: StratifiedKFold(3),
    "stratified(9)": lambda: StratifiedKFold(9),
    "groups": lambda: GroupKFold(2),
    "leave one out": LeaveOneOut,
    "splits": lambda: [(np.arange(12), np.arange(12, N_ROWS))],
    "splits, iterated": lambda: iter([(np.arange(12), np.arange(12, N_ROWS))]),
    "empty split": lambda: [(np.arange(0), np.arange(5))],
    "rows that are not": lambda: [(np.arange(99), np.arange(5))],
    "one class": lambda: [(np.arange(0, N_ROWS, 3), np.arange(1, N_ROWS, 3))],
    "a class missing": lambda: [(np.flatnonzero(labels() < 2), np.arange(N_ROWS))],
    "no pairs": lambda: [1, 2],
}
CLASS_WEIGHT: Pool = {
    **ODD,
    "'balanced'": lambda: "balanced",
    "all": lambda: {0: 1.0, 1: 2.0, 2: 0.5},
    "some": lambda: {0: 3.0},
    "none of them": lambda: {9: 3.0},
    "zero": lambda: {0: 0.0},
    "zeros": lambda: {0: 0.0, 1: 0, 2: 0},
    "negative": lambda: {0: -1.0},
    "nan": lambda: {0: float("nan")},
    "inf": lambda: {0: float("inf")},
    "huge": lambda: {0: 1e300},
    "of 'x'": lambda: {0: "x"},
    "of None": lambda: {0: None},
    "mixed keys": lambda: {0: 1.0, "a": 2.0},
}
SCORINGS: Pool = {
    **ODD,
    "accuracy": lambda: "accuracy",
    "log loss": lambda: "neg_log_loss",
    "regression": lambda: "r2",
    "auc": lambda: "roc_auc_ovr",
    "several": lambda: ["accuracy", "neg_log_loss"],
    "dict": lambda: {"a": "accuracy"},
    "None returned": lambda: lambda estimator, X, y: None,
    "string returned": lambda: lambda estimator, X, y: "x",
    "dict returned": lambda: lambda estimator, X, y: {"a": 1.0},
    "nan returned": lambda: lambda estimator, X, y: float("nan"),
    "array returned": lambda: lambda estimator, X, y: np.ones(2),
}
PARAMS: Pool = {
    **ODD,
    "rates": lambda: {"estimator__lr": [0.01, 0.02]},
    "no values": lambda: {"estimator__lr": []},
    "a number": lambda: {"estimator__lr": 0.1},
    "a word": lambda: {"estimator__lr": "x"},
    "bad rates": lambda: {"estimator__lr": [-1, "x", None]},
    "some bad": lambda: {"estimator__lr": [0.01, -1]},
    "unknown": lambda: {"foo": [1]},
    "unknown inside": lambda: {"estimator__foo": [1, 2]},
    "nets": lambda: {"estimator": [net(), nn.MLP, 5]},
    "modules": lambda: {"estimator__module": [nn.MLP, Norm]},
    "widths": lambda: {"estimator__module__hidden": [(2,), (3,)]},
    "list": lambda: [{"estimator__lr": [0.01]}, {"precision": ["bf16"]}],
    "distribution": lambda: {"estimator__lr": loguniform(1e-3, 1e-2)},
    "2-D": lambda: {"estimator__lr": np.ones((2, 2))},
    "seeds": lambda: {"random_state": [0, 1]},
    "key of a number": lambda: {1: [1]},
    "callbacks": lambda: {"estimator__callbacks": [["x"], None]},
}
MEMORY: Pool = {
    **{name: ODD[name] for name in ODD if name not in ("'x'", "'1'", "'auto'", "''")},
    "joblib": lambda: __import__("joblib").Memory(None),
}
LOGITS: Pool = {
    **ODD,
    "good": lambda: np.zeros((N_ROWS, N_CLASSES)),
    "members": lambda: np.zeros((2, N_ROWS, N_CLASSES)),
    "fewer rows": lambda: np.zeros((N_ROWS - 1, N_CLASSES)),
    "fewer classes": lambda: np.zeros((N_ROWS, 2)),
    "nan": lambda: np.full((N_ROWS, N_CLASSES), np.nan),
    "inf": lambda: np.full((N_ROWS, N_CLASSES), np.inf),
    "large": lambda: np.full((N_ROWS, N_CLASSES), 1e30),
    "4-D": lambda: np.zeros((1, 1, N_ROWS, N_CLASSES)),
    "strings": lambda: np.full((N_ROWS, N_CLASSES), "a"),
    "none": lambda: np.zeros((0, N_ROWS, N_CLASSES)),
}
GROUPS: Pool = {
    **WEIGHTS,
    "good": lambda: labels(n_classes=6),
    "one": lambda: np.zeros(N_ROWS, int),
    "words": lambda: np.array(["a", "b"] * (N_ROWS // 2)),
}
AUGMENTATIONS = objects(augmentation, augmentation.Augmentation, {
    "'cutmix'": lambda: "cutmix",
    "'crop-flip'": lambda: "crop-flip",
    "identity": lambda: lambda x: x,
    "half": lambda: lambda x: x[: len(x) // 2],
    "numpy": lambda: lambda x: np.zeros(3),
    "several": lambda: ["mixup", "cutmix"],
    "several, one wrong": lambda: ["mixup", 5],
})  # fmt: skip
TERMS = objects(objectives, objectives.Term, {})
PERTURBATIONS = objects(perturbation, perturbation.Perturbation, {})
SAMPLERS = objects(transfer, transfer.Sampler, {"user's": Sampling})
NAMED: dict[str, Pool] = {
    "estimator": RECIPES, "student": RECIPES, "module": RECIPES, "teacher": TEACHERS,
    "class_weight": CLASS_WEIGHT, "augmentation": AUGMENTATIONS, "objective": TERMS,
    "perturbation": PERTURBATIONS, "transfer": SAMPLERS, "cross_fit": CVS, "teacher_cv": CVS,
    "cv": CVS, "scoring": SCORINGS, "param_grid": PARAMS, "param_distributions": PARAMS,
    "memory": MEMORY,
}  # fmt: skip


def pools_of(cls: type, **more: Pool) -> dict[str, Pool]:
    """Return pools for all parameters of an estimator."""
    found = options(cls)
    for name in found:
        if name in NAMED:
            found[name] = {**found[name], **NAMED[name]}
        if name in ("scoring", "refit"):  # which scikit-learn calls, as it would a function
            for label in ("module class", "class", "module"):
                del found[name][label]
    return {**found, **more}


def search(**kwargs: Any) -> StackedGridSearchCV:
    """Return a small search."""
    base = {
        "estimator": NetworkClassifier(net(), random_state=0),
        "param_grid": {"estimator__lr": [0.01, 0.02]},
        "cv": 2,
    }
    return StackedGridSearchCV(**{**base, **kwargs})
