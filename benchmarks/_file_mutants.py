"""Damaged and forged files, each made of a good one by a seed.

A *damaged* file has bytes that nobody meant: its digest is as it was. A *forged* one was written
by somebody who counted the digest anew; it may be any model, but it must be one.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

Path = tuple[Any, ...]
ZEROS = "0" * 64


class Mutant(NamedTuple):
    """What became of a file."""

    how: str
    data: bytes
    forged: bool


class Parts(NamedTuple):
    """A file of safetensors, taken apart."""

    header: dict[str, Any]
    about: dict[str, Any]
    body: bytes


def take_apart(data: bytes) -> Parts:
    """Return header, what it says of the estimator, and the tensors' bytes."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    return Parts(header, json.loads(header["__metadata__"]["skensemble"]), data[8 + length :])


def put_together(header: dict[str, Any], about: Any, body: bytes) -> bytes:
    """Return a file; `about` may be JSON's text, where no object says what is meant."""
    header = copy.deepcopy(header)
    said = about if isinstance(about, str) else json.dumps(about)
    header["__metadata__"]["skensemble"] = said
    if "sha256" in header["__metadata__"]:
        header["__metadata__"]["sha256"] = ZEROS
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body


# -- damage ----------------------------------------------------------------------------------


def flip(data: bytes, draw: np.random.Generator) -> bytes:
    """Flip one to eight bits, more often in the header."""
    out = bytearray(data)
    end = len(out) if draw.random() < 0.5 else 8 + int.from_bytes(data[:8], "little")
    for _ in range(int(draw.choice([1, 1, 1, 2, 8]))):
        out[int(draw.integers(end))] ^= 1 << int(draw.integers(8))
    return bytes(out)


def truncate(data: bytes, draw: np.random.Generator) -> bytes:
    """Leave the end out."""
    return data[: int(draw.integers(len(data)))]


def extend(data: bytes, draw: np.random.Generator) -> bytes:
    """Put bytes behind it."""
    return data + draw.bytes(int(draw.integers(1, 100)))


def overwrite(data: bytes, draw: np.random.Generator) -> bytes:
    """Write random bytes, zeros, or another part over a part."""
    at, size = int(draw.integers(len(data))), int(draw.integers(1, 200))
    other = int(draw.integers(len(data)))
    new = [draw.bytes(size), bytes(size), data[other : other + size]][int(draw.integers(3))]
    return data[:at] + new + data[at + size :]


def relength(data: bytes, draw: np.random.Generator) -> bytes:
    """Say another length of the header."""
    length = int(draw.choice([0, 1, 2**31, 2**40, 2**62, len(data), len(data) * 2]))
    return length.to_bytes(8, "little") + data[8:]


DAMAGES = (flip, flip, flip, truncate, extend, overwrite, relength)

# -- headers ---------------------------------------------------------------------------------

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 7, 10**3, 10**6, 10**9, 2**31, 2**63, 10**30, -(10**9),
    0.5, -0.5, 1e-300, 1e300, math.nan, math.inf, -math.inf, "", "a", "auto", "cpu", "cuda",
    "meta", "\u0000", "x" * 10_000, "../../etc/passwd", "os.system", "builtins.eval", [],
    [[]], [0], [10**9], [1] * 10_000, [10**9] * 50, {}, {"class": "MLP"}, {"a": {"a": {}}},
    "skensemble.nn.VGG", "skensemble.nn.mlp.MLP", "skensemble.nn.gradient_descent",
    "skensemble.nn.quantile_bins", "skensemble.nn.Periodic", "NetworkClassifier",
    "DeepEnsembleClassifier", "DistilledClassifier", "NTKClassifier", "PrunedClassifier",
    "BatchEnsembleClassifier", "SelfDistiller", "vote", "logit", "float64", "bf16", "|b1",
    "<U9999999", "<i8", "object", "<f8", "residual", "periodic", "piecewise", "SGD", "LBFGS",
]  # fmt: skip


def paths_of(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield where every value of nested dicts and lists stands, but for long lists."""
    if path:
        yield path
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = list(enumerate(value))[:6]
    for name, one in items:
        yield from paths_of(one, (*path, name))


def pick(about: Any, draw: np.random.Generator) -> Path:
    """Draw a place; histories and versions, which are long, seldom."""
    places = list(paths_of(about))
    short = [one for one in places if not {"histories", "versions"} & set(one)]
    places = short if draw.random() < 0.9 else places
    return places[int(draw.integers(len(places)))]


def holder(about: Any, path: Path) -> Any:
    """Return what holds the value at a place."""
    for name in path[:-1]:
        about = about[name]
    return about


def change_value(about: dict[str, Any], draw: np.random.Generator) -> Any:
    """Say something else, or something near it, of one thing."""
    path = pick(about, draw)
    at = holder(about, path)
    old = at[path[-1]]
    near: list[Any] = []
    if isinstance(old, (int, float)) and not isinstance(old, bool):
        near = [old + 1, old - 1, -old, old * 2, float(old), str(old), [old], old * 1e9]
    elif isinstance(old, list):
        near = [old[:-1], old + old, old[::-1], [old], dict(enumerate(old[:3]))]
    elif isinstance(old, str):
        near = [old + "x", old[:-1], old.upper(), [old], old * 50]
    elif isinstance(old, dict):
        near = [list(old), {**old, "more": 1}, dict(list(old.items())[1:])]
    choices = near if near and draw.random() < 0.4 else VALUES
    at[path[-1]] = copy.deepcopy(choices[int(draw.integers(len(choices)))])
    return about


def delete(about: dict[str, Any], draw: np.random.Generator) -> Any:
    """Leave something out."""
    path = pick(about, draw)
    del holder(about, path)[path[-1]]
    return about


def rename(about: dict[str, Any], draw: np.random.Generator) -> Any:
    """Call something otherwise."""
    path = pick(about, draw)
    at = holder(about, path)
    if isinstance(at, dict):
        new = ["memory", "module", "x", f"{path[-1]}_", "__class__"][int(draw.integers(5))]
        at[new] = at.pop(path[-1])
    return about


def swap(about: dict[str, Any], draw: np.random.Generator) -> Any:
    """Say one thing in another's place."""
    one, other = pick(about, draw), pick(about, draw)
    new = copy.deepcopy(holder(about, one)[one[-1]])
    holder(about, other)[other[-1]] = new
    return about


def twice(about: dict[str, Any], draw: np.random.Generator) -> Any:
    """Say a name twice."""
    name = list(about)[int(draw.integers(len(about)))]
    value = json.dumps(copy.deepcopy(VALUES[int(draw.integers(len(VALUES)))]))
    return json.dumps(about)[:-1] + f", {json.dumps(name)}: {value}}}"


def nest(about: dict[str, Any], draw: np.random.Generator) -> Any:
    """Nest deeper than anybody reads."""
    path, depth = pick(about, draw), int(draw.choice([20, 60, 500, 5_000, 100_000]))
    opening = "[" if draw.random() < 0.5 else '{"a":'
    deep = opening * depth + "1" + ("]" if opening == "[" else "}") * depth
    holder(about, path)[path[-1]] = "@@"
    return json.dumps(about).replace('"@@"', deep, 1)


def two(about: dict[str, Any], draw: np.random.Generator) -> Any:
    """Change two things."""
    return change_value(change_value(about, draw), draw)


HEADERS = (
    change_value,
    change_value,
    change_value,
    change_value,
    delete,
    rename,
    swap,
    two,
    twice,
    nest,
)

# -- tensors ---------------------------------------------------------------------------------

_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1, "I8": 1}


def tensors_of(header: dict[str, Any]) -> list[str]:
    """Return the names of tensors."""
    return [name for name in header if name != "__metadata__"]


def poison(parts: Parts, draw: np.random.Generator) -> Parts:
    """Write numbers that are none, too large, or below zero, somewhere or everywhere."""
    name = _any(parts, draw)
    told = parts.header[name]
    start, end = told["data_offsets"]
    kind = {"F64": "<f8", "F32": "<f4", "I64": "<i8"}[told["dtype"]]
    values = np.frombuffer(parts.body[start:end], kind).copy()
    if not len(values):
        return parts
    where: Any = slice(None) if draw.random() < 0.3 else int(draw.integers(len(values)))
    if told["dtype"] == "I64":
        values[where] = int(draw.choice([-1, 0, 10**6, 2**62]))
    else:
        values[where] = float(
            draw.choice([np.nan, np.inf, -np.inf, 3e38, -1e30, 1e14, 0.0, -1.0, 1e-40])
        )
    body = parts.body[:start] + values.tobytes() + parts.body[end:]
    return Parts(parts.header, parts.about, body)


def retell(parts: Parts, draw: np.random.Generator) -> Parts:
    """Say another shape, dtype or place of a tensor."""
    told = parts.header[_any(parts, draw)]
    how = int(draw.integers(5))
    if how == 0:
        told["shape"] = told["shape"][::-1] or [1]
    elif how == 1:
        told["shape"] = [int(np.prod(told["shape"]))] + [1] * int(draw.integers(3))
    elif how == 2:
        told["dtype"] = str(draw.choice([*_SIZES, "F8_E4M3", "X"]))
    elif how == 3:
        told["data_offsets"] = [int(one) for one in draw.integers(0, 2 * len(parts.body) + 1, 2)]
    else:
        told["shape"] = [[10**9], [2**62, 4], [-1], [0], "4", None][int(draw.integers(6))]
    return parts


def exchange(parts: Parts, draw: np.random.Generator) -> Parts:
    """Let two tensors stand in each other's place."""
    one, other = _any(parts, draw), _any(parts, draw)
    parts.header[one], parts.header[other] = parts.header[other], parts.header[one]
    return parts


def drop(parts: Parts, draw: np.random.Generator) -> Parts:
    """Leave a tensor and its bytes out, or call it otherwise."""
    name = _any(parts, draw)
    told = parts.header.pop(name)
    if draw.random() < 0.5:
        new = [name + "x", "9" + name[1:], "weight", name.split("/")[-1]][int(draw.integers(4))]
        parts.header[new] = told
        return parts
    start, end = told["data_offsets"]
    for other in tensors_of(parts.header):
        at = parts.header[other]["data_offsets"]
        if at[0] >= end:
            parts.header[other]["data_offsets"] = [at[0] - end + start, at[1] - end + start]
    return Parts(parts.header, parts.about, parts.body[:start] + parts.body[end:])


def add(parts: Parts, draw: np.random.Generator) -> Parts:
    """Add a tensor that nobody asks for."""
    name = ["0/more", "7/layers.1.weight", "x", "0/normalize.mean"][int(draw.integers(4))]
    n = len(parts.body)
    parts.header[name] = {"dtype": "F32", "shape": [4], "data_offsets": [n, n + 16]}
    return Parts(parts.header, parts.about, parts.body + bytes(16))


def _any(parts: Parts, draw: np.random.Generator) -> str:
    names = tensors_of(parts.header)
    return names[int(draw.integers(len(names)))]


TENSORS = (poison, poison, poison, retell, exchange, drop, add)


# -- all of them -----------------------------------------------------------------------------


def mutate(data: bytes, seal: Callable[[bytes], bytes], seed: tuple[int, ...]) -> Mutant:
    """Return one mutant of a file; a fifth is damaged and the others are forged."""
    draw = np.random.default_rng(seed)
    family = draw.choice(["damage", "bytes", "header", "tensors"], p=[0.2, 0.1, 0.5, 0.2])
    if family == "damage":
        damage = DAMAGES[int(draw.integers(len(DAMAGES)))]
        return Mutant(damage.__name__, damage(data, draw), False)
    if family == "bytes":
        return Mutant("forged flip", seal(flip(data, draw)), True)
    parts = take_apart(data)
    if family == "header":
        change = HEADERS[int(draw.integers(len(HEADERS)))]
        made = put_together(parts.header, change(parts.about, draw), parts.body)
        return Mutant(change.__name__, seal(made), True)
    alter = TENSORS[int(draw.integers(len(TENSORS)))]
    parts = alter(parts, draw)
    return Mutant(alter.__name__, seal(put_together(*parts)), True)
