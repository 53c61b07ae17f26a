"""Searches over pipelines train their networks together, and say what scikit-learn's say.

Each case is searched by scikit-learn and by ours. Scores must agree, and networks must have been
trained in as few calls of the engine as stacks are needed.
"""

import pickle
import threading
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from nets import make_net
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, RandomizedSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    StandardScaler,
)

import skensemble._engine.shards as shards_module
import skensemble._engine.training as training_module
import skensemble.model_selection.candidates as candidates_module
from skensemble import (
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    StackedGridSearchCV,
    StackedRandomizedSearchCV,
)
from skensemble._engine.training import Training
from skensemble._private import HalvingGridSearchCV, HalvingRandomSearchCV
from skensemble.model_selection import (
    StackedHalvingGridSearchCV,
    StackedHalvingRandomSearchCV,
    cross_validate,
)

X, Y = make_classification(60, 6, n_informative=5, n_redundant=0, n_classes=3, random_state=0)
WORDS = np.array(["ash", "oak", "yew"])[Y]
FRAME = pd.DataFrame(X, columns=list("abcdef"))
FRAME["kind"] = np.array(["u", "v", "w"])[(X[:, 0] > 0).astype(int) + (X[:, 1] > 0)]
FRAME.loc[::7, "a"] = np.nan
LR = {"net__estimator__lr": [0.01, 0.05]}


def network(**kwargs):
    return NetworkClassifier(make_net(max_epochs=2), random_state=0, **kwargs)


def student(**kwargs):
    teacher = DeepEnsembleClassifier(make_net(max_epochs=2), 2, random_state=0)
    return DistilledClassifier(teacher, make_net(max_epochs=2), random_state=0, **kwargs)


def pipeline(*steps, net=None, **kwargs):
    named = [(f"s{number}", step) for number, step in enumerate(steps)]
    return Pipeline([*named, ("net", net or network())], **kwargs)


def columns():
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return ColumnTransformer(
        [("n", numbers, list("abcdef")), ("k", OneHotEncoder(sparse_output=False), ["kind"])]
    )


def doubled(rows):
    return rows * 2


# What is searched, how, and how many trainings (calls of the engine) that takes.
CASES = {
    "scaler": (lambda: pipeline(StandardScaler()), LR, {}, 1),
    "student": (
        lambda: pipeline(StandardScaler(), net=student()),
        {"net__temperature": [1.0, 4.0], "net__alpha": [0.5, 0.9]},
        {},
        2,
    ),
    "settings of one width": (
        lambda: pipeline(PCA(4, random_state=0)),
        {"s0__whiten": [True, False], **LR},
        {},
        1,
    ),
    "settings of two widths": (
        lambda: pipeline(StandardScaler(), SelectKBest(k=3)),
        {"s1__k": [3, 4], **LR},
        {},
        2,
    ),
    "a step is exchanged": (
        lambda: pipeline(StandardScaler()),
        {"s0": [StandardScaler(), MinMaxScaler(), "passthrough"]},
        {},
        1,
    ),
    "columns": (lambda: pipeline(columns()), LR, {"X": FRAME, "y": WORDS}, 1),
    "frames inside": (
        lambda: pipeline(columns().set_output(transform="pandas")),
        LR,
        {"X": FRAME},
        1,
    ),
    "union": (
        lambda: pipeline(FeatureUnion([("p", PCA(2, random_state=0)), ("s", StandardScaler())])),
        {"s0__p__n_components": [2], **LR},
        {},
        1,
    ),
    "nested": (
        lambda: Pipeline([("out", StandardScaler()), ("in", pipeline(SelectKBest(k=4)))]),
        {"in__net__estimator__lr": [0.01, 0.05], "in__s0__k": [4]},
        {},
        1,
    ),
    "a list of grids": (
        lambda: pipeline(StandardScaler()),
        [LR, {"net": [student(), LogisticRegression()]}],
        {},
        3,  # networks of the grid and teachers, which are alike, and then students
    ),
    "an empty place": (
        lambda: pipeline(StandardScaler(), net=LogisticRegression()),
        {"net": [network(), LogisticRegression()]},
        {},
        1,
    ),
    "a function without a name": (
        lambda: pipeline(FunctionTransformer(lambda rows: rows + 1)),
        LR,
        {},
        1,
    ),
    "weights": (
        lambda: pipeline(StandardScaler()),
        LR,
        {"fit": {"net__sample_weight": np.linspace(0.5, 2, 60)}},
        1,
    ),
    "weights for all": (
        lambda: pipeline(StandardScaler()),
        LR,
        {
            "fit": {
                "net__sample_weight": np.linspace(0.5, 2, 60),
                "s0__sample_weight": np.linspace(1, 2, 60),
            }
        },
        1,
    ),
    "groups": (
        lambda: pipeline(StandardScaler()),
        LR,
        {"cv": GroupKFold(2), "fit": {"groups": np.arange(60) % 4}},
        1,
    ),
    "folds of two sizes": (lambda: pipeline(StandardScaler()), LR, {"cv": KFold(7)}, 1),
    "workers": (lambda: pipeline(StandardScaler()), LR, {"n_jobs": 2}, 1),
    "several scores": (
        lambda: pipeline(StandardScaler()),
        LR,
        {"scoring": ["accuracy", "neg_log_loss"], "refit": "accuracy", "return_train_score": True},
        1,
    ),
    "no refit": (lambda: pipeline(StandardScaler()), LR, {"refit": False}, 1),
}


def fitted(kind, make, space, X=X, y=Y, fit=None, **kwargs):
    """Fit a search; return it with how many networks each call of the engine trained."""
    sizes, plain = [], Training.run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "run", lambda one: (sizes.append(len(one.members)), plain(one))[1])
        search = kind(make(), space, **{"cv": 2, **kwargs})
        search.fit(X, y, **(fit or {}))
    return search, sizes


def assert_same(theirs, ours, atol=1e-10):
    assert list(theirs.cv_results_) == list(ours.cv_results_)
    for name, values in theirs.cv_results_.items():
        if "score" in name and "time" not in name:
            np.testing.assert_allclose(ours.cv_results_[name], values, atol=atol, err_msg=name)
    assert str(theirs.cv_results_["params"]) == str(ours.cv_results_["params"])
    assert (ours.cv_results_["mean_fit_time"] > 0).all()
    if theirs.refit:
        assert str(theirs.best_params_) == str(ours.best_params_)
        assert type(ours.best_estimator_) is type(theirs.best_estimator_)


@pytest.mark.parametrize("name", CASES)
def test_scores_are_those_of_scikit_learn(name):
    make, space, more, wanted = CASES[name]
    theirs, _ = fitted(GridSearchCV, make, space, **more)
    ours, sizes = fitted(StackedGridSearchCV, make, space, **more)
    assert_same(theirs, ours)
    refits = (
        0 if not ours.refit else 1 + isinstance(last(ours.best_estimator_), DistilledClassifier)
    )
    refits *= not isinstance(last(ours.best_estimator_), LogisticRegression) if ours.refit else 1
    assert len(sizes) - refits == wanted
    rows = more.get("X", X)
    if ours.refit:
        np.testing.assert_allclose(theirs.predict_proba(rows), ours.predict_proba(rows), atol=1e-10)


def count_networks(estimator):
    """Return how many calls of the engine a fit by itself takes."""
    return isinstance(estimator, NetworkClassifier) + 2 * isinstance(estimator, DistilledClassifier)


def last(estimator):
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


class Counted(TransformerMixin, BaseEstimator):
    """Scales rows, and counts how often it learned to."""

    fits = 0

    def __init__(self, scale=1.0):
        self.scale = scale

    def fit(self, X, y=None):
        type(self).fits += 1
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return X * self.scale


def test_transformers_are_fitted_once_a_fold_and_setting():
    Counted.fits = 0
    make, space = lambda: pipeline(Counted(), StandardScaler()), {"s0__scale": [1.0, 2.0], **LR}
    fitted(StackedGridSearchCV, make, space, cv=3, refit=False)
    assert Counted.fits == 3 * 2
    fitted(GridSearchCV, make, space, cv=3, refit=False)
    assert Counted.fits == 3 * 2 + 3 * 4


def test_later_settings_share_what_comes_before_them():
    Counted.fits = 0
    make = lambda: pipeline(Counted(), SelectKBest())  # noqa: E731
    fitted(StackedGridSearchCV, make, {"s1__k": [2, 3, 4]}, cv=3, refit=False)
    assert Counted.fits == 3


def test_a_memory_is_asked_and_told(tmp_path):
    make = lambda: pipeline(Counted(), memory=str(tmp_path))  # noqa: E731
    Counted.fits = 0
    ours, _ = fitted(StackedGridSearchCV, make, LR)
    first = Counted.fits
    assert first == 3  # two folds, and all rows
    again, _ = fitted(StackedGridSearchCV, make, LR)
    assert Counted.fits == first
    assert_same(ours, again)


def test_a_memory_may_be_an_object(tmp_path):
    memory = joblib.Memory(tmp_path, verbose=0)
    ours, sizes = fitted(StackedGridSearchCV, lambda: pipeline(Counted(), memory=memory), LR)
    assert sizes == [4, 1]
    assert_same(fitted(GridSearchCV, lambda: pipeline(Counted()), LR)[0], ours)


def test_little_room_takes_several_rounds(monkeypatch):
    make, space = lambda: pipeline(PCA(4, random_state=0)), {"s0__whiten": [True, False]}
    together, one = fitted(StackedGridSearchCV, make, space, refit=False)
    monkeypatch.setattr(candidates_module, "_WAITING_BYTES", 0)
    apart, two = fitted(StackedGridSearchCV, make, space, refit=False)
    assert (one, two) == ([4], [2, 2])
    assert_same(together, apart)


def test_what_is_searched_stays_as_it_was():
    given = pipeline(StandardScaler())
    before = set(vars(given)), set(vars(given.steps[-1][1]))
    search = StackedGridSearchCV(given, LR, cv=2).fit(X, Y)
    assert search.estimator is given
    assert (set(vars(given)), set(vars(given.steps[-1][1]))) == before
    assert set(vars(search.best_estimator_)) == before[0]
    loaded = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(loaded.predict_proba(X), search.predict_proba(X))
    np.testing.assert_array_equal(clone(search).fit(X, Y).predict(X), search.predict(X))


def test_a_failing_transformer_fails_its_own_candidate_alone():
    make, space = lambda: pipeline(PCA()), {"s0__n_components": [3, 99], **LR}
    found = []
    for kind in (GridSearchCV, StackedGridSearchCV):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found.append(fitted(kind, make, space, scoring="accuracy")[0])
        assert any("n_components=99" in str(one.message) for one in told)
    assert np.isnan(found[1].cv_results_["mean_test_score"]).sum() == 2
    assert_same(*found)
    with pytest.raises(ValueError, match="n_components=99"):
        fitted(StackedGridSearchCV, make, space, error_score="raise")


def test_what_cannot_be_stacked_is_said_and_fitted_by_itself(capsys):
    class Other(Pipeline):
        """A pipeline of somebody else's, whose `fit` may do anything."""

    make = lambda: Other([("s", StandardScaler()), ("net", network())])  # noqa: E731
    theirs, _ = fitted(GridSearchCV, make, LR)
    ours, sizes = fitted(StackedGridSearchCV, make, LR, verbose=1)
    assert sizes == [1] * 5
    assert "Other is not an estimator of skensemble" in capsys.readouterr().out
    assert_same(theirs, ours)


class Placed(LogisticRegression):
    """Notes which thread fitted it."""

    def fit(self, X, y):
        self.fitted_by_ = threading.get_ident()
        return super().fit(X, y)


@pytest.mark.parametrize(("n_jobs", "here"), [(None, True), (2, False)])
def test_steps_of_others_are_fitted_by_workers(n_jobs, here):
    places = set()

    def score(estimator, X, y):
        places.add(getattr(last(estimator), "fitted_by_", None))
        return estimator.score(X, y)

    make, space = lambda: pipeline(StandardScaler()), {"net": [network(), Placed(), Placed(C=0.1)]}
    theirs, _ = fitted(GridSearchCV, make, space)
    with joblib.parallel_config("threading"):
        ours, sizes = fitted(StackedGridSearchCV, make, space, scoring=score, n_jobs=n_jobs)
    assert_same(theirs, ours)
    assert sizes[0] == 2
    assert (threading.get_ident() in places) == here


def test_a_step_of_others_that_fails_in_a_worker_fails_alone():
    make = lambda: pipeline(StandardScaler())  # noqa: E731
    space = {"net": [network(), LogisticRegression(C=-1.0)]}
    found = []
    for kind in (GridSearchCV, StackedGridSearchCV):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found.append(fitted(kind, make, space, n_jobs=2)[0])
        assert any("'C' parameter of LogisticRegression" in str(one.message) for one in told)
    assert_same(*found)


def test_metadata_is_routed():
    weight = np.linspace(0.5, 2, 60)
    with sklearn.config_context(enable_metadata_routing=True):

        def make():
            net = (
                network().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
            )
            return pipeline(StandardScaler().set_fit_request(sample_weight="own"), net=net)

        fit = {"sample_weight": weight, "own": weight + 1}
        theirs, _ = fitted(GridSearchCV, make, LR, fit=fit)
        ours, sizes = fitted(StackedGridSearchCV, make, LR, fit=fit)
    assert sizes == [4, 1]
    assert_same(theirs, ours)


def test_what_fit_is_not_to_be_passed_is_refused_as_ever():
    for kind in (GridSearchCV, StackedGridSearchCV):
        with pytest.raises(ValueError, match="does not accept the sample_weight parameter"):
            fitted(kind, lambda: pipeline(StandardScaler()), LR, fit={"sample_weight": np.ones(60)})


def test_random_searches():
    make = lambda: pipeline(StandardScaler())  # noqa: E731
    more = {"n_iter": 2, "random_state": 0}
    theirs, _ = fitted(RandomizedSearchCV, make, {"net__estimator__lr": [0.01, 0.02, 0.05]}, **more)
    ours, sizes = fitted(
        StackedRandomizedSearchCV, make, {"net__estimator__lr": [0.01, 0.02, 0.05]}, **more
    )
    assert sizes == [4, 1]
    assert_same(theirs, ours)


# -- checkpoints -------------------------------------------------------------------------------


def test_a_search_of_pipelines_goes_on_after_it_was_killed(tmp_path):
    make = lambda: pipeline(PCA(4, random_state=0))  # noqa: E731
    plain, _ = fitted(StackedGridSearchCV, make, LR, checkpoint=None)
    run = Training.run

    def killed(training):
        if len(training.members) == 1:  # the last one, on all rows
            raise KeyboardInterrupt
        run(training)

    search = StackedGridSearchCV(make(), LR, cv=2, checkpoint=tmp_path / "kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "run", killed)
        with pytest.raises(KeyboardInterrupt):
            search.fit(X, Y)
    with pytest.MonkeyPatch.context() as patch:
        trained = []
        plainly = shards_module.train_shard
        patch.setattr(
            training_module, "train_shard", lambda *a: (trained.append(len(a[1])), plainly(*a))[1]
        )
        again, _ = fitted(StackedGridSearchCV, make, LR, checkpoint=tmp_path / "kept")
    assert trained == [1]
    assert_same(plain, again, atol=0)


def test_a_checkpoint_wants_transformers_that_repeat(tmp_path):
    with pytest.raises(ValueError, match="s0__random_state=None"):
        fitted(StackedGridSearchCV, lambda: pipeline(PCA()), LR, checkpoint=tmp_path / "kept")
    with pytest.raises(ValueError, match="an estimator of skensemble"):
        fitted(
            StackedGridSearchCV,
            lambda: pipeline(net=LogisticRegression()),
            {"net__C": [1.0]},
            checkpoint=tmp_path / "kept",
        )


# -- successive halving ------------------------------------------------------------------------

HALVING = {
    "of ours": (network, {"estimator__lr": [0.01, 0.02, 0.05, 0.1]}, {}),
    "a pipeline": (
        lambda: pipeline(StandardScaler()),
        {"net__estimator__lr": [0.01, 0.02, 0.05, 0.1]},
        {},
    ),
    "epochs": (
        network,
        {"estimator__lr": [0.01, 0.02, 0.05, 0.1]},
        {"resource": "estimator__max_epochs", "max_resources": 4, "min_resources": 1},
    ),
}


@pytest.mark.parametrize("name", HALVING)
def test_halving_is_that_of_scikit_learn(name):
    make, grid, more = HALVING[name]
    more = {"factor": 2, "random_state": 0, **more}
    kinds = HalvingGridSearchCV, StackedHalvingGridSearchCV
    theirs, ours = (fitted(kind, make, grid, **more) for kind in kinds)
    assert_same(theirs[0], ours[0])
    assert ours[0].n_candidates_ == theirs[0].n_candidates_
    assert ours[0].n_resources_ == theirs[0].n_resources_
    assert ours[0].best_score_ == pytest.approx(theirs[0].best_score_, abs=1e-10)
    rounds = len(ours[0].n_candidates_)
    assert len(ours[1]) == rounds + 1
    assert len(theirs[1]) == 2 * sum(ours[0].n_candidates_) + 1


def test_halving_of_draws():
    grid, more = {"estimator__lr": [0.01, 0.02, 0.05]}, {"factor": 2, "random_state": 0}
    more |= {"n_candidates": 3, "min_resources": 20}
    kinds = HalvingRandomSearchCV, StackedHalvingRandomSearchCV
    theirs, ours = (fitted(kind, network, grid, **more) for kind in kinds)
    assert_same(theirs[0], ours[0])
    assert len(ours[1]) < len(theirs[1])


def test_halving_wants_a_candidate():
    with pytest.raises(ValueError, match="'param_grid' must give at least one candidate"):
        fitted(StackedHalvingGridSearchCV, network, [])
    with pytest.raises(ValueError, match="'factor' must be above 1"):
        fitted(StackedHalvingGridSearchCV, network, {"random_state": [0, 1]}, factor=0.5)


def test_halving_wants_one_score():
    def several(estimator, X, y):
        return {"one": 0.5, "two": 0.6}

    with pytest.raises(ValueError, match="'scoring' of a halving search must be one score"):
        fitted(StackedHalvingGridSearchCV, network, {"random_state": [0, 1]}, scoring=several,
               refit=False, factor=2)  # fmt: skip


def test_rows_that_no_search_can_take_are_named():
    for bad in (X + 1j, torch.from_numpy(X).to_sparse()):
        with pytest.raises(ValueError, match="'X' must be rows that can be read"):
            fitted(StackedGridSearchCV, lambda: pipeline(StandardScaler()), LR, X=bad)
        with pytest.raises((TypeError, ValueError), match="'X' must be rows that can be read"):
            cross_validate(pipeline(StandardScaler()), bad, Y, cv=2)
