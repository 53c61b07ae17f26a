"""What a network's layer puts out, as a transformer."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNetClassifier
from torch import nn
from torch.nn.parameter import UninitializedParameter

from skensemble._arguments import naming
from skensemble._base.checks import check_rows
from skensemble._base.classifier import BaseNetworkClassifier
from skensemble._base.features import teacher_features
from skensemble._base.fitted import is_fitted, unwrap
from skensemble._data.rows import Rows
from skensemble._private import fit_context
from skensemble._recipes.reading import read_recipe
from skensemble._seeding import root_seed

__all__ = ["ModuleFeatures"]


class ModuleFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """What one layer of a network puts out for each row.

    Parameters
    ----------
    module : fitted classifier, Module, NeuralNetClassifier or Module class, default=None
        A network that is used as it is: a fitted estimator of skensemble with one network, an
        initialised skorch net, or a module. Or the recipe of one that is drawn at random
        in `fit`; ``None`` is the default network.
    layer : str, default="last"
        Name of the part of the module. "last" is the last feature map of a network on
        images, and the input of the last linear layer of others.
    random_state : int, RandomState instance or None, default=None
        Seed of a network that is drawn.

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
    >>> from skensemble import NetworkClassifier
    >>> from skensemble.preprocessing import ModuleFeatures
    >>> X, y = load_iris(return_X_y=True)
    >>> network = NetworkClassifier(random_state=0).fit(X, y)
    >>> ModuleFeatures(network).fit_transform(X).shape
    (150, 128)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "module": "no_validation",
        "layer": [str],
        "random_state": ["random_state"],
    }

    def __init__(
        self, module: Any = None, *, layer: str = "last", random_state: Any = None
    ) -> None:
        self.module = module
        self.layer = layer
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None) -> ModuleFeatures:
        """Take the network, or draw one.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows; their values are only used to check that the network takes them.
        y : None
            Ignored.

        Returns
        -------
        ModuleFeatures
            The fitted transformer.
        """
        X = self._check(X, reset=True)
        self.module_, self._dtype = self._find(X)
        self._n_features_out = int(np.prod(self._look(X[:1]).shape[1:]))
        return self

    def _check(self, X: Any, reset: bool) -> Any:
        dtype = None if getattr(X, "dtype", None) == np.uint8 else [np.float64, np.float32]
        X = check_rows(self, X, reset=reset, dtype=dtype)
        if reset:
            self._in_shape = tuple(X.shape[1:])
        elif tuple(X.shape[1:]) != self._in_shape:
            raise ValueError(
                f"X has samples of shape {tuple(X.shape[1:])}, but ModuleFeatures is expecting "
                f"samples of shape {self._in_shape}."
            )
        return X

    def _find(self, X: Any) -> tuple[nn.Module, Any]:
        source = unwrap(self.module)
        if isinstance(source, nn.Module):
            if any(isinstance(one, UninitializedParameter) for one in source.parameters()):
                raise ValueError(
                    "The 'module' must have its weights. Got one that waits for its first rows; "
                    "call it once before."
                )
            like = next(source.parameters(), None)
            recipe = read_recipe(source).bind(X, 1)
            return source, recipe.dtype if like is None else like.dtype
        if isinstance(source, NeuralNetClassifier) and is_fitted(source):
            return source.module_, next(source.module_.parameters()).dtype
        if isinstance(source, BaseNetworkClassifier):
            check_is_fitted(source)
            networks = list(source._networks())
            if len(networks) != 1:
                raise ValueError(
                    f"The 'module' must have one network. Got {len(networks)}; take a member, such "
                    "as ensemble[0]."
                )
            return networks[0], source._recipe.dtype
        recipe = read_recipe(source).bind(X, 1)
        return recipe.build(root_seed(self.random_state)).eval(), recipe.dtype

    def _look(self, X: Any) -> np.ndarray:
        rows = Rows(X, self._dtype)
        with naming("module", "be able to take the rows of X"):
            found = teacher_features([self.module_], {"layer": self.layer}, rows)
        return found["layer"][:, 0].numpy()

    def transform(self, X: Any) -> np.ndarray:
        """Return what the layer puts out.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows of the shape seen in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, ...)
            In the layer's own shape: ``(n_samples, channels, height, width)`` of feature maps.
        """
        check_is_fitted(self)
        return self._look(self._check(X, reset=False))
