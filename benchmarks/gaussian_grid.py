"""Claim: on Gaussian-like data an ensemble has nothing to add to a well-regularised network.

    python benchmarks/gaussian_grid.py --jobs 2                  # preset cpu
    python benchmarks/gaussian_grid.py --learners own --seeds 1  # each cell once
    python benchmarks/gaussian_grid.py --minutes 8               # as much of it as fits
    python benchmarks/gaussian_grid.py --quick                   # does it run?

The grid is that of Figure 3 of Allen-Zhu and Li (2023), *Towards understanding ensemble, knowledge
distillation and self-distillation in deep learning*: {Gaussian rows, a mixture of ten} x {seven
random labellers} x {no margin, margin} x {no noise, 10 % of the training labels wrong}, which is
56 cells. That classes come as they are or balanced by rejection is a fifth axis of the source;
with it there would be 112, and `--sampling` says which half is run: "uniform", "rejection" or
"both".

A cell is learned by a network of each family: fully connected, residual, convolutional and
residual convolutional, three layers each, wider than the labeller. The one of the labeller's own
family goes first, so that an unfinished grid has each cell once. A learner is trained with each
of `DECAYS`; the decay is chosen by the mean accuracy of *single* networks on validation rows,
whose labels are clean. The effect is ensemble minus single on test rows at that decay; beside it
stands the same without decay, where the single network is not tuned and an ensemble helps.

Sizes, rate, decays and the two thresholds were fixed before the run, after a pilot of four cells
with seed 1000, which no table has: a cell shows no gain if the mean effect is below `NO_GAIN`
points. A network does not fit its rows if it has more than `MISFIT` per cent of them wrong without
decay: then nothing is said of it, and its cell is marked.

Every (cell, learner, seed) is written to `--work` and not run again. Rows have 3 x 4 x 4 numbers
and 5 classes; the source's sizes are not at hand. Preset `cpu`: 500 training, 1,000 validation
and 5,000 test rows, 40 epochs of SGD, ensembles of five, two seeds.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bench import print_machine, provenance, remembered, require_folder, write_json
from joblib import Parallel, delayed
from skorch import NeuralNetClassifier
from skorch.callbacks import LRScheduler
from torch import Tensor, nn

from skensemble import DeepEnsembleClassifier
from skensemble.datasets import make_labelled_gaussian
from skensemble.datasets.gaussian import LABELLERS

PACKAGES = ("torch", "numpy", "scikit-learn", "skorch", "skensemble")
LEARNERS = ("fc", "res", "conv", "resconv")
DECAYS = (0.0, 3e-3, 1e-2, 2e-2, 5e-2, 1e-1)
SHAPE, N_CLASSES = (3, 4, 4), 5
NO_GAIN, MISFIT = 0.5, 1.0
Row = dict[str, Any]


@dataclass(frozen=True)
class Preset:
    """Sizes of one run."""

    n_train: int = 500
    n_valid: int = 1_000
    n_test: int = 5_000
    members: int = 5
    epochs: int = 40
    seeds: int = 2


PRESETS = {"cpu": Preset(), "quick": Preset(40, 40, 60, 2, 1, 1)}


# -- cells ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One kind of data."""

    labeller: str
    mixture: bool
    margin: bool
    noise: bool
    rejection: bool = False

    @property
    def name(self) -> str:
        """Return what a table and a file call it."""
        parts = ["mixture" if self.mixture else "gaussian", self.labeller]
        for said in ("margin", "noise", "rejection"):
            parts += [said] if getattr(self, said) else []
        return " ".join(parts)

    @property
    def family(self) -> str:
        """Return the learner of the labeller's own family."""
        return "fc" if self.labeller == "linear" else self.labeller.rstrip("23")

    def rows(self, n: int, seed: int, concept: int, clean: bool) -> tuple[np.ndarray, np.ndarray]:
        """Draw rows of a concept."""
        X, y = make_labelled_gaussian(
            n, shape=SHAPE, n_classes=N_CLASSES, labeller=self.labeller, mixture=self.mixture,
            rejection=self.rejection, margin=self.margin, dtype=np.float32,
            label_noise=0.1 if self.noise and not clean else 0.0, labeller_state=concept,
            random_state=seed,
        )  # fmt: skip
        return X, y


def make_cells(sampling: str = "uniform") -> list[Cell]:
    """Return the grid: 56 cells, or twice as many with both ways of sampling."""
    either = (False, True)
    rejection = {"uniform": (False,), "rejection": (True,), "both": either}[sampling]
    axes = itertools.product(rejection, LABELLERS, either, either, either)
    return [
        Cell(labeller, mixture, margin, noise, balanced)
        for balanced, labeller, mixture, margin, noise in axes
    ]


# -- learners ------------------------------------------------------------------------------


class Residual(nn.Module):
    """A layer beside itself."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both."""
        return x + self.inner(x)


class Learner(nn.Module):
    """Three layers of a family: the second one plain, or beside itself."""

    def __init__(
        self, in_shape: tuple[int, ...], n_classes: int, family: str, width: int = 128,
        channels: int = 32,
    ) -> None:  # fmt: skip
        super().__init__()
        first: nn.Module
        second: nn.Module
        if family.endswith("conv"):
            size = channels * in_shape[1] * in_shape[2]
            first = nn.Conv2d(in_shape[0], channels, 3, padding=1)
            second = nn.Conv2d(channels, channels, 3, padding=1)
        else:
            n_in, size = int(np.prod(in_shape)), width
            first = nn.Sequential(nn.Flatten(), nn.Linear(n_in, width))
            second = nn.Linear(width, width)
        middle = nn.Sequential(nn.ReLU(), second)
        inner = Residual(middle) if family.startswith("res") else middle
        head = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(size, n_classes))
        self.layers = nn.Sequential(first, inner, head)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        return self.layers(x)


def recipe(family: str, decay: float, epochs: int) -> NeuralNetClassifier:
    """Return how a learner is trained."""
    return NeuralNetClassifier(
        Learner,
        module__family=family,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        optimizer__weight_decay=decay,
        lr=0.05,
        max_epochs=epochs,
        batch_size=50,
        callbacks=[LRScheduler("CosineAnnealingLR", T_max=epochs)],
    )


# -- one cell ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A cell, who learns it, and the seed of concept, rows and networks."""

    cell: Cell
    learner: str
    seed: int

    def path(self, folder: Path) -> Path:
        """Return the file of what came out."""
        return folder / f"{self.cell.name.replace(' ', '_')}-{self.learner}-{self.seed}.json"

    def measure(self, preset: Preset) -> Row:
        """Train with every decay, and choose one by validation rows."""
        start = time.process_time()
        seed = self.seed
        train = self.cell.rows(preset.n_train, 3 * seed, seed, clean=False)
        valid = self.cell.rows(preset.n_valid, 3 * seed + 1, seed, clean=True)
        test = self.cell.rows(preset.n_test, 3 * seed + 2, seed, clean=True)
        by_decay = {}
        for decay in DECAYS:
            net = recipe(self.learner, decay, preset.epochs)
            ensemble = DeepEnsembleClassifier(net, preset.members, random_state=seed).fit(*train)
            by_decay[f"{decay:g}"] = accuracies(ensemble, train, valid, test)
        chosen = max(by_decay, key=lambda name: by_decay[name]["valid"])
        return {
            "decays": by_decay,
            "chosen": chosen,
            **effects(by_decay, chosen),
            "cpu_seconds": time.process_time() - start,
        }


def accuracies(ensemble: Any, *parts: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    """Return accuracies of single networks on training, validation and test rows, in per cent."""
    labels = ensemble.classes_
    means = []
    for X, y in parts:
        said = labels[ensemble.predict_members(X).argmax(-1)]
        singles = 100 * (said == y).mean(1)
        means.append(float(singles.mean()))
    X, y = parts[-1]
    together = 100 * float(ensemble.score(X, y))
    names = ("train", "valid", "single")
    return {**dict(zip(names, means, strict=True)), "sd": float(singles.std(ddof=1)),
            "ensemble": together}  # fmt: skip


def effects(by_decay: dict[str, dict[str, float]], chosen: str) -> Row:
    """Return what the ensemble gains at the chosen decay and without, and who did not fit."""
    tuned, bare = by_decay[chosen], by_decay["0"]
    return {
        "gain": tuned["ensemble"] - tuned["single"],
        "gain_without_decay": bare["ensemble"] - bare["single"],
        "single": tuned["single"],
        "ensemble": tuned["ensemble"],
        "training_error": 100 - bare["train"],
        "fits": bool(100 - bare["train"] <= MISFIT),
    }


# -- the grid ------------------------------------------------------------------------------


def make_tasks(cells: list[Cell], learners: list[str], seeds: int) -> list[Task]:
    """Return what is to be done: by seeds, and the labeller's own family before the others."""
    pairs = [
        Task(cell, learner, seed)
        for seed in range(seeds)
        for cell in cells
        for learner in LEARNERS
        if learner in learners or ("own" in learners and learner == cell.family)
    ]
    return sorted(pairs, key=lambda task: (task.seed, task.learner != task.cell.family))


def run_task(task: Task, preset: Preset, folder: Path, until: float) -> Row | None:
    """Return a cell's row; None where it is not there and there is no time for it."""
    path = task.path(folder)
    if not path.exists():
        if time.time() > until:
            return None
        torch.set_num_threads(1)
    new = not path.exists()
    row = remembered(path, lambda: task.measure(preset))
    if new:
        doubt = "" if row["fits"] else ", does not fit"
        print(f"seed {task.seed}  {task.cell.name:<34}{task.learner:<8}decay {row['chosen']:<6}"
              f"{row['single']:>7.2f} {row['gain']:>+6.2f}, without decay "
              f"{row['gain_without_decay']:+.2f}, {row['cpu_seconds']:.0f} s{doubt}",
              flush=True)  # fmt: skip
    return row


def collect(tasks: list[Task], rows: list[Row | None]) -> dict[str, dict[str, Any]]:
    """Return for each cell and learner the rows of its seeds and the mean effects."""
    found: dict[str, dict[str, Any]] = {}
    for task, row in zip(tasks, rows, strict=True):
        if row is not None:
            cell = found.setdefault(task.cell.name, {"family": task.cell.family, "learners": {}})
            cell["learners"].setdefault(task.learner, {"runs": []})["runs"].append(row)
    for cell in found.values():
        for learner in cell["learners"].values():
            runs = learner["runs"]
            for name in ("gain", "gain_without_decay", "single"):
                learner[name] = statistics.fmean(run[name] for run in runs)
            learner["fits"] = all(run["fits"] for run in runs)
            learner["no_gain"] = learner["gain"] < NO_GAIN
    return found


def summarise(cells: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Count, for learners of the labeller's own family and for all others."""
    found = {}
    for whose in ("own", "other"):
        learners = [
            one
            for cell in cells.values()
            for learner, one in cell["learners"].items()
            if (learner == cell["family"]) == (whose == "own")
        ]
        fitting = [one for one in learners if one["fits"]]
        found[whose] = {
            "n": len(learners),
            "n_fitting": len(fitting),
            "n_no_gain": sum(one["no_gain"] for one in fitting),
            "gain": _mean(fitting, "gain"),
            "gain_without_decay": _mean(fitting, "gain_without_decay"),
        }
    return found


def _mean(learners: list[dict[str, Any]], name: str) -> float | None:
    return statistics.fmean(one[name] for one in learners) if learners else None


def report(found: dict[str, dict[str, Any]], n_cells: int) -> None:
    """Print what was counted."""
    for whose, told in found.items():
        if not told["n"]:
            continue
        print(f"{whose} family: {told['n']} of {n_cells} cells and learners; {told['n_fitting']} "
              f"fit, {told['n_no_gain']} of them without gain", flush=True)  # fmt: skip
        if told["gain"] is not None:
            print(f"  mean gain {told['gain']:+.2f}, without decay "
                  f"{told['gain_without_decay']:+.2f}")  # fmt: skip


def main() -> None:
    """Run the grid, or what is missing of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    out = Path(__file__).resolve().parent / "results" / "gaussian_grid.json"
    parser.add_argument("--preset", choices=tuple(PRESETS), default="cpu")
    parser.add_argument("--quick", action="store_true", help="the preset quick, six cells of it")
    parser.add_argument("--sampling", choices=("uniform", "rejection", "both"), default="uniform")
    parser.add_argument("--learners", nargs="+", choices=("own", *LEARNERS), default=[*LEARNERS],
                        help="own: that of the labeller's family")  # fmt: skip
    parser.add_argument("--seeds", type=int, help="other than the preset's")
    parser.add_argument("--jobs", type=int, default=1, help="cells to run at a time")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin none after")
    parser.add_argument("--work", type=Path, default=Path("gaussian_grid"))
    parser.add_argument("--out", type=Path, default=out)
    args = parser.parse_args()
    args.preset = "quick" if args.quick else args.preset
    facts = provenance(__file__, PACKAGES)
    print_machine(facts)
    preset = PRESETS[args.preset]
    if args.seeds is not None:
        preset = replace(preset, seeds=args.seeds)
    folder = args.work / args.preset
    require_folder(folder, asdict(preset) | {"seeds": None, "decays": DECAYS, "shape": SHAPE})
    cells = make_cells(args.sampling)[:: 10 if args.quick else 1]
    tasks = make_tasks(cells, args.learners, preset.seeds)
    until = time.time() + 60 * args.minutes
    rows = Parallel(n_jobs=args.jobs)(
        delayed(run_task)(task, preset, folder, until) for task in tasks
    )
    found = collect(tasks, rows)
    summary = summarise(found)
    report(summary, len(cells))
    write_json(args.out, {
        "provenance": facts, "preset": asdict(preset), "sampling": args.sampling,
        "n_cells": len(cells), "no_gain_below": NO_GAIN, "misfit_above": MISFIT,
        "summary": summary, "cells": found,
    })  # fmt: skip


if __name__ == "__main__":
    main()
