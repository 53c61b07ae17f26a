"""Ensembles whose members leave out folds of the rows, and what is learned from these."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skensemble._base.folds import Folds, make_folds
from skensemble._base.fusion import FusedMembers
from skensemble._data.rows import FitData
from skensemble._fits.given import Given
from skensemble._recipes.reading import read_recipe
from skensemble.ensembles.left_out import (
    left_out_proba,
    left_out_temperature,
    read_sets,
    require_calibration,
    sets_of_left_out,
)
from skensemble.ensembles.network import NetworkClassifier


class CrossFitted(FusedMembers):
    """Abstract ensemble with `cross_fit`: rows that a member left out calibrate the ensemble."""

    estimator: Any
    n_estimators: int
    joint: bool
    cross_fit: Any
    calibrate: Any
    estimators_: list[NetworkClassifier]
    _numbers: list[int]
    _n_folds: int | None

    def _cross_fit(self) -> Any:
        """Return how members are to hold out folds, or None where they see all rows."""
        if self.cross_fit == "auto":
            chosen = self.estimator is None and not self.joint
            return "auto" if chosen else None
        if self.cross_fit is not None and self.joint:
            raise ValueError(
                "With joint=True members are parts of one network, which sees all rows, so "
                f"'cross_fit' must be 'auto' or None. Got {self.cross_fit!r} instead."
            )
        return self.cross_fit

    def _make_folds(
        self, cross_fit: Any, data: FitData, given: Given, root: int, kept: dict[int, Any]
    ) -> Folds:
        split = read_recipe(self.estimator).training.train_split
        if split is not None:
            raise ValueError(
                "Both 'cross_fit' and the net's 'train_split' hold rows out. Set train_split=None, "
                f"or cross_fit=None. Got cross_fit={cross_fit!r} and train_split={split!r}."
            )
        if kept and self._n_folds is not None:
            cross_fit = self._n_folds  # as the members there are hold out
        folds = make_folds(cross_fit, self.n_estimators, data, given.groups, root)
        self._n_folds = folds.n_folds if isinstance(cross_fit, str | int) else None
        return folds

    def _forget_left_out(self) -> None:
        for name in ("oof_proba_", "_oof_labels", "oof_score_", "temperature_", "folds_"):
            if hasattr(self, name):
                delattr(self, name)

    def _learn_of_left_out(self, folds: Folds, data: FitData, given: Given) -> None:
        """Ask members about rows that they have not seen; find score and temperature."""
        proba = left_out_proba(self, folds, data)
        rows = np.arange(len(data.X)) if given.rows is None else given.rows
        known = data.rows[np.isfinite(proba[data.rows, 0])]
        weight = None if data.weight is None else data.weight[known]
        said, y = proba[known], data.y[known]
        self.temperature_: float = left_out_temperature(said, y, weight, folds)
        self.oof_score_ = float(np.average(said.argmax(1) == y, weights=weight))
        self.oof_proba_: np.ndarray = proba[rows]
        self._oof_labels = data.y[rows]
        places = np.full(len(data.X), -1)
        places[rows] = np.arange(len(rows))
        self.folds_ = [places[folds.held_out[number]] for number in self._numbers]

    def predict_set(
        self, X: Any, *, coverage: float = 0.9, score: Any = "lac", method: str = "plus"
    ) -> np.ndarray:
        """Predict sets of classes that hold the true one as often as is asked for.

        They need no rows beside those of `fit`: with `cross_fit` each training row has
        probabilities by members that did not see it. After `fit`, not after `load`, as files hold
        no rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples of the shape seen in `fit`.
        coverage : float, default=0.9
            Share of sets that shall hold the label.
        score : {"lac", "aps", "raps"} or ConformalSets, default="lac"
            What makes a class odd, see `skensemble.conformal.conformity_scores`; a `ConformalSets`
            says more, such as that the share is to hold in every class.
        method : {"plus", "pooled"}, default="plus"
            "plus" (CV+) compares each training row with what the members that left it out say of
            `X`: in theory at least ``2 * coverage - 1`` of sets hold the label, in practice
            `coverage`. "pooled" compares all with what the ensemble says, with no theory, and
            sets that are too large where few members left a row out.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), dtype bool
            Which classes are in the set, columns in the order of ``classes_``.

        References
        ----------
        Romano, Sesia and Candes, "Classification with valid and adaptive coverage", 2020.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skensemble import DeepEnsembleClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> ensemble = DeepEnsembleClassifier(n_estimators=5, random_state=0).fit(X[::2], y[::2])
        >>> ensemble.predict_set(X[1::2], coverage=0.9).shape
        (75, 3)
        """
        check_is_fitted(self)
        sets = read_sets(score)
        logits = torch.from_numpy(self.predict_members(X, response="logit"))
        return sets_of_left_out(self, logits, sets, coverage, method)

    def _calibrates(self) -> bool:
        """Whether probabilities are to be those at the temperature that was found."""
        found = hasattr(self, "temperature_")
        require_calibration(self, found)
        wanted = self.estimator is None if self.calibrate == "auto" else self.calibrate
        return bool(wanted) and found and self._averaging() != "vote"

    # -- fusion ------------------------------------------------------------------------------

    def _fuse_members(self, logits: Tensor) -> Tensor:
        """Fuse members without a temperature."""
        return super()._fuse_proba(logits)

    def _fuse_proba(self, logits: Tensor) -> Tensor:
        if self._calibrates():
            return self._fuse_log_proba(logits).exp()
        return super()._fuse_proba(logits)

    def _fuse_log_proba(self, logits: Tensor) -> Tensor:
        said = super()._fuse_log_proba(logits)
        return (said / self.temperature_).log_softmax(-1) if self._calibrates() else said

    def _fuse_score(self, logits: Tensor) -> Tensor:
        return self._fuse_log_proba(logits) if self._calibrates() else super()._fuse_score(logits)
