"""Claim: the suite passes on the oldest and the newest of everything, and without the extras.

    python benchmarks/compatibility.py --pythons python3.11 python3.13      # all, about an hour
    python benchmarks/compatibility.py --only oldest --pythons python3.11

Each setting gets a virtual environment of about 6 GB, which goes when its suite has run:

- ``oldest``: every lower bound of pyproject.toml at once (without ``onnx``, whose torch is newer),
  on the oldest Python;
- ``newest``: what pip takes today, on each Python;
- ``bare``: without the extras for users, but with what the tests need, on the oldest Python.

What is there for a setting is replaced in the results; others stay.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _bench import provenance, write_json

ROOT = Path(__file__).resolve().parent.parent
OUT = Path(__file__).resolve().parent / "results" / "compatibility.json"
SHOWN = (
    "numpy", "scikit-learn", "skorch", "torch", "torchvision", "joblib", "safetensors", "pandas",
    "onnx", "torch-pruning", "dask", "ray",
)  # fmt: skip
OLDEST = ("plot", "pruning", "inspect", "dask", "ray")  # graphs want a newer torch than the rest
SETTINGS = ("oldest", "newest", "bare")


def lower_bounds(project: dict[str, Any]) -> Iterator[str]:
    """Yield what the oldest setting installs, each requirement at its lower bound."""
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(one for name in OLDEST for one in extras[name])]
    found: dict[str, str] = {}
    for requirement in [*wanted, *tools_of_tests(project)]:
        match = re.match(r"([\w.-]+)(?:\[.*?\])?>=([\d.]+)", requirement)
        if match:
            found[match[1]] = match[2]
    for name, version in found.items():
        yield f"{name}=={version}"


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement)[0]


def tools_of_tests(project: dict[str, Any]) -> list[str]:
    """Return what the tests need that no extra for users has."""
    tests = project["optional-dependencies"]["test"]
    return [one for one in tests if _name(one) != "skensemble"]  # by which the extras come


def _installed(python: Path) -> dict[str, str]:
    """Return the versions that are there, by name."""
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True
    )
    return {one["name"].lower(): one["version"] for one in json.loads(listed.stdout)}


def run(setting: str, python: str, log: Path) -> dict[str, Any]:
    """Make an environment, run the suite in it, and say what came of it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {"bare": "", "oldest": f"[{','.join(OLDEST)}]", "newest": "[test]"}[setting]
    wanted = [f"{ROOT}{extras}", *tools_of_tests(project)]
    with tempfile.TemporaryDirectory() as place, log.open("w") as out:
        subprocess.run([python, "-m", "venv", place], check=True)
        own = Path(place) / "bin" / "python"
        install = [own, "-m", "pip", "install", "--quiet", *wanted]
        if setting == "oldest":
            bounds = Path(place) / "bounds.txt"
            bounds.write_text("\n".join(lower_bounds(project)))
            install += ["--constraint", bounds]
        subprocess.run(install, check=True, stdout=out, stderr=out)
        start = time.perf_counter()
        tests = [own, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider"]
        subprocess.run(tests, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, check=False)
        versions = {name: v for name, v in _installed(own).items() if name in SHOWN}
        told = subprocess.run([own, "--version"], capture_output=True, text=True, check=True)
    lines = log.read_text().splitlines()
    return {
        "setting": setting,
        "python": told.stdout.split()[1],
        "pytest": lines[-1].strip("= "),
        "failed": sorted({line.split(" - ")[0] for line in lines if line.startswith("FAILED")}),
        "seconds": round(time.perf_counter() - start),
        "versions": versions,
    }


def main() -> None:
    """Run each setting on its Pythons; keep the last result of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pythons", nargs="+", default=["python3.11"], help="oldest first")
    parser.add_argument("--only", nargs="*", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--logs", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    kept = json.loads(args.out.read_text())["runs"] if args.out.exists() else []
    found = {(one["setting"], one["python"].rpartition(".")[0]): one for one in kept}
    for setting in args.only:
        for python in args.pythons if setting == "newest" else args.pythons[:1]:
            log = args.logs / f"compatibility-{setting}-{Path(python).name}.log"
            one = run(setting, python, log)
            print(f"{setting} on Python {one['python']}: {one['pytest']}  ({log})", flush=True)
            found[setting, one["python"].rpartition(".")[0]] = one
            about = provenance(__file__, ())
            write_json(args.out, {"provenance": about, "runs": list(found.values())})


if __name__ == "__main__":
    main()
