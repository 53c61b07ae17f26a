"""Whether probabilities are what they say: calibration errors, and the Brier score in parts."""

from __future__ import annotations

import numbers
from typing import Any, NamedTuple

import numpy as np
from scipy.fft import dct, idct
from scipy.optimize import brentq
from sklearn.isotonic import IsotonicRegression

from skensemble._private import Interval, StrOptions, validate_params
from skensemble.metrics.probabilities import check_proba

_BINNED = {
    "n_bins": [Interval(numbers.Integral, 1, None, closed="left")],
    "strategy": [StrOptions({"uniform", "quantile"})],
}
# Cells of [0, 1] in which the smooth error is computed; it changes by less than 1e-3 beyond them.
_CELLS = 4096


@validate_params(_BINNED, prefer_skip_nested_validation=True)
def expected_calibration_error(
    y_true: Any, y_proba: Any, *, n_bins: int = 15, strategy: str = "uniform", labels: Any = None
) -> float:
    """Mean distance between confidence and accuracy over bins of the confidence.

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
    strategy : {"uniform", "quantile"}, default="uniform"
        Bins of equal width, or of equally many samples. Samples of the same confidence stay
        together, so that their order says nothing.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; the sorted labels of `y_true` if not given.

    Returns
    -------
    float
        A number in [0, 1].

    See Also
    --------
    classwise_calibration_error : Looks at every class and not at the largest one.
    smooth_calibration_error : Needs no bins.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", 2017.

    Examples
    --------
    >>> round(expected_calibration_error([0, 1], [[0.9, 0.1], [0.2, 0.8]]), 2)
    0.15
    """
    position, y_proba = check_proba(y_true, y_proba, labels)
    right = y_proba.argmax(1) == position
    return _binned_gap(y_proba.max(1), right, int(n_bins), strategy)


@validate_params(_BINNED, prefer_skip_nested_validation=True)
def classwise_calibration_error(
    y_true: Any, y_proba: Any, *, n_bins: int = 15, strategy: str = "uniform", labels: Any = None
) -> float:
    """Mean over classes of the distance between a class's probability and how often it came.

    ``1 / K * sum_k sum_b n_kb / n * |frequency_kb - probability_kb|``, over bins of the
    probability of class k.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_proba : array-like of shape (n_samples, n_classes)
        Predicted probabilities.
    n_bins : int, default=15
        Number of bins of each class.
    strategy : {"uniform", "quantile"}, default="uniform"
        Bins of equal width, or of equally many samples.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; the sorted labels of `y_true` if not given.

    Returns
    -------
    float
        A number in [0, 1]. Where there are many classes most probabilities are near zero, and so
        is this.

    References
    ----------
    Kull et al., "Beyond temperature scaling: obtaining well-calibrated multi-class
    probabilities with Dirichlet calibration", 2019.

    Examples
    --------
    >>> round(classwise_calibration_error([0, 1], [[0.9, 0.1], [0.2, 0.8]]), 2)
    0.15
    """
    position, y_proba = check_proba(y_true, y_proba, labels)
    gaps = [
        _binned_gap(y_proba[:, k], position == k, int(n_bins), strategy)
        for k in range(y_proba.shape[1])
    ]
    return float(np.mean(gaps))


def _binned_gap(proba: np.ndarray, came: np.ndarray, n_bins: int, strategy: str) -> float:
    """Return the weighed mean of |frequency - probability| over bins ``(lo, hi]``."""
    proba = proba.astype(np.float64)
    where = bins_of(proba, n_bins, strategy)
    return float(np.abs(np.bincount(where, came - proba)).sum() / len(proba))


def bins_of(proba: np.ndarray, n_bins: int, strategy: str) -> np.ndarray:
    """Return the number of the bin ``(lo, hi]`` of each probability."""
    edges = np.linspace(0, 1, n_bins + 1)[1:-1]
    if strategy == "quantile":
        edges = np.unique(np.quantile(proba, edges, method="inverted_cdf"))
    return np.searchsorted(edges, proba, side="left")


def smooth_calibration_error(y_true: Any, y_proba: Any, *, labels: Any = None) -> float:
    """Calibration error of the largest probability by a kernel that chooses its own width.

    ``smECE(w)`` is the integral over t in [0, 1] of ``|mean_i (right_i - p_i) K_w(t, p_i)|``, with
    a Gaussian of width w that is reflected at 0 and 1; the error is the one w for which
    ``smECE(w) = w``. Unlike a binned error it is continuous in the predictions, has nothing to
    be chosen, and is within a constant factor of the distance from the nearest calibrated
    predictor.

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
        A number in [0, 1].

    References
    ----------
    Blasiok and Nakkiran, "Smooth ECE: principled reliability diagrams via kernel smoothing", 2024.

    Examples
    --------
    >>> round(smooth_calibration_error([0, 1], [[0.9, 0.1], [0.2, 0.8]]), 3)
    0.15
    """
    position, y_proba = check_proba(y_true, y_proba, labels)
    confidence = y_proba.max(1).astype(np.float64)
    gap = ((y_proba.argmax(1) == position) - confidence) / len(position)
    # Each sample goes to the two cells whose middles are nearest, as its place between them says.
    place = np.clip(confidence, 0, 1) * _CELLS - 0.5
    low = np.floor(place).astype(int)
    share = place - low
    cells = np.bincount(np.maximum(low, 0), gap * (1 - share), _CELLS)
    cells += np.bincount(np.minimum(low + 1, _CELLS - 1), gap * share, _CELLS)
    # A reflected Gaussian shrinks the cosine of frequency k by exp(-(pi k w)^2 / 2).
    waves, frequency = dct(cells), np.pi * np.arange(_CELLS)

    def excess(width: float) -> float:
        smooth = idct(waves * np.exp(-0.5 * (frequency * width) ** 2))
        return float(np.abs(smooth).sum()) - width

    if excess(0.0) <= 0:
        return 0.0
    return float(brentq(excess, 0.0, 2.0, xtol=1e-9))


class BrierParts(NamedTuple):
    """The Brier score as ``miscalibration - discrimination + uncertainty``.

    Attributes
    ----------
    score : float
        The mean of ``sum_k (p_k - [y = k])²``, as scikit-learn's ``brier_score_loss`` has it for
        several classes.
    miscalibration : float
        How much better the score were with each class's probabilities recalibrated.
    discrimination : float
        How much better recalibrated probabilities are than the frequencies of the classes.
    uncertainty : float
        The score of these frequencies, which no model changes.
    """

    score: float
    miscalibration: float
    discrimination: float
    uncertainty: float


def brier_decomposition(y_true: Any, y_proba: Any, *, labels: Any = None) -> BrierParts:
    """Split the Brier score into miscalibration, discrimination and uncertainty.

    Each class's probabilities are recalibrated by isotonic regression, which needs no bins; the
    parts are not negative and add up to the score.

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
    BrierParts
        A named tuple of the score and its three parts.

    References
    ----------
    Dimitriadis, Gneiting and Jordan, "Stable reliability diagrams for probabilistic classifiers",
    2021.

    Examples
    --------
    >>> parts = brier_decomposition([0, 1], [[0.9, 0.1], [0.2, 0.8]])
    >>> [round(part, 3) for part in parts]
    [0.05, 0.05, 0.5, 0.5]
    """
    position, y_proba = check_proba(y_true, y_proba, labels)
    p = y_proba.astype(np.float64)
    came = (position[:, None] == np.arange(p.shape[1])).astype(np.float64)
    again = np.column_stack(
        [IsotonicRegression().fit_transform(p[:, k], came[:, k]) for k in range(p.shape[1])]
    )

    def score(forecast: np.ndarray) -> float:
        return float(((forecast - came) ** 2).sum(1).mean())

    found, best, constant = score(p), score(again), score(came.mean(0))
    return BrierParts(found, found - best, constant - best, constant)
