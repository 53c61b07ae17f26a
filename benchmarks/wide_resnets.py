"""Claim: what ten wide residual networks know together, one that is taught by them knows too.

    python benchmarks/wide_resnets.py --data cifar10.npz                       # preset cpu
    python benchmarks/wide_resnets.py --data cifar100.npz --preset paper --device cuda
    python benchmarks/wide_resnets.py --quick                                  # does it run?

The rows and columns are those of Allen-Zhu and Li (2023), *Towards understanding ensemble,
knowledge distillation and self-distillation in deep learning*, for networks: single ones (mean
and spread of the members), the ensemble (mean of probabilities), the trained sum, one network
taught by the ensemble, and one taught by a single network of its kind. Test accuracies in per
cent; nothing is chosen by test rows.

*The trained sum.* The networks' outputs are averaged and trained as one, at M times the rate and
an M-th of the weight decay: a network of a mean gets an M-th of the gradient that it gets in the
sum of M networks wherever the outputs are the same, and rate times decay stays what it was. That
is as far as mean and sum agree: at the start the outputs of a sum are those of the mean times M.

Preset `paper`: all images with crops and flips, WRN-28-2, WRN-34-1 (what the source calls
ResNet-34 is like it) and WRN-28-10, ten members, one seed. Schedule and optimiser are the usual
ones of these networks, as the source's are not at hand: 200 epochs of SGD with Nesterov's momentum
of 0.9, batches of 128, a rate of 0.1 times 0.2 at 30 %, 60 % and 80 % of the epochs, a weight decay
of 5e-4. Students learn at a temperature of 4 and with alpha at 0.9. `SOURCE` has the source's
figures, printed below ours where they are known. Preset `cpu`: 2,500 images of CIFAR-10 pooled to
16 x 16, a WRN-10-1 of width 8, 8 epochs, four members, two seeds.

Every part is written to `--work` when it is done and not run again, and a part that was killed
goes on from its last epoch but a few. `--data` names a file with ``X_train, y_train, X_test,
y_test``, images as bytes (n, 32, 32, 3).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from _bench import (
    preset_parser,
    print_machine,
    provenance,
    read_preset,
    remembered,
    require_folder,
    write_json,
)
from _images import STATISTICS, image_parts, pooled
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from skorch.callbacks import LRScheduler
from torch import nn

from skensemble import Checkpoint, DeepEnsembleClassifier, DistilledClassifier
from skensemble.nn import WideResNet

PACKAGES = ("torch", "numpy", "scikit-learn", "skorch", "skensemble")
COLUMNS = ("single", "ensemble", "sum", "distilled", "self-distilled")
RATE, DECAY = 0.1, 5e-4
# By the number of classes, in the order of `COLUMNS`. Figure 1 of the paper has CIFAR-10's.
SOURCE: dict[int, dict[str, tuple[float, ...]]] = {
    100: {
        "WRN-28-2": (76.38, 81.13, 73.18, 79.03, 78.12),
        "WRN-34-1": (71.66, 76.85, 68.88, 73.74, 73.14),
        "WRN-28-10": (81.51, 84.69, 81.83, 83.81, 83.56),
    },
    10: {"WRN-28-10": (96.70, 97.20, 96.46, 97.22, 97.13)},
}


@dataclass(frozen=True)
class Preset:
    """Sizes of one reproduction; networks are pairs of depth and widening factor."""

    networks: tuple[tuple[int, int], ...]
    n_train: int
    n_test: int
    epochs: int
    members: int
    seeds: int
    width: int = 16
    pool: int = 1
    augmentation: str | None = None


PRESETS = {
    "cpu": Preset(((10, 1),), 2_500, 5_000, 8, 4, 2, width=8, pool=2),
    "paper": Preset(((28, 2), (34, 1), (28, 10)), 50_000, 10_000, 200, 10, 1,
                    augmentation="crop-flip"),
    "quick": Preset(((10, 1),), 96, 48, 1, 2, 1, width=4, pool=2, augmentation="crop-flip"),
}  # fmt: skip


def recipe(
    preset: Preset, depth: int, widen: int, device: str, n_summed: int = 1
) -> NeuralNetClassifier:
    """Return the recipe of a network, or of each of so many that are summed."""
    milestones = [max(1, round(share * preset.epochs)) for share in (0.3, 0.6, 0.8)]
    return NeuralNetClassifier(
        WideResNet,
        module__depth=depth,
        module__widen=widen,
        module__width=preset.width,
        module__normalize=STATISTICS,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        optimizer__nesterov=True,
        optimizer__weight_decay=DECAY / n_summed,
        lr=RATE * n_summed,
        max_epochs=preset.epochs,
        batch_size=128,
        callbacks=[LRScheduler("MultiStepLR", milestones=milestones, gamma=0.2)],
        device=device,
    )


@dataclass(frozen=True)
class Bench:
    """One network and seed: parts, each of which is trained and measured once."""

    preset: Preset
    depth: int
    widen: int
    data: dict[str, np.ndarray]
    seed: int
    device: str
    work: Path

    @property
    def name(self) -> str:
        """Return what the row is called."""
        return f"WRN-{self.depth}-{self.widen}"

    def path(self, part: str, suffix: str) -> Path:
        """Return a place for a part."""
        return self.work / f"{self.name}-{self.seed}-{part}{suffix}"

    def fit(self, part: str, estimator: Any) -> Any:
        """Fit on the training rows, from where a killed fit was."""
        every = Checkpoint(self.path(part, ".checkpoint"), every=max(1, self.preset.epochs // 20))
        estimator.set_params(checkpoint=every, augmentation=self.preset.augmentation)
        return estimator.fit(self.data["X"], self.data["y"])

    def percent(self, classifier: Any) -> float:
        """Return test accuracy."""
        return 100 * float(classifier.score(self.data["X_test"], self.data["y_test"]))

    def net(self, n_summed: int = 1) -> NeuralNetClassifier:
        """Return the recipe."""
        return recipe(self.preset, self.depth, self.widen, self.device, n_summed)

    def ensemble(self) -> Any:
        """Return the ensemble, from its file where there is one."""
        path = self.path("ensemble", ".joblib")
        if not path.exists():
            members = DeepEnsembleClassifier(
                self.net(), self.preset.members, random_state=self.seed
            )
            draft = path.with_suffix(".draft")
            joblib.dump(self.fit("ensemble", members), draft)
            draft.replace(path)
        return joblib.load(path)

    # -- parts

    def members(self) -> dict[str, float]:
        """Train the networks one by one, and ask them together."""
        ensemble = self.ensemble()
        singles = [self.percent(one) for one in ensemble]
        wrong = [1 - one.score(self.data["X"], self.data["y"]) for one in ensemble]
        return {
            "single": statistics.fmean(singles),
            "sd": statistics.stdev(singles),
            "ensemble": self.percent(ensemble),
            "training error": 100 * statistics.fmean(wrong),
        }

    def summed(self) -> dict[str, float]:
        """Train them as one."""
        m = self.preset.members
        joint = DeepEnsembleClassifier(self.net(m), m, joint=True, random_state=self.seed)
        return {"sum": self.percent(self.fit("sum", joint))}

    def taught(self, column: str, offset: int) -> dict[str, float]:
        """Teach one network, by the ensemble or by its first member."""
        ensemble = self.ensemble()
        teacher = ensemble if column == "distilled" else ensemble[0]
        student = DistilledClassifier(
            FrozenEstimator(teacher), self.net(), temperature=4.0, alpha=0.9,
            random_state=self.seed + offset,
        )  # fmt: skip
        return {column: self.percent(self.fit(column, student))}

    def row(self) -> dict[str, float]:
        """Return all columns, of which those that are there are read."""
        parts: dict[str, Callable[[], dict[str, float]]] = {
            "members": self.members,
            "sum": self.summed,
            "distilled": partial(self.taught, "distilled", 1000),
            "self-distilled": partial(self.taught, "self-distilled", 2000),
        }
        row: dict[str, float] = {}
        for part, make in parts.items():
            found = remembered(self.path(part, ".json"), make)
            shown = ", ".join(f"{key} {value:.2f}" for key, value in found.items())
            print(f"seed {self.seed}  {self.name:<12}{shown}", flush=True)
            row |= found
        return row


def run(args: argparse.Namespace, preset: Preset) -> tuple[dict[str, list[dict[str, float]]], int]:
    """Train what is not there yet; return a row a network and seed, and the number of classes."""
    parts = image_parts(args.data, preset.n_train, 0, preset.n_test)
    data = {k: pooled(v, preset.pool) if "X" in k else v for k, v in parts.items()}
    n_classes = len(np.unique(data["y"]))
    folder = args.work / args.preset
    require_folder(folder, asdict(preset) | {"seeds": None, "n_classes": n_classes})
    rows: dict[str, list[dict[str, float]]] = {}
    for depth, widen in preset.networks:
        for seed in range(preset.seeds):
            bench = Bench(preset, depth, widen, data, seed, args.device, folder)
            rows.setdefault(bench.name, []).append(bench.row())
    return rows, n_classes


def report(
    rows: dict[str, list[dict[str, float]]], source: dict[str, tuple[float, ...]]
) -> dict[str, Any]:
    """Print a row a network, and the source's below it."""
    print(f"\n{'network':<16}" + "".join(f"{column:>18}" for column in COLUMNS))
    found: dict[str, Any] = {}
    for name, runs in rows.items():
        line = f"{name:<16}"
        for column in COLUMNS:
            values = [run[column] for run in runs]
            sd = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            line += f"{f'{statistics.fmean(values):.2f}{sd}':>18}"
        print(line)
        found[name] = {"runs": runs}
        if name in source:
            told = source[name]
            print(f"{'  the source':<16}" + "".join(f"{value:>18.2f}" for value in told))
            found[name]["source"] = dict(zip(COLUMNS, told, strict=True))
    return found


def main() -> None:
    """Run a preset."""
    parser = preset_parser(__doc__, PRESETS, "wide_resnets")
    args, preset = read_preset(parser, PRESETS)
    facts = provenance(__file__, PACKAGES)
    print_machine(facts)
    rows, n_classes = run(args, preset)
    found = report(rows, SOURCE.get(n_classes, {}))
    write_json(args.out, {"provenance": facts, "preset": asdict(preset), "rows": found})


if __name__ == "__main__":
    main()
