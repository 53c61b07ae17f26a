"""Claim: how much of an ensemble of four one network keeps, by nine ways of distilling it.

    python benchmarks/ensemble_distillation.py --data cifar10.npz              # preset cpu
    python benchmarks/ensemble_distillation.py --data cifar100.npz --preset paper --device cuda
    python benchmarks/ensemble_distillation.py --quick                         # does it run?

The rows and columns are those of Nam et al. (2022), *Improving ensemble distillation with
weight averaging and diversifying perturbation*: accuracy, negative log-likelihood and
expected calibration error as they come, and both again after one temperature was fitted
on rows that were held out of training (probabilities are averaged first, then scaled).
Nothing is chosen by test rows; temperature 4, alpha 0.9 (1 for Proxy-EnD² and the
students with members) and a step of 1/255 are the source's.

Every (seed, method) is written to `--work` when it is done and not run again, so that the
script may be stopped at any time. Preset `cpu`: 4,000 training and 1,000 held-out images
of CIFAR-10, pooled to 16 x 16 by the network, a ResNet-8 of width 8, 10 epochs, three
seeds. Preset `paper`: 45,000 and
5,000 images, WRN-28-1-like depth, 200 epochs, the source's schedule. `--data` names a
file with ``X_train, y_train, X_test, y_test``, images as bytes (n, 32, 32, 3).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bench import print_machine, provenance, write_json
from _images import ImageNetwork, load_images
from scipy import stats
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

PACKAGES = ("torch", "numpy", "scikit-learn", "skorch", "scipy", "skensemble")
COLUMNS = ("acc", "nll", "ece", "cnll", "cece")


@dataclass(frozen=True)
class Preset:
    """Sizes of one reproduction."""

    n_train: int
    n_valid: int
    n_test: int
    depth: int
    width: int
    epochs: int
    seeds: int
    members: int = 4
    pool: int = 1


PRESETS = {
    "cpu": Preset(4_000, 1_000, 5_000, 8, 8, 10, 3, pool=2),
    "paper": Preset(45_000, 5_000, 10_000, 26, 16, 200, 3),
    "quick": Preset(96, 60, 48, 8, 4, 1, 1, 2, pool=2),
}


def recipe(preset: Preset, device: str) -> NeuralNetClassifier:
    """Return the source's optimiser and schedule, shortened to the preset."""
    return NeuralNetClassifier(
        ImageNetwork,
        module__depth=preset.depth,
        module__width=preset.width,
        module__pool=preset.pool,
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


def load(path: Path | None, preset: Preset) -> dict[str, np.ndarray]:
    """Return training, held-out and test rows; noise where there is no file."""
    if path is None:
        rng = np.random.default_rng(0)
        n = preset.n_train + preset.n_valid
        X = rng.integers(0, 256, (n + preset.n_test, 3, 32, 32), dtype=np.uint8)
        y = np.arange(len(X)) % 10
        X_test, y_test, X, y = X[n:], y[n:], X[:n], y[:n]
    else:
        file = load_images(path)
        X, y, X_test, y_test = (file[k] for k in ("X_train", "y_train", "X_test", "y_test"))
        if len(X) < preset.n_train + preset.n_valid:
            raise SystemExit(
                f"The preset wants {preset.n_train + preset.n_valid} training rows. "
                f"{path} has {len(X)}."
            )
    a, b = preset.n_train, preset.n_train + preset.n_valid
    return {
        "X": X[:a], "y": y[:a], "X_valid": X[a:b], "y_valid": y[a:b],
        "X_test": X_test[: preset.n_test], "y_test": y_test[: preset.n_test],
    }  # fmt: skip


def methods(
    net: NeuralNetClassifier, preset: Preset, seed: int, teacher: Any
) -> dict[str, Callable[[], Any]]:
    """Return the rows of the table; `teacher` is called for the fitted ensemble."""
    m = preset.members
    body = BatchEnsembleClassifier(net, m, init="one", decay_to=1, fast_lr_factor=1.0)
    latent = BatchEnsembleClassifier(
        net, m, init="one", decay_to=1, fast_lr_factor=1.0, merge="factor-mean"
    )

    def student(student: Any = net, **settings: Any) -> Callable[[], Any]:
        return lambda: DistilledClassifier(
            FrozenEstimator(teacher()), student, random_state=seed + 1000, **settings
        )

    return {
        "single": lambda: NetworkClassifier(net, random_state=seed),
        f"DE-{m}": lambda: DeepEnsembleClassifier(net, m, random_state=seed),
        "KD": student(),
        "AE-KD": student(objective="adaptive"),
        "Proxy-EnD2": student(objective="proxy-dirichlet", alpha=1.0),
        f"BE-{m}, one to one": student(body, alpha=1.0),
        "LatentBE": student(latent, alpha=1.0),
        "LatentBE + ConfODS": student(latent, alpha=1.0, perturbation="confods"),
        "LatentBE + TDiv-SDiv": student(latent, alpha=1.0, perturbation="tdiv-sdiv"),
    }


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


def run(args: argparse.Namespace, preset: Preset) -> dict[str, list[dict[str, float]]]:
    """Train what is not there yet; return all rows of the table."""
    data = load(args.data, preset)
    net = recipe(preset, args.device)
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in range(preset.seeds):
        fitted: dict[str, Any] = {}

        def teacher(seed: int = seed, fitted: dict[str, Any] = fitted) -> Any:
            if "teacher" not in fitted:
                ensemble = DeepEnsembleClassifier(net, preset.members, random_state=seed)
                fitted["teacher"] = ensemble.fit(data["X"], data["y"])
            return fitted["teacher"]

        for name, make in methods(net, preset, seed, teacher).items():
            path = args.work / f"{args.preset}-{seed}-{name.replace(' ', '_')}.json"
            if not path.exists():
                start = time.perf_counter()
                is_teacher = name.startswith("DE-")
                one = teacher() if is_teacher else make().fit(data["X"], data["y"])
                row = measure(one, data) | {"fit_seconds": time.perf_counter() - start}
                if is_teacher:
                    row["pairwise_kl"] = pairwise_kl(one.predict_members(data["X_test"]))
                path.write_text(json.dumps(row))
            row = json.loads(path.read_text())
            rows.setdefault(name, []).append(row)
            print(f"seed {seed}  {name:<24}" + "".join(f"{row[c]:>9.3f}" for c in COLUMNS))
    return rows


def report(rows: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Print means, spreads and the paired difference of each row from KD."""
    print(f"\n{'method':<24}" + "".join(f"{c:>17}" for c in COLUMNS) + "   NLL - KD's (95 %)")
    found: dict[str, Any] = {}
    for name, runs in rows.items():
        line, found[name] = f"{name:<24}", {"runs": runs}
        for column in COLUMNS:
            values = [one[column] for one in runs]
            sd = statistics.stdev(values) if len(values) > 1 else float("nan")
            line += f"{statistics.fmean(values):>9.3f} ± {sd:.3f}"
        gaps = [a["nll"] - b["nll"] for a, b in zip(runs, rows["KD"], strict=True)]
        if len(gaps) > 1 and name != "KD":
            half = stats.t.ppf(0.975, len(gaps) - 1) * stats.sem(gaps)
            line += f"   {statistics.fmean(gaps):+.3f} ± {half:.3f}"
            found[name]["nll_minus_kd"] = {"mean": statistics.fmean(gaps), "half_width": half}
        print(line)
    return found


def main() -> None:
    """Run a preset."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).resolve().parent / "results"
    parser.add_argument("--data", type=Path, help="npz of CIFAR-10 or CIFAR-100")
    parser.add_argument("--preset", choices=("cpu", "paper", "quick"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="the preset quick, on noise")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--work", type=Path, default=Path("ensemble_distillation"))
    parser.add_argument("--out", type=Path, default=here / "ensemble_distillation.json")
    args = parser.parse_args()
    args.preset = "quick" if args.quick else args.preset
    if args.data is None and args.preset != "quick":
        parser.error("--data is needed for this preset")
    args.work.mkdir(parents=True, exist_ok=True)
    facts = provenance(__file__, PACKAGES)
    print_machine(facts)
    preset = PRESETS[args.preset]
    found = report(run(args, preset))
    write_json(args.out, {"provenance": facts, "preset": asdict(preset), "rows": found})


if __name__ == "__main__":
    main()
