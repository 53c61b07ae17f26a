"""scikit-learn's cross-validation, with the folds' networks in common stacks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from joblib import parallel_config
from sklearn import model_selection
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV, check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import indexable
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import _num_samples

from skensemble._arguments import as_numpy, naming
from skensemble._base.checks import N_JOBS, ROWS, require_real
from skensemble._engine.bar import tell
from skensemble._fits.prepared import asking, offered
from skensemble._fits.running import fit_together
from skensemble._private import HasMethods, validate_params
from skensemble.model_selection.candidates import (
    FixedFolds,
    Folds,
    TrainedTogether,
    as_candidate,
)
from skensemble.model_selection.chains import network_of

# What needs a column a class, which scikit-learn numbers.
_ENCODED = ("decision_function", "predict_proba", "predict_log_proba")


# What all three are checked by; the rest is scikit-learn's to check.
_CHECKED: dict[str, list[Any]] = {
    "estimator": [HasMethods("fit")],
    "cv": ["cv_object"],
    "n_jobs": N_JOBS,
    "verbose": ["verbose"],
    "params": [dict, None],
}


@dataclass(frozen=True)
class _SameFolds(FixedFolds):
    """Folds that were asked for, with the metadata that whoever made them wants."""

    cv: Any = None

    def get_metadata_routing(self) -> Any:
        """Return what the splitter asks for."""
        return get_routing_for_object(self.cv)


@dataclass(frozen=True)
class _Ready:
    """What scikit-learn is to be given in place of the estimator, folds and workers."""

    estimator: Any
    cv: Any
    n_jobs: int | None
    seconds: np.ndarray | None = None


@validate_params(_CHECKED, prefer_skip_nested_validation=False)
def cross_validate(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    scoring: Any = None,
    cv: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
    params: dict[str, Any] | None = None,
    pre_dispatch: Any = "2*n_jobs",
    return_train_score: bool = False,
    return_estimator: bool = False,
    return_indices: bool = False,
    error_score: Any = np.nan,
) -> dict[str, Any]:
    """Evaluate scores by cross-validation, all folds trained together.

    Parameters
    ----------
    estimator : estimator
        One of skensemble's, or a pipeline that ends in one; any other is left to scikit-learn.
    X, y, groups, scoring, cv, verbose, params, pre_dispatch, return_train_score, \
    return_estimator, return_indices, error_score
        As in :func:`sklearn.model_selection.cross_validate`. ``verbose`` also tells what was
        trained together.
    n_jobs : int or None, default=None
        Workers that stacks are dealt out to; scores are taken in the caller's process.

    Returns
    -------
    dict
        As scikit-learn returns it; a fit's time is its share of the common time.

    See Also
    --------
    StackedGridSearchCV : A search of all candidates together.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skensemble import NetworkClassifier
    >>> from skensemble.model_selection import cross_validate
    >>> X, y = load_iris(return_X_y=True)
    >>> pipeline = make_pipeline(StandardScaler(), NetworkClassifier(random_state=0))
    >>> bool(cross_validate(pipeline, X, y, cv=3)["test_score"].mean() > 0.9)
    True
    """
    with _trained(
        estimator, X, y, groups, cv, n_jobs, verbose, params, scoring, error_score
    ) as ready:
        found: dict[str, Any] = model_selection.cross_validate(
            ready.estimator,
            as_numpy(X),
            y,
            groups=groups,
            scoring=scoring,
            cv=ready.cv,
            n_jobs=ready.n_jobs,
            verbose=verbose,
            params=params,
            pre_dispatch=pre_dispatch,
            return_train_score=return_train_score,
            return_estimator=return_estimator,
            return_indices=return_indices,
            error_score=error_score,
        )
    if ready.seconds is not None:
        known = np.isfinite(ready.seconds)
        found["fit_time"][known] = ready.seconds[known]
    return found


@validate_params(_CHECKED, prefer_skip_nested_validation=False)
def cross_val_score(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    scoring: Any = None,
    cv: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
    params: dict[str, Any] | None = None,
    pre_dispatch: Any = "2*n_jobs",
    error_score: Any = np.nan,
) -> np.ndarray:
    """Evaluate one score by cross-validation, all folds trained together.

    Parameters
    ----------
    estimator : estimator
        One of skensemble's, or a pipeline that ends in one; any other is left to scikit-learn.
    X, y, groups, scoring, cv, verbose, params, pre_dispatch, error_score
        As in :func:`sklearn.model_selection.cross_val_score`.
    n_jobs : int or None, default=None
        Workers that stacks are dealt out to; scores are taken in the caller's process.

    Returns
    -------
    ndarray of shape (n_folds,)
        The scores.

    See Also
    --------
    cross_validate : Several scores, times and estimators.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import NetworkClassifier
    >>> from skensemble.model_selection import cross_val_score
    >>> X, y = load_iris(return_X_y=True)
    >>> cross_val_score(NetworkClassifier(random_state=0), X, y, cv=3).shape
    (3,)
    """
    with _trained(
        estimator, X, y, groups, cv, n_jobs, verbose, params, scoring, error_score
    ) as ready:
        scores: np.ndarray = model_selection.cross_val_score(
            ready.estimator,
            as_numpy(X),
            y,
            groups=groups,
            scoring=scoring,
            cv=ready.cv,
            n_jobs=ready.n_jobs,
            verbose=verbose,
            params=params,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
        )
    return scores


@validate_params(_CHECKED, prefer_skip_nested_validation=False)
def cross_val_predict(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    cv: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
    params: dict[str, Any] | None = None,
    pre_dispatch: Any = "2*n_jobs",
    method: str = "predict",
) -> np.ndarray:
    """Predict each row by the fold that left it out, all folds trained together.

    Parameters
    ----------
    estimator : estimator
        One of skensemble's, or a pipeline that ends in one; any other is left to scikit-learn.
    X, y, groups, cv, verbose, params, pre_dispatch, method
        As in :func:`sklearn.model_selection.cross_val_predict`.
    n_jobs : int or None, default=None
        Workers that stacks are dealt out to; predictions are made in the caller's process.

    Returns
    -------
    ndarray
        What the method says of each row.

    See Also
    --------
    cross_validate : Scores of the folds.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import NetworkClassifier
    >>> from skensemble.model_selection import cross_val_predict
    >>> X, y = load_iris(return_X_y=True)
    >>> cross_val_predict(
    ...     NetworkClassifier(random_state=0), X, y, cv=3, method="predict_proba"
    ... ).shape
    (150, 3)
    """
    asked_of = y
    if (
        isinstance(method, str) and method in _ENCODED and np.ndim(y) == 1
    ):  # as scikit-learn will hand them on
        asked_of = np.unique(np.asarray(y), return_inverse=True)[1]
    with _trained(estimator, X, asked_of, groups, cv, n_jobs, verbose, params, None, None) as ready:
        predictions: np.ndarray = model_selection.cross_val_predict(
            ready.estimator,
            as_numpy(X),
            y,
            groups=groups,
            cv=ready.cv,
            n_jobs=ready.n_jobs,
            verbose=verbose,
            params=params,
            pre_dispatch=pre_dispatch,
            method=method,
        )
    return predictions


@contextmanager
def _trained(
    estimator: Any,
    X: Any,
    y: Any,
    groups: Any,
    cv: Any,
    n_jobs: int | None,
    verbose: int,
    params: dict[str, Any] | None,
    scoring: Any,
    error_score: Any,
) -> Iterator[_Ready]:
    """Train an estimator on all folds, and let scikit-learn's fits inside the block take it over.

    Whatever cannot be, scikit-learn is left to find out.
    """
    network = network_of(estimator)
    if network is None:
        yield _Ready(estimator, cv, n_jobs)
        return
    if isinstance(error_score, str) and error_score == "raise":
        clone(network)._validate_params()
    say = partial(tell, "cross-validation") if verbose else _say_nothing
    start = time.perf_counter()
    strange = [name for name in params or {} if not isinstance(name, str)]
    if strange:
        raise TypeError(f"The 'params' must have names of parameters. Got {strange[0]!r} instead.")
    passed = dict(params or {}) | ({} if groups is None else {"groups": groups})
    with naming("X", ROWS):
        rows, labels = indexable(as_numpy(X), y)
        require_real(rows)
    with naming("cv", "be folds, or give pairs of rows to train and to test on"):
        splitter = check_cv(cv, y, classifier=is_classifier(estimator))
    search = GridSearchCV(estimator, {}, scoring=scoring, cv=splitter, refit=False)
    with naming("scoring", "be scorers"):
        search._get_scorers()
    try:
        routed = search._get_routed_params_for_fit(passed)
    except Exception as error:  # scikit-learn reports it in its own way
        say(f"folds are fitted one by one because of {error!r}")
        yield _Ready(estimator, splitter, n_jobs)
        return
    with naming("cv", "give pairs of rows to train and to test on"):
        asked = splitter.split(rows, labels, **routed.splitter.split)
        cv = _SameFolds(FixedFolds.of(asked, _num_samples(rows)).splits, splitter)
        if not cv.splits:
            raise ValueError("there is none")
    folds = Folds(rows, labels, cv.splits, routed.estimator.fit, say)
    made = [clone(estimator) for _ in cv.splits]
    candidates = [as_candidate(0, made, "the estimator", say)]
    run = partial(fit_together, n_jobs=n_jobs, verbose=max(0, verbose - 1))
    trained = TrainedTogether(folds, candidates, run)
    if not trained.n_fits:
        yield _Ready(estimator, cv, n_jobs)
        return
    say(f"{trained.n_fits} folds in {time.perf_counter() - start:.1f} s")
    # Workers would not find what was trained here.
    asks = asking(estimator) if type(estimator) is Pipeline else nullcontext(estimator)
    with parallel_config("sequential"), offered(trained.prepared), asks as one:
        yield _Ready(one, cv, None, trained.seconds[0])


def _say_nothing(what: str) -> None:
    """Leave it unsaid."""
