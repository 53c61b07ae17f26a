"""Inside scikit-learn's machinery, on its bundled data sets."""

import numpy as np
import pytest
import sklearn
from nets import assert_same_network, make_net, weights_of
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_predict,
    cross_validate,
    learning_curve,
    train_test_split,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skensemble import DeepEnsembleClassifier, NetworkClassifier

LOADERS = {"iris": load_iris, "wine": load_wine, "cancer": load_breast_cancer}


def load(name="iris", split=True):
    X, y = LOADERS[name](return_X_y=True)
    X = StandardScaler().fit_transform(X)
    return train_test_split(X, y, random_state=0, stratify=y) if split else (X, y)


def make_ensemble(n_estimators=2, max_epochs=20, **kwargs):
    return DeepEnsembleClassifier(
        make_net(max_epochs=max_epochs), n_estimators, random_state=0, **kwargs
    )


@pytest.mark.parametrize("name", LOADERS)
def test_pipeline(name):
    X, y = LOADERS[name](return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, random_state=0, stratify=y)
    model = make_pipeline(StandardScaler(), make_ensemble()).fit(X, y)
    assert model.score(X_test, y_test) > 0.9
    assert model[-1].n_features_in_ == X.shape[1]


def test_grid_search_in_a_pipeline():
    X, y = load_wine(return_X_y=True)
    model = make_pipeline(StandardScaler(), make_ensemble())
    grid = {"deepensembleclassifier__estimator__lr": [1e-6, 0.02],
            "deepensembleclassifier__averaging": ["proba", "logit"]}  # fmt: skip
    search = GridSearchCV(model, grid, cv=3, error_score="raise").fit(X, y)
    assert search.best_params_["deepensembleclassifier__estimator__lr"] == 0.02
    assert search.best_score_ > 0.9
    assert len(search.best_estimator_[-1]) == 2


def test_cross_validate():
    X, y = load(split=False)
    scores = cross_validate(
        make_ensemble(), X, y, cv=3, return_estimator=True, error_score="raise",
        scoring=["accuracy", "neg_log_loss", "roc_auc_ovr"],
    )  # fmt: skip
    assert scores["test_accuracy"].min() > 0.9
    assert scores["test_neg_log_loss"].min() > -0.4
    assert scores["test_roc_auc_ovr"].min() > 0.95
    proba = cross_val_predict(make_ensemble(), X, y, cv=3, method="predict_proba")
    assert (proba.argmax(1) == y).mean() == pytest.approx(scores["test_accuracy"].mean(), abs=1e-12)


@pytest.mark.parametrize("averaging", ["proba", "logit"])
def test_calibration_of_a_frozen_ensemble(averaging):
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, random_state=0, train_size=400)
    ensemble = make_ensemble(3, averaging=averaging).fit(X[:250], y[:250])
    before = [weights_of(member) for member in ensemble]
    model = CalibratedClassifierCV(FrozenEstimator(ensemble), method="temperature")
    model.fit(X[250:], y[250:])
    for member, old in zip(ensemble, before, strict=True):
        assert all((weights_of(member)[name] == old[name]).all() for name in old)
    proba = model.predict_proba(X_test)
    np.testing.assert_array_equal(model.predict(X_test), ensemble.predict(X_test))
    assert log_loss(y_test, proba) <= log_loss(y_test, ensemble.predict_proba(X_test)) + 0.02
    assert not np.allclose(proba, ensemble.predict_proba(X_test))


@pytest.mark.parametrize("name", ["iris", "cancer"])
@pytest.mark.parametrize("joined", [True, False])
def test_calibration_with_refits(name, joined):
    X, X_test, y, y_test = load(name)
    model = CalibratedClassifierCV(make_ensemble(), method="temperature", cv=3, ensemble=joined)
    model.fit(X, y)
    assert len(model.calibrated_classifiers_) == (3 if joined else 1)
    assert model.score(X_test, y_test) > 0.9


def test_stacking_and_voting():
    X, X_test, y, y_test = load("wine")
    members = [("nets", make_ensemble()), ("tree", DecisionTreeClassifier(random_state=0))]
    stacking = StackingClassifier(members, LogisticRegression(), cv=3).fit(X, y)
    assert stacking.score(X_test, y_test) > 0.9
    assert stacking.transform(X_test).shape == (len(X_test), 6)
    assert stacking.stack_method_[0] == "predict_proba"
    voting = VotingClassifier(members, voting="soft").fit(X, y)
    assert voting.score(X_test, y_test) > 0.85


def test_bagging():
    X, X_test, y, y_test = load()
    model = BaggingClassifier(make_ensemble(), 3, random_state=0).fit(X, y)
    assert model.score(X_test, y_test) > 0.9
    a, b = (estimator[0] for estimator in model.estimators_[:2])
    assert a.random_state != b.random_state


def test_boosting():
    X, X_test, y, y_test = load("cancer")
    weak = NetworkClassifier(make_net(max_epochs=3, batch_size=100, lr=3e-3))
    model = AdaBoostClassifier(weak, n_estimators=5, random_state=0).fit(X, y)
    assert 1 < len(model.estimators_) <= 5
    assert np.ptp(model.estimator_weights_[: len(model.estimators_)]) > 0
    strong = AdaBoostClassifier(make_ensemble(), n_estimators=2, random_state=0).fit(X, y)
    assert strong.score(X_test, y_test) > 0.9


def test_one_against_the_rest():
    X, X_test, y, y_test = load()
    model = OneVsRestClassifier(make_ensemble()).fit(X, y)
    assert len(model.estimators_) == 3
    assert model.score(X_test, y_test) > 0.9
    np.testing.assert_allclose(model.predict_proba(X_test).sum(1), 1)


def test_permutation_importance():
    rng = np.random.default_rng(0)
    X, y = load(split=False)
    X = np.column_stack([X, rng.normal(size=len(X))])
    ensemble = make_ensemble().fit(X, y)
    importance = permutation_importance(ensemble, X, y, n_repeats=3, random_state=0)
    assert importance.importances_mean[2:4].max() > 0.1
    assert importance.importances_mean[4] < 0.05


def test_learning_curve():
    X, y = load(split=False)
    sizes, train, test = learning_curve(
        make_ensemble(), X, y, cv=3, train_sizes=[0.2, 1.0], shuffle=True, random_state=0,
        error_score="raise",
    )  # fmt: skip
    assert sizes.tolist() == [20, 100]
    assert train.shape == test.shape == (2, 3)
    assert test[1].mean() > 0.9


# -- metadata routing ----------------------------------------------------------------------


def weights():
    X, y = load(split=False)
    return X, y, np.where(y == 2, 20.0, 1.0)


class Spy(NetworkClassifier):
    """Remember the weights that arrive in `fit`."""

    seen = []  # noqa: RUF012

    def fit(self, X, y, sample_weight=None):
        self.seen.append(sample_weight)
        return super().fit(X, y, sample_weight)


def test_sample_weight_is_routed():
    X, y, weight = weights()
    with sklearn.config_context(enable_metadata_routing=True):
        ensemble = make_ensemble().set_fit_request(sample_weight=True)
        model = make_pipeline(PCA(whiten=True), ensemble).fit(X, y, sample_weight=weight)
        scaled = PCA(whiten=True).fit_transform(X)
        plain = clone(ensemble).fit(scaled, y, sample_weight=weight)
        for a, b in zip(model[-1], plain, strict=True):
            assert_same_network(a, b)
        assert abs(plain.predict_proba(scaled) - make_ensemble().fit(scaled, y).predict_proba(
            scaled)).max() > 1e-3  # fmt: skip
        search = GridSearchCV(
            Spy(make_net(max_epochs=1)).set_fit_request(sample_weight=True).set_score_request(
                sample_weight=True
            ),
            {"estimator__lr": [0.01, 0.02]}, cv=2, error_score="raise",
        )  # fmt: skip
        Spy.seen.clear()
        search.fit(X, y, sample_weight=weight)
        assert [len(seen) for seen in Spy.seen] == [75, 75, 75, 75, 150]
        assert all(set(seen) == {1.0, 20.0} for seen in Spy.seen)


def test_unrequested_sample_weight_is_refused():
    X, y, weight = weights()
    with sklearn.config_context(enable_metadata_routing=True):
        model = make_pipeline(PCA(), make_ensemble())
        with pytest.raises(ValueError, match="sample_weight.* but are not explicitly set as requ"):
            model.fit(X, y, sample_weight=weight)


@pytest.mark.parametrize("cls", [DeepEnsembleClassifier, NetworkClassifier])
def test_clone_and_repr(cls):
    estimator = cls(make_net(lr=0.125), random_state=3)
    copy = clone(estimator)
    assert isinstance(copy, BaseEstimator)
    assert copy.estimator is not estimator.estimator
    assert copy.get_params()["estimator__lr"] == 0.125
    assert copy.set_params(estimator__lr=0.5).estimator.lr == 0.5
    assert estimator.estimator.lr == 0.125
    assert "random_state=3" in repr(estimator)
    assert cls.__name__ in estimator._repr_html_()
