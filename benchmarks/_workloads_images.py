"""Pruning, altered images, shared members, gradients of inputs, splits of channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from _experiments import Row, Rows, Task, recipe, student
from _images import STATISTICS, load_pooled
from _orthogonality import Architecture, Preset as Sizes, Pruning
from _workloads_networks import digit_net, digit_rows
from orthogonality import Bench
from skorch import NeuralNetClassifier

import skensemble
from skensemble import BatchEnsembleClassifier, DeepEnsembleClassifier, NetworkClassifier
from skensemble.inspection import diversity_score
from skensemble.metrics import expected_calibration_error, negative_log_likelihood
from skensemble.nn import CifarResNet
from skensemble.perturbation import ConfODS, TDivSDiv
from skensemble.preprocessing import ModuleFeatures

# -- as Park, Yoo and Kwak have it, by the code of `orthogonality.py` ------------------------------


def bench(task: Task, rows: Rows, net: NeuralNetClassifier, name: str, sizes: Sizes) -> Bench:
    """Return what trains the networks of a row of their tables and keeps them."""
    work = task.folder / "networks"
    work.mkdir(exist_ok=True)
    data = {"X": rows.X, "y": rows.y, "X_test": rows.X_test, "y_test": rows.y_test}
    return Bench(Architecture(name, CifarResNet, {}, ()), sizes, data, task.seed, net, work)


def accuracies(cells: dict[str, dict[str, float]]) -> Row:
    """Return the accuracies of a row of their tables."""
    return {name: cell["acc"] for name, cell in cells.items()}


@dataclass(frozen=True)
class PrunedDigits:
    """A ResNet-8 on digits, pruned and trained on in their five ways."""

    method: str
    keep: float
    objective: str = "label"
    n_rows: int = 150
    width: int = 8
    epochs: int = 60
    finetune_epochs: int = 30
    finetune_lr: float = 0.005
    feature_weight: float = 1.0  # of the run that is reported, begun before a search found 0.1

    def parts(self) -> dict[str, Callable[[Task], Row]]:
        """Return what is run."""
        return {"all": self.run}

    def run(self, task: Task) -> Row:
        """Fill a row."""
        rows, net = digit_rows(self.n_rows, task.seed), digit_net(self.width, self.epochs)
        sizes = Sizes((), len(rows.X), len(rows.X_test), self.epochs, self.finetune_epochs,
                      self.finetune_lr, 1, feature_weight=self.feature_weight)  # fmt: skip
        pruning = Pruning(f"{self.method} {self.keep:g}", self.method, self.keep)
        work = bench(task, rows, net, "digits", sizes)
        cells = work.pruning_row(pruning, self.objective)
        return {
            **accuracies(cells),
            **rows.fitted([work.scratch(pruning)]),
            "parameters kept": cells["Finetuned"]["n_parameters_share"],
        }


@dataclass(frozen=True)
class Small:
    """Images of CIFAR-10 as 8 x 8, and a ResNet-8 that learns them by heart."""

    n_rows: int = 2000
    n_test: int = 5000
    width: int = 8
    epochs: int = 60
    batch_size: int = 100
    side: int = 8
    depth: int = 8

    def rows(self, task: Task) -> Rows:
        """Draw a seed's rows, as bytes."""
        found = load_pooled(task.data, self.n_rows, self.n_test, 32 // self.side, task.seed)
        return Rows(found["X"], found["y"], found["X_test"], found["y_test"])

    def net(self, **arguments: Any) -> NeuralNetClassifier:
        """Return the recipe."""
        return recipe(CifarResNet, self.epochs, self.batch_size, 0.1, module__depth=self.depth,
                      module__width=self.width,
                      **{"module__normalize": STATISTICS, **arguments})  # fmt: skip


@dataclass(frozen=True)
class CutMixed(Small):
    """One network and its student, each of them with and without CutMix."""

    def parts(self) -> dict[str, Callable[[Task], Row]]:
        """Return what is run."""
        return {"all": self.run}

    def run(self, task: Task) -> Row:
        """Fill a row."""
        rows = self.rows(task)
        sizes = Sizes((), self.n_rows, self.n_test, self.epochs, 1, 0.1, 1)
        work = bench(task, rows, self.net(), "images", sizes)
        cells = work.augmentation_row("CutMix", "label")
        return {**accuracies(cells), **rows.fitted([work.scratch()])}


# -- as Nam et al. have it -------------------------------------------------------------------------


@dataclass(frozen=True)
class Latent(Small):
    """An ensemble of four and its students: one network, or shared members folded into one."""

    members: int = 4

    def parts(self) -> dict[str, Callable[[Task], Row]]:
        """Return what is run."""
        return {
            "teacher": self.teacher,
            "KD": lambda task: self.taught(task, "KD", self.net()),
            "LatentBE": lambda task: self.latent(task, "LatentBE", None),
            "ConfODS": lambda task: self.latent(task, "ConfODS", ConfODS(1 / 255)),
            "TDiv-SDiv": lambda task: self.latent(task, "TDiv-SDiv", TDivSDiv(1 / 255)),
            "TDiv-SDiv, step 4": lambda task: self.latent(
                task, "TDiv-SDiv, step 4", TDivSDiv(4 / 255)
            ),
        }

    def ensemble(self, task: Task, rows: Rows) -> DeepEnsembleClassifier:
        """Return the seed's ensemble, trained once."""
        path = task.folder / f"latent-{task.seed}.safetensors"
        if path.exists():
            return skensemble.load(path)
        ensemble = DeepEnsembleClassifier(self.net(), self.members, random_state=task.seed)
        ensemble.fit(rows.X, rows.y).save(path)
        return ensemble

    def teacher(self, task: Task) -> Row:
        """Train the teacher."""
        rows = self.rows(task)
        ensemble = self.ensemble(task, rows)
        row = rows.of_members(ensemble, self.members)
        return row | measures("ensemble", ensemble, rows) | measures("single", ensemble[0], rows)

    def taught(self, task: Task, name: str, net: Any, **settings: Any) -> Row:
        """Train one network on what the teacher says."""
        rows = self.rows(task)
        learner = student(self.ensemble(task, rows), net, 1000 + task.seed, **settings)
        return measures(name, learner.fit(rows.X, rows.y), rows)

    def latent(self, task: Task, name: str, perturbation: Any) -> Row:
        """Train shared members, one by each of the teacher's, and fold them in both ways."""
        rows = self.rows(task)
        body = BatchEnsembleClassifier(self.net(), self.members, init="one", decay_to=1,
                                       fast_lr_factor=1.0, merge="rank-mean")  # fmt: skip
        learner = student(self.ensemble(task, rows), body, 1000 + task.seed, alpha=1.0,
                          perturbation=perturbation).fit(rows.X, rows.y)  # fmt: skip
        factors = learner.estimators_[0].merge_members("factor-mean")
        return measures(name, learner, rows) | measures(f"{name}, factor-mean", factors, rows)


def measures(name: str, model: Any, rows: Rows) -> Row:
    """Return accuracy, log loss and calibration error on test rows."""
    proba = model.predict_proba(rows.X_test)
    labels = model.classes_
    return {
        f"accuracy: {name}": rows.accuracy(model),
        f"log loss: {name}": negative_log_likelihood(rows.y_test, proba, labels=labels),
        f"calibration error: {name}": expected_calibration_error(rows.y_test, proba, labels=labels),
    }


# -- gradients of inputs, and splits of channels ---------------------------------------------------


@dataclass(frozen=True)
class Inputs(Small):
    """How unlike the gradients of images are, in a network and in its student."""

    n_rows: int = 300
    n_test: int = 1000
    epochs: int = 40
    batch_size: int = 50
    side: int = 32
    depth: int = 20
    n_scored: int = 128

    def parts(self) -> dict[str, Callable[[Task], Row]]:
        """Return what is run."""
        return {"all": self.run}

    def run(self, task: Task) -> Row:
        """Fill a row."""
        rows, net = self.rows(task), self.net()
        plain = NetworkClassifier(net, random_state=task.seed).fit(rows.X, rows.y)
        taught = student(plain, net, 1000 + task.seed).fit(rows.X, rows.y)
        row = rows.fitted([plain])
        for name, model in (("single", plain), ("distilled", taught.estimators_[0])):
            row[name] = rows.accuracy(model)
            for mode in ("eval", "train"):
                score = diversity_score(model, rows.X_test[: self.n_scored], mode=mode)
                row[f"NASWOT {name}, {mode}"] = float(score[0])
        return row


@dataclass(frozen=True)
class Channels(Small):
    """Ensembles on what a fixed network puts out after a group, or on parts of its channels."""

    n_rows: int = 500
    batch_size: int = 50
    members: int = 8
    member_epochs: int = 60
    splits: tuple[int, ...] = (2, 4, 8)

    def parts(self) -> dict[str, Callable[[Task], Row]]:
        """Return what is run."""
        return {"all": self.run}

    def run(self, task: Task) -> Row:
        """Fill a row."""
        rows, row = self.rows(task), {}
        fixed = NetworkClassifier(self.net(), random_state=task.seed).fit(rows.X, rows.y)
        net = replace(self, epochs=self.member_epochs).net(module__normalize=None)
        for group in (1, 2):
            features = ModuleFeatures(fixed, layer=f"blocks.{group - 1}").fit(rows.X[:2])
            X, X_test = features.transform(rows.X), features.transform(rows.X_test)
            seen = Rows(X, rows.y, X_test, rows.y_test)
            for parts in (None, *self.splits):
                ensemble = DeepEnsembleClassifier(net, self.members, channel_splits=parts,
                                                  random_state=task.seed)  # fmt: skip
                ensemble.fit(X, rows.y)
                name = f"group {group}" + (f", {parts} parts" if parts else "")
                row[f"single, {name}"] = seen.mean(ensemble)
                row[f"ensemble, {name}"] = seen.accuracy(ensemble)
                fitted = seen.fitted(ensemble)
                row |= {f"{key}, {name}": value for key, value in fitted.items()}
        return row | {"fixed network": rows.accuracy(fixed), **rows.fitted([fixed])}
