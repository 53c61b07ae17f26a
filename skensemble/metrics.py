"""Measures of accuracy and of the honesty of probabilities, and their scorers."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_array, check_consistent_length

__all__ = [
    "disagreement",
    "expected_calibration_error",
    "negative_log_likelihood",
    "pairwise_kl",
    "surplus",
]


def _check(y_true: Any, y_proba: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return label positions and probabilities, after saying what is wrong with them."""
    y_proba = check_array(y_proba, dtype=[np.float64, np.float32])
    y_true = np.asarray(y_true)
    check_consistent_length(y_true, y_proba)
    labels = np.unique(y_true) if labels is None else np.asarray(labels)
    if len(labels) != y_proba.shape[1]:
        raise ValueError(
            f"y_proba has {y_proba.shape[1]} columns for {len(labels)} labels; pass 'labels' "
            "(classes_ of the estimator) where y_true does not have them all."
        )
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
    position, y_proba = _check(y_true, y_proba, labels)
    with np.errstate(divide="ignore"):
        return float(-np.log(y_proba[np.arange(len(position)), position]).mean())


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
    if n_bins < 1:
        raise ValueError(f"The 'n_bins' must be an int of at least 1. Got {n_bins!r} instead.")
    position, y_proba = _check(y_true, y_proba, labels)
    confidence = y_proba.max(1)
    right = y_proba.argmax(1) == position
    edges = np.linspace(0, 1, n_bins + 1)[1:-1]
    where = np.searchsorted(edges, confidence, side="left")
    gap = np.bincount(where, right - confidence.astype(np.float64), n_bins)
    return float(np.abs(gap).sum() / len(position))


# -- diversity -----------------------------------------------------------------------------


def _check_members(members: Any) -> np.ndarray:
    """Return probabilities of members, after saying what is wrong with them."""
    members = check_array(members, dtype=[np.float64, np.float32], allow_nd=True)
    if members.ndim != 3 or len(members) < 2:
        raise ValueError(
            "Diversity wants probabilities of shape (n_members, n_samples, n_classes) from at "
            f"least 2 members, as predict_members returns. Got shape {members.shape} instead."
        )
    return members


def disagreement(members: Any) -> float:
    """Share of samples on which two members choose different classes, mean over pairs.

    Parameters
    ----------
    members : array-like of shape (n_members, n_samples, n_classes)
        Probabilities, as ``predict_members`` returns.

    Returns
    -------
    float
        A number in [0, 1].

    Examples
    --------
    >>> disagreement([[[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.7, 0.3]]])
    0.5
    """
    members = _check_members(members)
    chosen = members.argmax(-1)
    n_members, n_classes = len(members), members.shape[-1]
    # Pairs that agree on a sample, from how many chose each class there.
    counts = (chosen[:, :, None] == np.arange(n_classes)).sum(0)
    agree = (counts * (counts - 1)).sum(-1) / (n_members * (n_members - 1))
    return float(1 - agree.mean())


def pairwise_kl(members: Any) -> float:
    """Kullback-Leibler divergence between members, mean over ordered pairs and samples.

    ``mean over i != j of sum_k p_ik log(p_ik / p_jk)``; infinite where a member gives
    zero to a class to which another gives more.

    Parameters
    ----------
    members : array-like of shape (n_members, n_samples, n_classes)
        Probabilities, as ``predict_members`` returns.

    Returns
    -------
    float
        The mean, in nats; zero if and only if all members say the same.

    Examples
    --------
    >>> pairwise_kl([[[0.5, 0.5]], [[0.5, 0.5]]])
    0.0
    """
    p = _check_members(members).astype(np.float64)
    n_members = len(p)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_p = np.log(p)
        own = np.where(p > 0, p * log_p, 0.0).sum((0, 2))
        # The sum over ordered pairs of sum_k p_i log p_j, without its diagonal.
        others = p.sum(0, keepdims=True) - p
        cross = np.where(others > 0, others * log_p, 0.0).sum((0, 2))
    total = (n_members - 1) * own - cross
    return float(np.maximum(total / (n_members * (n_members - 1)), 0.0).mean())


# -- pruning -------------------------------------------------------------------------------


def surplus(
    self_distilled: float, finetuned: float, unpruned_distilled: float, unpruned: float
) -> float:
    """Return what distillation adds to pruning beyond what it adds to the unpruned network.

    ``(self_distilled - finetuned) - (unpruned_distilled - unpruned)``: positive where a teacher
    helps a pruned network more than an unpruned one.

    Parameters
    ----------
    self_distilled : float
        Accuracy of the network trained by distillation, pruned, and taught by its unpruned self
        (``PrunedClassifier(distill="self")``).
    finetuned : float
        Accuracy of the network trained, pruned and fine-tuned on the labels alone.
    unpruned_distilled : float
        Accuracy of the unpruned network trained by distillation.
    unpruned : float
        Accuracy of the unpruned network trained on the labels alone.

    Returns
    -------
    float
        In the unit of the accuracies.

    References
    ----------
    Park, Yoo and Kwak, "On the orthogonality of knowledge distillation with other techniques",
    2020, section 4.

    Examples
    --------
    >>> surplus(74.0, 71.5, 73.25, 72.0)
    1.25
    """
    return (self_distilled - finetuned) - (unpruned_distilled - unpruned)
