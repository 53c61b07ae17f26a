"""Fitted estimators as ONNX graphs: torch writes the networks, nodes are put around them."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from skensemble._graphs.module import Fused, require_network
from skensemble._graphs.reading import Column, columns_of, reading_model
from skensemble._records.atomic import replacing
from skensemble._tables.reader import TableReader, coded_columns

__all__ = ["OPSET", "build_graph", "export_onnx", "module_graph", "require_packages", "write"]

# The one that torch's exporter writes without a conversion, since torch 2.6.
OPSET = 18
OPSET_ML = 3
OUTPUTS = ("label", "probabilities", "uncertainty")


def require_packages(*names: str) -> None:
    """Refuse to go on without packages of the extra."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"export_onnx needs {' and '.join(missing)}; install them with "
            "pip install 'skensemble[onnx]'."
        )


def export_onnx(
    estimator: Any,
    path: str | os.PathLike[str],
    preprocessed: bool = False,
    uncertainty: bool = False,
    columns: Sequence[Column] | None = None,
) -> None:
    """Write the graph; see ``BaseNetworks.export_onnx``."""
    require_packages("onnx", "onnxscript")
    require_network(estimator, "ONNX")
    table = estimator._recipe.table
    if columns is None and table is not None and not preprocessed and any(coded_columns(table)):
        columns = columns_of(table)
    write(build_graph(estimator, columns, preprocessed, uncertainty), path)


def write(model: Any, path: str | os.PathLike[str]) -> None:
    """Check a graph and put it in the place of a file at once."""
    import onnx

    onnx.checker.check_model(model)
    with replacing(path) as temporary:
        onnx.save_model(model, str(temporary))


def build_graph(
    estimator: Any,
    columns: Sequence[Column] | None,
    preprocessed: bool = False,
    uncertainty: bool = False,
    scores: bool = False,
) -> Any:
    """Return the graph of an estimator, with the outputs of `OUTPUTS`.

    Parameters
    ----------
    estimator : BaseNetworkClassifier
        Fitted.
    columns : sequence of Column or None
        The inputs, of one column each; None for one input ``X`` of float32.
    preprocessed : bool
        Whether the graph is given what ``preprocessor_.transform`` returns.
    uncertainty : bool
        Whether the last output is there.
    scores : bool
        Whether confidence scores stand in the place of probabilities.
    """
    if uncertainty:
        estimator._require_voices()
    fused = Fused(estimator, preprocessed, uncertainty, scores)
    names = list(OUTPUTS[1 : 3 if uncertainty else 2])
    model = module_graph(fused, fused.in_shape, names)
    _add_label(model, estimator.classes_)
    return with_columns(model, columns, fused.read)


def with_columns(model: Any, columns: Sequence[Column] | None, read: nn.Module) -> Any:
    """Put before a graph of the input ``X`` what makes that of columns."""
    if columns is None:
        return model
    import onnx

    taken = {one.name for one in columns} & {one.name for one in model.graph.output}
    if taken:
        raise ValueError(
            f"The columns' names must be others than those of the outputs. Got {min(taken)!r}; "
            "rename the column before fit."
        )
    prefix = "net/"
    while any(one.name.startswith(prefix) for one in columns):
        prefix = f"_{prefix}"
    table = read.table if isinstance(read, TableReader) else None
    before = reading_model(columns, table, f"{prefix}rows", model.ir_version, model.opset_import)
    after = onnx.compose.add_prefix(model, prefix, rename_outputs=False)
    return onnx.compose.merge_models(before, after, io_map=[(f"{prefix}rows", f"{prefix}X")])


def module_graph(module: nn.Module, in_shape: Sequence[int], outputs: Sequence[str]) -> Any:
    """Return the graph of a module of one input ``X`` with a free number of rows."""
    program = _export(module, torch.zeros(2, *in_shape), outputs)
    n_rows = program.model.graph.inputs[0].shape[0]
    if isinstance(n_rows, int):
        raise ValueError(
            f"The graph would take batches of {n_rows} rows only, since the module's "
            "forward reads the number of rows as a plain number, as len(x) does. Use "
            "x.shape[0]."
        )
    model = program.model_proto
    _forget_sources(model)
    return model


def _export(module: nn.Module, sample: torch.Tensor, outputs: Sequence[str]) -> Any:
    """Run torch's exporter without what it prints."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # the exporter's own deprecations
            return torch.onnx.export(
                module.eval(),
                (sample,),
                dynamo=True,
                input_names=["X"],
                output_names=list(outputs),
                dynamic_shapes=({0: torch.export.Dim("n_samples", min=1)},),
                opset_version=OPSET,
                verbose=False,
            )
    finally:
        logger.setLevel(level)


def _forget_sources(model: Any) -> None:
    """Drop the lines of code that each node came from, with the paths of this machine."""
    graph = model.graph
    for one in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info,
                *graph.initializer):  # fmt: skip
        del one.metadata_props[:]
    for one in (*graph.node, *graph.initializer, graph):
        one.doc_string = ""


def _add_label(model: Any, classes: np.ndarray) -> None:
    """Put the label of the largest probability first among the outputs."""
    from onnx import helper, numpy_helper

    graph = model.graph
    values = label_values(classes)
    graph.initializer.append(numpy_helper.from_array(values, "classes"))
    graph.node.extend(
        [
            helper.make_node("ArgMax", ["probabilities"], ["position"], axis=1, keepdims=0),
            helper.make_node("Gather", ["classes", "position"], ["label"], axis=0),
        ]
    )
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(values.dtype))
    label = helper.make_tensor_value_info("label", kind, ["n_samples"])
    rest = list(graph.output)
    del graph.output[:]
    graph.output.extend([label, *rest])


def label_values(classes: np.ndarray) -> np.ndarray:
    """Return labels as ONNX has them: strings, int64 (booleans too) or float64."""
    if classes.dtype.kind in "biu":
        return classes.astype(np.int64)
    if classes.dtype.kind == "f":
        return classes.astype(np.float64)
    return np.array([str(one) for one in classes], dtype=object)
