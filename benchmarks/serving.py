"""A student, exported, beside a forest and boosting: latency, size on disk, start-up, accuracy.

    python benchmarks/serving.py --tables DIR            # three tables, three seeds, some minutes
    python benchmarks/serving.py --rounds 1 --seeds 1    # does it run at all? the two small tables

Written before the run: of the student as a file of C with int8 weights, and reported for every
other export too,

- at most 100 µs for one row (median);
- at most 1 % of the bytes of a forest of 300 trees;
- less time for one row than histogram gradient boosting (median of pairs within rounds);
- int8 of onnxruntime is offered as an argument only if, on most tables, it takes less time than
  the graph it was made of and no more than .005 of its accuracy.

All in one process with one thread, in turn, the order rotated every round. A call is what a
service does with a row of float32 that it has: ``predict_proba(row)``, ``session.run``, or the C
function through ctypes with the row's address. The batch of C is a loop in C. C is compiled by
gcc -O2 and stripped; a small student, one hidden layer of 32 taught by the same teacher, for size
(-Os, sections beside each other instead of in pages of their own). Start-up is the clock from the
start of a process to its first prediction, imports and the reading of the file included; of C, that
of an executable. Forest and boosting are scikit-learn's at their defaults, but for 300 trees, as
joblib writes them and as skl2onnx does.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import onnxruntime
import torch
from _bench import print_machine, provenance, write_json
from _tables import load_table
from onnxruntime.quantization import QuantType, quantize_dynamic
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from skorch.callbacks import LRScheduler

from skensemble import DistilledClassifier
from skensemble.deploy import export_c
from skensemble.nn import MLP

PACKAGES = ("torch", "numpy", "scikit-learn", "onnx", "onnxruntime", "skl2onnx", "skensemble")
OUT = Path(__file__).resolve().parent / "results" / "serving.json"
PRIMARY, SMALL = "student, C int8", "small student, C int8"
OURS = ("student", "student, ONNX", "student, ONNX int8", "student, C", PRIMARY, SMALL)
FAST = ("-O2",)
COMPACT = ("-Os", "-Wl,-z,noseparate-code", "-Wl,--build-id=none")
BOOSTING, FOREST = "boosting", "forest of 300"
TREES = 300
BATCH = 1000
SLOW = 2e-3  # seconds from which on a call is repeated less often
MOST_US, MOST_SIZE, MOST_LOST = 100.0, 0.01, 0.005
LOOP = """
void rows(const float *x, int n, float *p);
void rows(const float *x, int n, float *p)
{
    int i;
    for (i = 0; i < n; i++)
        student_predict_proba(x + i * student_n_features, p + i * student_n_classes);
}
"""
MAIN = """
#include <stdio.h>
int main(int argc, char **argv)
{
    float x[student_n_features], p[student_n_classes];
    FILE *file = fopen(argv[argc - 1], "rb");
    if (file == NULL || fread(x, sizeof x, 1, file) != 1)
        return 1;
    student_predict_proba(x, p);
    printf("%g", (double)p[0]);
    return 0;
}
"""
READERS = {
    "skensemble": "import skensemble; skensemble.load(model).predict_proba(row)",
    "joblib": "import joblib; joblib.load(model).predict_proba(row)",
    "onnx": "import onnxruntime; onnxruntime.InferenceSession(model).run(None, {'X': row})",
}


class Data(NamedTuple):
    """Rows to train and to test on."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


class Served(NamedTuple):
    """What answers: rows to probabilities, its file, and how a new process starts."""

    predict: Callable[[np.ndarray], Any]
    path: Path
    start: list[str]


# -- data ------------------------------------------------------------------------------------


def read(name: str, folder: Path | None, seed: int) -> Data:
    """Return half of a table to train on and half to test on, as float32."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
    elif name == "breast cancer":
        X, y = load_breast_cancer(return_X_y=True)
    else:
        table = load_table(name, [Path(str(folder))])
        X, y = table.X.to_numpy(), np.unique(table.y, return_inverse=True)[1]
    X = np.ascontiguousarray(X, dtype=np.float32)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=seed)
    return Data(X, y, X_test, y_test)


# -- who serves ------------------------------------------------------------------------------


def serve(data: Data, folder: Path, seed: int) -> dict[str, Served]:
    """Fit all, write their files, and return what answers."""
    forest = RandomForestClassifier(TREES, n_jobs=1, random_state=seed).fit(data.X, data.y)
    boosting = HistGradientBoostingClassifier(random_state=seed).fit(data.X, data.y)
    student = DistilledClassifier(random_state=seed).fit(data.X, data.y)
    found = {}
    student.save(folder / "student.skensemble")
    found["student"] = _python(student, folder / "student.skensemble", "skensemble", folder)
    student.export_onnx(folder / "student.onnx")
    found["student, ONNX"] = _graph(folder / "student.onnx", folder)
    quantize_dynamic(folder / "student.onnx", folder / "int8.onnx", weight_type=QuantType.QInt8)
    found["student, ONNX int8"] = _graph(folder / "int8.onnx", folder)
    for name, weights in {"student, C": "float32", PRIMARY: "int8"}.items():
        found[name] = _compiled(student, folder / "row.bin", folder, weights)
    (folder / "small").mkdir()
    small = small_student(student.teacher_, data.X, seed).fit(data.X, data.y)
    found[SMALL] = _compiled(small, folder / "row.bin", folder / "small", "int8", COMPACT)
    for name, model in {FOREST: forest, BOOSTING: boosting}.items():
        joblib.dump(model, folder / f"{name}.joblib")
        found[name] = _python(model, folder / f"{name}.joblib", "joblib", folder)
        path = folder / f"{name}.onnx"
        if _converted(model, data.X[:1], path):
            found[f"{name}, ONNX"] = _graph(path, folder)
    return found


def small_student(teacher: Any, X: np.ndarray, seed: int) -> DistilledClassifier:
    """Return an unfitted student of one hidden layer, for who counts bytes."""
    mean, std = X.mean(0).tolist(), np.maximum(X.std(0), 1e-6).tolist()
    net = NeuralNetClassifier(
        MLP, module__hidden=(32,), module__normalize=(mean, std),
        criterion=torch.nn.CrossEntropyLoss, train_split=None,
        optimizer=torch.optim.AdamW, lr=3e-3, max_epochs=150, batch_size=64,
        callbacks=[LRScheduler("CosineAnnealingLR", T_max=150)],
    )  # fmt: skip
    given = {"transfer": "munge", "temperature": 1.0, "random_state": seed}
    return DistilledClassifier(FrozenEstimator(teacher), net, **given)


def _converted(model: Any, X: np.ndarray, path: Path) -> bool:
    """Write a peer's graph; skl2onnx cannot of every release of scikit-learn."""
    try:
        graph = to_onnx(model, X, options={"zipmap": False})
    except (TypeError, ValueError, RuntimeError) as error:
        print(f"  no graph of {type(model).__name__}: {str(error)[:60]}")
        return False
    path.write_bytes(graph.SerializeToString())
    return True


def _python(model: Any, path: Path, reader: str, folder: Path) -> Served:
    return Served(model.predict_proba, path, _command(reader, path, folder))


def _command(reader: str, path: Path, folder: Path) -> list[str]:
    code = f"import numpy; model = {str(path)!r}; row = numpy.load({str(folder / 'row.npy')!r})"
    return [sys.executable, "-c", f"{code}; {READERS[reader]}"]


def _graph(path: Path, folder: Path) -> Served:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_outputs()[1].name
    return Served(
        lambda rows: session.run([name], {"X": rows})[0], path, _command("onnx", path, folder)
    )


def _compiled(
    student: Any, row: Path, folder: Path, weights: str, flags: Sequence[str] = FAST
) -> Served:
    """Compile a library for this process, and an executable for a start."""
    source = folder / f"{weights}.c"
    export_c(student, source, weights=weights)
    text = source.read_text()
    n_classes = len(student.classes_)
    for name, more in {"library": LOOP, "main": MAIN}.items():
        (folder / f"{weights}_{name}.c").write_text(text + more)
        shared = ["-shared", "-fPIC", "-nostartfiles"] if name == "library" else []
        command = ["gcc", "-std=c99", *flags, "-s", "-Wall", "-Wextra", "-Werror", *shared,
                   f"{weights}_{name}.c", "-o", f"{weights}_{name}", "-lm"]  # fmt: skip
        subprocess.run(command, cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / f"{weights}_library"))
    one, many = library.student_predict_proba, library.rows
    one.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    many.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]

    def predict(rows: np.ndarray) -> np.ndarray:
        out = np.empty((len(rows), n_classes), np.float32)
        if len(rows) == 1:
            one(rows.ctypes.data, out.ctypes.data)
        else:
            many(rows.ctypes.data, len(rows), out.ctypes.data)
        return out

    start = [str(folder / f"{weights}_main"), str(row)]
    return Served(predict, folder / f"{weights}_library", start)


# -- measures --------------------------------------------------------------------------------


def time_calls(predict: Callable[[np.ndarray], Any], rows: Sequence[np.ndarray]) -> list[float]:
    """Return the seconds of each call, after a warm one."""
    predict(rows[0])
    taken = []
    for one in rows:
        start = time.perf_counter()
        predict(one)
        taken.append(time.perf_counter() - start)
    return taken


def bursts(served: dict[str, Served], X: np.ndarray, size: int, rounds: int, calls: int) -> Any:
    """Let all answer in turn; return the seconds of each call of each round."""
    many = np.tile(X, (size // len(X) + 1, 1))
    blocks = (
        [np.ascontiguousarray(many[:size])] if size > 1 else [X[i : i + 1] for i in range(len(X))]
    )
    found: dict[str, list[list[float]]] = {name: [] for name in served}
    names = list(served)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            probe = statistics.median(time_calls(served[name].predict, blocks[:1] * 3))
            n_calls = max(calls // 10, 3) if probe > SLOW else calls
            given = [blocks[i % len(blocks)] for i in range(n_calls)]
            found[name].append(time_calls(served[name].predict, given))
    return found


def latency(bursts_of: dict[str, list[list[float]]]) -> dict[str, dict[str, Any]]:
    """Return quantiles over all calls, and ratios of the rounds' medians to the primary's."""
    medians = {name: [statistics.median(one) for one in each] for name, each in bursts_of.items()}
    found = {}
    for name, each in bursts_of.items():
        taken = 1e6 * np.concatenate(each)
        ratios = [a / b for a, b in zip(medians[name], medians[PRIMARY], strict=True)]
        found[name] = {
            "p50": float(np.median(taken)), "p99": float(np.quantile(taken, 0.99)),
            "calls": len(taken), "ratios": ratios, "ratio_median": statistics.median(ratios),
        }  # fmt: skip
    return found


def start_ups(served: dict[str, Served], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of new processes until they have answered."""
    found: dict[str, list[float]] = {name: [] for name in served}
    for _ in range(rounds):
        for name, one in served.items():
            start = time.perf_counter()
            subprocess.run(one.start, check=True, capture_output=True)
            found[name].append(time.perf_counter() - start)
    return found


def quality(served: dict[str, Served], data: Data) -> dict[str, dict[str, float]]:
    """Return what test rows say of each, and how far exports are from the student."""
    own = served["student"].predict(data.X_test)
    found = {}
    for name, one in served.items():
        proba = np.asarray(one.predict(data.X_test), dtype=np.float64)
        found[name] = {
            "accuracy": accuracy_score(data.y_test, proba.argmax(1)),
            "log_loss": log_loss(data.y_test, proba / proba.sum(1, keepdims=True)),
            "bytes": one.path.stat().st_size,
        }
        if name in OURS:
            found[name]["agreement"] = float((proba.argmax(1) == own.argmax(1)).mean())
            found[name]["farthest"] = float(abs(proba - own).max())
    return found


def verdicts(one_row: dict[str, Any], found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Hold every export of the student against what was written above."""
    told = {}
    for name in OURS:
        share = statistics.fmean(one[name]["bytes"] / one[FOREST]["bytes"] for one in found)
        faster = [b / a for a, b in zip(one_row[name]["ratios"], one_row[BOOSTING]["ratios"],
                                        strict=True)]  # fmt: skip
        told[name] = {
            "fast": one_row[name]["p50"] <= MOST_US,
            "share": share, "small": share <= MOST_SIZE,
            "times_boosting": statistics.median(faster),
            "faster_than_boosting": statistics.median(faster) > 1,
        }  # fmt: skip
    return told


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Measure one table: quality for each seed, times for the first."""
    found = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        data = read(name, args.tables, seed)
        with tempfile.TemporaryDirectory() as folder:
            np.save(Path(folder) / "row.npy", data.X_test[:1])
            data.X_test[0].tofile(Path(folder) / "row.bin")
            served = serve(data, Path(folder), seed)
            found.append(quality(served, data))
            if seed == args.first_seed:
                one = latency(bursts(served, data.X_test, 1, args.rounds, 400))
                many = latency(bursts(served, data.X_test, BATCH, args.rounds, 30))
                starts = start_ups(served, args.rounds)
    rows, columns = data.X.shape
    return {
        "rows": rows, "columns": columns, "classes": len(np.unique(data.y)),
        "one_row": one, "batch": many, "start_up": starts, "quality": found,
        "verdicts": verdicts(one, found),
    }  # fmt: skip


def worth(tables: dict[str, Any]) -> list[bool]:
    """Return of each table whether onnxruntime's int8 is faster and about as accurate."""
    found = []
    for one in tables.values():
        graph, int8 = ("student, ONNX", "student, ONNX int8")
        lost = statistics.fmean(
            row[graph]["accuracy"] - row[int8]["accuracy"] for row in one["quality"]
        )
        quicker = one["one_row"][int8]["ratio_median"] < one["one_row"][graph]["ratio_median"]
        found.append(bool(quicker and lost <= MOST_LOST))
    return found


def show(name: str, found: dict[str, Any]) -> None:
    """Print a table's figures."""
    print(f"\n{name}: {found['rows']} rows, {found['columns']} columns, {found['classes']} classes")
    for who, one in found["one_row"].items():
        first = found["quality"][0][who]
        print(f"  {who:<20}{one['p50']:>10.1f}{one['p99']:>10.1f} us"
              f"{found['batch'][who]['p50'] / 1e3:>9.2f} ms{first['bytes'] / 1e3:>10.0f} kB"
              f"{statistics.median(found['start_up'][who]):>8.3f} s  {first['accuracy']:.4f}",
              flush=True)  # fmt: skip


def main() -> None:
    """Measure all tables, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=Path, help="folder with waveform5000.arff")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    about = provenance(__file__, PACKAGES)
    print_machine(about)
    names = ["digits", "breast cancer", *(["waveform5000"] if args.tables else [])]
    tables = {}
    for name in names:
        tables[name] = measure(name, args)
        show(name, tables[name])
    gcc = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True)
    arguments = {"rounds": args.rounds, "seeds": args.seeds, "trees": TREES, "batch": BATCH}
    write_json(args.out, {
        "provenance": about, "arguments": arguments, "compiler": gcc.stdout.splitlines()[0],
        "primary": PRIMARY, "limits": {"us": MOST_US, "share": MOST_SIZE, "lost": MOST_LOST},
        "tables": tables, "int8_is_worth_it": worth(tables),
    })  # fmt: skip


if __name__ == "__main__":
    main()
