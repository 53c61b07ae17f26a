"""Errors of workers: whose they are, how they travel, and what the others have learned."""

from __future__ import annotations

import pickle
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from skensemble._engine.members import Member
from skensemble._engine.net import StackNet
from skensemble._engine.results import MemberResult


class WorkerTraceback(Exception):
    """Where in a worker an error came from, as text: tracebacks cannot be sent."""

    def __str__(self) -> str:
        return f"\n\n{self.args[0]}"


@dataclass
class Outcome:
    """What became of the members of a shard.

    Attributes
    ----------
    results : dict of int to MemberResult
        Of those that were trained, by their numbers.
    error : Exception or None
        What ended the others. A worker returns it and does not raise it, or joblib would drop
        what other workers have finished or are about to.
    room_for : int or None
        How many members had room together, where that was fewer than planned.
    """

    results: dict[int, MemberResult] = field(default_factory=dict)
    error: Exception | None = None
    room_for: int | None = None

    def __add__(self, other: Outcome) -> Outcome:
        rooms = [one.room_for for one in (self, other) if one.room_for is not None]
        return Outcome(
            {**self.results, **other.results},
            self.error or other.error,
            min(rooms) if rooms else None,
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return what can be sent: an error that cannot be pickled is told in its words."""
        error = None if self.error is None else _sendable(self.error)
        trace = "" if self.error is None else "".join(traceback.format_exception(self.error))
        return {**vars(self), "error": error, "trace": trace}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what was sent, and tell the error where it came from."""
        trace = state.pop("trace")
        vars(self).update(state)
        if self.error is not None:
            self.error.__cause__ = WorkerTraceback(trace)


def _sendable(error: Exception) -> Exception:
    """Return an error that arrives, of its own type where that can be."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever the constructor of somebody's error raises
        told = RuntimeError(f"{type(error).__name__}: {error}")
        for note in getattr(error, "__notes__", ()):
            told.add_note(note)
        return told
    return error


@contextmanager
def named(members: Sequence[Member], net: StackNet | None = None) -> Iterator[None]:
    """Note on an error from the block which members it ended, and in which epoch."""
    try:
        yield
    except Exception as error:
        if not any(_WHO in note for note in getattr(error, "__notes__", ())):
            error.add_note(f"{_WHO} {describe(members)}, {_when(net)}.")
        raise


_WHO = "This ended the training of"


def describe(members: Sequence[Member]) -> str:
    """Name members and their seeds."""
    if len(members) == 1:
        return f"member {members[0].number} (seed {members[0].seed})"
    numbers = ", ".join(str(member.number) for member in members)
    seeds = ", ".join(str(member.seed) for member in members)
    return f"members {numbers} (seeds {seeds}), which train together"


def _when(net: StackNet | None) -> str:
    epoch = 0 if net is None else len(getattr(net, "history_", ()))
    return f"in epoch {epoch}" if epoch else "before its first epoch"


def lacks_memory(error: Exception) -> bool:
    """Whether an error says that there was no memory left, on any device."""
    known = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, known) or "DefaultCPUAllocator" in str(error)


def warn_of_room(size: int) -> None:
    """Warn that fewer members trained together than were to."""
    warnings.warn(
        f"There was no memory for all members that were to train together, so {size} or fewer did, "
        f"which takes longer and differs by rounding. Set stack={size}, or a smaller batch_size.",
        RuntimeWarning,
        stacklevel=3,
    )
