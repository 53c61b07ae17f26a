"""scikit-learn's contract of classifiers: labels, their weights, and predictions from logits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skensemble._base.checks import (
    check_labels,
    check_weights,
    weigh_classes,
    weight_dtype,
)
from skensemble._base.estimator import BaseNetworks
from skensemble._base.fitted import is_fitted
from skensemble._base.folds import make_folds
from skensemble._base.splitting import apply_split
from skensemble._base.states import innermost
from skensemble._data.rows import FitData, Rows
from skensemble._engine.bar import tell
from skensemble._engine.members import SAMPLE_ROWS, recipe_key
from skensemble._engine.trial import try_module
from skensemble._files.errors import must
from skensemble._files.format import plain_labels
from skensemble._files.schema import array_of
from skensemble._fits.given import Given
from skensemble._recipes.reading import read_recipe, warn_of_reset
from skensemble._recipes.recipe import Recipe
from skensemble._recipes.wraps import Channels
from skensemble._seeding import Purpose, purpose_seed
from skensemble.metrics.uncertainty import (
    Uncertainty,
    uncertainty_of_dirichlet,
    uncertainty_of_members,
)
from skensemble.nn._channels import require_channels


def _is_of_several(estimator: BaseNetworkClassifier) -> bool:
    """Tell whether there are networks that can disagree, or a distribution; or say why not."""
    if is_fitted(estimator):  # what is not says so itself
        estimator._require_voices()
    return True


class BaseNetworkClassifier(ClassifierMixin, BaseNetworks):
    """Abstract classifier made of one or more networks with the same classes."""

    _shared: ClassVar[tuple[str, ...]] = ("classes_", *BaseNetworks._shared)

    # -- data in -----------------------------------------------------------------------

    def _check_fit(self, given: Given) -> FitData:
        """Check and encode training data; set ``classes_`` and what scikit-learn wants."""
        if given.y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        X = self._check_given_X(given)
        y = given.recall("y", lambda: check_labels(given.y, len(X), self))
        rows = np.arange(len(y)) if given.rows is None else given.rows
        self.classes_ = np.unique(y[rows])
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least 2 classes in y; got 1 class: "
                f"{self.classes_.tolist()[0]!r}."
            )
        encoded = given.recall("encoded", lambda: self._encode(y), values=tuple(self.classes_))
        weight = self._check_weight(given.sample_weight, y, X, rows)
        if weight is not None:
            # A row of weight zero is a row that is not there, also for batches and orders.
            rows = rows[weight[rows] > 0]
        if len(rows) == 0:
            raise ValueError("Sample weights must contain at least one non-zero number.")
        return FitData(X, encoded, weight, rows)

    def _check_given_X(self, given: Given) -> Any:
        """Check `X`, or take over what another fit on the same data found."""

        def check() -> tuple[Any, dict[str, Any]]:
            X = self._check_X(given.X, reset=True)
            names = ("n_features_in_", "feature_names_in_")
            return X, {name: getattr(self, name) for name in names if hasattr(self, name)}

        if self._takes_table(given.X):
            return self._check_table(given)
        X, found = given.recall("X", check)
        for name, value in found.items():
            setattr(self, name, value)
        return X

    def _takes_table(self, X: Any) -> bool:
        source = innermost(self)
        self._table = source.table if isinstance(source, Recipe) else None
        return self._table is not None or self._reads(X)

    def _check_table(self, given: Given) -> Any:
        """Read a raw table by the recipe's own way, or by what its rows of this fit say."""

        def read() -> tuple[Any, dict[str, Any]]:
            X = self._read_table(given.X, given.rows)
            return X, {name: getattr(self, name) for name in names if hasattr(self, name)}

        names = ("_table", "n_features_in_", "feature_names_in_")
        X, found = given.recall("table", read, owners=(given.rows, self._table))
        for name, value in found.items():
            setattr(self, name, value)
        return X

    def _encode(self, y: np.ndarray) -> np.ndarray:
        """Return class indices; labels that are no class of this fit get the nearest one."""
        at = np.searchsorted(self.classes_, y)
        return np.minimum(at, len(self.classes_) - 1).astype(np.int64)

    def _prepare(
        self, estimator: Any, given: Given, root: int, hold_out: bool = True
    ) -> tuple[Recipe, FitData]:
        """Check the data, read the recipe from `estimator`, and hold rows out."""
        recipe = read_recipe(estimator)
        if not isinstance(estimator, Recipe):  # of which its owner has told
            warn_of_reset(recipe)
        data = self._check_fit(given)
        splits = getattr(self, "channel_splits", None)
        if splits is not None:
            require_channels(data.X.shape[1], "channel_splits", splits, type(self).__name__)
            recipe = recipe.wrapped(Channels(0, int(splits)))
        if self._table is not None:
            recipe = replace(recipe, table=self._table)
        if recipe.module is None and self._chooses:
            recipe = recipe.by_rules(data.X, len(data.rows))
            self._say_choice(recipe)
        recipe = recipe.bind(data.X, len(self.classes_), getattr(self, "precision", None))
        if hold_out and recipe.chosen:
            data = make_folds("auto", 1, data, None, root).of(data, 0)
        elif hold_out:
            data = self._hold_out(data, recipe, purpose_seed(root, Purpose.SPLIT))
        data.require_range(recipe.dtype)
        sample = Rows(data.X, recipe.dtype).slice(0, min(SAMPLE_ROWS, len(data.X)))
        if given.rows is None:
            return replace(recipe, **try_module(recipe, sample, len(data.rows))), data
        n_rows = len(data.rows)
        key = (recipe_key(recipe), n_rows == 1)
        found = given.recall("recipe", lambda: try_module(recipe, sample, n_rows), values=key)
        return replace(recipe, **found), data

    def _say_choice(self, recipe: Recipe) -> None:
        if getattr(self, "verbose", 0):
            tell(type(self).__name__, f"chosen are {recipe.summary()}")

    def _check_weight(
        self, sample_weight: Any, y: np.ndarray, X: Any, rows: np.ndarray
    ) -> np.ndarray | None:
        """Return the rows' weights, times those of their classes."""
        weight = check_weights(sample_weight, len(y), X)
        class_weight = getattr(self, "class_weight", None)
        if class_weight is None:
            return weight
        weight = np.ones(len(y), weight_dtype(X)) if weight is None else weight
        present = rows[weight[rows] > 0]
        return weigh_classes(class_weight, weight, y, present, type(self).__name__)

    def _hold_out(self, data: FitData, recipe: Recipe, seed: int) -> FitData:
        """Apply the split the recipe asks for, once for all members."""
        split, stopping = recipe.training.train_split, recipe.training.early_stopping()
        if split is not None:
            owner = type(self).__name__
            data = apply_split(split, data, self.classes_, seed, self._takes_other_rows, owner)
        if data.valid is None and stopping is not None and stopping.monitor != "train_loss":
            why = "the net has train_split=None" if split is None else "its train_split gives None"
            raise ValueError(
                f"The callback EarlyStopping monitors {stopping.monitor!r}, but {why} and so no "
                "validation rows. Set 'train_split', for example to "
                "skorch.dataset.ValidSplit(0.1, stratified=True)."
            )
        return data

    # -- predictions out -----------------------------------------------------------------

    def _say_something(self, outputs: Tensor) -> Tensor:
        """Return where there is a largest logit; a class may have no chance, but not all."""
        return outputs.amax(-1).isfinite()

    @abstractmethod
    def _fuse_proba(self, logits: Tensor) -> Tensor:
        """Turn member logits into probabilities ``(sample, class)``."""

    @abstractmethod
    def _fuse_score(self, logits: Tensor) -> Tensor:
        """Turn member logits into confidence scores ``(sample, class)``."""

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples of the shape seen in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities, columns in the order of ``classes_``.
        """
        return self._collect(X, self._fuse_proba)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Predict logarithms of class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples of the shape seen in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Logarithms of what `predict_proba` returns.
        """
        return self._collect(X, self._fuse_log_proba)

    def _fuse_log_proba(self, logits: Tensor) -> Tensor:
        return self._fuse_proba(logits).log()

    def _teaching(self, logits: Tensor) -> Tensor:
        """Turn member logits into those that a student learns from, one network or more."""
        return logits

    def decision_function(self, X: Any) -> np.ndarray:
        """Compute confidence scores; the class with the largest one is predicted.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples of the shape seen in `fit`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            One score a class; for two classes their difference, positive for the second.
        """
        scores = self._collect(X, self._fuse_score)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Predict class labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples of the shape seen in `fit`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Members of ``classes_``.
        """
        positions = self._collect(X, lambda logits: self._fuse_score(logits).argmax(-1))
        return self.classes_[positions]

    # -- files ---------------------------------------------------------------------------

    @property
    def _concentration(self) -> Callable[[Tensor], Tensor] | None:
        """What turns logits into the parameters of Dirichlets, where they are that."""
        return None

    @available_if(_is_of_several)
    def uncertainty(self, X: Any) -> Uncertainty:
        """Tell of each prediction how uncertain it is, and how much of that members disagree about.

        Members are the networks inside, as a student is taught by them; of a student that was
        taught a Dirichlet ("dirichlet", "proxy-dirichlet") they are draws of it, so that one
        network tells what an ensemble would.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Samples of the shape seen in `fit`.

        Returns
        -------
        Uncertainty
            Total, aleatoric and epistemic uncertainty in nats, variation ratio and confidence;
            its ``frame()`` is a data frame.

        See Also
        --------
        skensemble.metrics.uncertainty_of_members : The formulas.
        """
        check_is_fitted(self)
        if self._concentration is not None:
            return uncertainty_of_dirichlet(self._collect(X, self._concentration, axis=1))
        return uncertainty_of_members(
            self._collect(X, lambda logits: self._teaching(logits).softmax(-1), axis=1)
        )

    def _require_voices(self) -> None:
        """Refuse to tell an uncertainty where nothing can differ."""
        if self._concentration is None and self._count_voices() < 2:
            raise ValueError(
                f"The uncertainty of a {type(self).__name__} must be that of at least 2 networks, "
                "whose predictions can differ. Got 1; use an ensemble, several students "
                "(n_students), a student with objective='proxy-dirichlet', or predict_proba."
            )

    def _plain_fitted(self) -> dict[str, Any]:
        return {**super()._plain_fitted(), "classes": plain_labels(self.classes_)}

    def _take_fitted(self, about: dict[str, Any]) -> None:
        super()._take_fitted(about)
        if "classes" not in about:
            raise must("classes", "there", None)
        self.classes_ = array_of(about["classes"])

    def _check_rehearsed(self, outputs: Tensor) -> None:
        with torch.inference_mode():
            proba, score = self._fuse_proba(outputs), self._fuse_score(outputs)
        shape = (2, len(self.classes_))
        if tuple(proba.shape) != shape or tuple(score.shape) != shape:
            raise ValueError(
                f"The networks must return a number for each of the {shape[1]} classes. Got "
                f"{tuple(outputs.shape)} for two rows instead."
            )
