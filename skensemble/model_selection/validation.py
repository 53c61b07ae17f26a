"""scikit-learn's cross-validation, with the folds' networks in common stacks."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
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
    found, seconds = _stacked(
        model_selection.cross_validate,
        estimator,
        X,
        y,
        groups=groups,
        scoring=scoring,
        cv=cv,
        n_jobs=n_jobs,
        verbose=verbose,
        params=params,
        pre_dispatch=pre_dispatch,
        return_train_score=return_train_score,
        return_estimator=return_estimator,
        return_indices=return_indices,
        error_score=error_score,
    )
    if seconds is not None:
        known = np.isfinite(seconds)
        found["fit_time"][known] = seconds[known]
    return found  # type: ignore[no-any-return]


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
    return _stacked(  # type: ignore[no-any-return]
        model_selection.cross_val_score,
        estimator,
        X,
        y,
        groups=groups,
        scoring=scoring,
        cv=cv,
        n_jobs=n_jobs,
        verbose=verbose,
        params=params,
        pre_dispatch=pre_dispatch,
        error_score=error_score,
    )[0]


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
    encodes = isinstance(method, str) and method in _ENCODED and np.ndim(y) == 1
    return _stacked(  # type: ignore[no-any-return]
        model_selection.cross_val_predict,
        estimator,
        X,
        y,
        # As scikit-learn will hand them on, once it has asked for folds.
        learned=np.unique(np.asarray(y), return_inverse=True)[1] if encodes else y,
        groups=groups,
        cv=cv,
        n_jobs=n_jobs,
        verbose=verbose,
        params=params,
        pre_dispatch=pre_dispatch,
        method=method,
    )[0]


_SAME: Any = object()


def _stacked(
    function: Callable[..., Any],
    estimator: Any,
    X: Any,
    y: Any,
    *,
    cv: Any,
    n_jobs: int | None,
    learned: Any = _SAME,
    **more: Any,
) -> tuple[Any, np.ndarray | None]:
    """Call scikit-learn's function, whose fits take over what was trained for it.

    Returns what it returns, and the seconds of each fold where they were trained together.
    Whatever cannot be trained so, scikit-learn is left to find out.
    """
    trained = None
    with naming("X", ROWS):
        X = as_numpy(X)
    if network_of(estimator) is not None:
        labels = y if learned is _SAME else learned
        trained, cv = _train(estimator, X, y, labels, cv, n_jobs, more)
    if trained is None:
        return function(estimator, X, y, cv=cv, n_jobs=n_jobs, **more), None
    asks = asking(estimator) if type(estimator) is Pipeline else nullcontext(estimator)
    # Workers would not find what was trained here.
    with parallel_config("sequential"), offered(trained.prepared), asks as one:
        return function(one, X, y, cv=cv, n_jobs=None, **more), trained.seconds[0]


def _train(
    estimator: Any,
    X: Any,
    y: Any,
    learned: Any,
    cv: Any,
    n_jobs: int | None,
    more: dict[str, Any],
) -> tuple[TrainedTogether | None, Any]:
    """Train an estimator on all folds, if that can be; return the folds for scikit-learn, too."""
    verbose, start = more["verbose"], time.perf_counter()
    say = partial(tell, "cross-validation") if verbose else _say_nothing
    if isinstance(more.get("error_score"), str):  # which is "raise"
        clone(network_of(estimator))._validate_params()
    splitter, fit_params = _routed(estimator, X, y, cv, more, say)
    if fit_params is None:
        return None, splitter
    rows, labels = indexable(X, learned)
    folds = Folds(rows, labels, splitter.splits, fit_params, say)
    candidate = as_candidate(0, [clone(estimator) for _ in splitter.splits], "the estimator", say)
    run = partial(fit_together, n_jobs=n_jobs, verbose=max(0, verbose - 1))
    trained = TrainedTogether(folds, [candidate], run)
    if not trained.n_fits:
        return None, splitter
    say(f"{trained.n_fits} folds in {time.perf_counter() - start:.1f} s")
    return trained, splitter


def _routed(
    estimator: Any, X: Any, y: Any, cv: Any, more: dict[str, Any], say: Callable[[str], None]
) -> tuple[Any, dict[str, Any] | None]:
    """Ask for the folds, as a search would; return them with what the estimator's `fit` is passed.

    None in its place where scikit-learn refuses to pass it, in words of its own.
    """
    params, groups = more["params"] or {}, more["groups"]
    strange = [name for name in params if not isinstance(name, str)]
    if strange:
        raise TypeError(f"The 'params' must have names of parameters. Got {strange[0]!r} instead.")
    with naming("X", ROWS):
        rows, labels = indexable(X, y)
        require_real(rows)
    with naming("cv", "be folds, or give pairs of rows to train and to test on"):
        splitter = check_cv(cv, y, classifier=is_classifier(estimator))
    search = GridSearchCV(estimator, {}, scoring=more.get("scoring"), cv=splitter, refit=False)
    with naming("scoring", "be scorers"):
        search._get_scorers()
    try:
        given = dict(params) | ({} if groups is None else {"groups": groups})
        routed = search._get_routed_params_for_fit(given)
    except Exception as error:
        say(f"folds are fitted one by one because of {error!r}")
        return splitter, None
    with naming("cv", "give pairs of rows to train and to test on"):
        asked = splitter.split(rows, labels, **routed.splitter.split)
        found = _SameFolds(FixedFolds.of(asked, _num_samples(rows)).splits, splitter)
        if not found.splits:
            raise ValueError("there is none")
    return found, routed.estimator.fit


def _say_nothing(what: str) -> None:
    """Leave it unsaid."""
