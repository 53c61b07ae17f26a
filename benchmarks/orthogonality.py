"""Claim: whether distillation still helps a network that is pruned, or trained on altered images.

    python benchmarks/orthogonality.py --data cifar10.npz                       # preset cpu
    python benchmarks/orthogonality.py --data cifar100.npz --preset paper --device cuda
    python benchmarks/orthogonality.py --quick                                  # does it run?

The rows and columns are those of Park, Yoo and Kwak (2020), *On the orthogonality of
knowledge distillation with other techniques*. For every architecture, way of pruning and
objective: the unpruned network from labels (scratch) and from a scratch teacher (KD); the
pruned one fine-tuned on labels (Finetuned), taught before pruning (Pre-Distill), after it
by the unpruned scratch network (Post-Distill), both times by the same teacher (Pre-Post),
and before pruning by a teacher and after it by its unpruned self (Self-Distill). The
surplus is (Self-Distill - Finetuned) - (KD - scratch): zero if what distillation brings
and what pruning costs add up.

For every augmentation: one network with and without it, and a student for each combination
of teacher and student (No/Yes: a teacher trained on images as they are, both see altered
ones). Their surplus is (Yes/Yes - augmented alone) - (No/No - alone).

Everything is fixed beforehand and nothing chosen by test rows: temperature 4, alpha 0.9,
a weight of 1 (a sum over the layer's numbers), shares to keep, schedules. The unpruned network of
slimming is trained with the penalty on its scales, in every column. Images are as they are
but for the augmentation tables: pruned networks are fine-tuned without crops and flips, so
unpruned ones are trained without them too.

Every network and every (seed, cell) is written to `--work` when it is done and not run
again, so that the script may be stopped at any time. Preset `cpu`: 3,000 images of
CIFAR-10, pooled to 16 x 16, a ResNet-20 of width 8, 10 epochs and 3 of fine-tuning, three
seeds. Preset `paper`: all images, the source's networks, shares and schedule (160 epochs of
SGD, rate 0.1, divided by 10 at 50 % and 75 %; 40 epochs of fine-tuning at 0.001); the
shares of slimming and magnitude are this script's own. `--data` names a file with
``X_train, y_train, X_test, y_test``, images as bytes (n, 32, 32, 3).
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from _bench import print_machine, provenance, write_json
from _images import load_images, pooled
from scipy import stats
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from skorch.callbacks import LRScheduler
from torch import nn

from skensemble import DistilledClassifier, NetworkClassifier, PrunedClassifier
from skensemble.metrics import surplus
from skensemble.nn import VGG, CifarResNet, DenseNet, PreActResNet

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "skorch", "scipy", "skensemble")
STATISTICS = ((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))
OBJECTIVES = ("label", "feature")
AUGMENTATIONS = {"CutMix": "cutmix", "AutoAugment": "autoaugment"}
UNPRUNED = ("Unpruned scratch", "Unpruned KD")
PRUNED = {
    "Finetuned": None,
    "Pre-Distill": "pre",
    "Post-Distill": "post",
    "Pre-Post": "pre-post",
    "Self-Distill": "self",
}
# Whether the teacher learned altered images, and whether both see them; No/No is plain KD.
COMBINATIONS = {
    "No/Yes": (False, True),
    "Yes/No": (True, False),
    "Yes/Yes": (True, True),
}


@dataclass(frozen=True)
class Pruning:
    """One way of pruning: what the row is called, the method and the share to keep."""

    name: str
    method: str
    keep: Any
    strength: float = 1e-4


@dataclass(frozen=True)
class Architecture:
    """A network and the ways in which it is pruned."""

    name: str
    module: type[nn.Module]
    arguments: dict[str, Any]
    prunings: tuple[Pruning, ...]
    augmented: bool = False


@dataclass(frozen=True)
class Preset:
    """Sizes of one reproduction."""

    architectures: tuple[Architecture, ...]
    n_train: int
    n_test: int
    epochs: int
    finetune_epochs: int
    finetune_lr: float
    seeds: int
    batch_size: int = 64
    weight_decay: float = 1e-4
    pool: int = 1


def per_stage(n_blocks: int, *shares: float) -> dict[str, float]:
    """Return the share to keep of each block of a residual network, the same in a stage."""
    return {f"blocks.{at}": shares[at // n_blocks] for at in range(3 * n_blocks)}


def residual(depth: int, width: int, augmented: bool, *kept: tuple[float, ...]) -> Architecture:
    """Return a residual network with its filters pruned by stages, and by weights and scales."""
    n_blocks = (depth - 2) // 6
    filters = [
        Pruning("l1-filter " + "/".join(f"{100 * share:.0f}" for share in shares), "l1-filter",
                per_stage(n_blocks, *shares))
        for shares in kept
    ]  # fmt: skip
    others = (
        Pruning("slimming 60", "slimming", 0.6, 1e-5),
        Pruning("magnitude 30", "magnitude", 0.3),
    )
    arguments = {"depth": depth, "width": width}
    return Architecture(f"ResNet-{depth}", CifarResNet, arguments, (*filters, *others), augmented)


def slim(name: str, module: type[nn.Module], strength: float, **arguments: Any) -> Architecture:
    """Return a network of the slimming tables."""
    rows = tuple(Pruning(f"slimming {k}", "slimming", k / 100, strength) for k in (60, 40))
    return Architecture(name, module, arguments, rows)


PRESETS = {
    "cpu": Preset((residual(20, 8, True, (0.4, 0.7, 0.9)),), 2_500, 5_000, 8, 2, 0.01, 3, pool=2),
    "paper": Preset(
        (
            residual(56, 16, True, (0.4, 0.7, 0.9), (0.5, 0.6, 0.7)),
            residual(110, 16, False, (0.8, 0.8, 0.8), (0.5, 0.6, 0.7)),
            slim("VGG-19", VGG, 1e-4, depth=19),
            slim("pre-activation ResNet-164", PreActResNet, 1e-5, depth=164),
            slim("DenseNet-40-12", DenseNet, 1e-5, depth=40, growth=12),
        ),
        50_000, 10_000, 160, 40, 1e-3, 3,
    ),
    "quick": Preset((residual(8, 4, True, (0.4, 0.7, 0.9)),), 64, 48, 1, 1, 0.01, 1, 32, pool=2),
}  # fmt: skip


# -- data and recipe -----------------------------------------------------------------------


def load(path: Path | None, preset: Preset) -> dict[str, np.ndarray]:
    """Return training and test rows, pooled; noise where there is no file."""
    if path is None:
        rng = np.random.default_rng(0)
        n = preset.n_train + preset.n_test
        X, y = rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8), np.arange(n) % 10
        cut = preset.n_train
        file = {"X_train": X[:cut], "y_train": y[:cut], "X_test": X[cut:], "y_test": y[cut:]}
    else:
        file = load_images(path)
    for part, wanted in (("train", preset.n_train), ("test", preset.n_test)):
        if len(file[f"y_{part}"]) < wanted:
            raise SystemExit(
                f"The preset wants {wanted} rows in X_{part}. {path} has {len(file[f'y_{part}'])}."
            )
    return {
        "X": pooled(file["X_train"][: preset.n_train], preset.pool),
        "y": file["y_train"][: preset.n_train],
        "X_test": pooled(file["X_test"][: preset.n_test], preset.pool),
        "y_test": file["y_test"][: preset.n_test],
    }


def recipe(architecture: Architecture, preset: Preset, device: str) -> NeuralNetClassifier:
    """Return the source's optimiser and schedule, shortened to the preset."""
    milestones = [max(1, preset.epochs // 2), max(2, 3 * preset.epochs // 4)]
    return NeuralNetClassifier(
        architecture.module,
        module__normalize=STATISTICS,
        **{f"module__{name}": value for name, value in architecture.arguments.items()},
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        optimizer__weight_decay=preset.weight_decay,
        lr=0.1,
        max_epochs=preset.epochs,
        batch_size=preset.batch_size,
        callbacks=[LRScheduler("MultiStepLR", milestones=milestones, gamma=0.1)],
        device=device,
    )


# -- one architecture, one seed ------------------------------------------------------------


@dataclass(frozen=True)
class Bench:
    """The networks of one architecture and seed; those that teach are kept on disk."""

    architecture: Architecture
    preset: Preset
    data: dict[str, np.ndarray]
    seed: int
    net: NeuralNetClassifier
    work: Path

    def fit(self, estimator: Any) -> Any:
        """Fit on the training rows."""
        return estimator.fit(self.data["X"], self.data["y"])

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what `make` fits, or read what it fitted before."""
        path = self.work / f"{self._slug(name)}.joblib"
        if not path.exists():
            part = path.with_suffix(".part")
            joblib.dump(make(), part)
            part.replace(path)
        return joblib.load(path)

    def cell(self, name: str, make: Callable[[], Any]) -> dict[str, float]:
        """Return accuracy and costs of what `make` returns, or read those noted before."""
        path = self.work / f"{self._slug(name)}.json"
        if not path.exists():
            path.write_text(json.dumps(self._measure(make())))
        found = json.loads(path.read_text())
        print(f"seed {self.seed}  {self.architecture.name:<12}{name:<44}{found['acc']:>8.2f}",
              flush=True)  # fmt: skip
        return found

    def _slug(self, name: str) -> str:
        words = f"{self.architecture.name} {self.seed} {name}"
        return "".join(letter if letter.isalnum() else "_" for letter in words)

    def _measure(self, classifier: Any) -> dict[str, float]:
        accuracy = 100 * classifier.score(self.data["X_test"], self.data["y_test"])
        found = {"acc": float(accuracy)}
        if isinstance(classifier, PrunedClassifier):
            for name in ("n_parameters_", "n_flops_"):
                change = getattr(classifier, name)
                found[f"{name}share"] = change.after / change.before
            found["sparsity"] = classifier.sparsity_.after
        return found

    # -- unpruned networks

    def scratch(self, pruning: Pruning | None = None, augmentation: Any = None) -> Any:
        """Return the network of labels alone, trained with slimming's penalty where that prunes."""
        if pruning is not None and pruning.method == "slimming":
            return self.kept("slimming, scratch", partial(self._slimmed, pruning))
        one = NetworkClassifier(self.net, augmentation=augmentation, random_state=self.seed)
        return self.kept(f"{augmentation}, scratch", lambda: self.fit(one))

    def taught(self, objective: str, pruning: Pruning | None = None) -> Any:
        """Return the student of the scratch network."""
        lesson = {"objective": objective, "random_state": self.seed + 1000}
        teacher = FrozenEstimator(self.scratch(pruning))
        if pruning is not None and pruning.method == "slimming":
            learns = DistilledClassifier(teacher, objective=objective)
            make = partial(self._slimmed, pruning, self.seed + 1000, distill=learns, protocol="pre")
            return self.kept(f"slimming, {objective}", make)
        one = DistilledClassifier(teacher, self.net, **lesson)
        return self.kept(f"plain, {objective}", lambda: self.fit(one))

    def _slimmed(self, pruning: Pruning, random_state: int | None = None, **learns: Any) -> Any:
        seed = self.seed if random_state is None else random_state
        whole = PrunedClassifier(
            self.net, method="slimming", strength=pruning.strength, finetune=None,
            random_state=seed, **learns,
        )  # fmt: skip
        return self.fit(whole).unpruned_

    # -- the rows of the tables

    def pruned(self, pruning: Pruning, objective: str, distill: str | None) -> Any:
        """Return a pruned and fine-tuned network."""
        knows = distill in ("pre", "pre-post", "self")
        unpruned = self.taught(objective, pruning) if knows else self.scratch(pruning)
        finetune = {
            "max_epochs": self.preset.finetune_epochs,
            "lr": self.preset.finetune_lr,
            "callbacks": [],
        }
        return self.fit(
            PrunedClassifier(
                FrozenEstimator(unpruned),
                method=pruning.method,
                keep=pruning.keep,
                finetune=finetune,
                distill=DistilledClassifier(objective=objective) if distill else None,
                protocol=distill or "post",
                random_state=self.seed + 2000,
            )
        )

    def pruning_row(self, pruning: Pruning, objective: str) -> dict[str, dict[str, float]]:
        """Return the cells of one row of the pruning tables."""
        family = "slimming" if pruning.method == "slimming" else "plain"
        row = {
            UNPRUNED[0]: self.cell(f"{family} / {UNPRUNED[0]}", lambda: self.scratch(pruning)),
            UNPRUNED[1]: self.cell(
                f"{family} / {objective} / {UNPRUNED[1]}", lambda: self.taught(objective, pruning)
            ),
        }
        for column, distill in PRUNED.items():
            said = objective if distill else "labels"
            make = partial(self.pruned, pruning, objective, distill)
            row[column] = self.cell(f"{pruning.name} / {said} / {column}", make)
        return row

    def student(self, augmentation: str, objective: str, of: bool, seen: bool) -> Any:
        """Return a student, the altered images seen by its teacher in training, and by both now."""
        teacher = self.scratch(augmentation=augmentation if of else None)
        return self.fit(
            DistilledClassifier(
                FrozenEstimator(teacher),
                self.net,
                objective=objective,
                augmentation=augmentation if seen else None,
                random_state=self.seed + 1000,
            )
        )

    def augmentation_row(self, name: str, objective: str) -> dict[str, dict[str, float]]:
        """Return the cells of one row of the augmentation tables."""
        how = AUGMENTATIONS[name]
        taught = partial(self.taught, objective)
        row = {
            "alone": self.cell(f"plain / {UNPRUNED[0]}", self.scratch),
            "augmented alone": self.cell(
                f"{name} / labels / alone", partial(self.scratch, augmentation=how)
            ),
            "No/No": self.cell(f"plain / {objective} / {UNPRUNED[1]}", taught),
        }
        for column, (of, seen) in COMBINATIONS.items():
            make = partial(self.student, how, objective, of, seen)
            row[column] = self.cell(f"{name} / {objective} / {column}", make)
        return row


# -- tables ----------------------------------------------------------------------------------


def row_surplus(row: dict[str, dict[str, float]]) -> float:
    """Return what distillation adds beyond what it adds to the plain network."""
    names = (
        ("Self-Distill", "Finetuned", "Unpruned KD", "Unpruned scratch")
        if "Finetuned" in row
        else ("Yes/Yes", "augmented alone", "No/No", "alone")
    )
    return surplus(*(row[name]["acc"] for name in names))


def rows_of(bench: Bench) -> Iterator[tuple[str, str, dict[str, dict[str, float]]]]:
    """Yield table, row and cells of one architecture and seed."""
    for pruning in bench.architecture.prunings:
        for objective in OBJECTIVES:
            name = f"{bench.architecture.name}, {pruning.name}, {objective}"
            yield "pruning", name, bench.pruning_row(pruning, objective)
    for augmentation in AUGMENTATIONS if bench.architecture.augmented else ():
        for objective in OBJECTIVES:
            name = f"{bench.architecture.name}, {augmentation}, {objective}"
            yield "augmentation", name, bench.augmentation_row(augmentation, objective)


def run(args: argparse.Namespace, preset: Preset) -> dict[str, dict[str, list[Any]]]:
    """Train what is not there yet; return the cells of each row of each table, a dict a seed."""
    data = load(args.data, preset)
    tables: dict[str, dict[str, list[Any]]] = {"pruning": {}, "augmentation": {}}
    for seed in range(preset.seeds):
        for architecture in preset.architectures:
            net = recipe(architecture, preset, args.device)
            bench = Bench(architecture, preset, data, seed, net, args.work / args.preset)
            bench.work.mkdir(parents=True, exist_ok=True)
            for table, name, row in rows_of(bench):
                tables[table].setdefault(name, []).append(row)
    return tables


def spread(values: list[float]) -> str:
    """Return mean and standard deviation for a table."""
    sd = f" ±{statistics.stdev(values):5.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{sd}"


def report(tables: dict[str, dict[str, list[Any]]]) -> dict[str, Any]:
    """Print the tables, with the surplus and its 95 % interval over the seeds."""
    found: dict[str, Any] = {}
    for table, rows in tables.items():
        found[table] = {}
        if not rows:
            continue
        columns = list(next(iter(rows.values()))[0])
        print(f"\n{table:<38}" + "".join(f"{name:>18}" for name in columns) + "  surplus (95 %)")
        for name, seeds in rows.items():
            line = "".join(
                f"{spread([row[column]['acc'] for row in seeds]):>18}" for column in columns
            )
            gains = [row_surplus(row) for row in seeds]
            half = float("nan")
            if len(gains) > 1:
                half = float(stats.t.ppf(0.975, len(gains) - 1) * stats.sem(gains))
            mean = statistics.fmean(gains)
            print(f"{name:<38}{line}  {mean:+.2f} ± {half:.2f}")
            found[table][name] = {
                "seeds": seeds,
                "surplus": {"seeds": gains, "mean": mean, "half_width": half},
            }
    return found


def main() -> None:
    """Run a preset."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).resolve().parent / "results"
    parser.add_argument("--data", type=Path, help="npz of CIFAR-10 or CIFAR-100")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="cpu")
    parser.add_argument("--quick", action="store_true", help="the preset quick, on noise")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, help="other than the preset's")
    parser.add_argument("--work", type=Path, default=Path("orthogonality"))
    parser.add_argument("--out", type=Path, default=here / "orthogonality.json")
    args = parser.parse_args()
    args.preset = "quick" if args.quick else args.preset
    if args.data is None and args.preset != "quick":
        parser.error("--data is needed for this preset")
    facts = provenance(__file__, PACKAGES)
    print_machine(facts)
    preset = PRESETS[args.preset]
    if args.seeds is not None:
        preset = replace(preset, seeds=args.seeds)
    found = report(run(args, preset))
    about = asdict(preset)
    for one in about["architectures"]:
        one["module"] = one["module"].__name__
    write_json(args.out, {"provenance": facts, "preset": about, "tables": found})


if __name__ == "__main__":
    main()
