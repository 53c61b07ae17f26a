"""scikit-learn's successive halving, each round of it in common stacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from skensemble._private import HalvingGridSearchCV, HalvingRandomSearchCV
from skensemble._records.folder import CHECKPOINT
from skensemble.model_selection.search import StackedSearch


class _Halving(StackedSearch):
    """A stacked search whose rounds halve the candidates, of which there must be one."""

    def _generate_candidate_params(self) -> Any:
        candidates = super()._generate_candidate_params()  # type: ignore[misc]
        if not len(candidates):
            name = "param_grid" if hasattr(self, "param_grid") else "param_distributions"
            raise ValueError(f"The {name!r} must give at least one candidate. Got none.")
        factor: float = self.factor  # type: ignore[attr-defined]
        if len(candidates) > 1 and factor <= 1:
            raise ValueError(
                "The 'factor' must be above 1, as a round keeps one candidate in so many. Got "
                f"{factor!r} instead."
            )
        return candidates

    def _run_stacked(self, evaluate_candidates: Callable[..., Any], callback_ctx: Any) -> None:
        def evaluate(*args: Any, **more: Any) -> Any:
            results = evaluate_candidates(*args, **more)
            if "mean_test_score" not in results:
                raise ValueError(
                    "The 'scoring' of a halving search must be one score, by which a round is "
                    "halved. Got several."
                )
            return results

        super()._run_stacked(evaluate, callback_ctx)


class StackedHalvingGridSearchCV(_Halving, HalvingGridSearchCV):
    """scikit-learn's ``HalvingGridSearchCV`` with each round's candidates trained together.

    See `StackedGridSearchCV` for what trains together. Successive halving is experimental in
    scikit-learn, and so it is here; nothing needs to be enabled.

    Parameters
    ----------
    estimator : estimator
        What to search; see `StackedGridSearchCV`.
    param_grid : dict or list of dict
        Values to try.
    factor, resource, max_resources, min_resources, aggressive_elimination, cv, scoring, refit, \
    error_score, return_train_score, random_state, n_jobs, verbose
        As in :class:`~sklearn.model_selection.HalvingGridSearchCV`. A number of epochs is a
        resource too: ``resource="estimator__max_epochs"``.
    checkpoint : path-like, Checkpoint or None, default=None
        A folder that `fit` keeps each stack in; see `StackedGridSearchCV`.

    Attributes
    ----------
    n_resources_, n_candidates_, n_remaining_candidates_, max_resources_, min_resources_, \
    n_iterations_, n_possible_iterations_, n_required_iterations_, cv_results_, best_estimator_, \
    best_score_, best_params_, best_index_, scorer_, n_splits_, refit_time_, multimetric_, \
    classes_, n_features_in_, feature_names_in_
        As in :class:`~sklearn.model_selection.HalvingGridSearchCV`.

    See Also
    --------
    StackedHalvingRandomSearchCV : Draws candidates from distributions.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import NetworkClassifier
    >>> from skensemble.model_selection import StackedHalvingGridSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> search = StackedHalvingGridSearchCV(
    ...     NetworkClassifier(), {"random_state": [0, 1, 2, 3]}, cv=3, factor=2, random_state=0
    ... )
    >>> search.fit(X, y).n_candidates_
    [4, 2, 1]
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **HalvingGridSearchCV._parameter_constraints,
        "checkpoint": CHECKPOINT,
    }

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        factor: float = 3,
        resource: str = "n_samples",
        max_resources: Any = "auto",
        min_resources: Any = "exhaust",
        aggressive_elimination: bool = False,
        cv: Any = 5,
        scoring: Any = None,
        refit: Any = True,
        error_score: Any = np.nan,
        return_train_score: bool = True,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        checkpoint: Any = None,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            factor=factor,
            resource=resource,
            max_resources=max_resources,
            min_resources=min_resources,
            aggressive_elimination=aggressive_elimination,
            cv=cv,
            scoring=scoring,
            refit=refit,
            error_score=error_score,
            return_train_score=return_train_score,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.checkpoint = checkpoint


class StackedHalvingRandomSearchCV(_Halving, HalvingRandomSearchCV):
    """scikit-learn's ``HalvingRandomSearchCV`` with each round's candidates trained together.

    See `StackedHalvingGridSearchCV`.

    Parameters
    ----------
    estimator : estimator
        What to search; see `StackedGridSearchCV`.
    param_distributions : dict or list of dict
        Distributions or lists to draw from.
    n_candidates, factor, resource, max_resources, min_resources, aggressive_elimination, cv, \
    scoring, refit, error_score, return_train_score, random_state, n_jobs, verbose
        As in :class:`~sklearn.model_selection.HalvingRandomSearchCV`.
    checkpoint : path-like, Checkpoint or None, default=None
        A folder that `fit` keeps each stack in; see `StackedGridSearchCV`.

    Attributes
    ----------
    n_resources_, n_candidates_, n_remaining_candidates_, max_resources_, min_resources_, \
    n_iterations_, n_possible_iterations_, n_required_iterations_, cv_results_, best_estimator_, \
    best_score_, best_params_, best_index_, scorer_, n_splits_, refit_time_, multimetric_, \
    classes_, n_features_in_, feature_names_in_
        As in :class:`~sklearn.model_selection.HalvingRandomSearchCV`.

    See Also
    --------
    StackedHalvingGridSearchCV : Tries every combination.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import NetworkClassifier
    >>> from skensemble.model_selection import StackedHalvingRandomSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> search = StackedHalvingRandomSearchCV(
    ...     NetworkClassifier(), {"random_state": [0, 1, 2, 3]}, n_candidates=4, cv=3, factor=2,
    ...     min_resources=70, random_state=0,
    ... )
    >>> search.fit(X, y).n_candidates_
    [4, 2]
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **HalvingRandomSearchCV._parameter_constraints,
        "checkpoint": CHECKPOINT,
    }

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        n_candidates: Any = "exhaust",
        factor: float = 3,
        resource: str = "n_samples",
        max_resources: Any = "auto",
        min_resources: Any = "smallest",
        aggressive_elimination: bool = False,
        cv: Any = 5,
        scoring: Any = None,
        refit: Any = True,
        error_score: Any = np.nan,
        return_train_score: bool = True,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        checkpoint: Any = None,
    ) -> None:
        super().__init__(
            estimator,
            param_distributions,
            n_candidates=n_candidates,
            factor=factor,
            resource=resource,
            max_resources=max_resources,
            min_resources=min_resources,
            aggressive_elimination=aggressive_elimination,
            cv=cv,
            scoring=scoring,
            refit=refit,
            error_score=error_score,
            return_train_score=return_train_score,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.checkpoint = checkpoint
