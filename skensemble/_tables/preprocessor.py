"""Raw tables as one array of numbers, flags and codes."""

from __future__ import annotations

import numbers
from collections import Counter
from collections.abc import Container, Iterator
from itertools import repeat
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags, gen_batches
from sklearn.utils.validation import check_is_fitted, validate_data

from skensemble._arguments import as_numpy, naming
from skensemble._private import Interval, StrOptions, check_feature_names_in, fit_context
from skensemble._tables.checks import check_state
from skensemble._tables.columns import (
    NUMERIC_KINDS,
    as_floats,
    as_keys,
    check_frame,
    frame_kind,
    kind_of,
    read_column,
    rows_of,
)

__all__ = ["TablePreprocessor"]

_AUTO_EMBED = 12
# Quantiles of so many values are known to a third of a percent.
_MOST_DRAWN = 100_000
# Values beyond are drawn in where quartiles are taken, so that no difference overflows.
_LARGEST = 1e150
# Far beyond where the smooth clip is flat, and its square is finite.
_FAR = 1e6
# Rows at a time: their columns stay in the processor's cache.
_BLOCK = 8192


class TablePreprocessor(TransformerMixin, BaseEstimator):
    r"""Raw tables as one array for a network: numbers, then flags, then codes.

    It reads numbers, booleans, categories, strings, dates and durations, with values missing,
    from pandas, polars and arrays, and tells apart what a column holds by its dtype; of columns
    of objects, by their values.

    - *Numbers* are scaled robustly and clipped smoothly, as RealMLP does [1]_:
      :math:`z = (x - m) / s`, then :math:`z / \sqrt{1 + (z / 3)^2}`, where m is the median and
      s the distance of the quartiles, or half the range where the quartiles coincide. Dates and
      durations are numbers of days. A missing number becomes 0, and where `fit` saw some, a
      flag tells so. A column of one value becomes no number.
    - *Categories* and booleans are named by strings. One that is seen fewer than `min_count`
      times is rare; rare and unseen ones are all one, "other". "Missing" is a category like
      others. Two categories in all become one flag of -1 and 1. More become one flag each, all
      of them 0 for "other", or one column of codes, 0 for "other".
    - A column in which `fit` saw no value, or one category alone, is left out.

    Parameters
    ----------
    embed : bool, int or "auto", default=False
        Which categories become codes, to be looked up in a network's embeddings: none, all with
        more than two, or those with more than this number, "auto" being 12. A model that is not
        told which columns are codes takes them for numbers.
    min_count : int or "auto", default="auto"
        Fewer rows than this make a category rare. "auto" is a hundredth of the rows, but at
        least 2 and at most 10.

    Attributes
    ----------
    kinds_ : list of str
        What each column holds: "number", "date", "duration", "boolean", "category", or "empty"
        where no value was seen.
    encodings_ : list of str
        What each column becomes: "scaled", "sign" (one flag of -1 and 1), "one-hot", "code" or
        "none".
    center_, scale_ : ndarray of shape (`n_features_in_`,)
        Median and scale of numbers, NaN for others. A scale of 0 marks a column of one value.
    indicators_ : ndarray of bool of shape (`n_features_in_`,)
        Numbers of which some were missing, which have a flag.
    categories_ : list of list
        Names of each column's categories, but for "other", None last where "missing" is one.
        Code k is for ``categories_[column][k - 1]``; empty lists for numbers.
    layout_ : dict
        What the columns of the output are, in order: how many are "numeric", how many "flags",
        and the "cardinalities" of the codes, a tuple.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where `X` had names that are strings.

    References
    ----------
    .. [1] Holzmüller, Grinsztajn and Steinwart, "Better by default: strong pre-tuned MLPs and
       boosted trees on tabular data", 2024.

    Examples
    --------
    >>> import pandas as pd
    >>> from skensemble.preprocessing import TablePreprocessor
    >>> X = pd.DataFrame({"age": [20, 30, None, 40], "city": ["Rome", "Oslo", "Rome", "Oslo"]})
    >>> table = TablePreprocessor().set_output(transform="pandas").fit(X)
    >>> table.transform(X.assign(city=["Rome", "Oslo", "Lima", None])).round(2)
        age  age_missing  city_Rome
    0 -0.95          0.0        1.0
    1  0.00          0.0       -1.0
    2  0.00          1.0        0.0
    3  0.95          0.0        0.0
    >>> table.layout_
    {'numeric': 1, 'flags': 2, 'cardinalities': ()}
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "embed": [
            StrOptions({"auto"}), "boolean", Interval(numbers.Integral, 2, None, closed="left"),
        ],
        "min_count": [StrOptions({"auto"}), Interval(numbers.Integral, 1, None, closed="left")],
    }  # fmt: skip

    def __init__(self, *, embed: Any = False, min_count: Any = "auto") -> None:
        self.embed = embed
        self.min_count = min_count

    # -- fit -----------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> TablePreprocessor:
        """Find out what the columns hold, how they are scaled and which categories there are.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.

        Returns
        -------
        TablePreprocessor
            The fitted transformer.
        """
        X = self._check(X, reset=True)
        width = X.shape[1]
        self.kinds_: list[str] = []
        self.encodings_: list[str] = []
        self.categories_: list[list[str | None]] = [[] for _ in range(width)]
        self.center_, self.scale_ = np.full((2, width), np.nan)
        self.indicators_ = np.zeros(width, bool)
        for at, name in enumerate(self._names()):
            values, declared = read_column(X, at)
            kind = kind_of(values, declared)
            self.kinds_.append(kind)
            if kind in NUMERIC_KINDS:
                self.encodings_.append(self._fit_numbers(as_floats(values, kind, name), at))
            elif kind == "empty":
                self.encodings_.append("none")
            else:
                self.encodings_.append(self._fit_categories(as_keys(values, kind, name), at))
        self._lay_out()
        return self

    def _check(self, X: Any, reset: bool) -> Any:
        """Check shape and names; frames stay as they are, as one array of them is a copy."""
        with naming("X", "be a table of rows and columns"):
            if frame_kind(X) is not None:
                validate_data(self, X, reset=reset, skip_check_array=True)
                check_frame(X, self)
                return X
            if isinstance(X, (list, tuple)) and np.asarray(X).dtype.kind in "US":
                X = np.array(X, dtype=object)  # else numbers among strings would become strings
            X = as_numpy(X)
            return validate_data(self, X, reset=reset, dtype=None, ensure_all_finite=False)

    def _names(self) -> list[str]:
        return [str(name) for name in check_feature_names_in(self, None)]

    def _fit_numbers(self, values: np.ndarray, at: int) -> str:
        missing = np.isnan(values)
        self.indicators_[at] = missing.any()
        self.center_[at], self.scale_[at] = _robust_scale(values[~missing])
        return "scaled" if self.scale_[at] > 0 else "none"

    def _fit_categories(self, keys: np.ndarray, at: int) -> str:
        least = self.min_count
        if least == "auto":
            least = min(max(len(keys) // 100, 2), 10)
        counts = Counter(keys.tolist())
        kept = [key for key, count in counts.items() if count >= least]
        # By name, and missing last: not in the order of the rows.
        self.categories_[at] = sorted(kept, key=lambda key: (key is None, key or ""))
        seen = len(kept) + (len(kept) < len(counts))
        if seen < 2:
            return "none"
        if seen == 2:
            return "sign"
        return "code" if seen > self._most_flags() else "one-hot"

    def _most_flags(self) -> float:
        if self.embed == "auto":
            return _AUTO_EMBED
        if isinstance(self.embed, (bool, np.bool_)):
            return 2 if self.embed else np.inf
        return self.embed

    def _lay_out(self) -> None:
        """Find the place of each column's numbers, flags and codes in the output."""
        scaled, one_hot, sign, code = (
            np.array([encoding == name for encoding in self.encodings_])
            for name in ("scaled", "one-hot", "sign", "code")
        )
        sizes = np.array([len(categories) for categories in self.categories_])
        widths = np.stack([scaled, one_hot * sizes + sign + self.indicators_, code]).astype(int)
        stops = np.cumsum(widths).reshape(widths.shape)
        self._places = stops - widths
        self._n_features_out = int(stops[-1, -1])
        self.layout_ = {
            "numeric": int(widths[0].sum()),
            "flags": int(widths[1].sum()),
            "cardinalities": tuple(int(size) + 1 for size in sizes[code]),
        }

    # -- transform -----------------------------------------------------------------------

    def transform(self, X: Any) -> np.ndarray:
        """Return numbers, flags and codes.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows with the columns seen in `fit`.

        Returns
        -------
        ndarray of float32 of shape (n_samples, n_features_out)
            Columns as `layout_` describes them.
        """
        check_is_fitted(self)
        X = self._check(X, reset=False)
        out = np.zeros((X.shape[0], self._n_features_out), np.float32)
        for rows in gen_batches(X.shape[0], _BLOCK):
            self._fill(rows_of(X, rows), out[rows])
        return out

    def _fill(self, X: Any, out: np.ndarray) -> None:
        """Write some rows' columns to their places, which hold zeros."""
        for at, name in enumerate(self._names()):
            kind, encoding = self.kinds_[at], self.encodings_[at]
            numeric, flags, code = self._places[:, at]
            if kind in NUMERIC_KINDS:
                values = as_floats(read_column(X, at)[0], kind, name)
                if encoding == "scaled":
                    out[:, numeric] = _smooth_clip(values, self.center_[at], self.scale_[at])
                if self.indicators_[at]:
                    out[:, flags] = np.isnan(values)
            elif encoding != "none":
                codes = self._codes(as_keys(read_column(X, at)[0], kind, name), at)
                if encoding == "code":
                    out[:, code] = codes
                else:
                    table = _flag_table(encoding, len(self.categories_[at]))
                    out[:, flags : flags + table.shape[1]] = table[codes]

    def _codes(self, keys: np.ndarray, at: int) -> np.ndarray:
        """Return 0 for other, or one more than the category's place."""
        places = {key: place for place, key in enumerate(self.categories_[at], 1)}
        return np.fromiter(map(places.get, keys, repeat(0)), dtype=np.intp, count=len(keys))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns of the output.

        Parameters
        ----------
        input_features : array-like of str or None
            Names of the features, where `fit` saw none.

        Returns
        -------
        ndarray of str
            The feature's own name for numbers and codes; with ``_missing`` for missing
            values and ``_`` and the category for flags of it. A name that is taken gets ``_``
            more.
        """
        check_is_fitted(self)
        names = check_feature_names_in(self, input_features)
        found: dict[str, None] = {}
        for encoding in ("scaled", "flags", "code"):
            for at, name in enumerate(names):
                for new in self._flag_names(at, name) if encoding == "flags" else [name]:
                    if encoding in ("flags", self.encodings_[at]):
                        found[_untaken(str(new), found)] = None
        return np.array(list(found), dtype=object)

    def _flag_names(self, at: int, name: str) -> Iterator[str]:
        if self.indicators_[at]:
            yield f"{name}_missing"
        flagged = {"one-hot": self.categories_[at], "sign": self.categories_[at][-1:]}
        for category in flagged.get(self.encodings_[at], []):
            yield f"{name}_missing" if category is None else f"{name}_{category}"

    # -- state ---------------------------------------------------------------------------

    def _to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what `fit` found, in JSON's values and in arrays."""
        check_is_fitted(self)
        about = {
            # NumPy's numbers, as searches set them, are not JSON's.
            "params": {name: np.array(one).item() for name, one in self.get_params().items()},
            "kinds": self.kinds_,
            "encodings": self.encodings_,
            "categories": self.categories_,
            "feature_names": getattr(self, "feature_names_in_", np.array([])).tolist(),
        }
        names = ("center", "scale", "indicators")
        return about, {name: getattr(self, f"{name}_") for name in names}

    @classmethod
    def _from_state(cls, about: dict[str, Any], arrays: dict[str, np.ndarray]) -> TablePreprocessor:
        """Return the fitted transformer of a state."""
        check_state(about, arrays)
        new = cls(**about["params"])
        new.kinds_, new.encodings_ = list(about["kinds"]), list(about["encodings"])
        new.categories_ = [list(categories) for categories in about["categories"]]
        for name in ("center", "scale", "indicators"):
            setattr(new, f"{name}_", np.asarray(arrays[name]))
        new.n_features_in_ = len(new.kinds_)
        if about["feature_names"]:
            new.feature_names_in_ = np.array(about["feature_names"], dtype=object)
        new._lay_out()
        return new

    def __sklearn_tags__(self) -> Tags:
        """Say that strings, categories and missing values are taken, and float32 returned."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether the columns of the output are known."""
        return hasattr(self, "layout_")


def _robust_scale(values: np.ndarray) -> tuple[float, float]:
    """Return the median and the distance of the quartiles, or half the range where it is 0."""
    values = np.clip(values, -_LARGEST, _LARGEST)
    drawn = values
    if len(values) > _MOST_DRAWN:
        # Always the same rows: a fit is a function of its data.
        drawn = values[np.random.default_rng(0).integers(len(values), size=_MOST_DRAWN)]
    low, center, high = np.quantile(drawn, [0.25, 0.5, 0.75])
    return center, high - low or (values.max() - values.min()) / 2


def _smooth_clip(values: np.ndarray, center: float, scale: float) -> np.ndarray:
    """Scale, and bend to within 3; missing values become 0, the median's place."""
    with np.errstate(over="ignore"):
        z = np.clip((values - center) / scale, -_FAR, _FAR)
    z /= np.sqrt(1 + (z / 3) ** 2)
    z[np.isnan(z)] = 0
    return z


def _flag_table(encoding: str, n_categories: int) -> np.ndarray:
    """Return the flags of each code, other first.

    Two in all have opposite signs; where both have names, other is between them.
    """
    if encoding == "sign":
        return np.array([[-1.0], [1.0]] if n_categories == 1 else [[0.0], [-1.0], [1.0]])
    return np.eye(n_categories + 1)[:, 1:]


def _untaken(name: str, taken: Container[str]) -> str:
    while name in taken:
        name += "_"
    return name
