"""One contender on one split of one table, and the file of records that a run resumes from.

A module of its own, and not part of the script, because the workers of ``--jobs`` import it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _bench import quiet
from _table_peers import OURS, make
from _tables import Table, inner_splits, load_table, outer_split
from sklearn.metrics import accuracy_score, log_loss
from threadpoolctl import threadpool_limits

from skensemble.metrics import expected_calibration_error


@dataclass(frozen=True)
class Setup:
    """What numbers must have in common to be compared."""

    part: str
    max_rows: int
    threads: int


@dataclass(frozen=True)
class Plan:
    """One run of this script."""

    setup: Setup
    folders: tuple[Path, ...]
    work: Path
    tag: str
    prepare: bool
    commit: str | None
    redo: frozenset[str]

    def tag_of(self, name: str) -> str:
        """Return what tells records of one contender apart: nothing, but for ours."""
        if name not in OURS:
            return ""
        return f"{self.tag}+prepared" if self.prepare else self.tag


# -- records -------------------------------------------------------------------------------


def read_records(work: Path) -> list[dict[str, Any]]:
    """Return the records of a work file; a last line cut off by a stop is left out."""
    if not work.exists():
        return []
    lines = work.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def append_record(work: Path, record: dict[str, Any]) -> None:
    """Append one line, after ending one that was cut off."""
    text = json.dumps(record) + "\n"
    with work.open("a+b") as file:
        if file.tell() and (file.seek(-1, 2), file.read(1))[1] != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
        file.write(text.encode())


def chosen(records: Iterable[dict[str, Any]], plan: Plan) -> dict[tuple[str, int, str], Any]:
    """Return the last record of each table, seed and contender that fits the plan."""
    setup = asdict(plan.setup)
    return {
        (record["table"], record["seed"], record["peer"]): record
        for record in records
        if record["tag"] == plan.tag_of(record["peer"])
        and all(record[key] == value for key, value in setup.items())
    }


# -- measuring -----------------------------------------------------------------------------


def measures(y: np.ndarray, proba: np.ndarray) -> dict[str, float]:
    """Return log loss, accuracy, Brier score and calibration error.

    Parameters
    ----------
    y : array of int
        Positions of the true classes.
    proba : array of shape (n_rows, n_classes)
        Probabilities. They are brought to float64 first, so that scikit-learn's log loss
        clips everybody at the same number.

    Returns
    -------
    dict
        The Brier score sums over classes; the error has 15 bins of the top label.
    """
    proba = np.asarray(proba, dtype=np.float64)
    proba = proba / proba.sum(1, keepdims=True)
    labels = np.arange(proba.shape[1])
    return {
        "log_loss": float(log_loss(y, proba, labels=labels)),
        "accuracy": float(accuracy_score(y, proba.argmax(1))),
        "brier": float(((proba - np.eye(len(labels))[y]) ** 2).sum(1).mean()),
        "ece": expected_calibration_error(y, proba, labels=labels),
    }


def one_fit(
    name: str, table: Table, rows: tuple[np.ndarray, np.ndarray], seed: int, plan: Plan
) -> dict[str, float]:
    """Fit on some rows, predict others, and measure."""
    codes = np.unique(table.y, return_inverse=True)[1]
    fit, test = rows
    X, threads = table.X.iloc[fit], plan.setup.threads
    with quiet(), threadpool_limits(threads):
        model = make(name, X, seed, threads, plan.prepare)
        start, cpu = time.perf_counter(), time.process_time()
        model.fit(X, codes[fit])
        fitted = time.perf_counter()
        proba = model.predict_proba(table.X.iloc[test])
        done, cpu = time.perf_counter(), time.process_time() - cpu
    if proba.shape[1] != codes.max() + 1 or not np.isfinite(proba).all():
        raise ValueError(f"Probabilities of shape {proba.shape}, or not finite.")
    seconds = {"fit_seconds": fitted - start, "predict_seconds": done - fitted, "cpu_seconds": cpu}
    return measures(codes[test], proba) | seconds


def measure(name: str, table: Table, seed: int, plan: Plan) -> dict[str, Any]:
    """Return the measures of a contender on a seed of a table, or how it failed."""
    fit, test = outer_split(table.y, seed)
    splits = [(fit, test)]
    if plan.setup.part.startswith("cv"):
        splits = list(inner_splits(table.y, fit, int(plan.setup.part[2:]), seed))
    try:
        found = [one_fit(name, table, rows, seed, plan) for rows in splits]
    except Exception as error:  # whatever a peer raises is its result on this table
        return {"error": f"{type(error).__name__}: {error}"[:500]}
    return {key: float(np.mean([one[key] for one in found])) for key in found[0]}


@lru_cache(maxsize=2)
def _table(name: str, folders: tuple[Path, ...], max_rows: int) -> Table:
    return load_table(name, folders, max_rows)


def run_split(table_name: str, seed: int, names: Sequence[str], plan: Plan) -> None:
    """Let contenders take turns on one split of one table, and record each at once."""
    torch.set_num_threads(plan.setup.threads)
    table = _table(table_name, plan.folders, plan.setup.max_rows)
    about = {
        "n_rows": len(table.y),
        "n_features": table.X.shape[1],
        "n_categories": table.X.select_dtypes("category").shape[1],
        "n_classes": len(np.unique(table.y)),
        "development": table.development,
    }
    for name in names:
        result = measure(name, table, seed, plan)
        said = result.get("error") or f"{result['log_loss']:.3f} {result['accuracy']:.3f}"
        spent = result.get("fit_seconds", np.nan)
        print(f"{table_name:<26}{seed:>2}  {name:<34}{spent:>8.1f} s  {said}", flush=True)
        key = {"table": table_name, "seed": seed, "peer": name, "tag": plan.tag_of(name)}
        when = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": plan.commit}
        append_record(plan.work, key | asdict(plan.setup) | about | when | result)


def turns(
    tables: Sequence[str], seeds: Sequence[int], names: Sequence[str], plan: Plan
) -> Iterator[tuple[str, int, list[str]]]:
    """Yield splits with the contenders still to run, the first one rotated."""
    there = chosen(read_records(plan.work), plan)
    for number, (seed, table) in enumerate((s, t) for s in seeds for t in tables):
        first = number % len(names)
        order = [*names[first:], *names[:first]]
        missing = [n for n in order if n in plan.redo or (table, seed, n) not in there]
        if missing:
            yield table, seed, missing
