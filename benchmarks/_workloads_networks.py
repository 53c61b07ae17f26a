"""Messages 4 to 7: digits, which networks learn by heart, and multi-view data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from _experiments import Row, Rows, Task, recipe, student, trained_sum
from _multiview import DEFAULT, Experiment, stored_or_measured
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from torch import Tensor, nn

from skensemble import DeepEnsembleClassifier, NetworkClassifier
from skensemble.nn import CifarResNet


def digit_rows(n_rows: int, seed: int) -> Rows:
    """Draw training rows, as many of each class; the others are test rows."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    train, test = train_test_split(np.arange(len(X)), train_size=n_rows, stratify=y,
                                   random_state=seed)  # fmt: skip
    return Rows(X[train], y[train], X[test], y[test])


def digit_net(width: int, epochs: int) -> NeuralNetClassifier:
    """Return the recipe of a ResNet-8 for digits."""
    return recipe(CifarResNet, epochs, 50, 0.05, module__depth=8, module__width=width)


class Added(nn.Module):
    """The sum of the logits of networks."""

    def __init__(
        self, in_shape: tuple[int, ...], n_classes: int, width: int, n_networks: int
    ) -> None:
        super().__init__()
        networks = (CifarResNet(in_shape, n_classes, 8, width) for _ in range(n_networks))
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        return torch.stack([network(x) for network in self.networks]).sum(0)


@dataclass(frozen=True)
class Digits:
    """An ensemble, the sum, students of the ensemble and of one member."""

    n_rows: int = 150
    width: int = 4
    epochs: int = 60
    members: int = 5
    students: int = 5

    def parts(self) -> dict[str, Callable[[Task], Row]]:
        """Return what is run."""
        return {"all": self.run}

    def run(self, task: Task) -> Row:
        """Fill a row."""
        rows, net = digit_rows(self.n_rows, task.seed), digit_net(self.width, self.epochs)
        seed = 10_000 * (1 + task.seed)
        X, y = rows.X, rows.y
        ensemble = DeepEnsembleClassifier(net, self.members, random_state=seed).fit(X, y)
        together = trained_sum(net, self.members, seed + 1).fit(X, y)
        slow = DeepEnsembleClassifier(net, self.members, joint=True, random_state=seed + 1)
        added = recipe(Added, self.epochs, 50, 0.05, module__width=self.width,
                       module__n_networks=self.members)  # fmt: skip
        added = NetworkClassifier(added, random_state=seed + 1).fit(X, y)
        many = {"n_students": self.students}
        taught = student(ensemble, net, seed + 2, **many).fit(X, y)
        again = student(ensemble[0], net, seed + 3, **many).fit(X, y)
        return {
            **rows.of_members(ensemble, self.students),
            "sum": rows.accuracy(together),
            "sum, logits added": rows.accuracy(added),
            "sum, at one network's rate": rows.accuracy(slow.fit(X, y)),
            "distilled": rows.mean(taught.estimators_),
            "students together": rows.accuracy(taught),
            "self-distilled": rows.mean(again.estimators_),
            "fitted, sum": rows.fitted([together])["fitted"],
            "fitted, sum, logits added": rows.fitted([added])["fitted"],
            "fitted, sum, at one network's rate": rows.fitted([slow])["fitted"],
            "fitted, distilled": rows.fitted(taught.estimators_)["fitted"],
            "fitted, self-distilled": rows.fitted(again.estimators_)["fitted"],
        }


@dataclass(frozen=True)
class Views:
    """The setting of `multiview.py`, whose result is read where it holds the seed."""

    experiment: Experiment = DEFAULT
    students: int = 2
    n_new: int = 10_000

    def parts(self) -> dict[str, Callable[[Task], Row]]:
        """Return what is run."""
        return {"all": self.run}

    def run(self, task: Task) -> Row:
        """Turn errors over mu into accuracies."""
        found = stored_or_measured(task.seed, self.experiment, self.students, self.n_new)
        setting = self.experiment.setting
        kinds = {
            "single": "single", "luckiest member": "luckiest member", "ensemble": "ensemble",
            "as many members": "as many members", "sum": "trained sum", "distilled": "distilled",
            "students together": "ensemble of distilled", "self-distilled": "self-distilled",
            "sum, logits added": "trained sum, logits added",
        }  # fmt: skip
        accuracies = {name: 100 * (1 - setting.mu * found[key]) for name, key in kinds.items()}
        errors = {f"error over mu: {name}": found[key] for name, key in kinds.items()}
        fitted = {key: value for key, value in found.items() if key.startswith("fitted")}
        return accuracies | errors | fitted
