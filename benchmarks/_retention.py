"""One teacher, its student and a plain network on one case, for ``retention.py``.

A case is a split of a table, some rows of the digits, or some images, with a seed. What
students of one case share, the plain network and our ensemble, is fitted once for all of them.
"""

from __future__ import annotations

import gc
import pickle
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import torch
from _bench import quiet
from _images import ImageNetwork
from _table_peers import PEERS
from _table_runs import append_record, read_records
from _tables import load_table, outer_split
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from skorch.callbacks import LRScheduler
from threadpoolctl import threadpool_limits
from torch import nn

from skensemble import DeepEnsembleClassifier, DistilledClassifier, NetworkClassifier
from skensemble.augmentation import CropFlip
from skensemble.datasets import load_cifar
from skensemble.metrics import retention

CELLS = ("tables", "digits", "latency", "images")
OURS, TOGETHER = "DeepEnsemble", "together"
OUTSIDE = ("RandomForest", "HistGradientBoosting", "LightGBM")
TEACHERS = (OURS, *OUTSIDE, TOGETHER)
ARMS: dict[str, dict[str, Any]] = {
    "default": {},
    "no-folds": {"teacher_cv": None},
    "no-transfer": {"transfer": None},
    "no-patience": {"patience": 1},
}
DIGITS = tuple(f"{kind}-{rows}" for kind in ("rows", "images") for rows in (150, 500, 1200))
FLOOR = 1e-7  # of a probability: else forests, sure of a wrong class, have what log loss they have
ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class ImageSizes:
    """Of the images' cell: rows, network, training and teacher.

    Images are flipped at random, and cropped after a padding of so many pixels.
    """

    n_train: int = 5000
    n_test: int = 10_000
    depth: int = 20
    width: int = 16
    pool: int = 1
    padding: int = 4
    epochs: int = 150
    batch_size: int = 64
    members: int = 5
    patience: int = 2

    @classmethod
    def read(cls, given: Sequence[str]) -> ImageSizes:
        """Read ``name=number``, for what is not to be as it is here."""
        known = [field.name for field in fields(cls)]
        pairs = [text.partition("=") for text in given]
        for name, _, number in pairs:
            if name not in known or not number.isdecimal():
                raise ValueError(
                    f"A size of the images must be name=number, with a name of {known}. "
                    f"Got {name}={number} instead."
                )
        return cls(**{name: int(number) for name, _, number in pairs})


@dataclass(frozen=True)
class Setup:
    """What numbers must have in common to be compared."""

    max_rows: int
    threads: int
    tag: str


@dataclass(frozen=True)
class Plan:
    """One run of the script."""

    setup: Setup
    folders: tuple[Path, ...]
    images: Path | None
    sizes: ImageSizes
    device: str
    work: Path
    keep: Path | None
    commit: str | None


class Case(NamedTuple):
    """What students are compared on."""

    cell: str
    name: str
    seed: int


class Data(NamedTuple):
    """Rows of one case; labels are positions of classes."""

    X: Any
    y: np.ndarray
    X_test: Any
    y_test: np.ndarray
    about: dict[str, Any]


# -- rows ----------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _table(name: str, folders: tuple[Path, ...], max_rows: int) -> Any:
    return load_table(name, folders, max_rows)


@lru_cache(maxsize=1)
def _cifar(path: Path) -> tuple[np.ndarray, ...]:
    return *load_cifar("cifar10", path), *load_cifar("cifar10", path, split="test")


def load(case: Case, plan: Plan) -> Data:
    """Return training and test rows of a case."""
    if case.cell == "digits":
        return _digits(case)
    if case.cell == "images":
        assert plan.images is not None
        X, y, X_test, y_test = _cifar(plan.images)
        rows = np.random.default_rng(case.seed).permutation(len(X))[: plan.sizes.n_train]
        shown = slice(plan.sizes.n_test)
        about = asdict(plan.sizes) | {"device": plan.device}
        return Data(X[rows], y[rows], X_test[shown], y_test[shown], about)
    table = _table(case.name, plan.folders, plan.setup.max_rows)
    y = np.unique(table.y, return_inverse=True)[1]
    fit, test = outer_split(table.y, case.seed)
    about = {
        "n_rows": len(y),
        "n_features": table.X.shape[1],
        "n_categories": table.X.select_dtypes("category").shape[1],
        "n_classes": int(y.max()) + 1,
        "development": table.development,
    }
    return Data(table.X.iloc[fit], y[fit], table.X.iloc[test], y[test], about)


def _digits(case: Case) -> Data:
    kind, n = case.name.split("-")
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    X = X.reshape(-1, 1, 8, 8) if kind == "images" else X
    X, X_test, y, y_test = train_test_split(
        X, y, train_size=int(n), stratify=y, random_state=case.seed
    )
    return Data(X, y, X_test, y_test, {"n_rows": int(n), "n_classes": 10})


# -- measuring -----------------------------------------------------------------------------


def sure(proba: Any, n_classes: int) -> np.ndarray:
    """Return probabilities as doubles, none below `FLOOR`."""
    proba = np.asarray(proba, dtype=np.float64)
    if proba.ndim != 2 or proba.shape[1] != n_classes or not np.isfinite(proba).all():
        raise ValueError(f"Probabilities of shape {proba.shape}, or not finite.")
    proba = np.maximum(proba, FLOOR)
    return proba / proba.sum(1, keepdims=True)


def measures(y: np.ndarray, proba: np.ndarray) -> dict[str, float]:
    """Return log loss, accuracy, and the mean AUC of each class against the rest.

    Parameters
    ----------
    y : array of int
        Positions of the true classes.
    proba : array of shape (n_rows, n_classes)
        What `sure` returned.

    Returns
    -------
    dict
        The AUC is over classes that are present; of two classes it is the usual one.
    """
    labels = np.arange(proba.shape[1])
    present = [k for k in labels if 0 < (y == k).sum() < len(y)]
    return {
        "log_loss": float(log_loss(y, proba, labels=labels)),
        "accuracy": float(accuracy_score(y, proba.argmax(1))),
        "auc": float(np.mean([roc_auc_score(y == k, proba[:, k]) for k in present])),
    }


def _take(X: Any, rows: np.ndarray) -> Any:
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


def seconds_of(call: Callable[[], Any], times: int) -> float:
    """Return the median seconds of a call, after one that does not count."""
    call()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def costs(model: Any, X: Any) -> dict[str, float]:
    """Return seconds a row, of many rows and of one, and the bytes of the pickle."""
    many, one = _take(X, np.resize(np.arange(len(X)), ROWS_AT_ONCE)), _take(X, np.arange(1))
    return {
        "many_row_seconds": seconds_of(lambda: model.predict_proba(many), 3) / ROWS_AT_ONCE,
        "one_row_seconds": seconds_of(lambda: model.predict_proba(one), 7),
        "bytes": len(pickle.dumps(model)),
    }


class Judged(NamedTuple):
    """Probabilities of the test rows, and the numbers for the record."""

    proba: np.ndarray
    found: dict[str, float]


def judge(model: Any, data: Data, pickled: Any = None) -> Judged:
    """Measure a fitted classifier; `pickled` is what counts of it for the size."""
    n_classes = int(max(data.y.max(), data.y_test.max())) + 1
    proba = sure(model.predict_proba(data.X_test), n_classes)
    found = measures(data.y_test, proba) | costs(model, data.X_test)
    if pickled is not None:
        found["bytes"] = len(pickle.dumps(pickled))
    if "epochs" in data.about:  # a teacher that has not learned its rows is a teacher too early
        found["train_accuracy"] = float((model.predict_proba(data.X).argmax(1) == data.y).mean())
    return Judged(proba, found)


def timed_fit(model: Any, data: Data) -> tuple[Any, dict[str, float]]:
    """Fit, and return what it took by the clock and of the processor."""
    start, cpu = time.perf_counter(), time.process_time()
    model.fit(data.X, data.y)
    seconds = {
        "fit_seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
    }
    return model, seconds


# -- models --------------------------------------------------------------------------------


def image_recipe(sizes: ImageSizes, device: str) -> NeuralNetClassifier:
    """Return the recipe of images; a student's patience stretches its schedule."""
    return NeuralNetClassifier(
        ImageNetwork,
        module__depth=sizes.depth,
        module__width=sizes.width,
        module__pool=sizes.pool,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        optimizer__nesterov=True,
        optimizer__weight_decay=5e-4,
        lr=0.05,
        max_epochs=sizes.epochs,
        batch_size=sizes.batch_size,
        train_split=None,
        callbacks=[LRScheduler("CosineAnnealingLR", T_max=sizes.epochs)],
        device=device,
    )


class Shared:
    """What students of one case share: its rows, the plain network and our ensemble."""

    def __init__(self, case: Case, plan: Plan) -> None:
        self.case, self.plan = case, plan
        self.data = load(case, plan)
        self._sizes = plan.sizes if case.cell == "images" else None

    def _given(self) -> dict[str, Any]:
        sizes = self._sizes
        altered = {} if sizes is None else {"augmentation": CropFlip(sizes.padding)}
        return {"random_state": self.case.seed} | altered

    def _recipe(self) -> Any:
        if self._sizes is None:
            return None
        return image_recipe(self._sizes, self.plan.device)

    def _fitted(self, name: str, model: Any) -> tuple[Any, Judged]:
        """Fit and judge, or read what another run has kept."""
        if self.plan.keep is None:
            return self._fit_and_judge(model)
        words = (*self.case, self.plan.setup.tag, self.plan.setup.max_rows, name)
        path = self.plan.keep / ("-".join(map(str, words)).replace(" ", "_") + ".joblib")
        if not path.exists():
            self.plan.keep.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            joblib.dump(self._fit_and_judge(model), part)
            part.replace(path)
        return joblib.load(path)

    def _fit_and_judge(self, model: Any) -> tuple[Any, Judged]:
        model, seconds = timed_fit(model, self.data)
        judged = judge(model, self.data)
        judged.found.update(seconds)
        return model, judged

    @cached_property
    def plain(self) -> Judged:
        """The network that has no teacher."""
        return self._fitted("plain", NetworkClassifier(self._recipe(), **self._given()))[1]

    @cached_property
    def ensemble(self) -> tuple[Any, Judged]:
        """Our ensemble: of ten, or of as many as the images' sizes say."""
        n = {} if self._sizes is None else {"n_estimators": self._sizes.members}
        model = DeepEnsembleClassifier(self._recipe(), **n, **self._given())
        return self._fitted("ensemble", model)

    def _teacher(self, name: str) -> Any:
        """Return a teacher: ours fitted, for all students, and others to be fitted by each."""
        ours = [FrozenEstimator(self.ensemble[0])] if name in (OURS, TOGETHER) else []
        threads = self.plan.setup.threads
        outside = {OURS: (), TOGETHER: OUTSIDE[:2]}.get(name, (name,))
        others = [PEERS[one].make(self.data.X, self.case.seed, threads) for one in outside]
        teachers = [*ours, *others]
        return teachers if name == TOGETHER else teachers[0]

    def student(self, teacher: str, arm: str, memory: str | None = None) -> DistilledClassifier:
        """Return an unfitted student."""
        settings = self._given() | ARMS[arm]
        if self._sizes is not None:
            settings |= {"temperature": 4.0, "alpha": 0.9, "patience": self._sizes.patience}
        recipe = self._recipe()
        return DistilledClassifier(self._teacher(teacher), recipe, memory=memory, **settings)

    def run(self, teacher: str, arm: str, memory: str | None = None) -> dict[str, Any]:
        """Return the measures of plain network, teacher and student."""
        plain = self.plain
        student, seconds = timed_fit(self.student(teacher, arm, memory), self.data)
        learned = judge(student, self.data, student.estimators_[0])
        learned.found.update(seconds)
        taught = self.ensemble[1] if teacher == OURS else judge(student.teacher_, self.data)
        found = retention(
            self.data.y_test,
            learned.proba,
            taught.proba,
            plain.proba,
            labels=np.arange(plain.proba.shape[1]),
            random_state=self.case.seed,
        )
        low, high = found.kept_interval
        said = {"kept": found.kept, "kept_low": low, "kept_high": high}
        return {
            "measures": {
                "plain": plain.found,
                "teacher": taught.found,
                "student": learned.found,
            },
            "agreement": found.agreement,
            # Else the student's fit is also that of its teacher and twins.
            "teacher_given": teacher == OURS,
            "remembered": memory is not None,
        } | {key: value if np.isfinite(value) else None for key, value in said.items()}


# -- latency -------------------------------------------------------------------------------


def latency(shared: Shared) -> dict[str, Any]:
    """Export a student and time one row; weights do not matter, so it trains for a short time."""
    import onnxruntime

    data, threads = shared.data, shared.plan.setup.threads
    student = DistilledClassifier(
        shared._teacher("RandomForest"), **ARMS["no-folds"], **ARMS["no-transfer"],
        **ARMS["no-patience"], random_state=shared.case.seed,
    )  # fmt: skip
    student.fit(data.X, data.y)
    read = data.about["n_categories"] > 0
    asked = data.X_test.iloc[:ROWS_AT_ONCE]
    given = student.preprocessor_.transform(asked) if read else asked
    given = np.ascontiguousarray(given, dtype=np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.onnx"
        student.export_onnx(path, preprocessed=read)
        size = path.stat().st_size
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (said,) = session.run(["probabilities"], {"X": given})
    one = {"X": given[:1]}
    taken = []
    for _ in range(2200):
        start = time.perf_counter()
        session.run(None, one)
        taken.append(time.perf_counter() - start)
    network = costs(student, data.X_test)
    return {
        "raw": not read,  # whether the graph takes raw numbers, or what was read before it
        "onnx_seconds": statistics.median(taken[200:]),
        "onnx_seconds_95": float(np.quantile(taken[200:], 0.95)),
        "onnx_bytes": size,
        "onnxruntime": onnxruntime.__version__,
        "apart": float(np.abs(said - student.predict_proba(asked)).max()),
        "one_row_seconds": network["one_row_seconds"],
        "teacher_one_row_seconds": costs(student.teacher_, data.X_test)["one_row_seconds"],
    }


# -- the order of things -------------------------------------------------------------------


class Turn(NamedTuple):
    """What is still to be run of one case, students of one teacher one after the other."""

    case: Case
    todo: tuple[tuple[str, str], ...]


def wanted(cell: str, teachers: Sequence[str], arms: Sequence[str]) -> list[tuple[str, str]]:
    """Return teachers and arms of a cell, but for those that are no fit of their own."""
    if cell == "latency":
        return [("RandomForest", "default")]
    if cell != "tables":
        teachers = [name for name in teachers if name == OURS]
        arms = [name for name in arms if name == "default"]
    # Our ensemble is no teacher with folds: its members stop early by rows that they hold out.
    pairs = product(teachers, arms)
    return [(teacher, arm) for teacher, arm in pairs if (teacher, arm) != (OURS, "no-folds")]


def key_of(record: dict[str, Any]) -> tuple[Any, ...]:
    """Return what there is one record of."""
    return tuple(record[key] for key in ("cell", "name", "seed", "teacher", "arm"))


def chosen(records: Sequence[dict[str, Any]], setup: Setup) -> dict[tuple[Any, ...], Any]:
    """Return the last record of each student that fits the setup."""
    same = asdict(setup)
    return {
        key_of(record): record
        for record in records
        if all(record[key] == value for key, value in same.items())
    }


def turns(
    cases: Sequence[Case], teachers: Sequence[str], arms: Sequence[str], plan: Plan
) -> Iterator[Turn]:
    """Yield what is missing: every seed after the one before, and defaults before the rest."""
    there = chosen(read_records(plan.work), plan.setup)
    groups = [[arm for arm in arms if arm == "default"], [arm for arm in arms if arm != "default"]]
    for seed in dict.fromkeys(case.seed for case in cases):
        for group in groups:
            for case in cases:
                pairs = wanted(case.cell, teachers, group)
                if case.cell == "latency" and group is groups[1]:
                    continue
                missing = tuple(pair for pair in pairs if (*case, *pair) not in there)
                if case.seed == seed and missing:
                    yield Turn(case, missing)


def run_turn(turn: Turn, plan: Plan) -> None:
    """Run what is missing of a case, and record each student at once."""
    torch.set_num_threads(plan.setup.threads)
    case = turn.case
    shared = Shared(case, plan)
    for teacher in dict.fromkeys(name for name, _ in turn.todo):
        arms = [arm for name, arm in turn.todo if name == teacher]
        # Several students of one teacher need its fit, and its twins', once.
        remember = len(arms) > 1 and teacher != OURS
        with tempfile.TemporaryDirectory() if remember else nullcontext() as memory:
            for arm in arms:
                result = _measured(shared, teacher, arm, memory)
                print(_line(case, teacher, arm, result), flush=True)
                key = dict(zip(("teacher", "arm"), (teacher, arm), strict=True))
                when = {"date": datetime.now(UTC).isoformat(timespec="seconds")}
                about = asdict(plan.setup) | shared.data.about | when | {"commit": plan.commit}
                append_record(plan.work, case._asdict() | key | about | result)
    gc.collect()


def _measured(shared: Shared, teacher: str, arm: str, memory: str | None) -> dict[str, Any]:
    """Return the result, or how it failed."""
    with quiet(), threadpool_limits(shared.plan.setup.threads):
        try:
            if shared.case.cell == "latency":
                return latency(shared)
            return shared.run(teacher, arm, memory)
        except Exception as error:  # whatever a teacher raises is the result on this table
            return {"error": f"{type(error).__name__}: {error}"[:500]}


def _line(case: Case, teacher: str, arm: str, result: dict[str, Any]) -> str:
    said = result.get("error", "")
    if "onnx_seconds" in result:
        said = f"{1e6 * result['onnx_seconds']:.0f} µs a row"
    elif "measures" in result:
        before, taught, after = (one["log_loss"] for one in result["measures"].values())
        kept = "" if result["kept"] is None else f"  kept {result['kept']:.2f}"
        seconds = result["measures"]["student"]["cpu_seconds"]
        said = f"{before:.3f} {taught:.3f} -> {after:.3f}{kept}  {seconds:.1f} s"
    return f"{case.cell:<8}{case.name:<26}{case.seed:>2}  {teacher:<22}{arm:<13}{said}"
