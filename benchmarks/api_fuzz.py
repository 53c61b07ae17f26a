"""Claim: whatever is passed, a call works or says which parameter was wrong.

    python benchmarks/api_fuzz.py                    # 20,000 calls, minutes on an idle core
    python benchmarks/api_fuzz.py --calls 500        # goes on from where a journal ends
    python benchmarks/api_fuzz.py --again 1234       # makes one call again, and shows its error

A call takes an estimator or function at settings that work, alters up to three of its
parameters, those of its net, or its data, fits it, and asks it up to three things. It went well
if every step works (and probabilities are finite and sum to one) or an error is raised on
purpose, by skensemble or by scikit-learn, that names what was wrong: a parameter, X, y or
sample_weight. All else is a bare error. The states of the global generators are compared
before and after every step. Calls are drawn from the seed and their number alone.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import joblib
import torch
from _bench import print_machine, provenance, write_json
from _fuzz_cases import DATA, Call, draw, run
from _fuzz_functions import SUBJECTS
from _fuzz_nets import NET_POOLS

import skensemble._recipes.defaults as defaults

PACKAGES = ("torch", "numpy", "scikit-learn", "skorch", "skensemble")
JOURNAL = Path(__file__).resolve().parent.parent / "build" / "api_fuzz.jsonl"
RESULTS = Path(__file__).resolve().parent / "results"


def journal_line(seed: int, number: int) -> dict[str, Any]:
    """Make one call and say what became of it."""
    call = draw(seed, number)
    start = time.perf_counter()
    step, verdict = run(call)
    return {
        "number": number,
        "subject": call.subject.name,
        "altered": call.said(),
        "names": [f"{place}:{name}" for place, name, _ in call.altered],
        "methods": call.methods,
        "step": step.partition(" of ")[0],
        **verdict._asdict(),
        "seconds": round(time.perf_counter() - start, 4),
    }


def read(path: Path) -> list[dict[str, Any]]:
    """Return what a journal has."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def groups(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Group what went wrong by error, innermost frame and what was altered."""
    found: dict[Any, list[dict[str, Any]]] = {}
    for one in lines:
        if one["kind"] not in ("worked", "named"):
            key = (one["kind"], one["error"], one["frame"], " ".join(one["names"]))
            found.setdefault(key, []).append(one)
    return [
        {"kind": kind, "error": error, "frame": frame, "altered": names, "n": len(each),
         "first": each[0]["number"], "message": each[0]["message"]}
        for (kind, error, frame, names), each in sorted(found.items(), key=lambda one: -len(one[1]))
    ]  # fmt: skip


def count_values() -> int:
    """Return how many values there are to choose from, over all parameters and data."""
    pools = [pool for subject in SUBJECTS for pool in subject.pools.values()]
    pools += [*NET_POOLS.values(), *DATA.values()]
    return sum(map(len, pools))


def summarise(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Count what became of calls, in all and by what was called."""
    kinds = ("worked", "named", "bare", "wrong", "global state", "slow")
    by_subject = []
    for subject in SUBJECTS:
        counts = Counter(one["kind"] for one in lines if one["subject"] == subject.name)
        by_subject.append({"name": subject.name, **{kind: counts[kind] for kind in kinds}})
    total = Counter(one["kind"] for one in lines)
    return {
        "total": {kind: total[kind] for kind in kinds},
        "calls": len(lines),
        "n_values": count_values(),
        "minutes": sum(one["seconds"] for one in lines) / 60,
        "subjects": by_subject,
        "groups": groups(lines),
    }


def again(call: Call) -> None:
    """Make a call and show how it went."""
    import traceback

    import _fuzz_cases

    def shown(error: BaseException, names: Any) -> Any:
        traceback.print_exception(error)
        return kept(error, names)

    kept = _fuzz_cases.judge
    _fuzz_cases.judge = shown
    print(call.subject.name, call.said(), call.methods)
    print(*run(call))


def main() -> None:
    """Make calls, and write what became of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", type=int)
    parser.add_argument("--journal", type=Path, default=JOURNAL)
    parser.add_argument("--out", type=Path, default=RESULTS / "api_fuzz.json")
    args = parser.parse_args()
    os.environ["JOBLIB_MULTIPROCESSING"] = "0"
    torch.set_num_threads(1)
    defaults._STEPS, defaults._LEAST_EPOCHS = 1, dict.fromkeys(("few", "many"), 2)
    # Some calls leave files: a memory, or CIFAR's, in a folder called "auto".
    with tempfile.TemporaryDirectory() as folder, joblib.parallel_config(backend="threading"):
        journal, out = args.journal.resolve(), args.out.resolve()
        os.chdir(folder)
        if args.again is not None:
            again(draw(args.seed, args.again))
            return
        about = provenance(__file__, PACKAGES)
        print_machine(about)
        done = {one["number"] for one in read(journal)}
        journal.parent.mkdir(exist_ok=True)
        with journal.open("a") as lines:
            for number in range(args.calls):
                if number not in done:
                    print(json.dumps(journal_line(args.seed, number)), file=lines, flush=True)
        os.chdir(out.parent)
    found = summarise([one for one in read(journal) if one["number"] < args.calls])
    print(found["total"])
    write_json(out, {"provenance": about, "seed": args.seed, **found})


if __name__ == "__main__":
    main()
