"""Push: a finite setting closer to the theorem, searched for on seeds of its own.

The theorem says 0.5 mu for one network, at most 0.01 mu for ensemble and student, at most 0.26 mu
for self-distillation. Wanted here: a single network within [0.45, 0.55] mu, the ensemble below 0.1,
its student at most 0.03, self-distillation at most 0.3. All that is looked at are draws of
seeds 900 and above, training and new rows; those of the seeds that are reported are never drawn.

What drives the numbers, and so what is varied:

- A single network errs on half of the single-view rows if it learns one view of each class. It
  learns both where its filters start almost equally close to both, or where what is left of the
  gradient after the first view is learned lifts the second: the range of own strengths, the
  exponent q, the size of initial weights, the number of steps.
- No linear classifier should learn the data: ``feature_noise="balanced"``. Its negative part drives
  filters of unlucky classes to zero, unless there are more of them, or less background.
- A student has to learn from weak features of other classes in its rows what its teacher makes of
  them: temperature, weight, steps; and it keeps its own first view only if it learns from labels
  meanwhile.

Stages, each on one draw; candidates are tried in the order they stand in:

1. Networks. A few of each candidate of `NETWORKS`. Those in which every network has at most 0.4 %
   training errors, and rows with both views cost at most 0.05 mu, are in; of them the one whose
   mean error is closest to 0.5 mu is taken, those whose data no linear classifier learns first
   if one of them is within [0.45, 0.55].
2. Ensemble: 12 members.
3. Students of the ensemble: two of each candidate of `STUDENTS`; of those without training errors
   the one with the least error, the earlier where they are equal.
4. Students of one network, two of each candidate of `SELF_STUDENTS`; the same rule.

The first list had the first three networks, "balanced" ones, fewer rows and fewer steps. After
those three it was replaced, on what three networks of the second show: they had learned both
views of a class in 0 of 14 cases where no training row showed the weaker view alone, in 1 of 5
where one did, in 4 of 11 where two did. Hence a smaller mu, which is what all errors are divided
by; and stronger features of other classes, so that a trace of the second view does not pass
for one.

The search missed. What the rule of stage 1 took (0.49 mu there, four networks) has 1.16 mu on the
next draw, nearly all of it rows with both views, whose errors a small mu multiplies by 99; its
ensemble has 0.12 mu, the best student 0.10, self-distillation 0.42. Rows of stage 1 are of three
or four networks each, as the file says; the file was put together from several calls, not from one
of ``--push`` from end to end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _bench import write_json
from _multiview import Draw, Experiment, Setting, Teaching

SEED = 900
N_NEW = 3000

_NARROW = {"own": (1.0, 1.5)}
_BALANCED = {"feature_noise": "balanced", "n_patches": 10}
_QUIET = {"background": 1.4}
_LOUD = {"others": (0.3, 0.5), "single_others": (0.3, 0.5)}
NETWORKS: dict[str, Setting] = {
    "default": Setting(),
    "own 1-1.5": Setting(_NARROW),
    "own 1-1.5, q 5, std .1": Setting(_NARROW, {"power": 5.0, "init_std": 0.1}),
    "balanced, own 1-1.5, 12 filters": Setting({**_BALANCED, **_NARROW}, {"n_filters": 12}),
    "balanced, own 1-1.5, background 1.4, 12 filters": Setting(
        {**_BALANCED, **_NARROW, **_QUIET}, {"n_filters": 12}
    ),
    "balanced, own 1.5-2, 8 filters": Setting({**_BALANCED, "own": (1.5, 2.0)}, {"n_filters": 8}),
    "balanced, own 1-1.5, background 1.4, others .3-.5, 8 filters": Setting(
        {**_BALANCED, **_NARROW, **_QUIET, **_LOUD}, {"n_filters": 8}
    ),
    "balanced, own 1-1.5, background 1.4, others .3-.5, 12 filters": Setting(
        {**_BALANCED, **_NARROW, **_QUIET, **_LOUD}, {"n_filters": 12}
    ),
    "balanced, own 1-1.5, background 1.4, others .3-.5, 8 filters, mu .01": Setting(
        {**_BALANCED, **_NARROW, **_QUIET, **_LOUD}, {"n_filters": 8}, mu=0.01
    ),
    "balanced, 8 patches, s 2, own 1-1.5, background 1.4, others .3-.5, 8 filters, mu .01": Setting(
        {**_BALANCED, "n_patches": 8, "n_others": 2, **_NARROW, **_QUIET, **_LOUD},
        {"n_filters": 8},
        mu=0.01,
    ),
    "balanced, own 1-1.5, background 1.4, others .3-.5, 12 filters, mu .01": Setting(
        {**_BALANCED, **_NARROW, **_QUIET, **_LOUD}, {"n_filters": 12}, mu=0.01
    ),
    "own 1-1.5, others .3-.5, mu .01": Setting({**_NARROW, **_LOUD}, mu=0.01),
    "own 1-1.5, others .3-.5, mu .01, std .03, lr 10": Setting(
        {**_NARROW, **_LOUD}, {"init_std": 0.03}, mu=0.01, lr=10.0
    ),
}
STUDENTS: list[Teaching] = [
    Teaching(8.0, 100.0, 1.0, 400),
    Teaching(8.0, 200.0, 1.0, 400),
    Teaching(4.0, 100.0, 1.0, 400),
    Teaching(16.0, 200.0, 1.0, 400),
]
SELF_STUDENTS: list[Teaching] = [
    Teaching(5.0, 30.0, 1.0, 300),
    Teaching(5.0, 100.0, 1.0, 400),
    Teaching(5.0, 10.0, 1.5, 300),
    Teaching(8.0, 100.0, 1.0, 400),
]


# What the rules took.
PUSHED = Experiment(
    NETWORKS["own 1-1.5, others .3-.5, mu .01"],
    Teaching(16.0, 200.0, 1.0, 400),
    Teaching(5.0, 30.0, 1.0, 300),
)


def try_network(setting: Setting) -> dict[str, Any]:
    """Measure a few networks of a setting."""
    draw = Draw(setting, SEED, N_NEW)
    ensemble = draw.ensemble(4, SEED)
    both = [1 - float(one.score(*draw.new[0])) for one in ensemble]
    return {
        "single": draw.errors(ensemble),
        "both views": (1 - setting.mu) / setting.mu * sum(both) / len(both),
        "ensemble": draw.error(ensemble),
        "training errors": [draw.training_errors(one) for one in ensemble],
    }


def choose_network(found: dict[str, dict[str, Any]]) -> str | None:
    """Apply the rule of stage 1."""
    fit = {
        name: abs(row["single"] - 0.5)
        for name, row in found.items()
        if max(row["training errors"]) <= 0.004 * NETWORKS[name].n_rows
        and row["both views"] <= 0.05
    }
    hidden = {
        name: gap
        for name, gap in fit.items()
        if "feature_noise" in NETWORKS[name].data and gap <= 0.05
    }
    pool = hidden or fit
    return min(pool, key=pool.__getitem__) if pool else None


class Search:
    """Stages that remember in a file what was measured already."""

    def __init__(self, out: Path, facts: dict[str, Any]) -> None:
        self.out = out
        self.found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
        self.found["provenance"] = facts

    def measure(self, stage: str, name: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what is known, or measure it and write it down."""
        rows = self.found.setdefault(stage, {})
        if name not in rows:
            start = time.perf_counter()
            rows[name] = {**run(), "seconds": time.perf_counter() - start}
            write_json(self.out, self.found)
            print(f"{stage}: {name}: {rows[name]}", flush=True)
        return rows[name]

    def students(self, stage: str, draw: Draw, teacher: Any, ways: list[Teaching]) -> Teaching:
        """Apply the rule of stages 3 and 4."""

        def run(how: Teaching) -> dict[str, Any]:
            student = draw.student(teacher, how, SEED + 50, 2)
            wrong = [draw.training_errors(one) for one in student.estimators_]
            return {"error": draw.errors(student.estimators_), "training errors": sum(wrong)}

        rows = {how: self.measure(stage, str(how), lambda how=how: run(how)) for how in ways}
        clean = {how: row for how, row in rows.items() if not row["training errors"]} or rows
        return min(clean, key=lambda how: float(clean[how]["error"]))

    def run(self) -> None:
        """Go through all stages."""
        rows = {
            name: self.measure("networks", name, lambda setting=setting: try_network(setting))
            for name, setting in NETWORKS.items()
        }
        chosen = choose_network(rows)
        if chosen is None:
            raise SystemExit("No candidate of stage 1 fits its training rows.")
        draw = Draw(NETWORKS[chosen], SEED + 1, N_NEW)
        ensemble = draw.ensemble(12, SEED + 1)
        seen = {"single": draw.errors(ensemble), "ensemble": draw.error(ensemble)}
        best = self.students("students", draw, ensemble, STUDENTS)
        mine = self.students("self-students", draw, ensemble[0], SELF_STUDENTS)
        self.found["chosen"] = {
            "network": chosen, **seen, "student": str(best), "self-student": str(mine),
        }  # fmt: skip
        write_json(self.out, self.found)
        print(self.found["chosen"], flush=True)
