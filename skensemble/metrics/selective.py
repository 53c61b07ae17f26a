"""How errors fall when the least sure predictions are left to somebody else."""

from __future__ import annotations

import numbers
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import beta
from sklearn.utils import check_consistent_length, column_or_1d

from skensemble._arguments import as_numpy, naming
from skensemble._private import Interval, validate_params
from skensemble.metrics.probabilities import check_proba


class RiskCoverage(NamedTuple):
    """Errors among the surest rows.

    Attributes
    ----------
    coverage : ndarray of shape (n_samples,)
        Shares of rows that are answered, ``1/n`` to 1.
    risk : ndarray of shape (n_samples,)
        Share of errors among those that are answered.
    threshold : ndarray of shape (n_samples,)
        The score of the least sure row among them.
    """

    coverage: np.ndarray
    risk: np.ndarray
    threshold: np.ndarray


def risk_coverage_curve(
    y_true: Any, y_proba: Any, *, score: Any = None, labels: Any = None
) -> RiskCoverage:
    """Compute the error rate among the k surest rows, for every k.

    Rows of the same score are in random order, and the mean over these orders is returned.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_proba : array-like of shape (n_samples, n_classes)
        Predicted probabilities.
    score : array-like of shape (n_samples,), default=None
        How sure each prediction is, high where it is; the largest probability if not given. The
        negative of an uncertainty, for example.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; the sorted labels of `y_true` if not given.

    Returns
    -------
    RiskCoverage
        A named tuple of coverage, risk and threshold.

    References
    ----------
    El-Yaniv and Wiener, "On the foundations of noise-free selective classification", 2010.

    Examples
    --------
    >>> curve = risk_coverage_curve([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    >>> curve.risk.round(2).tolist()
    [0.0, 0.0, 0.33]
    """
    score, errors = _sorted_errors(y_true, y_proba, score, labels)
    k = np.arange(1, len(score) + 1)
    return RiskCoverage(k / len(score), errors / k, score)


def _sorted_errors(
    y_true: Any, y_proba: Any, score: Any, labels: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return falling scores and how many errors are expected among the first k rows."""
    position, y_proba = check_proba(y_true, y_proba, labels)
    if score is None:
        score = y_proba.max(1)
    else:
        with naming("score", "be one number a row"):
            score = column_or_1d(as_numpy(score), dtype=np.float64)
            check_consistent_length(score, y_proba)
            if np.isnan(score).any():
                raise ValueError("NaN")
    wrong = (y_proba.argmax(1) != position).astype(np.float64)
    order = np.argsort(-score, kind="stable")
    score, wrong = score[order], wrong[order]
    # Rows of one score share its errors among them.
    starts = np.flatnonzero(np.r_[True, score[1:] != score[:-1]])
    sizes = np.diff(np.r_[starts, len(score)])
    return score, np.repeat(np.add.reduceat(wrong, starts) / sizes, sizes).cumsum()


def aurc(y_true: Any, y_proba: Any, *, score: Any = None, labels: Any = None) -> float:
    """Area under the risk-coverage curve: the mean of the error rates among the k surest rows.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_proba : array-like of shape (n_samples, n_classes)
        Predicted probabilities.
    score : array-like of shape (n_samples,), default=None
        How sure each prediction is; the largest probability if not given.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; the sorted labels of `y_true` if not given.

    Returns
    -------
    float
        A number in [0, 1]; low where there are few errors and where they are unsure.

    See Also
    --------
    augrc : Weighs every error the same.

    References
    ----------
    Geifman, Uziel and El-Yaniv, "Bias-reduced uncertainty estimation for deep neural
    classifiers", 2019.

    Examples
    --------
    >>> round(aurc([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), 3)
    0.111
    """
    return float(risk_coverage_curve(y_true, y_proba, score=score, labels=labels).risk.mean())


def augrc(y_true: Any, y_proba: Any, *, score: Any = None, labels: Any = None) -> float:
    """Area under the generalised risk-coverage curve: the mean risk of an undetected error.

    The generalised risk is the share of all rows that are answered and wrong. Its mean over
    coverages weighs every error by its rank; that of :func:`aurc` weighs those among the surest
    rows most, out of proportion.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_proba : array-like of shape (n_samples, n_classes)
        Predicted probabilities.
    score : array-like of shape (n_samples,), default=None
        How sure each prediction is; the largest probability if not given.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; the sorted labels of `y_true` if not given.

    Returns
    -------
    float
        A number in [0, 1]; half the error rate where the score says nothing.

    References
    ----------
    Traub et al., "Overcoming common flaws in the evaluation of selective classification systems",
    2024.

    Examples
    --------
    >>> round(augrc([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), 3)
    0.111
    """
    _, errors = _sorted_errors(y_true, y_proba, score, labels)
    return float(errors.mean() / len(errors))


@validate_params(
    {"coverage": [Interval(numbers.Real, 0, 1, closed="right")]},
    prefer_skip_nested_validation=True,
)
def risk_at_coverage(
    y_true: Any, y_proba: Any, *, coverage: float = 0.9, score: Any = None, labels: Any = None
) -> float:
    """Error rate among the surest rows, as many as make up a share `coverage` of all.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_proba : array-like of shape (n_samples, n_classes)
        Predicted probabilities.
    coverage : float, default=0.9
        Share of rows that must be answered; the next count up where it is no whole number.
    score : array-like of shape (n_samples,), default=None
        How sure each prediction is; the largest probability if not given.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; the sorted labels of `y_true` if not given.

    Returns
    -------
    float
        A number in [0, 1].

    Examples
    --------
    >>> risk_at_coverage([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], coverage=0.6)
    0.0
    """
    curve = risk_coverage_curve(y_true, y_proba, score=score, labels=labels)
    at = np.searchsorted(curve.coverage, coverage - 1e-12)
    return float(curve.risk[at])


@validate_params(
    {"risk": [Interval(numbers.Real, 0, 1, closed="both")]},
    prefer_skip_nested_validation=True,
)
def coverage_at_risk(
    y_true: Any, y_proba: Any, *, risk: float = 0.05, score: Any = None, labels: Any = None
) -> float:
    """Largest share of rows, the surest first, among which at most a share `risk` are errors.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    y_proba : array-like of shape (n_samples, n_classes)
        Predicted probabilities.
    risk : float, default=0.05
        Largest error rate among the rows that are answered.
    score : array-like of shape (n_samples,), default=None
        How sure each prediction is; the largest probability if not given. Rows of one score are
        answered together or not at all, as a threshold does.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; the sorted labels of `y_true` if not given.

    Returns
    -------
    float
        A number in [0, 1]; 0 where no threshold keeps to the risk.

    Examples
    --------
    >>> round(coverage_at_risk([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), 3)
    0.667
    """
    curve = risk_coverage_curve(y_true, y_proba, score=score, labels=labels)
    ends = np.r_[curve.threshold[1:] != curve.threshold[:-1], True]
    kept = ends & (curve.risk <= risk + 1e-12)
    return float(curve.coverage[kept].max(initial=0.0))


@validate_params(
    {
        "risk": [Interval(numbers.Real, 0, 1, closed="neither")],
        "confidence": [Interval(numbers.Real, 0, 1, closed="neither"), None],
    },
    prefer_skip_nested_validation=True,
)
def abstention_threshold(
    y_true: Any,
    y_proba: Any,
    *,
    risk: float = 0.05,
    confidence: float | None = 0.95,
    score: Any = None,
    labels: Any = None,
) -> float:
    """Return how sure a prediction must be to be given, so that at most a share `risk` is wrong.

    From the surest rows on the threshold is lowered for as long as the upper bound of Clopper and
    Pearson for the error rate of the rows above it is at most `risk`. These tests come in an
    order that does not look at labels, and the first that fails ends them, so none of them needs
    a correction for the others [1]_.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels of rows that the classifier was not trained on.
    y_proba : array-like of shape (n_samples, n_classes)
        Their predicted probabilities.
    risk : float, default=0.05
        Largest error rate among predictions that are given.
    confidence : float or None, default=0.95
        How sure it shall be that new rows like these keep to the risk; None takes the lowest
        threshold that these rows themselves keep to, which new ones exceed half of the time.
    score : array-like of shape (n_samples,), default=None
        How sure each prediction is; the largest probability if not given.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; the sorted labels of `y_true` if not given.

    Returns
    -------
    float
        Give predictions whose score is at least that; infinity where nothing is sure enough.

    References
    ----------
    .. [1] Angelopoulos, Bates, Candes, Jordan and Lei, "Learn then test: calibrating predictive
       algorithms to achieve risk control", 2021.

    Examples
    --------
    >>> import numpy as np
    >>> y, p = np.zeros(100, int), np.linspace(0.5, 1, 100)
    >>> y[:10] = 1  # the least sure are wrong
    >>> proba = np.column_stack([p, 1 - p])
    >>> round(abstention_threshold(y, proba, risk=0.1), 3)
    0.53
    """
    curve = risk_coverage_curve(y_true, y_proba, score=score, labels=labels)
    ends = np.flatnonzero(np.r_[curve.threshold[1:] != curve.threshold[:-1], True])
    rate = curve.risk[ends]
    if confidence is None:
        kept = np.flatnonzero(rate <= risk + 1e-12)
    else:
        n = ends + 1
        wrong = np.round(rate * n)
        bound = np.where(wrong < n, beta.ppf(confidence, wrong + 1, np.maximum(n - wrong, 1)), 1.0)
        # Before that many rows no bound can be low enough, whatever the labels are.
        able = np.flatnonzero(n >= np.log(1 - confidence) / np.log1p(-risk))
        fails = np.flatnonzero(bound[able] > risk)
        kept = able[: fails[0]] if len(fails) else able
    return float(curve.threshold[ends[kept[-1]]]) if len(kept) else float("inf")
