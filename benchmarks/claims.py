"""The messages of the papers as hypotheses, each with its test, written before it is run.

    python benchmarks/claims.py --data cifar10.npz --jobs 2  # preset cpu, two seeds at a time
    python benchmarks/claims.py --data cifar10.npz --report  # the table of what is there
    python benchmarks/claims.py --preset quick               # does it run at all?

`CLAIMS` is the table: a statement, its source, and one or more effects. An effect is a sum of
measured columns with weights, and must lie on one side of a threshold. Every seed draws
training rows and networks anew; an effect is computed within a seed, so comparisons are
paired, and gets a t interval (95 %) over seeds. The verdict:

holds              the interval of every effect is on the right side;
holds in part      some mean is on the right side;
does not at this scale   no mean is.

Twenty and more claims are tested and the intervals are not corrected for that. Columns are
test accuracies in per cent but where said otherwise. Test rows choose nothing; the weight
decay of the Gaussian claim is chosen by single networks on validation rows.

Workloads. *images*: 2,500 images of CIFAR-10 (`--data`, see `_images.py`), pooled to 16 x 16, a
ResNet-8 of width 16, 12 epochs; one ensemble of four is the teacher of all students of a seed, and
its first member is the network whose channels are split. Two members are pruned and trained on for
half as many epochs at a fifth of the learning rate. *views*: multi-view data, the
network and gradient descent of `multiview.py`. *ntk*, *gp*: kernels of a small convolutional
network on 300 digits. *linear*, *fc2*: Gaussian rows with these labellers. Distillation is at T = 4
and alpha = 0.9, but for views, where it is as `multiview.py` says; nothing was tuned here.

Every (workload, seed) is written to `--work` and not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from _bench import print_machine, provenance, write_json
from _workloads import WORKLOADS, Preset, Row, Task
from joblib import Parallel, delayed
from scipy import stats

PACKAGES = ("torch", "numpy", "scikit-learn", "skorch", "scipy", "skensemble")
VIEWS = "Allen-Zhu and Li 2023"
ORTHOGONAL = "Park, Yoo and Kwak 2020"


# -- the table -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Effect:
    """A sum of columns that must be above (or below) a threshold."""

    what: str
    weights: dict[str, float]
    threshold: float = 0.0
    side: str = "above"


@dataclass(frozen=True)
class Claim:
    """A message of a paper, where it is looked for, and what must come out."""

    name: str
    statement: str
    source: str
    workload: str
    effects: tuple[Effect, ...]


PRESETS = {
    "cpu": Preset({"images": 5, "views": 5, "ntk": 10, "gp": 10, "linear": 6, "fc2": 6}),
    "quick": Preset(
        dict.fromkeys(("images", "views", "ntk", "gp", "linear", "fc2"), 2),
        members=2, students=2, n_images=120, n_test=100, epochs=1, steps=0.02, n_kernel=60,
        draws=2, n_rows=100, row_members=2, row_epochs=2,
    ),
}  # fmt: skip

# Column minus single, less a share of what the ensemble gains: its sign says whether a method
# reaches that share, and no ratio with a noisy denominator is needed.


def beyond(column: str, share: float) -> dict[str, float]:
    """Return the weights of ``(column - single) - share * (ensemble - single)``."""
    return {column: 1.0, "single": share - 1.0, "ensemble": -share}


_HALF = "less half of the ensemble's gain"
_MESSAGES = (
    ("ensemble", "An ensemble beats its members",
     (Effect("ensemble - single", {"ensemble": 1, "single": -1}),)),
    ("sum", "Training the sum of the networks does not: it has less than half of that gain",
     (Effect(f"sum - single, {_HALF}", beyond("sum", 0.5), 0.0, "below"),)),
    ("distillation", "One network taught by the ensemble recovers more than half of its gain",
     (Effect(f"distilled - single, {_HALF}", beyond("distilled", 0.5)),)),
    ("self-distillation", "A network taught by one of its own kind is better than that one",
     (Effect("self-distilled - single", {"self-distilled": 1, "single": -1}),)),
    ("variance", "The gain is not from the variance of single networks: the ensemble beats even "
     "the member that happens to be best on the test rows, and members vary by less than half of "
     "the gain",
     (Effect("ensemble - luckiest member", {"ensemble": 1, "luckiest": -1}),
      Effect(f"sd of members, {_HALF}", {"sd": 1, "ensemble": -0.5, "single": 0.5},
             0.0, "below"))),
    ("distilled-ensemble", "An ensemble of distilled networks adds little: less than half of what "
     "an ensemble of as many plain ones adds",
     (Effect("gain of students, less half of that of as many members",
             {"students": 1, "distilled": -1, "few": -0.5, "single": 0.5}, 0.0, "below"),)),
)  # fmt: skip
_KERNELS = (
    ("kernel-ensemble", "Message 1, kernels: the ensemble and the trained sum beat single kernels",
     (Effect("ensemble - single", {"ensemble": 1, "single": -1}),
      Effect("sum - single", {"sum": 1, "single": -1}))),
    ("kernel-sum", "Message 2, kernels: the trained sum is as good as the ensemble or better "
     "(margin 0.5 points)",
     (Effect("sum - ensemble", {"sum": 1, "ensemble": -1}, -0.5),)),
    ("kernel-distillation", "Message 3, kernels: neither distillation nor self-distillation adds "
     "more than a quarter of the ensemble's gain",
     (Effect("distilled - single, less a quarter of the ensemble's gain",
             beyond("distilled", 0.25), 0.0, "below"),
      Effect("self-distilled - single, less a quarter of the ensemble's gain",
             beyond("self-distilled", 0.25), 0.0, "below"))),
)  # fmt: skip
CLAIMS = (
    *(Claim(f"{name} ({data})", says, VIEWS, data, effects)
      for data in ("images", "views") for name, says, effects in _MESSAGES),
    *(Claim(f"{name} ({data})", says, VIEWS, data, effects)
      for data in ("ntk", "gp") for name, says, effects in _KERNELS),
    *(Claim(f"gaussian ({data})", "On Gaussian-like data an ensemble gains less than a point over "
            "single networks whose weight decay was chosen on validation rows", VIEWS, data,
            (Effect("ensemble - single", {"ensemble": 1, "single": -1}, 1.0, "below"),))
      for data in ("linear", "fc2")),
    Claim("channel-split", "Given a quarter of another network's channels a single network loses; "
          "an ensemble over the quarters loses less than half as much", VIEWS, "images",
          (Effect("single: original - split", {"single, original": 1, "single, split": -1}),
           Effect("ensemble: original - split, less half of that",
                  {"ensemble, original": 1, "ensemble, split": -1,
                   "single, original": -0.5, "single, split": 0.5}, 0.0, "below"))),
    Claim("diversity of inputs", "Distillation raises the NASWOT score: a network answers "
          "different inputs with more different gradients", ORTHOGONAL, "images",
          (Effect("NASWOT: distilled - single (score)",
                  {"naswot, distilled": 1, "naswot, single": -1}),)),
    Claim("diversity of members", "Distilled networks of different seeds differ more in their "
          "outputs than plain ones", ORTHOGONAL, "images",
          (Effect("pairwise KL: students - members (nats)",
                  {"kl, students": 1, "kl, members": -1}),)),
    Claim("surplus of pruning", "Distillation gives a network that is pruned to half of its inner "
          "channels (l1-filter) more than it gives the unpruned one", ORTHOGONAL, "images",
          (Effect("(self-distilled - finetuned) - (unpruned distilled - unpruned)",
                  {"pruned, self-distilled": 1, "pruned, finetuned": -1,
                   "unpruned, distilled": -1, "unpruned": 1}),)),
)  # fmt: skip

# -- running and judging -------------------------------------------------------------------


def run_part(name: str, part: str, task: Task, report: bool) -> Row | None:
    """Run a part of a workload, or read what an earlier run with these sizes wrote."""
    path = task.folder / f"{name}-{part}-{task.seed}.json"
    if path.exists():
        return json.loads(path.read_text())
    if report:
        return None
    start, cpu = time.perf_counter(), time.process_time()
    row = WORKLOADS[name][part](task)
    row |= {f"seconds, {part}": time.perf_counter() - start,
            f"cpu seconds, {part}": time.process_time() - cpu}  # fmt: skip
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(row))
    draft.replace(path)
    shown = ", ".join(f"{key} {value:.2f}" for key, value in row.items())
    print(f"seed {task.seed}  {name:<7}{part:<10}{shown}", flush=True)
    return row


def run_seed(task: Task, report: bool, n_threads: int | None = None) -> dict[str, Row]:
    """Run what is missing of a seed; return the workloads that are complete."""
    if n_threads is not None:
        torch.set_num_threads(n_threads)
    rows = {}
    for name, parts in WORKLOADS.items():
        if task.seed < task.preset.seeds[name]:
            found = [run_part(name, part, task, report) for part in parts]
            if all(row is not None for row in found):
                rows[name] = {k: v for row in found for k, v in (row or {}).items()}
    return rows


def run(
    preset: Preset, folder: Path, data: Path | None, report: bool, jobs: int = 1
) -> dict[str, list[Row]]:
    """Run what is missing, `jobs` seeds at a time; return complete seeds of each workload."""
    tasks = [Task(preset, seed, folder, data) for seed in range(max(preset.seeds.values()))]
    n_threads = None if jobs == 1 else max(1, (os.cpu_count() or 1) // jobs)
    done = Parallel(n_jobs=jobs)(delayed(run_seed)(task, report, n_threads) for task in tasks)
    return {name: [rows[name] for rows in done if name in rows] for name in WORKLOADS}


def check_sizes(path: Path, preset: Preset) -> bool:
    """Tell whether what is in a folder was run with these sizes; seeds may be added."""
    sizes = asdict(preset) | {"seeds": None}
    if path.exists():
        return sizes == json.loads(path.read_text()) | {"seeds": None}
    path.write_text(json.dumps(sizes))
    return True


def judge_effect(effect: Effect, rows: list[Row]) -> dict[str, Any]:
    """Return mean, interval and 2 (interval on the right side), 1 (mean is) or 0."""
    values = [sum(w * row[column] for column, w in effect.weights.items()) for row in rows]
    mean = statistics.fmean(values) if values else math.nan
    half = math.nan
    if len(values) > 1:
        half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    sign = 1.0 if effect.side == "above" else -1.0
    beyond_by = sign * (mean - effect.threshold)
    level = 2 if beyond_by > half else 1 if beyond_by > 0 else 0
    return asdict(effect) | {"values": values, "mean": mean, "half_width": half, "level": level}


def verdict(levels: list[int]) -> str:
    """Say what effects say of their claim."""
    if min(levels) == 2:
        return "holds"
    return "holds in part" if max(levels) > 0 else "does not at this scale"


def judge(rows: dict[str, list[Row]]) -> list[dict[str, Any]]:
    """Print the table and return it."""
    found = []
    for name, mine in rows.items():
        if not mine:
            continue
        print(f"\n{name}, {len(mine)} seeds: mean and sd over them")
        for column in (key for key in mine[0] if "seconds" not in key):
            values = [row[column] for row in mine]
            sd = statistics.stdev(values) if len(values) > 1 else math.nan
            print(f"  {column:<22}{statistics.fmean(values):>10.3f}{sd:>9.3f}")
    print(f"\n{'claim':<32}{'n':>3}  {'effect':<64}{'mean':>8} ± {'95 %':<7}{'wanted':>9}")
    for claim in CLAIMS:
        mine = rows[claim.workload]
        if not mine:
            print(f"{claim.name:<32}  0  not run yet")
            continue
        effects = [judge_effect(effect, mine) for effect in claim.effects]
        said = verdict([effect["level"] for effect in effects])
        seconds = sum(v for row in mine for k, v in row.items() if k.startswith("seconds"))
        for number, one in enumerate(effects):
            head = f"{claim.name:<32}{len(mine):>3}  " if number == 0 else " " * 37
            wanted = f"{'>' if one['side'] == 'above' else '<'} {one['threshold']:g}"
            print(f"{head}{one['what']:<64}{one['mean']:>+8.2f} ± {one['half_width']:<7.2f}"
                  f"{wanted:>9}" + (f"  {said}" if number == 0 else ""))  # fmt: skip
        found.append(asdict(claim) | {"effects": effects, "verdict": said, "seeds": len(mine),
                                      "workload_seconds": seconds})  # fmt: skip
    return found


def main() -> None:
    """Run a preset and judge its claims."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=tuple(PRESETS), default="cpu")
    parser.add_argument("--data", type=Path, help="npz of CIFAR-10")
    parser.add_argument("--work", type=Path, default=Path("claims"))
    parser.add_argument("--report", action="store_true", help="run nothing, judge what is there")
    parser.add_argument("--jobs", type=int, default=1, help="seeds to run at a time")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    preset = PRESETS[args.preset]
    if args.data is None and args.preset != "quick" and not args.report:
        parser.error("--data is needed, or --preset quick")
    folder = args.work / args.preset
    folder.mkdir(parents=True, exist_ok=True)
    if not check_sizes(folder / "sizes.json", preset):
        parser.error(f"{folder} holds results of other sizes; name another --work")
    facts = provenance(__file__, PACKAGES)
    print_machine(facts)
    rows = run(preset, folder, args.data, args.report, args.jobs)
    spent = {kind: sum(v for many in rows.values() for row in many for k, v in row.items()
                       if k.startswith(kind)) for kind in ("seconds", "cpu seconds")}  # fmt: skip
    found = judge(rows)
    print(f"\n{spent['seconds']:.0f} s in all, {spent['cpu seconds']:.0f} s of them computing")
    out = args.out or Path(__file__).resolve().parent / "results" / f"claims_{args.preset}.json"
    write_json(out, {"provenance": facts, "preset": asdict(preset), "claims": found,
                     "rows": rows, **spent})  # fmt: skip


if __name__ == "__main__":
    main()
