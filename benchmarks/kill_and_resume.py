"""Claim: a fit that is killed again and again ends with the bits of one that was not.

    python benchmarks/kill_and_resume.py                     # 15 kills a fit, some twenty minutes
    python benchmarks/kill_and_resume.py --fits student --kills 20 --rounds 0

Each fit runs in a process that is killed (SIGKILL) at a random moment, is started again in the
same folder, and so on until it is done; then everything begins anew in an empty folder, until
there were enough kills. Every fourth process kills itself in the midst of a write, after a
random part of a record. What is compared are all weights and histories, of a search also its
``cv_results_``, without times. Processes are forks of one that has imported everything.

Beside it: what a folder costs, the seconds of a fit with `checkpoint` over those without, in
turn.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pickle
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bench import print_machine, provenance, write_json
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from skorch import NeuralNetClassifier
from skorch.callbacks import LRScheduler

import skensemble._records.file as record_file
from skensemble import (
    BatchEnsembleClassifier,
    Checkpoint,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    PrunedClassifier,
    SelfDistiller,
    StackedGridSearchCV,
)
from skensemble.nn import CifarResNet

PACKAGES = ("torch", "numpy", "scikit-learn", "skorch", "skensemble")
OUT = Path(__file__).resolve().parent / "results" / "kill_and_resume.json"
X, y = load_digits(return_X_y=True)
X, y = (X[:400] / 16).astype(np.float32), y[:400]
IMAGES = X.reshape(-1, 1, 8, 8)


def images(max_epochs: int = 6) -> NeuralNetClassifier:
    """Return a recipe with batch normalisation, a schedule and momentum."""
    return NeuralNetClassifier(
        CifarResNet,
        module__depth=8,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        lr=0.1,
        max_epochs=max_epochs,
        batch_size=64,
        train_split=None,
        callbacks=[LRScheduler("CosineAnnealingLR", T_max=max_epochs)],
    )


FITS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "network on images": lambda: (
        NetworkClassifier(images(), augmentation="crop-flip", random_state=0), IMAGES,
    ),
    "ensemble of a table": lambda: (DeepEnsembleClassifier(random_state=0), X),
    "ensemble, no seed": lambda: (DeepEnsembleClassifier(n_estimators=3), X),
    "ensemble in workers": lambda: (
        DeepEnsembleClassifier(images(4), 4, n_jobs=2, random_state=0), IMAGES,
    ),
    "shared weights": lambda: (BatchEnsembleClassifier(random_state=0), X),
    "student": lambda: (
        DistilledClassifier(DeepEnsembleClassifier(n_estimators=3), random_state=0), X,
    ),
    "student of a forest": lambda: (
        DistilledClassifier(RandomForestClassifier(20), teacher_cv=3, random_state=0), X,
    ),
    "generations": lambda: (SelfDistiller(images(4), 2, random_state=0), IMAGES),
    "pruned": lambda: (
        PrunedClassifier(
            images(4), finetune=3, distill=DistilledClassifier(), protocol="pre-post",
            random_state=0,
        ),
        IMAGES,
    ),
    "search of students": lambda: (
        StackedGridSearchCV(
            DistilledClassifier(NetworkClassifier(images(4)), images(4), random_state=0),
            {"temperature": [1.0, 4.0], "alpha": [0.5, 0.9]}, cv=3,
        ),
        IMAGES,
    ),
}  # fmt: skip


def digest(fitted: Any) -> str:
    """Return a digest of weights and histories, without times."""
    words = hashlib.sha256()
    if hasattr(fitted, "cv_results_"):
        results = {k: v for k, v in fitted.cv_results_.items() if "time" not in k}
        words.update(repr(sorted((k, np.asarray(v).tolist()) for k, v in results.items())).encode())
        fitted = fitted.best_estimator_
    for member in fitted._members():
        for value in member.module_.state_dict().values():
            words.update(value.numpy().tobytes())
        for row in member.history_:
            words.update(repr(sorted((k, v) for k, v in row.items() if k != "dur")).encode())
    return words.hexdigest()


def fit(name: str, folder: Path | None, every: Any = 1) -> tuple[str, float]:
    """Fit, and return the digest and the seconds."""
    estimator, rows = FITS[name]()
    if folder is not None:
        estimator.set_params(checkpoint=Checkpoint(folder, every))
    start = time.perf_counter()
    estimator.fit(rows, y)
    return digest(estimator), time.perf_counter() - start


def die_in_a_write(rng: np.random.Generator, n_writes: int) -> None:
    """Let this process die after a part of one of its next writes."""
    left, share = int(rng.integers(n_writes)), rng.random()
    write = record_file.write

    def fatal(path: Path, tree: Any, sync: bool = False) -> None:
        nonlocal left
        if left:
            left -= 1
            return write(path, tree, sync)
        write(path.with_name("whole"), tree)
        whole = path.with_name("whole").read_bytes()
        path.with_name(f".{path.name}.tmp").write_bytes(whole[: int(share * len(whole))])
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    for module in (record_file, *_WRITERS):
        module.write = fatal


def _writers() -> tuple[Any, ...]:
    import skensemble._engine.resuming as resuming
    import skensemble._records.folder as folder

    return resuming, folder


_WRITERS = _writers()


def in_a_process(
    name: str, folder: Path, wait: float | None, rng: np.random.Generator, in_write: bool
) -> tuple[str, float] | None:
    """Fit in a fork; kill it after some seconds, or let it kill itself."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.close(reads)
        if in_write:
            die_in_a_write(rng, 12)
        with os.fdopen(writes, "wb") as out:
            pickle.dump(fit(name, folder), out)
        os._exit(0)
    os.close(writes)
    if wait is not None:
        time.sleep(wait)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reads, "rb") as results:
        said = results.read()
    os.waitpid(child, 0)
    return pickle.loads(said) if said else None


def killed_often(name: str, kills: int, seed: int) -> dict[str, Any]:
    """Kill a fit until there were enough kills; count what ended with other bits."""
    rng = np.random.default_rng(seed)
    found: dict[str, Any] = {"kills": 0, "in_a_write": 0, "fits": 0, "other_bits": 0}
    with tempfile.TemporaryDirectory() as place:
        whole = in_a_process(name, Path(place) / "whole", None, rng, False)
    assert whole is not None
    expected, seconds = whole
    if "no seed" in name:
        expected = ""
    while found["kills"] < kills:
        with tempfile.TemporaryDirectory() as place:
            end, tries = None, 0
            while end is None:
                in_write = bool(rng.random() < 0.25) and tries < 20
                # Later each time, so that there is an end.
                wait = rng.random() * seconds * (0.5 + tries / 5)
                end = in_a_process(
                    name, Path(place), None if in_write or tries >= 20 else wait, rng, in_write
                )
                tries += 1
                if end is None:
                    found["kills"] += 1
                    found["in_a_write"] += in_write
            if "no seed" in name:  # once more from the folder alone: the same members
                again = in_a_process(name, Path(place), None, rng, False)
                expected = again[0] if again else "none"
            found["fits"] += 1
            found["other_bits"] += end[0] != expected
    return {"name": name, "seconds": seconds, **found}


def cost(name: str, rounds: int) -> dict[str, Any]:
    """Return the seconds of fits with a folder over those without, round by round."""
    ratios: dict[str, list[float]] = {"every epoch": [], "auto": []}
    size = 0
    for _ in range(rounds):
        plain = fit(name, None)[1]
        for label, every in (("every epoch", 1), ("auto", "auto")):
            with tempfile.TemporaryDirectory() as place:
                ratios[label].append(fit(name, Path(place), every)[1] / plain)
                size = sum(path.stat().st_size for path in Path(place).rglob("*") if path.is_file())
    median = {label: statistics.median(each) for label, each in ratios.items()}
    return {"name": name, "folder_bytes": size, "ratios": ratios, "median": median}


def main() -> None:
    """Kill, compare, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", nargs="*", choices=list(FITS), default=list(FITS), metavar="FIT",
                        help="; ".join(FITS))  # fmt: skip
    parser.add_argument("--kills", type=int, default=15, help="of each fit, at least")
    parser.add_argument("--rounds", type=int, default=5, help="of the costs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    about = provenance(__file__, PACKAGES)
    print_machine(about)
    found: dict[str, Any] = {"kills": [], "costs": []}
    for number, name in enumerate(args.fits):
        if args.kills:
            found["kills"].append(killed_often(name, args.kills, args.seed + number))
            print(found["kills"][-1], flush=True)
        if args.rounds:
            found["costs"].append(cost(name, args.rounds))
            print(found["costs"][-1], flush=True)
    arguments = {"kills": args.kills, "rounds": args.rounds, "seed": args.seed}
    write_json(args.out, {"provenance": about, "arguments": arguments, **found})


if __name__ == "__main__":
    main()
