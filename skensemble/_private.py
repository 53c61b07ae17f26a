"""The private names of scikit-learn this package leans on, all in one place.

``tests/test_private.py`` fails when one of them goes away or changes its meaning.
"""

from sklearn.base import _fit_context as fit_context
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    Options,
    RealNotInt,
    StrOptions,
    validate_parameter_constraints,
    validate_params,
)
from sklearn.utils.validation import (
    _check_feature_names_in as check_feature_names_in,
    _check_sample_weight as check_sample_weight,
    _check_y as check_y,
)

__all__ = [
    "HasMethods",
    "Interval",
    "Options",
    "RealNotInt",
    "StrOptions",
    "check_feature_names_in",
    "check_sample_weight",
    "check_y",
    "fit_context",
    "validate_parameter_constraints",
    "validate_params",
]
