"""What skl2onnx asks of an estimator: the types of its outputs, and its nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from skensemble._graphs.module import require_network
from skensemble._graphs.onnx import (
    OPSET,
    OUTPUTS,
    build_graph,
    label_values,
    module_graph,
    with_columns,
)
from skensemble._graphs.reading import Column
from skensemble._tables.preprocessor import TablePreprocessor
from skensemble._tables.reader import TableReader, coded_columns

_KINDS = {
    "FloatTensorType": "FLOAT",
    "DoubleTensorType": "DOUBLE",
    "Int64TensorType": "INT64",
    "BooleanTensorType": "BOOL",
    "StringTensorType": "STRING",
}


def initial_types(columns: Sequence[Column]) -> list[tuple[str, Any]]:
    """Return the inputs as skl2onnx names their types."""
    from skl2onnx.common import data_types as types

    names = {kind: name for name, kind in _KINDS.items()}
    return [(one.name, getattr(types, names[one.kind])([None, one.width])) for one in columns]


# -- classifiers ---------------------------------------------------------------------------


def classifier_shapes(operator: Any) -> None:
    """Say of which type and shape label, probabilities and uncertainty are."""
    from skl2onnx.common import data_types as types

    classes = operator.raw_operator.classes_
    kind = label_values(classes).dtype.kind
    label = {"i": types.Int64TensorType, "f": types.DoubleTensorType}.get(
        kind, types.StringTensorType
    )
    shapes = [label([None]), types.FloatTensorType([None, len(classes)])]
    for output, shape in zip(
        operator.outputs, [*shapes, types.FloatTensorType([None, 3])], strict=False
    ):
        output.type = shape


def convert_classifier(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a classifier."""
    estimator = operator.raw_operator
    require_network(estimator, "ONNX")
    # What calibrates the scores of another classifier asks for these.
    asked = container.get_options(estimator, {"raw_scores": False})
    graph = build_graph(
        estimator,
        _columns(operator, estimator._recipe.table),
        uncertainty=len(operator.outputs) == len(OUTPUTS),
        scores=asked["raw_scores"],
    )
    _add(scope, operator, container, graph)


def parse_with_uncertainty(
    scope: Any, model: Any, inputs: Any, custom_parsers: Any = None
) -> list[Any]:
    """Declare the three outputs of a classifier that is asked for its uncertainty."""
    from skl2onnx import get_model_alias
    from skl2onnx.common import data_types as types

    operator = scope.declare_local_operator(get_model_alias(type(model)), model)
    operator.inputs = inputs
    for name, kind in {
        "label": types.Int64TensorType,
        "probabilities": types.FloatTensorType,
        "uncertainty": types.FloatTensorType,
    }.items():
        operator.outputs.append(scope.declare_local_variable(name, kind()))
    return operator.outputs


# -- tables --------------------------------------------------------------------------------


def table_shapes(operator: Any) -> None:
    """Say how many columns a table becomes."""
    from skl2onnx.common.data_types import FloatTensorType

    width = operator.raw_operator._n_features_out
    operator.outputs[0].type = FloatTensorType([None, width])


def convert_table(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of a `TablePreprocessor`."""
    table = operator.raw_operator
    read = TableReader(table)
    graph = module_graph(read, (table.n_features_in_,), ["read"])
    _add(scope, operator, container, with_columns(graph, _columns(operator, table), read))


# -- nodes ---------------------------------------------------------------------------------


def _columns(operator: Any, table: TablePreprocessor | None) -> list[Column] | None:
    """Return the operator's inputs, or None for one array of float32 that is read as it is."""
    found = []
    for one in operator.inputs:
        name, shape = type(one.type).__name__, one.type.shape
        if name not in _KINDS:
            raise ValueError(
                f"The input {one.onnx_name!r} must hold numbers, booleans or strings. Got {name}."
            )
        found.append(Column(one.onnx_name, _KINDS[name], shape[1] if len(shape) > 1 else None))
    widths = [one.width for one in found]
    wanted = operator.raw_operator.n_features_in_
    n_columns = sum(one or 0 for one in widths)
    if None not in widths and n_columns != wanted:
        raise ValueError(
            f"The step before {type(operator.raw_operator).__name__} must give {wanted} columns, "
            f"as in fit. Got {n_columns} of its converter, which leaves something out; use "
            "another transformer, as MissingIndicator in a union in the place of add_indicator."
        )
    coded = table is not None and any(coded_columns(table))
    return None if len(found) == 1 and found[0].kind == "FLOAT" and not coded else found


def _add(scope: Any, operator: Any, container: Any, graph: Any) -> None:
    """Add a graph's nodes to those of the pipeline, under names that are free there."""
    graph = _at_opset(graph, container.target_opset)
    inputs = [one.onnx_name for one in operator.inputs]
    names = {name: name for name in inputs}
    if [one.name for one in graph.graph.input] == ["X"]:
        names["X"] = inputs[0]
    outputs = zip(graph.graph.output, operator.outputs, strict=True)
    names |= {own.name: given.onnx_name for own, given in outputs}

    def rename(name: str) -> str:
        if name and name not in names:
            names[name] = scope.get_unique_variable_name(f"net_{name}")
        return names.get(name, "")

    for one in graph.graph.initializer:
        one.name = rename(one.name)
        container.initializers.append(one)
    for node in graph.graph.node:
        _rename(node, rename)
        node.name = scope.get_unique_operator_name(node.op_type)
        container.nodes.append(node)
    for one in graph.opset_import:
        container.node_domain_version_pair_sets.add((one.domain, one.version))


def _rename(node: Any, rename: Callable[[str], str]) -> None:
    """Rename what a node reads and writes, and so in the graphs inside of it."""
    node.input[:] = [rename(name) for name in node.input]
    node.output[:] = [rename(name) for name in node.output]
    for inner in (one.g for one in node.attribute if one.HasField("g")):
        for one in (*inner.input, *inner.output, *inner.initializer):
            one.name = rename(one.name)
        for one in inner.node:
            _rename(one, rename)


def _at_opset(graph: Any, target: int) -> Any:
    """Return a graph in the version of the operators that the pipeline has."""
    from onnx import version_converter

    if target < OPSET:
        raise ValueError(
            f"A network's graph must be of opset {OPSET} or newer. Got target_opset={target}."
        )
    return graph if target == OPSET else version_converter.convert_version(graph, target)
