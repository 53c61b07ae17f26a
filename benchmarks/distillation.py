"""Claim: what a student keeps of its teacher, in accuracy, likelihood, time and size.

    python benchmarks/distillation.py                       # digits and the two tables
    python benchmarks/distillation.py --cifar cifar10.npz   # and 5,000 images of CIFAR-10
    python benchmarks/distillation.py --only cifar --cifar cifar10.npz   # one part again
    python benchmarks/distillation.py --quick               # does it run at all?

Digits: half of the rows train, half test; an MLP 64-64-64-10, an ensemble of ten, one
student of the ensemble, one generation of self-distillation; ten seeds of split and
networks. CIFAR-10: 5,000 training and 10,000 test images, pooled to 16 x 16 by the network
so that ten seeds take half an hour on two cores; a ResNet-8 of width 16, 15 epochs, an
ensemble of five. `--cifar` names a file with ``X_train, y_train, X_test, y_test``, images
as bytes (n, 32, 32, 3).

T = 4 and alpha = 0.9 throughout, the library's defaults, chosen on nobody's test rows. A
row says mean and standard deviation over seeds; ``p`` is of a paired t-test against the
single network, which has the same seeds and rows.

Tables: a random forest and gradient boosting teach one MLP 64-64. Sizes are those of the
pickles, seconds the median of five predictions of all test rows.
"""

from __future__ import annotations

import argparse
import json
import pickle
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bench import print_machine, provenance, write_json
from _images import ImageNetwork, load_images
from scipy.stats import ttest_rel
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from skorch.callbacks import LRScheduler
from torch import nn

from skensemble import (
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    SelfDistiller,
)
from skensemble.metrics import expected_calibration_error
from skensemble.nn import MLP

PACKAGES = ("torch", "numpy", "scikit-learn", "skorch", "scipy", "skensemble")
T, ALPHA = 4.0, 0.9
# Beside the papers' student of the digits: one that takes four times the epochs, and one that
# hears its teacher on as many rows again, and more of them, as well.
DIGITS_MORE: dict[str, dict[str, Any]] = {
    "patient": {"patience": 4},
    "patient, transfer": {"patience": 4, "transfer": "mixup", "transfer_size": 3},
}
Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def measures(classifier: Any, X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return accuracy, negative log-likelihood and calibration error on test rows."""
    proba = classifier.predict_proba(X).astype(np.float64)
    proba /= proba.sum(1, keepdims=True)
    return {
        "accuracy": float(accuracy_score(y, classifier.classes_[proba.argmax(1)])),
        "nll": float(log_loss(y, proba, labels=classifier.classes_)),
        "ece": float(expected_calibration_error(y, proba, labels=classifier.classes_)),
    }


# -- one network, many, and their students -------------------------------------------------


def run_seed(
    net: NeuralNetClassifier,
    split: Split,
    seed: int,
    members: int,
    more: dict[str, dict[str, Any]] | None = None,
) -> dict[str, dict[str, float]]:
    """Train every method once, and students with more settings than the papers'."""
    X, X_test, y, y_test = split
    born_again = SelfDistiller(net, temperature=T, alpha=ALPHA, random_state=seed).fit(X, y)
    ensemble = DeepEnsembleClassifier(net, members, random_state=seed).fit(X, y)
    student = DistilledClassifier(
        FrozenEstimator(ensemble), net, temperature=T, alpha=ALPHA, random_state=seed
    )
    methods = {
        "single": born_again.generations_[0],
        "self-distilled": born_again,
        "distilled": student.fit(X, y),
        **{name: clone(student).set_params(**own).fit(X, y) for name, own in (more or {}).items()},
        "ensemble": ensemble,
    }
    return {name: measures(one, X_test, y_test) for name, one in methods.items()}


def over_seeds(title: str, run: Callable[[int], dict[str, Any]], seeds: int) -> dict[str, Any]:
    """Repeat with other seeds, and print a table."""
    start = time.perf_counter()
    runs = []
    for seed in range(seeds):
        runs.append(run(seed))
        print(f"  seed {seed} of {title}: {time.perf_counter() - start:.0f} s", flush=True)
    print(f"\n{title}; {seeds} seeds, {time.perf_counter() - start:.0f} s")
    print(f"  {'method':<16}{'accuracy':>17}{'p':>9}{'NLL':>17}{'p':>9}{'ECE':>17}")
    rows: dict[str, Any] = {}
    for name in runs[0]:
        line, row = f"  {name:<16}", {}
        for measure in ("accuracy", "nll", "ece"):
            mine = [run[name][measure] for run in runs]
            plain = [run["single"][measure] for run in runs]
            sd = statistics.stdev(mine) if seeds > 1 else float("nan")
            p = float("nan") if name == "single" or seeds < 2 else float(ttest_rel(mine, plain)[1])
            row[measure] = {"mean": statistics.fmean(mine), "sd": sd, "p": p, "runs": mine}
            line += f"{statistics.fmean(mine):>9.4f} ± {sd:.4f}"
            line += "" if measure == "ece" else ("         " if np.isnan(p) else f"{p:>9.2g}")
        rows[name] = row
        print(line, flush=True)
    return rows


def digits(quick: bool) -> dict[str, Any]:
    """Run the digits."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    net = NeuralNetClassifier(
        MLP,
        module__hidden=(64, 64),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=0.01,
        max_epochs=2 if quick else 60,
        batch_size=64,
    )

    def run(seed: int) -> dict[str, Any]:
        split = train_test_split(X, y, test_size=0.5, stratify=y, random_state=seed)
        return run_seed(net, split, seed, 2 if quick else 10, DIGITS_MORE)

    return over_seeds("digits, MLP 64-64-64-10, teacher of ten", run, 2 if quick else 10)


def cifar(path: Path, quick: bool) -> dict[str, Any]:
    """Run the images."""
    n, n_test = (200, 200) if quick else (5000, 10_000)
    data = load_images(path)
    X, y, X_test, y_test = (
        data["X_train"][:n], data["y_train"][:n], data["X_test"][:n_test], data["y_test"][:n_test]
    )  # fmt: skip
    epochs = 1 if quick else 15
    net = NeuralNetClassifier(
        ImageNetwork,
        module__depth=8,
        module__width=16,
        module__pool=2,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        optimizer__nesterov=True,
        optimizer__weight_decay=5e-4,
        lr=0.05,
        max_epochs=epochs,
        batch_size=128,
        callbacks=[LRScheduler("CosineAnnealingLR", T_max=epochs)],
    )

    def run(seed: int) -> dict[str, Any]:
        return run_seed(net, (X, X_test, y, y_test), seed, 2 if quick else 5)

    title = f"CIFAR-10, {n:,} training images, ResNet-8 of width 16 on 16 x 16, teacher of five"
    return over_seeds(title, run, 2 if quick else 10)


# -- trees taught to a network -------------------------------------------------------------


def tables() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return a small real table and a larger made one."""
    made = make_classification(
        12_000, 20, n_informative=12, n_redundant=4, n_classes=3, class_sep=0.8, random_state=0
    )
    return {"breast cancer, 569 x 30": load_breast_cancer(return_X_y=True),
            "made, 12,000 x 20": made}  # fmt: skip


def predict_seconds(classifier: Any, X: np.ndarray) -> float:
    """Return the median of five predictions."""
    classifier.predict_proba(X)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        classifier.predict_proba(X)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def taught_by_trees(quick: bool) -> dict[str, Any]:
    """Distil forests and boosted trees."""
    teachers = {
        "random forest": lambda seed: RandomForestClassifier(300, random_state=seed),
        "boosting": lambda seed: HistGradientBoostingClassifier(random_state=seed),
    }
    net = NeuralNetClassifier(
        MLP,
        module__hidden=(64, 64),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=3e-3,
        max_epochs=2 if quick else 40,
        batch_size=128,
    )
    found: dict[str, Any] = {}
    for table, (X, y) in tables().items():
        print(f"\n{table}; trees taught to one MLP, {1 if quick else 5} seeds")
        print(f"  {'classifier':<30}{'accuracy':>17}{'NLL':>17}{'predict ms':>12}{'KiB':>10}")
        rows: dict[str, list[dict[str, float]]] = {}
        for seed in range(1 if quick else 5):
            X_, X_test, y_, y_test = train_test_split(X, y, stratify=y, random_state=seed)
            scale = StandardScaler().fit(X_)
            X_, X_test = (scale.transform(x).astype(np.float32) for x in (X_, X_test))
            fitted: dict[str, Any] = {
                "MLP alone": NetworkClassifier(net, random_state=seed).fit(X_, y_)
            }
            for name, make in teachers.items():
                fitted[name] = make(seed).fit(X_, y_)
                student = DistilledClassifier(
                    FrozenEstimator(fitted[name]), net, temperature=1.0, random_state=seed
                ).fit(X_, y_)
                student.teacher_ = None  # the student is what is kept
                student.teacher = None
                fitted[f"MLP taught by {name}"] = student
            for name, one in fitted.items():
                row = measures(one, X_test, y_test)
                row["predict_seconds"] = predict_seconds(one, X_test)
                row["bytes"] = len(pickle.dumps(one))
                rows.setdefault(name, []).append(row)
        found[table] = rows
        for name, runs in rows.items():
            numbers = {key: [run[key] for run in runs] for key in runs[0]}
            spread = {k: statistics.stdev(v) if len(v) > 1 else 0.0 for k, v in numbers.items()}
            mean = {key: statistics.fmean(values) for key, values in numbers.items()}
            print(
                f"  {name:<30}{mean['accuracy']:>9.4f} ± {spread['accuracy']:.4f}"
                f"{mean['nll']:>9.4f} ± {spread['nll']:.4f}{1e3 * mean['predict_seconds']:>12.2f}"
                f"{mean['bytes'] / 1024:>10.0f}",
                flush=True,
            )
    return found


def main() -> None:
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cifar", type=Path, help="npz of CIFAR-10")
    parser.add_argument("--only", choices=("digits", "tables", "cifar"))
    parser.add_argument("--quick", action="store_true")
    out = Path(__file__).resolve().parent / "results" / "distillation.json"
    parser.add_argument("--out", type=Path, default=out)
    args = parser.parse_args()
    facts = provenance(__file__, PACKAGES)
    print_machine(facts)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "digits": lambda: digits(args.quick),
        "tables": lambda: taught_by_trees(args.quick),
    }
    if args.cifar is not None:
        parts["cifar"] = lambda: cifar(args.cifar, args.quick)
    content: dict[str, Any] = {"T": T, "alpha": ALPHA}
    if args.only and args.out.exists():
        content = json.loads(args.out.read_text())  # the other parts stay
    for name, run in parts.items():
        if args.only in (None, name):
            content[name] = {"provenance": facts, "rows": run()}
            write_json(args.out, content)  # after each part: the images take long


if __name__ == "__main__":
    main()
