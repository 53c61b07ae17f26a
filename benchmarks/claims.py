"""The messages of four papers as hypotheses, each with its test, written before it is run.

    python benchmarks/claims.py --data cifar10.npz --jobs 2  # preset cpu, two seeds at a time
    python benchmarks/claims.py --data cifar10.npz --report  # the table of what is there
    python benchmarks/claims.py --data cifar10.npz --only digits cutmix  # run some workloads
    python benchmarks/claims.py --preset quick               # does it run at all? On noise

`_claims.py` is the table: a statement, its source, and one or more effects. An effect is a sum of
measured columns with weights, and must lie on one side of a threshold. Every seed draws training
rows and networks anew; an effect is computed within a seed, so comparisons are paired, and gets a
t interval (95 %) over seeds. Its claim

holds        if the interval of every effect is on the right side of its threshold;
does not     if the interval of an effect is wholly on the wrong side;
undecided    otherwise: an interval has the threshold in it; or there are fewer than five seeds;
             or networks do not fit.

Networks fit where the training accuracy of plain ones, "fitted", has a mean of at least 99 % over
seeds; for the theorems, whose premise it is, where no member of any seed has a training error. The
trained sum must fit as well where it is compared. The rule is not for kernels, which have fewer
features than rows by their premise, nor for the Gaussian claim, which is about weight decay.
Intervals are not corrected for the number of claims. Test rows choose nothing; the weight decay
of the Gaussian claim is chosen by single networks on validation rows.

One definition of the trained sum: the mean of M networks' logits as one network, at M times the
rate and 1/M of the weight decay, so that each member goes as far as it would go alone where the
mean errs as it would (`_experiments.for_mean`). It is not the sum of logits at the rate of one
network, whose logits are M times as large; that, and the mean at that rate, have rows of their own.

Workloads (`_workloads.py` has all sizes). *digits*: 150 rows of 8 x 8, a ResNet-8 of width 4; five
members, five students. *l1-filter, slimming, magnitude*: the same rows, width 8, four tenths kept,
by the code of `orthogonality.py`. *cutmix*, *latent*: 2,000 images of CIFAR-10 (`--data`, see
`_images.py`) as 8 x 8, a ResNet-8 of width 8, 60 epochs. *channels*: 1,000 of these. *naswot*: 300
whole images, a ResNet-20. *views*: the setting of `multiview.py`, whose result is read where there
is one. *gp*, *ntk*: features of small convolutional networks on 8,000 images as 16 x 16. *linear*,
*fc2*: Gaussian rows with these labellers. Distillation is at T = 4 and alpha = 0.9, but for views,
where it is as `multiview.py` says, and shared members, which learn from the teacher alone.

Settings are from pilots on seeds of 1000 and more. Every (workload, seed) is written to `--work`
with its sizes and not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from _bench import print_machine, provenance, write_json
from _claims import CLAIMS, MIN_SEEDS, Row, judge_claim
from _experiments import Task
from _workloads import PRESETS, Planned, Preset
from joblib import Parallel, delayed

PACKAGES = ("torch", "numpy", "scikit-learn", "skorch", "scipy", "skensemble")

# -- running -------------------------------------------------------------------------------


class OtherSizesError(Exception):
    """A folder holds results of other sizes than those asked for."""


def run_part(
    name: str, part: str, run: Callable[[Task], Row], sizes: str, task: Task, report: bool
) -> Row | None:
    """Run a part of a workload, or read what an earlier run with these sizes wrote."""
    slug = "".join(letter if letter.isalnum() else "-" for letter in f"{name} {part}")
    path = task.folder / f"{slug}-{task.seed}.json"
    if path.exists():
        found = json.loads(path.read_text())
        if found["sizes"] != sizes:
            raise OtherSizesError(f"{path} must hold {sizes}. Got {found['sizes']}; name another "
                                  "--work, or delete it.")  # fmt: skip
        row: Row = found["row"]
        return row
    if report:
        return None
    start, cpu = time.perf_counter(), time.process_time()
    row = run(task)
    row |= {f"seconds, {part}": time.perf_counter() - start,
            f"cpu seconds, {part}": time.process_time() - cpu}  # fmt: skip
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps({"sizes": sizes, "row": row}))
    draft.replace(path)
    shown = ", ".join(f"{key} {value:.2f}" for key, value in row.items())
    print(f"seed {task.seed}  {name}, {part}: {shown}", flush=True)
    return row


def run_workload(
    name: str, planned: Planned, task: Task, report: bool, n_threads: int | None = None
) -> Row | None:
    """Run what is missing of a workload's seed; return its columns if all are there."""
    if n_threads is not None:
        torch.set_num_threads(n_threads)
    found = [
        run_part(name, part, run, repr(planned.workload), task, report)
        for part, run in planned.workload.parts().items()
    ]
    if any(row is None for row in found):
        return None
    return {key: value for row in found for key, value in (row or {}).items()}


def order_of(preset: Preset) -> list[tuple[str, int]]:
    """Return workloads and seeds; first as many seeds of all as a verdict needs."""
    pairs = [(name, seed) for name, planned in preset.items() for seed in range(planned.seeds)]
    return sorted(pairs, key=lambda pair: pair[1] >= MIN_SEEDS)


def run(
    preset: Preset, folder: Path, data: Path | None, only: Collection[str], jobs: int = 1
) -> dict[str, list[Row]]:
    """Run what is missing of `only`, `jobs` at a time; return complete seeds of each workload."""
    pairs = order_of(preset)
    n_threads = None if jobs == 1 else max(1, (os.cpu_count() or 1) // jobs)
    done = Parallel(n_jobs=jobs, batch_size=1, pre_dispatch=jobs)(
        delayed(run_workload)(
            name, preset[name], Task(seed, folder, data), name not in only, n_threads
        )
        for name, seed in pairs
    )
    rows: dict[str, list[Row]] = {name: [] for name in preset}
    for (name, _), row in sorted(zip(pairs, done, strict=True), key=lambda one: one[0][1]):
        if row is not None:
            rows[name].append(row)
    return rows


# -- telling -------------------------------------------------------------------------------


def columns_of(rows: list[Row]) -> dict[str, dict[str, float]]:
    """Return mean, standard deviation and least of every column."""
    found = {}
    for column in (key for key in rows[0] if "seconds" not in key):
        values = [row[column] for row in rows]
        sd = statistics.stdev(values) if len(values) > 1 else math.nan
        found[column] = {"mean": statistics.fmean(values), "sd": sd, "least": min(values)}
    return found


def print_columns(name: str, rows: list[Row]) -> None:
    """Print what the effects of a workload are made of."""
    print(f"\n{name}, {len(rows)} seeds: mean, sd and least of them")
    for column, said in columns_of(rows).items():
        print(f"  {column:<44}{said['mean']:>10.3f}{said['sd']:>9.3f}{said['least']:>10.3f}")


def print_claim(found: dict[str, Any]) -> None:
    """Print a claim, an effect a line."""
    for number, one in enumerate(found["effects"]):
        head = f"{found['name']:<46}{found['seeds']:>3}  " if number == 0 else " " * 51
        wanted = f"{'>' if one['side'] == 'above' else '<'} {one['threshold']:g}"
        said = f"  {found['verdict']}" + (f": {found['why']}" if found["why"] else "")
        print(f"{head}{one['what']:<58}{one['mean']:>+9.3f} ± {one['half_width']:<8.3f}"
              f"{wanted:>7}" + (said if number == 0 else ""))  # fmt: skip


def judge(rows: dict[str, list[Row]]) -> list[dict[str, Any]]:
    """Print the tables and return the judged claims of workloads that were run."""
    for name, mine in rows.items():
        if mine:
            print_columns(name, mine)
    print(f"\n{'claim':<46}{'n':>3}  {'effect':<58}{'mean':>9} ± {'95 %':<8}{'wanted':>7}")
    found = []
    for claim in CLAIMS:
        if not rows[claim.workload]:
            print(f"{claim.name:<46}  0  not run yet")
            continue
        found.append(judge_claim(claim, rows[claim.workload]))
        print_claim(found[-1])
    return found


def seconds_of(rows: dict[str, list[Row]], kind: str) -> float:
    """Add up the seconds of one kind."""
    return sum(
        value for many in rows.values() for row in many for key, value in row.items()
        if key.startswith(f"{kind}, ")
    )  # fmt: skip


def arguments() -> argparse.Namespace:
    """Read what is asked for; `only` is what is to be run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=tuple(PRESETS), default="cpu")
    parser.add_argument("--data", type=Path, help="npz of CIFAR-10")
    parser.add_argument("--work", type=Path, default=Path("claims"))
    parser.add_argument("--report", action="store_true", help="run nothing, judge what is there")
    parser.add_argument("--only", nargs="+", metavar="WORKLOAD", help="run these, judge all")
    parser.add_argument("--jobs", type=int, default=1, help="seeds to run at a time")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.data is None and args.preset != "quick" and not args.report:
        parser.error("--data is needed, or --preset quick")
    known = PRESETS[args.preset]
    args.only = () if args.report else args.only or tuple(known)
    if unknown := sorted(set(args.only) - set(known)):
        parser.error(f"--only takes {'; '.join(known)}. Got {unknown} instead.")
    here = Path(__file__).resolve().parent / "results"
    args.out = args.out or here / f"claims_{args.preset}.json"
    return args


def main() -> None:
    """Run a preset and judge its claims."""
    args = arguments()
    preset, folder = PRESETS[args.preset], args.work / args.preset
    folder.mkdir(parents=True, exist_ok=True)
    facts = provenance(__file__, PACKAGES)
    print_machine(facts)
    try:
        rows = run(preset, folder, args.data, args.only, args.jobs)
    except OtherSizesError as error:
        raise SystemExit(str(error)) from None
    found = judge(rows)
    spent = {kind: seconds_of(rows, kind) for kind in ("seconds", "cpu seconds")}
    print(f"\n{spent['seconds']:.0f} s in all, {spent['cpu seconds']:.0f} s of them computing")
    write_json(args.out, {
        "provenance": facts,
        "preset": {name: [one.seeds, repr(one.workload)] for name, one in preset.items()},
        "claims": found,
        "columns": {name: columns_of(mine) for name, mine in rows.items() if mine},
        "rows": rows,
        **spent,
    })  # fmt: skip


if __name__ == "__main__":
    main()
