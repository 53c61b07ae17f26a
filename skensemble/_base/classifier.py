"""scikit-learn's contract: checks, labels, weights, seeds, and predictions from logits."""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_consistent_length, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from skensemble._base.checks import _is_bytes, _slices_only, _surely_finite
from skensemble._base.splitting import apply_split
from skensemble._data.rows import FitData, Rows
from skensemble._engine.members import SAMPLE_ROWS, recipe_key
from skensemble._engine.trial import try_module
from skensemble._fits.given import Given, Steps
from skensemble._private import check_sample_weight, check_y
from skensemble._recipes.reading import read_recipe
from skensemble._recipes.recipe import Recipe, run_networks
from skensemble._recipes.wraps import Channels
from skensemble._seeding import Purpose, purpose_seed
from skensemble.nn._channels import require_channels

# Numbers a prediction batch may hold, inputs and logits alike; the activations of a
# convolutional network are some fifty times as many.
_CHUNK_NUMBERS = {"cpu": 1 << 18, "cuda": 1 << 22}


_CHUNK_ROWS = 4096


class BaseNetworkClassifier(ClassifierMixin, BaseEstimator, ABC):
    """Abstract classifier made of one or more networks with the same classes."""

    # Whether a train_split may bring rows to train on; not where a fit asks others about X.
    _takes_other_rows: ClassVar[bool] = False

    def _share_labels(self, other: BaseNetworkClassifier) -> None:
        """Tell another estimator what `fit` found out about labels and features."""
        for name in ("classes_", "n_features_in_", "feature_names_in_"):
            if hasattr(self, name):
                setattr(other, name, getattr(self, name))

    # -- data in -----------------------------------------------------------------------

    def _check_X(self, X: Any, reset: bool, in_shape: tuple[int, ...] | None = None) -> Any:
        """Return `X` as an array of at least two axes, never copied if it is one already.

        Samples must have the shape seen in `fit`, which is `in_shape` while that is running.
        """
        if isinstance(X, Tensor):
            X = X.detach().cpu().numpy()
        if not reset and in_shape is None:
            in_shape = self._recipe.in_shape
            if self._is_fine(X):
                return X
        if _slices_only(X):
            X = self._check_store(X, reset)
        else:
            dtype = None if _is_bytes(X) else [np.float64, np.float32]
            X = validate_data(self, X, reset=reset, dtype=dtype, allow_nd=True)
        if not reset and tuple(X.shape[1:]) != in_shape:
            raise ValueError(
                f"X has samples of shape {tuple(X.shape[1:])}, but {type(self).__name__} is "
                f"expecting samples of shape {in_shape}."
            )
        return X

    def _is_fine(self, X: Any) -> bool:
        """Whether scikit-learn's checks, slow beside a small network, would pass `X` as is."""
        return (
            type(X) is np.ndarray
            and X.dtype in (np.float32, np.float64)
            and len(X) > 0
            and tuple(X.shape[1:]) == self._recipe.in_shape
            and not hasattr(self, "feature_names_in_")
            and _surely_finite(X)
        )

    def _check_store(self, X: Any, reset: bool) -> Any:
        """Check an array store a chunk at a time."""
        if len(X.shape) < 2 or len(X) == 0:
            raise ValueError(
                f"Expected an array of at least 2 axes and 1 row. Got shape={tuple(X.shape)}."
            )
        if np.dtype(X.dtype).kind not in "biuf":
            raise ValueError(f"Input X must hold real numbers. Got the dtype {X.dtype} instead.")
        step = max(1, _CHUNK_NUMBERS["cpu"] // max(1, math.prod(X.shape[1:])))
        for start in range(0, len(X) if np.dtype(X.dtype).kind == "f" else 0, step):
            if not np.isfinite(np.asarray(X[start : start + step])).all():
                raise ValueError(
                    f"Input X contains NaN or infinity in rows {start} to {start + step - 1}."
                )
        if reset:
            self.n_features_in_ = int(X.shape[1])
        return X

    @abstractmethod
    def _steps(self, given: Given) -> Steps:
        """Fit, yielding what is to be trained; see `skensemble._fits.running`."""

    def _check_fit(self, given: Given) -> FitData:
        """Check and encode training data; set ``classes_`` and what scikit-learn wants."""
        if given.y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        X = self._check_given_X(given)
        y = given.recall("y", lambda: self._check_y(given.y, len(X)))
        rows = np.arange(len(y)) if given.rows is None else given.rows
        self.classes_ = np.unique(y[rows])
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least 2 classes in y; got 1 class: "
                f"{self.classes_.tolist()[0]!r}."
            )
        encoded = given.recall(("encoded", tuple(self.classes_)), lambda: self._encode(y))
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

        X, found = given.recall("X", check)
        for name, value in found.items():
            setattr(self, name, value)
        return X

    def _encode(self, y: np.ndarray) -> np.ndarray:
        """Return class indices; labels that are no class of this fit get the nearest one."""
        at = np.searchsorted(self.classes_, y)
        return np.minimum(at, len(self.classes_) - 1).astype(np.int64)

    def _prepare(self, estimator: Any, given: Given, root: int) -> tuple[Recipe, FitData]:
        """Check the data, read the recipe from `estimator`, and hold rows out."""
        recipe = read_recipe(estimator)
        data = self._check_fit(given)
        splits = getattr(self, "channel_splits", None)
        if splits is not None:
            require_channels(data.X.shape[1], "channel_splits", splits, type(self).__name__)
            recipe = recipe.wrapped(Channels(0, int(splits)))
        recipe = recipe.bind(data.X, len(self.classes_), getattr(self, "precision", None))
        data = self._hold_out(data, recipe, purpose_seed(root, Purpose.SPLIT))
        data.require_range(recipe.dtype)
        sample = Rows(data.X, recipe.dtype).slice(0, min(SAMPLE_ROWS, len(data.X)))
        if given.rows is None:
            return replace(recipe, **try_module(recipe, sample)), data
        key = ("recipe", recipe_key(recipe))
        return replace(recipe, **given.recall(key, lambda: try_module(recipe, sample))), data

    def _check_y(self, y: Any, n_rows: int) -> np.ndarray:
        y = check_y(y, estimator=self)
        check_consistent_length(range(n_rows), y)
        check_classification_targets(y)
        return y

    def _check_weight(
        self, sample_weight: Any, y: np.ndarray, X: Any, rows: np.ndarray
    ) -> np.ndarray | None:
        dtype = np.float64 if X.dtype == np.float64 else np.float32
        weight = None
        if sample_weight is not None:
            stand_in = np.empty((len(y), 1), dtype=dtype)
            weight = check_sample_weight(
                sample_weight, stand_in, dtype=dtype, ensure_non_negative=True
            )
        if getattr(self, "class_weight", None) is not None:
            weight = np.ones(len(y), dtype) if weight is None else weight
            weight = self._weigh_classes(weight, y, rows[weight[rows] > 0])
        return weight

    def _weigh_classes(self, weight: np.ndarray, y: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Multiply weights of `rows` with those of their classes."""
        present = np.unique(y[rows])
        self._check_class_weight()
        by_class = compute_class_weight(
            self.class_weight, classes=present, y=y[rows], sample_weight=weight[rows]
        )
        weight = weight.copy()
        weight[rows] *= by_class[np.searchsorted(present, y[rows])]
        return weight

    def _check_class_weight(self) -> None:
        given: Any = self.class_weight  # type: ignore[attr-defined]
        for label, value in given.items() if isinstance(given, dict) else ():
            if not (isinstance(value, numbers.Real) and 0 <= float(value) < math.inf):
                raise ValueError(
                    f"The 'class_weight' parameter of {type(self).__name__} must have finite "
                    f"numbers of at least 0. Got {value!r} for the class {label!r} instead."
                )

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

    @abstractmethod
    def _networks(self) -> Sequence[nn.Module]:
        """Return the fitted modules, in evaluation mode."""

    def _recipes(self) -> Sequence[Recipe]:
        """Return the recipe of each fitted module."""
        return [self._recipe] * len(self._networks())

    def _logits(self, X: Any) -> Iterator[tuple[slice, int, Tensor]]:
        """Yield rows, how many there are in all, and their logits ``(member, sample, class)``."""
        check_is_fitted(self)
        X = self._check_X(X, reset=False)
        modules, recipes = self._networks(), self._recipes()
        parameter = next(modules[0].parameters(), torch.empty(0))
        rows = Rows(X, self._recipe.dtype, parameter.device)
        numbers = max(math.prod(X.shape[1:]), len(modules) * len(self.classes_))
        budget = _CHUNK_NUMBERS.get(parameter.device.type, _CHUNK_NUMBERS["cpu"])
        step = min(_CHUNK_ROWS, max(32, budget // numbers))
        for start in range(0, len(rows), step):
            where = slice(start, min(start + step, len(rows)))
            with torch.inference_mode():
                logits = run_networks(modules, recipes, rows.slice(where.start, where.stop))
                if not logits.sum().isfinite():  # in one cheap pass; then look closely
                    self._check_outputs(rows, where, logits)
            yield where, len(rows), logits

    @staticmethod
    def _check_outputs(rows: Rows, where: slice, logits: Tensor) -> None:
        """Refuse logits without a largest number; a class may have no chance, but not all."""
        bad = ~logits.amax(-1).isfinite().all(0)
        if bad.any():
            rows.require_range(where.start, where.stop)
            raise ValueError(
                "The networks must put out finite numbers. Got NaN or infinity for row "
                f"{where.start + int(bad.nonzero()[0])} of X instead; are its features scaled as "
                "those that were learned?"
            )

    def _collect(self, X: Any, fuse: Callable[[Tensor], Tensor], axis: int = 0) -> np.ndarray:
        """Apply `fuse` to the logits of each chunk and join the results along `axis`."""
        out: np.ndarray | None = None
        with torch.inference_mode():
            for where, n_rows, logits in self._logits(X):
                part = fuse(logits).cpu().numpy()
                if part.shape[axis] == n_rows:
                    return part
                if out is None:
                    shape = (*part.shape[:axis], n_rows, *part.shape[axis + 1 :])
                    out = np.empty(shape, part.dtype)
                out[(slice(None),) * axis + (where,)] = part
        return np.asarray(out)

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

    def save(self, path: Any) -> None:
        """Write the fitted estimator as safetensors and JSON, to be read by `skensemble.load`.

        Parameters
        ----------
        path : path-like
            The file; one that is there is replaced at once or not at all.
        """
        from skensemble._files.states import save

        check_is_fitted(self)
        save(self, path)

    def export_onnx(self, path: Any) -> None:
        """Write the fused classifier as an ONNX graph with a free number of rows.

        Its input ``X`` is float32, in [0, 1] where the networks learned images of bytes;
        its output is ``probabilities``. Needs ``pip install 'skensemble[onnx]'``.

        Parameters
        ----------
        path : path-like
            The file.
        """
        from skensemble._files.onnx import export_onnx

        check_is_fitted(self)
        export_onnx(self, path)
