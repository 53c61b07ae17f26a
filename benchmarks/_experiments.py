"""What the workloads of `claims.py` share: a task, columns, recipes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from skorch.callbacks import LRScheduler
from torch import nn

from skensemble import DeepEnsembleClassifier, DistilledClassifier

Row = dict[str, float]


@dataclass(frozen=True)
class Task:
    """What a workload is given: a seed, where to keep networks, and images."""

    seed: int
    folder: Path
    data: Path | None = None


class Workload(Protocol):
    """Sizes of an experiment; `parts` are what is run, and written down, one by one."""

    def parts(self) -> dict[str, Callable[[Task], Row]]:
        """Return functions of a task by name."""


@dataclass(frozen=True)
class Rows:
    """Training and test rows."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray

    def accuracy(self, model: Any) -> float:
        """Return test accuracy in per cent."""
        return 100 * float(model.score(self.X_test, self.y_test))

    def accuracies(self, models: Iterable[Any]) -> list[float]:
        """Return the test accuracy of each."""
        return [self.accuracy(model) for model in models]

    def mean(self, models: Iterable[Any]) -> float:
        """Return the mean test accuracy."""
        return statistics.fmean(self.accuracies(models))

    def fitted(self, models: Iterable[Any]) -> Row:
        """Return mean and least training accuracy of plain networks."""
        found = [100 * float(model.score(self.X, self.y)) for model in models]
        return {"fitted": statistics.fmean(found), "fitted, least": min(found)}

    def of_members(self, ensemble: Any, few: int) -> Row:
        """Return the columns of an ensemble, its members, and as many of them as students."""
        singles = self.accuracies(ensemble)
        return {
            "single": statistics.fmean(singles),
            "luckiest member": max(singles),
            "sd of members": statistics.stdev(singles),
            "ensemble": self.accuracy(ensemble),
            "as many members": self.accuracy(ensemble[:few]),
            **self.fitted(ensemble),
        }


def recipe(
    module: type[nn.Module], epochs: int, batch_size: int, lr: float, **arguments: Any
) -> NeuralNetClassifier:
    """Return SGD with Nesterov momentum, weight decay and a cosine, as all images are learned."""
    return NeuralNetClassifier(
        module,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        optimizer__nesterov=True,
        optimizer__weight_decay=5e-4,
        lr=lr,
        max_epochs=epochs,
        batch_size=batch_size,
        callbacks=[LRScheduler("CosineAnnealingLR", T_max=epochs)],
        **arguments,
    )


def for_mean(net: NeuralNetClassifier, n_members: int) -> NeuralNetClassifier:
    """Return the recipe by which a mean of networks moves each as far as it would go alone.

    The loss of the mean gives each member a gradient divided by their number M. A rate of M times
    the recipe's makes up for that; weight decay, which SGD multiplies by the rate, is divided by M.
    """
    decay = net.get_params().get("optimizer__weight_decay")
    changes = {} if decay is None else {"optimizer__weight_decay": decay / n_members}
    return clone(net).set_params(lr=net.lr * n_members, **changes)


def trained_sum(net: NeuralNetClassifier, n_members: int, seed: int) -> DeepEnsembleClassifier:
    """Return the unfitted trained sum: the mean of logits, at the rate and decay of `for_mean`."""
    return DeepEnsembleClassifier(for_mean(net, n_members), n_members, averaging="logit",
                                  joint=True, random_state=seed)  # fmt: skip


def student(teacher: Any, net: Any, seed: int, **settings: Any) -> DistilledClassifier:
    """Return unfitted students of a fitted teacher, at T = 4 and alpha = .9 if not said."""
    settings = {"temperature": 4.0, "alpha": 0.9, **settings}
    return DistilledClassifier(FrozenEstimator(teacher), net, random_state=seed, **settings)
