"""One temperature for the probabilities of a classifier."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

# The logarithm of a temperature is as likely within this of zero as not: a few rows do not move
# it far.
_SPREAD = 0.2
_FARTHEST = np.log(20.0)


def fit_temperature(
    log_proba: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None
) -> float:
    """Return the temperature by which logarithms of probabilities are divided.

    It minimises ``Σ w (-log softmax(log_proba / T)[y]) + (log T / 0.2)² / 2``: the log loss, and
    what is known before any row was seen, that a temperature is about one.

    Parameters
    ----------
    log_proba : ndarray of shape (n_samples, n_classes)
        Of rows that were not trained on.
    y : ndarray of shape (n_samples,), dtype int
        Class indices.
    weight : ndarray of shape (n_samples,) or None
        Weights; scaled to a mean of one.
    """
    if len(y) == 0:
        return 1.0
    logits = np.maximum(np.asarray(log_proba, np.float64), -50.0)
    own = logits[np.arange(len(y)), y]
    weight = np.ones(len(y)) if weight is None else weight * (len(y) / weight.sum())

    def loss(log_t: float) -> float:
        t = np.exp(log_t)
        each = logsumexp(logits / t, axis=1) - own / t
        return float(weight @ each) + 0.5 * (log_t / _SPREAD) ** 2

    found = minimize_scalar(loss, bounds=(-_FARTHEST, _FARTHEST), method="bounded")
    return float(np.exp(found.x))
