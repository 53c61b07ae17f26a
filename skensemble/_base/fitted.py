"""Whether a classifier is fitted, and what is inside of a frozen one."""

from __future__ import annotations

from typing import Any

from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNetClassifier


def unwrap(teacher: Any) -> Any:
    """Return the classifier inside of any ``FrozenEstimator``."""
    while isinstance(teacher, FrozenEstimator):
        teacher = teacher.estimator
    return teacher


def is_fitted(teacher: Any) -> bool:
    """Whether a classifier can predict as it is."""
    if isinstance(teacher, NeuralNetClassifier):
        return bool(getattr(teacher, "initialized_", False))
    try:
        check_is_fitted(teacher)
    except (NotFittedError, TypeError, AttributeError):
        return False
    return True
