"""Claim: BatchEnsemble costs few more parameters, LatentBE no more time, than one network.

    python benchmarks/batch_ensemble.py            # a ResNet-8 and an MLP
    python benchmarks/batch_ensemble.py --quick    # does it run at all?

Parameters, and seconds to fit and to predict, of one network, a deep ensemble of four, a
BatchEnsemble of four, and LatentBE: a BatchEnsemble of four that learns one to one from the
deep ensemble (which is there already) and is folded into one network. Everything is fitted
for the same epochs on the same rows, and takes turns in one process; a ratio is the median
over rounds of a contender's seconds over the single network's in that round. The data are
noise: nothing here says how well anything predicts (see ensemble_distillation.py).

Wanted: LatentBE predicts in at most 1.05 times the single network's time, and the
BatchEnsemble has at most 1.1 times its parameters.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bench import Run, print_machine, provenance, take_turns, write_json
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from torch import nn

from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
)
from skensemble.nn import MLP, CifarResNet

PACKAGES = ("torch", "numpy", "scikit-learn", "skorch", "skensemble")
M = 4


def networks(quick: bool) -> dict[str, tuple[NeuralNetClassifier, np.ndarray]]:
    """Return recipes and their rows."""
    rng = np.random.default_rng(0)
    shared: dict[str, Any] = {
        "criterion": nn.CrossEntropyLoss, "optimizer": torch.optim.SGD, "optimizer__momentum": 0.9,
        "lr": 0.01, "batch_size": 128,
    }  # fmt: skip
    depth, n_images = 8, 130 if quick else 512
    resnet = NeuralNetClassifier(CifarResNet, module__depth=depth, max_epochs=1, **shared)
    mlp = NeuralNetClassifier(MLP, module__hidden=(256, 256), max_epochs=5, **shared)
    return {
        f"ResNet-{depth} of width 16 on 32 x 32": (
            resnet, rng.normal(size=(n_images, 3, 32, 32)).astype(np.float32),
        ),
        "MLP 64-256-256-10": (mlp, rng.normal(size=(4000, 64)).astype(np.float32)),
    }  # fmt: skip


def contenders(net: NeuralNetClassifier, teacher: Any) -> dict[str, Any]:
    """Return the rows of the table, unfitted."""
    latent = BatchEnsembleClassifier(net, M, init="one", decay_to=1, merge="factor-mean")
    return {
        "single": NetworkClassifier(net, random_state=0),
        f"DE-{M}": DeepEnsembleClassifier(net, M, random_state=0),
        f"BE-{M}": BatchEnsembleClassifier(net, M, random_state=0),
        "LatentBE": DistilledClassifier(teacher, latent, alpha=1.0, random_state=0),
    }


def n_parameters(fitted: Any, at_prediction: bool) -> int:
    """Count what training learned, or what prediction needs."""
    many = fitted.estimators_[0] if isinstance(fitted, DistilledClassifier) else fitted
    if isinstance(many, BatchEnsembleClassifier) and not at_prediction:
        modules = [many.module_]
    else:
        modules = list(fitted._networks())
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def measure(title: str, net: NeuralNetClassifier, X: np.ndarray, rounds: int) -> dict[str, Any]:
    """Fill one table and print it."""
    y = np.arange(len(X)) % 10
    teacher = FrozenEstimator(DeepEnsembleClassifier(net, M, random_state=1).fit(X, y))
    unfitted = contenders(net, teacher)
    fitted: dict[str, Any] = {}

    def fit(name: str) -> Run:
        start = time.perf_counter()
        fitted[name] = unfitted[name].fit(X, y)
        return Run(time.perf_counter() - start, 0.0)

    def predict(name: str) -> Run:
        start = time.perf_counter()
        fitted[name].predict_proba(X)
        return Run(time.perf_counter() - start, 0.0)

    fits = take_turns({name: lambda seed, n=name: fit(n) for name in unfitted}, rounds)
    turns = {name: lambda seed, n=name: predict(n) for name in unfitted}
    take_turns(turns, 2)  # warm
    predictions = take_turns(turns, 6 * rounds)

    print(f"\n{title}, {len(X):,} rows")
    print(f"  {'':<10}{'parameters':>12}{'/ single':>10}{'kept':>12}{'/ single':>10}"
          f"{'fit s':>9}{'/ single':>10}{'predict ms':>12}{'/ single':>10}")  # fmt: skip
    rows: dict[str, Any] = {}
    for name, one in fitted.items():
        learned, kept = n_parameters(one, False), n_parameters(one, True)
        first = rows.get("single", {"parameters": learned})["parameters"]
        row = {"parameters": learned, "parameters_kept": kept}
        for kind, runs in (("fit", fits), ("predict", predictions)):
            pairs = zip(runs[name], runs["single"], strict=True)
            row[f"{kind}_seconds"] = statistics.median(run.seconds for run in runs[name])
            row[f"{kind}_ratio"] = statistics.median(a.seconds / b.seconds for a, b in pairs)
        rows[name] = row
        print(
            f"  {name:<10}{learned:>12,}{learned / first:>10.3f}{kept:>12,}{kept / first:>10.3f}"
            f"{row['fit_seconds']:>9.2f}{row['fit_ratio']:>10.2f}"
            f"{1e3 * row['predict_seconds']:>12.2f}{row['predict_ratio']:>10.3f}",
            flush=True,
        )
    return rows


def main() -> None:
    """Run both networks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    out = Path(__file__).resolve().parent / "results" / "batch_ensemble.json"
    parser.add_argument("--out", type=Path, default=out)
    args = parser.parse_args()
    facts = provenance(__file__, PACKAGES)
    print_machine(facts)
    rounds = 1 if args.quick else args.rounds
    found = {
        title: measure(title, net, X, rounds) for title, (net, X) in networks(args.quick).items()
    }
    write_json(args.out, {"provenance": facts, "members": M, "rounds": rounds, "tables": found})


if __name__ == "__main__":
    main()
