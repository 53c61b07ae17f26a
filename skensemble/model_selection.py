"""Searches that train all their candidates and folds in common stacks."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.model_selection import (
    GridSearchCV,
    ParameterGrid,
    ParameterSampler,
    RandomizedSearchCV,
    check_cv,
)
from sklearn.utils import indexable
from sklearn.utils.validation import _num_samples

from skensemble._arguments import as_numpy, naming
from skensemble._base.checks import ROWS, check_labels
from skensemble._base.classifier import BaseNetworkClassifier
from skensemble._fits.given import Given, Steps
from skensemble._fits.prepared import Prepared, estimator_key, offered, rows_key
from skensemble._fits.running import fit_together
from skensemble._seeding import as_random_state

__all__ = ["StackedGridSearchCV", "StackedRandomizedSearchCV"]

# What a search finds out, copied from the search of scikit-learn that scores.
_FOUND = (
    "cv_results_", "best_index_", "best_score_", "best_params_", "best_estimator_", "scorer_",
    "n_splits_", "refit_time_", "multimetric_", "feature_names_in_",
)  # fmt: skip


@dataclass(frozen=True)
class _Fit:
    """A candidate on a fold, and the key under which its fit is found."""

    key: tuple[str, str]
    estimator: Any
    steps: Steps


class _StackedSearch(ABC):
    """Fits all candidates on all folds side by side and leaves the rest to scikit-learn."""

    @abstractmethod
    def _candidates(self) -> list[dict[str, Any]]:
        """Return the candidates' parameters."""

    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Train all candidates on all folds, then the best one on all rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples.
        y : array-like of shape (n_samples,)
            Labels.
        **params : dict of str to object
            Parameters of the estimator's ``fit``, the scorer and the splitter, as in
            :class:`~sklearn.model_selection.GridSearchCV`.

        Returns
        -------
        object
            The fitted search.
        """
        search: Any = self
        prepared = self._train_together(X, y, params)
        if prepared is None:
            return super().fit(X, y, **params)  # type: ignore[misc]
        fits, splits, candidates, seconds, params = prepared
        inner = GridSearchCV(
            search.estimator,
            [{name: [value] for name, value in one.items()} for one in candidates],
            scoring=search.scoring,
            n_jobs=search.n_jobs if seconds is None else 1,
            refit=search.refit,
            cv=splits,
            verbose=search.verbose,
            error_score=search.error_score,
            return_train_score=search.return_train_score,
        )
        callbacks = getattr(self, "_skl_callbacks", None)  # scikit-learn 1.9 and newer
        if callbacks:
            inner.set_callbacks(*callbacks)
        with offered(fits):
            inner.fit(X, y, **params)
        for name in _FOUND:
            if hasattr(inner, name):
                setattr(self, name, getattr(inner, name))
        if seconds is not None:
            _set_times(self.cv_results_, seconds, len(splits))  # type: ignore[attr-defined]
        return self

    def _train_together(
        self, X: Any, y: Any, params: dict[str, Any]
    ) -> tuple[Prepared, list[Any], list[dict[str, Any]], list[float] | None, Any] | None:
        """Train everything in step, or return None and say why that cannot be.

        Beside the fits are the folds, which may not be asked for twice, the candidates, their
        seconds (None where none was trained), and what is left for scikit-learn to pass on.
        """
        search: Any = self
        if not isinstance(search.estimator, BaseNetworkClassifier):
            self._say(
                f"{type(search.estimator).__name__} is not an estimator of skensemble; "
                "candidates are fitted one by one"
            )
            return None
        search._validate_params()
        with naming("scoring", "be scorers"):
            search._get_scorers()  # which refuses scorers, and a refit that is none of them
        candidates = self._candidates()
        with naming("X", ROWS):
            X_, y_ = indexable(as_numpy(X), as_numpy(y))
            n_rows = _num_samples(X_)
        check_labels(y_, n_rows, search)
        routed = search._get_routed_params_for_fit(params)
        with naming("cv", "give pairs of rows to train and to test on"):
            cv = check_cv(search.cv, y_, classifier=is_classifier(search.estimator))
            splits = _pairs(cv.split(X_, y_, **routed.splitter.split), n_rows)
        passed_on = {**routed.estimator.fit, **routed.scorer.score}  # groups are in the folds
        start = time.perf_counter()
        try:
            fits = self._make_fits(X_, y_, routed.estimator.fit, candidates, splits)
        except Exception as error:  # scikit-learn reports it in its own way
            self._say(f"candidates are fitted one by one because of {error!r}")
            return Prepared(), splits, candidates, None, passed_on
        steps = [fit.steps for fit in fits]
        outcomes = fit_together(steps, search.n_jobs, max(0, search.verbose - 1))
        self._say(
            f"{len(candidates)} candidates on {len(splits)} folds in "
            f"{time.perf_counter() - start:.1f} s"
        )
        prepared = Prepared()
        for fit, outcome in zip(fits, outcomes, strict=True):
            prepared.add(fit.key, fit.estimator, outcome.error)
        seconds = [outcome.seconds for outcome in outcomes]
        return prepared, splits, candidates, seconds, passed_on

    def _make_fits(
        self,
        X: Any,
        y: Any,
        fit_params: dict[str, Any],
        candidates: list[dict[str, Any]],
        splits: list[Any],
    ) -> list[_Fit]:
        """Make every candidate on every fold, in scikit-learn's order."""
        search: Any = self
        shared: dict[Any, Any] = {}
        folds = [
            Given(X, y, rows=np.asarray(train), shared=shared, **fit_params) for train, _ in splits
        ]
        rows = [rows_key(given) for given in folds]
        unset = clone(search.estimator)  # as in scikit-learn, whose candidates are its clones
        fits = []
        for parameters in candidates:
            for given, fold in zip(folds, rows, strict=True):
                estimator = clone(unset)
                estimator.set_params(**clone(parameters, safe=False))
                estimator._validate_params()
                key = estimator_key(estimator), fold  # before a fit draws from its random state
                fits.append(_Fit(key, estimator, estimator._steps(given)))
        return fits

    def _say(self, what: str) -> None:
        if self.verbose:  # type: ignore[attr-defined]
            print(f"[skensemble] {type(self).__name__}: {what}", flush=True)  # noqa: T201


def _pairs(folds: Any, n_rows: int) -> list[Any]:
    """Return the folds, which must be pairs of rows that there are."""
    rows = np.arange(n_rows)
    splits = [(train, test) for train, test in folds]
    for pair in splits:
        for one in pair:
            rows[np.asarray(one)]
    return splits


def _set_times(results: dict[str, Any], seconds: Sequence[float], n_splits: int) -> None:
    """Put each fit's share of the common training into the results."""
    by_fold = np.reshape(seconds, (-1, n_splits))
    results["mean_fit_time"] = by_fold.mean(1)
    results["std_fit_time"] = by_fold.std(1)


class StackedGridSearchCV(_StackedSearch, GridSearchCV):
    """scikit-learn's ``GridSearchCV`` with all candidates and folds trained together.

    Candidates that differ in numbers alone (temperature, alpha, a term's weight or tau,
    learning rate, weight decay, random state) train in one stack over all folds; others form
    groups, one stack each. Equal teachers are trained once a fold. Results are those of
    :class:`~sklearn.model_selection.GridSearchCV`, which also serves every estimator that is
    not one of skensemble's. A fit's time is its share of the common time.

    Parameters
    ----------
    estimator : estimator
        A `DistilledClassifier`, `NetworkClassifier`, `DeepEnsembleClassifier` or
        `SelfDistiller`; any other is searched one candidate at a time.
    param_grid : dict or list of dict
        Values to try.
    scoring, n_jobs, refit, cv, verbose, pre_dispatch, error_score, return_train_score
        As in :class:`~sklearn.model_selection.GridSearchCV`. ``n_jobs`` deals stacks out to
        workers; ``verbose=1`` tells what was trained how, 2 and more also each stack.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, \
    refit_time_, multimetric_, classes_, n_features_in_, feature_names_in_
        As in :class:`~sklearn.model_selection.GridSearchCV`.

    See Also
    --------
    StackedRandomizedSearchCV : Draws candidates from distributions.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import NetworkClassifier, StackedGridSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> search = StackedGridSearchCV(NetworkClassifier(), {"random_state": [0, 1, 2]}, cv=3)
    >>> bool(search.fit(X, y).best_score_ > 0.9)
    True
    """

    def _candidates(self) -> list[dict[str, Any]]:
        return list(ParameterGrid(self.param_grid))


class StackedRandomizedSearchCV(_StackedSearch, RandomizedSearchCV):
    """scikit-learn's ``RandomizedSearchCV`` with all candidates and folds trained together.

    See `StackedGridSearchCV` for what trains together.

    Parameters
    ----------
    estimator : estimator
        What to search; see `StackedGridSearchCV`.
    param_distributions : dict or list of dict
        Distributions or lists to draw from.
    n_iter, scoring, n_jobs, refit, cv, verbose, pre_dispatch, random_state, error_score, \
    return_train_score
        As in :class:`~sklearn.model_selection.RandomizedSearchCV`.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, \
    refit_time_, multimetric_, classes_, n_features_in_, feature_names_in_
        As in :class:`~sklearn.model_selection.RandomizedSearchCV`.

    See Also
    --------
    StackedGridSearchCV : Tries every combination.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import NetworkClassifier, StackedRandomizedSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> search = StackedRandomizedSearchCV(
    ...     NetworkClassifier(random_state=0), {"random_state": [0, 1, 2]}, n_iter=2, cv=3
    ... )
    >>> len(search.fit(X, y).cv_results_["params"])
    2
    """

    def _candidates(self) -> list[dict[str, Any]]:
        sampler = ParameterSampler(
            self.param_distributions, self.n_iter, random_state=as_random_state(self.random_state)
        )
        return list(sampler)
