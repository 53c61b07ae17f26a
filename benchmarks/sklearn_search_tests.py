"""Claim: scikit-learn's own tests of its searches hold for ours in their place.

    python benchmarks/sklearn_search_tests.py           # two minutes; writes the result
    python benchmarks/sklearn_search_tests.py --quick   # a few of the tests; writes nothing

Runs ``sklearn/model_selection/tests/test_search.py`` of the installed version, which its wheels
bring along, each time in a process and a temporary folder of its own. Nothing of it is copied:
before it is imported, `sklearn.model_selection` is given other names.

Contenders
    scikit-learn    GridSearchCV and RandomizedSearchCV as they are, to tell what fails or is
                    skipped on this machine anyway
    ours            StackedGridSearchCV and StackedRandomizedSearchCV in their place. Most tests
                    search estimators of scikit-learn's, which ours hand on at once.
    ours, stacking  the same, made to take all estimators for ours: folds and candidates are asked
                    for, kept and handed on as in a search that trains in stacks, where nothing
                    can be stacked. Labels, which ours require, are not asked for.

A result names each test that failed, with its reason, and counts the reasons of skips.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sklearn
import sklearn.model_selection
from _bench import print_machine, provenance, write_json

import skensemble.model_selection as ours
import skensemble.model_selection.search as stacked

PACKAGES = ("scikit-learn", "torch", "numpy", "pytest", "skensemble")
MODULE = "sklearn.model_selection.tests.test_search"
CONTENDERS = ("scikit-learn", "ours", "ours, stacking")
RESULT = Path(__file__).parent / "results" / "sklearn_search_tests.json"


class Recorder:
    """A plugin of pytest that keeps what became of each test."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.failed: dict[str, str] = {}
        self.skipped: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note the outcome of a test: its call, or what came before it and went wrong."""
        if report.when != "call" and report.passed:
            return
        self.counts[report.outcome] += 1
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            reason = str(report.longrepr if crash is None else crash.message)
            self.failed[report.nodeid.partition("::")[2]] = reason.strip().splitlines()[0]
        elif report.skipped and isinstance(report.longrepr, tuple):
            self.skipped[report.longrepr[2].removeprefix("Skipped: ")] += 1


def take_places(contender: str) -> Counter[str]:
    """Give `sklearn.model_selection` our searches; return what counts their fits."""
    fits: Counter[str] = Counter()
    if contender == "scikit-learn":
        return fits
    search: Any = stacked.StackedSearch
    plain = search.fit

    def fit(self: Any, *args: Any, **params: Any) -> Any:
        fits[type(self).__name__] += 1
        return plain(self, *args, **params)

    search.fit = fit
    if contender == "ours, stacking":
        search._can_stack = lambda self: True
        search._require_rows = lambda self, X, y: None
    places: Any = sklearn.model_selection
    places.GridSearchCV = ours.StackedGridSearchCV
    places.RandomizedSearchCV = ours.StackedRandomizedSearchCV
    return fits


def run_here(contender: str, only: str) -> dict[str, Any]:
    """Run the tests in this process, which is of no use to others afterwards."""
    fits, recorder, start = take_places(contender), Recorder(), time.perf_counter()
    options = ["-q", "-p", "no:cacheprovider", "--rootdir=.", "-W", "default"]
    options += ["--tb=short", "--disable-warnings"]
    pytest.main([*options, "-k", only, "--pyargs", MODULE], plugins=[recorder])
    return {
        **{outcome: recorder.counts[outcome] for outcome in ("passed", "failed", "skipped")},
        "fits": dict(fits),
        "failures": recorder.failed,
        "reasons of skips": dict(recorder.skipped),
        "seconds": time.perf_counter() - start,
    }


def run_apart(contender: str, only: str) -> dict[str, Any]:
    """Run the tests in a process of their own, in a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        command = [sys.executable, str(Path(__file__).resolve()), "--here", contender]
        subprocess.run([*command, "--only", only, "--out", str(out)], cwd=folder, check=True)
        return dict(json.loads(out.read_text()))


def main() -> None:
    """Run all contenders, print and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few tests; nothing is written")
    parser.add_argument("--only", default="", help="an expression, as pytest's -k")
    parser.add_argument("--here", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    if importlib.util.find_spec("sklearn.model_selection.tests") is None:
        sys.exit(
            f"scikit-learn {sklearn.__version__} is installed without its tests. Install it from "
            f"its source: pip install --no-binary scikit-learn scikit-learn=={sklearn.__version__}"
        )
    if args.here:
        args.out.write_text(json.dumps(run_here(args.here, args.only)))
        return
    facts = provenance(__file__, PACKAGES)
    print_machine(facts)
    only = "grid_search or callback" if args.quick else args.only
    found = {contender: run_apart(contender, only) for contender in CONTENDERS}
    for contender, one in found.items():
        counts = ", ".join(f"{one[name]} {name}" for name in ("passed", "failed", "skipped"))
        print(f"{contender}: {counts}; fits of ours: {one['fits']}")
        for name, reason in one["failures"].items():
            print(f"    {name}: {reason}")
    if not only:
        write_json(args.out, {"provenance": facts, "tests": MODULE, "found": found})


if __name__ == "__main__":
    main()
