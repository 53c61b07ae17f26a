"""Searches that train all their candidates and folds in common stacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.utils import indexable
from sklearn.utils.validation import _num_samples

from skensemble._arguments import as_numpy, naming
from skensemble._base.checks import ROWS
from skensemble._base.classifier import BaseNetworkClassifier
from skensemble._engine.bar import Bar, bar_shown, tell
from skensemble._fits.given import Given, Steps
from skensemble._fits.prepared import Prepared, estimator_key, offered, rows_key
from skensemble._fits.running import Outcome, fit_together
from skensemble._private import check_y, is_inside
from skensemble._records.fingerprint import data_of, told
from skensemble._records.folder import CHECKPOINT, opened
from skensemble._seeding import as_random_state

__all__ = ["StackedGridSearchCV", "StackedRandomizedSearchCV"]


@dataclass
class _UnderWay:
    """The fit of a search that is under way in this context.

    Attributes
    ----------
    X, y : array-like
        As they arrived.
    in_turn : ExitStack
        While it is open, joblib does one thing after the other.
    bar : Bar or None
        What shows how far it is.
    routed : Bunch
        What scikit-learn passes to estimator, scorer and splitter, once that is known.
    """

    X: Any
    y: Any
    in_turn: ExitStack
    bar: Bar | None = None
    routed: Any = None


_under_way: ContextVar[_UnderWay | None] = ContextVar("under_way", default=None)


@dataclass(frozen=True)
class _Fit:
    """A candidate on a fold: its place in the results, and the key under which it is found."""

    place: tuple[int, int]
    key: tuple[str, str]
    estimator: Any
    steps: Steps


@dataclass(frozen=True)
class _Folds:
    """Folds that have been asked for, since some can be asked for only once."""

    splits: list[Any]

    def split(self, X: Any, y: Any = None, groups: Any = None, **params: Any) -> list[Any]:
        """Return the folds."""
        return self.splits


class _StackedSearch:
    """Fits all candidates on all folds side by side and leaves the rest to scikit-learn.

    It is scikit-learn's `fit` that runs. Where it asks for the candidates to be evaluated they
    are trained first; the `fit` of each of them then takes over what was trained.
    """

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

        Raises
        ------
        WorkerLostError
            If a worker was killed or crashed while it trained.
        """
        self._require_names()
        stacks = self._can_stack()
        verbose: int = self.verbose if stacks else 0  # type: ignore[attr-defined]
        with (
            self._kept_in_folder(X, y, params),
            bar_shown(verbose, type(self).__name__, not is_inside(self)) as bar,
            ExitStack() as in_turn,
        ):
            under_way = _UnderWay(X, y, in_turn, bar) if stacks else None
            token = _under_way.set(under_way)
            try:
                if under_way is not None:
                    self._require_rows(X, y)
                    # Workers would not find what was trained here.
                    in_turn.enter_context(joblib.parallel_config("sequential"))
                super().fit(X, y, **params)  # type: ignore[misc]
            finally:
                _under_way.reset(token)
        return self

    def _require_rows(self, X: Any, y: Any) -> None:
        """Refuse rows and labels of which scikit-learn's searches only speak as values."""
        with naming("X", ROWS):
            _num_samples(X)
        with naming("y", "be one label a row"):
            y = check_y(as_numpy(y), estimator=self)
            if y.dtype.kind == "O":
                np.unique(y)  # which labels that cannot be compared do not have

    def _require_names(self) -> None:
        """Refuse what scikit-learn lets pass, and then stumbles over."""
        search: Any = self
        if isinstance(search.cv, bytes):
            raise ValueError(f"The 'cv' must be folds. Got {search.cv!r} instead.")
        name = "param_grid" if hasattr(self, "param_grid") else "param_distributions"
        grids = getattr(self, name)
        grids = grids if isinstance(grids, list | tuple) else [grids]
        for grid in (one for one in grids if isinstance(one, Mapping)):
            strange = [key for key in grid if not isinstance(key, str)]
            if strange:
                raise TypeError(
                    f"The {name!r} must have names of parameters. Got {strange[0]!r} instead."
                )

    @contextmanager
    def _kept_in_folder(self, X: Any, y: Any, params: dict[str, Any]) -> Iterator[None]:
        """Keep all that is trained where `checkpoint` says, if it does."""
        search: Any = self
        if search.checkpoint is not None:
            self._require_repeats()

        def about() -> dict[str, Any]:
            data = {"X": X, "y": y, **params}
            return {"search": told(self), "data": {k: data_of(v) for k, v in data.items()}}

        with opened(search.checkpoint, about, lambda: 0):
            yield

    def _require_repeats(self) -> None:
        """Refuse to keep a search that would ask for other networks the next time."""
        search: Any = self
        search._validate_params()
        why = ""
        if not isinstance(search.estimator, BaseNetworkClassifier):
            why = f"an estimator of skensemble. Got a {type(search.estimator).__name__}"
        elif getattr(search.estimator, "checkpoint", None) is not None:
            why = "an estimator without a 'checkpoint' of its own, which would hold one fold"
        elif getattr(search, "random_state", 0) is None:
            why = "a 'random_state' of the search that is a number. Got None"
        elif search.estimator.get_params(deep=False).get("random_state", 0) is None:
            why = "an estimator with a number as its 'random_state', on which a grid may set others"
        if why:
            raise ValueError(f"A 'checkpoint' of a {type(self).__name__} needs {why}.")

    def _can_stack(self) -> bool:
        """Whether the estimator is ours and has a key; say so where it is not."""
        estimator = self.estimator  # type: ignore[attr-defined]
        if not isinstance(estimator, BaseNetworkClassifier):
            self._say(
                f"{type(estimator).__name__} is not an estimator of skensemble; "
                "candidates are fitted one by one"
            )
            return False
        try:
            estimator_key(clone(estimator))
        except Exception as error:  # scikit-learn reports those that concern it
            self._say(f"candidates are fitted one by one because of {error!r}")
            return False
        return True

    def _get_routed_params_for_fit(self, params: dict[str, Any]) -> Any:
        """Keep what scikit-learn routes, which warns if it is asked twice."""
        routed = super()._get_routed_params_for_fit(params)  # type: ignore[misc]
        under_way = _under_way.get()
        if under_way is not None:
            under_way.routed = routed
        return routed

    def _get_scorers(self) -> Any:
        """Say of scorers that cannot be which parameter they are."""
        with naming("scoring", "be scorers"):
            return super()._get_scorers()  # type: ignore[misc]

    def _run_search(self, evaluate_candidates: Callable[..., Any], *, callback_ctx: Any) -> None:
        """Train the candidates, then let scikit-learn evaluate them."""
        search: Any = super()
        under_way = _under_way.get()
        if under_way is None:
            search._run_search(evaluate_candidates, callback_ctx=callback_ctx)
            return
        under_way.in_turn.close()  # scikit-learn's loop is made; what trains uses all workers

        def evaluate(candidates: Any, cv: Any = None, **more: Any) -> Any:
            candidates = list(candidates)
            cv = self._checked_cv_orig if cv is None else cv  # type: ignore[attr-defined]
            X, y = indexable(under_way.X, under_way.y)
            with naming("cv", "give pairs of rows to train and to test on"):
                splits = _pairs(cv.split(X, y, **under_way.routed.splitter.split), _num_samples(X))
            prepared, seconds = self._train_together(under_way, candidates, splits)
            if under_way.bar is not None:
                under_way.bar.hide()  # scikit-learn prints what it scores
            with offered(prepared):
                results = evaluate_candidates(candidates, cv=_Folds(splits), **more)
            if prepared.n_left:
                self._say(f"{prepared.n_left} fits were trained in vain: other rows were asked for")
            _set_times(results, seconds)
            return results

        search._run_search(evaluate, callback_ctx=callback_ctx)

    def _train_together(
        self, under_way: _UnderWay, candidates: list[dict[str, Any]], splits: list[Any]
    ) -> tuple[Prepared, np.ndarray]:
        """Train all that can be in step; return it with the seconds of each fit, NaN for none."""
        prepared, seconds = Prepared(), np.full((len(candidates), len(splits)), np.nan)
        start = time.perf_counter()
        fits = self._make_fits(under_way, candidates, splits)
        outcomes = self._run_fits(under_way.bar, [fit.steps for fit in fits])
        for fit, outcome in zip(fits, outcomes, strict=True):
            fit.estimator._fit_seconds = outcome.seconds
            prepared.add(fit.key, fit.estimator, outcome.error)
            seconds[fit.place] = outcome.seconds
        if fits:
            self._say(
                f"{np.isfinite(seconds).any(1).sum()} candidates on {len(splits)} folds in "
                f"{time.perf_counter() - start:.1f} s"
            )
        return prepared, seconds

    def _run_fits(self, bar: Bar | None, steps: list[Steps]) -> list[Outcome]:
        """Run the fits of all candidates; the last one, on all rows, has room in the bar."""
        search: Any = self
        if bar is not None and search.refit is not False and steps:
            bar.reserve(1 / len(steps))  # as much as a fit takes in the mean
        outcomes = fit_together(steps, search.n_jobs, max(0, search.verbose - 1))
        if bar is not None:
            bar.work_is_known()
        return outcomes

    def _make_fits(
        self, under_way: _UnderWay, candidates: list[dict[str, Any]], splits: list[Any]
    ) -> list[_Fit]:
        """Make every candidate on every fold but for those that cannot be."""
        unset = clone(self.estimator)  # type: ignore[attr-defined]  # as scikit-learn does
        made = [self._make_candidate(unset, one, len(splits)) for one in candidates]
        shared: dict[Any, Any] = {}
        every = np.arange(_num_samples(under_way.X))
        passed_on = under_way.routed.estimator.fit
        fits = []
        try:
            for fold, (train, _) in enumerate(splits):
                rows = every[np.asarray(train)]  # masks and places from the end are rows too
                given = Given(under_way.X, under_way.y, rows=rows, shared=shared, **passed_on)
                rows_are = rows_key(given)
                for number, (key, estimators) in enumerate(made):
                    for one in estimators[fold : fold + 1]:
                        fits.append(_Fit((number, fold), (key, rows_are), one, one._steps(given)))
        except Exception as error:  # scikit-learn reports it in its own way
            self._say(f"candidates are fitted one by one because of {error!r}")
            return []
        return sorted(fits, key=lambda fit: fit.place)

    def _make_candidate(
        self, unset: Any, parameters: dict[str, Any], n_folds: int
    ) -> tuple[str, list[Any]]:
        """Return a candidate's key and itself for each fold, or none if it cannot be one."""
        made = [clone(unset).set_params(**clone(parameters, safe=False)) for _ in range(n_folds)]
        if self.error_score == "raise":  # type: ignore[attr-defined]
            for one in made:
                one._validate_params()
        try:
            for one in made:
                one._validate_params()
            return estimator_key(made[0]), made
        except Exception as error:  # scikit-learn reports it in its own way
            self._say(f"the candidate {parameters} is fitted by itself because of {error!r}")
            return "", []

    def _say(self, what: str) -> None:
        if self.verbose:  # type: ignore[attr-defined]
            tell(type(self).__name__, what)


def _pairs(folds: Any, n_rows: int) -> list[Any]:
    """Return the folds, which must be pairs of rows that there are."""
    rows = np.arange(n_rows)
    splits = [(train, test) for train, test in folds]
    for pair in splits:
        for one in pair:
            rows[np.asarray(one)]
    return splits


def _set_times(results: dict[str, Any], seconds: np.ndarray) -> None:
    """Put each fit's share of the common training into the results, where it was trained so."""
    known = np.isfinite(seconds).all(1)
    for name, found in (("mean_fit_time", seconds.mean(1)), ("std_fit_time", seconds.std(1))):
        results[name][-len(seconds) :][known] = found[known]


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

    def _run_search(self, evaluate_candidates: Callable[..., Any], *, callback_ctx: Any) -> None:
        """Draw candidates, and not from NumPy's global generator where there is no seed."""
        search: Any = self
        before = search.random_state
        if before is None:
            search.random_state = as_random_state(None)
        try:
            super()._run_search(evaluate_candidates, callback_ctx=callback_ctx)
        finally:
            search.random_state = before
