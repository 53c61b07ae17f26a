"""Claim: no file makes `skensemble.load` fail but by a FileError, nor late, slowly or silently.

    nice python benchmarks/file_attack.py                # 1,000 mutants a file, about half an hour
    python benchmarks/file_attack.py --mutants 20        # does it run at all?
    python benchmarks/file_attack.py --only network:17   # one mutant, and what became of it

Files of every kind of estimator, in today's format, and the kept files of older formats, are
damaged and forged as `_file_mutants` says, loaded, and asked to predict. An outcome is bad if

*bare*: `load` raises anything but a `FileError` (or kills the process); *unnamed*: its message
does not name the file; *late*: `load` succeeds and `predict_proba` raises; *slow*: both together
take over 5 s of processor time; *large*: they take over 3 GB more than the process had; *differs*:
a damaged file predicts otherwise than the good one, or any file predicts NaN.

A forged file that predicts finite numbers is another model; it is asked about such rows as it says
that it takes. Files of older formats have no digest, so all their mutants
count as forged. Each worker process has a limit of address space. A run goes on where an
interrupted one of the same seed and code stopped, file by file.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import multiprocessing
import multiprocessing.connection
import resource
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import _file_kinds
import _file_mutants
import numpy as np
import pandas as pd
import torch
from _bench import print_machine, provenance, write_json

import skensemble
from skensemble._files import digest

HERE = Path(__file__).resolve().parent
OUT = HERE / "results" / "file_attack.json"
OLD = HERE.parent / "tests" / "data"
PACKAGES = ("torch", "numpy", "scikit-learn", "safetensors", "skensemble")
BAD = ("bare", "unnamed", "late", "slow", "large", "differs")
SECONDS, BYTES = 5.0, 3_000_000_000
_PATIENCE = 60.0


# -- files -----------------------------------------------------------------------------------


def good_files(folder: Path) -> dict[str, Path]:
    """Return the files that mutants are made of, by name."""
    files = {}
    for name in _file_kinds.KINDS:
        files[name] = folder / name
        _file_kinds.make(name)[0].save(files[name])
    for version in (1, 2):
        for path in sorted((OLD / f"format{version}").glob("*.skensemble")):
            files[f"format {version}, {path.stem}"] = path
    return files


def sealed(data: bytes, folder: Path) -> bytes:
    """Return a file with its digest counted anew, where it has a place for one."""
    path = folder / "sealing"
    path.write_bytes(data)
    try:
        digest.seal(path)
    except skensemble._files.errors.Misfit:
        return data
    return path.read_bytes()


def rows_for(estimator: Any, seed: int) -> Any:
    """Return rows as a loaded estimator says that it takes them."""
    table = estimator._recipe.table
    names = getattr(estimator, "feature_names_in_", None)
    draw = np.random.default_rng(seed)
    if table is not None:
        return pd.DataFrame({
            name if names is not None else number: column(kind, draw)
            for number, (name, kind) in enumerate(
                zip(range(len(table.kinds_)) if names is None else names, table.kinds_, strict=True)
            )
        })  # fmt: skip
    shape = estimator._recipe.in_shape
    n_rows = 5 if np.prod(shape) < 1 << 16 else 0
    rows = draw.random((n_rows, *shape), dtype=np.float32)
    return rows if names is None else pd.DataFrame(rows, columns=names)


def column(kind: str, draw: np.random.Generator) -> Any:
    """Return five values of a kind of column."""
    if kind in ("number", "empty"):
        return draw.normal(size=5)
    if kind == "date":
        return pd.date_range("2020-01-01", periods=5)
    if kind == "duration":
        return pd.to_timedelta(np.arange(5), unit="D")
    return [True, False, True, True, False] if kind == "boolean" else ["Rome", "c1", None, "x", "y"]


# -- one mutant ------------------------------------------------------------------------------


def try_file(path: Path, forged: bool, expected: np.ndarray) -> tuple[str, str]:
    """Load a mutant and let it predict; return what came of it, and the words of an error."""
    try:
        estimator = skensemble.load(path)
    except skensemble.FileError as error:
        if out_of_memory(error):
            return "large", str(error)
        return ("refused" if str(path) in str(error) else "unnamed"), str(error)
    except Exception:
        return "bare", traceback.format_exc()
    try:
        rows = rows_for(estimator, 0)
        if not len(rows):
            return "another model", ""
        found = estimator.predict_proba(rows)
        estimator.predict(rows)
    except Exception:
        return "late", traceback.format_exc()
    if not np.isfinite(found).all():
        return "differs", "NaN"
    if found.shape == expected.shape and np.array_equal(found, expected):
        return "the same", ""
    return ("another model" if forged else "differs"), "other numbers"


def out_of_memory(error: BaseException | None) -> bool:
    """Whether an error goes back to memory that there was not."""
    while error is not None:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            return True
        error = error.__cause__
    return False


def work(pipe: multiprocessing.connection.Connection) -> None:
    """Try files that come through a pipe; the process is killed where it takes too long."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + BYTES + (1 << 28)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    while True:
        path, forged, expected = pipe.recv()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.process_time()
        outcome, words = try_file(path, forged, expected)
        seconds = time.process_time() - start
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        if outcome not in BAD and seconds > SECONDS:
            outcome = "slow"
        if outcome not in BAD and more * 1024 > BYTES:
            outcome = "large"
        pipe.send((outcome, words, seconds))


class Worker:
    """A process that tries files, and is started anew when it dies."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("fork")
        self._start()

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, path: Path, forged: bool, expected: np.ndarray) -> tuple[str, str, float]:
        """Return what came of a file, its words and seconds."""
        self._pipe.send((path, forged, expected))
        try:
            if self._pipe.poll(_PATIENCE):
                return self._pipe.recv()
            outcome = "slow", "killed", _PATIENCE
        except EOFError:
            outcome = "bare", "the process died", 0.0
        self._process.kill()
        self._process.join()
        self._start()
        return outcome


# -- all of them -----------------------------------------------------------------------------


def attack(
    worker: Worker, name: str, good: Path, numbers: range, seed: int, folder: Path
) -> dict[str, Any]:
    """Try mutants of one file; return counts, and the words of what was bad."""
    data = good.read_bytes()
    estimator = skensemble.load(good)
    expected = estimator.predict_proba(rows_for(estimator, 0))
    old = name.startswith("format")
    check_tools(worker, data, expected, folder)
    counts: collections.Counter[str] = collections.Counter()
    ways: collections.Counter[str] = collections.Counter()
    bad, longest = [], 0.0
    for number in numbers:
        salt = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
        mutant = _file_mutants.mutate(data, lambda one: sealed(one, folder), (seed, salt, number))
        path = folder / "mutant.skensemble"
        path.write_bytes(mutant.data)
        outcome, words, seconds = worker.ask(path, mutant.forged or old, expected)
        longest = max(longest, seconds)
        counts[outcome] += 1
        ways[mutant.how] += 1
        if outcome in BAD:
            bad.append({"mutant": f"{name}:{number}", "how": mutant.how, "outcome": outcome,
                        "words": words[-2000:]})  # fmt: skip
    return {"counts": dict(counts), "ways": dict(ways), "longest": longest, "bad": bad}


def check_tools(worker: Worker, data: bytes, expected: np.ndarray, folder: Path) -> None:
    """Take a file apart and together again, which must change nothing: else nothing is tried."""
    path = folder / "unchanged.skensemble"
    path.write_bytes(sealed(_file_mutants.put_together(*_file_mutants.take_apart(data)), folder))
    outcome, words, _ = worker.ask(path, False, expected)
    if outcome != "the same":
        raise RuntimeError(f"An unchanged file is {outcome}: {words}")


def code_digest() -> str:
    """Return a digest of the code that the outcomes depend on."""
    count = hashlib.sha256()
    ours = sorted(Path(skensemble.__file__).parent.rglob("*.py"))
    for path in [*ours, Path(__file__), *sorted(HERE.glob("_file_*.py"))]:
        count.update(path.read_bytes())
    return count.hexdigest()


def total(files: dict[str, Any]) -> dict[str, int]:
    """Add the outcomes of all files up."""
    found: collections.Counter[str] = collections.Counter(dict.fromkeys(BAD, 0))
    for one in files.values():
        found.update(one["counts"])
    return dict(found)


def show(worker: Worker, files: dict[str, Path], only: str, seed: int, folder: Path) -> None:
    """Try one mutant and print what came of it."""
    name, _, number = only.rpartition(":")
    one = range(int(number), int(number) + 1)
    print(json.dumps(attack(worker, name, files[name], one, seed, folder), indent=1))


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=1000, help="of each file of today's format")
    parser.add_argument("--old", type=int, default=200, help="of each file of an older format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="FILE:NUMBER, one mutant")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    arguments = {"mutants": args.mutants, "old": args.old, "seed": args.seed}
    facts, code = provenance(__file__, PACKAGES), code_digest()
    print_machine(facts)
    before = json.loads(args.out.read_text()) if args.out.exists() else {}
    same = before.get("code_sha256") == code and before.get("arguments") == arguments
    found = before["files"] if same else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files, worker = good_files(folder), Worker()
        if args.only:
            show(worker, files, args.only, args.seed, folder)
            return
        for kind, good in files.items():
            if kind in found:
                continue
            numbers = range(args.old if kind.startswith("format") else args.mutants)
            found[kind] = attack(worker, kind, good, numbers, args.seed, folder)
            print(kind, found[kind]["counts"], f"{found[kind]['longest']:.2f} s", flush=True)
            write_json(args.out, {
                "provenance": facts, "arguments": arguments, "code_sha256": code,
                "n_mutants": sum(sum(one["counts"].values()) for one in found.values()),
                "total": total(found), "files": found,
            })  # fmt: skip
    print(total(found))


if __name__ == "__main__":
    main()
