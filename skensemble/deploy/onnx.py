"""Pipelines and estimators as ONNX graphs."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils.validation import check_is_fitted

from skensemble._base.classifier import BaseNetworkClassifier
from skensemble._graphs import onnx as graphs
from skensemble._graphs.reading import Column, columns_like, columns_of
from skensemble._tables.columns import frame_kind, kind_of
from skensemble._tables.preprocessor import TablePreprocessor
from skensemble._tables.reader import coded_columns
from skensemble.deploy import converters
from skensemble.deploy.modules import what_predicts
from skensemble.distillation.classifier import DistilledClassifier
from skensemble.distillation.generations import SelfDistiller
from skensemble.ensembles.batch_ensemble import BatchEnsembleClassifier
from skensemble.ensembles.ensemble import DeepEnsembleClassifier
from skensemble.ensembles.network import NetworkClassifier
from skensemble.ntk.classifier import NTKClassifier
from skensemble.pruning.classifier import PrunedClassifier

__all__ = ["export_onnx", "register_converters"]

_CLASSIFIERS = (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    NTKClassifier,  # which is refused, in words
    PrunedClassifier,
    SelfDistiller,
)


def register_converters() -> None:
    """Tell skl2onnx how to convert our classifiers and `TablePreprocessor`.

    From then on ``skl2onnx.to_onnx`` converts pipelines, votes and whatever else of scikit-learn
    has them inside, to opset 18 or newer; with ``target_opset`` and ``options`` as for other
    classifiers. Needs ``pip install 'skensemble[onnx]'``.

    See Also
    --------
    export_onnx : Of a pipeline that ends in one of our estimators, with its uncertainty.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skensemble import NetworkClassifier
    >>> from skensemble.deploy import register_converters
    >>> X, y = load_iris(return_X_y=True)
    >>> pipeline = make_pipeline(StandardScaler(), NetworkClassifier(random_state=0)).fit(X, y)
    >>> register_converters()
    >>> from skl2onnx import to_onnx
    >>> [one.name for one in to_onnx(pipeline, X[:1].astype("float32")).graph.output]
    ['output_label', 'output_probability']
    """
    graphs.require_packages("onnx", "onnxscript", "skl2onnx")
    from skl2onnx import update_registered_converter

    options = {"zipmap": [True, False, "columns"], "raw_scores": [True, False], "nocl": [False]}
    for one in _CLASSIFIERS:
        update_registered_converter(
            one,
            f"Skensemble{one.__name__}",
            converters.classifier_shapes,
            converters.convert_classifier,
            options=options,
        )
    update_registered_converter(
        TablePreprocessor,
        "SkensembleTablePreprocessor",
        converters.table_shapes,
        converters.convert_table,
    )


def export_onnx(model: Any, path: Any, X: Any = None, *, uncertainty: bool = False) -> None:
    """Write a fitted estimator of ours, or a pipeline that ends in one, as an ONNX graph.

    The steps before are skl2onnx's to convert, ours are the network's graph: categories,
    missing values, scaling and temperature are inside. Outputs are ``label``, of the classes' own
    kind; ``probabilities``, float32; and ``uncertainty`` if asked for. Needs
    ``pip install 'skensemble[onnx]'``.

    Parameters
    ----------
    model : Pipeline, search or estimator
        Fitted. Of a search the best estimator is written.
    path : path-like
        The file; one that is there is replaced at once or not at all.
    X : DataFrame or array-like of shape (n_samples, n_features), default=None
        Rows with the columns of `fit`, of which dtypes are read: a data frame gives the
        graph one input a column, by its name, of shape (n_samples, 1); an array gives one input
        ``X``. None is an array of float32; or, for a table with categories that is read by our
        own `TablePreprocessor`, one input a column with strings for categories.
    uncertainty : bool, default=False
        Whether there is an output ``uncertainty`` of shape (n_samples, 3): total, aleatoric and
        epistemic, as the method of that name tells them.

    Notes
    -----
    Inputs are float32 for numbers, int64 for columns of integers, bool and string; an empty
    string stands for a missing category, NaN for a missing number.

    Examples
    --------
    >>> import pandas as pd, tempfile
    >>> from sklearn.compose import make_column_transformer
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import OneHotEncoder, StandardScaler
    >>> from skensemble import NetworkClassifier
    >>> from skensemble.deploy import export_onnx
    >>> X = pd.DataFrame({"size": [1.0, 2, 3, 4] * 4, "hue": ["red", "blue"] * 8})
    >>> steps = make_column_transformer((StandardScaler(), ["size"]), (OneHotEncoder(), ["hue"]))
    >>> pipeline = make_pipeline(steps, NetworkClassifier(random_state=0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_onnx(pipeline.fit(X, ["a", "b"] * 8), f"{folder}/hue.onnx", X)
    """
    model = _plain(model)
    last = _last(model)
    if not isinstance(last, BaseNetworkClassifier):
        raise TypeError(
            "The 'model' of export_onnx must be a classifier of skensemble, or a pipeline that "
            f"ends in one. Got {type(last).__name__} at the end; for others call "
            "register_converters() and skl2onnx.to_onnx."
        )
    check_is_fitted(last)
    if last is model:
        graphs.export_onnx(last, path, False, uncertainty, _columns(last, X))
        return
    register_converters()
    if uncertainty:
        last._require_voices()
    _require_converters(model)
    graphs.write(_convert(model, last, X, uncertainty), path)


def _plain(model: Any) -> Any:
    """Return a pipeline without the steps that do nothing, which skl2onnx does not know."""
    model = what_predicts(model)
    if not isinstance(model, Pipeline):
        return model
    steps = [(name, _plain(one)) for name, one in model.steps if one not in (None, "passthrough")]
    return Pipeline([step for step in steps if not _is_empty(step[1])])


def _is_empty(model: Any) -> bool:
    return isinstance(model, Pipeline) and not model.steps


def _last(model: Any) -> Any:
    """Return what a pipeline ends in."""
    while isinstance(model, Pipeline):
        model = model.steps[-1][1]
    return model


# -- inputs ----------------------------------------------------------------------------------


def _columns(model: Any, X: Any) -> list[Column] | None:
    """Return the inputs that `X` asks for; None for one array of float32."""
    if X is None:
        table = _first_table(model)
        return columns_of(table) if table is not None and any(coded_columns(table)) else None
    if frame_kind(X) is None:
        X = np.asarray(X)
        kind = _kind_of_array(X)
        return None if kind == "FLOAT" else [Column("X", kind, X.shape[1])]
    names = [str(name) for name in X.columns]
    first = _first(model)
    learned = getattr(first, "feature_names_in_", names)
    if names != list(learned) or len(names) != first.n_features_in_:
        raise ValueError(
            f"The 'X' of export_onnx must have the columns of fit, {list(learned)}. Got {names}."
        )
    return columns_like(X, names)


def _first_table(model: Any) -> TablePreprocessor | None:
    """Return what reads the table of a model first, if that is ours."""
    model = _first(model)
    if isinstance(model, BaseNetworkClassifier):
        return model._recipe.table
    return model if isinstance(model, TablePreprocessor) else None


def _first(model: Any) -> Any:
    """Return what a pipeline starts with."""
    while isinstance(model, Pipeline):
        model = model.steps[0][1]
    return model


def _kind_of_array(X: np.ndarray) -> str:
    if X.dtype.kind in "fiub":
        return {"f": "FLOAT", "b": "BOOL"}.get(X.dtype.kind, "INT64")
    if any(kind_of(X[:, at], False) not in ("category", "empty") for at in range(X.shape[1])):
        raise ValueError(
            "The 'X' of export_onnx must be an array of numbers or one of strings, or a data "
            f"frame. Got an array of {X.dtype} with both; use a data frame."
        )
    return "STRING"


# -- steps -----------------------------------------------------------------------------------


def _leaves(model: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the estimators in a pipeline, with the path of names that leads to them."""
    model = what_predicts(model)
    if isinstance(model, Pipeline):
        inside: Any = model.steps
    elif isinstance(model, ColumnTransformer):
        inside = [one[:2] for one in model.transformers_]
    elif isinstance(model, FeatureUnion):
        inside = model.transformer_list
    else:
        if isinstance(model, BaseEstimator):
            yield name, model
        return
    for own, one in inside:
        yield from _leaves(one, f"{name}__{own}" if name else own)


def _require_converters(model: Any) -> None:
    """Refuse steps that nobody can convert, before anything is converted."""
    from skl2onnx import get_model_alias

    for name, one in _leaves(model):
        try:
            get_model_alias(type(one))
        except RuntimeError as error:
            raise _cannot(name, one, "skl2onnx has no converter for it") from error


def _cannot(name: str, one: Any, why: str) -> ValueError:
    return ValueError(
        f"The steps must be those that skl2onnx converts. Got {type(one).__name__} as {name!r}: "
        f"{why}. Use another transformer, register a converter with skl2onnx, or export the "
        "classifier alone and give it what the steps before return."
    )


def _convert(model: Any, last: Any, X: Any, uncertainty: bool) -> Any:
    """Run skl2onnx, and say of which step an error is."""
    from skl2onnx import convert_sklearn

    columns = _columns(model, X) or [Column("X", "FLOAT", _first(model).n_features_in_)]
    parsers = {type(last): converters.parse_with_uncertainty} if uncertainty else None
    try:
        found = convert_sklearn(
            model,
            initial_types=converters.initial_types(columns),
            target_opset={"": graphs.OPSET, "ai.onnx.ml": graphs.OPSET_ML},
            custom_parsers=parsers,
            options=None if uncertainty else {id(last): {"zipmap": False}},
        )
    except Exception as error:  # skl2onnx raises of all kinds
        name, one = _culprit(error, model)
        if one is last:
            raise
        raise _cannot(name, one, str(error).split("\n")[0].rstrip(".")) from error
    _require_names(found, columns, uncertainty)
    return found


def _culprit(error: Exception, model: Any) -> tuple[str, Any]:
    """Return the step whose operator was being converted when an error came up."""
    at: Any = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        at = getattr(frame.f_locals.get("operator"), "raw_operator", at)
    return next(((name, one) for name, one in _leaves(model) if one is at), ("model", model))


def _require_names(graph: Any, columns: list[Column], uncertainty: bool) -> None:
    """Refuse names that skl2onnx had to change."""
    outputs = list(graphs.OUTPUTS[: 3 if uncertainty else 2])
    wanted = [*(one.name for one in columns), *outputs]
    found = [one.name for one in (*graph.graph.input, *graph.graph.output)]
    if found != wanted:
        changed = next(old for old, new in zip(wanted, found, strict=True) if old != new)
        raise ValueError(
            f"The columns' names must differ from each other and from those of the outputs, "
            f"{outputs}. Got {changed!r} twice; rename the column before fit."
        )
