"""A part of the channels, as a transformer."""

from __future__ import annotations

import numbers
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skensemble._base.checks import check_rows
from skensemble._private import Interval, StrOptions, check_feature_names_in, fit_context
from skensemble.nn._channels import part_columns, require_channels

__all__ = ["ChannelSplit"]

_LIKE_IMAGES = (np.float64, np.float32, np.uint8)


class ChannelSplit(TransformerMixin, BaseEstimator):
    """One of `n_splits` parts of the channels, or means of neighbouring channels.

    The channel-split experiment of Allen-Zhu and Li [1]_: a single network that is given a part
    of another network's channels loses accuracy, an ensemble over parts does not.

    Parameters
    ----------
    n_splits : int, default=2
        Number of parts of consecutive channels (axis 1), or channels a mean is taken of.
    part : int, default=0
        Which part; not used where channels are averaged.
    mode : {"split", "average"}, default="split"
        One part, or the means of `n_splits` neighbours each; both leave ``1 / n_splits`` of the
        channels.

    Attributes
    ----------
    n_features_in_ : int
        Number of channels seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
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
    array([[1.5, 3.5]])
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
        X = check_rows(self, X, dtype=_LIKE_IMAGES)
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
        """Return the part, or the means of neighbours.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_channels, ...)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_channels // n_splits, ...)
            A part, or means; channels that are left over at the end are in none.
        """
        check_is_fitted(self)
        X = check_rows(self, X, reset=False, dtype=_LIKE_IMAGES)
        if self.mode == "split":
            return X[:, self._columns]
        whole = X[:, : self._size * self.n_splits]
        kind = np.float32 if X.dtype == np.uint8 else X.dtype
        shape = (len(X), self._size, self.n_splits, *X.shape[2:])
        return whole.reshape(shape).mean(2, dtype=kind)

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
