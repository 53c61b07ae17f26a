"""Columns of raw tables: read from any container, told apart by what they hold.

A column is a one-dimensional array. What it holds is told from its dtype, and of objects from
the values that are not missing, so that one table has the same kinds in pandas, in polars and
in an array.
"""

from __future__ import annotations

import datetime
import numbers
import sys
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import numpy as np
from sklearn.utils import check_array

__all__ = [
    "NUMERIC_KINDS",
    "as_floats",
    "as_keys",
    "check_frame",
    "frame_kind",
    "kind_of",
    "read_column",
    "rows_of",
]

# What is a number to a network; booleans are categories of two.
NUMERIC_KINDS = ("number", "date", "duration")
_PLURALS = {kind: f"{kind}s" for kind in (*NUMERIC_KINDS, "boolean")}
# NumPy's letters of the dtypes that hold nothing else.
_LETTERS = {"number": "biuf", "date": "M", "duration": "m", "boolean": "b"}
_BOOLS = (bool, np.bool_)
_DURATIONS = (datetime.timedelta, np.timedelta64)
_TYPES: dict[str, tuple[type, ...]] = {
    "boolean": _BOOLS,
    "duration": _DURATIONS,
    "date": (datetime.date, np.datetime64),
    "number": (numbers.Real, Decimal, np.bool_),
}
_OFTEN_MISSING = (float, np.floating, Decimal, np.datetime64, np.timedelta64)
_DAY = 86_400e6  # microseconds


# -- containers --------------------------------------------------------------------------


def frame_kind(X: Any) -> str | None:
    """Return "pandas" or "polars" for a data frame of theirs, None for anything else."""
    for name in ("pandas", "polars"):
        library = sys.modules.get(name)
        if library is not None and isinstance(X, library.DataFrame):
            return name
    return None


def check_frame(X: Any, estimator: Any) -> None:
    """Refuse a frame without rows or columns in scikit-learn's words."""
    check_array(np.broadcast_to(np.int8(0), X.shape), estimator=estimator)


def rows_of(X: Any, rows: slice) -> Any:
    """Return some rows of an array or a frame."""
    return X.iloc[rows] if frame_kind(X) == "pandas" else X[rows]


def read_column(X: Any, at: int) -> tuple[np.ndarray, bool]:
    """Return one column, and whether its dtype calls it a category."""
    kind = frame_kind(X)
    if kind == "pandas":
        return _from_pandas(X.iloc[:, at])
    if kind == "polars":
        return _from_polars(X[:, at])
    return X[:, at], False


def _from_pandas(series: Any) -> tuple[np.ndarray, bool]:
    dtype = series.dtype
    name = type(dtype).__name__
    if name == "CategoricalDtype":
        return series.astype(object).to_numpy(), True
    if name == "DatetimeTZDtype":
        return series.dt.tz_convert(None).to_numpy(), False
    if not isinstance(dtype, np.dtype) and dtype.kind in "iuf":
        return series.to_numpy(np.float64, na_value=np.nan), False
    return series.to_numpy(), False


def _from_polars(series: Any) -> tuple[np.ndarray, bool]:
    dtype = series.dtype
    if dtype.is_numeric():
        return series.cast(sys.modules["polars"].Float64).to_numpy(), False
    if dtype.is_nested():
        return np.fromiter(series.to_list(), dtype=object, count=len(series)), False
    return series.to_numpy(), type(dtype).__name__ in ("Categorical", "Enum")


# -- kinds -------------------------------------------------------------------------------


def kind_of(values: np.ndarray, declared: bool) -> str:
    """Tell what a column holds.

    "number", "date", "duration", "boolean", "category", or "empty" where every value is missing.
    """
    if values.dtype.kind in "iub" and not declared:
        return "boolean" if values.dtype.kind == "b" else "number"
    if values.dtype.kind == "c":
        raise ValueError("Complex data not supported: give the real and the imaginary parts.")
    objects, missing = _objects(values)
    if missing.all():
        return "empty"
    if declared or values.dtype.kind == "U":
        return "category"
    for kind in _LETTERS:
        if values.dtype.kind in _LETTERS[kind]:
            return kind
    types = set(map(type, objects[~missing]))
    # Durations of NumPy are integers to Python, so the order of _TYPES matters.
    return next((kind for kind in _TYPES if _all_are(types, kind)), "category")


def _all_are(types: Iterable[type], kind: str) -> bool:
    """Tell whether values of these types are of a kind; a duration is no number."""
    refused = _DURATIONS if kind == "number" else ()
    return all(issubclass(one, _TYPES[kind]) and not issubclass(one, refused) for one in types)


def _objects(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values as Python has them, and which are missing."""
    if values.dtype.kind == "f":
        return values, np.isnan(values)
    if values.dtype.kind in "Mm":
        # Finer units would become integers.
        micro = values.astype(f"{values.dtype.kind}8[us]")
        return micro.astype(object), np.isnat(micro)
    if values.dtype.kind == "S":
        values = values.astype(str)
    objects = values.astype(object, copy=False)
    if not any(map(_may_be_missing, set(map(type, objects)))):
        return objects, np.zeros(len(objects), bool)
    return objects, np.fromiter(map(_is_missing, objects), dtype=bool, count=len(objects))


def _may_be_missing(cls: type) -> bool:
    names_missing = ("NoneType", "NAType", "NaTType")
    return cls.__name__ in names_missing or issubclass(cls, _OFTEN_MISSING)


def _is_missing(value: Any) -> bool:
    if isinstance(value, _OFTEN_MISSING):
        return bool(value != value)
    return _may_be_missing(type(value))


# -- values ------------------------------------------------------------------------------


def as_floats(values: np.ndarray, kind: str, name: str) -> np.ndarray:
    """Return numbers, days since 1970 or days, with NaN where one is missing."""
    if values.dtype.kind in _LETTERS[kind]:
        found = _days(values) if kind != "number" else values.astype(np.float64)
    else:
        found = _from_objects(values, kind, name)
    if np.isinf(found).any():
        raise ValueError(
            f"The column {name!r} must have finite values, or NaN where one is missing. Got "
            f"{found[np.isinf(found)][0]} instead, or a number too large for float64; replace it."
        )
    return found


def _from_objects(values: np.ndarray, kind: str, name: str) -> np.ndarray:
    objects, missing = _objects(values)
    _require_kind(objects[~missing], kind, name)
    found = np.full(len(objects), np.nan)
    if kind == "number":
        found[~missing] = [_float(value) for value in objects[~missing]]
    else:
        times = [_naive(value) for value in objects[~missing]]
        found[~missing] = _days(np.array(times, f"{_LETTERS[kind]}8[us]"))
    return found


def _require_kind(values: np.ndarray, kind: str, name: str) -> None:
    if not _all_are(set(map(type, values)), kind):
        wrong = next(value for value in values if not _all_are([type(value)], kind))
        raise _other_kind(wrong, kind, name)


def _other_kind(value: Any, kind: str, name: str) -> ValueError:
    value = value.item() if isinstance(value, np.generic) else value
    return ValueError(
        f"The column {name!r} must hold {_PLURALS[kind]}, as in fit. Got {value!r} instead; "
        "convert the column, or fit again."
    )


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return np.inf


def _naive(value: Any) -> Any:
    """Return a time in UTC without its zone, as NumPy wants it."""
    if getattr(value, "tzinfo", None) is None:
        return value
    return value.astimezone(datetime.UTC).replace(tzinfo=None)


def _days(values: np.ndarray) -> np.ndarray:
    micro = values.astype(f"{values.dtype.kind}8[us]")
    return np.where(np.isnat(micro), np.nan, micro.astype(np.int64) / _DAY)


def as_keys(values: np.ndarray, kind: str, name: str) -> np.ndarray:
    """Return strings that name the categories, with None where one is missing."""
    if values.dtype.kind == "b":
        return np.array(["False", "True"], dtype=object)[values.astype(np.intp)]
    objects, missing = _objects(values)
    if kind != "boolean" and values.dtype.kind in "OSTU" and set(map(type, objects)) <= {str}:
        return objects
    keys = np.full(len(objects), None, dtype=object)
    if kind == "boolean":
        keys[~missing] = [_truth(value, name) for value in objects[~missing]]
    else:
        keys[~missing] = [_key(value) for value in objects[~missing]]
    return keys


def _truth(value: Any, name: str) -> str:
    """Return a boolean's key; containers with missing values make numbers of booleans."""
    if isinstance(value, _BOOLS) or (isinstance(value, numbers.Real) and value in (0, 1)):
        return str(bool(value))
    raise _other_kind(value, "boolean", name)


def _key(value: Any) -> str:
    """Return a category's key: 1 and 1.0 are one, as a missing value makes floats of integers."""
    if isinstance(value, (*_BOOLS, np.timedelta64)) or not isinstance(value, numbers.Real):
        return str(value)
    if isinstance(value, numbers.Integral):
        return str(int(value))
    number = float(value)
    return str(int(number)) if number.is_integer() else str(number)
