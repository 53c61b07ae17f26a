"""Peer of retention.py: what AutoGluon's ``distill`` makes of its own ensemble.

    python3 -m venv AG && AG/bin/pip install "autogluon.tabular[lightgbm]"
    AG/bin/python benchmarks/autogluon_distillation.py --data TABLES --work ag.jsonl

In an environment of its own, since it pins versions. Tables, splits and rows are those of
retention.py (`_tables.py`). Its teacher is all it trains within `--seconds`, stacked by
weights; its student is the distilled model that it finds best on its own held-out rows, a
boosting or a forest: without torch it has no network. Beside it stands the same kind of
model trained on labels, so that a share of the gain can be told.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from _tables import load_table, outer_split
from sklearn.metrics import log_loss

TABLES = (
    "pima-indians-diabetes", "german", "heart.c", "credit.a", "vehicle", "segment", "cmc", "car",
)  # fmt: skip
# What it trains on labels, and distils.
MODELS: dict[str, Any] = {"GBM": {}, "RF": {}, "XT": {}}
STUDENTS: dict[str, Any] = {"GBM": {}, "RF": {}}


def run(name: str, seed: int, folders: list[Path], seconds: float) -> dict[str, Any]:
    """Train, distil, and measure one table."""
    from autogluon.tabular import TabularPredictor

    table = load_table(name, folders, 5000)
    train, test = outer_split(table.y, seed)
    rows = table.X.assign(label=table.y.astype(str))
    fit, judge = rows.iloc[train].reset_index(drop=True), rows.iloc[test].reset_index(drop=True)
    judge = judge[judge["label"].isin(set(fit["label"]))]
    folder = tempfile.mkdtemp()
    start = time.process_time()
    try:
        predictor = TabularPredictor("label", eval_metric="log_loss", path=folder, verbosity=0)
        predictor.fit(fit, hyperparameters=MODELS, time_limit=seconds, num_cpus=1)
        teacher = predictor.model_best
        fitted = time.process_time()
        names = predictor.distill(time_limit=seconds, hyperparameters=STUDENTS, verbosity=0)
        names = [one for one in names if not one.startswith("WeightedEnsemble")]
        board = predictor.leaderboard().set_index("model")
        student = board.loc[names, "score_val"].idxmax()
        plain = "LightGBM" if "LightGBM" in student else "RandomForest"
        beside = [one for one in predictor.model_names() if one == plain] or [
            one for one in predictor.model_names() if one.startswith(plain) and "DSTL" not in one
        ]
        losses = {
            kind: _loss(predictor, one, judge)
            for kind, one in (("teacher", teacher), ("student", student), ("plain", beside[0]))
        }
    finally:
        shutil.rmtree(folder)
    return {
        "table": name, "seed": seed, "models": [teacher, student, beside[0]], **losses,
        "fit_seconds": fitted - start, "distil_seconds": time.process_time() - fitted,
    }  # fmt: skip


def _loss(predictor: Any, model: str, rows: Any) -> float:
    proba = predictor.predict_proba(rows.drop(columns="label"), model=model)
    if not hasattr(proba, "columns"):
        raise TypeError(f"AutoGluon must return a frame of probabilities. Got {type(proba)}.")
    values = np.clip(proba.to_numpy(float), 1e-7, 1)
    values /= values.sum(1, keepdims=True)
    return float(log_loss(rows["label"], values, labels=list(proba.columns)))


def main() -> None:
    """Run what is missing, and print a line a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--tables", nargs="*", default=list(TABLES))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="for each of both")
    parser.add_argument("--work", type=Path, default=Path("autogluon.jsonl"))
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    lines = args.work.read_text().splitlines() if args.work.exists() else []
    done = {(one["table"], one["seed"]) for one in map(json.loads, lines)}
    for seed in args.seeds:
        for name in args.tables:
            if (name, seed) in done:
                continue
            record = run(name, seed, args.data, args.seconds)
            with args.work.open("a") as file:
                file.write(json.dumps(record) + "\n")
            print(
                f"{name:<24}{seed} plain {record['plain']:.3f} teacher {record['teacher']:.3f} -> "
                f"{record['student']:.3f} ({record['models'][1]})",
                flush=True,
            )


if __name__ == "__main__":
    main()
