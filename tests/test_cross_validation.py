"""Cross-validation in common stacks says what scikit-learn's says."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from nets import make_net
from sklearn import model_selection as theirs
from sklearn.base import BaseEstimator
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skensemble import DeepEnsembleClassifier, DistilledClassifier, NetworkClassifier
from skensemble._engine.training import Training
from skensemble.model_selection import cross_val_predict, cross_val_score, cross_validate

X, Y = make_classification(60, 6, n_informative=5, n_redundant=0, n_classes=3, random_state=0)
WORDS = np.array(["oak", "ash", "yew"])[Y]
GROUPS = np.arange(60) % 4


def network():
    return NetworkClassifier(make_net(max_epochs=2), random_state=0)


def ensemble():
    return DeepEnsembleClassifier(make_net(max_epochs=2), 2, random_state=0)


def student():
    return DistilledClassifier(ensemble(), make_net(max_epochs=2), random_state=0)


def piped():
    return make_pipeline(StandardScaler(), network())


@pytest.fixture
def sizes(monkeypatch):
    """How many networks each call of the engine trained."""
    found, plain = [], Training.run
    monkeypatch.setattr(
        Training, "run", lambda one: (found.append(len(one.members)), plain(one))[1]
    )
    return found


CASES = {
    "network": (network, {}, [3]),
    "ensemble": (ensemble, {}, [6]),
    "student": (student, {}, [6, 3]),
    "pipeline": (piped, {}, [3]),
    "labels are words": (piped, {"y": WORDS}, [3]),
    "frame": (piped, {"X": pd.DataFrame(X, columns=list("abcdef"))}, [3]),
    "groups": (piped, {"groups": GROUPS, "cv": GroupKFold(2)}, [2]),
    "weights": (network, {"params": {"sample_weight": np.linspace(0.5, 2, 60)}}, [3]),
    "two sizes": (network, {"cv": KFold(7)}, [7]),
    "a generator of folds": (network, {"cv": lambda: KFold(3).split(X)}, [3]),
    "workers": (piped, {"n_jobs": 2}, [3]),
    "of others": (lambda: make_pipeline(StandardScaler(), LogisticRegression()), {}, []),
    "in the middle of a pipeline": (lambda: PCA(2), {"scoring": lambda one, X, y: 0.0}, []),
}


def given(more):
    more = {"X": X, "y": Y, "cv": 3, **more}
    return {k: v() if k == "cv" and callable(v) else v for k, v in more.items()}


@pytest.mark.parametrize("name", CASES)
def test_scores(name, sizes):
    make, more, wanted = CASES[name]
    expected = theirs.cross_validate(make(), **given(more), return_train_score=True)
    sizes.clear()
    found = cross_validate(make(), **given(more), return_train_score=True)
    assert sorted(sizes) == sorted(wanted)
    assert list(found) == list(expected)
    for key in ("test_score", "train_score"):
        np.testing.assert_allclose(found[key], expected[key], atol=1e-10)
    assert (found["fit_time"] > 0).all()
    scores = cross_val_score(make(), **given(more))
    np.testing.assert_allclose(scores, expected["test_score"], atol=1e-10)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function"])
@pytest.mark.parametrize("make", [network, piped, student])
def test_predictions(make, method, sizes):
    expected = theirs.cross_val_predict(make(), X, WORDS, cv=3, method=method)
    sizes.clear()
    found = cross_val_predict(make(), X, WORDS, cv=3, method=method)
    assert sizes == ([6, 3] if make is student else [3])
    if method == "predict":
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, atol=1e-10)


class ByName:
    """Folds that are made of the labels as they are."""

    def split(self, X, y, groups=None):
        oaks = np.flatnonzero(np.asarray(y) == "oak")
        rest = np.flatnonzero(np.asarray(y) != "oak")
        for half in (np.r_[oaks[::2], rest[::2]], np.r_[oaks[1::2], rest[1::2]]):
            yield np.setdiff1d(np.arange(len(y)), half), half

    def get_n_splits(self, X=None, y=None, groups=None):
        return 2


def test_a_splitter_is_shown_the_labels_as_they_came(sizes):
    more = {"cv": ByName(), "method": "predict_proba"}
    expected = theirs.cross_val_predict(piped(), X, WORDS, **more)
    sizes.clear()
    np.testing.assert_allclose(cross_val_predict(piped(), X, WORDS, **more), expected, atol=1e-10)
    assert sizes == [2]


def test_what_is_returned_beside_the_scores():
    found = cross_validate(
        piped(), X, Y, cv=3, scoring=["accuracy", "neg_log_loss"],
        return_estimator=True, return_indices=True,
    )  # fmt: skip
    assert set(found) >= {"test_accuracy", "test_neg_log_loss", "estimator", "indices"}
    for one, test, score in zip(
        found["estimator"], found["indices"]["test"], found["test_accuracy"], strict=True
    ):
        assert set(vars(one)) == set(vars(piped()))
        assert one.score(X[test], Y[test]) == score
    assert len({id(one) for one in found["estimator"]}) == 3


def test_folds_without_a_seed_are_asked_for_once(sizes):
    found = cross_validate(
        network(), X, Y, cv=ShuffleSplit(2, test_size=0.5), return_estimator=True,
        return_indices=True,
    )  # fmt: skip
    assert sizes == [2]
    for one, test, score in zip(
        found["estimator"], found["indices"]["test"], found["test_score"], strict=True
    ):
        assert one.score(X[test], Y[test]) == score


def test_metadata_is_routed(sizes):
    weight = np.linspace(0.5, 2, 60)
    with sklearn.config_context(enable_metadata_routing=True):
        net = network().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        one = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), net)
        more = {"params": {"sample_weight": weight, "groups": GROUPS}, "cv": GroupKFold(2)}
        expected = theirs.cross_val_score(one, X, Y, **more)
        sizes.clear()
        np.testing.assert_allclose(cross_val_score(one, X, Y, **more), expected, atol=1e-10)
        assert sizes == [2]
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError):
            cross_val_score(network(), X, Y, params={"sample_weight": weight})


def test_failures_are_those_of_scikit_learn():
    bad = make_pipeline(PCA(99), network())
    for function in (theirs.cross_val_score, cross_val_score):
        with pytest.raises(ValueError, match="All the 3 fits failed"):
            function(bad, X, Y, cv=3)
        with pytest.raises(ValueError, match="n_components=99"):
            function(bad, X, Y, cv=3, error_score="raise")
        with pytest.raises(ValueError, match="'cv'"):
            function(network(), X, Y, cv="three")
    for predict in (theirs.cross_val_predict, cross_val_predict):
        with pytest.raises(ValueError, match="only works for partitions"):
            predict(network(), X, Y, cv=ShuffleSplit(2, random_state=0))


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"scoring": {}}, "'scoring' must be scorers"),
        ({"cv": []}, "'cv' must"),
        ({"cv": [1, 2]}, "'cv' must"),
        ({"X": X + 1j}, "'X' must be rows.*Complex data not supported"),
        ({"X": pd.DataFrame(X, columns=list("abcdea"))}, "'X' must be rows.*names of columns"),
        ({"verbose": "loud"}, "'verbose' parameter of cross_validate"),
        ({"n_jobs": 0}, "'n_jobs' parameter of cross_validate"),
        ({"params": 3}, "'params' parameter of cross_validate"),
        ({"params": {3: 4}}, "'params' must have names"),
        ({"error_score": np.array([1, 2])}, "'error_score' parameter of cross_validate"),
    ],
)
def test_what_is_wrong_is_named(bad, match):
    with pytest.raises((TypeError, ValueError), match=match):
        cross_validate(network(), **given(bad))


def test_a_failing_fold_costs_its_own_score_alone():
    class Moody(StandardScaler):
        def fit(self, X, y=None):
            if X[0, 0] == FIRST:
                raise ValueError("not today")
            return super().fit(X, y)

    folds = KFold(3)
    FIRST = X[next(iter(folds.split(X)))[0][0], 0]
    scores = []
    for function in (theirs.cross_val_score, cross_val_score):
        with pytest.warns(sklearn.exceptions.FitFailedWarning, match="not today"):
            scores.append(function(make_pipeline(Moody(), network()), X, Y, cv=folds))
    np.testing.assert_allclose(*scores, atol=1e-10)
    assert np.isnan(scores[0]).any()


def test_what_is_trained_together_is_told(capsys):
    cross_val_score(piped(), X, Y, cv=3, verbose=1)
    assert "cross-validation: 3 folds in" in capsys.readouterr().out


class Odd(BaseEstimator):
    """Cannot be cloned, so scikit-learn says why."""

    def __init__(self, a=1):
        self.a = a + 1

    def fit(self, X, y):
        return self


def test_what_cannot_be_cloned_is_refused():
    with pytest.raises(RuntimeError, match="clone"):
        cross_val_score(make_pipeline(Odd(), network()), X, Y)
