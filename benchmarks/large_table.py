"""Claim: a million rows of fifty numbers, some missing, are fitted within 6 GiB.

    python benchmarks/large_table.py                 # one epoch of ten members, three minutes
    python benchmarks/large_table.py --epochs 8      # as many as the rules give
    python benchmarks/large_table.py --rows 20000    # does it run at all?

Memory is the most that the process ever held, torch and the rows themselves (0.37 GiB, float64)
included; it does not depend on the number of epochs.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import torch
from _bench import print_machine, provenance, write_json

import skensemble._recipes.defaults as defaults
from skensemble import DeepEnsembleClassifier

PACKAGES = ("torch", "numpy", "scikit-learn", "skensemble")
OUT = Path(__file__).resolve().parent / "results" / "large_table.json"
WANTED_GIB = 6


def peak() -> float:
    """Return the most memory this process ever held, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Fit, predict, and write what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    about = provenance(__file__, PACKAGES)
    print_machine(about)
    defaults._STEPS, defaults._LEAST_EPOCHS = 1, dict.fromkeys(("few", "many"), args.epochs)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(args.rows, args.features))
    y = (X[:, 0] + rng.normal(size=len(X)) > 0).astype(int)
    X[rng.random(X.shape) < 0.02] = np.nan
    found = {"before_gib": peak()}
    start = time.perf_counter()
    ensemble = DeepEnsembleClassifier(random_state=0).fit(X, y)
    found |= {"fit_seconds": time.perf_counter() - start, "fit_gib": peak()}
    start = time.perf_counter()
    ensemble.predict_proba(X)
    found |= {"predict_seconds": time.perf_counter() - start, "predict_gib": peak()}
    found["oof_score"] = ensemble.oof_score_
    arguments = {"rows": args.rows, "features": args.features, "epochs": args.epochs}
    print(found)
    result = {"provenance": about, "arguments": arguments, "wanted_gib": WANTED_GIB, **found}
    write_json(args.out, result)


if __name__ == "__main__":
    main()
