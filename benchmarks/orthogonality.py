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

Everything is fixed beforehand and nothing chosen by test rows: temperature 4, alpha 0.9, shares
to keep, schedules. The unpruned network of slimming is trained with the penalty on its scales, in
every column. Whose word "a teacher network" of Post-Distill is the source leaves open; here it is
the unpruned scratch network's.

Preset `paper`: all images, 160 epochs of SGD at a rate of 0.1, divided by 10 at 50 % and 75 %, with
crops and flips; 40 epochs of fine-tuning at 0.001 without them, as the source's text has it. The
shares are the source's: filters by stages; slimming keeps 50 % of VGG-19 and ResNet-56 and 30 % of
DenseNet-40 (its Table 2), magnitude 40 % of the weights of ResNet-110 (Table 3). ResNet-56 of
slimming is the pre-activation network with bottlenecks of the public code of network slimming,
our reading. Altered images are cropped and flipped first, and PyramidNet-110-64 and -200-240 stand
in the augmentation tables beside ResNet-56; all of them are taught by a network of their own kind.
Where the source's figures are known, `SOURCE` has them, and they are printed below ours.
Presets and `SOURCE` are in `_orthogonality.py`.

Preset `cpu`: 2,500 images of CIFAR-10, pooled to 16 x 16, a ResNet-20 of width 8, 8 epochs and 2 of
fine-tuning, three seeds; its shares of slimming and magnitude are this script's own, and nothing is
cropped or flipped, before pruning or after.

The weight of the feature term is searched by `--search-weight`: on training rows alone, those that
a preset leaves over as validation rows, with seeds that no table has. The rule, written before it
was run: the weight with the least log loss of the taught, unpruned network.

Every network and every (seed, cell) is written to `--work` when it is done and not run
again, so that the script may be stopped at any time. `--data` names a file with
``X_train, y_train, X_test, y_test``, images as bytes (n, 32, 32, 3).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from _bench import (
    interval,
    preset_parser,
    print_machine,
    provenance,
    read_preset,
    remembered,
    require_folder,
    write_json,
)
from _images import STATISTICS, image_parts, pooled
from _orthogonality import PRESETS, SOURCE, Architecture, Preset, Pruning
from sklearn.frozen import FrozenEstimator
from skorch import NeuralNetClassifier
from skorch.callbacks import LRScheduler
from torch import nn

from skensemble import DistilledClassifier, NetworkClassifier, PrunedClassifier
from skensemble.metrics import negative_log_likelihood, surplus
from skensemble.objectives import FeatureTerm

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "skorch", "scipy", "skensemble")
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
WEIGHTS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
PILOT_SEED = 1000
# Whether the teacher learned altered images, and whether both see them; No/No is plain KD.
COMBINATIONS = {
    "No/Yes": (False, True),
    "Yes/No": (True, False),
    "Yes/Yes": (True, True),
}


# -- data and recipe -----------------------------------------------------------------------


def load(path: Path | None, preset: Preset, spare: int = 0) -> dict[str, np.ndarray]:
    """Return training, spare training and test rows, pooled; noise where there is no file."""
    parts = image_parts(path, preset.n_train, spare, preset.n_test)
    return {k: pooled(v, preset.pool) if "X" in k else v for k, v in parts.items()}


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
        found = remembered(path, lambda: self._measure(make()))
        print(f"seed {self.seed}  {self.architecture.name:<26}{name:<44}{found['acc']:>8.2f}",
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

    def altered(self, how: str | None = None) -> Any:
        """Return the augmentation of the preset, followed by another."""
        parts = [one for one in (self.preset.augmentation, how) if one is not None]
        return parts if len(parts) > 1 else parts[0] if parts else None

    def objective(self, name: str) -> Any:
        """Return what is learned of a teacher."""
        return FeatureTerm(weight=self.preset.feature_weight) if name == "feature" else name

    def scratch(self, pruning: Pruning | None = None, how: str | None = None) -> Any:
        """Return the network of labels alone, trained with slimming's penalty where that prunes."""
        if pruning is not None and pruning.method == "slimming":
            return self.kept("slimming, scratch", partial(self._slimmed, pruning))
        one = NetworkClassifier(self.net, augmentation=self.altered(how), random_state=self.seed)
        return self.kept(f"{how}, scratch", lambda: self.fit(one))

    def taught(self, objective: str, pruning: Pruning | None = None) -> Any:
        """Return the student of the scratch network."""
        teacher = FrozenEstimator(self.scratch(pruning))
        told = self.objective(objective)
        if pruning is not None and pruning.method == "slimming":
            learns = DistilledClassifier(teacher, objective=told)
            make = partial(self._slimmed, pruning, self.seed + 1000, distill=learns, protocol="pre")
            return self.kept(f"slimming, {objective}", make)
        one = DistilledClassifier(
            teacher, self.net, objective=told, augmentation=self.altered(),
            random_state=self.seed + 1000,
        )  # fmt: skip
        return self.kept(f"plain, {objective}", lambda: self.fit(one))

    def _slimmed(self, pruning: Pruning, random_state: int | None = None, **learns: Any) -> Any:
        seed = self.seed if random_state is None else random_state
        whole = PrunedClassifier(
            NetworkClassifier(self.net, augmentation=self.altered()), method="slimming",
            strength=pruning.strength, finetune=None, random_state=seed, **learns,
        )  # fmt: skip
        return self.fit(whole).unpruned_

    # -- the rows of the tables

    def pruned(self, pruning: Pruning, objective: str, distill: str | None) -> Any:
        """Return a pruned and fine-tuned network."""
        told = self.objective(objective)
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
                augmentation=self.preset.finetune_augmentation,
                distill=DistilledClassifier(objective=told) if distill else None,
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
        teacher = self.scratch(how=augmentation if of else None)
        return self.fit(
            DistilledClassifier(
                FrozenEstimator(teacher),
                self.net,
                objective=self.objective(objective),
                augmentation=self.altered(augmentation if seen else None),
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
                f"{name} / labels / alone", partial(self.scratch, how=how)
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


def taught_with(bench: Bench, weight: float) -> Any:
    """Return the unpruned network that is taught by features with this weight."""
    own = replace(bench, preset=replace(bench.preset, feature_weight=weight),
                  work=bench.work / f"{weight:g}")  # fmt: skip
    own.work.mkdir(exist_ok=True)
    own.kept("None, scratch", bench.scratch)  # the same teacher
    return own.taught("feature")


def judge(classifier: Any, X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return accuracy and log loss."""
    proba = classifier.predict_proba(X)
    return {
        "acc": 100 * float((classifier.classes_[proba.argmax(1)] == y).mean()),
        "nll": float(negative_log_likelihood(y, proba, labels=classifier.classes_)),
    }


def _made_and_judged(make: Callable[[], Any], X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    return judge(make(), X, y)


def search_weight(args: argparse.Namespace, preset: Preset) -> dict[str, Any]:
    """Teach networks with each weight of the feature term; judge them on spare training rows."""
    data = load(args.data, preset, spare=preset.n_train)
    X, y = data["X_valid"], data["y_valid"]
    architecture = preset.architectures[0]
    net = recipe(architecture, preset, args.device)
    bench = Bench(architecture, preset, data, PILOT_SEED, net, args.work / args.preset / "search")
    bench.work.mkdir(parents=True, exist_ok=True)
    makers: dict[str, Callable[[], Any]] = {
        "scratch": bench.scratch,
        **{f"{weight:g}": partial(taught_with, bench, weight) for weight in WEIGHTS},
    }
    found = {}
    for name, make in makers.items():
        path = bench.work / f"{name}.json"
        found[name] = remembered(path, partial(_made_and_judged, make, X, y))
        print(f"weight {name:<10}{found[name]['acc']:>8.2f}{found[name]['nll']:>9.4f}", flush=True)
    best = min(WEIGHTS, key=lambda weight: found[f"{weight:g}"]["nll"])
    print(f"least log loss: {best:g}")
    return {"seed": PILOT_SEED, "n_validation": len(y), "weights": found, "chosen": best}


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
            mean, half = interval(gains).values()
            print(f"{name:<38}{line}  {mean:+.2f} ± {half:.2f}")
            source = SOURCE.get(name, {})
            if source:
                told = "".join(f"{source.get(column) or '':>18}" for column in columns)
                print(f"{'  the source':<38}{told}  {source['surplus']:+.2f}")
            found[table][name] = {
                "seeds": seeds,
                "surplus": {"seeds": gains, "mean": mean, "half_width": half},
                "source": source,
            }
    return found


def main() -> None:
    """Run a preset."""
    parser = preset_parser(__doc__, PRESETS, "orthogonality")
    parser.add_argument("--search-weight", action="store_true", help="of the feature term, alone")
    args, preset = read_preset(parser, PRESETS)
    facts = provenance(__file__, PACKAGES)
    print_machine(facts)
    about = asdict(preset)
    for one in about["architectures"]:
        one["module"] = one["module"].__name__
    data = None if args.data is None else args.data.name
    require_folder(args.work / args.preset, about | {"seeds": None, "data": data})
    found = (
        {"search": search_weight(args, preset)}
        if args.search_weight
        else {"tables": report(run(args, preset))}
    )
    out = args.out
    if args.search_weight and out == parser.get_default("out"):
        out = out.with_stem("orthogonality_weight")
    write_json(out, {"provenance": facts, "preset": about, **found})


if __name__ == "__main__":
    main()
