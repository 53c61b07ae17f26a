"""How much memory fits and predictions take, by rows, members, classes and parameters.

    python benchmarks/memory.py                # five cells of four processes, some minutes
    python benchmarks/memory.py --only base    # does it run at all?

Each number is the most that a process of its own ever held, less what it held once everything was
imported and loaded, the rows included. The student has the teacher's size; the teacher is the
ensemble of the same cell. Each number of the cell is changed alone.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bench import print_machine, provenance, write_json
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier

import skensemble
from skensemble import DeepEnsembleClassifier, DistilledClassifier
from skensemble.nn import MLP

PACKAGES = ("torch", "numpy", "scikit-learn", "skorch", "skensemble")
OUT = Path(__file__).resolve().parent / "results" / "memory.json"
N_FEATURES, BATCH = 50, 128
BASE = {"rows": 5000, "members": 4, "classes": 10, "width": 128}
CHANGES = {"rows": 80_000, "members": 64, "classes": 1000, "width": 1024}
STEPS = ("ensemble fit", "ensemble predict", "student fit", "student predict")


def cells() -> dict[str, dict[str, int]]:
    """Return the settings by name."""
    found = {"base": BASE}
    return found | {name: {**BASE, name: value} for name, value in CHANGES.items()}


def count_parameters(cell: dict[str, int]) -> int:
    """Return the parameters of one network."""
    width, n_classes = cell["width"], cell["classes"]
    return (N_FEATURES + 1) * width + (width + 1) * width + (width + 1) * n_classes


def peak() -> int:
    """Return the most memory this process ever held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def make_recipe(width: int) -> NeuralNetClassifier:
    """Return a network of two hidden layers."""
    return NeuralNetClassifier(
        MLP,
        module__hidden=(width, width),
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=0.001,
        max_epochs=1,
        batch_size=BATCH,
        train_split=None,
    )


def run_step(step: str, cell: dict[str, int], folder: Path) -> int:
    """Do one thing in this process and return the bytes that it took."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(cell["rows"], N_FEATURES)).astype(np.float32)
    y = np.arange(cell["rows"]) % cell["classes"]
    _warm_up()
    who, what = step.split()
    if what == "predict":
        estimator = skensemble.load(folder / who)
        before = peak()
        estimator.predict_proba(X)
        return peak() - before
    recipe = make_recipe(cell["width"])
    if who == "ensemble":
        estimator = DeepEnsembleClassifier(recipe, cell["members"], random_state=0)
    else:
        teacher = FrozenEstimator(skensemble.load(folder / "ensemble"))
        estimator = DistilledClassifier(teacher, recipe, random_state=0)
    before = peak()
    estimator.fit(X, y)
    found = peak() - before
    estimator.save(folder / who)
    return found


def _warm_up() -> None:
    """Import what is imported late, with a fit of next to nothing."""
    X, y = np.ones((8, 2), np.float32), np.arange(8) % 2
    teacher = DeepEnsembleClassifier(make_recipe(2), 2, random_state=0).fit(X, y)
    student = DistilledClassifier(FrozenEstimator(teacher), make_recipe(2), random_state=0)
    student.fit(X, y).predict_proba(X)


def measure(cell: dict[str, int]) -> dict[str, float]:
    """Return the MiB of each step, each in a process of its own."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for step in STEPS:
            command = [sys.executable, __file__, "--step", step, "--folder", folder]
            command += ["--cell", json.dumps(cell)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[step] = int(done.stdout.split()[-1]) / 2**20
    return found


def main() -> None:
    """Measure all cells, or do the step of one in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=None, help="names of cells")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--cell", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        print(run_step(args.step, args.cell, args.folder))
        return
    torch.set_num_threads(1)
    about = provenance(__file__, PACKAGES)
    print_machine(about)
    rows: dict[str, Any] = {}
    for name, cell in cells().items():
        if args.only is not None and name not in args.only:
            continue
        n_parameters = count_parameters(cell)
        rows[name] = {
            **cell,
            "parameters": n_parameters,
            "mib": measure(cell),
            "data_mib": cell["rows"] * N_FEATURES * 4 / 2**20,
            # Weights, gradients and Adam's two moments in float32.
            "stack_mib": 16 * n_parameters * cell["members"] / 2**20,
            "proba_mib": 8 * cell["rows"] * cell["classes"] / 2**20,
        }
        told = "  ".join(f"{step} {mib:.1f}" for step, mib in rows[name]["mib"].items())
        print(f"{name:<16}{told}", flush=True)
    arguments = {"features": N_FEATURES, "batch_size": BATCH, "epochs": 1}
    write_json(args.out, {"provenance": about, "arguments": arguments, "rows": rows})


if __name__ == "__main__":
    main()
