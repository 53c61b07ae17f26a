"""The file: named tensors, and one JSON header that says what they are."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from skensemble.nn._states import with_versions

FORMAT = 2
# Of the first, what is put around a module stands under names of its own.
READABLE = (1, FORMAT)
_KEY = "skensemble"


@dataclass
class State:
    """What a file says of an estimator.

    Attributes
    ----------
    about : dict
        Plain JSON; ``class`` names who wrote it.
    tensors : dict of Tensor
        Named ``member/parameter``.
    path : path-like
        The file, for messages.
    module : Module class, factory, instance or list of them, or None
        What the reader says of architectures that are not ours.
    """

    about: dict[str, Any]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    path: Any = None
    module: Any = None


def write(state: State, path: str | os.PathLike[str]) -> None:
    """Write a state; a file that is there is replaced at once or not at all."""
    path = Path(path)
    about = {"format": FORMAT, **state.about}
    header = {_KEY: to_json(about, "the estimator")}
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        file = Path(folder) / "file"
        save_file(state.tensors, file, metadata=header)
        os.replace(file, path)


def read(path: Any, module: Any) -> State:
    """Read a file of any format there was."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = json.loads(metadata[_KEY])
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} must be a file written by save() of a skensemble estimator. "
            f"Reading it failed: {error!r}."
        ) from error
    if about.get("format") not in READABLE:
        raise ValueError(
            f"{path} must have format {' or '.join(map(str, READABLE))}. "
            f"Got {about.get('format')!r}; a newer skensemble may read it."
        )
    if about["format"] == 1:
        about = _of_format_1(about)
    return State(about, tensors, path, module)


def _of_format_1(about: dict[str, Any]) -> dict[str, Any]:
    """Return a header of format 1 as format 2 has it: who prunes stands outside."""
    about = dict(about)
    shared, around = about.pop("shared", None), about.pop("around", None)
    about["source"] = shared and {"class": "BatchEnsembleClassifier", "params": shared}
    about["found"] = dict(about["found"])
    if about["class"] == "DeepEnsembleClassifier":
        about["found"] |= {"_root": about["root"], "_numbers": about["numbers"]}
    return about if around is None else {"class": "PrunedClassifier", **around, "pruned": about}


# -- what JSON and tensors hold ------------------------------------------------------------


def plain_extra(extra: dict[str, Any]) -> dict[str, Any]:
    """Return extra state, of which JSON must give back exactly what it took."""
    for name, value in extra.items():
        if not is_json(value) or json.loads(json.dumps(value)) != value:
            raise ValueError(
                "save() writes extra state that is made of numbers, strings, lists and dicts with "
                f"strings for keys. Got a {type(value).__name__} as {name!r} of the module; use "
                "pickle or joblib for it."
            )
    return extra


def plain_labels(labels: np.ndarray) -> dict[str, Any]:
    """Describe labels as JSON; see `array_of`."""
    kind = labels.dtype.kind
    if kind == "O" and all(isinstance(label, str) for label in labels):
        kind = "O"
    elif kind not in "biufU":
        raise ValueError(
            f"save() writes labels that are bool, int, float or str. Got dtype {labels.dtype}; "
            "use pickle or joblib for them."
        )
    return {"dtype": "object" if kind == "O" else labels.dtype.str, "values": labels.tolist()}


def plain_array(values: np.ndarray) -> dict[str, Any]:
    """Describe numbers as JSON, NaN as None; see `array_of`."""
    plain = [None if value != value else value for value in values.ravel().tolist()]
    return {"dtype": values.dtype.str, "values": plain}


def array_of(about: dict[str, Any]) -> np.ndarray:
    """Return the labels or numbers that were described."""
    dtype = np.dtype(about["dtype"])
    values = about["values"]
    if dtype.kind == "f":
        values = [np.nan if value is None else value for value in values]
    return np.array(values, dtype=dtype)


def member_state(about: dict[str, Any], tensors: dict[str, Tensor], number: int) -> dict[str, Any]:
    """Return the state dict of one member."""
    prefix = f"{number}/"
    state = {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
    if "versions" not in about:  # files written before they were kept
        return state
    return with_versions({**state, **about["extra"][number]}, about["versions"][number])


def to_json(value: Any, what: str) -> str:
    """Return JSON, or say what has none."""
    try:
        return json.dumps(value)
    except TypeError as error:
        raise ValueError(
            f"save() writes plain numbers, strings, lists and dicts; {what} holds something "
            f"else ({error}). Use pickle or joblib for it."
        ) from error


def is_json(value: Any) -> bool:
    """Whether JSON can say something."""
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True
