"""scikit-learn's checks, all of them, on every public estimator."""

import inspect

import pytest
from registry import ESTIMATORS, public_estimators
from sklearn.base import clone
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import (
    check_classifiers_train,
    check_dataframe_column_names_consistency,
    check_dict_unchanged,
    check_fit2d_1sample,
    check_inplace_ensure_writeable,
    check_param_validation,
    parametrize_with_checks,
)

from skensemble import NetworkClassifier


@parametrize_with_checks(ESTIMATORS)
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
@pytest.mark.parametrize(
    "check",
    [
        check_dataframe_column_names_consistency,
        check_inplace_ensure_writeable,
        check_param_validation,
    ],
)
def test_checks_scikit_learn_runs_on_its_own_estimators(estimator, check):
    check(type(estimator).__name__, clone(estimator))


def test_a_network_of_defaults_learns_as_well():
    """Its hundred epochs are too many for all of the checks."""
    check_classifiers_train("NetworkClassifier", NetworkClassifier())
    check_dict_unchanged("NetworkClassifier", NetworkClassifier())
    check_fit2d_1sample("NetworkClassifier", NetworkClassifier())


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_no_excuses_are_claimed(estimator):
    tags = get_tags(estimator)
    assert not tags.non_deterministic
    assert tags.classifier_tags is None or not tags.classifier_tags.poor_score
    assert not tags.no_validation
    assert not tags._skip_test


def test_registry_is_complete():
    assert {type(estimator) for estimator in ESTIMATORS} >= set(public_estimators())


@pytest.mark.parametrize("cls", public_estimators())
def test_every_parameter_has_a_constraint(cls):
    parameters = set(inspect.signature(cls.__init__).parameters) - {"self"}
    assert parameters == set(cls._parameter_constraints)
