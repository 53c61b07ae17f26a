"""From records of contenders on tables to means, ranks, paired wins and targets.

The unit is the table: a contender's number on a table is the mean over the seeds that
*every* contender has there, ranks are among these means, and an interval is over tables,
because the seeds of one table are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

MEASURES = ("log_loss", "accuracy", "brier", "ece", "fit_seconds", "predict_seconds", "cpu_seconds")
ABOUT = ("n_rows", "n_features", "n_categories", "n_classes", "development")
Cells = dict[str, dict[str, dict[str, float] | None]]


def table_means(records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Cells:
    """Return, for each table that all have run on, each contender's means or None.

    Parameters
    ----------
    records : sequence of mapping
        One for each table, seed and contender; ``error`` in it means that it failed.
    names : sequence of str
        The contenders; a seed that one of them lacks is left out for all.

    Returns
    -------
    dict of str to dict
        By table, then by contender; None for one that failed on any of the seeds.
    """
    by_table: dict[str, dict[int, dict[str, Mapping[str, Any]]]] = {}
    for record in records:
        by_seed = by_table.setdefault(record["table"], {})
        by_seed.setdefault(record["seed"], {})[record["peer"]] = record
    cells: Cells = {}
    for table, by_seed in sorted(by_table.items()):
        shared = [peers for peers in by_seed.values() if all(name in peers for name in names)]
        if shared:
            cells[table] = {name: _mean([peers[name] for peers in shared]) for name in names}
    return cells


def _mean(runs: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    if any("error" in run for run in runs):
        return None
    return {key: float(np.mean([run[key] for run in runs])) for key in MEASURES}


def mean_ranks(cells: Cells, names: Sequence[str], measure: str) -> dict[str, float]:
    """Return mean ranks over tables, 1 the best; who failed is last, ties share."""
    sign = -1.0 if measure == "accuracy" else 1.0
    ranks = []
    for row in cells.values():
        costs = [math.inf if (one := row[name]) is None else sign * one[measure] for name in names]
        ranks.append(rankdata(costs))
    return dict(zip(names, np.mean(ranks, axis=0).tolist(), strict=True))


def wilson(wins: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the 95 % interval of a share of wins, ties counted as halves."""
    share = wins / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def duel(cells: Cells, ours: str, peer: str) -> dict[str, Any]:
    """Compare two contenders in log loss, table by table.

    Parameters
    ----------
    cells : dict
        What `table_means` returned.
    ours, peer : str
        Of its contenders.

    Returns
    -------
    dict
        Wins of ours (a tie is half a win, a failure a loss) with Wilson's interval, and the
        mean difference ours - peer over tables that neither failed on, with the interval
        of 10,000 bootstrap draws of tables.
    """
    wins, gaps = 0.0, []
    for row in cells.values():
        mine, other = row[ours], row[peer]
        if mine is not None and other is not None:
            gaps.append(mine["log_loss"] - other["log_loss"])
            wins += 1.0 if gaps[-1] < 0 else 0.5 if gaps[-1] == 0 else 0.0
        else:
            wins += 0.5 if mine is None and other is None else float(other is None)
    low, high = wilson(wins, len(cells))
    found = {"ours": ours, "peer": peer, "wins": wins, "tables": len(cells),
             "share": wins / len(cells), "share_low": low, "share_high": high}  # fmt: skip
    if gaps:
        draws = np.random.default_rng(0).choice(gaps, (10_000, len(gaps))).mean(1)
        low, high = np.quantile(draws, [0.025, 0.975]).tolist()
        found |= {"gap": float(np.mean(gaps)), "gap_low": low, "gap_high": high}
    return found


# -- targets -------------------------------------------------------------------------------


def _target(what: str, value: float | None, bound: float | None, **more: Any) -> dict[str, Any]:
    known = value is not None and bound is not None
    return {"what": what, "value": value, "bound": bound, **more,
            "met": bool(value <= bound) if known else None}  # fmt: skip


def targets(
    means: Mapping[str, Mapping[str, float]],
    cells: Cells,
    about: Mapping[str, Mapping[str, Any]],
    ours: Sequence[str],
    chief: str,
) -> list[dict[str, Any]]:
    """Return the targets with value, bound and whether met; None where nothing is measured.

    Parameters
    ----------
    means : mapping
        By contender, as in the summary.
    cells : dict
        What `table_means` returned.
    about : mapping
        By table, what is known of it.
    ours : sequence of str
        Contenders that are no peers.
    chief : str
        The one the targets are for.

    Returns
    -------
    list of dict
        Every one is met where its value is at most its bound.
    """
    mine = means[chief]
    peers = [name for name in means if name not in ours]
    best = max((means[name]["accuracy"] for name in peers), default=None)
    found = [
        _target(f"mean rank in log loss below {name}", mine["rank_log_loss"],
                math.nextafter(means[name]["rank_log_loss"], 0))
        for name in peers
    ]  # fmt: skip
    found.append(_target("mean accuracy short of the best peer",
                         None if best is None else best - mine["accuracy"], 0.003))  # fmt: skip
    for name, factor in (("RealMLP_TD_S", 1), ("HistGradientBoosting calibrated", 3)):
        seconds = means[name]["total_cpu_seconds"] * factor if name in means else None
        found.append(
            _target(
                f"processor seconds in total, {factor} x {name}'s",
                mine["total_cpu_seconds"],
                seconds,
            )
        )
    large = [row[chief]["ece"] for table, row in cells.items()
             if about[table]["n_rows"] >= 1000 and row[chief] is not None]  # fmt: skip
    value = float(np.mean(large)) if large else None
    found.append(_target("mean ECE, tables of 1,000 rows or more", value, 0.03))
    found.append(_against_logistic(cells, chief))
    return found


def _against_logistic(cells: Cells, chief: str) -> dict[str, Any]:
    what, ratios = "highest log loss over LogisticRegression's", {}
    for table, row in cells.items():
        mine, linear = row[chief], row.get("LogisticRegression")
        if mine is not None and linear is not None:
            ratios[table] = mine["log_loss"] / linear["log_loss"]
    worse = {table: ratio for table, ratio in ratios.items() if ratio > 1.1}
    return _target(what, max(ratios.values(), default=None), 1.1, worse=worse)


# -- summary -------------------------------------------------------------------------------


def summarise(
    records: Sequence[Mapping[str, Any]], ours: Sequence[str], chief: str
) -> dict[str, Any]:
    """Turn records into the content of the JSON.

    Parameters
    ----------
    records : sequence of mapping
        As in the work file.
    ours : sequence of str
        Contenders to compare with all others.
    chief : str
        The one of ours that the targets are for.

    Returns
    -------
    dict
        ``contenders`` by mean rank, ``duels``, ``targets``, ``tables``, ``failures``, and
        ``unfinished``: tables that some contender has not run on yet.
    """
    names = list(dict.fromkeys(record["peer"] for record in records))
    about = {record["table"]: {key: record[key] for key in ABOUT} for record in records}
    cells = table_means(records, names)
    complete = {table: row for table, row in cells.items() if None not in row.values()}
    means = _contenders(cells, complete, names) if cells else {}
    found: dict[str, Any] = {
        "n_tables": len(cells),
        "n_tables_in_means": len(complete),
        "unfinished": sorted(set(about) - set(cells)),
        "seeds": sorted({record["seed"] for record in records}),
        "commits": sorted({str(record["commit"]) for record in records if record["peer"] in ours}),
        "failures": [{key: record[key] for key in ("table", "seed", "peer", "error")}
                     for record in records if "error" in record],
        "contenders": means,
        "duels": [duel(cells, mine, peer) for mine in ours if mine in names
                  for peer in names if peer not in ours] if cells else [],
        "targets": targets(means, cells, about, ours, chief) if chief in means else [],
        "tables": {table: about[table] | {"means": row} for table, row in cells.items()},
    }  # fmt: skip
    return found


def _contenders(cells: Cells, complete: Cells, names: Sequence[str]) -> dict[str, dict[str, float]]:
    ranks = mean_ranks(cells, names, "log_loss")
    accuracy_ranks = mean_ranks(cells, names, "accuracy")
    found = {}
    for name in sorted(names, key=ranks.__getitem__):
        runs = [run for row in complete.values() if (run := row[name]) is not None]
        means = {key: float(np.mean([run[key] for run in runs])) if runs else math.nan
                 for key in MEASURES}  # fmt: skip
        found[name] = means | {
            "rank_log_loss": ranks[name],
            "rank_accuracy": accuracy_ranks[name],
            "total_cpu_seconds": sum(run["cpu_seconds"] for run in runs),
            "failed_tables": sum(row[name] is None for row in cells.values()),
        }
    return found


def as_markdown(found: Mapping[str, Any]) -> str:
    """Return the summary as tables in Markdown."""
    lines = [
        f"{found['n_tables']} tables ({found['n_tables_in_means']} in the means, those nobody "
        f"failed on), seeds {found['seeds']}.", "",
        "| | mean rank | log loss | accuracy | Brier | ECE | fit s | predict s | CPU s | failed |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, row in found["contenders"].items():
        lines.append(
            f"| {name} | {row['rank_log_loss']:.2f} | {row['log_loss']:.4f} | "
            f"{row['accuracy']:.4f} | {row['brier']:.4f} | {row['ece']:.4f} | "
            f"{row['fit_seconds']:.2f} | {row['predict_seconds']:.3f} | "
            f"{row['cpu_seconds']:.2f} | {row['failed_tables']} |"
        )
    if found["duels"]:
        lines += ["", "| ours | peer | wins | share (95 %) | log loss, ours - peer (95 %) |",
                  "|---|---|---|---|---|"]  # fmt: skip
    for row in found["duels"]:
        gap = "" if "gap" not in row else (
            f"{row['gap']:+.4f} ({row['gap_low']:+.4f} to {row['gap_high']:+.4f})")  # fmt: skip
        lines.append(f"| {row['ours']} | {row['peer']} | {row['wins']:g} of {row['tables']} | "
                     f"{row['share']:.2f} ({row['share_low']:.2f} to {row['share_high']:.2f}) | "
                     f"{gap} |")  # fmt: skip
    if found["targets"]:
        lines += ["", "| target | value | at most | |", "|---|---|---|---|"]
    words = {True: "met", False: "**missed**", None: "not measured"}
    for row in found["targets"]:
        value, bound = ("" if row[key] is None else f"{row[key]:.4g}" for key in ("value", "bound"))
        lines.append(f"| {row['what']} | {value} | {bound} | {words[row['met']]} |")
    for row in found["failures"]:
        lines.append(f"\n{row['peer']} failed on {row['table']}, seed {row['seed']}: "
                     f"{row['error']}")  # fmt: skip
    return "\n".join(lines) + "\n"
