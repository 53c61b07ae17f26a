"""What the API fuzz calls: every public estimator and function, and what each may be given."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _fuzz_values import (
    GOOD_X,
    MODULES,
    N_CLASSES,
    N_FEATURES,
    N_ROWS,
    ODD,
    ODD_X,
    ODD_Y,
    WEIGHTS,
    Norm,
    Pool,
    images,
    labels,
    net,
    plain,
    rows,
)
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

import skensemble
from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    NTKClassifier,
    PrunedClassifier,
    SelfDistiller,
    StackedGridSearchCV,
    StackedRandomizedSearchCV,
    TeacherCommittee,
    augmentation,
    datasets,
    inspection,
    metrics,
    nn,
    ntk,
    objectives,
    perturbation,
    preprocessing,
    pruning,
    transfer,
)


@dataclass
class Subject:
    """A class or function, a good way to call it, and pools for its parameters.

    Attributes
    ----------
    name : str
        What it is called in results.
    make : callable
        The class or function.
    base : dict
        Arguments that it works with, or makers of them.
    pools : dict of str to Pool
        Values for each parameter.
    recipe : str
        The parameter that holds a net; empty where there is none.
    weight : float
        How often it is drawn.
    """

    name: str
    make: Callable[..., Any]
    base: dict[str, Any]
    pools: dict[str, Pool]
    recipe: str = ""
    fits: bool = True
    weight: float = 1.0
    fit_pools: dict[str, Pool] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Return good arguments, made anew."""
        base = self.base.items()
        return {name: value() if callable(value) else value for name, value in base}


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


def _fitted_net() -> Any:
    module = torch.nn.Linear(N_FEATURES, N_CLASSES)
    return net(module=module, verbose=0).fit(rows().astype(np.float32), labels())


def _fitted(estimator: Any, X: Any = None, y: Any = None) -> Any:
    return estimator.fit(rows() if X is None else X, labels() if y is None else y)


RECIPES: Pool = {
    **{f"module {name}": make for name, make in MODULES.items()},
    **ODD,
    "net": net,
    "net class": lambda: type(net()),
    "fitted net": lambda: _fitted_net(),
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
    "tree": DecisionTreeClassifier,
    "dummy": DummyClassifier,
    "dummy regressor": DummyRegressor,
    "linear regression": LinearRegression,
    "ridge": RidgeClassifier,
    "svm": SVC,
    "class": lambda: LogisticRegression,
    "scaler": StandardScaler,
    "fitted": lambda: _fitted(LogisticRegression()),
    "frozen": lambda: FrozenEstimator(_fitted(LogisticRegression())),
    "frozen, unfitted": lambda: FrozenEstimator(LogisticRegression()),
    "frozen ensemble": lambda: FrozenEstimator(_fitted(ensemble())),
    "frozen network": lambda: FrozenEstimator(_fitted(NetworkClassifier(net()))),
    "of other classes": lambda: FrozenEstimator(_fitted(LogisticRegression(), y=labels() + 5)),
    "of two classes": lambda: FrozenEstimator(_fitted(LogisticRegression(), y=labels(n_classes=2))),
    "of more classes": lambda: FrozenEstimator(
        _fitted(LogisticRegression(), y=labels(n_classes=4))
    ),
    "of other columns": lambda: FrozenEstimator(_fitted(LogisticRegression(), rows()[:, :2])),
    "of words": lambda: FrozenEstimator(
        _fitted(LogisticRegression(), y=np.array(["u", "v", "w"])[labels()])
    ),
    "of images": lambda: FrozenEstimator(
        NetworkClassifier(net(module=nn.SimpleCNN, module__width=2, module__depth=1)).fit(
            images(), labels()
        )
    ),
    "pipeline of trees": lambda: make_pipeline(StandardScaler(), DecisionTreeClassifier()),
    "grid": lambda: GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=2),
    "list": lambda: [LogisticRegression(), DecisionTreeClassifier()],
    "tuple": lambda: (LogisticRegression(), ensemble()),
    "mixed list": lambda: [LogisticRegression(), FrozenEstimator(_fitted(LogisticRegression()))],
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
            del found[name]["module class"]
    return {**found, **more}


def search(**kwargs: Any) -> StackedGridSearchCV:
    """Return a small search."""
    base = {
        "estimator": NetworkClassifier(net(), random_state=0),
        "param_grid": {"estimator__lr": [0.01, 0.02]},
        "cv": 2,
    }
    return StackedGridSearchCV(**{**base, **kwargs})


def _estimator(cls: type, recipe: str = "", weight: float = 1.0, **base: Any) -> Subject:
    more = base.pop("pools", {})
    fit_pools = base.pop("fit_pools", {})

    if "random_state" in inspect.signature(cls).parameters:
        base["random_state"] = 0
    pools = pools_of(cls, **more)
    return Subject(cls.__name__, cls, base, pools, recipe, weight=weight, fit_pools=fit_pools)


_COMMITTEES: Pool = {
    **ODD,
    **{f"list of {name}": (lambda make=make: [make()]) for name, make in TEACHERS.items()},
    **{
        f"logistic and {name}": (lambda make=make: [LogisticRegression(), make()])
        for name, make in TEACHERS.items()
    },
}
_FINETUNE = {**ODD, "net": net, "of lr": lambda: {"lr": 0.1}, "of bad lr": lambda: {"lr": -1},
             "of unknown": lambda: {"foo": 1}, "of callbacks": lambda: {"callbacks": ["x"]},
             "of epochs": lambda: {"max_epochs": 1}}  # fmt: skip
_DISTILL = {**ODD, "default": DistilledClassifier,
            "of trees": lambda: DistilledClassifier(DecisionTreeClassifier()),
            "bad": lambda: DistilledClassifier(alpha=5), "class": lambda: DistilledClassifier,
            "with student": lambda: DistilledClassifier(student=net()),
            "bad teacher": lambda: DistilledClassifier(5)}  # fmt: skip
_KEEP = {**ODD, "by layer": lambda: {"layers.1": 0.5}, "no layer": lambda: {"nothing": 0.5},
         "bad share": lambda: {"layers.1": 5}, "of 'x'": lambda: {"layers.1": "x"}}  # fmt: skip
ESTIMATORS: list[Subject] = [
    _estimator(NetworkClassifier, "estimator", 3, estimator=net),
    _estimator(DeepEnsembleClassifier, "estimator", 3, estimator=net, n_estimators=2,
               fit_pools={"groups": GROUPS}),
    _estimator(BatchEnsembleClassifier, "estimator", 1.5, estimator=net, n_estimators=2),
    _estimator(DistilledClassifier, "student", 3, teacher=LogisticRegression, student=net,
               fit_pools={"teacher_logits": LOGITS,
                          "X_unlabelled": {**ODD, **GOOD_X, **ODD_X}}),
    _estimator(SelfDistiller, "estimator", 1, estimator=net),
    _estimator(TeacherCommittee, "", 0.7,
               teachers=lambda: [LogisticRegression(), DecisionTreeClassifier(random_state=0)],
               pools={"teachers": _COMMITTEES,
                      "weights": {**ODD, **WEIGHTS, "good": lambda: [1, 2]}}),
    _estimator(NTKClassifier, "estimator", 2, estimator=net),
    _estimator(PrunedClassifier, "estimator", 2, estimator=net, finetune=1,
               pools={"finetune": _FINETUNE, "distill": _DISTILL, "keep": _KEEP}),
    _estimator(StackedGridSearchCV, "", 1.5, estimator=lambda: NetworkClassifier(net()),
               param_grid={"estimator__lr": [0.01, 0.02]}, cv=2),
    _estimator(StackedRandomizedSearchCV, "", 0.7, estimator=lambda: NetworkClassifier(net()),
               param_distributions={"estimator__lr": [0.01, 0.02]}, cv=2, n_iter=2),
    _estimator(ntk.NTKFeatures, "estimator", 1, estimator=net),
    _estimator(preprocessing.ModuleFeatures, "module", 1, module=net),
    _estimator(preprocessing.ChannelSplit, "", 0.5),
    _estimator(preprocessing.TablePreprocessor, "", 1),
]  # fmt: skip


# -- functions ---------------------------------------------------------------------------------


def _function(function: Callable[..., Any], pools: dict[str, Pool], **base: Any) -> Subject:
    known = inspect.signature(function).parameters
    all_pools = {name: {**ODD, **pools.get(name, {})} for name in known if name != "path"}
    all_pools |= {"path": pools["path"]} if "path" in pools else {}
    return Subject(function.__name__, function, base, all_pools, fits=False, weight=0.35)


def _proba() -> np.ndarray:
    return np.full((N_ROWS, N_CLASSES), 1 / N_CLASSES)


def _members() -> np.ndarray:
    return np.stack([_proba(), _proba()])


_PROBA: Pool = {
    "good": _proba, "members": _members, "frame": lambda: __import__("pandas").DataFrame(_proba()),
    "nan": lambda: np.full((N_ROWS, N_CLASSES), np.nan), "fewer": lambda: _proba()[:-1],
    "two columns": lambda: _proba()[:, :2], "negative": lambda: -_proba(),
    "logits": lambda: 9 * _proba(), "none": lambda: _proba()[:0], "1-D": lambda: _proba()[:, 0],
    "strings": lambda: _proba().astype(str), "4-D": lambda: _members()[None],
    "one member": lambda: _members()[:1], "no member": lambda: _members()[:0],
}  # fmt: skip
_LABELS: Pool = {"good": lambda: [0, 1, 2], "more": lambda: [0, 1, 2, 3], "fewer": lambda: [0, 1],
                 "twice": lambda: [0, 1, 1], "words": lambda: ["a", "b", "c"]}  # fmt: skip
_MODULES: Pool = {**MODULES, "good": lambda: torch.nn.Linear(4, 3)}
_ROWS: Pool = {**GOOD_X, **ODD_X}
_TRUE: Pool = {**ODD_Y, "good": labels}
_MADE: dict[str, Any] = {}


def fitted_ensemble() -> Any:
    """Return one fitted ensemble that functions are given, and that they must leave alone."""
    if "ensemble" not in _MADE:
        _MADE["ensemble"] = _fitted(ensemble())
    return _MADE["ensemble"]


def saved() -> str:
    """Return the path of a file."""
    if "file" not in _MADE:
        _MADE["file"] = str(Path(tempfile.mkdtemp()) / "file")
        fitted_ensemble().save(_MADE["file"])
    return str(_MADE["file"])


def _other_file() -> str:
    path = Path(saved()).with_name("other")
    path.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ")
    return str(path)


def _cut_file() -> str:
    path = Path(saved()).with_name("cut")
    path.write_bytes(Path(saved()).read_bytes()[:-7])
    return str(path)


_FILES: Pool = {"good": saved, "missing": lambda: "/nowhere/file", "other": _other_file,
                "cut": _cut_file}  # fmt: skip
_SMALL = {"n_samples": 20, "n_classes": 3}
_ENSEMBLES = {**TEACHERS, "good": fitted_ensemble}
FUNCTIONS: list[Subject] = [
    _function(metrics.disagreement, {"members": _PROBA}, members=_members),
    _function(metrics.pairwise_kl, {"members": _PROBA}, members=_members),
    _function(metrics.expected_calibration_error,
              {"y_true": _TRUE, "y_proba": _PROBA, "labels": _LABELS},
              y_true=labels, y_proba=_proba),
    _function(metrics.negative_log_likelihood,
              {"y_true": _TRUE, "y_proba": _PROBA, "labels": _LABELS},
              y_true=labels, y_proba=_proba),
    _function(metrics.retention,
              {"y_true": _TRUE, "student_proba": _PROBA, "teacher_proba": _PROBA,
               "plain_proba": _PROBA, "labels": _LABELS, "sample_weight": WEIGHTS},
              y_true=labels, student_proba=_proba, teacher_proba=_proba, plain_proba=_proba,
              n_bootstrap=9),
    _function(metrics.surplus, {}, self_distilled=0.8, finetuned=0.7, unpruned_distilled=0.9,
              unpruned=0.8),
    _function(inspection.learned_views, {"estimator": _ENSEMBLES, "features": _ROWS},
              estimator=fitted_ensemble, features=lambda: np.ones((3, 2, 4))),
    _function(pruning.prune_ensemble,
              {"ensemble": _ENSEMBLES, "X_val": _ROWS, "y_val": _TRUE, "sample_weight": WEIGHTS,
               "method": plain(greedy="greedy", random="random")},
              ensemble=fitted_ensemble, X_val=rows, y_val=labels),
    _function(skensemble.load, {"path": _FILES, "module": _MODULES}, path=saved),
    _function(datasets.make_labelled_gaussian, {"shape": plain(one=4, two=(2, 2))}, **_SMALL,
              shape=(1, 2, 2)),
    _function(datasets.make_multiview_classification, {}, **_SMALL, patch_dim=40),
    _function(datasets.load_cifar, {"name": plain(ten="cifar10")}, name="cifar10",
              root="/nowhere"),
    _function(nn.quantile_bins, {"X": _ROWS}, X=rows),
    _function(nn.gradient_descent, {"module": _MODULES}),
    _function(ntk.empirical_ntk,
              {"module": _MODULES, "X1": _ROWS, "X2": _ROWS,
               "outputs": plain(full="full", trace="trace")},
              module=lambda: torch.nn.Linear(4, 3), X1=lambda: rows().astype(np.float32)),
    _function(ntk.kernel_operator, {"module": _MODULES, "X": _ROWS},
              module=lambda: torch.nn.Linear(4, 3), X=lambda: rows().astype(np.float32)),
]  # fmt: skip
for _sampler in (transfer.Interpolate, transfer.Mixup, transfer.Munge, transfer.Noise):
    _one = _function(_sampler().sample, {"X": _ROWS}, X=rows, n=5, random_state=0)
    _one.name = f"{_sampler.__name__}.sample"
    FUNCTIONS.append(_one)
BIG = ("1e30", "1e300", "inf")  # numbers of rows that no memory holds
for _one in FUNCTIONS:
    for _name, _pool in _one.pools.items():
        _one.pools[_name] = {
            key: _pool[key] for key in _pool if key not in BIG or "n_" not in _name
        }
SUBJECTS = [*ESTIMATORS, *FUNCTIONS]
