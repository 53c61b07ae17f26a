"""Claim: an ensemble's sets hold the label as often as is asked for, with no rows set apart.

    python benchmarks/conformal.py --data TABLES           # ten tables, twenty seeds; resumable
    python benchmarks/conformal.py --data TABLES --report  # the summary of what is there
    python benchmarks/conformal.py --quick                 # does it run at all?

`DeepEnsembleClassifier()` at its defaults is fitted on 60 % of a table, and its `predict_set` asked
about the rest, at 90 %, by each score, by CV+ and pooled, and within classes. Sets of one
half of the test rows, for which the other half calibrates the same ensemble (split
conformal), stand beside them; so do MAPIE's from the same probabilities, where it is installed,
which must be the same sets.

Wanted, before it was run: over tables and seeds a mean coverage by CV+ with "lac" in [0.88, 0.95];
on each table the interval (95 %, over seeds) of its mean coverage above 0.88; no set of ours that
differs from MAPIE's. Nothing was tuned on these tables.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from _bench import interval, print_machine, provenance, write_json
from _tables import load_table, outer_split
from sklearn.base import BaseEstimator, ClassifierMixin

from skensemble import DeepEnsembleClassifier
from skensemble.conformal import ConformalSets, conformity_scores, includes

PACKAGES = ("torch", "numpy", "scikit-learn", "skorch", "mapie", "skensemble")
TABLES = (
    "balance.scale", "german", "glass", "haberman", "heart.c", "new-thyroid",
    "pima-indians-diabetes", "tic-tac-toe", "vehicle", "wine",
)  # fmt: skip
COVERAGE = 0.9
WAYS: dict[str, tuple[ConformalSets, str]] = {
    **{f"{score}, CV+": (ConformalSets(score), "plus") for score in ("lac", "aps", "raps")},
    "lac, pooled": (ConformalSets("lac"), "pooled"),
    "lac by class, CV+": (ConformalSets("lac", by_class=True), "plus"),
}
Row = dict[str, Any]


class Said(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose rows are the probabilities that it predicts."""

    def __init__(self, n_classes: int) -> None:
        self.n_classes = n_classes
        self.classes_ = np.arange(n_classes)

    def fit(self, X: np.ndarray, y: np.ndarray) -> Said:
        """Do nothing."""
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return what it was given."""
        return np.asarray(X)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the most likely classes."""
        return np.asarray(X).argmax(1)


def differing(proba: np.ndarray, y: np.ndarray, new: np.ndarray, score: str) -> int | None:
    """Count the sets that MAPIE gives otherwise, or return None where it is not installed.

    Its "aps" draws for the calibration rows alone and leaves out the class that passes the
    threshold, but for the first: the same scores are given to ours.
    """
    try:
        from mapie.classification import SplitConformalClassifier
    except ImportError:
        return None
    n_classes = proba.shape[1]
    theirs = SplitConformalClassifier(
        Said(n_classes), confidence_level=COVERAGE, conformity_score=score, prefit=True,
        random_state=0,
    )  # fmt: skip
    theirs.conformalize(proba, y)
    options = {"include_last_label": False} if score == "aps" else {}
    sets = theirs.predict_set(new, conformity_score_params=options)[1][:, :, 0]
    noise = None if score == "lac" else np.random.RandomState(0).uniform(size=len(y))
    known = conformity_scores(proba, score=score, noise=noise)[np.arange(len(y)), y]
    ours = includes([conformity_scores(new, score=score)], [known], None, COVERAGE)
    if score == "aps":
        ours[np.arange(len(new)), new.argmax(1)] = True
    return int((ours != sets).any(1).sum())


def measures(sets: np.ndarray, y: np.ndarray) -> Row:
    """Return the share of sets that hold the label, that of the worst class, and their size."""
    held = sets[np.arange(len(y)), y]
    return {
        "coverage": float(held.mean()),
        "worst class": min(float(held[y == k].mean()) for k in np.unique(y)),
        "size": float(sets.sum(1).mean()),
        "single": float((sets.sum(1) == 1).mean()),
    }


def run(name: str, folders: list[Path], seed: int, **settings: Any) -> Row:
    """Fit once and ask for sets in every way."""
    table = load_table(name, folders)
    train, test = outer_split(table.y, seed)
    X, X_test = table.X.iloc[train], table.X.iloc[test]
    start = time.perf_counter()
    ensemble = DeepEnsembleClassifier(random_state=seed, **settings).fit(X, table.y[train])
    found: Row = {"table": name, "seed": seed, "seconds": time.perf_counter() - start}
    y_test = np.searchsorted(ensemble.classes_, table.y[test])
    proba = ensemble.predict_proba(X_test)
    found["accuracy"] = float((proba.argmax(1) == y_test).mean())
    for way, (sets, method) in WAYS.items():
        said = ensemble.predict_set(X_test, coverage=COVERAGE, score=sets, method=method)
        found[way] = measures(said, y_test)
    half = np.random.default_rng(seed).permutation(len(y_test)) < len(y_test) // 2
    split = ConformalSets().fit(proba[half], y_test[half], labels=range(proba.shape[1]))
    said = split.predict(proba[~half], coverage=COVERAGE)
    found["lac, split"] = measures(said, y_test[~half])
    scores = ("lac", "aps") if proba.shape[1] > 2 else ("lac",)  # all that MAPIE has for two
    differ = [differing(proba[half], y_test[half], proba[~half], score) for score in scores]
    found["sets that differ from MAPIE's"] = None if None in differ else sum(map(int, differ))
    return found


def summarise(rows: list[Row]) -> dict[str, Any]:
    """Return means over seeds of each table and way, and what was wanted."""
    ways = [*WAYS, "lac, split"]
    by_table: dict[str, Any] = {}
    for name in sorted({row["table"] for row in rows}):
        mine = [row for row in rows if row["table"] == name]
        by_table[name] = {"seeds": len(mine), "accuracy": interval([r["accuracy"] for r in mine])}
        for way in ways:
            by_table[name][way] = {
                measure: interval([row[way][measure] for row in mine])
                for measure in ("coverage", "worst class", "size", "single")
            }
    overall = {
        way: {
            measure: statistics.fmean(one[way][measure]["mean"] for one in by_table.values())
            for measure in ("coverage", "worst class", "size", "single")
        }
        for way in ways
    }
    plus = [one["lac, CV+"]["coverage"] for one in by_table.values()]
    differ = [row["sets that differ from MAPIE's"] for row in rows]
    known = [one for one in differ if one is not None]
    wanted = {
        "mean coverage in [0.88, 0.95]": 0.88 <= overall["lac, CV+"]["coverage"] <= 0.95,
        "tables whose interval is above 0.88": sum(
            one["mean"] - one["half_width"] > 0.88 for one in plus
        ),
        "sets that differ from MAPIE's": sum(known) if known else None,
    }
    return {"tables": by_table, "overall": overall, "wanted": wanted}


def main() -> None:
    """Run what is missing, and write the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="folders of tables")
    parser.add_argument("--tables", nargs="*", default=[*TABLES])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--work", type=Path, default=Path("conformal.jsonl"))
    parser.add_argument("--report", action="store_true", help="run nothing")
    parser.add_argument("--quick", action="store_true", help="one small table, two small fits")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    facts = provenance(__file__, PACKAGES)
    print_machine(facts)
    settings: dict[str, Any] = {"n_estimators": 3} if args.quick else {}
    tables, seeds = (["iris"], 2) if args.quick else (args.tables, args.seeds)
    rows = []
    if not args.quick and args.work.exists():
        rows = [json.loads(line) for line in args.work.read_text().splitlines()]
    done = {(row["table"], row["seed"]) for row in rows}
    todo = [(name, seed) for seed in range(seeds) for name in tables if (name, seed) not in done]
    for name, seed in [] if args.report else todo:
        row = run(name, args.data, seed, **settings)
        rows.append(row)
        if not args.quick:
            with args.work.open("a") as file:
                file.write(json.dumps(row) + "\n")
        print(f"{name:<24}{seed:>3}  " + "  ".join(
            f"{way} {row[way]['coverage']:.3f} ({row[way]['size']:.2f})" for way in WAYS
        ), flush=True)  # fmt: skip
    if not rows:
        raise SystemExit(f"{args.work} has no row.")
    found = summarise(rows)
    print(json.dumps(found["overall"], indent=1), json.dumps(found["wanted"]))
    kind = "_quick" if args.quick else ""
    out = args.out or Path(__file__).resolve().parent / "results" / f"conformal{kind}.json"
    write_json(out, {"provenance": facts, "coverage": COVERAGE, **found})


if __name__ == "__main__":
    main()
