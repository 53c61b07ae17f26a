"""Kernels of images, of which there are far more than features; and Gaussian rows."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from _experiments import Row, Rows, Task, student
from _images import load_pooled
from skorch import NeuralNetClassifier
from skorch.callbacks import LRScheduler
from torch import Tensor, nn

from skensemble import DeepEnsembleClassifier, NTKClassifier
from skensemble.datasets import make_labelled_gaussian
from skensemble.nn import MLP

# -- kernels ---------------------------------------------------------------------------------


class SmallConvolutions(nn.Module):
    """Two convolutions of stride 2, a mean over positions, a linear layer."""

    def __init__(self, n_classes: int, first: int = 16, last: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, first, 3, 2, 1), nn.ReLU(), nn.Conv2d(first, last, 3, 2, 1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, n_classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        return self.layers(x)


@dataclass(frozen=True)
class Kernels:
    """Ridge regression on features of random networks: apart, as one, and taught by each other."""

    features: str
    first: int
    last: int
    n_rows: int = 8000
    n_test: int = 5000
    draws: int = 10
    side: int = 16

    def parts(self) -> dict[str, Callable[[Task], Row]]:
        """Return what is run."""
        return {"all": self.run}

    def run(self, task: Task) -> Row:
        """Fill a row."""
        bytes_of = load_pooled(task.data, self.n_rows, self.n_test, 32 // self.side, task.seed)
        X, X_test = ((bytes_of[k] / 255 - 0.5).astype(np.float32) for k in ("X", "X_test"))
        rows = Rows(X, bytes_of["y"], X_test, bytes_of["y_test"])

        def kernel(seed: int | None = None, draws: int = 1, combine: str = "ensemble") -> Any:
            net = NeuralNetClassifier(SmallConvolutions, criterion=nn.CrossEntropyLoss,
                                      module__first=self.first, module__last=self.last)  # fmt: skip
            return NTKClassifier(net, features=self.features, n_estimators=draws, combine=combine,
                                 solver="cg", random_state=seed)  # fmt: skip

        seed = 10_000 * (1 + task.seed)
        ensemble = kernel(seed, self.draws).fit(X, rows.y)
        together = kernel(seed, self.draws, "sum").fit(X, rows.y)
        logits = ensemble.predict_members(X_test, response="logit")
        taught = student(ensemble, kernel(), seed + 1).fit(X, rows.y)
        one = kernel(seed + 2).fit(X, rows.y)
        again = student(one, kernel(), seed + 3).fit(X, rows.y)
        return {
            "single": 100 * float((ensemble.classes_[logits.argmax(-1)] == rows.y_test).mean()),
            "ensemble": rows.accuracy(ensemble),
            "sum": rows.accuracy(together),
            "distilled": rows.accuracy(taught),
            "self-distilled": rows.accuracy(again),
        }


# -- Gaussian rows ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Gaussian:
    """Networks whose weight decay single ones choose on validation rows."""

    labeller: str
    n_rows: int = 1000
    members: int = 6
    epochs: int = 40
    # Dense where the best decay was on other seeds than those that count.
    decays: tuple[float, ...] = (0.0, 1e-3, 3e-3, 1e-2, 2e-2, 3e-2, 5e-2)

    def parts(self) -> dict[str, Callable[[Task], Row]]:
        """Return what is run."""
        return {"all": self.run}

    def run(self, task: Task) -> Row:
        """Choose the decay on validation rows, then ask the test rows."""
        n = self.n_rows
        X, y = make_labelled_gaussian(
            7 * n, shape=40, labeller=self.labeller, labeller_state=task.seed,
            random_state=task.seed, dtype=np.float32,
        )  # fmt: skip
        valid = Rows(X[:n], y[:n], X[n : 2 * n], y[n : 2 * n])
        test = Rows(X[:n], y[:n], X[2 * n :], y[2 * n :])
        ensembles = {
            decay: DeepEnsembleClassifier(self.net(decay), self.members, random_state=task.seed)
            for decay in self.decays
        }
        for ensemble in ensembles.values():
            ensemble.fit(test.X, test.y)
        best = max(self.decays, key=lambda decay: valid.mean(ensembles[decay]))
        columns = {"": best, ", no decay": 0.0}
        row = {"decay": best, **test.fitted(ensembles[best])}
        for suffix, decay in columns.items():
            row[f"single{suffix}"] = statistics.fmean(test.accuracies(ensembles[decay]))
            row[f"ensemble{suffix}"] = test.accuracy(ensembles[decay])
        return row

    def net(self, decay: float) -> NeuralNetClassifier:
        """Return the recipe at a decay."""
        return NeuralNetClassifier(
            MLP, module__hidden=(128, 128), criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.SGD, optimizer__momentum=0.9, optimizer__weight_decay=decay,
            lr=0.1, max_epochs=self.epochs, batch_size=64,
            callbacks=[LRScheduler("CosineAnnealingLR", T_max=self.epochs)],
        )  # fmt: skip
