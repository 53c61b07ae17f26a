"""What every benchmark here shares: taking turns, pairing, tables, provenance, JSON.

A contender is a function of a seed that returns `Run`: the seconds it took and the score
it reached. All contenders run in one process, in turn, for several rounds, and the order
is rotated by one place each round, so that a slow minute of the machine or a warm cache
favours nobody. Two contenders are compared by the ratio of their times *within* a round;
the figure printed is the median of these pairs.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import logging
import math
import os
import platform
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import torch
from scipy import stats


class Run(NamedTuple):
    """One turn of one contender."""

    seconds: float
    score: float


Contender = Callable[[int], Run]


def take_turns(contenders: Mapping[str, Contender], rounds: int) -> dict[str, list[Run]]:
    """Let every contender run once a round, with the round as its seed.

    Parameters
    ----------
    contenders : mapping of str to Contender
        By the name they have in the table.
    rounds : int
        How many pairs each ratio is the median of.

    Returns
    -------
    dict of str to list of Run
        One run a round for each contender.
    """
    names = list(contenders)
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for seed in range(rounds):
        first = seed % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()
            runs[name].append(contenders[name](seed))
    return runs


def pair_ratios(peer: Sequence[Run], ours: Sequence[Run]) -> list[float]:
    """Return the peer's seconds over ours, one number a round."""
    return [p.seconds / o.seconds for p, o in zip(peer, ours, strict=True)]


def summarise(
    runs: Mapping[str, Sequence[Run]], reference: str, targets: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """Turn runs into the numbers of a table.

    Parameters
    ----------
    runs : mapping of str to sequence of Run
        What `take_turns` returned.
    reference : str
        The contender whose time stands below the line of every ratio.
    targets : mapping of str to float
        For some peers, the ratio to reach.

    Returns
    -------
    dict of str to dict
        For each contender its runs, mean and standard deviation of the seconds, mean
        score and, but for the reference, the median of the pairs and whether it meets
        the target.
    """
    rows: dict[str, dict[str, Any]] = {}
    for name, mine in runs.items():
        seconds = [run.seconds for run in mine]
        rows[name] = {
            "seconds": seconds,
            "scores": [run.score for run in mine],
            "seconds_mean": statistics.fmean(seconds),
            "seconds_sd": statistics.stdev(seconds) if len(seconds) > 1 else math.nan,
            "score_mean": statistics.fmean(run.score for run in mine),
        }
        if name == reference:
            continue
        ratios = pair_ratios(mine, runs[reference])
        rows[name].update(ratios=ratios, ratio_median=statistics.median(ratios))
        if name in targets:
            met = rows[name]["ratio_median"] >= targets[name]
            rows[name].update(target=targets[name], target_met=met)
    return rows


def print_table(title: str, rows: Mapping[str, Mapping[str, Any]], reference: str) -> None:
    """Print what `summarise` returned, one contender a line."""
    print(f"\n{title}")
    print(f"  {'contender':<27}{'seconds':>10}{'sd':>9}{'accuracy':>10}"
          f"{'/ ' + reference:>9}{'lowest':>8}{'highest':>8}  target")  # fmt: skip
    for name, row in rows.items():
        sd = "" if math.isnan(row["seconds_sd"]) else f"{row['seconds_sd']:.2g}"
        line = f"  {name:<27}{row['seconds_mean']:>10.4g}{sd:>9}{row['score_mean']:>10.4f}"
        if "ratios" in row:
            ratios = row["ratios"]
            line += f"{row['ratio_median']:>9.2f}{min(ratios):>8.2f}{max(ratios):>8.2f}"
        if "target" in row:
            line += f"  >= {row['target']:.2f} {'met' if row['target_met'] else 'MISSED'}"
        print(line, flush=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence a peer: prints (its worker processes' too), warnings and log records."""
    sys.stdout.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def provenance(script: str, packages: Sequence[str]) -> dict[str, Any]:
    """Say where, when and with what the numbers were taken.

    Parameters
    ----------
    script : str
        Path of the benchmark; its digest is kept with the result.
    packages : sequence of str
        Distributions whose versions matter; those not installed are ``None``.

    Returns
    -------
    dict
        Ready for JSON.
    """
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": joblib.cpu_count(),
        "gpu": cuda,
        "torch_threads": torch.get_num_threads(),
        "load_before": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
        "commit": _commit(Path(script).resolve().parent),
        "script": Path(script).name,
        "script_sha256": hashlib.sha256(Path(script).read_bytes()).hexdigest(),
    }


def print_machine(facts: Mapping[str, Any]) -> None:
    """Print what the numbers stand on, and a warning where something else is running."""
    print(f"{facts['cpu']}, {facts['cores']} cores, {facts['torch_threads']} torch threads")
    if facts["load_before"] > 0.5:
        # One busy neighbour makes two OpenMP threads on two cores wait for each other at
        # every barrier: a bare loop was seen to take 30 times as long.
        print(f"WARNING: load average {facts['load_before']:.2f}, so not for the record: "
              "a busy core slows multi-threaded contenders out of proportion.")  # fmt: skip


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _commit(folder: Path) -> str | None:
    command = ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def preset_parser(doc: str, presets: Mapping[str, Any], name: str) -> argparse.ArgumentParser:
    """Return the arguments of a script that has presets, on images or on noise."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    results = Path(__file__).resolve().parent / "results"
    parser.add_argument("--data", type=Path, help="npz of CIFAR-10 or CIFAR-100")
    parser.add_argument("--preset", choices=tuple(presets), default="cpu")
    parser.add_argument("--quick", action="store_true", help="the preset quick, on noise")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, help="other than the preset's")
    parser.add_argument("--work", type=Path, default=Path(name))
    parser.add_argument("--out", type=Path, default=results / f"{name}.json")
    return parser


def read_preset(
    parser: argparse.ArgumentParser, presets: Mapping[str, Any]
) -> tuple[argparse.Namespace, Any]:
    """Return the arguments and the preset that they name, with as many seeds as they say."""
    args = parser.parse_args()
    args.preset = "quick" if args.quick else args.preset
    if args.data is None and args.preset != "quick":
        parser.error("--data is needed for this preset")
    preset = presets[args.preset]
    return args, preset if args.seeds is None else replace(preset, seeds=args.seeds)


def interval(values: Sequence[float]) -> dict[str, float]:
    """Return the mean over seeds and the half width of its 95 % interval, of a t distribution."""
    mean = statistics.fmean(values) if values else math.nan
    half = math.nan
    if len(values) > 1:
        half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return {"mean": mean, "half_width": half}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a result, making its folder where it is missing; NaN becomes null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_no_nan(content), indent=1) + "\n")
    print(f"\nwritten to {path}")


def remembered(path: Path, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """Return what `make` returns, from a file where that was written before.

    A script that keeps each of its parts in this way may be killed at any time. The file is
    there whole or not at all.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
        draft.write_text(json.dumps(_no_nan(make())))
        draft.replace(path)
    return dict(json.loads(path.read_text()))


def require_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    """Make a folder of parts, or refuse one whose parts were made with other settings."""
    path = folder / "settings.json"
    wanted = json.loads(json.dumps(_no_nan(settings)))
    found = remembered(path, lambda: settings)
    other = sorted(key for key in wanted.keys() | found if wanted.get(key) != found.get(key))
    if other:
        raise SystemExit(
            f"{folder} holds parts of other settings: {', '.join(other)} differ. Name another "
            "--work, or remove it."
        )


def _no_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _no_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_no_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
