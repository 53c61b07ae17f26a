"""Claim: ten networks train faster here than with any peer, and one network costs no more.

    python benchmarks/ensemble_training.py                  # all cells
    python benchmarks/ensemble_training.py --cells a,e --quick

Cells: (a) 10 x MLP 64-128-128-10 on digits; (b) 10 x MLP 50-64-64-2 on a table of
20,000 x 50; (c) 5 x CNN of width 8 on 8x8 digits; (d) 4 x ResNet-8 of width 16 on 32x32
images; (e) one network, against the bare loop; (f) prediction, against the bare module.

All contenders run in one process, in turn, the order rotated each round; a ratio is the
median over rounds of (peer's seconds / ours in the same round), so that more than 1 means
ours is faster. Every contender gets the same arrays, module class, number of epochs,
batch size and Adam with the same learning rate; members start from weights of their own.
The clock runs over construction and `fit`; accuracy is that of the averaged probabilities
on held-out rows, and no contender sees them in training. A short untimed round comes
first: lazy imports and worker processes are nobody's cost.

Contenders
    ours                  DeepEnsembleClassifier as it comes; NetworkClassifier in (e)
    bare loop             ~10 lines of torch on tensors in memory, members in turn
    skorch in turn        NeuralNetClassifier, train_split=None, verbose=0
    torchensemble         VotingClassifier over a DataLoader, n_jobs 1 and 2; it prints a
                          line a member and epoch, sent nowhere
    sklearn bagging       BaggingClassifier(MLPClassifier), bootstrap and stopping off,
                          n_jobs=1; tables only
    pytabkit n_ens        RealMLP with its preprocessing, embeddings, schedules, label
                          smoothing, dropout and validation split switched off, which
                          leaves the same plain MLP; drops the last short batch; tables only

pytabkit 1.7.3 installs with ``pip install pytabkit`` beside torch 2.15, scikit-learn 1.9
and skorch 1.4 on Python 3.11 and downgrades nothing: it adds pytorch-lightning,
torchmetrics and aiohttp. Where it cannot be imported its rows are left out, with a line
that says so. Hardware, versions, seeds and single runs are in the JSON beside this file.
Run it on an idle machine: one busy neighbour slows whoever uses all cores up to 30 times.
"""

from __future__ import annotations

import argparse
import math
import time
import timeit
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _bench import (
    Contender,
    Run,
    print_machine,
    print_table,
    provenance,
    quiet,
    summarise,
    take_turns,
    write_json,
)
from sklearn.datasets import load_digits, make_classification
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from skorch import NeuralNetClassifier
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchensemble import VotingClassifier

from skensemble import DeepEnsembleClassifier, NetworkClassifier
from skensemble.nn import CifarResNet

PACKAGES = ("torch", "numpy", "scikit-learn", "skorch", "joblib", "torchensemble", "pytabkit",
            "pytorch-lightning", "skensemble")  # fmt: skip
Predictor = Callable[[np.ndarray], np.ndarray]


# -- networks ------------------------------------------------------------------------------


class MLP(nn.Module):
    """A multi-layer perceptron as a user writes it."""

    def __init__(self, n_in: int, hidden: Sequence[int], n_out: int) -> None:
        super().__init__()
        widths = [n_in, *hidden]
        self.hidden = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths))
        self.out = nn.Linear(widths[-1], n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, n_in)`` to logits ``(n, n_out)``."""
        for layer in self.hidden:
            x = F.relu(layer(x))
        return self.out(x)


class SmallCNN(nn.Module):
    """Three 3x3 convolutions with BatchNorm on images of one channel."""

    def __init__(self, width: int = 8, n_out: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n, stride in ((1, width, 1), (width, 2 * width, 2), (2 * width, 2 * width, 1)):
            layers += [nn.Conv2d(n_in, n, 3, stride, 1, bias=False), nn.BatchNorm2d(n), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.out = nn.Linear(2 * width, n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, 1, height, width)`` to logits ``(n, n_out)``."""
        return self.out(self.features(x).mean((2, 3)))


# -- tasks ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """What every contender is given: a network, data and how long to train."""

    name: str
    members: int
    epochs: int
    module: type[nn.Module]
    module_args: dict[str, Any]
    X: np.ndarray = field(repr=False)
    X_test: np.ndarray = field(repr=False)
    y: np.ndarray = field(repr=False)
    y_test: np.ndarray = field(repr=False)
    batch_size: int = 128
    lr: float = 1e-3
    device: str = "cpu"

    @property
    def title(self) -> str:
        """One line for the head of a table."""
        rows = f"{len(self.X):,} x {' x '.join(map(str, self.X.shape[1:]))}"
        return (f"{self.members} x {self.name}, {rows}, {self.epochs} epochs, "
                f"batch {self.batch_size}, Adam {self.lr:g}, {self.device}")  # fmt: skip

    def make_module(self) -> nn.Module:
        """Return a network with fresh weights."""
        return self.module(**self.module_args).to(self.device)

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return the training rows on the device."""
        return torch.from_numpy(self.X).to(self.device), torch.from_numpy(self.y).to(self.device)

    def shortened(self, epochs: int, rows: int) -> Task:
        """Return the task with less to do."""
        return replace(self, epochs=epochs, X=self.X[:rows], y=self.y[:rows])


def digits_mlp() -> Task:
    """Return cell (a)."""
    X, y = load_digits(return_X_y=True)
    args = {"n_in": 64, "hidden": (128, 128), "n_out": 10}
    return Task("MLP 64-128-128-10, digits", 10, 20, MLP, args, *_split(X / 16, y, 0.25))


def table_mlp() -> Task:
    """Return cell (b): 20,000 rows to train on and 5,000 held out."""
    X, y = make_classification(
        25_000, 50, n_informative=20, n_clusters_per_class=4, class_sep=0.7, random_state=0
    )
    args = {"n_in": 50, "hidden": (64, 64), "n_out": 2}
    split = _split(X / X.std(0), y, 0.2)
    return Task("MLP 50-64-64-2, made table", 10, 3, MLP, args, *split)


def digits_cnn() -> Task:
    """Return cell (c)."""
    X, y = load_digits(return_X_y=True)
    split = _split(X.reshape(-1, 1, 8, 8) / 16, y, 0.25)
    return Task("CNN of width 8, digits", 5, 10, SmallCNN, {"width": 8}, *split)


def image_resnet(cifar: Path | None) -> Task:
    """Return cell (d) on made images, or on those of a file."""
    if cifar is None:
        X, y = made_images(2_000)
    else:
        with np.load(cifar) as stored:
            X, y = stored["X"][:2_000], np.unique(stored["y"][:2_000], return_inverse=True)[1]
        X = X.transpose(0, 3, 1, 2) if X.shape[-1] == 3 else X
        X = X / 255 if X.dtype == np.uint8 else X
    args = {"in_shape": (3, 32, 32), "n_classes": int(y.max()) + 1, "depth": 8, "width": 16}
    split = _split(X, y, 0.5)
    return Task("ResNet-8 of width 16, images", 4, 2, CifarResNet, args, *split, batch_size=64)


def made_images(n: int, n_classes: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return images that are a class's blotches, shifted at random, under noise."""
    rng = np.random.default_rng(seed)
    templates = rng.normal(size=(n_classes, 3, 8, 8)).repeat(4, axis=2).repeat(4, axis=3)
    y = rng.integers(n_classes, size=n)
    shifts = rng.integers(-4, 5, size=(n, 2))
    images = [np.roll(templates[k], s, (1, 2)) for k, s in zip(y, shifts, strict=True)]
    return np.stack(images) + rng.normal(size=(n, 3, 32, 32)), y


def _split(X: np.ndarray, y: np.ndarray, test_size: float) -> list[np.ndarray]:
    X, y = X.astype(np.float32), y.astype(np.int64)
    return train_test_split(X, y, test_size=test_size, random_state=0, stratify=y)


# -- contenders: (task, seed) -> predictor; construction and fit are what is timed -----------


def recipe(task: Task) -> NeuralNetClassifier:
    """Return the skorch net that ours and skorch's own loop both train."""
    return NeuralNetClassifier(
        task.module, **{f"module__{name}": value for name, value in task.module_args.items()},
        criterion=nn.CrossEntropyLoss, optimizer=torch.optim.Adam, lr=task.lr,
        max_epochs=task.epochs, batch_size=task.batch_size, train_split=None, verbose=0,
        iterator_train__shuffle=True, device=task.device,
    )  # fmt: skip


def ours(task: Task, seed: int, n_jobs: int | None = None) -> Predictor:
    """Train with this library, everything else at its default."""
    ensemble = DeepEnsembleClassifier(
        recipe(task), n_estimators=task.members, random_state=seed, n_jobs=n_jobs
    )
    return ensemble.fit(task.X, task.y).predict_proba


def ours_single(task: Task, seed: int) -> Predictor:
    """Train one network with this library."""
    return NetworkClassifier(recipe(task), random_state=seed).fit(task.X, task.y).predict_proba


def bare_loop(task: Task, seed: int) -> Predictor:
    """Train members in turn with the loop a good engineer writes."""
    torch.manual_seed(seed)
    X, y = task.tensors()
    modules = []
    for _ in range(task.members):
        module = task.make_module().train()
        optimizer = torch.optim.Adam(module.parameters(), lr=task.lr)
        for _ in range(task.epochs):
            for index in torch.randperm(len(X), device=X.device).split(task.batch_size):
                optimizer.zero_grad()
                F.cross_entropy(module(X[index]), y[index]).backward()
                optimizer.step()
        modules.append(module)
    return partial(bare_proba, modules)


@torch.no_grad()
def bare_proba(modules: Sequence[nn.Module], X: np.ndarray) -> np.ndarray:
    """Average the probabilities of modules run in turn."""
    rows = torch.from_numpy(X).to(next(modules[0].parameters()).device)
    proba = sum(module.eval()(rows).softmax(1) for module in modules) / len(modules)
    return proba.cpu().numpy()


def skorch_in_turn(task: Task, seed: int) -> Predictor:
    """Train one skorch net after the other."""
    torch.manual_seed(seed)
    nets = [recipe(task).fit(task.X, task.y) for _ in range(task.members)]
    return lambda X: np.mean([net.predict_proba(X) for net in nets], axis=0)


@quiet()
def torchensemble(task: Task, seed: int, n_jobs: int = 1) -> Predictor:
    """Train torchensemble's VotingClassifier, which wants a DataLoader."""
    torch.manual_seed(seed)
    rows = TensorDataset(torch.from_numpy(task.X), torch.from_numpy(task.y))
    ensemble = VotingClassifier(
        estimator=task.module, estimator_args=task.module_args, n_estimators=task.members,
        n_jobs=n_jobs, cuda=task.device != "cpu",
    )  # fmt: skip
    ensemble.set_criterion(nn.CrossEntropyLoss())
    ensemble.set_optimizer("Adam", lr=task.lr)
    loader = DataLoader(rows, batch_size=task.batch_size, shuffle=True)
    ensemble.fit(loader, epochs=task.epochs, log_interval=10**9, save_model=False)
    return lambda X: ensemble.predict(torch.from_numpy(X)).numpy()


@quiet()
def sklearn_bagging(task: Task, seed: int) -> Predictor:
    """Train scikit-learn's MLPs through its BaggingClassifier."""
    mlp = MLPClassifier(
        task.module_args["hidden"], solver="adam", learning_rate_init=task.lr, alpha=0.0,
        batch_size=task.batch_size, max_iter=task.epochs, n_iter_no_change=task.epochs + 1,
    )  # fmt: skip
    bagging = BaggingClassifier(mlp, task.members, bootstrap=False, n_jobs=1, random_state=seed)
    return bagging.fit(task.X, task.y).predict_proba


@quiet()
def pytabkit_ensemble(task: Task, seed: int) -> Predictor:
    """Train pytabkit's RealMLP, which stacks `n_ens` members, as a plain MLP."""
    from pytabkit import RealMLP_TD_Classifier

    model = RealMLP_TD_Classifier(
        n_ens=task.members, hidden_sizes=list(task.module_args["hidden"]), n_epochs=task.epochs,
        batch_size=task.batch_size, lr=task.lr, random_state=seed, device=task.device,
        n_threads=torch.get_num_threads(),
        # What follows makes a plain MLP of it.
        tfms=[], num_emb_type="none", add_front_scale=False, block_str="w-b-a", act="relu",
        use_parametric_act=False, weight_param="standard", weight_init_mode="uniform",
        bias_init_mode="zeros", bias_lr_factor=1.0, p_drop=0.0, wd=0.0, use_ls=False,
        opt="adam", lr_sched="constant", mom=0.9, sq_mom=0.999, opt_eps=1e-8, val_fraction=0.0,
    )  # fmt: skip
    return quiet()(model.fit(task.X, task.y).predict_proba)


@quiet()
def pytabkit_missing() -> str | None:
    """Return why pytabkit is left out, or ``None`` where it is there."""
    try:
        from pytabkit import RealMLP_TD_Classifier  # noqa: F401
    except ImportError as error:
        return f"pytabkit is left out: {error}"
    return None


Fit = Callable[[Task, int], Predictor]


def ensemble_peers(task: Task, missing: str | None) -> dict[str, Fit]:
    """Return the contenders of cells (a) to (d) by name, ours first."""
    fits: dict[str, Fit] = {
        "ours": ours,
        "bare loop": bare_loop,
        "skorch in turn": skorch_in_turn,
        "torchensemble, n_jobs=1": torchensemble,
        "torchensemble, n_jobs=2": partial(torchensemble, n_jobs=2),
    }
    if task.module is MLP:
        fits["sklearn bagging"] = sklearn_bagging
        if missing is None:
            fits["pytabkit n_ens"] = pytabkit_ensemble
    return fits


# -- cells ---------------------------------------------------------------------------------


def train_turn(fit: Fit, task: Task, seed: int) -> Run:
    """Time a fit and score it on the held-out rows."""
    _wait(task.device)
    start = time.perf_counter()
    predict = fit(task, seed)
    _wait(task.device)
    seconds = time.perf_counter() - start
    return Run(seconds, float(np.mean(predict(task.X_test).argmax(1) == task.y_test)))


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def training_cell(
    task: Task, fits: dict[str, Fit], targets: dict[str, float], rounds: int
) -> dict[str, Any]:
    """Let the contenders train in turn; print and return the table."""
    warm = task.shortened(1, 2 * task.batch_size)
    take_turns({name: partial(train_turn, fit, warm) for name, fit in fits.items()}, 1)
    turns = {name: partial(train_turn, fit, task) for name, fit in fits.items()}
    return _report(task.title, turns, targets, rounds)


def prediction_cell(task: Task, X: np.ndarray, y: np.ndarray, rounds: int) -> dict[str, Any]:
    """Compare the estimator's `predict_proba` with its own modules run bare."""
    short = task.shortened(1, len(task.X))
    if task.members == 1:
        model = NetworkClassifier(recipe(short), random_state=0).fit(task.X, task.y)
        modules = [model.module_]
    else:
        model = DeepEnsembleClassifier(recipe(short), task.members, random_state=0)
        modules = [member.module_ for member in model.fit(task.X, task.y).estimators_]
    bare = partial(bare_proba, modules)
    gap = float(np.abs(model.predict_proba(X) - bare(X)).max())
    if not gap < 1e-5:
        raise RuntimeError(f"Both must return the same probabilities; they differ by {gap:.2g}.")
    loops = _loops(bare, X)
    turns: dict[str, Contender] = {
        "ours": lambda seed: predict_turn(model.predict_proba, X, y, loops),
        "bare module": lambda seed: predict_turn(bare, X, y, loops),
    }
    title = f"predict_proba, {task.members} x {task.name}, {len(X):,} rows, mean of {loops} calls"
    return _report(title, turns, {"bare module": 1 / 1.1}, rounds)


def predict_turn(predict: Predictor, X: np.ndarray, y: np.ndarray, loops: int) -> Run:
    """Time one prediction as the mean of `loops`."""
    start = time.perf_counter()
    for _ in range(loops):
        proba = predict(X)
    seconds = (time.perf_counter() - start) / loops
    return Run(seconds, float(np.mean(proba.argmax(1) == y)))


def _loops(predict: Predictor, X: np.ndarray, seconds: float = 0.1) -> int:
    calls = timeit.repeat(lambda: predict(X), number=1, repeat=5)
    return max(1, math.ceil(seconds / min(calls)))


def _report(
    title: str, turns: dict[str, Contender], targets: dict[str, float], rounds: int
) -> dict[str, Any]:
    start = time.perf_counter()
    rows = summarise(take_turns(turns, rounds), "ours", targets)
    took = time.perf_counter() - start
    print_table(f"{title}; {rounds} rounds in {took:.0f} s", rows, "ours")
    return {"title": title, "rounds": rounds, "rows": rows}


def ensemble_cell(key: str, task: Task, rounds: int, missing: str | None) -> dict[str, Any]:
    """Run one of the cells (a) to (d)."""
    fits = ensemble_peers(task, missing)
    goals = dict.fromkeys(fits, 1.0)
    if key == "a":
        goals |= {"skorch in turn": 6.0, "bare loop": 3.0}
        goals |= {name: 8.0 for name in fits if name.startswith("torchensemble")}
    if key == "d":
        fits["ours, n_jobs=2"] = partial(ours, n_jobs=2)
    return training_cell(task, fits, goals, rounds)


def single_cell(task: Task, rounds: int) -> dict[str, Any]:
    """Run cell (e) on one task."""
    fits = {"ours": ours_single, "bare loop": bare_loop, "skorch": skorch_in_turn}
    return training_cell(task, fits, {"bare loop": 1 / 1.15, "skorch": 1.0}, rounds)


def run_cell(key: str, args: argparse.Namespace, missing: str | None) -> list[dict[str, Any]]:
    """Run one cell and return its tables."""
    makers = {"a": digits_mlp, "b": table_mlp, "c": digits_cnn,
              "d": partial(image_resnet, args.cifar)}  # fmt: skip
    tasks = [makers[name]() for name in (key if key in makers else {"e": "ab", "f": "abd"}[key])]
    tasks = [replace(task, device=args.device) for task in tasks]
    if args.quick:
        tasks = [task.shortened(2, 1_000) for task in tasks]
    rounds = args.repeats or (1 if args.quick else 3 if key == "d" else 5)
    if key in makers:
        return [ensemble_cell(key, tasks[0], rounds, missing)]
    if key == "e":
        return [single_cell(replace(task, members=1), 3 * rounds) for task in tasks]
    digits, table, images = tasks
    everything = np.concatenate((digits.X, digits.X_test)), np.r_[digits.y, digits.y_test]
    return [
        prediction_cell(replace(task, members=m), *rows, 3 * rounds)
        for task, rows in (
            (digits, everything), (table, (table.X, table.y)), (images, (images.X, images.y)),
        ) for m in (1, task.members)
    ]  # fmt: skip


def main() -> None:
    """Run the cells asked for, print their tables and write the JSON."""
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", default="a,b,c,d,e,f", help="letters joined by commas")
    parser.add_argument("--repeats", type=int, help="rounds; 5, in d 3; thrice as many in e, f")
    parser.add_argument("--quick", action="store_true", help="one round, few rows: does it run?")
    parser.add_argument("--device", default="cpu", help="where torch's contenders train")
    parser.add_argument("--cifar", type=Path, help="npz of X (n, 3, 32, 32) or (n, 32, 32, 3), y")
    parser.add_argument("--out", type=Path, help="JSON, if not results/ensemble_training.json")
    args = parser.parse_args()
    cells = args.cells.split(",")
    if unknown := set(cells) - set("abcdef"):
        parser.error(f"--cells must be letters from a to f, got {sorted(unknown)}")
    facts = provenance(__file__, PACKAGES)
    print_machine(facts)
    if missing := pytabkit_missing():
        print(missing)
    tables = {key: run_cell(key, args, missing) for key in cells}
    asked = {"cells": cells, "repeats": args.repeats, "quick": args.quick, "device": args.device,
             "cifar": args.cifar and args.cifar.name, "seeds": "the round's number"}  # fmt: skip
    content = {"provenance": facts, "arguments": asked, "left_out": missing, "cells": tables}
    if args.out or not args.quick:  # a quick run is not for the record
        write_json(args.out or here / "results" / "ensemble_training.json", content)


if __name__ == "__main__":
    main()
