"""Stacked searches find what scikit-learn's own find."""

import pickle
from functools import partial
from pickle import PicklingError

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from nets import AN_INSTANCE, ResidualMLP, make_net, weights_of
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import FitFailedWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RandomizedSearchCV,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import EarlyStopping, LRScheduler
from skorch.dataset import ValidSplit

from skensemble import (
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    SelfDistiller,
    StackedGridSearchCV,
    StackedRandomizedSearchCV,
)
from skensemble._engine import training as _sharding
from skensemble._engine.training import Training
from skensemble._fits import subfit
from skensemble._fits.given import Given
from skensemble._fits.prepared import Prepared, estimator_key, rows_key
from skensemble._fits.running import fit_together
from skensemble.objectives import AdaptiveTerm, FeatureTerm, LabelTerm, TruncatedTerm

ATOL = 1e-8


def data(n_rows=61, dtype=np.float64):
    """Return rows that three folds cannot share evenly."""
    X, y = make_classification(
        n_rows, 6, n_informative=5, n_redundant=0, n_classes=3, random_state=0
    )
    return X.astype(dtype), y


def student(**kwargs):
    teacher = DeepEnsembleClassifier(make_net(max_epochs=2), 2)
    kwargs.setdefault("random_state", 0)
    return DistilledClassifier(teacher, make_net(max_epochs=3), **kwargs)


def both(estimator, grid, X, y, fit_params=None, **kwargs):
    """Fit scikit-learn's search and ours and compare all they found."""
    kwargs.setdefault("cv", 3)
    atol = kwargs.pop("atol", ATOL)
    theirs = GridSearchCV(estimator, grid, **kwargs).fit(X, y, **(fit_params or {}))
    ours = StackedGridSearchCV(estimator, grid, **kwargs).fit(X, y, **(fit_params or {}))
    assert_equal_results(theirs, ours, atol)
    return theirs, ours


def assert_equal_results(theirs, ours, atol=ATOL):
    assert list(theirs.cv_results_) == list(ours.cv_results_)
    for name, values in theirs.cv_results_.items():
        if name == "params":
            assert [str(one) for one in values] == [str(one) for one in ours.cv_results_[name]]
        elif "_time" in name:
            assert np.shape(ours.cv_results_[name]) == np.shape(values)
        elif "score" in name:
            np.testing.assert_allclose(ours.cv_results_[name], values, rtol=0, atol=atol)
    names = ["best_index_", "n_splits_", "multimetric_"]
    for name in names:
        assert getattr(theirs, name, None) == getattr(ours, name, None), name
    assert hasattr(theirs, "best_estimator_") == hasattr(ours, "best_estimator_")


def spy_on_stacks(monkeypatch):
    """Return a list that gets the number of members of every stack that is trained."""
    sizes = []
    train = _sharding.train_shard

    def spy(job, members, *more):
        sizes.append(len(members))
        return train(job, members, *more)

    monkeypatch.setattr(_sharding, "train_shard", spy)
    return sizes


# -- parity --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "grid"),
    [
        ({}, {"temperature": [1.0, 4.0], "alpha": [0.0, 0.5, 1.0]}),
        ({}, {"random_state": [0, 1], "student__lr": [0.01, 0.05]}),
        ({"objective": FeatureTerm()}, {"objective__weight": [0.1, 1.0, 0.0]}),
        (
            {"objective": TruncatedTerm()},
            {"objective__tau": [0.5, 1.0], "objective__weight": [1.0, 5.0]},
        ),
        ({"objective": AdaptiveTerm()}, {"temperature": [1.0, 3.0], "objective__cap": [0.5, 1.0]}),
        ({"objective": LabelTerm()}, {"objective__temperature": [1.0, 4.0, None]}),
        ({"objective": "dirichlet"}, {"temperature": [1.0, 3.0]}),
        ({"objective": "proxy-dirichlet"}, {"alpha": [0.5, 1.0]}),
        ({"n_students": 2}, {"alpha": [0.5, 1.0]}),
        ({}, {"objective": ["label", "logit"], "alpha": [0.5, 1.0]}),
        ({}, [{"student__module__hidden": [(5,), (9,)]}, {"teacher__n_estimators": [1, 3]}]),
        ({"class_weight": "balanced"}, {"temperature": [1.0, 4.0]}),
    ],
    ids=str,
)
def test_results_are_those_of_grid_search(settings, grid):
    X, y = data()
    theirs, ours = both(student(**settings), grid, X, y, return_train_score=True)
    assert type(ours.best_estimator_) is DistilledClassifier
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=ATOL)


@pytest.mark.parametrize(
    "estimator",
    [
        NetworkClassifier(make_net(), random_state=0),
        NetworkClassifier(make_net(module__dropout=0.3), random_state=0),
        NetworkClassifier(make_net(ResidualMLP), random_state=0),
        DeepEnsembleClassifier(make_net(), 2, random_state=0),
        DeepEnsembleClassifier(make_net(), 2, bootstrap=True, random_state=0),
        DeepEnsembleClassifier(make_net(), 2, joint=True, random_state=0),
        SelfDistiller(make_net(), 1, random_state=0),
    ],
    ids=["network", "dropout", "residual", "ensemble", "bootstrap", "joint", "self"],
)
def test_all_our_estimators_are_searched(estimator):
    X, y = data()
    both(estimator, {"estimator__lr": [0.01, 0.03]}, X, y)


OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {"optimizer__momentum": 0.9, "optimizer__nesterov": True}),
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "rmsprop": (torch.optim.RMSprop, {}),
    "nadam": (torch.optim.NAdam, {}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rates_and_decays_are_each_candidates_own(monkeypatch, name):
    X, y = data()
    cls, args = OPTIMIZERS[name]
    net = make_net(optimizer=cls, optimizer__weight_decay=0.1, **args)
    grid = {"estimator__lr": [0.005, 0.02], "estimator__optimizer__weight_decay": [0.0, 0.1, 0.5]}
    both(NetworkClassifier(net, random_state=0), grid, X, y)
    sizes = spy_on_stacks(monkeypatch)
    search = StackedGridSearchCV(NetworkClassifier(net, random_state=0), grid, cv=2, refit=False)
    search.fit(X[:60], y[:60])
    groups = 3 if name == "nadam" else 1
    assert sizes == [12 // groups] * groups


def test_everything_trains_in_one_stack_a_step(monkeypatch):
    X, y = data(61)
    sizes = spy_on_stacks(monkeypatch)
    grid = {"temperature": [1.0, 2.0], "alpha": [0.5, 1.0]}
    search = StackedGridSearchCV(student(), grid, cv=KFold(3), refit=False).fit(X, y)
    # Folds of 40 and twice 41 rows: teachers of 2 members, then 4 candidates a fold.
    assert sizes == [6, 12]
    seconds = search.cv_results_["mean_fit_time"]
    assert (seconds > 0).all()


def test_fit_times_add_up_to_the_time_it_took():
    import time

    X, y = data(200)
    start = time.perf_counter()
    search = StackedGridSearchCV(student(), {"alpha": [0.5, 1.0]}, cv=3, refit=False).fit(X, y)
    took = time.perf_counter() - start
    total = 3 * search.cv_results_["mean_fit_time"].sum()
    assert 0.2 * took < total <= took


def test_float32_agrees_within_rounding():
    X, y = data(dtype=np.float32)
    both(student(), {"temperature": [1.0, 4.0]}, X, y, scoring="neg_log_loss", atol=1e-3)


def test_frames_labels_metrics_and_own_scorers():
    X, y = data()
    frame = pd.DataFrame(X, columns=list("abcdef"))
    labels = np.array(["red", "green", "blue"])[y]
    seen = []

    def own(estimator, X, y):
        seen.append((type(estimator), type(X), "".join(X.columns)))
        return -log_loss(y, estimator.predict_proba(X))

    scoring = {"acc": "accuracy", "own": own, "loss": make_scorer(log_loss, response_method=(
        "predict_proba"), greater_is_better=False)}  # fmt: skip
    grid = {"temperature": [1.0, 4.0]}
    _, ours = both(
        student(), grid, frame, labels, scoring=scoring, refit="loss", return_train_score=True
    )
    assert set(seen) == {(DistilledClassifier, pd.DataFrame, "abcdef")}
    assert list(ours.best_estimator_.feature_names_in_) == list("abcdef")
    assert set(ours.predict(frame)) <= {"red", "green", "blue"}
    assert set(ours.scorer_) == {"acc", "own", "loss"}


@pytest.mark.parametrize(
    "cv",
    [
        4,
        KFold(3, shuffle=True, random_state=1),
        StratifiedKFold(3),
        ShuffleSplit(3, train_size=0.6, random_state=0),
        [(np.arange(40), np.arange(40, 61)), (np.arange(20, 55), np.arange(20))],
    ],
    ids=str,
)
def test_any_splitter(cv):
    X, y = data()
    both(student(), {"alpha": [0.5, 1.0]}, X, y, cv=cv)


def test_groups_and_sample_weights():
    X, y = data()
    weight = np.random.default_rng(0).uniform(0, 2, len(y))
    weight[::7] = 0.0
    groups = np.arange(len(y)) % 5
    fit_params = {"sample_weight": weight, "groups": groups}
    both(student(), {"alpha": [0.5, 1.0]}, X, y, fit_params, cv=GroupKFold(3))


def test_teacher_logits_and_unlabelled_rows_come_through():
    X, y = data()
    said = np.random.default_rng(0).normal(size=(len(y), 3))
    both(student(), {"alpha": [0.5, 1.0]}, X, y, {"teacher_logits": said})
    more = np.random.default_rng(1).normal(size=(15, 6))
    both(student(), {"alpha": [0.5, 1.0]}, X, y, {"X_unlabelled": more})


def test_metadata_routing():
    X, y = data()
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    with sklearn.config_context(enable_metadata_routing=True):
        routed = student().set_fit_request(sample_weight=True)
        routed.set_score_request(sample_weight=False)
        both(routed, {"alpha": [0.5, 1.0]}, X, y, {"sample_weight": weight})


def test_groups_are_routed_to_the_splitter():
    X, y = data()
    groups = np.arange(len(y)) % 5
    with sklearn.config_context(enable_metadata_routing=True):
        one = student().set_fit_request(groups=False)  # whose own folds are another matter
        both(one, {"alpha": [0.5, 1.0]}, X, y, {"groups": groups}, cv=GroupKFold(3))


@pytest.mark.parametrize(
    "bad", [{"scoring": ["accuracy", "neg_log_loss"]}, {"scoring": {"a": "accuracy"}, "refit": "b"}]
)
def test_what_cannot_be_scored_is_refused_before_training(bad, monkeypatch):
    X, y = data()
    monkeypatch.setattr(Training, "run", lambda self: pytest.fail("trained"))
    with pytest.raises(ValueError, match="parameter refit must be set"):
        StackedGridSearchCV(student(), {"alpha": [0.5, 1.0]}, cv=2, **bad).fit(X, y)


class Counting:
    """A callback of scikit-learn's that counts what it is told."""

    def __init__(self):
        self.told = []

    def setup(self, estimator, context):
        self.told.append(("setup", None))

    def teardown(self, estimator, context):
        self.told.append(("teardown", None))

    def on_fit_task_begin(self, estimator, context, **kwargs):
        self.told.append(("begin", context.task_name))

    def on_fit_task_end(self, estimator, context, **kwargs):
        self.told.append(("end", context.task_name))


@pytest.mark.skipif(not hasattr(GridSearchCV, "set_callbacks"), reason="scikit-learn 1.9")
def test_callbacks_of_scikit_learn_are_told_the_same():
    X, y = data()
    theirs, ours = Counting(), Counting()
    grid = {"alpha": [0.5, 1.0]}
    GridSearchCV(student(), grid, cv=2).set_callbacks(theirs).fit(X, y)
    StackedGridSearchCV(student(), grid, cv=2).set_callbacks(ours).fit(X, y)
    assert len(theirs.told) > 8
    assert ours.told == theirs.told


@pytest.mark.parametrize("stackable", [True, False])
def test_folds_that_can_be_asked_for_once(stackable):
    X, y = data(dtype=np.float32)
    net = make_net() if stackable else make_net(Shift, module__by=lambda x: x[:, :3] * 0.5)
    one, grid = NetworkClassifier(net, random_state=0), {"estimator__lr": [0.01, 0.1]}
    folds = list(KFold(3).split(X))
    ours = StackedGridSearchCV(one, grid, cv=iter(folds)).fit(X, y)
    assert_equal_results(GridSearchCV(one, grid, cv=folds).fit(X, y), ours, 1e-5)


def test_early_stopping_and_schedules():
    X, y = data(120)
    net = make_net(
        train_split=ValidSplit(0.25, stratified=True), max_epochs=15,
        callbacks=[EarlyStopping(patience=2, load_best=True)],
    )  # fmt: skip
    both(NetworkClassifier(net, random_state=0), {"random_state": [0, 1]}, X, y)
    both(student().set_params(student=net), {"temperature": [1.0, 4.0]}, X, y)
    scheduled = make_net(callbacks=[LRScheduler("StepLR", step_size=1, gamma=0.5)])
    both(NetworkClassifier(scheduled, random_state=0), {"estimator__lr": [0.01, 0.05]}, X, y)


def test_foreign_and_frozen_teachers():
    X, y = data()
    forest = RandomForestClassifier(10, random_state=0)
    for teacher in (forest, FrozenEstimator(forest.fit(X, y)), make_pipeline(
        StandardScaler(), LogisticRegression())):  # fmt: skip
        one = student().set_params(teacher=teacher)
        both(one, {"temperature": [1.0, 4.0], "alpha": [0.5, 1.0]}, X, y)


def test_foreign_teachers_are_fitted_once_a_fold(monkeypatch):
    X, y = data()
    fits = []
    fit = subfit.fit_estimator
    monkeypatch.setattr(subfit, "fit_estimator", lambda *args: (fits.append(1), fit(*args))[1])
    one = student().set_params(teacher=RandomForestClassifier(5))
    StackedGridSearchCV(one, {"temperature": [1.0, 4.0], "alpha": [0.5, 1.0]}, cv=3).fit(X, y)
    assert len(fits) == 4


def test_as_the_last_step_of_a_pipeline():
    X, y = data()
    grid = {"alpha": [0.5, 1.0]}
    ours = make_pipeline(StandardScaler(), StackedGridSearchCV(student(), grid, cv=3)).fit(X, y)
    theirs = make_pipeline(StandardScaler(), GridSearchCV(student(), grid, cv=3)).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=ATOL)


def test_randomized_search():
    X, y = data()
    space = {"temperature": loguniform(0.5, 8), "alpha": [0.5, 1.0]}
    args = {"n_iter": 4, "cv": 3, "random_state": 3}
    theirs = RandomizedSearchCV(student(), space, **args).fit(X, y)
    ours = StackedRandomizedSearchCV(student(), space, **args).fit(X, y)
    assert_equal_results(theirs, ours)


def test_refit_off_and_by_a_function():
    X, y = data()
    grid = {"alpha": [0.5, 1.0]}
    _, ours = both(student(), grid, X, y, refit=False)
    assert not hasattr(ours, "best_estimator_")
    both(student(), grid, X, y, refit=lambda results: 1)


def test_n_jobs_deals_stacks_out():
    X, y = data()
    both(student(), {"alpha": [0.5, 1.0]}, X, y, n_jobs=2)


@pytest.mark.parametrize("first", ["smallest first", "largest first"])
@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": torch.optim.Adam},
        {"optimizer": torch.optim.AdamW, "optimizer__weight_decay": 0.1},
        {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9},
    ],
    ids=lambda settings: settings["optimizer"].__name__,
)
def test_rates_far_apart_keep_their_precision(settings, first):
    X, y = data(dtype=np.float32)
    rates = [1e-7, 1e-2] if first == "smallest first" else [1e-2, 1e-7]
    given = Given(X, y, rows=np.arange(len(X)))
    nets = [make_net(ResidualMLP, lr=rate, max_epochs=10, **settings) for rate in rates]
    together = [NetworkClassifier(net, random_state=0) for net in nets]
    fit_together([one._steps(given) for one in together])
    for one in together:
        alone = weights_of(clone(one).fit(X, y))
        for name, values in weights_of(one).items():
            np.testing.assert_allclose(values, alone[name], atol=1e-5, err_msg=name)


def test_a_rate_beyond_reason_trains_by_itself():
    X, y = data(dtype=np.float32)
    given = Given(X, y, rows=np.arange(len(X)))
    net = make_net(optimizer=torch.optim.SGD)
    wild, sane = [
        NetworkClassifier(clone(net).set_params(lr=rate), random_state=0) for rate in (1e39, 0.1)
    ]
    outcomes = fit_together([one._steps(given) for one in (wild, sane)])
    assert isinstance(outcomes[0].error, ArithmeticError)
    alone = weights_of(clone(sane).fit(X, y))
    for name, values in weights_of(sane).items():
        np.testing.assert_allclose(values, alone[name], atol=1e-6, err_msg=name)


# -- what goes wrong -----------------------------------------------------------------------


def test_a_candidate_that_diverges_gets_the_error_score():
    X, y = data()
    net = make_net(optimizer=torch.optim.SGD)
    grid = {"estimator__lr": [0.01, 1e30]}
    found = []
    for kind in (GridSearchCV, StackedGridSearchCV):
        search = kind(NetworkClassifier(net, random_state=0), grid, cv=3, error_score=-1.0)
        with pytest.warns(FitFailedWarning, match="3 fits failed out of a tot"):
            found.append(search.fit(X, y).cv_results_["mean_test_score"])
    np.testing.assert_allclose(found[0], found[1], atol=ATOL)
    assert found[1][1] == -1.0
    search.set_params(error_score="raise")
    with pytest.raises(ArithmeticError, match="member 0 in epoch"):
        search.fit(X, y)


class Climbing(torch.optim.SGD):
    def __init__(self, params, lr, weight_decay=None):
        super().__init__(params, lr=abs(lr), weight_decay=weight_decay or 0.0)


BAD_RATES = [
    {"lr": [0.01, -1.0]},
    {"lr": [-1.0, 0.01]},
    {"lr": [0.01, "1e-2"]},
    {"lr": [np.inf, 0.01]},
    {"lr": [0.01, np.nan]},
    {"lr": [None, 0.01]},
    {"optimizer__weight_decay": [0.0, None]},
    {"optimizer__weight_decay": [0.1, "0.1"]},
    {"optimizer__weight_decay": [-0.1, 0.1]},
]


@pytest.mark.parametrize("grid", BAD_RATES, ids=str)
@pytest.mark.parametrize("taught", [False, True], ids=["network", "student"])
@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_a_bad_rate_fails_alone_and_as_in_grid_search(taught, grid):
    X, y = data()
    grid = {f"{'student' if taught else 'estimator'}__{k}": v for k, v in grid.items()}
    one = student() if taught else NetworkClassifier(make_net(), random_state=0)
    found = []
    for kind in (GridSearchCV, StackedGridSearchCV):
        search = kind(one, grid, cv=3)
        with pytest.warns(FitFailedWarning, match="3 fits failed out of a total of 6"):
            found.append(search.fit(X, y))
        with pytest.raises(ValueError, match="must be a finite number of at least 0. Got"):
            clone(search).set_params(error_score="raise").fit(X, y)
    assert np.isnan(found[0].cv_results_["mean_test_score"]).sum() == 1
    assert_equal_results(*found)


def test_an_optimizer_of_ones_own_judges_its_rates():
    X, y = data()
    net = make_net(optimizer=Climbing, optimizer__weight_decay=None)
    both(NetworkClassifier(net, random_state=0), {"estimator__lr": [0.01, -0.01]}, X, y)


def test_bad_candidates_and_bad_data_fail_as_in_grid_search():
    X, y = data()
    for kind in (GridSearchCV, StackedGridSearchCV):
        with pytest.raises(ValueError, match="'temperature' parameter of DistilledClassifier"):
            kind(student(), {"temperature": [-1.0]}, cv=3).fit(X, y)
        with pytest.raises(ValueError, match="Invalid parameter 'nonsense'"):
            kind(student(), {"nonsense": [1]}, cv=3).fit(X, y)
        with pytest.raises(ValueError, match="Input X contains NaN"):
            kind(student(), {"alpha": [0.5]}, cv=3).fit(np.full_like(X, np.nan), y)
        with pytest.raises(TypeError, match="Parameter grid"):
            kind(student(), {"alpha": 0.5}, cv=3).fit(X, y)


def test_other_estimators_are_searched_one_by_one_and_it_is_said(capsys):
    X, y = data()
    calibrated = CalibratedClassifierCV(student(), cv=2)
    grid = {"estimator__alpha": [0.5, 1.0]}
    theirs = GridSearchCV(calibrated, grid, cv=3).fit(X, y)
    ours = StackedGridSearchCV(calibrated, grid, cv=3, verbose=1).fit(X, y)
    assert_equal_results(theirs, ours, atol=0)
    said = capsys.readouterr().out
    assert "CalibratedClassifierCV is not an estimator of skensemble" in said


def test_it_says_what_it_trained(capsys):
    X, y = data()
    StackedGridSearchCV(student(), {"alpha": [0.5, 1.0]}, cv=3, verbose=1).fit(X, y)
    assert "2 candidates on 3 folds in" in capsys.readouterr().out


def test_the_search_and_its_estimator_are_left_as_they_were():
    X, y = data()
    estimator = student()
    search = StackedGridSearchCV(estimator, {"alpha": [0.5, 1.0]}, cv=3)
    before = dict(vars(search))
    search.fit(X, y)
    assert search.estimator is estimator
    assert not hasattr(estimator, "estimators_")
    assert {name: vars(search)[name] for name in before} == before
    again = clone(search).fit(X, y)
    for name, value in weights_of(search.best_estimator_).items():
        np.testing.assert_array_equal(weights_of(again.best_estimator_)[name], value)


# -- how scikit-learn's search gets the fits that were made ---------------------------------
@pytest.fixture
def trainings(monkeypatch):
    """Return a list that gets the number of members of every training."""
    found = []

    def run(self, plain=Training.run):
        found.append(len(self.members))
        return plain(self)

    monkeypatch.setattr(Training, "run", run)
    return found


def test_prepared_fits_are_found_by_parameters_and_rows_in_any_order():
    X, y = data(20)
    made = {
        (seed, at): (NetworkClassifier(make_net(), random_state=seed), Given(X[at:], y[at:]))
        for seed in (0, 1)
        for at in (0, 5)
    }
    prepared = Prepared()
    for name, (one, given) in made.items():
        prepared.add((estimator_key(one), rows_key(given)), name, None)
    one, given = made[1, 5]
    assert prepared.take(one, partial(rows_key, Given(X[5:] + 1, y[5:]))) is None
    assert prepared.take(one, partial(rows_key, Given(X[5:], y[5:], np.ones(15)))) is None
    assert prepared.take(clone(one).set_params(estimator__lr=0.3), partial(rows_key, given)) is None
    for name, (one, given) in reversed(made.items()):
        rows = partial(rows_key, given)
        assert prepared.take(clone(one), rows) == (name, None)
    assert prepared.take(one, rows) is None


def test_folds_of_equal_labels_are_told_apart_by_their_rows(trainings):
    X, y = data(60)
    y = np.tile([0, 1, 2], 20)
    estimator = NetworkClassifier(make_net(), random_state=0)
    ours = StackedGridSearchCV(estimator, {"estimator__lr": [0.01, 0.1]}, cv=KFold(4)).fit(X, y)
    assert trainings == [8, 1]
    theirs = GridSearchCV(estimator, {"estimator__lr": [0.01, 0.1]}, cv=KFold(4)).fit(X, y)
    assert_equal_results(theirs, ours)


def test_equal_candidates_each_take_a_fit_of_their_own(trainings):
    X, y = data()
    estimator = NetworkClassifier(make_net(), random_state=0)
    grid = [{"estimator__lr": [0.1, 0.1]}, {"estimator__lr": [0.1]}]
    search = StackedGridSearchCV(estimator, grid, cv=3, refit=False).fit(X, y)
    assert sum(trainings) == 9
    assert len(set(search.cv_results_["mean_test_score"])) == 1


class Shift(torch.nn.Module):
    def __init__(self, by=torch.zeros_like):
        super().__init__()
        self.inner, self.by = torch.nn.Linear(6, 3), by

    def forward(self, x):
        return self.inner(x) + self.by(x[:, :3])


@AN_INSTANCE
@pytest.mark.parametrize("kind", ["network", "random state", "frozen"])
def test_candidates_of_any_parameters_are_trained_once(trainings, kind):
    X, y = data(dtype=np.float32)
    net = make_net(Shift() if kind == "network" else Shift, max_epochs=2)
    state = np.random.RandomState(3) if kind == "random state" else 0
    one, grid = NetworkClassifier(net, random_state=state), {"estimator__lr": [0.01, 0.1]}
    if kind == "frozen":
        teacher = FrozenEstimator(LogisticRegression().fit(X, y))
        one, grid = DistilledClassifier(teacher, net, random_state=0), {"student__lr": [0.01, 0.1]}
    ours = StackedGridSearchCV(one, grid, cv=3).fit(X, y)
    assert sum(trainings) == 7
    assert_equal_results(GridSearchCV(one, grid, cv=3).fit(X, y), ours, 1e-5)


class HalfOfThree:
    """A function that cannot be pickled."""

    def __call__(self, x):
        return x[:, :3] * 0.5

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        raise PicklingError("not me")


@pytest.mark.parametrize(
    ("by", "told"),
    [(lambda x: x[:, :3] * 0.5, "2 candidates on"), (HalfOfThree(), "one by one because of")],
)
def test_candidates_that_have_no_key_are_fitted_one_by_one(capsys, by, told):
    X, y = data(dtype=np.float32)
    net = make_net(Shift, module__by=by)
    one, grid = NetworkClassifier(net, random_state=0), {"estimator__lr": [0.01, 0.1]}
    both(one, grid, X, y, verbose=1)
    assert told in capsys.readouterr().out


class Noting(NetworkClassifier):
    """Keeps a note of its fit, as a user's own class may."""

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        self.n_rows_ = len(X)
        return self


def test_candidates_are_plain_objects_of_their_class_and_go_through_their_own_fit(trainings):
    X, y = data()
    asked = []

    def scorer(estimator, X, y):
        asked.append((type(estimator), estimator.n_rows_))
        return estimator.score(X, y)

    one = Noting(make_net(), random_state=0)
    search = StackedGridSearchCV(one, {"random_state": [0, 1]}, cv=KFold(3), scoring=scorer)
    search.fit(X, y)
    assert sum(trainings) == 7
    assert {kind for kind, _ in asked} == {Noting}
    assert [n for _, n in asked] == [40, 41, 41] * 2
    assert type(search.best_estimator_) is Noting
    search.set_params(scoring=None).fit(X, y)
    again = pickle.loads(pickle.dumps(search))  # its default scorer holds an estimator
    assert again.scorer_(again, X, y) == search.score(X, y)


def test_a_fold_of_all_rows_is_not_taken_for_the_last_fit(trainings):
    X, y = data()
    every = np.arange(len(X))
    estimator = NetworkClassifier(make_net(), random_state=0)
    search = StackedGridSearchCV(estimator, {"random_state": [1]}, cv=[(every, every)])
    search.fit(X, y)
    assert trainings == [1, 1]


def test_searches_in_threads_keep_their_fits_apart():
    X, y = data()
    estimator = NetworkClassifier(make_net(), random_state=0)
    search = StackedGridSearchCV(estimator, {"estimator__lr": [0.01, 0.1]}, cv=3)
    alone = cross_val_score(search, X, y, cv=2)
    with joblib.parallel_config("threading"):
        np.testing.assert_allclose(cross_val_score(search, X, y, cv=2, n_jobs=2), alone)
