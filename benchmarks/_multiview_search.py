"""Push: a finite setting closer to the theorem, searched for on seeds of its own.

The theorem says 0.5 mu for one network, at most 0.01 mu for ensemble and student, at most 0.26 mu
for self-distillation. Wanted here: a single network within [0.45, 0.55] mu, the ensemble below 0.1,
its student at most 0.03, self-distillation at most 0.3. All that is looked at are draws of
seeds 900 and above, training and new rows; those of the seeds that are reported are never drawn.

What seems to drive the numbers, by trials on draws 950 to 963 of which no file is kept:

- A single network errs on half of the single-view rows if it learns one view of each class; with
  the default setting it learns both of 16 % of the classes. That share does not depend on how many
  rows show a single view (none at all: 16 %), nor on the size of the initial weights. It falls
  with the bend of the smoothed ReLU, to 8 % at a bend of 2 and 4 % at 4: behind the bend the first
  view grows on at full slope until rows fit, and drags a second view along that has come halfway.
  And it falls with the dimension, 16 to 10 % from 160 to 320: noise that is learned by heart
  has a component along every view.
- Stronger features of other classes, 0.3 to 0.5, make rows fail whose own view is not learned.
- A student gets stuck at views to which none of its filters starts close, since growth goes with
  the third power: more filters help, 12 for 6, and more steps. With few rows it learns by heart
  what its teacher says; 500 rows are better than 300. But more filters also lead to more classes
  of which a network learns both views.
- Larger rates of distillation fail; which rate is too large depends on the bend.

Stages; candidates are tried in the order they stand in, each on two draws:

1. Networks: 12 of each candidate of `NETWORKS`. Those whose ensembles have no training errors,
   whose rows with both views cost a network at most 0.05 mu, and whose mean error is at least
   0.42 mu, are in.
2. Students of the ensembles: two of each candidate and draw, by `STUDENT`. The candidate with the
   least mean error is taken, the earlier where they are equal.
3. Students of one network: two of each candidate of `SELF_STUDENTS` and draw; the same rule.

`STUDENT` has a rate that had worked at a bend of 8 and is too large at 4, so stage 2 is not fair to
candidates of an earlier bend (``docs/guide/theory.md`` has what one of them reaches at 2).
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _bench import write_json
from _multiview import Draw, Experiment, Setting, Teaching

SEEDS = (900, 901)
N_NEW = 3000

_LOUD = {"others": (0.3, 0.5), "single_others": (0.3, 0.5)}
_LOUDER = {"others": (0.3, 0.5), "single_others": (0.4, 0.6)}
NETWORKS: dict[str, Setting] = {
    "default": Setting(lr=15.0, n_steps=100),
    "bend 4": Setting({}, {"bend": 4.0, "init_std": 0.2}, lr=30.0, n_steps=150),
    "bend 4, others .3-.5, 240 numbers, 8 filters, 300 rows, mu .02": Setting(
        {**_LOUD, "patch_dim": 240}, {"bend": 4.0, "init_std": 0.2, "n_filters": 8},
        n_rows=300, mu=0.02, lr=30.0, n_steps=150,
    ),
    "bend 4, others .3-.5, 240 numbers, 12 filters, 400 rows, mu .02": Setting(
        {**_LOUD, "patch_dim": 240}, {"bend": 4.0, "init_std": 0.2, "n_filters": 12},
        n_rows=400, mu=0.02, lr=30.0, n_steps=200,
    ),
    "bend 6, single others .4-.6, 240 numbers, 10 filters, 300 rows, mu .02": Setting(
        {**_LOUDER, "patch_dim": 240}, {"bend": 6.0, "init_std": 0.3, "n_filters": 10},
        n_rows=300, mu=0.02, lr=45.0, n_steps=150,
    ),
    "bend 8, others .3-.5, 240 numbers, 12 filters, 500 rows, mu .016": Setting(
        {**_LOUD, "patch_dim": 240}, {"bend": 8.0, "init_std": 0.4, "n_filters": 12},
        n_rows=500, mu=0.016, lr=60.0, n_steps=200,
    ),
}  # fmt: skip
STUDENT = Teaching(4.0, 30.0, 3.0, 2000)
SELF_STUDENTS: list[Teaching] = [Teaching(4.0, 10.0, 10.0, 3000), Teaching(4.0, 5.0, 20.0, 3000)]

# What the rules took.
PUSHED = Experiment(
    NETWORKS["bend 8, others .3-.5, 240 numbers, 12 filters, 500 rows, mu .016"],
    STUDENT,
    SELF_STUDENTS[1],
)


class Search:
    """Stages that remember in a file what was measured already."""

    def __init__(self, out: Path, facts: dict[str, Any]) -> None:
        self.out = out
        self.found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
        self.found["provenance"] = facts
        self._trained: dict[tuple[str, int], tuple[Draw, Any]] = {}

    def ensemble(self, name: str, seed: int) -> tuple[Draw, Any]:
        """Return a draw and its ensemble, trained once."""
        if (name, seed) not in self._trained:
            draw = Draw(NETWORKS[name], seed, N_NEW)
            self._trained[name, seed] = draw, draw.ensemble(12, seed)
        return self._trained[name, seed]

    def measure(
        self, stage: str, name: str, run: Callable[[int], dict[str, float]]
    ) -> list[dict[str, float]]:
        """Return what is known, or measure it on every draw and write it down."""
        rows = self.found.setdefault(stage, {}).setdefault(name, {})
        for seed in SEEDS:
            if str(seed) not in rows:
                start = time.perf_counter()
                rows[str(seed)] = {**run(seed), "seconds": time.perf_counter() - start}
                write_json(self.out, self.found)
                print(f"{stage}: {name}: {rows[str(seed)]}", flush=True)
        return list(rows.values())

    def network(self, name: str, seed: int) -> dict[str, float]:
        """Measure networks of a setting."""
        draw, ensemble = self.ensemble(name, seed)
        mu = NETWORKS[name].mu
        both = statistics.fmean(1 - float(one.score(*draw.new[0])) for one in ensemble)
        return {
            "single": draw.errors(ensemble),
            "both views": (1 - mu) / mu * both,
            "ensemble": draw.error(ensemble),
            "training errors": draw.training_errors(ensemble),
        }

    def student(self, name: str, how: Teaching, seed: int, *, own: bool) -> dict[str, float]:
        """Measure students of a setting's ensemble, or of its first network."""
        draw, ensemble = self.ensemble(name, seed)
        student = draw.student(ensemble[0] if own else ensemble, how, seed + 50, 2)
        wrong = sum(draw.training_errors(one) for one in student.estimators_)
        return {"error": draw.errors(student.estimators_), "training errors": wrong}

    def run(self) -> None:
        """Go through all stages."""
        mean: dict[str, float] = {}
        for name in NETWORKS:
            rows = self.measure("networks", name, lambda seed, name=name: self.network(name, seed))
            if (
                not any(row["training errors"] for row in rows)
                and statistics.fmean(row["both views"] for row in rows) <= 0.05
                and statistics.fmean(row["single"] for row in rows) >= 0.42
            ):
                rows = self.measure(
                    "students", name,
                    lambda seed, name=name: self.student(name, STUDENT, seed, own=False),
                )  # fmt: skip
                mean[name] = statistics.fmean(row["error"] for row in rows)
            for seed in SEEDS:
                self._trained.pop((name, seed), None)
        if not mean:
            raise SystemExit("No candidate of stage 1 is in.")
        best = min(mean, key=mean.__getitem__)
        selfs = {
            str(how): statistics.fmean(
                row["error"]
                for row in self.measure(
                    "self-students", str(how),
                    lambda seed, how=how: self.student(best, how, seed, own=True),
                )
            )
            for how in SELF_STUDENTS
        }  # fmt: skip
        mine = min(selfs, key=selfs.__getitem__)
        self.found["chosen"] = {"network": best, "student": str(STUDENT), "self-student": mine}
        write_json(self.out, self.found)
        print(self.found["chosen"], flush=True)
