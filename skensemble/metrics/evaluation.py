"""One row of a table: how good a fitted classifier is, and how honest."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import _num_samples, check_is_fitted, column_or_1d

from skensemble._arguments import naming
from skensemble.metrics.calibration import (
    brier_decomposition,
    classwise_calibration_error,
    expected_calibration_error,
    smooth_calibration_error,
)
from skensemble.metrics.members import disagreement
from skensemble.metrics.probabilities import check_proba, negative_log_likelihood
from skensemble.metrics.selective import augrc, aurc


def evaluate(
    estimator: Any, X: Any, y: Any, X_cal: Any = None, y_cal: Any = None
) -> dict[str, float]:
    """Measure a fitted classifier on rows that it has not seen.

    Parameters
    ----------
    estimator : object
        A fitted classifier with `predict_proba`, a Pipeline too.
    X : array-like of shape (n_samples, ...)
        Samples.
    y : array-like of shape (n_samples,)
        Their labels.
    X_cal, y_cal : array-like, default=None
        Other rows, on which one temperature is fitted by scikit-learn's ``CalibratedClassifierCV``
        for what probabilities are worth once they are calibrated. Rows of `X` must not be among
        them.

    Returns
    -------
    dict of str to float
        ``accuracy``, ``nll``, ``brier``, ``ece``, ``classwise_ece``, ``smooth_ece``,
        ``miscalibration`` (of the Brier score), ``aurc``, ``augrc``; with rows for calibration also
        ``cnll`` and ``cece``, the likelihood and error after it; with several members also their
        ``disagreement``.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skensemble.metrics import evaluate
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(max_iter=500).fit(X[::2], y[::2])
    >>> found = evaluate(model, X[1::4], y[1::4], X[3::4], y[3::4])
    >>> pd.DataFrame([found])[["accuracy", "nll", "cnll"]].round(2)
       accuracy   nll  cnll
    0      0.97  0.16  0.04
    """
    if (X_cal is None) != (y_cal is None):
        missing = "y_cal" if y_cal is None else "X_cal"
        raise ValueError(f"Rows for calibration need both X_cal and y_cal. Got no {missing}.")
    check_is_fitted(estimator)
    labels = estimator.classes_
    proba = estimator.predict_proba(X)
    position, proba = check_proba(y, proba, labels)
    brier = brier_decomposition(y, proba, labels=labels)
    found = {
        "accuracy": float((proba.argmax(1) == position).mean()),
        "nll": negative_log_likelihood(y, proba, labels=labels),
        "brier": brier.score,
        "miscalibration": brier.miscalibration,
        "ece": expected_calibration_error(y, proba, labels=labels),
        "classwise_ece": classwise_calibration_error(y, proba, labels=labels),
        "smooth_ece": smooth_calibration_error(y, proba, labels=labels),
        "aurc": aurc(y, proba, labels=labels),
        "augrc": augrc(y, proba, labels=labels),
    }
    if X_cal is not None:
        with naming("X_cal", "be rows, as X"):
            _num_samples(X_cal)
        with naming("y_cal", "be labels, one for each row of X_cal"):
            y_cal = column_or_1d(y_cal)
        scaled = CalibratedClassifierCV(FrozenEstimator(estimator), method="temperature")
        again = scaled.fit(X_cal, y_cal).predict_proba(X)
        found["cnll"] = negative_log_likelihood(y, again, labels=scaled.classes_)
        found["cece"] = expected_calibration_error(y, again, labels=scaled.classes_)
    members = _members(estimator, X)
    if members is not None:
        found["disagreement"] = disagreement(members)
    return found


def _members(estimator: Any, X: Any) -> np.ndarray | None:
    """Return what members say, of an ensemble or of one at the end of a Pipeline."""
    steps = getattr(estimator, "steps", None)
    last = estimator if steps is None else steps[-1][1]
    if not hasattr(last, "predict_members"):
        return None
    members = last.predict_members(X if steps is None else estimator[:-1].transform(X))
    return members if len(members) > 1 else None
