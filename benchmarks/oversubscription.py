"""Whether workers that are threads should share torch's threads, as worker processes do.

    python benchmarks/oversubscription.py               # nine rounds, some minutes
    python benchmarks/oversubscription.py --rounds 1    # does it run at all?

Four members one by one (`stack=1`), `n_jobs` and torch's threads as many as there are cores.
*Each all threads* is joblib's threading backend as it is: it tells torch nothing, so that there
are cores times cores of them. Ratios are medians of pairs within a round, of the clock and of
the processor.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

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
from skensemble._engine import training
from skensemble.nn import MLP, SimpleCNN

PACKAGES = ("torch", "numpy", "joblib", "scikit-learn", "skorch", "skensemble")
OUT = Path(__file__).resolve().parent / "results" / "oversubscription.json"
MEMBERS = 4
REFERENCE = "their share"


def tables() -> tuple[NeuralNetClassifier, np.ndarray, np.ndarray]:
    """Return a small network and its rows."""
    X = np.random.default_rng(0).normal(size=(2000, 30)).astype(np.float32)
    return make_recipe(MLP, module__hidden=(256, 256), max_epochs=4), X, np.arange(len(X)) % 5


def images() -> tuple[NeuralNetClassifier, np.ndarray, np.ndarray]:
    """Return a convolutional network and its images."""
    X = np.random.default_rng(0).normal(size=(300, 3, 24, 24)).astype(np.float32)
    return make_recipe(SimpleCNN, max_epochs=1), X, np.arange(len(X)) % 5


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


def fit(what: Any, n_jobs: int, seed: int, shared: bool) -> tuple[Run, Run]:
    """Return the seconds of the clock and those of the processor that one fit takes."""
    recipe, X, y = what
    ensemble = DeepEnsembleClassifier(recipe, MEMBERS, stack=1, n_jobs=n_jobs, random_state=seed)
    kept = training.threads_of_worker
    if not shared:
        training.threads_of_worker = lambda *_: torch.get_num_threads()
    clock, processor = time.perf_counter(), time.process_time()
    try:
        with joblib.parallel_config("threading"):
            ensemble.fit(X, y)
    finally:
        training.threads_of_worker = kept
    seconds = time.perf_counter() - clock, time.process_time() - processor
    score = ensemble.score(X, y)
    return Run(seconds[0], score), Run(seconds[1], score)


def contenders(what: Any, n_jobs: int, both: list[tuple[str, Run]]) -> dict[str, Contender]:
    """Return what is timed by the processor; the clock's seconds go to `both`."""

    def make(name: str, shared: bool) -> Contender:
        def run(seed: int) -> Run:
            clock, processor = fit(what, n_jobs, seed, shared)
            both.append((name, clock))
            return processor

        return run

    return {"each all threads": make("each all threads", False), REFERENCE: make(REFERENCE, True)}


def main() -> None:
    """Time both, print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    n_jobs = joblib.cpu_count()
    torch.set_num_threads(n_jobs)
    about = provenance(__file__, PACKAGES)
    print_machine(about)
    told = joblib.Parallel(n_jobs)(joblib.delayed(torch.get_num_threads)() for _ in range(n_jobs))
    found: dict[str, Any] = {}
    for name, make in {"MLP on a table": tables, "CNN on images": images}.items():
        clocks: list[tuple[str, Run]] = []
        processor = take_turns(contenders(make(), n_jobs, clocks), args.rounds)
        clock = {one: [run for who, run in clocks if who == one] for one in processor}
        found[name] = {
            "processor": summarise(processor, REFERENCE, {}),
            "clock": summarise(clock, REFERENCE, {}),
        }
        for kind, rows in found[name].items():
            print_table(f"{name}, seconds of the {kind}", rows, REFERENCE)
    arguments = {"rounds": args.rounds, "members": MEMBERS, "n_jobs": n_jobs}
    result = {"provenance": about, "arguments": arguments, "threads_in_processes": max(told)}
    write_json(args.out, {**result, "found": found})


if __name__ == "__main__":
    main()
