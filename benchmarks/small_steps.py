"""Claim: a small training step is worth one thread of torch, and a second one can ruin it.

    python benchmarks/small_steps.py               # five rounds, idle and busy, some minutes
    python benchmarks/small_steps.py --rounds 1    # does it run at all?

Ensembles of 1, 5 and 20 perceptrons (64 columns, two hidden layers, 10 classes, 2,000 rows, three
epochs) are fitted with one thread of torch and with two, in turn; the library's own rule is
switched off. *busy*: beside them as many processes as there are cores do nothing but count. The
ratio is one thread's seconds by those of two, the median of pairs within a round; under 1 one
thread is the faster.

Written before the run: below the bound of `skensemble._engine.resources` one thread takes at most
1.1 times as long on an idle machine, in the median of all such cells; the largest gain is reported.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bench import print_machine, provenance, write_json
from skorch import NeuralNetClassifier

from skensemble import DeepEnsembleClassifier
from skensemble._engine import resources
from skensemble.nn import MLP

PACKAGES = ("torch", "numpy", "scikit-learn", "skorch", "skensemble")
OUT = Path(__file__).resolve().parent / "results" / "small_steps.json"
CELLS = [(m, h, b) for m in (1, 5, 20) for h in (32, 64, 128, 256) for b in (64, 512)]
COLUMNS, CLASSES, ROWS, EPOCHS = 64, 10, 2000, 3
MOST = 1.1


def macs_of(members: int, hidden: int, batch: int) -> int:
    """Return a step's multiply-adds over the stack."""
    return members * batch * (COLUMNS * hidden + hidden * hidden + hidden * CLASSES)


def fit(members: int, hidden: int, batch: int, threads: int) -> float:
    """Return the seconds of one fit."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(ROWS, COLUMNS)).astype(np.float32)
    net = NeuralNetClassifier(
        MLP, module__hidden=(hidden, hidden), criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam, lr=1e-3, max_epochs=EPOCHS, batch_size=batch,
    )  # fmt: skip
    ensemble = DeepEnsembleClassifier(net, members, random_state=0)
    torch.set_num_threads(threads)
    start = time.perf_counter()
    ensemble.fit(X, rng.integers(0, CLASSES, ROWS))
    return time.perf_counter() - start


def _count() -> None:
    while True:
        pass


@contextmanager
def company(busy: bool) -> Iterator[None]:
    """Keep every core busy with something else inside the block, if wanted."""
    others = [
        multiprocessing.Process(target=_count, daemon=True) for _ in range(os.cpu_count() or 1)
    ]
    for one in others if busy else ():
        one.start()
    try:
        yield
    finally:
        for one in others if busy else ():
            one.kill()
            one.join()


def measure(rounds: int, busy: bool) -> list[dict[str, Any]]:
    """Return a row for each cell."""
    found = []
    with company(busy):
        for cell in CELLS:
            pairs = []
            for number in range(rounds):
                order = (1, 2) if number % 2 else (2, 1)
                seconds = {threads: fit(*cell, threads) for threads in order}
                pairs.append((seconds[1], seconds[2]))
            ratios = [one / two for one, two in pairs]
            row = dict(zip(("members", "hidden", "batch"), cell, strict=True))
            row |= {"macs": macs_of(*cell), "ratio": statistics.median(ratios), "ratios": ratios}
            row["seconds"] = statistics.median(one for one, _ in pairs)
            found.append(row)
            print(f"{'busy' if busy else 'idle'} {cell}: {row['macs'] / 1e6:.1f} M, one thread's "
                  f"seconds by those of two {row['ratio']:.2f}", flush=True)  # fmt: skip
    return found


def main() -> None:
    """Measure both, and say what was wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    facts = provenance(__file__, PACKAGES)
    print_machine(facts)
    bound, resources._THREADED_MACS = resources._THREADED_MACS, 0.0
    fit(1, 32, 64, 2)  # imports are nobody's cost
    tables = {name: measure(args.rounds, name == "busy") for name in ("idle", "busy")}
    small = [row["ratio"] for row in tables["idle"] if row["macs"] < bound]
    told = {
        "median": statistics.median(small),
        "most": MOST,
        "met": statistics.median(small) <= MOST,
    }
    print(f"below {bound / 1e6:.0f} M, idle: {told}")
    write_json(args.out, {
        "provenance": facts, "rounds": args.rounds, "bound": bound, "idle_below": told, **tables,
    })  # fmt: skip


if __name__ == "__main__":
    main()
