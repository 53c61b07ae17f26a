"""Honesty of probabilities."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from skensemble._arguments import as_numpy, naming
from skensemble._private import Interval, validate_params


def check_proba(
    y_true: Any, y_proba: Any, labels: Any, name: str = "y_proba"
) -> tuple[np.ndarray, np.ndarray]:
    """Return label positions and probabilities, after saying what is wrong with them."""
    with naming(name, "be probabilities of shape (n_samples, n_classes)"):
        y_proba = check_array(as_numpy(y_proba), dtype=[np.float64, np.float32], input_name=name)
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


@validate_params(
    {"n_bins": [Interval(numbers.Integral, 1, None, closed="left")]},
    prefer_skip_nested_validation=True,
)
def expected_calibration_error(
    y_true: Any, y_proba: Any, *, n_bins: int = 15, labels: Any = None
) -> float:
    """Mean distance between confidence and accuracy over bins of equal width.

    Samples are sorted by their largest probability into `n_bins` bins ``(lo, hi]``; the
    error is ``sum_b n_b / n * |accuracy_b - confidence_b|``.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_proba : array-like of shape (n_samples, n_classes)
        Predicted probabilities.
    n_bins : int, default=15
        Number of bins.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; the sorted labels of `y_true` if not given.

    Returns
    -------
    float
        A number in [0, 1].

    References
    ----------
    Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", 2017.

    Examples
    --------
    >>> round(expected_calibration_error([0, 1], [[0.9, 0.1], [0.2, 0.8]]), 2)
    0.15
    """
    position, y_proba = check_proba(y_true, y_proba, labels)
    confidence = y_proba.max(1)
    right = y_proba.argmax(1) == position
    edges = np.linspace(0, 1, n_bins + 1)[1:-1]
    where = np.searchsorted(edges, confidence, side="left")
    gap = np.bincount(where, right - confidence.astype(np.float64), int(n_bins))
    return float(np.abs(gap).sum() / len(position))
