"""The estimators inside scikit-learn's own tools, each run for real."""

import numpy as np
import pytest
import sklearn
from registry import cheap_net
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris, load_wine
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier, StackingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    cross_validate,
    learning_curve,
    train_test_split,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skensemble import DeepEnsembleClassifier, NetworkClassifier


@pytest.fixture(scope="module")
def wine():
    X, y = load_wine(return_X_y=True)
    names = np.array(["first", "second", "third"])
    return train_test_split(StandardScaler().fit_transform(X), names[y], random_state=0, stratify=y)


def ensemble(**kwargs):
    return DeepEnsembleClassifier(cheap_net(), 2, random_state=0, **kwargs)


def test_pipeline():
    X, y = load_wine(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), ensemble()).fit(X, y)
    assert pipeline.score(X, y) > 0.95
    bare = ensemble().fit(StandardScaler().fit_transform(X), y)
    np.testing.assert_array_equal(
        pipeline.predict_proba(X), bare.predict_proba(StandardScaler().fit_transform(X))
    )


def test_grid_search_reaches_the_recipe(wine):
    X, X_test, y, y_test = wine
    grid = {"estimator__lr": [1e-6, 0.02], "estimator__module__hidden": [(8,), (32,)]}
    search = GridSearchCV(ensemble(), grid, cv=2).fit(X, y)
    assert search.best_params_["estimator__lr"] == 0.02
    assert search.score(X_test, y_test) > 0.9
    first = search.best_estimator_[0].module_.layers[1]
    assert first.out_features == search.best_params_["estimator__module__hidden"][0]


def test_cross_validate(wine):
    X, _, y, _ = wine
    scores = cross_validate(ensemble(), X, y, cv=3, scoring=["accuracy", "neg_log_loss"])
    assert scores["test_accuracy"].mean() > 0.9
    assert scores["test_neg_log_loss"].mean() > -0.5


@pytest.mark.parametrize("frozen", [False, True])
def test_temperature_calibration(wine, frozen):
    X, X_test, y, y_test = wine
    classifier = ensemble()
    if frozen:
        classifier = FrozenEstimator(classifier.fit(X[:60], y[:60]))
        X, y = X[60:], y[60:]
    calibrated = CalibratedClassifierCV(classifier, method="temperature").fit(X, y)
    assert log_loss(y_test, calibrated.predict_proba(X_test)) < 0.5


def test_stacking(wine):
    X, X_test, y, y_test = wine
    members = [("nets", ensemble()), ("linear", LogisticRegression())]
    stacking = StackingClassifier(members, cv=2).fit(X, y)
    assert stacking.score(X_test, y_test) > 0.9


def test_bagging(wine):
    X, X_test, y, y_test = wine
    bagging = BaggingClassifier(NetworkClassifier(cheap_net()), 2, random_state=0).fit(X, y)
    assert bagging.score(X_test, y_test) > 0.85


def test_boosting(wine):
    X, X_test, y, y_test = wine
    boosting = AdaBoostClassifier(NetworkClassifier(cheap_net()), n_estimators=2, random_state=0)
    assert boosting.fit(X, y).score(X_test, y_test) > 0.85


def test_one_versus_rest():
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    assert OneVsRestClassifier(ensemble()).fit(X, y).score(X, y) > 0.9


def test_permutation_importance(wine):
    X, X_test, y, y_test = wine
    noise = np.random.RandomState(0).normal(size=(len(X_test), 1))
    fitted = ensemble().fit(np.hstack([X, np.zeros((len(X), 1))]), y)
    result = permutation_importance(
        fitted, np.hstack([X_test, noise * 0]), y_test, n_repeats=3, random_state=0
    )
    assert result.importances_mean[-1] == 0
    assert result.importances_mean.max() > 0


def test_learning_curve(wine):
    X, _, y, _ = wine
    sizes, _, scores = learning_curve(
        ensemble(), X, y, train_sizes=[0.3, 1.0], cv=2, shuffle=True, random_state=0
    )
    assert sizes[0] < sizes[1]
    assert scores[1].mean() > 0.85


def test_sample_weight_is_routed(wine):
    X, _, y, _ = wine
    weight = np.where(y == "first", 0.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        asks = ensemble().set_fit_request(sample_weight=True)
        asks.set_score_request(sample_weight=True)
        search = GridSearchCV(asks, {}, cv=2)
        search.fit(X, y, sample_weight=weight)
    assert "first" not in search.predict(X)
