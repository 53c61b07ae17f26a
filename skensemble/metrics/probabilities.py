"""Probabilities and labels: how they are checked, and their likelihood."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from skensemble._arguments import as_numpy, naming

# What sums of float32 may be beyond one.
_ROUNDING = 1e-5


def check_proba(
    y_true: Any, y_proba: Any, labels: Any, name: str = "y_proba"
) -> tuple[np.ndarray, np.ndarray]:
    """Return label positions and probabilities, after saying what is wrong with them."""
    with naming(name, "be probabilities of shape (n_samples, n_classes)"):
        y_proba = check_array(as_numpy(y_proba), dtype=[np.float64, np.float32], input_name=name)
    outside = y_proba[(y_proba < -_ROUNDING) | (y_proba > 1 + _ROUNDING)]
    if outside.size:
        raise ValueError(
            f"{name} must be probabilities, from 0 to 1. Got {outside[0]:.4g} instead; of logits "
            "take the softmax."
        )
    with naming("y_true", "be one label a row"):
        y_true = column_or_1d(as_numpy(y_true))
        check_consistent_length(y_true, y_proba)
        given = np.unique(y_true)  # which labels that cannot be compared do not have
    labels = given if labels is None else np.asarray(as_numpy(labels))
    if labels.ndim != 1:
        raise ValueError(f"The 'labels' must be one label a column. Got shape {labels.shape}.")
    if len(labels) != y_proba.shape[1]:
        raise ValueError(
            f"{name} has {y_proba.shape[1]} columns for {len(labels)} labels; pass 'labels' "
            "(classes_ of the estimator) where y_true does not have them all."
        )
    with naming("labels", "be labels like those of y_true"):
        order = np.argsort(labels)
        at = np.searchsorted(labels, y_true, sorter=order)
    position = order[np.minimum(at, len(labels) - 1)]
    if not np.array_equal(labels[position], y_true):
        raise ValueError(f"y_true has values that are not among the labels {labels.tolist()}.")
    return position, y_proba


def negative_log_likelihood(y_true: Any, y_proba: Any, *, labels: Any = None) -> float:
    """Mean negative logarithm of the probability given to the true class, unclipped.

    Unlike :func:`sklearn.metrics.log_loss` a probability of zero costs infinity.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_proba : array-like of shape (n_samples, n_classes)
        Predicted probabilities.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; the sorted labels of `y_true` if not given.

    Returns
    -------
    float
        The mean, in nats.

    Examples
    --------
    >>> negative_log_likelihood([0, 1], [[0.5, 0.5], [0.5, 0.5]])
    0.6931471805599453
    """
    position, y_proba = check_proba(y_true, y_proba, labels)
    with np.errstate(divide="ignore"):
        return float(-np.log(y_proba[np.arange(len(position)), position]).mean())
