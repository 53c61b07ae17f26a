"""What a fitted transformer's state must be, wherever it comes from."""

from __future__ import annotations

from typing import Any

import numpy as np

from skensemble._tables.columns import NUMERIC_KINDS

_ENCODINGS = {
    **dict.fromkeys(NUMERIC_KINDS, ("scaled", "none")),
    **dict.fromkeys(("boolean", "category"), ("sign", "one-hot", "code", "none")),
    "empty": ("none",),
}


def check_state(about: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Refuse what `TablePreprocessor.fit` cannot have found."""
    width = len(about["kinds"])
    lists = {name: about[name] for name in ("encodings", "categories")}
    for name, values in {**lists, **arrays}.items():
        if len(values) != width:
            raise ValueError(
                f"The {name!r} of a table must be of its {width} columns. Got {len(values)}."
            )
    for name, kind in (("center", "f"), ("scale", "f"), ("indicators", "b")):
        if arrays[name].dtype.kind != kind:
            raise ValueError(f"The {name!r} of a table must not be of {arrays[name].dtype}.")
    columns = zip(
        about["kinds"], about["encodings"], about["categories"],
        arrays["center"], arrays["scale"], arrays["indicators"], strict=True,
    )  # fmt: skip
    for number, column in enumerate(columns):
        _check_column(number, *column)


def _check_column(
    number: int, kind: str, encoding: str, categories: list[Any], center: float, scale: float,
    flagged: bool,
) -> None:  # fmt: skip
    known = _ENCODINGS.get(kind)
    if known is None or encoding not in known:
        raise ValueError(f"Column {number} of a table cannot be {kind!r} and {encoding!r}.")
    if encoding == "scaled" and not (np.isfinite([center, scale]).all() and scale > 0):
        raise ValueError(
            f"Column {number} of a table must be scaled by a finite center and a scale above 0. "
            f"Got {center} and {scale}."
        )
    numeric = kind in NUMERIC_KINDS
    if (flagged and not numeric) or (categories and (numeric or kind == "empty")):
        raise ValueError(f"Column {number} of a table, a {kind!r}, has flags or names it cannot.")
    if len(set(categories)) != len(categories) or None in categories[:-1]:
        raise ValueError(f"Column {number} of a table must have different names, None the last.")
    least, most = {"sign": (1, 2), "one-hot": (1, None), "code": (1, None)}.get(encoding, (0, None))
    if not least <= len(categories) <= (most or len(categories)):
        raise ValueError(f"Column {number} of a table cannot be {encoding!r} of {categories}.")
