"""Claim: how much of an ensemble of four one network keeps, by nine ways of distilling it.

    python benchmarks/ensemble_distillation.py --data cifar10.npz              # preset cpu
    python benchmarks/ensemble_distillation.py --data cifar100.npz --preset paper --device cuda
    python benchmarks/ensemble_distillation.py --quick                         # does it run?

The rows and columns are those of Nam et al. (2022), *Improving ensemble distillation with
weight averaging and diversifying perturbation*: accuracy, negative log-likelihood and
expected calibration error as they come, and both again after one temperature was fitted
on rows that were held out of training (probabilities are averaged first, then scaled).
Nothing is chosen by test rows; temperature 4, alpha 0.9 (1 for Proxy-EnD² and the
students with members) and a step of 1/255 are the source's. The vectors of a student with
members start at one, decay towards one, and have their gradients multiplied by the number
of members.

A student with members is trained once and asked in three ways: as the members that it is;
as one network, its weights times the mean of r sᵀ, which is what the slides print (LatentBE);
and as one network, its weights times the product of the means, which is what the published
code does (factor-mean).

Every (seed, training) is written to `--work` when it is done and not run again, so that the
script may be stopped at any time. Preset `paper`: 45,000 and 5,000 images with crops and flips,
WRN-28-1 for ten classes and WRN-28-4 for a hundred, 200 epochs of SGD with Nesterov's momentum of
0.9, batches of 128, a rate of 0.1 that falls as a cosine, a weight decay of 5e-4. `SOURCE` has the
slides' figures, which are printed below its rows. Preset `cpu`: 4,000 training and 1,000 held-out
images of CIFAR-10 as they are, pooled to 16 x 16 by the network, a ResNet-8 of width 8, 10 epochs,
three seeds. `--data` names a file with ``X_train, y_train, X_test, y_test``, images as bytes
(n, 32, 32, 3).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from _bench import (
    interval,
    preset_parser,
    print_machine,
    provenance,
    read_preset,
    remembered,
    require_folder,
    write_json,
)
from _images import STATISTICS, ImageNetwork, image_parts
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from skorch.callbacks import LRScheduler
from torch import nn

from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
)
from skensemble.metrics import expected_calibration_error, negative_log_likelihood, pairwise_kl
from skensemble.nn import WideResNet

PACKAGES = ("torch", "numpy", "scikit-learn", "skorch", "scipy", "skensemble")
COLUMNS = ("acc", "nll", "ece", "cnll", "cece")


# The slides' figures by the number of classes, as far as they are at hand.
SOURCE: dict[int, dict[str, tuple[float | None, ...]]] = {
    100: {
        "DE-4": (81.37, 0.706, 0.031, 0.700, 0.018),
        "KD": (79.09, 1.038, 0.130, 0.861, 0.046),
        "AE-KD": (79.00, None, None, None, None),
        "Proxy-EnD2": (78.75, None, None, None, None),
        "LatentBE": (79.46, 0.993, 0.124, 0.837, 0.046),
        "LatentBE + ConfODS": (79.27, 0.955, 0.115, 0.840, 0.048),
        "LatentBE + TDiv-SDiv": (80.02, 0.792, 0.067, 0.772, 0.041),
    },
    10: {
        "DE-4": (94.71, None, None, None, None),
        "KD": (93.70, None, None, None, None),
        "LatentBE": (93.98, None, None, None, None),
        "LatentBE + TDiv-SDiv": (93.95, 0.205, None, None, None),
    },
}


@dataclass(frozen=True)
class Preset:
    """Sizes of one reproduction.

    A network is a residual network of a width, or a wide one that is widened by a factor for
    each number of classes.
    """

    n_train: int
    n_valid: int
    n_test: int
    depth: int
    width: int
    epochs: int
    seeds: int
    members: int = 4
    pool: int = 1
    widen: dict[int, int] = field(default_factory=dict)
    augmentation: str | None = None


PRESETS = {
    "cpu": Preset(4_000, 1_000, 5_000, 8, 8, 10, 3, pool=2),
    "paper": Preset(45_000, 5_000, 10_000, 28, 16, 200, 3, widen={10: 1, 100: 4},
                    augmentation="crop-flip"),
    "quick": Preset(96, 60, 48, 10, 4, 1, 1, 2, widen={10: 1}, augmentation="crop-flip"),
}  # fmt: skip


def network(preset: Preset, n_classes: int) -> dict[str, Any]:
    """Return the module of a recipe and its arguments."""
    if not preset.widen:
        return {"module": ImageNetwork, "module__depth": preset.depth,
                "module__width": preset.width, "module__pool": preset.pool}  # fmt: skip
    if n_classes not in preset.widen:
        raise SystemExit(
            f"The preset is for {' or '.join(map(str, preset.widen))} classes. The data have "
            f"{n_classes}."
        )
    return {"module": WideResNet, "module__depth": preset.depth, "module__width": preset.width,
            "module__widen": preset.widen[n_classes], "module__normalize": STATISTICS}  # fmt: skip


def recipe(preset: Preset, n_classes: int, device: str) -> NeuralNetClassifier:
    """Return the source's optimiser and schedule, shortened to the preset."""
    return NeuralNetClassifier(
        **network(preset, n_classes),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        optimizer__nesterov=True,
        optimizer__weight_decay=5e-4,
        lr=0.1,
        max_epochs=preset.epochs,
        batch_size=128,
        callbacks=[LRScheduler("CosineAnnealingLR", T_max=preset.epochs)],
        device=device,
    )


def merged(name: str) -> Callable[[Any], dict[str, Any]]:
    """Return what makes the rows of a student with members: folded in both ways."""

    def rows(student: Any) -> dict[str, Any]:
        members = student.estimators_[0]
        return {
            name: members.merge_members("rank-mean"),
            f"{name}, factor-mean": members.merge_members("factor-mean"),
        }

    return rows


Training = tuple[Any, Callable[[Any], dict[str, Any]]]


def trainings(
    net: NeuralNetClassifier, preset: Preset, seed: int, teacher: Any
) -> dict[str, Training]:
    """Return what is trained, and how rows of the table are made of it."""
    m, altered = preset.members, preset.augmentation
    body = BatchEnsembleClassifier(net, m, init="one", decay_to=1, fast_lr_factor=1.0)

    def student(student: Any = net, **settings: Any) -> Any:
        return DistilledClassifier(
            FrozenEstimator(teacher), student, temperature=4.0, augmentation=altered,
            random_state=seed + 1000, **settings,
        )  # fmt: skip

    def alone(name: str) -> Callable[[Any], dict[str, Any]]:
        return lambda fitted: {name: fitted}

    def members(fitted: Any) -> dict[str, Any]:
        return {f"BE-{m}, one to one": fitted, **merged("LatentBE")(fitted)}

    single = NetworkClassifier(net, augmentation=altered, random_state=seed)
    found: dict[str, Training] = {
        "single": (single, alone("single")),
        f"DE-{m}": (teacher, alone(f"DE-{m}")),
        "KD": (student(), alone("KD")),
        "AE-KD": (student(objective="adaptive"), alone("AE-KD")),
        "Proxy-EnD2": (student(objective="proxy-dirichlet", alpha=1.0), alone("Proxy-EnD2")),
        f"BE-{m}": (student(body, alpha=1.0), members),
    }
    for name, perturbation in (("ConfODS", "confods"), ("TDiv-SDiv", "tdiv-sdiv")):
        taught = student(body, alpha=1.0, perturbation=perturbation)
        found[f"BE-{m} + {name}"] = (taught, merged(f"LatentBE + {name}"))
    return found


def measure(classifier: Any, data: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the columns of the table."""
    y = data["y_test"]
    scaled = CalibratedClassifierCV(FrozenEstimator(_Flat(classifier)), method="temperature")
    n = len(data["X_valid"])
    scaled.fit(data["X_valid"].reshape(n, -1), data["y_valid"])
    proba = classifier.predict_proba(data["X_test"])
    calibrated = scaled.predict_proba(data["X_test"].reshape(len(y), -1))
    labels = classifier.classes_
    return {
        "acc": 100 * float((labels[proba.argmax(1)] == y).mean()),
        "nll": negative_log_likelihood(y, proba, labels=labels),
        "ece": expected_calibration_error(y, proba, labels=labels),
        "cnll": negative_log_likelihood(y, calibrated, labels=labels),
        "cece": expected_calibration_error(y, calibrated, labels=labels),
    }


class _Flat(ClassifierMixin, BaseEstimator):
    """A fitted classifier of images as one of flat rows, which the calibration wants."""

    def __init__(self, classifier: Any) -> None:
        self.classifier = classifier
        self.classes_ = classifier.classes_

    def fit(self, X: Any, y: Any) -> _Flat:
        """Do nothing: it is fitted."""
        return self

    def _images(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(X).astype(np.uint8).reshape(len(X), *self.classifier._recipe.in_shape)

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Return log-probabilities, those of the mean where there are members."""
        return self.classifier.predict_log_proba(self._images(X))

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Predict labels."""
        return self.classifier.predict(self._images(X))


@dataclass
class Seed:
    """One seed: its teacher is trained when it is first asked for."""

    number: int
    net: NeuralNetClassifier
    preset: Preset
    data: dict[str, np.ndarray]
    folder: Path

    def teacher(self) -> Any:
        """Return the ensemble, from its file where it was trained before."""
        path = self.folder / f"{self.number}-teacher.joblib"
        if not path.exists():
            ensemble = DeepEnsembleClassifier(
                self.net, self.preset.members, augmentation=self.preset.augmentation,
                random_state=self.number,
            )  # fmt: skip
            draft = path.with_suffix(".draft")
            start = time.perf_counter()
            ensemble.fit(self.data["X"], self.data["y"])
            joblib.dump((ensemble, time.perf_counter() - start), draft)
            draft.replace(path)
        return joblib.load(path)

    def rows(self, name: str) -> dict[str, Any]:
        """Train, and measure each row that is made of it."""
        ensemble, seconds = self.teacher()
        one, make = trainings(self.net, self.preset, self.number, ensemble)[name]
        if one is not ensemble:
            start = time.perf_counter()
            one.fit(self.data["X"], self.data["y"])
            seconds = time.perf_counter() - start
        found = {row: measure(made, self.data) for row, made in make(one).items()}
        for row in found.values():
            row["fit_seconds"] = seconds
        if one is ensemble:
            found[name]["pairwise_kl"] = pairwise_kl(one.predict_members(self.data["X_test"]))
        return found


def run(args: argparse.Namespace, preset: Preset) -> tuple[dict[str, list[dict[str, float]]], int]:
    """Train what is not there yet; return all rows of the table, and the number of classes."""
    data = image_parts(args.data, preset.n_train, preset.n_valid, preset.n_test)
    n_classes = len(np.unique(data["y"]))
    net = recipe(preset, n_classes, args.device)
    folder = args.work / args.preset
    require_folder(folder, asdict(preset) | {"seeds": None, "n_classes": n_classes})
    rows: dict[str, list[dict[str, float]]] = {}
    for number in range(preset.seeds):
        seed = Seed(number, net, preset, data, folder)
        for name in trainings(net, preset, number, None):
            path = folder / f"{number}-{name.replace(' ', '_')}.json"
            for row, found in remembered(path, partial(seed.rows, name)).items():
                rows.setdefault(row, []).append(found)
                line = "".join(f"{found[column]:>9.3f}" for column in COLUMNS)
                print(f"seed {number}  {row:<36}{line}", flush=True)
    return rows, n_classes


def report(
    rows: dict[str, list[dict[str, float]]], source: dict[str, tuple[float | None, ...]]
) -> dict[str, Any]:
    """Print means, spreads and the paired difference of each row from KD; the slides' below."""
    print(f"\n{'method':<36}" + "".join(f"{c:>17}" for c in COLUMNS) + "   NLL - KD's (95 %)")
    found: dict[str, Any] = {}
    for name, runs in rows.items():
        line, found[name] = f"{name:<36}", {"runs": runs}
        for column in COLUMNS:
            values = [one[column] for one in runs]
            sd = statistics.stdev(values) if len(values) > 1 else float("nan")
            line += f"{statistics.fmean(values):>9.3f} ± {sd:.3f}"
        gaps = [a["nll"] - b["nll"] for a, b in zip(runs, rows["KD"], strict=True)]
        if len(gaps) > 1 and name != "KD":
            apart = interval(gaps)
            line += f"   {apart['mean']:+.3f} ± {apart['half_width']:.3f}"
            found[name]["nll_minus_kd"] = apart
        print(line)
        told = source.get(name)
        if told is not None:
            found[name]["source"] = dict(zip(COLUMNS, told, strict=True))
            cells = "".join(f"{'' if value is None else f'{value:g}':>9}{'':8}" for value in told)
            print(f"{'  the slides':<36}{cells}")
    return found


def main() -> None:
    """Run a preset."""
    parser = preset_parser(__doc__, PRESETS, "ensemble_distillation")
    args, preset = read_preset(parser, PRESETS)
    facts = provenance(__file__, PACKAGES)
    print_machine(facts)
    rows, n_classes = run(args, preset)
    found = report(rows, SOURCE.get(n_classes, {}) if args.preset == "paper" else {})
    write_json(args.out, {"provenance": facts, "preset": asdict(preset), "rows": found})


if __name__ == "__main__":
    main()
