"""The messages of the papers as hypotheses, each with its test, written before it is run.

    python benchmarks/claims.py --data cifar10.npz           # preset cpu
    python benchmarks/claims.py --data cifar10.npz --report  # the table of what is there
    python benchmarks/claims.py --preset quick               # does it run at all?

`CLAIMS` is the table: a statement, its source, and one or more effects. An effect is a sum of
measured columns with weights, and must lie on one side of a threshold. Every seed draws
training rows and networks anew; an effect is computed within a seed, so comparisons are
paired, and gets a t interval (95 %) over seeds. The verdict:

holds              the interval of every effect is on the right side;
holds in part      some mean is on the right side;
does not at this scale   no mean is.

Twenty and more claims are tested and the intervals are not corrected for that. Columns are
test accuracies in per cent but where said otherwise. Test rows choose nothing; the weight
decay of the Gaussian claim is chosen by single networks on validation rows.

Workloads. *images*: 2,500 images of CIFAR-10 (`--data`, see `_images.py`), pooled to 16 x 16, a
ResNet-8 of width 16, 12 epochs; one ensemble of four is the teacher of all students of a seed, and
its first member is the network whose channels are split. *views*: multi-view data, the
network and gradient descent of `multiview.py`. *ntk*, *gp*: kernels of a small convolutional
network on 300 digits. *linear*, *fc2*: Gaussian rows with these labellers. Distillation is at T = 4
and alpha = 0.9, but for views, where it is as `multiview.py` says; nothing was tuned here.

Every (workload, seed) is written to `--work` and not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bench import print_machine, provenance, write_json
from _images import ImageNetwork, load_images
from multiview import descent, taught_by
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from skorch import NeuralNetClassifier
from skorch.callbacks import LRScheduler
from torch import Tensor, nn

import skensemble
from skensemble import DeepEnsembleClassifier, DistilledClassifier, NTKClassifier
from skensemble.datasets import make_labelled_gaussian, make_multiview_classification
from skensemble.metrics import pairwise_kl
from skensemble.nn import MLP, CifarResNet
from skensemble.preprocessing import ChannelSplit, ModuleFeatures

PACKAGES = ("torch", "numpy", "scikit-learn", "skorch", "scipy", "skensemble")
VIEWS = "Allen-Zhu and Li 2023"
ORTHOGONAL = "Park, Yoo and Kwak 2020"


# -- the table -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Effect:
    """A sum of columns that must be above (or below) a threshold."""

    what: str
    weights: dict[str, float]
    threshold: float = 0.0
    side: str = "above"


@dataclass(frozen=True)
class Claim:
    """A message of a paper, where it is looked for, and what must come out."""

    name: str
    statement: str
    source: str
    workloads: tuple[str, ...]
    effects: tuple[Effect, ...]


@dataclass(frozen=True)
class Preset:
    """Sizes; and how many seeds each kind of workload has."""

    seeds: dict[str, int]
    members: int = 4
    students: int = 3
    n_images: int = 2500
    n_test: int = 5000
    epochs: int = 12
    steps: float = 1.0
    n_kernel: int = 300
    draws: int = 10
    n_rows: int = 1000
    row_members: int = 6
    row_epochs: int = 40


PRESETS = {
    "cpu": Preset({"images": 5, "views": 5, "ntk": 10, "gp": 10, "linear": 6, "fc2": 6}),
    "quick": Preset(
        dict.fromkeys(("images", "views", "ntk", "gp", "linear", "fc2"), 2),
        members=2, students=2, n_images=120, n_test=100, epochs=1, steps=0.02, n_kernel=60,
        draws=2, n_rows=100, row_members=2, row_epochs=2,
    ),
}  # fmt: skip

# Column minus single, less a share of what the ensemble gains: its sign says whether a method
# reaches that share, and no ratio with a noisy denominator is needed.


def beyond(column: str, share: float) -> dict[str, float]:
    """Return the weights of ``(column - single) - share * (ensemble - single)``."""
    return {column: 1.0, "single": share - 1.0, "ensemble": -share}


_HALF = "less half of the ensemble's gain"
_MESSAGES = (
    ("ensemble", "An ensemble beats its members",
     (Effect("ensemble - single", {"ensemble": 1, "single": -1}),)),
    ("sum", "Training the sum of the networks does not: it has less than half of that gain",
     (Effect(f"sum - single, {_HALF}", beyond("sum", 0.5), 0.0, "below"),)),
    ("distillation", "One network taught by the ensemble recovers more than half of its gain",
     (Effect(f"distilled - single, {_HALF}", beyond("distilled", 0.5)),)),
    ("self-distillation", "A network taught by one of its own kind is better than that one",
     (Effect("self-distilled - single", {"self-distilled": 1, "single": -1}),)),
    ("variance", "The gain is not from the variance of single networks: the ensemble beats even "
     "the member that happens to be best on the test rows, and members vary by less than half of "
     "the gain",
     (Effect("ensemble - luckiest member", {"ensemble": 1, "luckiest": -1}),
      Effect(f"sd of members, {_HALF}", {"sd": 1, "ensemble": -0.5, "single": 0.5},
             0.0, "below"))),
    ("distilled-ensemble", "An ensemble of distilled networks adds little: less than half of what "
     "an ensemble of as many plain ones adds",
     (Effect("gain of students, less half of that of as many members",
             {"students": 1, "distilled": -1, "few": -0.5, "single": 0.5}, 0.0, "below"),)),
)  # fmt: skip
_KERNELS = (
    ("kernel-ensemble", "Message 1, kernels: the ensemble and the trained sum beat single kernels",
     (Effect("ensemble - single", {"ensemble": 1, "single": -1}),
      Effect("sum - single", {"sum": 1, "single": -1}))),
    ("kernel-sum", "Message 2, kernels: the trained sum is as good as the ensemble or better "
     "(margin 0.5 points)",
     (Effect("sum - ensemble", {"sum": 1, "ensemble": -1}, -0.5),)),
    ("kernel-distillation", "Message 3, kernels: neither distillation nor self-distillation adds "
     "more than a quarter of the ensemble's gain",
     (Effect("distilled - single, less a quarter of the ensemble's gain",
             beyond("distilled", 0.25), 0.0, "below"),
      Effect("self-distilled - single, less a quarter of the ensemble's gain",
             beyond("self-distilled", 0.25), 0.0, "below"))),
)  # fmt: skip
CLAIMS = (
    *(Claim(f"{name} ({data})", says, VIEWS, (data,), effects)
      for data in ("images", "views") for name, says, effects in _MESSAGES),
    *(Claim(f"{name} ({data})", says, VIEWS, (data,), effects)
      for data in ("ntk", "gp") for name, says, effects in _KERNELS),
    *(Claim(f"gaussian ({data})", "On Gaussian-like data an ensemble gains less than a point over "
            "single networks whose weight decay was chosen on validation rows", VIEWS, (data,),
            (Effect("ensemble - single", {"ensemble": 1, "single": -1}, 1.0, "below"),))
      for data in ("linear", "fc2")),
    Claim("channel-split", "Given a quarter of another network's channels a single network loses; "
          "an ensemble over the quarters loses less than half as much", VIEWS, ("images",),
          (Effect("single: original - split", {"single, original": 1, "single, split": -1}),
           Effect("ensemble: original - split, less half of that",
                  {"ensemble, original": 1, "ensemble, split": -1,
                   "single, original": -0.5, "single, split": 0.5}, 0.0, "below"))),
    Claim("diversity of inputs", "Distillation raises the NASWOT score: a network answers "
          "different inputs with more different gradients", ORTHOGONAL, ("images",),
          (Effect("NASWOT: distilled - single (score)",
                  {"naswot, distilled": 1, "naswot, single": -1}),)),
    Claim("diversity of members", "Distilled networks of different seeds differ more in their "
          "outputs than plain ones", ORTHOGONAL, ("images",),
          (Effect("pairwise KL: students - members (nats)",
                  {"kl, students": 1, "kl, members": -1}),)),
)  # fmt: skip


# -- images --------------------------------------------------------------------------------

Row = dict[str, float]


@dataclass(frozen=True)
class Task:
    """What a workload is given."""

    preset: Preset
    seed: int
    folder: Path
    data: Path | None


def percent(classifier: Any, X: np.ndarray, y: np.ndarray) -> float:
    """Return test accuracy."""
    return 100 * float(classifier.score(X, y))


def each(ensemble: Any, X: np.ndarray, y: np.ndarray) -> list[float]:
    """Return the test accuracies of members."""
    return [percent(member, X, y) for member in ensemble]


def image_rows(task: Task) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw a seed's training rows; test rows are always the same."""
    n, n_test = task.preset.n_images, task.preset.n_test
    rng = np.random.default_rng(task.seed)
    if task.data is None:  # noise, to see whether all runs
        X = rng.integers(0, 256, (n + n_test, 3, 32, 32), dtype=np.uint8)
        y = np.arange(len(X)) % 10
        return X[:n], X[n:], y[:n], y[n:]
    data = load_images(task.data)
    at = rng.permutation(len(data["X_train"]))[:n]
    return (data["X_train"][at], data["X_test"][:n_test], data["y_train"][at],
            data["y_test"][:n_test])  # fmt: skip


def image_net(task: Task, module: Any = ImageNetwork, **kwargs: Any) -> NeuralNetClassifier:
    """Return the recipe of networks on images."""
    if module is ImageNetwork:
        kwargs = {"module__pool": 2, **kwargs}
    return NeuralNetClassifier(
        module,
        module__depth=8,
        module__width=16,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        optimizer__nesterov=True,
        optimizer__weight_decay=5e-4,
        lr=0.05,
        max_epochs=task.preset.epochs,
        batch_size=64,
        callbacks=[LRScheduler("CosineAnnealingLR", T_max=task.preset.epochs)],
        **kwargs,
    )


def image_teacher(task: Task) -> DeepEnsembleClassifier:
    """Return the seed's ensemble, trained once."""
    path = task.folder / f"images-{task.seed}.safetensors"
    if not path.exists():
        X, _, y, _ = image_rows(task)
        ensemble = DeepEnsembleClassifier(image_net(task), task.preset.members,
                                          random_state=task.seed).fit(X, y)  # fmt: skip
        ensemble.save(path)
    return skensemble.load(path, module=ImageNetwork)


def naswot(module: nn.Module, x: Tensor, k: float = 1e-5) -> float:
    """Return ``-sum log(u_i + k) + 1 / (u_i + k)`` of the correlation of input gradients.

    `u` are the eigenvalues of the correlation matrix of the rows' gradients of the summed
    outputs (Mellor et al., first version; evaluation mode). The more alike the gradients of two
    rows, the lower.
    """
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(module.eval()(x).sum(), x)
    values = torch.linalg.eigvalsh(torch.corrcoef(gradient.flatten(1).double()))
    values = values.clamp_min(0) + k
    return -float((values.log() + 1 / values).sum())


def mean_naswot(members: Any, X: np.ndarray) -> float:
    """Return the mean score of networks on 128 rows."""
    x = torch.from_numpy(X[:128]).float() / 255
    return statistics.fmean(naswot(member.module_, x) for member in members)


def images_ensemble(task: Task) -> Row:
    """Train the teacher."""
    _, X_test, _, y_test = image_rows(task)
    ensemble = image_teacher(task)
    return {
        **of_members(ensemble, X_test, y_test, task.preset.students),
        "naswot, single": mean_naswot(ensemble, X_test),
        "kl, members": pairwise_kl(ensemble.predict_members(X_test)),
    }


def of_members(ensemble: Any, X: np.ndarray, y: np.ndarray, few: int) -> Row:
    """Return the columns of an ensemble and its members."""
    singles = each(ensemble, X, y)
    return {
        "single": statistics.fmean(singles),
        "luckiest": max(singles),
        "sd": statistics.stdev(singles),
        "ensemble": percent(ensemble, X, y),
        "few": percent(ensemble[:few], X, y),
    }


def images_sum(task: Task) -> Row:
    """Train the sum."""
    X, X_test, y, y_test = image_rows(task)
    together = DeepEnsembleClassifier(image_net(task), task.preset.members, joint=True,
                                      random_state=task.seed).fit(X, y)  # fmt: skip
    return {"sum": percent(together, X_test, y_test)}


def images_distilled(task: Task) -> Row:
    """Teach networks by the ensemble."""
    X, X_test, y, y_test = image_rows(task)
    student = DistilledClassifier(
        FrozenEstimator(image_teacher(task)), image_net(task), temperature=4.0, alpha=0.9,
        n_students=task.preset.students, random_state=1000 + task.seed,
    ).fit(X, y)  # fmt: skip
    return {
        "distilled": statistics.fmean(each(student.estimators_, X_test, y_test)),
        "students": percent(student, X_test, y_test),
        "naswot, distilled": mean_naswot(student.estimators_, X_test),
        "kl, students": pairwise_kl([one.predict_proba(X_test) for one in student.estimators_]),
    }


def images_self(task: Task) -> Row:
    """Teach networks by one of their kind."""
    X, X_test, y, y_test = image_rows(task)
    student = DistilledClassifier(
        FrozenEstimator(image_teacher(task)[0]), image_net(task), temperature=4.0, alpha=0.9,
        n_students=2, random_state=2000 + task.seed,
    ).fit(X, y)  # fmt: skip
    return {"self-distilled": statistics.fmean(each(student.estimators_, X_test, y_test))}


def images_channels(task: Task) -> Row:
    """Train on what the teacher's first member puts out after its second group."""
    X, X_test, y, y_test = image_rows(task)
    features = ModuleFeatures(image_teacher(task)[0], layer="body.blocks.1").fit(X[:2])
    X, X_test = features.transform(X), features.transform(X_test)
    net, splits, row = image_net(task, CifarResNet), 4, {}
    average = ChannelSplit(splits, mode="average")
    for name, steps, channel_splits in (
        ("original", (), None), ("split", (), splits), ("average", (average,), None)
    ):  # fmt: skip
        ensemble = DeepEnsembleClassifier(net, splits, channel_splits=channel_splits,
                                          random_state=task.seed)  # fmt: skip
        pipeline = make_pipeline(*steps, ensemble).fit(X, y)
        seen = pipeline[:-1].transform(X_test) if steps else X_test
        row[f"single, {name}"] = statistics.fmean(each(ensemble, seen, y_test))
        row[f"ensemble, {name}"] = percent(ensemble, seen, y_test)
    return row


# -- the other workloads -------------------------------------------------------------------


def views(task: Task) -> Row:
    """Train on multi-view data, at the settings of `multiview.py`."""
    args: dict[str, Any] = {"dtype": np.float32}
    X, y, found = make_multiview_classification(
        500, return_views=True, random_state=task.seed, **args
    )
    X_test, y_test = make_multiview_classification(
        20_000, features=found.features, random_state=10_000 + task.seed, **args
    )
    seed, members, students = task.seed, 2 * task.preset.members, task.preset.students
    steps = int(300 * task.preset.steps)
    make = partial(DeepEnsembleClassifier, descent(5.0, steps), members, averaging="logit",
                   random_state=seed)  # fmt: skip
    ensemble, together = make().fit(X, y), make(joint=True).fit(X, y)
    longer = int(400 * task.preset.steps)
    taught = taught_by(ensemble, 8.0, 100.0, 1.0, longer, seed + 1, students).fit(X, y)
    again = taught_by(ensemble[0], 5.0, 10.0, 1.5, steps, seed + 2, students).fit(X, y)
    return {
        **of_members(ensemble, X_test, y_test, students),
        "sum": percent(together, X_test, y_test),
        "distilled": statistics.fmean(each(taught.estimators_, X_test, y_test)),
        "students": percent(taught, X_test, y_test),
        "self-distilled": statistics.fmean(each(again.estimators_, X_test, y_test)),
    }


class DigitNetwork(nn.Module):
    """Two convolutions and a linear layer, for digits of 8 x 8."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(128, n_classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        return self.layers(x)


def kernels(features: str, task: Task) -> Row:
    """Fit kernels to digits; every seed has other rows and other draws."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16 - 0.5).astype(np.float32).reshape(-1, 1, 8, 8)
    order = np.random.default_rng(task.seed).permutation(len(X))
    train, test = order[: task.preset.n_kernel], order[task.preset.n_kernel :]
    X, X_test, y, y_test = X[train], X[test], y[train], y[test]
    make = partial(NTKClassifier, DigitNetwork, features=features, random_state=task.seed)
    ensemble = make(n_estimators=task.preset.draws).fit(X, y)
    together = make(n_estimators=task.preset.draws, combine="sum").fit(X, y)
    logits = ensemble.predict_members(X_test, response="logit")
    singles = 100 * (ensemble.classes_[logits.argmax(-1)] == y_test).mean(1)
    kernel = NTKClassifier(DigitNetwork, features=features)
    learn = {"temperature": 4.0, "alpha": 0.9, "random_state": 1000 + task.seed}
    taught = DistilledClassifier(FrozenEstimator(ensemble), kernel, **learn)
    one = NTKClassifier(DigitNetwork, features=features, random_state=2000 + task.seed).fit(X, y)
    again = DistilledClassifier(FrozenEstimator(one), kernel, **learn)
    return {
        "single": float(singles.mean()),
        "ensemble": percent(ensemble, X_test, y_test),
        "sum": percent(together, X_test, y_test),
        "distilled": percent(taught.fit(X, y), X_test, y_test),
        "self-distilled": percent(again.fit(X, y), X_test, y_test),
    }


DECAYS = (0.0, 5e-4, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2)


def gaussian(labeller: str, task: Task) -> Row:
    """Choose the weight decay of single networks on validation rows, then ask the test rows."""
    n = task.preset.n_rows
    X, y = make_labelled_gaussian(
        7 * n, shape=40, labeller=labeller, labeller_state=task.seed, random_state=task.seed,
        dtype=np.float32,
    )  # fmt: skip
    train, valid, test = slice(0, n), slice(n, 2 * n), slice(2 * n, None)
    by_decay = {}
    for decay in DECAYS:
        net = NeuralNetClassifier(
            MLP, module__hidden=(128, 128), criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.SGD, optimizer__momentum=0.9, optimizer__weight_decay=decay,
            lr=0.05, max_epochs=task.preset.row_epochs, batch_size=64,
            callbacks=[LRScheduler("CosineAnnealingLR", T_max=task.preset.row_epochs)],
        )  # fmt: skip
        ensemble = DeepEnsembleClassifier(net, task.preset.row_members, random_state=task.seed).fit(
            X[train], y[train]
        )
        by_decay[decay] = ensemble, statistics.fmean(each(ensemble, X[valid], y[valid]))
    best = max(by_decay, key=lambda decay: by_decay[decay][1])

    def columns(ensemble: Any, suffix: str = "") -> Row:
        return {f"single{suffix}": statistics.fmean(each(ensemble, X[test], y[test])),
                f"ensemble{suffix}": percent(ensemble, X[test], y[test])}  # fmt: skip

    return {**columns(by_decay[best][0]), **columns(by_decay[0.0][0], ", no decay"),
            "decay": best}  # fmt: skip


WORKLOADS: dict[str, dict[str, Callable[[Task], Row]]] = {
    "views": {"all": views},
    "ntk": {"all": partial(kernels, "ntk")},
    "gp": {"all": partial(kernels, "gp")},
    "linear": {"all": partial(gaussian, "linear")},
    "fc2": {"all": partial(gaussian, "fc2")},
    "images": {
        "ensemble": images_ensemble,
        "distilled": images_distilled,
        "self": images_self,
        "sum": images_sum,
        "channels": images_channels,
    },
}


# -- running and judging -------------------------------------------------------------------


def run_part(name: str, part: str, task: Task, report: bool) -> Row | None:
    """Run a part of a workload, or read what an earlier run with these sizes wrote."""
    path = task.folder / f"{name}-{part}-{task.seed}.json"
    if path.exists():
        return json.loads(path.read_text())
    if report:
        return None
    start, cpu = time.perf_counter(), time.process_time()
    row = WORKLOADS[name][part](task)
    row |= {f"seconds, {part}": time.perf_counter() - start,
            f"cpu seconds, {part}": time.process_time() - cpu}  # fmt: skip
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(row))
    draft.replace(path)
    shown = ", ".join(f"{key} {value:.2f}" for key, value in row.items())
    print(f"seed {task.seed}  {name:<7}{part:<10}{shown}", flush=True)
    return row


def run(preset: Preset, folder: Path, data: Path | None, report: bool) -> dict[str, list[Row]]:
    """Run what is missing, seed by seed; return complete seeds of each workload."""
    rows: dict[str, list[Row]] = {name: [] for name in WORKLOADS}
    for seed in range(max(preset.seeds.values())):
        for name, parts in WORKLOADS.items():
            if seed >= preset.seeds[name]:
                continue
            task = Task(preset, seed, folder, data)
            found = [run_part(name, part, task, report) for part in parts]
            if all(row is not None for row in found):
                rows[name].append({k: v for row in found for k, v in (row or {}).items()})
    return rows


def judge_effect(effect: Effect, rows: list[Row]) -> dict[str, Any]:
    """Return mean, interval and 2 (interval on the right side), 1 (mean is) or 0."""
    values = [sum(w * row[column] for column, w in effect.weights.items()) for row in rows]
    mean = statistics.fmean(values) if values else math.nan
    half = math.nan
    if len(values) > 1:
        half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    sign = 1.0 if effect.side == "above" else -1.0
    beyond_by = sign * (mean - effect.threshold)
    level = 2 if beyond_by > half else 1 if beyond_by > 0 else 0
    return asdict(effect) | {"values": values, "mean": mean, "half_width": half, "level": level}


def verdict(levels: list[int]) -> str:
    """Say what effects say of their claim."""
    if min(levels) == 2:
        return "holds"
    return "holds in part" if max(levels) > 0 else "does not at this scale"


def judge(rows: dict[str, list[Row]]) -> list[dict[str, Any]]:
    """Print the table and return it."""
    found = []
    for name, mine in rows.items():
        if not mine:
            continue
        print(f"\n{name}, {len(mine)} seeds: mean and sd over them")
        for column in (key for key in mine[0] if "seconds" not in key):
            values = [row[column] for row in mine]
            sd = statistics.stdev(values) if len(values) > 1 else math.nan
            print(f"  {column:<22}{statistics.fmean(values):>10.3f}{sd:>9.3f}")
    print(f"\n{'claim':<32}{'n':>3}  {'effect':<64}{'mean':>8} ± {'95 %':<7}{'wanted':>9}")
    for claim in CLAIMS:
        mine = rows[claim.workloads[0]]
        if not mine:
            print(f"{claim.name:<32}  0  not run yet")
            continue
        effects = [judge_effect(effect, mine) for effect in claim.effects]
        said = verdict([effect["level"] for effect in effects])
        seconds = sum(v for row in mine for k, v in row.items() if k.startswith("seconds"))
        for number, one in enumerate(effects):
            head = f"{claim.name:<32}{len(mine):>3}  " if number == 0 else " " * 37
            wanted = f"{'>' if one['side'] == 'above' else '<'} {one['threshold']:g}"
            print(f"{head}{one['what']:<64}{one['mean']:>+8.2f} ± {one['half_width']:<7.2f}"
                  f"{wanted:>9}" + (f"  {said}" if number == 0 else ""))  # fmt: skip
        found.append(asdict(claim) | {"effects": effects, "verdict": said, "seeds": len(mine),
                                      "workload_seconds": seconds})  # fmt: skip
    return found


def main() -> None:
    """Run a preset and judge its claims."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=tuple(PRESETS), default="cpu")
    parser.add_argument("--data", type=Path, help="npz of CIFAR-10")
    parser.add_argument("--work", type=Path, default=Path("claims"))
    parser.add_argument("--report", action="store_true", help="run nothing, judge what is there")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    preset = PRESETS[args.preset]
    if args.data is None and args.preset != "quick" and not args.report:
        parser.error("--data is needed, or --preset quick")
    folder = args.work / args.preset
    folder.mkdir(parents=True, exist_ok=True)
    sizes = folder / "sizes.json"
    if sizes.exists() and json.loads(sizes.read_text()) != asdict(preset):
        parser.error(f"{folder} holds results of other sizes; name another --work")
    sizes.write_text(json.dumps(asdict(preset)))
    facts = provenance(__file__, PACKAGES)
    print_machine(facts)
    rows = run(preset, folder, args.data, args.report)
    spent = {kind: sum(v for many in rows.values() for row in many for k, v in row.items()
                       if k.startswith(kind)) for kind in ("seconds", "cpu seconds")}  # fmt: skip
    found = judge(rows)
    print(f"\n{spent['seconds']:.0f} s in all, {spent['cpu seconds']:.0f} s of them computing")
    out = args.out or Path(__file__).resolve().parent / "results" / f"claims_{args.preset}.json"
    write_json(out, {"provenance": facts, "preset": asdict(preset), "claims": found,
                     "rows": rows, **spent})  # fmt: skip


if __name__ == "__main__":
    main()
