"""How well a score tells rows of the training distribution from others."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np
from sklearn.utils import column_or_1d

from skensemble._arguments import as_numpy, naming
from skensemble._private import Interval, validate_params


def _check_scores(score_in: Any, score_out: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return scores in rising order; infinity, as of a logarithm, has its place there too."""
    found = []
    for name, score in (("score_in", score_in), ("score_out", score_out)):
        with naming(name, "be one number a row"):
            score = column_or_1d(as_numpy(score), dtype=np.float64)
        if not len(score) or np.isnan(score).any():
            got = "NaN" if len(score) else "no row"
            raise ValueError(f"The {name!r} must be one number a row. Got {got}.")
        found.append(np.sort(score))
    return found[0], found[1]


def ood_auroc(score_in: Any, score_out: Any) -> float:
    """Probability that a row of the distribution has a higher score than one from outside.

    The area under the ROC curve, as the Mann-Whitney statistic has it: pairs with equal scores
    count one half. Scores are high for what looks familiar, such as the largest probability or
    the negative entropy; negate those that are high for what is strange.

    Parameters
    ----------
    score_in : array-like of shape (n_in,)
        Scores of rows like the training rows.
    score_out : array-like of shape (n_out,)
        Scores of rows from elsewhere.

    Returns
    -------
    float
        1 where all are told apart, 0.5 where the score says nothing.

    See Also
    --------
    fpr_at_tpr : Errors at one threshold.

    References
    ----------
    Hendrycks and Gimpel, "A baseline for detecting misclassified and out-of-distribution
    examples in neural networks", 2017.

    Examples
    --------
    >>> ood_auroc([0.9, 0.8, 0.6], [0.7, 0.6])
    0.75
    """
    inside, outside = _check_scores(score_in, score_out)
    below = np.searchsorted(outside, inside, side="left").sum(dtype=np.int64)
    not_above = np.searchsorted(outside, inside, side="right").sum(dtype=np.int64)
    return float((int(below) + int(not_above)) / (2 * len(inside) * len(outside)))


@validate_params(
    {"tpr": [Interval(numbers.Real, 0, 1, closed="right")]},
    prefer_skip_nested_validation=True,
)
def fpr_at_tpr(score_in: Any, score_out: Any, *, tpr: float = 0.95) -> float:
    """Share of rows from outside that pass where a share `tpr` of the familiar ones does.

    The threshold is the highest that at least `tpr` of `score_in` reach; ``tpr=0.95`` gives what
    is called FPR95. Scores are high for what looks familiar, as in `ood_auroc`.

    Parameters
    ----------
    score_in : array-like of shape (n_in,)
        Scores of rows like the training rows.
    score_out : array-like of shape (n_out,)
        Scores of rows from elsewhere.
    tpr : float, default=0.95
        Share of `score_in` that must reach the threshold.

    Returns
    -------
    float
        A number in [0, 1]; 0 is best.

    Examples
    --------
    >>> fpr_at_tpr([0.9, 0.8, 0.6], [0.7, 0.6])
    1.0
    >>> fpr_at_tpr([0.9, 0.8, 0.6], [0.7, 0.6], tpr=0.5)
    0.0
    """
    inside, outside = _check_scores(score_in, score_out)
    n_in = len(inside)
    least = math.ceil(tpr * n_in)
    if least > 1 and (least - 1) / n_in >= tpr:  # the product was rounded up
        least -= 1
    passed = len(outside) - np.searchsorted(outside, inside[n_in - least], side="left")
    return float(passed / len(outside))
