"""Columns of strings, numbers and truths as one array of numbers and codes, in nodes of ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skensemble._tables.columns import kind_of, read_column
from skensemble._tables.preprocessor import TablePreprocessor
from skensemble._tables.reader import code_of_missing, coded_columns, require_readable

__all__ = ["Column", "columns_like", "columns_of", "reading_model", "reading_nodes"]

# The types that a column comes in, by the name of ONNX's.
FLOAT, INT, BOOL, STRING = "FLOAT", "INT64", "BOOL", "STRING"
ML = "ai.onnx.ml"


@dataclass(frozen=True)
class Column:
    """One input of a graph, of one column of the table or of several.

    Attributes
    ----------
    name : str
        Its name.
    kind : {"FLOAT", "INT64", "BOOL", "STRING", "DOUBLE"}
        The type of its values.
    width : int or None
        How many columns of the table it holds; None where nobody says.
    """

    name: str
    kind: str
    width: int | None = 1


def columns_of(table: TablePreprocessor) -> list[Column]:
    """Return the columns that a table was fitted on: categories as strings, all else as numbers."""
    require_readable(table)
    kinds = [STRING if kind == "category" else FLOAT for kind in table.kinds_]
    return [Column(*one) for one in zip(table._names(), kinds, strict=True)]


def columns_like(X: Any, names: Sequence[str]) -> list[Column]:
    """Return the columns of a frame by what they hold."""
    return [Column(str(name), _kind(X, at, name)) for at, name in enumerate(names)]


def _kind(X: Any, at: int, name: str) -> str:
    values, _ = read_column(X, at)
    if values.dtype.kind in "iufb":
        return {"b": BOOL, "f": FLOAT}.get(values.dtype.kind, INT)
    kind = kind_of(values, False)
    if kind in ("date", "duration"):
        raise ValueError(
            f"A graph takes columns of numbers, booleans and strings. Got the column {name!r} of "
            f"kind {kind!r}; fit on its number of days since a day of yours."
        )
    return STRING if kind in ("category", "empty") else FLOAT


def reading_model(
    columns: Sequence[Column],
    table: TablePreprocessor | None,
    output: str,
    ir_version: int,
    opsets: Sequence[Any],
) -> Any:
    """Return a graph from one input a column to an array of their numbers and codes."""
    from onnx import TensorProto, helper

    inputs = [
        helper.make_tensor_value_info(
            one.name, getattr(TensorProto, one.kind), ["n_samples", one.width]
        )
        for one in columns
    ]
    result = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n_samples", None])
    nodes = reading_nodes(columns, table, output)
    graph = helper.make_graph(nodes, "table", inputs, [result])
    opsets = [one for one in opsets if one.domain != ML]
    ml = helper.make_opsetid(ML, 3)
    return helper.make_model(graph, opset_imports=[*opsets, ml], ir_version=ir_version)


def reading_nodes(
    columns: Sequence[Column], table: TablePreprocessor | None, output: str
) -> list[Any]:
    """Return nodes that code each column and put them side by side.

    Names of what is in between start with that of the output and a slash.
    """
    from onnx import helper

    coded = [] if table is None else coded_columns(table)
    nodes, singles = _apart(columns, output) if any(coded) else ([], columns)
    parts = [f"{output}/{number}" for number in range(len(singles))]
    for at, (one, part) in enumerate(zip(singles, parts, strict=True)):
        if any(coded) and coded[at]:
            nodes.extend(_codes(one, table, at, part))
        elif one.kind == STRING and table is not None and table.kinds_[at] == "empty":
            # Of which nothing is read, but which is there.
            nodes.append(_lookup(one.name, part, strings=[""], codes=[0.0]))
        elif one.kind == STRING:
            raise ValueError(
                f"The column {one.name!r} must hold numbers, as in fit. Got strings; give rows "
                "of the dtypes of fit as X."
            )
        else:
            nodes.append(helper.make_node("Cast", [one.name], [part], to=1))
    nodes.append(helper.make_node("Concat", parts, [output], axis=1))
    return nodes


def _apart(columns: Sequence[Column], output: str) -> tuple[list[Any], list[Column]]:
    """Return nodes that cut wide inputs into single columns, and these."""
    from onnx import helper

    nodes: list[Any] = []
    singles = []
    for one in columns:
        if one.width is None:
            raise ValueError(
                f"The input {one.name!r} must say how many columns it has, as a table with "
                "categories is read column by column. Got an unknown number; give rows as X."
            )
        if one.width == 1:
            singles.append(one)
            continue
        for at in range(one.width):
            index, column = f"{output}/{one.name}/index{at}", f"{output}/{one.name}/{at}"
            nodes.append(helper.make_node("Constant", [], [index], value_ints=[at]))
            nodes.append(helper.make_node("Gather", [one.name, index], [column], axis=1))
            singles.append(Column(column, one.kind))
    return nodes, singles


def _codes(column: Column, table: Any, at: int, output: str) -> list[Any]:
    """Return nodes from a column's values to its codes."""
    from onnx import helper

    names, missing = table.categories_[at], float(code_of_missing(table, at))
    if column.kind == STRING:
        if "" in names:
            raise ValueError(
                f"The column {column.name!r} must have no category '', since an empty string "
                "stands for a missing value in a graph. Rename it before fit."
            )
        keys = ["" if name is None else name for name in names]
        codes = [float(code) for code in range(1, len(keys) + 1)]
        return [_lookup(column.name, output, strings=keys, codes=codes)]
    known = {
        value: float(code)
        for code, name in enumerate(names, 1)
        if name is not None and (value := _number(name, table.kinds_[at])) is not None
    }
    # A list must not be empty: a code that stands for "other" says nothing.
    values, codes = list(known) or [0.0], list(known.values()) or [0.0]
    if column.kind == INT:
        keys = [(int(v), c) for v, c in zip(values, codes, strict=True) if v == int(v)]
        whole, codes = map(list, zip(*(keys or [(0, 0.0)]), strict=True))
        return [_lookup(column.name, output, ints=whole, codes=codes)]
    given, found, is_missing = f"{output}/value", f"{output}/code", f"{output}/missing"
    default = helper.make_node("Constant", [], [f"{output}/default"], value_float=missing)
    return [
        helper.make_node("Cast", [column.name], [given], to=1),
        _lookup(given, found, floats=values, codes=codes),
        helper.make_node("IsNaN", [given], [is_missing]),
        default,
        helper.make_node("Where", [is_missing, f"{output}/default", found], [output]),
    ]


def _number(name: str, kind: str) -> float | None:
    """Return the number that a category's name stands for, if it is one's."""
    if kind == "boolean":
        return {"False": 0.0, "True": 1.0}[name]
    try:
        value = float(name)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _lookup(
    given: str,
    output: str,
    *,
    codes: Sequence[float],
    strings: Sequence[str] | None = None,
    ints: Sequence[int] | None = None,
    floats: Sequence[float] | None = None,
) -> Any:
    """Return the node that looks codes up; what is unknown has the code of "other", 0."""
    from onnx import helper

    keys: dict[str, Any] = {"keys_strings": strings, "keys_int64s": ints, "keys_floats": floats}
    keys = {name: one for name, one in keys.items() if one is not None}
    return helper.make_node(
        "LabelEncoder", [given], [output], domain=ML, values_floats=codes, default_float=0.0, **keys
    )
