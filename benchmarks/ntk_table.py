"""Claim: for kernels, training the sum beats the ensemble, and distillation gains nothing.

    python benchmarks/ntk_table.py --data cifar10.npz
    python benchmarks/ntk_table.py --quick              # does it run at all?

The kernel rows of Allen-Zhu and Li (2023), *Towards understanding ensemble, knowledge
distillation and self-distillation in deep learning*, in their columns: the single network
(mean of ten, and the one that is best on held-out rows), the ensemble of ten, the trained
sum of ten, a student of the ensemble and one generation of self-distillation. Ridge
regression on the gradients of random networks, on 500 images of CIFAR-10, 150 for ntk-prime,
whose kernel has ten rows an image (the source used all images; its larger networks ran out of
memory for the sum, or used fewer than ten). Here the sum takes no more memory than one
kernel, and no cell is left out.

The ridge is 0.01 of the mean diagonal everywhere. A student's targets are
``0.1 y + 0.9 p``, `p` the teacher's calibrated probabilities (temperature 1). Test
rows choose nothing. Every (cell, seed) is written to `--work` and not run again; a seed is
another draw of the ten networks and of the training rows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bench import interval, print_machine, provenance, write_json
from _images import load_images
from sklearn.frozen import FrozenEstimator
from torch import Tensor, nn

from skensemble import DistilledClassifier, NTKClassifier, SelfDistiller
from skensemble.nn import CifarResNet

PACKAGES = ("torch", "numpy", "scikit-learn", "scipy", "skensemble")
COLUMNS = ("single", "best", "ensemble", "sum", "distilled", "self-distilled")
FEATURES = ("ntk", "ntk-prime", "gp")


class Perceptron(nn.Module):
    """Two hidden layers of 256 on all pixels."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(3072, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(),
            nn.Linear(256, n_classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        return self.layers(x - 0.5)


class SimpleCNN(nn.Module):
    """Three convolutions with strides, and a linear layer on what is left of the places."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(64, 64, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, n_classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        return self.layers(x - 0.5)


class PooledResNet(nn.Module):
    """A ResNet-8 of width 16 on images pooled to 16 x 16, its norms as they begin."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.pool, self.body = nn.AvgPool2d(2), CifarResNet((3, 16, 16), n_classes, 8, 16)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        return self.body(self.pool(x) - 0.5)


ARCHITECTURES = {"MLP": Perceptron, "CNN": SimpleCNN, "ResNet-8": PooledResNet}


N_TRAIN = {"ntk": 500, "ntk-prime": 150, "gp": 500}


def rows(path: Path | None, seed: int, quick: bool) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Draw training and held-out rows; test rows are always the same."""
    n, n_valid, n_test = (30, 20, 20) if quick else (max(N_TRAIN.values()), 500, 2000)
    rng = np.random.default_rng(seed)
    if path is None:
        X = rng.integers(0, 256, (n + n_valid + n_test, 3, 32, 32), dtype=np.uint8)
        y = np.arange(len(X)) % 10
        X_test, y_test = X[n + n_valid :], y[n + n_valid :]
    else:
        data = load_images(path)
        X, y, X_test, y_test = (data[k] for k in ("X_train", "y_train", "X_test", "y_test"))
    order = rng.permutation(len(X) if path is not None else n + n_valid)
    train, valid = order[:n], order[n : n + n_valid]
    return {"train": (X[train], y[train]), "valid": (X[valid], y[valid]),
            "test": (X_test[:n_test], y_test[:n_test])}  # fmt: skip


def run_cell(
    module: type[nn.Module], features: str, data: dict[str, Any], seed: int, members: int
) -> dict[str, float]:
    """Fill one row of the table."""
    (X, y), (X_valid, y_valid), (X_test, y_test) = (data[k] for k in ("train", "valid", "test"))
    X, y = X[: N_TRAIN[features]], y[: N_TRAIN[features]]

    def score(model: Any) -> float:
        return 100 * float(model.score(X_test, y_test))

    kernel = NTKClassifier(module, features=features, random_state=1000 * seed)
    ensemble = NTKClassifier(module, features=features, n_estimators=members, random_state=seed)
    start = time.perf_counter()
    ensemble.fit(X, y)
    seconds = time.perf_counter() - start
    logits = ensemble.predict_members(X_test, response="logit")
    found = (ensemble.classes_[logits.argmax(-1)] == y_test).mean(1)
    singles = (100 * found).tolist()
    together = 100 * float((ensemble.classes_[logits.mean(0).argmax(1)] == y_test).mean())
    held_out = ensemble.predict_members(X_valid).argmax(-1)
    held_out = (ensemble.classes_[held_out] == y_valid).mean(1)
    args: dict[str, Any] = {"temperature": 1.0, "alpha": 0.9, "random_state": 1000 * seed}
    student = DistilledClassifier(FrozenEstimator(ensemble), kernel, **args)
    return {
        "single": statistics.fmean(singles),
        "best": singles[int(np.argmax(held_out))],
        "ensemble": together,
        "sum": score(NTKClassifier(module, features=features, n_estimators=members,
                                   combine="sum", random_state=seed).fit(X, y)),
        "distilled": score(student.fit(X, y)),
        "self-distilled": score(SelfDistiller(kernel, **args).fit(X, y)),
        "single_sd": statistics.stdev(singles),
        "ensemble_seconds": seconds,
    }  # fmt: skip


def run(args: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Run what is not there yet."""
    table: dict[str, list[dict[str, float]]] = {}
    members, seeds = (2, 1) if args.quick else (10, args.seeds)
    for seed in range(seeds):
        data = rows(args.data, seed, args.quick)
        for name, module in ARCHITECTURES.items():
            for features in FEATURES:
                cell = f"{features}, {name}"
                path = args.work / f"{seed}-{features}-{name}{'-quick' * args.quick}.json"
                if not path.exists():
                    start = time.perf_counter()
                    found = run_cell(module, features, data, seed, members)
                    found["seconds"] = time.perf_counter() - start
                    path.write_text(json.dumps(found))
                one = json.loads(path.read_text())
                table.setdefault(cell, []).append(one)
                print(f"seed {seed}  {cell:<22}" + "".join(f"{one[c]:>10.2f}" for c in COLUMNS),
                      flush=True)  # fmt: skip
    return table


def gap(runs: list[dict[str, float]], a: str, b: str) -> dict[str, float]:
    """Return the mean paired difference of two columns and half of its 95 % interval."""
    return interval([one[a] - one[b] for one in runs])


def report(table: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Print means over seeds, and what the source's messages say of them."""
    print(f"\n{'':<22}" + "".join(f"{c:>16}" for c in COLUMNS) + f"{'sum - ensemble':>18}"
          f"{'distilled - single':>20}")  # fmt: skip
    found: dict[str, Any] = {}
    for cell, runs in table.items():
        line = f"{cell:<22}"
        for column in COLUMNS:
            values = [one[column] for one in runs]
            sd = statistics.stdev(values) if len(values) > 1 else float("nan")
            line += f"{statistics.fmean(values):>9.2f} ± {sd:<4.2f}"
        gaps = {"sum - ensemble": gap(runs, "sum", "ensemble"),
                "distilled - single": gap(runs, "distilled", "single"),
                "self-distilled - single": gap(runs, "self-distilled", "single")}  # fmt: skip
        for name in ("sum - ensemble", "distilled - single"):
            line += f"{gaps[name]['mean']:>+12.2f} ± {gaps[name]['half_width']:.2f}"
        found[cell] = {"runs": runs, "gaps": gaps}
        print(line)
    return found


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).resolve().parent / "results"
    parser.add_argument("--data", type=Path, help="npz of CIFAR-10")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="two members on noise")
    parser.add_argument("--work", type=Path, default=Path("ntk_table"))
    parser.add_argument("--out", type=Path, default=here / "ntk_table.json")
    args = parser.parse_args()
    if args.data is None and not args.quick:
        parser.error("--data is needed, or --quick")
    args.work.mkdir(parents=True, exist_ok=True)
    facts = provenance(__file__, PACKAGES) | {"threads": torch.get_num_threads()}
    print_machine(facts)
    write_json(args.out, {"provenance": facts, "cells": report(run(args))})


if __name__ == "__main__":
    main()
