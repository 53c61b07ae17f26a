"""scikit-learn's searches over grids and distributions, with all fits in common stacks."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV

from skensemble._records.folder import CHECKPOINT
from skensemble.model_selection.search import StackedSearch


class StackedGridSearchCV(StackedSearch, GridSearchCV):
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
        workers, scores are taken in the caller's process; ``verbose=1`` also tells what was
        trained together and shows a bar at a terminal, 2 and more tell of each stack.
    checkpoint : path-like, Checkpoint or None, default=None
        A folder that `fit` keeps each stack in, and goes on from after it was killed or
        interrupted; see `Checkpoint`. The estimator's `random_state` must be a number.

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

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **GridSearchCV._parameter_constraints,
        "checkpoint": CHECKPOINT,
    }

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        error_score: Any = np.nan,
        return_train_score: bool = False,
        checkpoint: Any = None,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.checkpoint = checkpoint


class StackedRandomizedSearchCV(StackedSearch, RandomizedSearchCV):
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
    checkpoint : path-like, Checkpoint or None, default=None
        A folder that `fit` keeps each stack in, and goes on from after it was killed or
        interrupted; see `Checkpoint`. The estimator's `random_state` must be a number.

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

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **RandomizedSearchCV._parameter_constraints,
        "checkpoint": CHECKPOINT,
    }

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        n_iter: int = 10,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        random_state: Any = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        checkpoint: Any = None,
    ) -> None:
        super().__init__(
            estimator,
            param_distributions,
            n_iter=n_iter,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            random_state=random_state,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.checkpoint = checkpoint
