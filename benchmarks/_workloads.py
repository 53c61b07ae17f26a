"""What `claims.py` trains and measures: one function a workload, a row of columns a seed.

Columns are test accuracies in per cent but where their name says otherwise. `claims.py` says
what each workload is.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _images import ImageNetwork, load_images
from _multiview import DEFAULT, Teaching
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from skorch import NeuralNetClassifier
from skorch.callbacks import LRScheduler
from torch import Tensor, nn

import skensemble
from skensemble import (
    DeepEnsembleClassifier,
    DistilledClassifier,
    NTKClassifier,
    PrunedClassifier,
)
from skensemble.datasets import make_labelled_gaussian, make_multiview_classification
from skensemble.metrics import pairwise_kl
from skensemble.nn import MLP, CifarResNet, gradient_descent
from skensemble.preprocessing import ChannelSplit, ModuleFeatures

Row = dict[str, float]


@dataclass(frozen=True)
class Preset:
    """Sizes; and how many seeds each kind of workload has."""

    seeds: dict[str, int]
    members: int = 4
    students: int = 3
    n_images: int = 2500
    n_test: int = 5000
    epochs: int = 12
    steps: float = 1.0
    n_kernel: int = 300
    draws: int = 10
    n_rows: int = 1000
    row_members: int = 6
    row_epochs: int = 40


@dataclass(frozen=True)
class Task:
    """What a workload is given."""

    preset: Preset
    seed: int
    folder: Path
    data: Path | None


# -- images --------------------------------------------------------------------------------


def percent(classifier: Any, X: np.ndarray, y: np.ndarray) -> float:
    """Return test accuracy."""
    return 100 * float(classifier.score(X, y))


def each(ensemble: Any, X: np.ndarray, y: np.ndarray) -> list[float]:
    """Return the test accuracies of members."""
    return [percent(member, X, y) for member in ensemble]


def image_rows(task: Task) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw a seed's training rows; test rows are always the same."""
    n, n_test = task.preset.n_images, task.preset.n_test
    rng = np.random.default_rng(task.seed)
    if task.data is None:  # noise, to see whether all runs
        X = rng.integers(0, 256, (n + n_test, 3, 32, 32), dtype=np.uint8)
        y = np.arange(len(X)) % 10
        return X[:n], X[n:], y[:n], y[n:]
    data = load_images(task.data)
    at = rng.permutation(len(data["X_train"]))[:n]
    return (data["X_train"][at], data["X_test"][:n_test], data["y_train"][at],
            data["y_test"][:n_test])  # fmt: skip


def image_net(
    task: Task, module: Any = ImageNetwork, lr: float = 0.05, share: float = 1.0, **kwargs: Any
) -> NeuralNetClassifier:
    """Return the recipe of networks on images, for a share of the epochs."""
    epochs = max(1, round(share * task.preset.epochs))
    if module is ImageNetwork:
        kwargs = {"module__pool": 2, **kwargs}
    return NeuralNetClassifier(
        module,
        module__depth=8,
        module__width=16,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        optimizer__nesterov=True,
        optimizer__weight_decay=5e-4,
        lr=lr,
        max_epochs=epochs,
        batch_size=64,
        callbacks=[LRScheduler("CosineAnnealingLR", T_max=epochs)],
        **kwargs,
    )


def image_teacher(task: Task) -> DeepEnsembleClassifier:
    """Return the seed's ensemble, trained once."""
    path = task.folder / f"images-{task.seed}.safetensors"
    if not path.exists():
        X, _, y, _ = image_rows(task)
        ensemble = DeepEnsembleClassifier(image_net(task), task.preset.members,
                                          random_state=task.seed).fit(X, y)  # fmt: skip
        ensemble.save(path)
    return skensemble.load(path, module=ImageNetwork)


def naswot(module: nn.Module, x: Tensor, k: float = 1e-5) -> float:
    """Return ``-sum log(u_i + k) + 1 / (u_i + k)`` of the correlation of input gradients.

    `u` are the eigenvalues of the correlation matrix of the rows' gradients of the summed
    outputs (Mellor et al., first version; evaluation mode). The more alike the gradients of two
    rows, the lower.
    """
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(module.eval()(x).sum(), x)
    values = torch.linalg.eigvalsh(torch.corrcoef(gradient.flatten(1).double()))
    values = values.clamp_min(0) + k
    return -float((values.log() + 1 / values).sum())


def mean_naswot(members: Any, X: np.ndarray) -> float:
    """Return the mean score of networks on 128 rows."""
    x = torch.from_numpy(X[:128]).float() / 255
    return statistics.fmean(naswot(member.module_, x) for member in members)


def images_ensemble(task: Task) -> Row:
    """Train the teacher."""
    _, X_test, _, y_test = image_rows(task)
    ensemble = image_teacher(task)
    return {
        **of_members(ensemble, X_test, y_test, task.preset.students),
        "naswot, single": mean_naswot(ensemble, X_test),
        "kl, members": pairwise_kl(ensemble.predict_members(X_test)),
    }


def of_members(ensemble: Any, X: np.ndarray, y: np.ndarray, few: int) -> Row:
    """Return the columns of an ensemble and its members."""
    singles = each(ensemble, X, y)
    return {
        "single": statistics.fmean(singles),
        "luckiest": max(singles),
        "sd": statistics.stdev(singles),
        "ensemble": percent(ensemble, X, y),
        "few": percent(ensemble[:few], X, y),
    }


def images_sum(task: Task) -> Row:
    """Train the sum."""
    X, X_test, y, y_test = image_rows(task)
    together = DeepEnsembleClassifier(image_net(task), task.preset.members, joint=True,
                                      random_state=task.seed).fit(X, y)  # fmt: skip
    return {"sum": percent(together, X_test, y_test)}


def images_distilled(task: Task) -> Row:
    """Teach networks by the ensemble."""
    X, X_test, y, y_test = image_rows(task)
    student = DistilledClassifier(
        FrozenEstimator(image_teacher(task)), image_net(task), temperature=4.0, alpha=0.9,
        n_students=task.preset.students, random_state=1000 + task.seed,
    ).fit(X, y)  # fmt: skip
    return {
        "distilled": statistics.fmean(each(student.estimators_, X_test, y_test)),
        "students": percent(student, X_test, y_test),
        "naswot, distilled": mean_naswot(student.estimators_, X_test),
        "kl, students": pairwise_kl([one.predict_proba(X_test) for one in student.estimators_]),
    }


def images_self(task: Task) -> Row:
    """Teach networks by one of their kind."""
    X, X_test, y, y_test = image_rows(task)
    student = DistilledClassifier(
        FrozenEstimator(image_teacher(task)[0]), image_net(task), temperature=4.0, alpha=0.9,
        n_students=2, random_state=2000 + task.seed,
    ).fit(X, y)  # fmt: skip
    return {"self-distilled": statistics.fmean(each(student.estimators_, X_test, y_test))}


def images_channels(task: Task) -> Row:
    """Train on what the teacher's first member puts out after its second group."""
    X, X_test, y, y_test = image_rows(task)
    features = ModuleFeatures(image_teacher(task)[0], layer="body.blocks.1").fit(X[:2])
    X, X_test = features.transform(X), features.transform(X_test)
    net, splits, row = image_net(task, CifarResNet), 4, {}
    average = ChannelSplit(splits, mode="average")
    for name, steps, channel_splits in (
        ("original", (), None), ("split", (), splits), ("average", (average,), None)
    ):  # fmt: skip
        ensemble = DeepEnsembleClassifier(net, splits, channel_splits=channel_splits,
                                          random_state=task.seed)  # fmt: skip
        pipeline = make_pipeline(*steps, ensemble).fit(X, y)
        seen = pipeline[:-1].transform(X_test) if steps else X_test
        row[f"single, {name}"] = statistics.fmean(each(ensemble, seen, y_test))
        row[f"ensemble, {name}"] = percent(ensemble, seen, y_test)
    return row


def images_pruned(task: Task) -> Row:
    """Prune plain and distilled networks, and train them on by labels or by what they were."""
    X, X_test, y, y_test = image_rows(task)
    net, rows = image_net(task), []
    for number, plain in enumerate(image_teacher(task)[:2]):
        seed = 3000 + 10 * task.seed + number
        learned = DistilledClassifier(FrozenEstimator(plain), net, temperature=4.0, alpha=0.9,
                                      random_state=seed).fit(X, y)  # fmt: skip
        lesson = DistilledClassifier(temperature=4.0, alpha=0.9)
        prune = partial(
            PrunedClassifier, method="l1-filter", keep=0.5,
            finetune=image_net(task, lr=0.01, share=0.5), random_state=seed,
        )  # fmt: skip
        rows.append({
            "unpruned": plain,
            "unpruned, distilled": learned,
            "pruned, finetuned": prune(FrozenEstimator(plain)).fit(X, y),
            "pruned, self-distilled": prune(FrozenEstimator(learned), distill=lesson).fit(X, y),
        })  # fmt: skip
    return {name: statistics.fmean(percent(row[name], X_test, y_test) for row in rows)
            for name in rows[0]}  # fmt: skip


# -- the other workloads -------------------------------------------------------------------


def views(task: Task) -> Row:
    """Train on multi-view data, at the settings of `multiview.py`."""
    args: dict[str, Any] = {"dtype": np.float32}
    X, y, found = make_multiview_classification(
        500, return_views=True, random_state=task.seed, **args
    )
    X_test, y_test = make_multiview_classification(
        20_000, features=found.features, random_state=10_000 + task.seed, **args
    )
    seed, members, students = task.seed, 2 * task.preset.members, task.preset.students
    steps = int(DEFAULT.setting.n_steps * task.preset.steps)
    net = gradient_descent(lr=DEFAULT.setting.lr, n_steps=steps)
    make = partial(DeepEnsembleClassifier, net, members, averaging="logit", random_state=seed)
    ensemble, together = make().fit(X, y), make(joint=True).fit(X, y)

    def taught_by(teacher: Any, how: Teaching, own_seed: int) -> Any:
        n_steps = int(how.n_steps * task.preset.steps)
        recipe = gradient_descent(lr=how.full_lr, n_steps=n_steps)
        return how.students(teacher, recipe, own_seed, students).fit(X, y)

    taught = taught_by(ensemble, DEFAULT.student, seed + 1)
    again = taught_by(ensemble[0], DEFAULT.self_student, seed + 2)
    return {
        **of_members(ensemble, X_test, y_test, students),
        "sum": percent(together, X_test, y_test),
        "distilled": statistics.fmean(each(taught.estimators_, X_test, y_test)),
        "students": percent(taught, X_test, y_test),
        "self-distilled": statistics.fmean(each(again.estimators_, X_test, y_test)),
    }


class DigitNetwork(nn.Module):
    """Two convolutions and a linear layer, for digits of 8 x 8."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(128, n_classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        return self.layers(x)


def kernels(features: str, task: Task) -> Row:
    """Fit kernels to digits; every seed has other rows and other draws."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16 - 0.5).astype(np.float32).reshape(-1, 1, 8, 8)
    order = np.random.default_rng(task.seed).permutation(len(X))
    train, test = order[: task.preset.n_kernel], order[task.preset.n_kernel :]
    X, X_test, y, y_test = X[train], X[test], y[train], y[test]
    make = partial(NTKClassifier, DigitNetwork, features=features, random_state=task.seed)
    ensemble = make(n_estimators=task.preset.draws).fit(X, y)
    together = make(n_estimators=task.preset.draws, combine="sum").fit(X, y)
    logits = ensemble.predict_members(X_test, response="logit")
    singles = 100 * (ensemble.classes_[logits.argmax(-1)] == y_test).mean(1)
    kernel = NTKClassifier(DigitNetwork, features=features)
    learn = {"temperature": 4.0, "alpha": 0.9, "random_state": 1000 + task.seed}
    taught = DistilledClassifier(FrozenEstimator(ensemble), kernel, **learn)
    one = NTKClassifier(DigitNetwork, features=features, random_state=2000 + task.seed).fit(X, y)
    again = DistilledClassifier(FrozenEstimator(one), kernel, **learn)
    return {
        "single": float(singles.mean()),
        "ensemble": percent(ensemble, X_test, y_test),
        "sum": percent(together, X_test, y_test),
        "distilled": percent(taught.fit(X, y), X_test, y_test),
        "self-distilled": percent(again.fit(X, y), X_test, y_test),
    }


# Dense where the best decay was on other seeds than those that count.
DECAYS = (0.0, 1e-3, 3e-3, 1e-2, 2e-2, 3e-2, 5e-2)


def gaussian(labeller: str, task: Task) -> Row:
    """Choose the weight decay of single networks on validation rows, then ask the test rows."""
    n = task.preset.n_rows
    X, y = make_labelled_gaussian(
        7 * n, shape=40, labeller=labeller, labeller_state=task.seed, random_state=task.seed,
        dtype=np.float32,
    )  # fmt: skip
    train, valid, test = slice(0, n), slice(n, 2 * n), slice(2 * n, None)
    by_decay = {}
    for decay in DECAYS:
        net = NeuralNetClassifier(
            MLP, module__hidden=(128, 128), criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.SGD, optimizer__momentum=0.9, optimizer__weight_decay=decay,
            lr=0.1, max_epochs=task.preset.row_epochs, batch_size=64,
            callbacks=[LRScheduler("CosineAnnealingLR", T_max=task.preset.row_epochs)],
        )  # fmt: skip
        ensemble = DeepEnsembleClassifier(net, task.preset.row_members, random_state=task.seed).fit(
            X[train], y[train]
        )
        by_decay[decay] = ensemble, statistics.fmean(each(ensemble, X[valid], y[valid]))
    best = max(by_decay, key=lambda decay: by_decay[decay][1])

    def columns(ensemble: Any, suffix: str = "") -> Row:
        return {f"single{suffix}": statistics.fmean(each(ensemble, X[test], y[test])),
                f"ensemble{suffix}": percent(ensemble, X[test], y[test])}  # fmt: skip

    return {**columns(by_decay[best][0]), **columns(by_decay[0.0][0], ", no decay"),
            "decay": best}  # fmt: skip


WORKLOADS: dict[str, dict[str, Callable[[Task], Row]]] = {
    "views": {"all": views},
    "ntk": {"all": partial(kernels, "ntk")},
    "gp": {"all": partial(kernels, "gp")},
    "linear": {"all": partial(gaussian, "linear")},
    "fc2": {"all": partial(gaussian, "fc2")},
    "images": {
        "ensemble": images_ensemble,
        "distilled": images_distilled,
        "self": images_self,
        "sum": images_sum,
        "channels": images_channels,
        "pruned": images_pruned,
    },
}
