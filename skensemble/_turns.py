"""Locks of the process, which a forked child begins with anew."""

from __future__ import annotations

import os
import threading
from types import TracebackType


class Turns:
    """A lock for threads to take turns with, that a fork does not carry over.

    Only the thread that forks goes on in the child: a lock that another thread held would
    never be released there. So the child has a new one, unless the forking thread was
    inside and will leave it. As of :class:`threading.RLock`, a thread may enter twice.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._inside: list[int] = []  # who is, once for each time it entered
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin_anew)

    def __enter__(self) -> None:
        self._lock.acquire()
        self._inside.append(threading.get_ident())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._inside.pop()
        self._lock.release()

    def _begin_anew(self) -> None:
        if threading.get_ident() not in self._inside:
            self._lock, self._inside = threading.RLock(), []
