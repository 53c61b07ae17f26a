"""Every kind of estimator that a file can hold, small: what files are mutated, and kept, of.

Each maker returns a fitted estimator and rows to ask it about; all of them take some seconds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import GradientNormClipping

from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    NTKClassifier,
    Pretrained,
    PrunedClassifier,
    SelfDistiller,
)
from skensemble._recipes.recipe import Recipe
from skensemble.augmentation import MixUp
from skensemble.nn import MLP, CifarResNet, DenseNet, PreActResNet, TabularNet, quantile_bins
from skensemble.objectives import TruncatedTerm
from skensemble.perturbation import ODS
from skensemble.transfer import Munge

Maker = Callable[[], tuple[Any, Any]]
KINDS: dict[str, Maker] = {}

_DRAW = np.random.default_rng(0)
ROWS = _DRAW.normal(size=(48, 4)).astype(np.float32)
LABELS = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(int) + (ROWS[:, 2] > 0.8)
NAMES = np.array(["setosa", "versicolor", "virginica"])[LABELS]
IMAGES = _DRAW.random((24, 2, 8, 8), dtype=np.float32)
KINDS_OF_IMAGES = np.arange(24) % 2
TABLE = pd.DataFrame({
    "age": np.where(ROWS[:, 0] > 1.2, np.nan, ROWS[:, 0]),
    "city": np.array(["Rome", "Oslo", "Lima", None], dtype=object)[np.arange(48) % 4],
    "member": ROWS[:, 1] > 0,
    "income": ROWS[:, 2] * 1e4,
    "code": [f"c{number % 16}" for number in range(48)],
})  # fmt: skip


def kind(make: Maker) -> Maker:
    """Put a maker among the kinds; a decorator."""
    KINDS[make.__name__] = make
    return make


def net(module: Any = MLP, **kwargs: Any) -> NeuralNetClassifier:
    """Return a recipe of few weights and epochs."""
    own = {"module__hidden": (5,)} if module is MLP else {}
    given = {"lr": 0.02, "max_epochs": 3, "batch_size": 16, **own, **kwargs}
    return NeuralNetClassifier(
        module, criterion=torch.nn.CrossEntropyLoss, optimizer=torch.optim.Adam, **given
    )


@kind
def network() -> tuple[Any, Any]:
    """Make one network of named columns and labels that are strings, on mixed rows."""
    X = pd.DataFrame(ROWS, columns=["a", "b", "c", "d"])
    weight = {"setosa": 1.0, "versicolor": 2.0, "virginica": 1.5}
    made = NetworkClassifier(
        net(callbacks=[GradientNormClipping(1.0)]), augmentation=MixUp(0.4), class_weight=weight,
        random_state=0,
    )  # fmt: skip
    return made.fit(X, NAMES), X


@kind
def double() -> tuple[Any, Any]:
    """Make one network in float64, with the weights of a criterion and two optimiser settings."""
    X = ROWS.astype(np.float64)
    recipe = net(
        module__activation="tanh", module__normalize=([0.1] * 4, [1.1] * 4),
        criterion__weight=torch.tensor([1.0, 2.0, 3.0]), criterion__label_smoothing=0.1,
        optimizer__weight_decay=1e-3, optimizer__betas=(0.8, 0.9),
    )  # fmt: skip
    return NetworkClassifier(recipe, random_state=1).fit(X, LABELS.astype(float)), X


@kind
def pretrained() -> tuple[Any, Any]:
    """Train new heads on the frozen backbone that a class makes."""
    made = Pretrained(net(module__in_shape=(4,), module__n_classes=2), freeze="backbone")
    return DeepEnsembleClassifier(made, 2, random_state=0).fit(ROWS, LABELS), ROWS


@kind
def ensemble() -> tuple[Any, Any]:
    """Hold folds out of members in turn, and find a temperature."""
    made = DeepEnsembleClassifier(
        net(), 4, averaging="logit", cross_fit=2, calibrate=True, random_state=0
    )
    return made.fit(ROWS, LABELS), ROWS


@kind
def grown() -> tuple[Any, Any]:
    """Make members of two recipes, by a warm start."""
    made = DeepEnsembleClassifier(net(), 1, warm_start=True, random_state=0).fit(ROWS, LABELS)
    made.set_params(n_estimators=2, estimator__module__hidden=(4, 3), estimator__lr=0.01)
    return made.fit(ROWS, LABELS), ROWS


@kind
def channels() -> tuple[Any, Any]:
    """Let members see parts of the columns."""
    made = DeepEnsembleClassifier(net(), 2, channel_splits=2, averaging="vote", random_state=0)
    return made.fit(ROWS, LABELS), ROWS


@kind
def table() -> tuple[Any, Any]:
    """Read a raw table, with all that rules choose for it but for the width, for small files."""
    narrow = Recipe(module=None, module_kwargs={"hidden": (5,)})
    made = DeepEnsembleClassifier(narrow, 2, cross_fit=2, random_state=0).fit(TABLE, NAMES)
    for one in (made, *made):
        one.estimator = None
    return made, TABLE


@kind
def tabular() -> tuple[Any, Any]:
    """Make a network with bins and embedded codes, with residual blocks."""
    X = np.hstack([ROWS, np.arange(48)[:, None] % 5]).astype(np.float32)
    recipe = net(
        TabularNet, module__hidden=(6,), module__cardinalities=(5,), module__category_size=2,
        module__embedding="piecewise", module__bins=quantile_bins(ROWS, 3),
        module__blocks="residual",
    )  # fmt: skip
    return NetworkClassifier(recipe, random_state=0).fit(X, LABELS), X


@kind
def periodic() -> tuple[Any, Any]:
    """Make a network with periodic embeddings, in reduced precision."""
    recipe = net(
        TabularNet, module__hidden=(6,), module__embedding="periodic",
        module__n_frequencies=2, module__embedding_size=2,
    )  # fmt: skip
    made = NetworkClassifier(recipe, precision="bf16", random_state=0)
    return made.fit(ROWS, LABELS), ROWS


@kind
def images() -> tuple[Any, Any]:
    """Learn images of bytes by a residual network."""
    X = (IMAGES * 255).astype(np.uint8)
    recipe = net(CifarResNet, module__width=2, module__depth=8)
    made = NetworkClassifier(recipe, augmentation=["crop-flip", "cutout"], random_state=0)
    return made.fit(X, KINDS_OF_IMAGES), X


@kind
def batch() -> tuple[Any, Any]:
    """Let members share their weights."""
    made = BatchEnsembleClassifier(net(), 2, averaging="logit", random_state=0)
    return made.fit(ROWS, LABELS), ROWS


@kind
def merged() -> tuple[Any, Any]:
    """Merge members into one network."""
    made = BatchEnsembleClassifier(
        net(), 2, init="normal", decay_to=1, merge="rank-mean", random_state=0
    )
    return made.fit(ROWS, LABELS), ROWS


@kind
def distilled() -> tuple[Any, Any]:
    """Teach students of an ensemble, with objects for all that can be one."""
    made = DistilledClassifier(
        DeepEnsembleClassifier(net(), 2), net(), objective=TruncatedTerm(tau=0.5),
        perturbation=ODS(0.1), n_students=2, random_state=0, report=2,
    )  # fmt: skip
    return made.fit(ROWS, LABELS > 0), ROWS


@kind
def transferred() -> tuple[Any, Any]:
    """Teach a student on rows that were made for it."""
    made = DistilledClassifier(
        NetworkClassifier(net()), net(), transfer=Munge(), transfer_size=1.0, random_state=0
    )
    return made.fit(ROWS, LABELS), ROWS


@kind
def one_to_one() -> tuple[Any, Any]:
    """Teach a student whose members share their weights."""
    made = DistilledClassifier(
        DeepEnsembleClassifier(net(), 2), BatchEnsembleClassifier(net(), 2), random_state=0
    )
    return made.fit(ROWS, LABELS), ROWS


@kind
def generations() -> tuple[Any, Any]:
    """Teach a network by itself."""
    made = SelfDistiller(net(), 1, average_generations=True, random_state=0)
    return made.fit(ROWS, LABELS), ROWS


@kind
def kernel() -> tuple[Any, Any]:
    """Fit linearised networks."""
    made = NTKClassifier(net(), n_estimators=2, reg="loo", random_state=0)
    return made.fit(ROWS, LABELS), ROWS


@kind
def kernel_sum() -> tuple[Any, Any]:
    """Fit linearised networks together, in all outputs' gradients."""
    made = NTKClassifier(net(), features="ntk-prime", n_estimators=2, combine="sum", random_state=0)
    return made.fit(ROWS, LABELS), ROWS


@kind
def kernel_rows() -> tuple[Any, Any]:
    """Make a linearised network that predicts through its training rows."""
    from skensemble.ntk import classifier

    folded, classifier._FOLDED = classifier._FOLDED, 0
    try:
        return NTKClassifier(net(), features="trace", random_state=0).fit(ROWS, LABELS), ROWS
    finally:
        classifier._FOLDED = folded


@kind
def pruned() -> tuple[Any, Any]:
    """Make a narrower network, taught by the one it was."""
    made = PrunedClassifier(
        net(module__hidden=(8, 6)), keep=0.5, finetune=2, distill=DistilledClassifier(),
        random_state=0,
    )  # fmt: skip
    return made.fit(ROWS, LABELS), ROWS


@kind
def masked() -> tuple[Any, Any]:
    """Make an ensemble in which single weights are zero."""
    inner = DeepEnsembleClassifier(net(), 2)
    made = PrunedClassifier(inner, method="magnitude", keep=0.5, finetune=1, random_state=0)
    return made.fit(ROWS, LABELS), ROWS


@kind
def pruned_images() -> tuple[Any, Any]:
    """Let batch normalisation select channels."""
    recipe = net(PreActResNet, module__width=2, module__depth=11, max_epochs=1)
    made = PrunedClassifier(recipe, method="slimming", keep=0.7, finetune=1, random_state=0)
    return made.fit(IMAGES, KINDS_OF_IMAGES), IMAGES


@kind
def dense_images() -> tuple[Any, Any]:
    """Cut feature maps that many layers read."""
    recipe = net(
        DenseNet, module__depth=10, module__growth=2, module__bottleneck=True, max_epochs=1
    )
    made = PrunedClassifier(recipe, keep=0.6, finetune=1, random_state=0)
    return made.fit(IMAGES, KINDS_OF_IMAGES), IMAGES


def make(name: str) -> tuple[Any, Any]:
    """Return the fitted estimator of a kind, and its rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return KINDS[name]()
