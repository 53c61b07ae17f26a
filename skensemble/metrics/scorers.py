"""Our measures as scorers of scikit-learn's searches and cross-validation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sklearn.metrics import get_scorer as get_scikit_learns, get_scorer_names as names_there

from skensemble.metrics.calibration import (
    classwise_calibration_error,
    expected_calibration_error,
    smooth_calibration_error,
)
from skensemble.metrics.probabilities import negative_log_likelihood
from skensemble.metrics.selective import augrc, aurc, coverage_at_risk, risk_at_coverage


@dataclass(frozen=True)
class ProbabilityScorer:
    """Score a classifier by a measure of its probabilities, for ``scoring=``.

    The columns of `predict_proba` are named by the estimator's ``classes_``, so a fold may lack
    a class.

    Parameters
    ----------
    measure : callable
        ``measure(y_true, y_proba, labels=...)``, as those of :mod:`skensemble.metrics`.
    greater_is_better : bool, default=False
        Whether the measure is a score and not a loss, whose negative is returned.
    options : dict, default={}
        More arguments of the measure.

    Examples
    --------
    >>> from sklearn.dummy import DummyClassifier
    >>> from skensemble.metrics import ProbabilityScorer, risk_at_coverage
    >>> scorer = ProbabilityScorer(risk_at_coverage, options={"coverage": 0.5})
    >>> X, y = [[0], [0], [0], [0]], [0, 0, 0, 1]
    >>> scorer(DummyClassifier().fit(X, y), X, y)
    -0.25
    """

    measure: Callable[..., float]
    greater_is_better: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        """Return the score of a fitted classifier on some rows."""
        proba = estimator.predict_proba(X)
        found = self.measure(y, proba, labels=estimator.classes_, **self.options)
        return found if self.greater_is_better else -found


_SCORERS = {
    "neg_nll": ProbabilityScorer(negative_log_likelihood),
    "neg_ece": ProbabilityScorer(expected_calibration_error),
    "neg_classwise_ece": ProbabilityScorer(classwise_calibration_error),
    "neg_smooth_ece": ProbabilityScorer(smooth_calibration_error),
    "neg_aurc": ProbabilityScorer(aurc),
    "neg_augrc": ProbabilityScorer(augrc),
    "neg_risk_at_coverage": ProbabilityScorer(risk_at_coverage),
    "coverage_at_risk": ProbabilityScorer(coverage_at_risk, greater_is_better=True),
}


def get_scorer_names() -> list[str]:
    """Return the names that `get_scorer` knows, scikit-learn's among them.

    Returns
    -------
    list of str
        The names, sorted.

    Examples
    --------
    >>> "neg_ece" in get_scorer_names() and "accuracy" in get_scorer_names()
    True
    """
    return sorted({*_SCORERS, *names_there()})


def get_scorer(scoring: Any) -> Any:
    """Return the scorer of a name, for ``GridSearchCV(scoring=get_scorer("neg_ece"))``.

    Parameters
    ----------
    scoring : str or callable
        A name of `get_scorer_names`; a callable is returned as it is.

    Returns
    -------
    callable
        ``scorer(estimator, X, y)``.

    Examples
    --------
    >>> get_scorer("neg_aurc").measure.__name__
    'aurc'
    """
    if isinstance(scoring, str) and scoring in _SCORERS:
        return _SCORERS[scoring]
    try:
        return get_scikit_learns(scoring)
    except ValueError as error:
        raise ValueError(
            f"The 'scoring' must be a name of skensemble.metrics.get_scorer_names(), among which "
            f"are ours: {', '.join(_SCORERS)}. Got {scoring!r}."
        ) from error
