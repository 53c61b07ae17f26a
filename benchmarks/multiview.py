"""Claim: on multi-view data an ensemble, and one network taught by it, err far less than one.

    python benchmarks/multiview.py              # twenty seeds of data and networks; resumable
    python benchmarks/multiview.py --setting pushed  # closer to the theorem
    python benchmarks/multiview.py --quick      # does it run at all?
    python benchmarks/multiview.py --push       # the search the setting comes from
    python benchmarks/multiview.py --truncated  # distillation as published, is it stable?

The theorems of Allen-Zhu and Li (2023) at a finite size: ten classes, 500 rows, `MultiViewNet`,
gradient descent on full batches. Networks; their mean of logits; the mean trained as one, at as
many times the rate; the sum of logits trained as one, at the rate of one network; students of the
ensemble and of one network (as many of each as `--students`). Errors are over mu, the share
of rows with a single view. The theorems say 0.5 for one network, at most 0.01 (in section 4 at most
0.001) for the ensemble and its student, at most 0.26 for self-distillation. Their premise is that
every network has learned its training rows: those that have not are counted.

Wanted, in units of mu: single in [0.3, 0.55], ensemble below 0.1, distilled below 0.15,
self-distilled below single; no training errors of members and students; twelve networks in 20 s
of a core; and the theorems' own numbers. Pushed: single in [0.45, 0.55], distilled at most 0.03,
self-distilled at most 0.3. `_multiview_search.py` says how the setting was found; none of the seeds
reported here were looked at for it.

``--truncated`` trains students of one ensemble by eq. 4.3, ``CE + beta * step``, one-sided as
published and two-sided, for some weights and learning rates.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _bench import print_machine, provenance, write_json
from _multiview import DEFAULT, Draw, Experiment, Row, Teaching, describe, measure
from _multiview_search import PUSHED, SEEDS, Search
from sklearn.frozen import FrozenEstimator

from skensemble import DistilledClassifier, MemberDivergedError
from skensemble.objectives import TruncatedTerm

PACKAGES = ("torch", "numpy", "scikit-learn", "skorch", "skensemble")
HERE = Path(__file__).resolve().parent / "results"
EXPERIMENTS = {"default": DEFAULT, "pushed": PUSHED}
WANTED: dict[str, Callable[[Row], bool]] = {
    "single in [0.3, 0.55]": lambda row: 0.3 <= row["single"] <= 0.55,
    "ensemble < 0.1": lambda row: row["ensemble"] < 0.1,
    "distilled < 0.15": lambda row: row["distilled"] < 0.15,
    "self-distilled < single": lambda row: row["self-distilled"] < row["single"],
    "no member with training errors": lambda row: row["members with training errors"] == 0,
    "no student with training errors": lambda row: row["students with training errors"] == 0,
    "12 networks in 20 s of a core": lambda row: row["cpu seconds"] * 12 / row["members"] <= 20,
    "theory: single in [0.49, 0.51]": lambda row: 0.49 <= row["single"] <= 0.51,
    "theory: ensemble <= 0.01": lambda row: row["ensemble"] <= 0.01,
    "theory, section 4: ensemble <= 0.001": lambda row: row["ensemble"] <= 0.001,
    "theory: distilled <= 0.01": lambda row: row["distilled"] <= 0.01,
    "theory, section 4: distilled <= 0.001": lambda row: row["distilled"] <= 0.001,
    "theory: self-distilled <= 0.26": lambda row: row["self-distilled"] <= 0.26,
    "pushed: single in [0.45, 0.55]": lambda row: 0.45 <= row["single"] <= 0.55,
    "pushed: distilled <= 0.03": lambda row: row["distilled"] <= 0.03,
    "pushed: self-distilled <= 0.3": lambda row: row["self-distilled"] <= 0.3,
}


def theorem(args: argparse.Namespace, facts: dict[str, Any]) -> None:
    """Run all seeds, but those that the file holds for the same setting."""
    experiment, students, seeds = EXPERIMENTS[args.setting], args.students, range(args.seeds)
    if args.quick:
        short, students, seeds = Teaching(8.0, 100.0, 1.0, 8), 1, range(1)
        experiment = Experiment(replace(experiment.setting, n_steps=6), short, short, 2)
    described = describe(experiment, students)
    old = json.loads(args.out.read_text()) if args.out.exists() else {}
    rows: dict[str, Row] = old["rows"] if old.get("setting") == described else {}
    for seed in seeds:
        if str(seed) not in rows:
            rows[str(seed)] = measure(seed, experiment, students)
        print(f"seed {seed}: " + ", ".join(f"{k} {v:.3f}" for k, v in rows[str(seed)].items()))
        met = {name: sum(map(holds, rows.values())) for name, holds in WANTED.items()}
        found = {"provenance": facts, "setting": described, "rows": rows, "wanted": met}
        write_json(args.out, found)
    print(f"\n{'error over mu':<34}{'mean':>9}{'sd':>9}")
    for name in rows["0"]:
        values = [row[name] for row in rows.values()]
        sd = statistics.stdev(values) if len(values) > 1 else float("nan")
        print(f"{name:<34}{statistics.fmean(values):>9.3f}{sd:>9.3f}")
    for name, count in met.items():
        print(f"{name:<38}{count} of {len(rows)} seeds")


def truncated(args: argparse.Namespace, facts: dict[str, Any]) -> None:
    """Distil as published, and see what becomes of the student."""
    experiment = EXPERIMENTS[args.setting]
    setting = experiment.setting
    draw = Draw(setting, SEEDS[0], 3000)
    teacher = FrozenEstimator(draw.ensemble(2 if args.quick else experiment.n_members, SEEDS[0]))
    rows: list[dict[str, Any]] = []
    ways = [(side, beta) for side in (True, False) for beta in (10.0, 100.0)]
    for side, beta in ways[:1] if args.quick else ways:
        for step in (5.0, 50.0, 500.0):  # of both parts together; beta to one is the teacher's
            lr, n_steps = step / (1 + beta), 10 if args.quick else 300
            row: dict[str, Any] = {"one_sided": side, "beta": beta, "lr": lr, "steps": n_steps}
            student = DistilledClassifier(
                teacher,
                draw.net(lr, n_steps),
                objective=TruncatedTerm(one_sided=side, weight=beta),
                random_state=0,
            )
            try:
                student.fit(draw.X, draw.y)
            except MemberDivergedError:
                row["diverged"] = True
            else:
                with torch.no_grad():
                    logits = student.module_(torch.from_numpy(draw.X))
                row |= {"train": draw.training_errors(student), "error": draw.error(student)}
                row["mean logit"] = float(logits.mean())
            rows.append(row)
            print("  ".join(f"{k} {v}" for k, v in row.items()), flush=True)
            write_json(args.out, {"provenance": facts, "setting": repr(setting), "rows": rows})


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--setting", choices=list(EXPERIMENTS), default="default")
    parser.add_argument("--students", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--push", action="store_true")
    parser.add_argument("--truncated", action="store_true")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    kind = "_push" if args.push else "_truncated" if args.truncated else ""
    kind += "_pushed" if args.setting == "pushed" and not args.push else ""
    args.out = args.out or HERE / f"multiview{kind}{'_quick' if args.quick else ''}.json"
    facts = provenance(__file__, PACKAGES)
    print_machine(facts)
    if args.push:
        Search(args.out, facts).run()
    else:
        (truncated if args.truncated else theorem)(args, facts)


if __name__ == "__main__":
    main()
