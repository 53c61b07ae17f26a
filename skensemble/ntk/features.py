"""The gradients of a random network as a transformer."""

from __future__ import annotations

import math
import numbers
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skensemble._arguments import naming
from skensemble._base.checks import check_rows
from skensemble._data.rows import Rows
from skensemble._private import Interval, StrOptions, fit_context
from skensemble._recipes.reading import read_recipe, warn_of_reset
from skensemble._seeding import Purpose, generator, root_seed
from skensemble.ntk.gradients import Gradients
from skensemble.ntk.kernels import exact_products, parts_of
from skensemble.ntk.layers import Part
from skensemble.ntk.linearised import OUTPUTS

_STEP = 256


class NTKFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Gradients of one output of a random network, as features of a linear model.

    Inner products of the features are the tangent kernel. As many features as the network
    has parameters, or, with `n_components`, a random projection that keeps inner products
    on average.

    Parameters
    ----------
    estimator : NeuralNetClassifier, Module class or instance, default=None
        The recipe of the network; see `NetworkClassifier`.
    features : {"ntk", "gp"}, default="ntk"
        The gradient by all parameters, or the features that the last layer is given.
    n_components : int or None, default=None
        Number of projected features; ``None`` keeps the gradient itself.
    n_outputs : int, default=1
        Outputs of the network where its module takes ``n_classes``; the first one is used.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights and of the projection.

    Attributes
    ----------
    module_ : Module
        The network.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where `X` had names that are strings.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> from skensemble.ntk import NTKFeatures
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(NTKFeatures(n_components=50, random_state=0), RidgeClassifier())
    >>> model.fit(X, y).score(X, y) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "estimator": "no_validation",
        "features": [StrOptions({"ntk", "gp"})],
        "n_components": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "n_outputs": [Interval(numbers.Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        features: str = "ntk",
        n_components: int | None = None,
        n_outputs: int = 1,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.features = features
        self.n_components = n_components
        self.n_outputs = n_outputs
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None) -> NTKFeatures:
        """Draw the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows; only their shape and dtype are used.
        y : None
            Ignored.

        Returns
        -------
        NTKFeatures
            The fitted transformer.
        """
        X = check_rows(self, X, dtype=[np.float64, np.float32])
        self._root = root_seed(self.random_state)
        recipe = read_recipe(self.estimator)
        warn_of_reset(recipe)
        self._recipe = recipe.bind(X, self.n_outputs)
        sample = Rows(X, self._recipe.dtype, self._recipe.training.device).slice(0, 2)
        self.module_ = self._recipe.build(self._root).to(self._recipe.training.device).eval()
        gradients = self._make_gradients(sample)
        self._names = list(gradients.report)
        self._n_features_out = int(self.n_components or 0) or sum(self._sizes(gradients, sample))
        return self

    def _make_gradients(self, sample: Tensor) -> Gradients:
        sample = sample if len(sample) > 1 else torch.cat([sample, sample])
        with naming("estimator", "make a network of the rows of X"):
            return Gradients(self.module_, sample, OUTPUTS[self.features])

    def _sizes(self, gradients: Gradients, sample: Tensor) -> list[int]:
        written = _written_out(gradients.parts(sample[:1]))
        return [math.prod(written[name].shape[2:]) for name in self._names if name in written]

    def transform(self, X: Any) -> np.ndarray:
        """Return the gradient of each row, or its projection.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows of the shape seen in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
            Features.
        """
        check_is_fitted(self)
        X = check_rows(self, X, reset=False, dtype=[np.float64, np.float32])
        if tuple(X.shape[1:]) != self._recipe.in_shape:
            raise ValueError(
                f"X has samples of shape {tuple(X.shape[1:])}, but NTKFeatures is expecting "
                f"samples of shape {self._recipe.in_shape}."
            )
        rows = Rows(X, self._recipe.dtype, self._recipe.training.device)
        gradients = self._make_gradients(rows.slice(0, 2))
        out = np.empty((len(X), self._n_features_out), X.dtype)
        with exact_products():
            for start in range(0, len(X), _STEP):
                parts = parts_of(gradients, rows.slice(start, min(start + _STEP, len(X))))
                out[start : start + _STEP] = self._assemble(parts).cpu().numpy()
        return out

    def _assemble(self, parts: list[Part]) -> Tensor:
        written = _written_out(parts)
        each = [written[name][:, 0] for name in self._names if name in written]
        flat = [one.reshape(len(one), -1) for one in each]
        if self.n_components is None:
            return torch.cat(flat, 1)
        total: Any = 0.0
        for number, part in enumerate(flat):  # one block of the projection at a time
            draw = generator(self._root + number, Purpose.PROJECT)
            size = (part.shape[1], self._n_features_out)
            block = torch.randn(size, generator=draw, dtype=torch.float64)
            total = total + part @ (block / self.n_components**0.5).to(part)
        return total

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return names of the features.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of str
            ``parameter[index]`` of the derivative, or ``ntkfeatures0`` and so on of projections.
        """
        if self.n_components is not None:
            return super().get_feature_names_out(input_features)
        check_is_fitted(self)
        shapes = {name: tuple(p.shape) for name, p in self.module_.named_parameters()}
        if self.features == "gp":  # one output's row of the last layer
            shapes = {name: shapes[name][1:] for name in self._names}
        names = [
            f"{name}[{','.join(map(str, index))}]"
            for name in self._names
            for index in np.ndindex(shapes[name])
        ]
        return np.asarray(names, dtype=object)


def _written_out(parts: list[Part]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for part in parts:
        found.update(part.written_out())
    return found
