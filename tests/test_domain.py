"""What this package promises beyond scikit-learn, for every setting of the registry."""

import domain_checks
import numpy as np
import pytest
import torch
from domain_checks import REFUSALS, WITHOUT_HASH, checked_methods, kind_of
from registry import ESTIMATORS, cheap_net
from sklearn.base import BaseEstimator

from skensemble import NetworkClassifier

CASES = [
    pytest.param(estimator, check, id=f"{number}-{kind_of(estimator)}-{check.__name__}")
    for number, estimator in enumerate(ESTIMATORS)
    for check in domain_checks.domain_checks(estimator)
]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("estimator", "check"), CASES)
def test_domain(estimator, check):
    check(estimator)


def methods_of(estimator: BaseEstimator) -> set[str]:
    """Return what an estimator can do, but for scikit-learn's own plumbing."""
    plumbing = {"get_params", "get_metadata_routing", *estimator.get_params(deep=False)}
    names = {name for name in dir(estimator) if not name.startswith(("_", "set_"))} - plumbing
    called = {name for name in names if callable(getattr(estimator, name))}
    special = ("__len__", "__iter__", "__getitem__")
    return called | {name for name in special if hasattr(estimator, name)}


@pytest.mark.parametrize("cls", dict.fromkeys(map(type, ESTIMATORS)))
def test_every_method_has_a_check(cls):
    settings = [estimator for estimator in ESTIMATORS if type(estimator) is cls]
    assert set().union(*map(methods_of, settings)) <= checked_methods()


def test_all_checks_are_registered_and_apply():
    written = {name for name in vars(domain_checks) if name.startswith("check_")}
    applied = {check.__name__ for e in ESTIMATORS for check in domain_checks.domain_checks(e)}
    assert written == applied


def test_refusals_are_of_kinds_that_there_are():
    kinds = {kind_of(estimator) for estimator in ESTIMATORS}
    assert {kind for _, kind in REFUSALS} | set(WITHOUT_HASH) <= kinds


# -- the checks themselves: each of these breaks one promise --------------------------------


class Hoards(NetworkClassifier):
    def fit(self, X, y):
        self._last = {"rows": [X]}
        return super().fit(X, y)


class Undocumented(NetworkClassifier):
    """A network.

    Attributes
    ----------
    classes_, n_features_in_, module_, history_
        As ever.
    """

    def fit(self, X, y):
        self.n_rows_ = len(X)
        return super().fit(X, y)


class Draws(NetworkClassifier):
    def predict_proba(self, X):
        torch.rand(1)
        return super().predict_proba(X)


class DrawsLater(NetworkClassifier):
    def score(self, X, y, sample_weight=None):
        np.random.rand()  # noqa: NPY002
        return super().score(X, y, sample_weight)


class Writes(NetworkClassifier):
    def predict(self, X):
        found = super().predict(X)
        X *= 2
        return found


class Unscaled(NetworkClassifier):
    def predict_proba(self, X):
        return 1.01 * super().predict_proba(X)


class Remembers(NetworkClassifier):
    def fit(self, X, y):
        fits = getattr(self, "_fits", 0)
        super().fit(X[: len(X) - 9 * fits], y[: len(X) - 9 * fits])
        self._fits = fits + 1
        return self


class Forgets(NetworkClassifier):
    def __getstate__(self):
        state = super().__getstate__()
        state["_weights"] = {name: 0 * value for name, value in state["_weights"].items()}
        return state


class Reverses(NetworkClassifier):
    def decision_function(self, X):
        return -super().decision_function(X)


class Sorts(NetworkClassifier):
    def predict_log_proba(self, X):
        return np.sort(super().predict_log_proba(X))


class Batches(NetworkClassifier):
    def predict_proba(self, X):
        proba = super().predict_proba(X) + 0.01 * len(X)
        return proba / proba.sum(1, keepdims=True)


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        (Hoards, "no_training_rows_are_kept"),
        (Undocumented, "attributes_are_those_of_the_docstring"),
        (Draws, "global_state_is_left_alone"),
        (DrawsLater, "global_state_is_left_alone"),
        (Writes, "rows_and_labels_are_left_alone"),
        (Unscaled, "rows_sum_to_one"),
        (Remembers, "a_fit_leaves_nothing_for_the_next"),
        (Forgets, "copies_are_equal"),
        (Reverses, "scores_agree_with_predictions"),
        (Sorts, "logarithms_are_those_of_probabilities"),
        (Batches, "rows_are_answered_one_by_one"),
    ],
)
def test_a_broken_promise_is_found(broken, name):
    with pytest.raises(AssertionError):
        getattr(domain_checks, f"check_{name}")(broken(cheap_net()))
