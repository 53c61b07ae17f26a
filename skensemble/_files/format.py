"""The file: tensors and one JSON header."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from torch import Tensor

from skensemble.nn._states import with_versions

FORMAT = 2
# Of the first, what is put around a module stands under names of its own.
READABLE = (1, FORMAT)


_KEY = "skensemble"


def _plain_extra(extra: dict[str, Any]) -> dict[str, Any]:
    """Return extra state, of which JSON must give back exactly what it took."""
    for name, value in extra.items():
        if not is_json(value) or json.loads(json.dumps(value)) != value:
            raise ValueError(
                "save() writes extra state that is made of numbers, strings, lists and dicts with "
                f"strings for keys. Got a {type(value).__name__} as {name!r} of the module; use "
                "pickle or joblib for it."
            )
    return extra


def _labels(labels: np.ndarray) -> dict[str, Any]:
    kind = labels.dtype.kind
    if kind == "O" and all(isinstance(label, str) for label in labels):
        kind = "O"
    elif kind not in "biufU":
        raise ValueError(
            f"save() writes labels that are bool, int, float or str. Got dtype {labels.dtype}; "
            "use pickle or joblib for them."
        )
    return {"dtype": "object" if kind == "O" else labels.dtype.str, "values": labels.tolist()}


def _member_state(about: dict[str, Any], tensors: dict[str, Tensor], number: int) -> dict[str, Any]:
    prefix = f"{number}/"
    state = {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
    if "versions" not in about:  # files written before they were kept
        return state
    return with_versions({**state, **about["extra"][number]}, about["versions"][number])


def _array(about: dict[str, Any]) -> np.ndarray:
    return np.array(about["values"], dtype=np.dtype(about["dtype"]))


# -- write -------------------------------------------------------------------------------
def to_json(value: Any, what: str) -> str:
    try:
        return json.dumps(value)
    except TypeError as error:
        raise ValueError(
            f"save() writes plain numbers, strings, lists and dicts; {what} holds something "
            f"else ({error}). Use pickle or joblib for it."
        ) from error


def is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True
