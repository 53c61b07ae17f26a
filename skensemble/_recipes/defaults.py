"""What is chosen for a user who chose nothing: network, optimiser and budget, by rules.

The rules know rows, columns and classes alone, never a stopwatch or a score, so that runs repeat.
Numbers were settled by cross-validation on training rows of public tables; ``docs/guide/tables.md``
says which, and what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping, LRScheduler
from torch import nn

from skensemble._recipes.training import TrainingSettings
from skensemble.nn import CifarResNet, TabularNet

# Of tables: layers, and what keeps them from learning rows by heart.
_BLOCKS, _HIDDEN = "residual", (128, 128)
_DROPOUT = 0.2
_LR = 1e-3
_WEIGHT_DECAY = 0.05
# Batches shrink with the table, since a network wants steps: as many, at any number of rows.
_STEPS = 1000
_SMALLEST_BATCH, _BATCH, _LARGEST_BATCH = 16, 256, 1024
_BATCHES_AN_EPOCH = 32
_MANY_ROWS = 100_000
_MOST_EPOCHS = 400
_LEAST_EPOCHS = {"few": 30, "many": 8}
# Of images.
_IMAGE_EPOCHS = 60
_IMAGE_BATCH = 64
_VALID_BATCH = 4096
# Epochs without a better score on held-out rows, as a share of all.
_PATIENCE = 0.15


@dataclass(frozen=True)
class Choice:
    """A network and how it is trained.

    Attributes
    ----------
    module : type
        The architecture.
    module_kwargs : dict
        Its arguments that do not follow from the data's shape alone.
    training : TrainingSettings
        Optimiser, schedule and budget.
    """

    module: type[nn.Module]
    module_kwargs: dict[str, Any]
    training: TrainingSettings


def choose(
    in_shape: tuple[int, ...], n_rows: int, layout: Mapping[str, Any] | None, times: float = 1.0
) -> Choice:
    """Choose for samples of a shape; `layout` is that of a table that was read.

    Parameters
    ----------
    in_shape : tuple of int
        ``(n_features,)`` or ``(channels, height, width)``.
    n_rows : int
        Rows to train on.
    layout : mapping or None
        What a `TablePreprocessor` says of its columns.
    times : float, default=1.0
        How many times the steps.
    """
    if len(in_shape) > 1:
        epochs = round(_IMAGE_EPOCHS * times)
        return Choice(CifarResNet, {}, _training(CifarResNet, _IMAGE_BATCH, epochs))
    batch = _batch(n_rows)
    kwargs: dict[str, Any] = {"hidden": list(_HIDDEN), "dropout": _DROPOUT, "blocks": _BLOCKS}
    if layout is not None:
        kwargs["numeric"] = int(layout["numeric"])
        kwargs["cardinalities"] = [int(n) for n in layout["cardinalities"]]
    return Choice(TabularNet, kwargs, _training(TabularNet, batch, _epochs(n_rows, batch, times)))


def _batch(n_rows: int) -> int:
    """Return the rows of a batch: a share of all, in powers of two within bounds."""
    largest = _BATCH if n_rows <= _MANY_ROWS else _LARGEST_BATCH
    wanted = 2 ** round(math.log2(max(1, n_rows) / _BATCHES_AN_EPOCH))
    return int(min(max(wanted, _SMALLEST_BATCH), largest))


def _epochs(n_rows: int, batch: int, times: float) -> int:
    """Return how many epochs have the budget's steps."""
    least = _LEAST_EPOCHS["few" if n_rows <= _MANY_ROWS else "many"]
    wanted = round(_STEPS * times / math.ceil(max(1, n_rows) / batch))
    return min(max(wanted, least), round(_MOST_EPOCHS * max(1.0, times)))


def _training(module: type[nn.Module], batch: int, epochs: int) -> TrainingSettings:
    stopping = best_epoch(epochs)
    schedule = LRScheduler("CosineAnnealingLR", T_max=epochs)
    settings: dict[str, Any] = {
        "optimizer": torch.optim.AdamW,
        "lr": _LR,
        "max_epochs": epochs,
        "batch_size": batch,
        "train_split": None,
    }
    net = NeuralNetClassifier(  # which fine-tuning reads again
        module,
        criterion=nn.CrossEntropyLoss,
        optimizer__weight_decay=_WEIGHT_DECAY,
        iterator_valid__batch_size=_VALID_BATCH,
        callbacks=[("schedule", schedule), ("stopping", stopping)],
        **settings,
    )
    return TrainingSettings(
        optimizer_kwargs={"weight_decay": _WEIGHT_DECAY},
        valid_batch_size=_VALID_BATCH,
        net=net,
        **settings,
    )


def best_epoch(epochs: int) -> EarlyStopping:
    """Return the rule by which training stops, and keeps the best epoch on held-out rows."""
    return EarlyStopping(
        monitor="valid_loss", patience=max(5, round(_PATIENCE * epochs)), threshold=0.0,
        load_best=True, sink=_say_nothing,
    )  # fmt: skip


def _say_nothing(message: str) -> None:
    """Leave a line unsaid; skorch's callbacks print otherwise."""
