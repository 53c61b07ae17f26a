"""Transformers: what a network's layer puts out, and a part of the channels."""

from __future__ import annotations

import numbers
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from skorch import NeuralNetClassifier
from torch import nn

from skensemble._base.classifier import BaseNetworkClassifier
from skensemble._base.features import teacher_features
from skensemble._base.fitted import is_fitted, unwrap
from skensemble._data.rows import Rows
from skensemble._private import Interval, StrOptions, check_feature_names_in, fit_context
from skensemble._recipes.reading import read_recipe
from skensemble._seeding import root_seed
from skensemble.nn._channels import part_columns, require_channels

__all__ = ["ChannelSplit", "ModuleFeatures"]

_LIKE_IMAGES = (np.float64, np.float32, np.uint8)


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
    feature_names_in_ : ndarray of shape (n_features_in_,)
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
        X = validate_data(self, X, reset=reset, dtype=dtype, allow_nd=True)
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


class ChannelSplit(TransformerMixin, BaseEstimator):
    """One of `n_splits` parts of the channels, or the mean of the parts.

    The channel-split experiment of Allen-Zhu and Li [1]_: a single network that is given a part
    of another network's channels loses accuracy, an ensemble over parts does not.

    Parameters
    ----------
    n_splits : int, default=2
        Number of parts of consecutive channels (axis 1).
    part : int, default=0
        Which part; not used where the parts are averaged.
    mode : {"split", "average"}, default="split"
        One part, or the mean over all of them; both leave ``1 / n_splits`` of the channels.

    Attributes
    ----------
    n_features_in_ : int
        Number of channels seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where `X` had names that are strings.

    References
    ----------
    .. [1] Allen-Zhu and Li, "Towards understanding ensemble, knowledge distillation and
       self-distillation in deep learning", 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from skensemble.preprocessing import ChannelSplit
    >>> X = np.array([[1.0, 2.0, 3.0, 4.0]])
    >>> ChannelSplit(2, part=1).fit_transform(X)
    array([[3., 4.]])
    >>> ChannelSplit(2, mode="average").fit_transform(X)
    array([[2., 3.]])
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "n_splits": [Interval(numbers.Integral, 1, None, closed="left")],
        "part": [Interval(numbers.Integral, 0, None, closed="left")],
        "mode": [StrOptions({"split", "average"})],
    }

    def __init__(self, n_splits: int = 2, *, part: int = 0, mode: str = "split") -> None:
        self.n_splits = n_splits
        self.part = part
        self.mode = mode

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> ChannelSplit:
        """Check that the channels can be split.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_channels, ...)
            Rows.
        y : None
            Ignored.

        Returns
        -------
        ChannelSplit
            The fitted transformer.
        """
        X = validate_data(self, X, dtype=_LIKE_IMAGES, allow_nd=True)
        n_channels = X.shape[1]
        require_channels(n_channels, "n_splits", self.n_splits, "ChannelSplit")
        if self.part >= self.n_splits:
            raise ValueError(
                f"The 'part' must be below n_splits={self.n_splits}. Got {self.part} instead."
            )
        self._columns = part_columns(n_channels, self.n_splits, self.part)
        self._size = n_channels // self.n_splits
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the part, or the mean of the parts.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_channels, ...)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_channels // n_splits, ...)
            A part; channels that are left over at the end are in none.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=_LIKE_IMAGES, allow_nd=True)
        if self.mode == "split":
            return X[:, self._columns]
        whole = X[:, : self._size * self.n_splits]
        kind = np.float32 if X.dtype == np.uint8 else X.dtype
        shape = (len(X), self.n_splits, self._size, *X.shape[2:])
        return whole.reshape(shape).mean(1, dtype=kind)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the channels of the part, or ``channelsplit0`` and so on of means.

        Parameters
        ----------
        input_features : array-like of str or None
            Names of the channels, where `fit` saw none.

        Returns
        -------
        ndarray of str
            Names.
        """
        check_is_fitted(self)
        names = check_feature_names_in(self, input_features)
        if self.mode == "split":
            return np.asarray(names, dtype=object)[self._columns]
        return np.asarray([f"channelsplit{at}" for at in range(self._size)], dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether the number of channels is known."""
        return hasattr(self, "_size")
