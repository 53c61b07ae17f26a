"""What a small classifier computes, as steps that are simple enough for any language."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from skensemble._tables.preprocessor import TablePreprocessor
from skensemble._tables.reader import require_readable
from skensemble.distillation.students import StudentClassifier
from skensemble.ensembles.ensemble import DeepEnsembleClassifier
from skensemble.ensembles.network import NetworkClassifier
from skensemble.nn.dropout import Dropout
from skensemble.nn.embeddings import CategoryEmbedding, Periodic, PiecewiseLinear
from skensemble.nn.mlp import ACTIVATIONS, MLP
from skensemble.nn.normalize import Normalize
from skensemble.nn.tabular import ResidualBlock, TabularNet
from skensemble.pruning.classifier import PrunedClassifier

__all__ = ["Dense", "Network", "Student", "read_student"]

_ACTIVATION_OF = {kind: name for name, kind in ACTIVATIONS.items()}


# -- steps -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Affine:
    """Subtract a mean and divide by a scale, number by number."""

    mean: np.ndarray
    std: np.ndarray


@dataclass(frozen=True)
class Dense:
    """A linear layer: weights of shape (outputs, inputs), and biases."""

    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Activation:
    """What follows a layer: "relu", "gelu", "tanh" or "silu"."""

    name: str


@dataclass(frozen=True)
class Norm:
    """Layer normalisation."""

    gain: np.ndarray
    bias: np.ndarray
    eps: float


@dataclass(frozen=True)
class Residual:
    """Steps whose result is added to what came in."""

    steps: list[Any]


@dataclass(frozen=True)
class Bins:
    """A piecewise-linear encoding: how many bins each number has, and the edges of all.

    A number with bins has one edge more than bins.
    """

    count: np.ndarray
    edges: np.ndarray


@dataclass(frozen=True)
class Waves:
    """A periodic embedding: frequencies (number, frequency) and the layer behind."""

    frequencies: np.ndarray
    dense: Dense


@dataclass(frozen=True)
class Codes:
    """An embedding of codes: how many each column has, where its rows start, the table."""

    count: np.ndarray
    first: np.ndarray
    table: np.ndarray


@dataclass(frozen=True)
class Network:
    """One network.

    Attributes
    ----------
    n_inputs : int
        Numbers of a row.
    n_plain : int
        How many of these, the first ones, are no codes.
    numbers : Bins, Waves or None
        What stands behind them, made of the first ones.
    codes : Codes or None
        What stands behind that, made of the last ones.
    steps : list
        What follows.
    """

    n_inputs: int
    n_plain: int
    steps: list[Any]
    numbers: Any = None
    codes: Codes | None = None


@dataclass(frozen=True)
class Student:
    """A classifier: networks, how they are fused, and what reads the table.

    Attributes
    ----------
    networks : list of Network
        At least one.
    averaging : {"proba", "logit", "vote"}
        Of what the mean is taken.
    temperature : float
        By which the mean's logarithm is divided.
    classes : list of str
        Their names.
    features : list of str
        Names of the numbers of a row.
    table : TablePreprocessor or None
        What reads rows.
    """

    networks: list[Network]
    averaging: str
    temperature: float
    classes: list[str]
    features: list[str] = field(default_factory=list)
    table: TablePreprocessor | None = None


# -- reading ---------------------------------------------------------------------------------


def read_student(estimator: Any) -> Student:
    """Return what a fitted classifier computes, or say why that is not simple enough."""
    owner = estimator
    while isinstance(owner, PrunedClassifier):
        owner = owner.pruned_
    averaging, temperature = _fusing(owner)
    table = estimator._recipe.table
    if table is not None:
        require_readable(table)
    pairs = zip(owner._networks(), owner._recipes(), strict=True)
    networks = [_read_network(module, recipe) for module, recipe in pairs]
    n_raw = networks[0].n_inputs if table is None else table.n_features_in_
    names = getattr(estimator, "feature_names_in_", [f"x{at}" for at in range(n_raw)])
    if len(names) != n_raw:
        names = [f"x{at}" for at in range(n_raw)]
    classes = [str(one) for one in estimator.classes_.tolist()]
    return Student(networks, averaging, temperature, classes, [str(one) for one in names], table)


def _fusing(owner: Any) -> tuple[str, float]:
    """Return of what networks' mean is taken, and the temperature of that."""
    if isinstance(owner, StudentClassifier):
        for one in owner._students():
            _require_plain(one, owner)
        return "proba", 1.0
    if isinstance(owner, DeepEnsembleClassifier):
        for one in owner.estimators_:
            _require_plain(one, owner)
        return owner._averaging(), owner.temperature_ if owner._calibrates() else 1.0
    _require_plain(owner, owner)
    return "proba", 1.0


def _require_plain(one: Any, owner: Any) -> None:
    """Refuse all but single networks whose logits are read by a softmax."""
    if not isinstance(one, NetworkClassifier):
        inside = "" if one is owner else f" of {type(one).__name__}"
        merge = "; merge its members first (merge_members)" if hasattr(one, "merge_members") else ""
        raise TypeError(
            "The 'estimator' of export_c must be one network, a student or an ensemble. Got a "
            f"{type(owner).__name__}{inside}{merge}, or use export_onnx."
        )
    if one._reading is not None:
        raise ValueError(
            "The 'estimator' of export_c must read its logits by a softmax. Got a student whose "
            f"objective reads them otherwise, {owner.objective!r}; use export_onnx."
        )


def _read_network(module: nn.Module, recipe: Any) -> Network:
    if recipe.outputs_proba or type(module) not in (MLP, TabularNet):
        what = "one with probabilities" if recipe.outputs_proba else type(module).__name__
        raise TypeError(
            "The 'estimator' of export_c must have networks of skensemble.nn.MLP or TabularNet, "
            f"whose outputs are logits. Got {what}; distil it into one of these, or use "
            "export_onnx."
        )
    n_inputs = math.prod(recipe.in_shape)
    if isinstance(module, TabularNet):
        steps = _read_steps(module.layers)
        numbers, codes = _read_numbers(module.numbers), _read_codes(module.categories)
        return Network(n_inputs, module.n_plain, steps, numbers, codes)
    before = _read_normalize(module.normalize, recipe.in_shape)
    return Network(n_inputs, n_inputs, [*before, *_read_steps(module.layers)])


def _read_steps(layers: Any) -> list[Any]:
    found: list[Any] = []
    for layer in layers:
        if isinstance(layer, (nn.Flatten, nn.Dropout, Dropout)):
            continue
        if isinstance(layer, nn.Linear):
            found.append(_dense(layer))
        elif type(layer) in _ACTIVATION_OF:
            found.append(Activation(_ACTIVATION_OF[type(layer)]))
        elif isinstance(layer, nn.LayerNorm):
            found.append(Norm(_array(layer.weight), _array(layer.bias), float(layer.eps)))
        elif isinstance(layer, ResidualBlock):
            found.append(Residual(_read_steps(layer.branch)))
        else:
            raise TypeError(
                "The 'estimator' of export_c must have linear layers, activations and layer "
                f"normalisation alone. Got {type(layer).__name__}; use export_onnx."
            )
    return found


def _read_normalize(module: Any, in_shape: Sequence[int]) -> list[Affine]:
    if not isinstance(module, Normalize):
        return []
    times = math.prod(in_shape[1:])  # channels are flattened one after the other
    return [Affine(_array(module.mean).repeat(times), _array(module.std).repeat(times))]


def _read_numbers(module: nn.Module | None) -> Bins | Waves | None:
    if isinstance(module, PiecewiseLinear):
        return _read_bins(module) if len(module.column) else None
    if isinstance(module, Periodic) and len(module.frequencies):
        return Waves(_array(module.frequencies), _dense(module.linear))
    return None


def _read_bins(module: PiecewiseLinear) -> Bins:
    count = np.bincount(module.column.cpu().numpy(), minlength=module.in_features)
    left, width = _array(module.left), _array(module.width)
    ends = np.cumsum(count)[count > 0]
    edges = np.insert(left, ends, left[ends - 1] + width[ends - 1])
    return Bins(count, edges)


def _read_codes(module: nn.Module | None) -> Codes | None:
    if not isinstance(module, CategoryEmbedding):
        return None
    count, first = module.cardinality.cpu().numpy(), module.first.cpu().numpy()
    return Codes(count, first, _array(module.table.weight))


def _dense(layer: nn.Linear) -> Dense:
    weight = _array(layer.weight)
    bias = np.zeros(len(weight), np.float32) if layer.bias is None else _array(layer.bias)
    return Dense(weight, bias)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()
