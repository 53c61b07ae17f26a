"""What a worker may take of its machine: memory and threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from joblib import cpu_count
from joblib.parallel import ThreadingBackend

_CGROUP = Path("/sys/fs/cgroup")
# Multiply-adds of a step below which a second thread gains next to nothing, and may cost nearly all
# of the speed where other processes have the cores: each waits for the other in every product.
_THREADED_MACS = 3e6


def available_bytes() -> int | None:
    """Return how much memory a process may still take, or None where nobody says."""
    found = [bound for bound in (_of_system(), _of_cgroup()) if bound is not None]
    return min(found) if found else None


def _of_system() -> int | None:
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        line = next(one for one in lines if one.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _of_cgroup() -> int | None:
    """Return what the limit of a container leaves; caches of files count as free."""
    with suppress(OSError, ValueError, IndexError):
        at = _CGROUP / Path("/proc/self/cgroup").read_text().split("::/", 1)[1].splitlines()[0]
        at = at if (at / "memory.max").exists() else _CGROUP
        limit = int((at / "memory.max").read_text())  # "max" is no number: no limit
        used = int((at / "memory.current").read_text())
        stat = dict(line.split() for line in (at / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(stat.get("inactive_file", 0)))
    return None


def threads_of_worker(backend: Any, n_workers: int) -> int:
    """Return how many threads of torch a worker may have: never more than there are here.

    joblib tells processes what their share is, but threads would each have all of torch's.
    """
    n_threads = torch.get_num_threads()
    if n_workers > 1 and isinstance(backend, ThreadingBackend):
        return min(n_threads, max(1, cpu_count() // n_workers))
    return n_threads


def threads_of_step(n_threads: int, macs: float) -> int:
    """Return how many threads of torch a training step of so many multiply-adds is worth."""
    return 1 if macs < _THREADED_MACS else n_threads


@contextmanager
def at_most_threads(limit: int) -> Iterator[None]:
    """Keep torch to so many threads inside the block, for the thread that enters it.

    Only who sees more than the limit sets it, and puts that number back: of threads that come and
    go side by side the last word is always the number there was before.
    """
    before = torch.get_num_threads()
    if before <= limit:
        yield
        return
    torch.set_num_threads(limit)
    try:
        yield
    finally:
        torch.set_num_threads(before)
