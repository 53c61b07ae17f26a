"""The private names of scikit-learn this package leans on, all in one place.

``tests/test_private.py`` fails when one of them goes away or changes its meaning.
"""

from __future__ import annotations

from typing import Any

from sklearn.base import _fit_context as fit_context

# Experimental: scikit-learn's own way to them is a switch that users see.
from sklearn.model_selection._search_successive_halving import (
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
)
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    Options,
    RealNotInt,
    StrOptions,
    validate_parameter_constraints,
    validate_params,
)
from sklearn.utils._repr_html.estimator import (
    _get_visual_block as visual_block,
    _VisualBlock as VisualBlock,
)
from sklearn.utils.validation import (
    _check_feature_names_in as check_feature_names_in,
    _check_sample_weight as check_sample_weight,
    _check_y as check_y,
)

__all__ = [
    "HalvingGridSearchCV",
    "HalvingRandomSearchCV",
    "HasMethods",
    "Interval",
    "Options",
    "RealNotInt",
    "StrOptions",
    "VisualBlock",
    "callbacks_of",
    "check_feature_names_in",
    "check_sample_weight",
    "check_y",
    "fit_context",
    "is_inside",
    "open_callbacks",
    "validate_parameter_constraints",
    "validate_params",
    "visual_block",
]


def callbacks_of(estimator: Any) -> list[Any]:
    """Return the callbacks that a user, or a fit around it, has set on an estimator."""
    return list(getattr(estimator, "_skl_callbacks", ()))


def open_callbacks(estimator: Any) -> Any:
    """Set the callbacks up at the beginning of a fit under `fit_context`, which tears them down.

    Returns the context of the fit, whose number of subtasks is not known yet.
    """
    return estimator._init_callback_context(max_subtasks=None)


def is_inside(estimator: Any) -> bool:
    """Whether it is fitted by a search or pipeline that tells callbacks."""
    return hasattr(estimator, "_parent_callback_ctx")
