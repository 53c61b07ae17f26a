"""From records of students to what they keep, by teacher and arm, and to targets.

The unit is a table (or so many digits, or the images): its losses are means over the seeds
that it has, and the share kept is that of these means. It is said only where the teacher is
better than the plain network by `LEAST_GAIN`, since there is nothing to keep elsewhere. An
arm is compared with the default on the cases that both have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from _retention import ARMS, CELLS, DIGITS, OURS, OUTSIDE, TEACHERS, ImageSizes

LEAST_GAIN = 0.01  # of the plain network's log loss
LEAST_TABLES = 6  # for an interval
FITTED = 0.99  # accuracy on training images, from which on a network counts as trained
WHO = ("plain", "teacher", "student")
ABOUT = ("n_rows", "n_features", "n_categories", "n_classes", "development")
SIZES = (*(field.name for field in fields(ImageSizes)), "device")
Record = Mapping[str, Any]
Unit = dict[str, Any]


def units_of(records: Iterable[Record]) -> dict[str, Unit]:
    """Return what is known of each table from the records of one teacher and arm.

    Parameters
    ----------
    records : iterable of mapping
        One for each seed of each table, none of which failed.

    Returns
    -------
    dict of str to dict
        By table: means of plain network, teacher and student, ratios, and the share kept or
        None.
    """
    by_name: dict[str, list[Record]] = {}
    for record in records:
        by_name.setdefault(record["name"], []).append(record)
    return {name: _unit(runs) for name, runs in sorted(by_name.items())}


def _unit(runs: Sequence[Record]) -> Unit:
    found: Unit = {who: _mean([run["measures"][who] for run in runs]) for who in WHO}
    plain, teacher, student = (found[who]["log_loss"] for who in WHO)
    gains = teacher <= (1 - LEAST_GAIN) * plain
    return found | {
        "seeds": sorted(run["seed"] for run in runs),
        "agreement": float(np.mean([run["agreement"] for run in runs])),
        "kept": (plain - student) / (plain - teacher) if gains else None,
        "to_plain": student / plain,
        "to_teacher": student / teacher,
        "auc_to_teacher": found["student"]["auc"] / found["teacher"]["auc"],
    }


def _mean(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    shared = [key for key in runs[0] if all(key in run for run in runs)]
    return {key: float(np.mean([run[key] for run in runs])) for key in shared}


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of a median, from 10,000 draws of tables."""
    draws = np.random.default_rng(0).choice(values, (10_000, len(values)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975]).tolist()
    return low, high


def over_tables(units: Mapping[str, Unit]) -> dict[str, Any]:
    """Return means, medians and the worst of one teacher and arm."""
    rows = list(units.values())
    kept = [row["kept"] for row in rows if row["kept"] is not None]
    worst = max(units, key=lambda name: units[name]["to_plain"])
    found: dict[str, Any] = {
        "n_tables": len(rows),
        "n_splits": sum(len(row["seeds"]) for row in rows),
        "n_kept": len(kept),
        "kept_median": float(np.median(kept)) if kept else None,
        "kept_mean": float(np.mean(kept)) if kept else None,
        "kept_low": None,
        "kept_high": None,
        "better_than_plain": float(np.mean([row["to_plain"] < 1 for row in rows])),
        "to_plain_median": float(np.median([row["to_plain"] for row in rows])),
        "to_plain_largest": units[worst]["to_plain"],
        "worst": worst,
        "to_teacher_median": float(np.median([row["to_teacher"] for row in rows])),
        "auc_to_teacher_median": float(np.median([row["auc_to_teacher"] for row in rows])),
        "agreement": float(np.mean([row["agreement"] for row in rows])),
    }
    if len(kept) >= LEAST_TABLES:
        found["kept_low"], found["kept_high"] = median_interval(kept)
    for who in WHO:
        means = _mean([row[who] for row in rows])
        medians = {
            f"{key}_median": float(np.median([row[who][key] for row in rows]))
            for key in ("many_row_seconds", "one_row_seconds", "bytes")
        }
        found[who] = means | medians
    return found


def against_default(arm: Sequence[Record], default: Sequence[Record]) -> dict[str, Any] | None:
    """Compare an arm with the default on the cases that both have; None without any."""
    cases = {(record["name"], record["seed"]) for record in arm}
    cases &= {(record["name"], record["seed"]) for record in default}
    if not cases:
        return None
    without, whole = (
        units_of(record for record in records if (record["name"], record["seed"]) in cases)
        for records in (arm, default)
    )
    ratios = [without[name]["student"]["log_loss"] / whole[name]["student"]["log_loss"]
              for name in whole]  # fmt: skip
    pairs = {"without": over_tables(without), "whole": over_tables(whole)}
    return {
        "n_tables": len(whole),
        "n_splits": len(cases),
        "n_kept": pairs["whole"]["n_kept"],
        "kept_median": pairs["without"]["kept_median"],
        "kept_median_of_default": pairs["whole"]["kept_median"],
        "log_loss_to_default": float(np.median(ratios)),
        "worse_than_default": float(np.mean([ratio > 1 for ratio in ratios])),
    }


# -- targets -------------------------------------------------------------------------------


def _target(
    what: str, value: float | None, bound: float, at_least: bool = False, open_: bool = False
) -> dict[str, Any]:
    """Return a target; `met` is None where nothing is measured or nothing can be said yet."""
    met = None
    if value is not None and not open_:
        met = bool(value >= bound if at_least else value <= bound)
    return {"what": what, "value": value, "bound": bound, "at_least": at_least, "met": met,
            "undecided": open_}  # fmt: skip


def targets(cells: Mapping[str, Any], latency: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what was to be reached, with what was.

    Parameters
    ----------
    cells : mapping
        Of the summary: by cell, teacher and arm.
    latency : mapping
        Of the summary.

    Returns
    -------
    list of dict
        A value is to be at most its bound, or with ``at_least`` at least that.
    """
    found = []

    def of(cell: str, teacher: str, key: str) -> float | None:
        row = cells.get(cell, {}).get(teacher, {}).get("default")
        return None if row is None else row[key]

    for teacher in TEACHERS:
        kept = of("tables", teacher, "kept_median")
        found.append(_target(f"tables, {teacher}: median share kept", kept, 0.9, True))
    for cell in ("digits as rows", "digits as images", "images"):
        least = of(cell, OURS, "least_train_accuracy") if cell == "images" else None
        found.append(
            _target(
                f"{cell}, {OURS}: median share kept",
                of(cell, OURS, "kept_median"),
                0.7,
                True,
                least is not None and least < FITTED,
            )
        )
    found += [
        _target(f"tables, {OURS}: share where the student beats a plain network",
                of("tables", OURS, "better_than_plain"), 0.9, True),
        _target(f"tables, {OURS}: largest log loss over a plain network's",
                of("tables", OURS, "to_plain_largest"), 1.02),
    ]  # fmt: skip
    for teacher in OUTSIDE:
        auc = of("tables", teacher, "auc_to_teacher_median")
        loss = of("tables", teacher, "to_teacher_median")
        found += [
            _target(f"tables, {teacher}: median AUC over the teacher's", auc, 0.95, True),
            _target(f"tables, {teacher}: median log loss over the teacher's", loss, 1.03),
        ]
    slowest = latency.get("slowest_microseconds")
    found.append(_target("one row of an exported student, µs, slowest table", slowest, 100))
    return found


# -- summary -------------------------------------------------------------------------------


def summarise(records: Sequence[Record]) -> dict[str, Any]:
    """Turn records into the content of the JSON.

    Parameters
    ----------
    records : sequence of mapping
        One of each cell, case, teacher and arm.

    Returns
    -------
    dict
        ``cells`` by cell, teacher and arm; ``without`` likewise, each arm beside the default;
        ``tables``, ``digits`` and ``images`` by name and teacher, of the default;
        ``latency``, ``targets``, ``failures``, and which seeds and commits there are.
    """
    good = [record for record in records if "error" not in record]
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in good:
        groups.setdefault((_cell(record), record["teacher"], record["arm"]), []).append(record)
    cells: dict[str, Any] = {}
    without: dict[str, Any] = {}
    units: dict[str, Any] = {}
    for cell, teacher, arm in sorted(groups, key=_place):
        if cell == "latency":
            continue
        runs = groups[cell, teacher, arm]
        own = units_of(runs)
        row = over_tables(own)
        accuracies = [run["measures"][who]["train_accuracy"] for run in runs for who in WHO[:2]
                      if "train_accuracy" in run["measures"][who]]  # fmt: skip
        if accuracies:
            row["least_train_accuracy"] = min(accuracies)
        cells.setdefault(cell, {}).setdefault(teacher, {})[arm] = row
        if arm == "default":
            for name, unit in own.items():
                units.setdefault(cell.split()[0], {}).setdefault(name, {})[teacher] = unit
        elif (other := groups.get((cell, teacher, "default"))) is not None:
            pair = against_default(runs, other)
            if pair is not None:
                without.setdefault(teacher, {})[arm] = pair
    about = {record["name"]: {key: record[key] for key in ABOUT} for record in records
             if record["cell"] == "tables"}  # fmt: skip
    fast = _latency([record for record in good if record["cell"] == "latency"])
    return {
        "n_tables": len(about),
        "seeds": sorted({record["seed"] for record in records if record["cell"] != "latency"}),
        "commits": sorted({str(record["commit"]) for record in records}),
        "failures": [{key: record[key] for key in ("cell", "name", "seed", "teacher", "arm",
                                                   "error")}
                     for record in records if "error" in record],
        "cells": cells,
        "without": without,
        "latency": fast,
        "targets": targets(cells, fast),
        "sizes": _sizes(records),
        "tables": {name: about[name] | {"teachers": {teacher: _brief(unit)
                                                     for teacher, unit in row.items()}}
                   for name, row in units.get("tables", {}).items()},
        "digits": {name: units["digits"][name] for name in DIGITS
                   if name in units.get("digits", {})},
        "images": units.get("images", {}),
    }  # fmt: skip


def _brief(unit: Unit) -> Unit:
    """Return a table's numbers without what it costs, of which the medians are enough."""
    keys = ("log_loss", "accuracy", "auc")
    return unit | {who: {key: unit[who][key] for key in keys} for who in WHO}


def _cell(record: Record) -> str:
    """Return the cell, and of digits whether they are rows of a table or images."""
    kind = record["name"].split("-")[0]
    return f"digits as {kind}" if record["cell"] == "digits" else record["cell"]


def _place(key: tuple[str, str, str]) -> tuple[int, int, int]:
    return CELLS.index(key[0].split()[0]), TEACHERS.index(key[1]), list(ARMS).index(key[2])


def _sizes(records: Sequence[Record]) -> dict[str, Any]:
    """Return how the images were learned, of the last record that says so."""
    said = [record for record in records if record["cell"] == "images"]
    return {name: said[-1][name] for name in SIZES} if said else {}


def _latency(records: Sequence[Record]) -> dict[str, Any]:
    """Return microseconds of one row: median over tables, and the slowest table."""
    if not records:
        return {}
    micro = {record["name"]: 1e6 * record["onnx_seconds"] for record in records}

    def median(of: Callable[[Record], float]) -> float:
        return float(np.median([of(record) for record in records]))

    return {
        "n_tables": len(records),
        "onnxruntime": records[-1]["onnxruntime"],
        "n_raw": sum(record["raw"] for record in records),
        "median_microseconds": float(np.median(list(micro.values()))),
        "median_microseconds_95": median(lambda record: 1e6 * record["onnx_seconds_95"]),
        "slowest_microseconds": max(micro.values()),
        "slowest": max(micro, key=micro.__getitem__),
        "bytes_median": median(lambda record: record["onnx_bytes"]),
        "apart_largest": max(record["apart"] for record in records),
        "estimator_microseconds": median(lambda record: 1e6 * record["one_row_seconds"]),
        "forest_microseconds": median(lambda record: 1e6 * record["teacher_one_row_seconds"]),
    }


def _show(value: float | None, spec: str) -> str:
    return "" if value is None or math.isnan(value) else format(value, spec)


def as_text(found: Mapping[str, Any]) -> str:
    """Return the summary for a terminal."""
    lines = [f"\n{found['n_tables']} tables, seeds {found['seeds']}"]
    heads = ("tables", "kept of", "median", "mean", "> plain", "largest", "/ teacher", "AUC /")
    widths = (7, 8, 8, 8, 9, 9, 10, 8)
    head = "".join(f"{name:>{width}}" for name, width in zip(heads, widths, strict=True))
    lines.append(f"{'cell':<17}{'teacher':<22}{'arm':<13}{head}{'CPU s':>8}")
    for cell, teachers in found["cells"].items():
        for teacher, arms in teachers.items():
            for arm, row in arms.items():
                lines.append(
                    f"{cell:<17}{teacher:<22}{arm:<13}{row['n_tables']:>7}{row['n_kept']:>8}"
                    f"{_show(row['kept_median'], '.2f'):>8}{_show(row['kept_mean'], '.2f'):>8}"
                    f"{row['better_than_plain']:>9.2f}{row['to_plain_largest']:>9.3f}"
                    f"{row['to_teacher_median']:>10.3f}{row['auc_to_teacher_median']:>8.3f}"
                    f"{row['student']['cpu_seconds']:>8.1f}"
                )
    words = {True: "met", False: "MISSED", None: "not measured, or nothing to keep"}
    for row in found["targets"]:
        said = "undecided" if row["undecided"] else words[row["met"]]
        sign = ">=" if row["at_least"] else "<="
        value = _show(row["value"], ".4g")
        lines.append(f"  {row['what']:<66}{value:>8} {sign} {row['bound']:<6g}{said}")
    lines += [f"  {row['cell']} {row['name']} {row['seed']} {row['teacher']} {row['arm']}: "
              f"{row['error']}" for row in found["failures"]]  # fmt: skip
    return "\n".join(lines)
