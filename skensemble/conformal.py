"""Sets of classes that hold the true one as often as is asked for."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from skensemble._arguments import as_numpy, naming
from skensemble._private import Interval, StrOptions, validate_params
from skensemble._seeding import as_random_state
from skensemble.metrics.probabilities import check_proba

__all__ = ["ConformalSets", "conformity_scores"]

SCORES = ("lac", "aps", "raps")
COVERAGE = [Interval(numbers.Real, 0, 1, closed="neither")]
_SETTINGS: dict[str, Any] = {
    "score": [StrOptions(set(SCORES))],
    "penalty": [Interval(numbers.Real, 0, None, closed="left")],
    "free_ranks": [Interval(numbers.Integral, 0, None, closed="left")],
}


@validate_params(_SETTINGS, prefer_skip_nested_validation=True)
def conformity_scores(
    y_proba: Any,
    *,
    score: str = "lac",
    penalty: float = 0.01,
    free_ranks: int = 1,
    noise: Any = None,
) -> np.ndarray:
    """Tell of each class how odd it were as the label; what is likely has a low score.

    With the probabilities of a row in falling order, ``rank(y)`` the place of y among them from 1
    on, and ``before(y)`` their sum before y:

    - "lac": ``1 - p_y``, which gives the smallest sets on average;
    - "aps": ``before(y) + p_y``, whose sets are larger where a row is hard;
    - "raps": that and ``penalty * max(0, rank(y) - free_ranks)``, against long tails of classes.

    Parameters
    ----------
    y_proba : array-like of shape (n_samples, n_classes)
        Probabilities.
    score : {"lac", "aps", "raps"}, default="lac"
        Which score.
    penalty : float, default=0.01
        Of "raps".
    free_ranks : int, default=1
        How many classes of a row "raps" does not penalise.
    noise : array-like of shape (n_samples,), default=None
        Numbers of a uniform distribution in [0, 1), the share of ``p_y`` that "aps" and "raps"
        leave out. Without them their sets hold the label somewhat more often than is asked for.

    Returns
    -------
    ndarray of shape (n_samples, n_classes)
        The scores.

    References
    ----------
    Sadinle, Lei and Wasserman, "Least ambiguous set-valued classifiers with bounded error levels",
    2019. Romano, Sesia and Candes, "Classification with valid and adaptive coverage", 2020.
    Angelopoulos et al., "Uncertainty sets for image classifiers using conformal prediction", 2021.

    Examples
    --------
    >>> conformity_scores([[0.6, 0.3, 0.1]], score="aps").round(2).tolist()
    [[0.6, 0.9, 1.0]]
    """
    with naming("y_proba", "be probabilities of shape (n_samples, n_classes)"):
        proba = check_array(as_numpy(y_proba), dtype=np.float64)
    if score == "lac":
        return 1 - proba
    order = np.argsort(-proba, axis=1, kind="stable")
    falling = np.take_along_axis(proba, order, 1)
    scores = falling.cumsum(1)
    if noise is not None:
        with naming("noise", "be one number a row"):
            share = column_or_1d(as_numpy(noise), dtype=np.float64)
            check_consistent_length(share, proba)
        scores -= share[:, None] * falling
    if score == "raps":
        scores += penalty * np.maximum(0, np.arange(1, proba.shape[1] + 1) - free_ranks)
    found = np.empty_like(scores)
    np.put_along_axis(found, order, scores, 1)
    return found


def includes(
    scores: Sequence[np.ndarray],
    left_out: Sequence[np.ndarray],
    of_class: Sequence[np.ndarray] | None,
    coverage: float,
) -> np.ndarray:
    """Return which classes are in the sets, from the scores of folds.

    Class y is in the set of a row unless ``ceil((n + 1) coverage)`` of the n calibration rows, each
    compared by the model of its own fold, have a score below that of y. With one fold that is split
    conformal prediction, with several it is CV+.

    Parameters
    ----------
    scores : sequence of ndarray of shape (n_samples, n_classes)
        Scores of new rows by the model of each fold.
    left_out : sequence of ndarray of shape (n_fold,)
        Scores of each fold's rows at their own labels.
    of_class : sequence of ndarray of shape (n_fold,) or None
        The labels' positions, to compare a class with rows of its own alone.
    coverage : float
        The share of sets that shall hold the label.
    """
    below = np.zeros(scores[0].shape, np.int64)
    n_rows = np.zeros(scores[0].shape[1], np.int64)
    for fold, (asked, known) in enumerate(zip(scores, left_out, strict=True)):
        for k in range(asked.shape[1]):
            rows = known if of_class is None else known[of_class[fold] == k]
            below[:, k] += np.searchsorted(np.sort(rows), asked[:, k] - _ROUNDING)
            n_rows[k] += len(rows)
    # Rounded before it is rounded up: 0.9 * 10 may be a bit more than 9.
    needed = np.ceil(np.round((n_rows + 1) * coverage, 9))
    return below < needed


# Scores that are the same by formula may differ by their last bits.
_ROUNDING = 1e-12


class ConformalSets:
    """Sets of classes from probabilities of rows that a classifier was not trained on.

    If these rows and new ones come from one distribution, the set of a new row holds its label with
    at least the chance `coverage`, whatever the classifier. A cross-fitted
    `DeepEnsembleClassifier` has such rows of its own: see its `predict_set`.

    Parameters
    ----------
    score : {"lac", "aps", "raps"}, default="lac"
        See `conformity_scores`.
    by_class : bool, default=False
        Whether the chance is to hold within every class, of which each then needs rows of its own:
        a class with fewer than ``coverage / (1 - coverage)`` of them is in every set.
    randomized : bool, default=False
        Whether "aps" and "raps" draw, so that the chance is not above what is asked for.
    allow_empty : bool, default=False
        Whether a set may be empty, where no class is likely enough. Else it holds the most likely.
    penalty : float, default=0.01
        Of "raps".
    free_ranks : int, default=1
        How many classes of a row "raps" does not penalise.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the columns.
    scores_ : ndarray of shape (n_samples,)
        Scores of the rows at their labels.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skensemble.conformal import ConformalSets
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(max_iter=500).fit(X[::3], y[::3])
    >>> sets = ConformalSets().fit(model.predict_proba(X[1::3]), y[1::3])
    >>> sets.predict(model.predict_proba(X[2::3]), coverage=0.9).shape
    (50, 3)
    """

    @validate_params(
        {
            **_SETTINGS,
            "by_class": ["boolean"],
            "randomized": ["boolean"],
            "allow_empty": ["boolean"],
            "random_state": ["random_state"],
        },
        prefer_skip_nested_validation=True,
    )
    def __init__(
        self,
        score: str = "lac",
        *,
        by_class: bool = False,
        randomized: bool = False,
        allow_empty: bool = False,
        penalty: float = 0.01,
        free_ranks: int = 1,
        random_state: Any = None,
    ) -> None:
        self.score = score
        self.by_class = by_class
        self.randomized = randomized
        self.allow_empty = allow_empty
        self.penalty = penalty
        self.free_ranks = free_ranks
        self.random_state = random_state

    def fit(self, y_proba: Any, y_true: Any, *, labels: Any = None) -> ConformalSets:
        """Take the rows to compare with.

        Parameters
        ----------
        y_proba : array-like of shape (n_samples, n_classes)
            Probabilities of rows that the classifier was not trained on.
        y_true : array-like of shape (n_samples,)
            Their labels.
        labels : array-like of shape (n_classes,), default=None
            Labels of the columns; the sorted labels of `y_true` if not given.

        Returns
        -------
        ConformalSets
            Itself.
        """
        position, proba = check_proba(y_true, y_proba, labels)
        self._fit_folds([proba], [position])
        self.classes_ = np.unique(y_true) if labels is None else np.asarray(labels)
        self.scores_ = self._left_out[0]
        return self

    def _fit_folds(self, folds: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> None:
        """Take probabilities and label positions of the rows of each fold, by its own model."""
        rng = as_random_state(self.random_state)
        self._left_out = [
            self._scores(proba, rng)[np.arange(len(y)), y]
            for proba, y in zip(folds, labels, strict=True)
        ]
        self._of_class = list(labels) if self.by_class else None
        self._seed = int(rng.randint(2**31))

    def _scores(self, proba: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
        noise = rng.uniform(size=len(proba)) if self.randomized else None
        return conformity_scores(
            proba,
            score=self.score,
            penalty=self.penalty,
            free_ranks=self.free_ranks,
            noise=noise,
        )

    @validate_params({"coverage": COVERAGE}, prefer_skip_nested_validation=True)
    def predict(self, y_proba: Any, *, coverage: float = 0.9) -> np.ndarray:
        """Return the sets of new rows.

        Parameters
        ----------
        y_proba : array-like of shape (n_samples, n_classes)
            Their probabilities.
        coverage : float, default=0.9
            Share of sets that shall hold the label.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), dtype bool
            Which classes are in the set, columns in the order of ``classes_``.
        """
        if not hasattr(self, "classes_"):
            raise NotFittedError(
                "These ConformalSets have no rows to compare with. Call 'fit' with probabilities "
                "of rows that the classifier was not trained on."
            )
        with naming("y_proba", "be probabilities of shape (n_samples, n_classes)"):
            proba = check_array(as_numpy(y_proba), dtype=np.float64)
        if proba.shape[1] != len(self.classes_):
            raise ValueError(
                f"The 'y_proba' must have a column for each of the {len(self.classes_)} classes "
                f"seen in fit. Got {proba.shape[1]}."
            )
        return self._predict_folds([proba], coverage, proba)

    def _predict_folds(
        self, folds: Sequence[np.ndarray], coverage: float, likely: np.ndarray
    ) -> np.ndarray:
        """Return sets from the probabilities by each fold's model; `likely` are those of all."""
        found = [self._scores(proba, np.random.RandomState(self._seed)) for proba in folds]
        sets = includes(found, self._left_out, self._of_class, coverage)
        if not self.allow_empty:
            sets[np.arange(len(sets)), likely.argmax(1)] = True
        return sets
