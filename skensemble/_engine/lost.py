"""Workers that end before they have trained what they were sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from joblib.parallel import get_active_backend

# What joblib's backends raise for it, by package and class, since none of them need be installed.
_LOST = {
    ("concurrent", "BrokenExecutor"),  # loky's TerminatedWorkerError is one
    ("distributed", "KilledWorker"),
    ("distributed", "FutureCancelledError"),  # its inputs went with the worker that held them
    ("ray", "RayActorError"),
    ("ray", "WorkerCrashedError"),
    ("ray", "OutOfMemoryError"),
}


class WorkerLostError(RuntimeError):
    """A worker was killed or crashed before it had trained its networks.

    Attributes
    ----------
    unfinished : tuple of int
        The numbers of the networks that were not trained.
    """

    def __init__(self, message: str, unfinished: tuple[int, ...]) -> None:
        super().__init__(message, unfinished)
        self.unfinished = unfinished

    @classmethod
    def of(cls, error: Exception, unfinished: tuple[int, ...], n_members: int) -> WorkerLostError:
        """Say what happened, what there is and what to do."""
        trained = n_members - len(unfinished)
        told = " ".join(f"{type(error).__name__}: {error}".split())
        return cls(
            "A worker was killed or crashed while it trained, often for want of memory. "
            f"{trained} of {n_members} networks were trained before it; an ensemble keeps those, "
            "and with warm_start=True its next fit trains only the others. Use fewer workers where "
            f"memory is short. {told}",
            unfinished,
        )

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def told_of_lost(members: list[Any], results: dict[int, Any]) -> Iterator[None]:
    """Raise a `WorkerLostError` from the block where a worker is lost; `results` are those kept."""
    try:
        with _deaths_told(get_active_backend()[0]):
            yield
    except Exception as error:
        if not _is_of_lost(error):
            raise
        unfinished = [member.number for member in members if member.number not in results]
        raise WorkerLostError.of(error, tuple(unfinished), len(members)) from error


def _is_of_lost(error: Exception) -> bool:
    return any((one.__module__.split(".")[0], one.__name__) in _LOST for one in type(error).__mro__)


@contextmanager
def _deaths_told(backend: Any) -> Iterator[None]:
    """Tell joblib of a task of dask's that failed, inside the block.

    dask sends a task again whose worker died, and gives it up after some times. joblib's backend
    notes that on the future and calls nobody, so that the caller would wait forever.
    """
    name = next((one for one in ("submit", "apply_async") if hasattr(backend, one)), "")
    if type(backend).__name__ != "DaskDistributedBackend" or name in vars(backend):
        yield
        return
    plain = getattr(backend, name)

    def submit(func: Any, callback: Callable[[Any], Any] | None = None) -> Any:
        def tell(future: Any) -> None:
            if callback is not None and future.exception() is not None:
                callback(future.exception())

        future = plain(func, callback)
        future.add_done_callback(tell)
        return future

    setattr(backend, name, submit)
    try:
        yield
    finally:
        delattr(backend, name)
