"""The file: named tensors, and one JSON header that says what they are."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from skensemble._files import digest
from skensemble._files.checks import require_plain
from skensemble._files.errors import Misfit, must, within
from skensemble._files.schema import check_header
from skensemble._files.upgrades import upgrade
from skensemble._records.atomic import replacing
from skensemble.nn._states import is_extra, with_versions

FORMAT = 3
# Of the first, what is put around a module stands under names of its own; the first two have no
# digest.
READABLE = (1, 2, FORMAT)
_KEY = "skensemble"
# Characters of a header, which becomes some ten times as many bytes of objects.
_LONGEST = 1 << 26
_OS_ERROR = re.compile(r"\(os error (?P<new>\d+)\)|\bOs \{ code: (?P<old>\d+)")


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
    about = {"format": FORMAT, **state.about}
    header = {_KEY: to_json(about, "the estimator"), digest.KEY: digest.EMPTY}
    with replacing(path) as file:
        try:
            save_file(state.tensors, file, metadata=header)
        except SafetensorError as error:  # which tells of the system's errors by their number
            number = _OS_ERROR.search(str(error))
            if number is None:
                raise
            raise OSError(int(number["new"] or number["old"]), str(error)) from error
        digest.seal(file)


def read(path: Any, module: Any) -> State:
    """Read a file of any format there was, and check all that is known without its class."""
    with Path(path).open("rb"):
        pass  # what the system says of files that are missing or locked, it says here
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            about = _header(metadata)
            if digest.KEY in metadata or about["format"] == FORMAT:
                digest.check(path, metadata.get(digest.KEY))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise _not_ours(error) from error
    with within(""):
        about = upgrade(about)
    check_header(about)
    return State(about, tensors, path, module)


def _header(metadata: dict[str, str]) -> dict[str, Any]:
    """Return the JSON that says what the tensors are, of which the format is known."""
    told = metadata.get(_KEY)
    if told is None or not set(metadata) <= {_KEY, digest.KEY}:
        raise _not_ours(f"its metadata are {sorted(metadata)}")
    if len(told) > _LONGEST:
        raise must(_KEY, f"at most {_LONGEST} characters long", len(told))
    try:
        about = json.loads(told, object_pairs_hook=_once)
    except Misfit:
        raise
    except (ValueError, RecursionError) as error:
        raise _not_ours(error) from error
    require_plain(about)
    if not isinstance(about, dict):
        raise _not_ours(f"its header is a {type(about).__name__}")
    if isinstance(about.get("format"), bool) or about.get("format") not in READABLE:
        raise Misfit(
            "format", f"It must have format {', '.join(map(str, READABLE[:-1]))} or {FORMAT}. "
            f"Got {about.get('format')!r}; a newer skensemble may read it.",
        )  # fmt: skip
    return about


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse names that are said twice, of which readers may take either."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise Misfit(next(name for name in names if names.count(name) > 1), "It is said twice.")
    return found


def _not_ours(reason: Any) -> Misfit:
    return Misfit(
        "", "It must be a file written by save() of a skensemble estimator. "
        f"Reading it failed: {reason}.",
    )  # fmt: skip


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
    """Describe labels as JSON; see `schema.array`."""
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
    """Describe numbers as JSON, NaN as None; see `schema.array`."""
    plain = [None if value != value else value for value in values.ravel().tolist()]
    return {"dtype": values.dtype.str, "values": plain}


def shared_names(first: dict[str, Any], state: dict[str, Any]) -> list[str]:
    """Return what of a member's state is the first one's in memory, which a file has once."""
    if state is first:
        return []
    return [
        name
        for name, value in state.items()
        if not is_extra(name) and name in first and _is_same_place(first[name], value)
    ]


def _is_same_place(one: Tensor, other: Tensor) -> bool:
    same = one.data_ptr() == other.data_ptr() and one.device == other.device
    return same and one.numel() > 0 and one.shape == other.shape and one.stride() == other.stride()


def member_state(about: dict[str, Any], tensors: dict[str, Tensor], number: int) -> dict[str, Any]:
    """Return the state dict of one member, of which parts may be the first one's."""
    prefix = f"{number}/"
    state = {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
    for name in about["shared"][number] if "shared" in about else ():
        if name in state or f"0/{name}" not in tensors:
            raise must(f"shared[{number}]", "names of what the first member has, said once", name)
        state[name] = tensors[f"0/{name}"]
    return with_versions({**state, **about["extra"][number]}, about["versions"][number])


def to_json(value: Any, what: str) -> str:
    """Return JSON, or say what has none."""
    try:
        return json.dumps(value, default=_number)
    except TypeError as error:
        raise ValueError(
            f"save() writes plain numbers, strings, lists and dicts; {what} holds something "
            f"else ({error}). Use pickle or joblib for it."
        ) from error


def is_json(value: Any) -> bool:
    """Whether JSON can say something."""
    try:
        json.dumps(value, default=_number)
    except TypeError:
        return False
    return True


def _number(value: Any) -> Any:
    """Return a number of NumPy as one of Python, which holds it exactly."""
    if isinstance(value, (np.bool_, np.integer, np.float16, np.float32)):
        return value.item()
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
