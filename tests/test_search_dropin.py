"""Our searches stand where scikit-learn's stand: every result, warning, line and error.

Each case is fitted by scikit-learn's search and by ours on the same data with our estimators
inside; what they leave behind is compared name by name.
"""

import pickle
import re
import warnings
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import sklearn
from nets import make_net
from scipy import sparse
from scipy.stats import loguniform, randint, uniform
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, fbeta_score, log_loss, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    RandomizedSearchCV,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    TimeSeriesSplit,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

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
)
from skensemble._engine.training import Training

LR = {"estimator__lr": [0.01, 0.05]}
KINDS = (GridSearchCV, StackedGridSearchCV)
OURS = {GridSearchCV: StackedGridSearchCV, RandomizedSearchCV: StackedRandomizedSearchCV}
X, Y = make_classification(60, 6, n_informative=5, n_redundant=0, n_classes=3, random_state=0)
GROUPS = np.arange(60) % 5
WEIGHT = np.random.default_rng(0).uniform(0.5, 2, 60)
FOLDS = list(KFold(2).split(X))
FRAME = pd.DataFrame(X, columns=list("abcdef"), index=np.arange(60)[::-1])
SERIES = pd.Series(Y, index=FRAME.index)


def network(**kwargs):
    kwargs.setdefault("random_state", 0)
    return NetworkClassifier(make_net(max_epochs=2), **kwargs)


def ensemble(**kwargs):
    return DeepEnsembleClassifier(make_net(max_epochs=2), 2, random_state=0, **kwargs)


def student(**kwargs):
    return DistilledClassifier(ensemble(), make_net(max_epochs=2), random_state=0, **kwargs)


def routed(estimator, fit=True, score=False):
    return estimator.set_fit_request(sample_weight=fit).set_score_request(sample_weight=score)


# -- how two searches are compared -------------------------------------------------------------


def run(kind, case):
    """Fit one search of a case; return it with its warnings and the members it trained."""
    with sklearn.config_context(enable_metadata_routing=True):  # some set their requests
        parts = {"estimator": network(), "space": LR, "X": X, "y": Y, "fit": {}, "cv": 2, **case()}
    data, fit_params = (parts.pop("X"), parts.pop("y")), parts.pop("fit")
    context = parts.pop("context", None)
    callbacks = parts.pop("callbacks", ())
    search = kind(parts.pop("estimator"), parts.pop("space"), **parts).set_callbacks(*callbacks)
    trained = []
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        plain = Training.run
        patch.setattr(
            Training, "run", lambda self: (trained.append(len(self.members)), plain(self))[1]
        )
        with nullcontext() if context is None else sklearn.config_context(**context):
            search.fit(*data, **fit_params)
    return search, [(one.category, plainly(one.message)) for one in told], sum(trained)


def plainly(message):
    """Return the first line of a message, without the name that tells the two searches apart."""
    return str(message).replace("Stacked", "").strip().splitlines()[0]


def nameless(value):
    """Return what a value looks like, wherever it lies."""
    return re.sub(r" at 0x\w+", "", value if isinstance(value, str) else repr(value))


def public(search):
    return sorted(name for name in vars(search) if not name.startswith("_"))


def assert_same_results(theirs, ours, atol=1e-10):
    assert list(ours) == list(theirs)
    for name, values in theirs.items():
        found = ours[name]
        assert type(found) is type(values), name
        assert getattr(found, "dtype", None) == getattr(values, "dtype", None), name
        assert np.shape(found) == np.shape(values), name
        if name == "params" or name.startswith("param_"):
            assert list(map(nameless, found)) == list(map(nameless, values)), name
            np.testing.assert_array_equal(np.ma.getmask(found), np.ma.getmask(values), name)
        elif name.startswith("rank_"):
            np.testing.assert_array_equal(found, values, name)
        elif "_time" in name:
            assert np.isfinite(found).all(), name
        else:
            np.testing.assert_allclose(found, values, rtol=0, atol=atol, err_msg=name)


def assert_same_search(theirs, ours, X, y, atol=1e-10):
    assert public(ours) == sorted({*public(theirs), "checkpoint"})  # our one parameter more
    assert_same_results(theirs.cv_results_, ours.cv_results_, atol)
    assert (ours.n_splits_, ours.multimetric_) == (theirs.n_splits_, theirs.multimetric_)
    assert type(ours.scorer_) is type(theirs.scorer_)
    for name in ("best_index_", "best_params_"):
        assert nameless(getattr(ours, name, None)) == nameless(getattr(theirs, name, None))
    if hasattr(theirs, "best_score_"):
        np.testing.assert_allclose(ours.best_score_, theirs.best_score_, rtol=0, atol=atol)
    if not theirs.refit:
        assert not hasattr(ours, "classes_")
        return
    assert type(ours.best_estimator_) is type(theirs.best_estimator_)
    assert ours.refit_time_ > 0
    assert ours.n_features_in_ == theirs.n_features_in_
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=atol)
    if not callable(theirs.refit) or not theirs.multimetric_:
        assert ours.score(X, y) == pytest.approx(theirs.score(X, y), rel=0, abs=atol)


def compare(case, kind=GridSearchCV, atol=1e-10):
    """Fit both searches of a case and compare all they leave behind."""
    theirs, told, trained = run(kind, case)
    ours, told_by_us, trained_by_us = run(OURS[kind], case)
    with sklearn.config_context(enable_metadata_routing=True):
        parts = {"X": X, "y": Y, **case()}
    assert_same_search(theirs, ours, parts["X"], parts["y"], atol)
    assert told_by_us == told
    if parts.get("n_jobs", 1) == 1:  # or members are trained elsewhere
        assert trained_by_us <= trained  # nothing was trained in vain
    return theirs, ours


# -- the cases ---------------------------------------------------------------------------------


def own(estimator, X, y):
    return -log_loss(y, estimator.predict_proba(X))


def several(estimator, X, y):
    return {"acc": estimator.score(X, y), "loss": own(estimator, X, y)}


def picky(estimator, X, y):
    """Cannot score the candidate of the larger rate."""
    if estimator.estimator.lr > 0.02:
        raise ValueError("too fast for me")
    return estimator.score(X, y)


def last(results):
    return len(results["params"]) - 1


LOSS = make_scorer(log_loss, response_method="predict_proba", greater_is_better=False)
BOTH = ["accuracy", "neg_log_loss"]
SCORING = {
    "name": lambda: {"scoring": "accuracy"},
    "loss": lambda: {"scoring": "neg_log_loss", "return_train_score": True},
    "auc": lambda: {"scoring": "roc_auc_ovr"},
    "scorer": lambda: {"scoring": LOSS, "return_train_score": True},
    "scorer with arguments": lambda: {
        "scoring": make_scorer(fbeta_score, beta=2, average="macro", zero_division=0)},
    "function": lambda: {"scoring": own},
    "function of several": lambda: {"scoring": several, "refit": "loss"},
    "function of several, no refit": lambda: {"scoring": several, "refit": False},
    "list": lambda: {"scoring": BOTH, "refit": "accuracy", "return_train_score": True},
    "tuple": lambda: {"scoring": tuple(BOTH), "refit": "neg_log_loss"},
    "dict": lambda: {"scoring": {"a": "accuracy", "l": LOSS, "o": own}, "refit": "o",
                     "return_train_score": True},
    "several, no refit": lambda: {"scoring": BOTH, "refit": False},
    "several, refit by a function": lambda: {"scoring": BOTH, "refit": last},
    "refit by a function": lambda: {"refit": last},
    "refit=False": lambda: {"refit": False, "return_train_score": True},
    "refit by a name of the only score": lambda: {"refit": "accuracy"},
    "a metric for a scorer": lambda: {"scoring": accuracy_score, "refit": False},
    "a scorer that fails at times": lambda: {"scoring": picky, "error_score": -1.0},
    "a scorer of several that fails at times": lambda: {
        "scoring": {"p": picky, "a": "accuracy"}, "refit": "a"},
}  # fmt: skip

FOLDING = {
    "default": lambda: {"cv": None},
    "three": lambda: {"cv": 3},
    "shuffled": lambda: {"cv": KFold(2, shuffle=True, random_state=1)},
    "shuffled by a generator": lambda: {
        "cv": KFold(2, shuffle=True, random_state=np.random.RandomState(3))},
    "stratified": lambda: {"cv": StratifiedKFold(3)},
    "drawn": lambda: {"cv": ShuffleSplit(2, random_state=np.random.RandomState(3))},
    "repeated": lambda: {"cv": RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0)},
    "in time": lambda: {"cv": TimeSeriesSplit(2)},
    "predefined": lambda: {"cv": PredefinedSplit(np.arange(60) % 3 - 1)},
    "list of folds": lambda: {"cv": FOLDS},
    "list of lists": lambda: {"cv": [(a.tolist(), b.tolist()) for a, b in FOLDS]},
    "masks": lambda: {"cv": [(np.isin(np.arange(60), a), np.isin(np.arange(60), b))
                             for a, b in FOLDS]},
    "iterator": lambda: {"cv": iter(FOLDS)},
    "generator": lambda: {"cv": (fold for fold in FOLDS)},
    "split() of a splitter": lambda: {"cv": KFold(2).split(X)},
    "groups": lambda: {"cv": GroupKFold(2), "fit": {"groups": GROUPS}},
    "one group out": lambda: {"cv": LeaveOneGroupOut(), "fit": {"groups": GROUPS.tolist()}},
    "groups drawn": lambda: {"cv": GroupShuffleSplit(2, random_state=np.random.RandomState(0)),
                             "fit": {"groups": pd.Series(GROUPS)}},
    "groups stratified": lambda: {"cv": StratifiedGroupKFold(2), "fit": {"groups": GROUPS}},
    "groups nobody asks for": lambda: {"fit": {"groups": GROUPS}},
}  # fmt: skip

ROUTING = {"enable_metadata_routing": True}
DATA = {
    "lists": lambda: {"X": X.tolist(), "y": Y.tolist()},
    "frame": lambda: {"X": FRAME, "y": SERIES},
    "frame and array": lambda: {"X": FRAME, "y": Y},
    "strings": lambda: {"y": np.array(["red", "green", "blue"])[Y], "scoring": "accuracy"},
    "objects": lambda: {"y": np.array(["red", "green", "blue"], dtype=object)[Y]},
    "two classes": lambda: {"y": Y == 0, "scoring": ["roc_auc", "f1"], "refit": "f1"},
    "categories": lambda: {"X": FRAME, "y": pd.Series(
        np.array(["red", "green", "blue"])[Y], index=FRAME.index, dtype="category")},
    "columns first": lambda: {"X": np.asfortranarray(X)},
    "integers": lambda: {"X": (10 * X).astype(np.int64)},
    "weights": lambda: {"fit": {"sample_weight": WEIGHT}},
    "weights in a list": lambda: {"fit": {"sample_weight": WEIGHT.tolist()}},
    "weights in a series": lambda: {"X": FRAME, "y": SERIES,
                                    "fit": {"sample_weight": pd.Series(WEIGHT)}},
    "no weights": lambda: {"fit": {"sample_weight": None}},
    "weights and a scorer without": lambda: {"fit": {"sample_weight": WEIGHT}, "scoring": own},
    "weights and groups": lambda: {"fit": {"sample_weight": WEIGHT, "groups": GROUPS},
                                   "cv": GroupKFold(2), "return_train_score": True},
    "routed weights": lambda: {"estimator": routed(network()), "context": ROUTING,
                               "fit": {"sample_weight": WEIGHT}},
    "routed weights of scores": lambda: {"estimator": routed(network(), score=True),
                                         "context": ROUTING, "fit": {"sample_weight": WEIGHT}},
    "routed groups": lambda: {"cv": GroupKFold(2), "context": ROUTING, "fit": {"groups": GROUPS}},
    "routed weights and groups": lambda: {
        "estimator": routed(network(), score=True), "cv": GroupKFold(2), "context": ROUTING,
        "fit": {"groups": GROUPS, "sample_weight": WEIGHT}},
    "teacher's logits": lambda: {"estimator": student(), "space": {"alpha": [0.5, 1.0]}, "fit": {
        "teacher_logits": np.random.default_rng(0).normal(size=(60, 3))}},
    "rows without labels": lambda: {"estimator": student(), "space": {"alpha": [0.5, 1.0]},
                                    "fit": {"X_unlabelled": X[:7] + 1}},
}  # fmt: skip

NETS = [make_net(max_epochs=1), make_net(max_epochs=2, module__hidden=(5,))]
SPACES = {
    "nothing": lambda: {"space": {}},
    "twice the same": lambda: {"space": {"estimator__lr": [0.05, 0.05, 0.01]}},
    "twice the same in two grids": lambda: {"space": [LR, {"estimator__lr": [0.05]}]},
    "two grids": lambda: {"space": [LR, {"random_state": [1, 2], "class_weight": [None]}]},
    "an array": lambda: {"space": {"estimator__lr": np.array([0.01, 0.02, 0.05])}},
    "recipes": lambda: {"space": {"estimator": NETS}},
    "recipes and their parts": lambda: {"space": {"estimator": NETS, **LR}},
    "tuples": lambda: {"space": {"estimator__module__hidden": [(4,), (5, 3)]}},
    "words and None": lambda: {"space": {"class_weight": [None, "balanced", {0: 1, 1: 2, 2: 3}]}},
    "seeds": lambda: {"space": {"random_state": [0, np.random.RandomState(5)]}},
    "a bad value": lambda: {"space": {"class_weight": ["balanced", "unbalanced"]}},
    "a bad value, scored": lambda: {"space": {"class_weight": ["odd", None]}, "error_score": 0.25,
                                    "return_train_score": True, "scoring": BOTH, "refit": BOTH[0]},
    "a bad rate": lambda: {"space": {"estimator__lr": [-1.0, 0.05]}, "error_score": -3},
}  # fmt: skip

ESTIMATORS = {
    "a seed in a generator": lambda: {"estimator": network(random_state=np.random.RandomState(7))},
    "ensemble": lambda: {"estimator": ensemble()},
    "ensemble of bootstraps": lambda: {"estimator": ensemble(bootstrap=True)},
    "ensemble of folds": lambda: {"estimator": ensemble(cross_fit=2)},
    "joint": lambda: {"estimator": ensemble(joint=True)},
    "workers of its own": lambda: {"estimator": ensemble(n_jobs=1), "n_jobs": 1},
    "student": lambda: {"estimator": student(), "space": {"temperature": [1.0, 3.0]}},
    "self": lambda: {"estimator": SelfDistiller(make_net(max_epochs=2), 1, random_state=0)},
    "batch ensemble": lambda: {
        "estimator": BatchEnsembleClassifier(make_net(max_epochs=2), 2, random_state=0)},
    "pruned": lambda: {"estimator": PrunedClassifier(ensemble(), keep=0.5, random_state=0),
                       "space": {"keep": [0.5, 0.75]}},
    "kernel": lambda: {"estimator": NTKClassifier(make_net(), random_state=0),
                       "space": {"random_state": [0, 1]}},
    "student of a search": lambda: {"estimator": DistilledClassifier(
        GridSearchCV(network(), LR, cv=2), make_net(max_epochs=2), random_state=0),
        "space": {"alpha": [0.5, 1.0]}},
    "pipeline": lambda: {"estimator": Pipeline([("scale", StandardScaler()), ("net", network())]),
                         "space": {"net__estimator__lr": [0.01, 0.05], "scale__with_mean": [
                             True, False]}},
    "a stranger": lambda: {"estimator": LogisticRegression(), "space": {"C": [0.1, 1.0]}},
}  # fmt: skip

WORK = {
    "n_jobs=1": lambda: {"n_jobs": 1},
    "n_jobs=2": lambda: {"n_jobs": 2, "estimator": ensemble()},
    "pre_dispatch": lambda: {"n_jobs": 1, "pre_dispatch": "all"},
    "pre_dispatch of a number": lambda: {"n_jobs": 1, "pre_dispatch": 1},
}
CASES = {**SCORING, **FOLDING, **DATA, **SPACES, **ESTIMATORS, **WORK}


@pytest.mark.parametrize("name", CASES)
def test_all_a_grid_search_leaves_behind(name):
    compare(CASES[name])


def test_no_two_cases_have_one_name():
    parts = (SCORING, FOLDING, DATA, SPACES, ESTIMATORS, WORK)
    assert len(CASES) == sum(map(len, parts)) >= 60


# -- drawn candidates --------------------------------------------------------------------------
DRAWN = {
    "rates": lambda: {"space": {"estimator__lr": loguniform(1e-3, 1e-1)}, "n_iter": 3},
    "rates and seeds": lambda: {"space": {"estimator__lr": uniform(0.01, 0.1), "random_state":
                                          randint(0, 9), "class_weight": [None, "balanced"]}},
    "a list": lambda: {"space": [{"estimator__lr": uniform(0.01, 0.1)}, {"random_state": [1]}]},
    "a generator": lambda: {"space": {"estimator__lr": uniform(0.01, 0.1)},
                            "random_state": np.random.RandomState(4)},
    "more than there are": lambda: {"n_iter": 5},
    "several scores": lambda: {"scoring": BOTH, "refit": BOTH[1], "return_train_score": True},
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_all_a_randomized_search_leaves_behind(name):
    compare(lambda: {"n_iter": 2, "random_state": 0, **DRAWN[name]()}, RandomizedSearchCV)


def test_candidates_of_a_free_generator_are_drawn_as_scikit_learn_draws_them():
    states = np.random.RandomState(1), np.random.RandomState(1)
    for kind, state in zip((RandomizedSearchCV, StackedRandomizedSearchCV), states, strict=True):
        space = {"estimator__lr": uniform(0.01, 0.1)}
        kind(network(), space, n_iter=2, cv=2, random_state=state).fit(X, Y)
    assert states[0].randint(1000) == states[1].randint(1000)


# -- what is refused ---------------------------------------------------------------------------
class Short(KFold):
    """Has fewer folds than it says."""

    def get_n_splits(self, *args):
        return super().get_n_splits(*args) + 1


REFUSED = {
    "scoring": lambda: {"scoring": "nonsense"},
    "scoring of a wrong kind": lambda: {"scoring": 3},
    "one of several": lambda: {"scoring": ["accuracy", "nonsense"], "refit": "accuracy"},
    "a scorer twice": lambda: {"scoring": ["accuracy", "accuracy"], "refit": "accuracy"},
    "no scorers": lambda: {"scoring": [], "refit": "accuracy"},
    "a scorer that is a function": lambda: {"scoring": [own], "refit": "own"},
    "refit for several": lambda: {"scoring": BOTH},
    "refit by what is not scored": lambda: {"scoring": BOTH, "refit": "roc_auc"},
    "refit of a wrong kind": lambda: {"refit": 3.5},
    "one fold": lambda: {"cv": 1},
    "no folds": lambda: {"cv": []},
    "cv of a wrong kind": lambda: {"cv": 2.5},
    "folds for more rows": lambda: {"cv": KFold(61)},
    "fewer folds than said": lambda: {"cv": Short(2)},
    "rows that are not there": lambda: {"cv": [(np.arange(70), np.arange(5))]},
    "groups that are missing": lambda: {"cv": GroupKFold(2)},
    "groups of another length": lambda: {"cv": GroupKFold(2), "fit": {"groups": GROUPS[:5]}},
    "weights nobody asked for": lambda: {"context": ROUTING, "fit": {"sample_weight": WEIGHT}},
    "an unknown parameter": lambda: {"space": {"nonsense": [1, 2]}},
    "an unknown part": lambda: {"space": {"random_state": [0], "estimator__nonsense__lr": [0.1]}},
    "a number for a list": lambda: {"space": {"estimator__lr": 0.1}},
    "a word for a list": lambda: {"space": {"estimator__lr": "0.1"}},
    "an empty list": lambda: {"space": {"estimator__lr": []}},
    "a grid of two axes": lambda: {"space": {"estimator__lr": np.ones((2, 2))}},
    "a grid of a wrong kind": lambda: {"space": "estimator__lr"},
    "error_score": lambda: {"error_score": "rise"},
    "verbose": lambda: {"verbose": -1},
    "n_jobs": lambda: {"n_jobs": 1.5},
    "n_jobs=0": lambda: {"n_jobs": 0},
    "pre_dispatch": lambda: {"pre_dispatch": 1.5},
    "return_train_score": lambda: {"return_train_score": 2},
    "a class": lambda: {"estimator": NetworkClassifier},
    "labels of another length": lambda: {"y": Y[:-1]},
    "weights of another length": lambda: {"fit": {"sample_weight": WEIGHT[:-1]}},
    "a bad value": lambda: {"space": {"class_weight": ["odd"]}},
    "a bad value of two": lambda: {"space": {"class_weight": ["balanced", "odd"]},
                                   "error_score": "raise"},
    "what fit does not take": lambda: {"fit": {"nonsense": 3}},
    "not a number": lambda: {"X": np.full_like(X, np.nan)},
    "continuous labels": lambda: {"y": X[:, 0], "cv": KFold(2)},
}  # fmt: skip
# scikit-learn finds out once it has trained; ours need not have trained for it.
LATE = {
    "a function that returns a word": lambda: {"scoring": lambda *args: "good"},
    "refit by a number that is none": lambda: {"refit": lambda results: 0.5},
    "refit by a number too large": lambda: {"refit": lambda results: 2},
    "several that were not expected": lambda: {"scoring": several},
    "a scorer that fails": lambda: {"scoring": picky, "error_score": "raise"},
    "a bad rate": lambda: {"space": {"estimator__lr": [0.1, -1]}, "error_score": "raise"},
}  # fmt: skip


def refusal(kind, case):
    trained = []
    with pytest.MonkeyPatch.context() as patch:
        plain = Training.run
        patch.setattr(Training, "run", lambda self: (trained.append(1), plain(self))[1])
        with pytest.raises(Exception) as caught:
            run(kind, case)
    return type(caught.value), nameless(plainly(caught.value)), trained


@pytest.mark.parametrize("name", [*REFUSED, *LATE])
def test_what_scikit_learn_refuses_is_refused_alike(name):
    theirs, ours = (refusal(kind, {**REFUSED, **LATE}[name]) for kind in KINDS)
    assert theirs[1] in ours[1]  # behind the name of a parameter, where scikit-learn has none
    assert ours[0] in (theirs[0], ValueError)
    if name in REFUSED:
        assert ours[2] == []  # before training


def test_labels_are_required():
    with pytest.raises(ValueError, match="y should be a 1d array"):
        StackedGridSearchCV(network(), LR, cv=2).fit(X)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba", "score"])
def test_nothing_is_predicted_before_fit_or_without_refit(method):
    search = StackedGridSearchCV(network(), LR, cv=2)
    with pytest.raises(NotFittedError, match="StackedGridSearchCV instance is not fitted yet"):
        getattr(search, method)(X, *[Y] * (method == "score"))
    search.set_params(refit=False).fit(X, Y)
    with pytest.raises(AttributeError, match="refit=False|has no attribute"):
        getattr(search, method)(X, *[Y] * (method == "score"))
    assert not hasattr(search, "best_estimator_")
    assert not hasattr(search, "transform")


# -- what is printed ---------------------------------------------------------------------------
def lines_of(kind, case, capfd):
    """Return what a search prints, without its times and without our own lines."""
    capfd.readouterr()
    run(kind, case)
    printed = capfd.readouterr().out.splitlines()
    said = [re.sub(r"\.*( total time=) *[\d.]+(s|min)$", r"\1", line) for line in printed]
    ours = [line for line in said if line.startswith("[skensemble]")]
    return [line.replace("....", "") for line in said if line not in ours], ours


@pytest.mark.parametrize("verbose", [0, 1, 2, 3, 4, 10, True])
@pytest.mark.parametrize(
    "more",
    [{}, {"return_train_score": True}, {"scoring": BOTH, "refit": BOTH[0]},
     {"space": {"class_weight": ["odd", None]}}, {"space": {}}],
    ids=["plain", "train", "several", "bad", "nothing"],
)  # fmt: skip
def test_lines_are_those_of_scikit_learn(verbose, more, capfd):
    theirs, _ = lines_of(GridSearchCV, lambda: {"verbose": verbose, **more}, capfd)
    ours, told = lines_of(StackedGridSearchCV, lambda: {"verbose": verbose, **more}, capfd)
    assert ours == theirs
    assert bool(theirs) == bool(told) == bool(verbose)
    if verbose == 3 and not more:
        assert ours[1] == "[CV 1/2] END estimator__lr=0.01;, score=0.567 total time="


# -- callbacks of scikit-learn -----------------------------------------------------------------
class Diary:
    """Notes what it is told, of whom, and with what."""

    def __init__(self):
        self.notes = []

    def setup(self, estimator, context):
        self.note("setup", estimator, context)

    def teardown(self, estimator, context):
        self.note("teardown", estimator, context)

    def on_fit_task_begin(self, estimator, context, **kwargs):
        self.note("begin", estimator, context, **kwargs)

    def on_fit_task_end(self, estimator, context, **kwargs):
        self.note("end", estimator, context, **kwargs)

    def note(self, what, estimator, context, X=None, y=None, metadata=None, **kwargs):
        shapes = np.shape(X), np.shape(y), sorted(metadata or {})
        name = type(estimator).__name__.replace("Stacked", "")
        self.notes.append((what, name, context.task_name, context.task_id, *shapes))
        self.last = estimator


@pytest.mark.parametrize(
    "more",
    [{}, {"refit": False}, {"space": {"class_weight": ["odd", None]}},
     {"fit": {"sample_weight": WEIGHT}}, {"scoring": BOTH, "refit": BOTH[1]}],
    ids=["plain", "no refit", "bad", "weights", "several"],
)  # fmt: skip
@pytest.mark.parametrize("kind", OURS)
def test_callbacks_are_told_the_same_of_the_same(kind, more):
    diaries = [Diary(), Diary()]
    for one, diary in zip((kind, OURS[kind]), diaries, strict=True):
        search, _, _ = run(one, lambda diary=diary: {"callbacks": [diary], **more})
        assert diary.last is search
    assert diaries[1].notes == diaries[0].notes
    assert len(diaries[0].notes) >= 12
    assert not hasattr(search, "_callback_fit_ctx")


def test_callbacks_hear_of_the_end_of_a_fit_that_fails():
    diaries = [Diary(), Diary()]
    for kind, diary in zip(KINDS, diaries, strict=True):
        with pytest.raises(ValueError, match="too fast"):
            run(kind, lambda diary=diary: {
                "callbacks": [diary], "scoring": picky, "error_score": "raise"})  # fmt: skip
    assert diaries[0].notes[-1][0] == "teardown"
    assert diaries[1].notes == diaries[0].notes


class Bar(Diary):
    """Wants to be told by what is inside, too, as a progress bar."""

    max_propagation_depth = 2


def test_callbacks_for_estimators_inside_are_told_alike():
    """But for the epochs of candidates, which are over when scikit-learn asks for the fits."""
    diaries = [Bar(), Bar()]
    for kind, diary in zip(KINDS, diaries, strict=True):
        run(kind, lambda diary=diary: {"callbacks": [diary]})
    inside = ("train NetworkClassifier", "stack", "epoch")
    theirs, ours = ([one for one in diary.notes if one[2] not in inside] for diary in diaries)
    assert theirs == ours
    assert {"NetworkClassifier", "GridSearchCV"} <= {note[1] for note in ours}


def test_what_is_no_callback_is_refused():
    with pytest.raises(TypeError, match="must be instances following the FitCallback protocol"):
        StackedGridSearchCV(network(), LR).set_callbacks(3)


# -- inside other things -----------------------------------------------------------------------
def searches(**kwargs):
    return [kind(network(), LR, cv=2, **kwargs) for kind in KINDS]


def test_cross_validation_of_a_search():
    theirs, ours = searches()
    np.testing.assert_allclose(*(cross_val_score(one, X, Y, cv=3) for one in (theirs, ours)))
    proba = [cross_val_predict(one, X, Y, cv=2, method="predict_proba") for one in (theirs, ours)]
    np.testing.assert_allclose(*proba, rtol=0, atol=1e-10)
    found = cross_validate(ours, X, Y, cv=2, return_estimator=True, scoring=BOTH)
    assert [type(one) for one in found["estimator"]] == [StackedGridSearchCV] * 2


def test_searches_of_searches():
    outer = [
        kind(kind(network(), LR, cv=2), {"estimator__random_state": [0, 1]}, cv=2).fit(X, Y)
        for kind in KINDS
    ]
    assert_same_results(*(one.cv_results_ for one in outer))
    assert_same_search(*(one.best_estimator_ for one in outer), X, Y)


def test_searches_of_students_whose_teacher_is_a_search():
    found = []
    for kind, teacher in zip(KINDS, searches(), strict=True):
        one = DistilledClassifier(teacher, make_net(max_epochs=2), random_state=0)
        found.append(kind(one, {"alpha": [0.5, 1.0]}, cv=2).fit(X, Y))
    assert_same_search(*found, X, Y)


def test_a_search_ends_a_pipeline():
    fitted = [make_pipeline(StandardScaler(), one).fit(FRAME, SERIES) for one in searches()]
    assert_same_results(*(one[-1].cv_results_ for one in fitted))
    np.testing.assert_allclose(*(one.predict_proba(FRAME) for one in fitted), rtol=0, atol=1e-10)


def test_clones_and_parameters():
    theirs, ours = searches(scoring="accuracy", n_jobs=1, verbose=0)
    assert ours.get_params().keys() == theirs.get_params().keys() | {"checkpoint"}
    ours.set_params(estimator__estimator__lr=0.5, cv=3, param_grid={"random_state": [1]})
    copy = clone(ours)
    assert (copy.estimator.estimator.lr, copy.cv) == (0.5, 3)
    assert copy.estimator is not ours.estimator
    fitted = copy.fit(X, Y)
    assert public(clone(fitted)) == sorted(ours.get_params(deep=False))
    assert "estimator=NetworkClassifier" in repr(ours)
    assert "StackedGridSearchCV" in ours._repr_html_()
    assert sklearn.base.is_classifier(ours)


@pytest.mark.parametrize("more", [{}, {"scoring": BOTH, "refit": BOTH[0]}, {"refit": False}])
def test_a_fitted_search_can_be_pickled(more):
    ours = StackedGridSearchCV(network(), LR, cv=KFold(2).split(X), **more).fit(X, Y)
    again = pickle.loads(pickle.dumps(ours.set_params(cv=2)))
    assert_same_search(ours, again, X, Y, atol=0)


def test_a_search_can_be_fitted_again_on_other_data():
    theirs, ours = searches()
    for one in (theirs, ours):
        one.fit(FRAME, SERIES).fit(X[:50, :4], Y[:50] == 0)
    assert_same_search(theirs, ours, X[:, :4], Y == 0)


def test_sparse_rows_are_searched_alike():
    rows = sparse.csr_array(X.round())
    theirs, ours = (kind(network(), LR, cv=2).fit(rows, Y) for kind in KINDS)
    assert_same_search(theirs, ours, rows, Y)


def test_a_bad_candidate_does_not_keep_the_others_from_training_together(capsys):
    space = {"class_weight": ["odd", None, "balanced"], "estimator__lr": [0.1, 0.2]}
    sizes, plain = [], Training.run
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        patch.setattr(Training, "run", lambda one: (sizes.append(len(one.members)), plain(one))[1])
        StackedGridSearchCV(network(), space, cv=2, refit=False, verbose=1).fit(X, Y)
    assert sum(sizes) == 8
    assert max(sizes) >= 4
    printed = capsys.readouterr().out
    assert "'class_weight': 'odd'" in printed
    assert "4 candidates on 2 folds in" in printed


class Scaling(NetworkClassifier):
    """Trains on other rows than it is given."""

    def fit(self, X, y, sample_weight=None):
        return super().fit(np.asarray(X) * 2, y, sample_weight)


def test_what_was_trained_in_vain_is_said(capsys):
    scaling = Scaling(make_net(max_epochs=2), random_state=0)
    found = [kind(scaling, LR, cv=2, verbose=1).fit(X, Y) for kind in KINDS]
    assert_same_results(*(one.cv_results_ for one in found))
    assert "4 fits were trained in vain" in capsys.readouterr().out
