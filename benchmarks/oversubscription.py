"""Claim: workers share torch's threads, so that `n_jobs` never makes a fit much slower.

    python benchmarks/oversubscription.py               # five rounds, some minutes
    python benchmarks/oversubscription.py --rounds 1    # does it run at all?

Four members one by one (`stack=1`), a small and a larger network, torch with as many threads as
there are cores. *Each all threads* is joblib's threading backend as it is: it tells torch nothing.
Seconds are those of the clock; ratios are medians of pairs within a round.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import joblib
import numpy as np
import torch
from _bench import (
    Contender,
    Run,
    print_machine,
    print_table,
    provenance,
    summarise,
    take_turns,
    write_json,
)
from skorch import NeuralNetClassifier

from skensemble import DeepEnsembleClassifier
from skensemble.nn import MLP, SimpleCNN

PACKAGES = ("torch", "numpy", "joblib", "scikit-learn", "skorch", "skensemble")
OUT = Path(__file__).resolve().parent / "results" / "oversubscription.json"
MEMBERS = 4
REFERENCE = "threads, their share"


def tables() -> tuple[NeuralNetClassifier, np.ndarray, np.ndarray]:
    """Return a small network and its rows."""
    X = np.random.default_rng(0).normal(size=(4000, 30)).astype(np.float32)
    return make_recipe(MLP, module__hidden=(256, 256), max_epochs=8), X, np.arange(len(X)) % 5


def images() -> tuple[NeuralNetClassifier, np.ndarray, np.ndarray]:
    """Return a convolutional network and its images."""
    X = np.random.default_rng(0).normal(size=(600, 3, 24, 24)).astype(np.float32)
    return make_recipe(SimpleCNN, max_epochs=2), X, np.arange(len(X)) % 5


def make_recipe(module: type, **kwargs: object) -> NeuralNetClassifier:
    """Return what both have in common."""
    return NeuralNetClassifier(
        module,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=0.001,
        batch_size=128,
        train_split=None,
        **kwargs,
    )


def contender(
    recipe: NeuralNetClassifier, X: np.ndarray, y: np.ndarray, n_jobs: int | None, backend: str,
    shared: bool = True,
) -> Callable[[int], Run]:  # fmt: skip
    """Return a fit that is timed."""

    def run(seed: int) -> Run:
        ensemble = DeepEnsembleClassifier(
            recipe, MEMBERS, stack=1, n_jobs=n_jobs, random_state=seed
        )
        plain = patch(
            "skensemble._engine.training.threads_of_worker", lambda *_: torch.get_num_threads()
        )
        start = time.perf_counter()
        with joblib.parallel_config(backend):
            if shared:
                ensemble.fit(X, y)
            else:
                with plain:
                    ensemble.fit(X, y)
        return Run(time.perf_counter() - start, ensemble.score(X, y))

    return run


def main() -> None:
    """Time all, print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    n_jobs = joblib.cpu_count()
    torch.set_num_threads(n_jobs)
    about = provenance(__file__, PACKAGES)
    print_machine(about)
    told = joblib.Parallel(n_jobs)(joblib.delayed(torch.get_num_threads)() for _ in range(n_jobs))
    found = {}
    for name, make in {"MLP on a table": tables, "CNN on images": images}.items():
        what = make()
        contenders: dict[str, Contender] = {
            "n_jobs=None": contender(*what, None, "loky"),
            "threads, each all threads": contender(*what, n_jobs, "threading", shared=False),
            REFERENCE: contender(*what, n_jobs, "threading"),
            "processes": contender(*what, n_jobs, "loky"),
        }
        contenders["processes"](0)  # which start before the clock does
        found[name] = summarise(take_turns(contenders, args.rounds), REFERENCE, {})
        print_table(name, found[name], REFERENCE)
    arguments = {"rounds": args.rounds, "members": MEMBERS, "n_jobs": n_jobs}
    result = {"provenance": about, "arguments": arguments, "threads_in_processes": max(told)}
    write_json(args.out, {**result, "found": found})


if __name__ == "__main__":
    main()
