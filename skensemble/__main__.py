"""The demo: what ensembles, students and pruning buy, on digits and on a raw table."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_diabetes, load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from skorch import NeuralNetClassifier

from skensemble import (
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    PrunedClassifier,
    SelfDistiller,
)
from skensemble.metrics import expected_calibration_error, negative_log_likelihood
from skensemble.nn import MLP
from skensemble.preprocessing import TablePreprocessor


@dataclass(frozen=True)
class Data:
    """One split: the digits, or a table with names, categories and missing values."""

    X_train: Any
    y_train: np.ndarray
    X_test: Any
    y_test: np.ndarray


@dataclass(frozen=True)
class Row:
    """One method's line of the table; `accuracy`, `nll` and `ece` are of the test rows."""

    method: str
    accuracy: float
    nll: float
    ece: float
    parameters: int | None
    fit_seconds: float
    predict_seconds: float

    def __str__(self) -> str:
        parameters = "" if self.parameters is None else f"{self.parameters:,}"
        return (
            f"{self.method:<22}{self.accuracy:>9.4f}{self.nll:>8.3f}{self.ece:>8.4f}"
            f"{parameters:>12}{self.fit_seconds:>8.2f}{self.predict_seconds:>11.4f}"
        )


# A student learns on when it knows the labels: so many times the epochs of the others.
_PATIENCE = 4
# Of a smaller share of the log-likelihood there is no saying how much is kept.
_LEAST_GAIN = 0.01

# Wong's palette, which colour-blind readers can tell apart (Nature Methods 8:441, 2011), and grey.
_COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#999999",
    "#F0E442",
)  # fmt: skip
_MEASURES: tuple[tuple[str, Callable[[Row], float], str], ...] = (
    ("wrong predictions, % of test rows", lambda row: 100 * (1 - row.accuracy), "%.2f"),
    ("negative log-likelihood", lambda row: row.nll, "%.3f"),
    ("expected calibration error", lambda row: row.ece, "%.4f"),
)
_HEADER = (
    f"{'method':<22}{'accuracy':>9}{'NLL':>8}{'ECE':>8}{'parameters':>12}"
    f"{'fit s':>8}{'predict s':>11}"
)


def load_data(seed: int) -> Data:
    """Halve the digits, stratified by class, with pixels scaled to [0, 1] as float32."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.5, stratify=y, random_state=seed
    )
    return Data(X_train, y_train, X_test, y_test)


def load_table(seed: int) -> Data:
    """Halve scikit-learn's diabetes patients, whose disease progressed more or less than in most.

    Sex is a category; a tenth of the values are taken out at random, so that some are missing.
    """
    X, target = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    rng = np.random.default_rng(seed)
    X = X.mask(rng.random(X.shape) < 0.1)
    X["sex"] = X["sex"].map({1.0: "one", 2.0: "two"}).astype("category")
    y = np.where(target > target.median(), "more", "less")
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.5, stratify=y, random_state=seed
    )
    return Data(X_train, y_train, X_test, y_test)


def table_methods(members: int, seed: int) -> list[tuple[str, Callable[[], Any]]]:
    """Return the rows of the table: ours without a recipe, and what else one would take."""
    return [
        ("single network", lambda: NetworkClassifier(random_state=seed)),
        (
            f"ensemble of {members}",
            lambda: DeepEnsembleClassifier(n_estimators=members, random_state=seed),
        ),
        (
            f"distilled from {members}",
            lambda: DistilledClassifier(
                DeepEnsembleClassifier(n_estimators=members), random_state=seed
            ),
        ),
        (
            "random forest",
            lambda: make_pipeline(TablePreprocessor(), RandomForestClassifier(random_state=seed)),
        ),
        (
            "boosting",
            lambda: HistGradientBoostingClassifier(
                categorical_features="from_dtype", random_state=seed
            ),
        ),
    ]


def make_recipe(epochs: int) -> NeuralNetClassifier:
    """Return the recipe that every row shares."""
    return NeuralNetClassifier(
        MLP,
        module__hidden=(64, 64),
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=0.01,
        max_epochs=epochs,
        batch_size=64,
    )


def methods(members: int, seed: int, epochs: int) -> list[tuple[str, Callable[[], Any]]]:
    """Return the rows: a name, and what makes the unfitted classifier."""
    net = make_recipe(epochs)
    return [
        ("single network", lambda: NetworkClassifier(net, random_state=seed)),
        (f"ensemble of {members}", lambda: DeepEnsembleClassifier(net, members, random_state=seed)),
        (
            f"trained sum of {members}",
            lambda: DeepEnsembleClassifier(net, members, joint=True, random_state=seed),
        ),
        (
            f"distilled from {members}",
            lambda: DistilledClassifier(
                DeepEnsembleClassifier(net, members), net, patience=_PATIENCE, random_state=seed
            ),
        ),
        ("self-distilled", lambda: SelfDistiller(net, random_state=seed)),
        ("pruned to half", lambda: PrunedClassifier(net, random_state=seed)),
        (
            "distilled and pruned",
            lambda: PrunedClassifier(
                DistilledClassifier(DeepEnsembleClassifier(net, members), net),
                distill=DistilledClassifier(),
                protocol="pre-post",
                random_state=seed,
            ),
        ),
    ]


def count_parameters(classifier: Any) -> int | None:
    """Count the numbers that fitted networks predict with; of others there is no such number."""
    if not hasattr(classifier, "_networks"):
        return None
    return sum(p.numel() for network in classifier._networks() for p in network.parameters())


def measure(method: str, classifier: Any, data: Data) -> Row:
    """Fit on the training rows, predict the test rows, and time both."""
    start = time.perf_counter()
    classifier.fit(data.X_train, data.y_train)
    fitted = time.perf_counter()
    proba = classifier.predict_proba(data.X_test)
    predicted = time.perf_counter()
    return Row(
        method=method,
        accuracy=float(accuracy_score(data.y_test, classifier.classes_[proba.argmax(1)])),
        nll=negative_log_likelihood(data.y_test, proba, labels=classifier.classes_),
        ece=expected_calibration_error(data.y_test, proba, labels=classifier.classes_),
        parameters=count_parameters(classifier),
        fit_seconds=fitted - start,
        predict_seconds=predicted - fitted,
    )


def save_picture(parts: Mapping[str, Sequence[Row]], out: Path) -> None:
    """Draw a line of panels a data set, without touching matplotlib's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sizes = [1.2 + 0.5 * len(rows) for rows in parts.values()]
    figure = Figure(figsize=(12, sum(sizes)), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    lines: Any = figure.subfigures(len(parts), 1, height_ratios=sizes)
    names = dict.fromkeys(row.method for rows in parts.values() for row in rows)
    colours = {name: _COLOURS[at % len(_COLOURS)] for at, name in enumerate(names)}
    for line, (title, rows) in zip(lines, parts.items(), strict=True):
        _draw(line, rows, colours)
        line.suptitle(f"{title}, test half: shorter bars are better")
    figure.savefig(out)


def _draw(line: Any, rows: Sequence[Row], colour_of: Mapping[str, str]) -> None:
    """Draw one panel of bars a measure; a method has one colour everywhere."""
    names = [row.method for row in rows]
    colours = [colour_of[name] for name in names]
    panels = line.subplots(1, len(_MEASURES), sharey=True)
    for axes, (label, value, form) in zip(panels, _MEASURES, strict=True):
        bars = axes.barh(names, [value(row) for row in rows], color=colours, height=0.6)
        axes.bar_label(bars, fmt=form, padding=4)
        axes.set_xlabel(label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.2)
        axes.locator_params(axis="x", nbins=4)
    panels[0].invert_yaxis()


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: networks this small only wait for a second one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run(members: int, seed: int, epochs: int) -> dict[str, list[Row]]:
    """Fit and print every row of both data sets."""
    digits, table = load_data(seed), load_table(seed)
    for _, make in methods(2, seed, 1):  # imports and first calls are nobody's fit time
        make().fit(digits.X_train, digits.y_train).predict_proba(digits.X_test)
    print(
        f"digits: {len(digits.X_train)} training and {len(digits.X_test)} test rows; MLP "
        f"64-64-64-10, Adam, {epochs} epochs; one thread"
    )
    said = {"Digits": measure_all(methods(members, seed, epochs), digits)}
    print(
        f"table: {len(table.X_train)} training and {len(table.X_test)} test rows of the diabetes "
        "data, raw; every method at its defaults"
    )
    said["Table"] = measure_all(table_methods(members, seed), table)
    return said


def measure_all(rows: list[tuple[str, Callable[[], Any]]], data: Data) -> list[Row]:
    """Measure and print each row."""
    print(_HEADER, flush=True)
    found = []
    for method, make in rows:
        found.append(measure(method, make(), data))
        print(found[-1], flush=True)
    print(said_of_students(found), flush=True)
    return found


def said_of_students(rows: Sequence[Row]) -> str:
    """Say which share of the ensemble's gain over a single network its student keeps."""
    single, ensemble, student = (
        next(row.nll for row in rows if row.method.startswith(name))
        for name in ("single network", "ensemble of", "distilled from")
    )
    if ensemble > (1 - _LEAST_GAIN) * single:
        return "the ensemble gains too little over one network for a student to keep"
    kept = (single - student) / (single - ensemble)
    return f"the student keeps {kept:.0%} of the ensemble's gain over one network in NLL"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m skensemble", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the split and the networks")
    parser.add_argument("--members", type=int, default=10, help="networks in an ensemble")
    parser.add_argument("--out", type=Path, default=Path("skensemble-demo.png"), help="picture")
    parser.add_argument("--no-plot", action="store_true", help="print the table only")
    parser.add_argument("--quick", action="store_true", help="two epochs: does it run at all?")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo."""
    args = parse(argv)
    with one_thread():
        parts = run(args.members, args.seed, 2 if args.quick else 60)
    if args.no_plot:
        return 0
    if find_spec("matplotlib") is None:
        print("No picture: matplotlib is missing; get it with: pip install matplotlib")
        return 0
    save_picture(parts, args.out)
    print(f"picture: {args.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
