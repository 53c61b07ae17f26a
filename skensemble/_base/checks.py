"""What arrives, checked."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing, check_consistent_length, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data
from torch import Tensor

from skensemble._arguments import as_numpy, naming
from skensemble._private import Interval, check_sample_weight, check_y

# joblib's numbers of workers, of which 0 is none.
N_JOBS: list[Any] = [
    Interval(numbers.Integral, 1, None, closed="left"),
    Interval(numbers.Integral, None, -1, closed="right"),
    None,
]
# What an error says that rows must be.
ROWS = "be rows that can be read as an array or a table"
# Numbers of an array store that are looked at in one go.
_STORE_CHUNK = 1 << 18


def refuse_mapping(X: Any) -> None:
    """Refuse inputs under several names, as tokenizers return them."""
    if isinstance(X, Mapping) and not hasattr(X, "dtype"):
        names = ", ".join(map(repr, X))
        raise TypeError(
            "X must be one array with a row for each sample. Got a "
            f"{type(X).__name__} of {names} instead; put its arrays into one, as "
            "np.stack([*X.values()], 1), and let the module take it apart, x[:, 0] and so on."
        )


def is_store(X: Any) -> bool:
    """Whether `X` is an array store (HDF5, zarr, ...) that must not be read as a whole."""
    if isinstance(X, (np.ndarray, Tensor)) or hasattr(X, "iloc") or hasattr(X, "tocsr"):
        return False
    if type(X).__module__.split(".")[0] in {"polars", "pyarrow", "scipy", "pandas"}:
        return False
    return all(hasattr(X, name) for name in ("shape", "dtype", "__getitem__", "__len__"))


def require_real(X: Any) -> None:
    """Refuse rows that cannot be taken one by one, are complex, or have a column's name twice."""
    _safe_indexing(X, [0])
    if not getattr(getattr(X, "columns", None), "is_unique", True):
        raise ValueError("Expected names of columns that differ")
    if np.iscomplexobj(X):
        raise ValueError("Complex data not supported")


def check_store(X: Any) -> Any:
    """Check an array store a chunk at a time."""
    if len(X.shape) < 2 or len(X) == 0:
        raise ValueError(
            f"Expected an array of at least 2 axes and 1 row. Got shape={tuple(X.shape)}."
        )
    if np.dtype(X.dtype).kind not in "biuf":
        raise ValueError(f"Input X must hold real numbers. Got the dtype {X.dtype} instead.")
    step = max(1, _STORE_CHUNK // max(1, math.prod(X.shape[1:])))
    for start in range(0, len(X) if np.dtype(X.dtype).kind == "f" else 0, step):
        if not np.isfinite(np.asarray(X[start : start + step])).all():
            raise ValueError(
                f"Input X contains NaN or infinity in rows {start} to {start + step - 1}."
            )
    return X


def check_rows(owner: Any, X: Any, **kwargs: Any) -> Any:
    """Check the rows of a transformer as scikit-learn does."""
    with naming("X", ROWS):
        return validate_data(owner, as_numpy(X), allow_nd=True, **kwargs)


def is_table(X: Any) -> bool:
    """Whether `X` has rows and columns, and is there as a whole: a frame, an array or a list."""
    if hasattr(X, "tocsr") or is_store(X) or is_bytes(X):
        return False
    if hasattr(X, "columns"):
        return True
    shape = getattr(X, "shape", None)
    with naming("X", ROWS):
        return len(np.asarray(X).shape if shape is None else shape) == 2


def table_rows(table: Any, X: Any) -> np.ndarray:
    """Return the rows of a raw table as networks are given them, in at least one column."""
    found = table.transform(X)
    return found if found.shape[1] else np.zeros((len(found), 1), found.dtype)


def surely_finite(X: np.ndarray) -> bool:
    """Whether one pass shows `X` to be finite; a "no" leaves the question open."""
    if not X.flags.c_contiguous:
        return False
    with np.errstate(all="ignore"):
        flat = X.reshape(-1)
        return bool(np.isfinite(np.dot(flat, flat)))


def is_bytes(X: Any) -> bool:
    """Whether `X` holds unsigned bytes, as images do."""
    return getattr(X, "dtype", None) == np.uint8


# -- labels and weights ----------------------------------------------------------------------


def check_labels(y: Any, n_rows: int, estimator: Any) -> np.ndarray:
    """Check labels as scikit-learn does."""
    with naming("y", "be one label a row"):
        y = check_y(as_numpy(y), estimator=estimator)
        check_consistent_length(range(n_rows), y)
        check_classification_targets(y)
        if y.dtype.kind == "O":
            np.unique(y)  # which labels that cannot be compared do not have
    return y


def check_weights(sample_weight: Any, n_rows: int, X: Any) -> np.ndarray | None:
    """Check sample weights; they have the dtype that the networks compute in."""
    if sample_weight is None:
        return None
    dtype = weight_dtype(X)
    stand_in = np.empty((n_rows, 1), dtype=dtype)
    with naming("sample_weight", "be one number of at least 0 a row"):
        return check_sample_weight(
            as_numpy(sample_weight), stand_in, dtype=dtype, ensure_non_negative=True
        )


def weight_dtype(X: Any) -> Any:
    """Return the dtype of weights beside `X`."""
    return np.float64 if X.dtype == np.float64 else np.float32


def weigh_classes(
    class_weight: Any, weight: np.ndarray, y: np.ndarray, rows: np.ndarray, owner: str
) -> np.ndarray:
    """Multiply weights of `rows` with those of their classes."""
    for label, value in class_weight.items() if isinstance(class_weight, dict) else ():
        if not (isinstance(value, numbers.Real) and 0 <= float(value) < math.inf):
            raise ValueError(
                f"The 'class_weight' parameter of {owner} must have finite numbers of at least 0. "
                f"Got {value!r} for the class {label!r} instead."
            )
    present = np.unique(y[rows])
    by_class = compute_class_weight(
        class_weight, classes=present, y=y[rows], sample_weight=weight[rows]
    )
    weight = weight.copy()
    weight[rows] *= by_class[np.searchsorted(present, y[rows])]
    return weight
