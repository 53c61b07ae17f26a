"""How far trainings are: counted in the one loop over epochs, told to whoever listens.

A `Watch` counts one `Training`, in epochs of networks. Workers tell it through a `Channel`, of
which there is a copy in every process; `docs/design/progress.md` says how the news travel.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skensemble._engine.results import MemberResult

# Seconds between two looks at what other processes have told.
_PAUSE = 0.1

Peek = Callable[[], list[MemberResult]]


@dataclass(frozen=True)
class News:
    """What a stack says at the end of an epoch.

    Attributes
    ----------
    members : tuple of int
        The numbers of its members.
    epoch : int
        Epochs that are done.
    loss : float
        The members' mean loss, on held-out rows where there are some.
    best : tuple of two int, or None
        The first and the last of the members' best epochs, where one is looked for.
    """

    members: tuple[int, ...]
    epoch: int
    loss: float
    best: tuple[int, int] | None = None


class Listener:
    """Is told of trainings, by one thread at a time; it hears nothing unless it says so here."""

    def announce(self, work: int) -> None:
        """Hear that there will be so many epochs of networks, or so many fewer."""

    def training_begins(self, watch: Watch) -> None:
        """Hear of a training."""

    def epoch_begins(self, watch: Watch, members: tuple[int, ...]) -> None:
        """Hear of an epoch of a stack; not from workers in other processes."""

    def epoch_ends(self, watch: Watch, news: News, gained: int, peek: Peek | None) -> bool:
        """Hear of the end of an epoch; True ends the stack.

        `gained` are epochs of networks since the last news; `peek` gives the networks as they
        are, where they are in this process.
        """
        return False

    def stack_ends(self, watch: Watch, members: tuple[int, ...], gained: int) -> None:
        """Hear that a stack is done, which may be before its last epoch."""

    def training_ends(self, watch: Watch, failed: bool) -> None:
        """Hear the end of a training."""


# With the process they are in: one that is forked has copies that nobody sees.
_listeners: ContextVar[tuple[int, tuple[Listener, ...]]] = ContextVar("listeners", default=(0, ()))


def listeners() -> tuple[Listener, ...]:
    """Return who listens to the trainings of this context."""
    process, told = _listeners.get()
    return told if process == os.getpid() else ()


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let somebody hear of the trainings inside the block, however deep."""
    token = _listeners.set((os.getpid(), (*listeners(), listener)))
    try:
        yield
    finally:
        _listeners.reset(token)


def announce(work: int) -> int:
    """Say that there will be so many epochs of networks; return what was said."""
    for listener in listeners():
        listener.announce(work)
    return work


class Watch:
    """One training that is under way.

    Parameters
    ----------
    owner : str
        Who wants it.
    until : dict of int to int
        The last epoch of each network, by number.
    told : sequence of Listener
        Who listens.
    n_stacks : int
        How many stacks there are.
    source : object
        The `Training`.
    """

    def __init__(
        self,
        owner: str,
        until: dict[int, int],
        told: Sequence[Listener],
        n_stacks: int,
        source: Any = None,
    ) -> None:
        self.owner, self.until, self.n_stacks, self.source = owner, until, n_stacks, source
        self.error: Exception | None = None
        self.catch_up: Callable[[], None] = lambda: None
        self._told = told
        self._at = dict.fromkeys(until, 0)
        self._done: set[int] = set()
        self._turn = threading.RLock()

    @property
    def left(self) -> int:
        """How many epochs of networks have not been trained."""
        return sum(self.until.values()) - sum(self._at.values())

    def begins(self) -> None:
        """Tell of the training."""
        for one in self._told:
            one.training_begins(self)

    def epoch_begins(self, members: tuple[int, ...]) -> None:
        """Tell that a stack begins an epoch."""
        with self._turn:
            for one in self._told:
                one.epoch_begins(self, members)

    def epoch_ends(self, news: News, peek: Peek | None = None) -> bool:
        """Tell that a stack has ended an epoch; return whether it is to be its last."""
        with self._turn:
            gained = self._advance(news.members, news.epoch)
            enough = False
            for one in self._told:  # all of them, whatever one says
                enough |= one.epoch_ends(self, news, gained, peek)
            return enough

    def stack_ends(self, members: tuple[int, ...]) -> None:
        """Tell that a stack is done, once; who stopped early has no epochs left."""
        with self._turn:
            new = tuple(one for one in members if one not in self._done)
            self._done.update(new)
            gained = self._advance(new, None)
            for one in self._told if new else ():
                one.stack_ends(self, new, gained)

    def came_back(self, members: tuple[int, ...]) -> None:
        """Tell of networks that are here; whatever their worker told has its turn before."""
        self.catch_up()
        self.stack_ends(members)

    def ends(self, failed: bool) -> None:
        """Tell the end of the training."""
        for one in self._told:
            one.training_ends(self, failed)

    def _advance(self, members: Iterable[int], epoch: int | None) -> int:
        """Count networks up to an epoch, or to their end; never backwards, as parts train again."""
        gained = 0
        for one in members:
            last = self.until[one]
            now = last if epoch is None else min(epoch, last)
            gained += max(0, now - self._at[one])
            self._at[one] = max(now, self._at[one])
        return gained


_watches: dict[tuple[int, str], Watch] = {}


@dataclass(frozen=True)
class Channel:
    """The way from a worker to the watch: a call in its process, a line in a file from others.

    A worker on another machine does not find the file, and its stacks count when they are back.
    """

    token: str
    folder: str | None = None

    def epoch_begins(self, members: tuple[int, ...]) -> None:
        """Tell that a stack begins an epoch."""
        watch = self._watch()
        if watch is not None:
            watch.epoch_begins(members)

    def epoch_ends(self, news: News, peek: Peek) -> bool:
        """Tell that a stack has ended an epoch; return whether it is to be its last."""
        watch = self._watch()
        if watch is not None:
            return watch.epoch_ends(news, peek)
        self._write(vars(news))
        return self.folder is not None and _may_not_go_on(self.folder, news.members)

    def stack_ends(self, members: tuple[int, ...]) -> None:
        """Tell that a stack is done."""
        watch = self._watch()
        if watch is not None:
            watch.stack_ends(members)
        else:
            self._write({"members": members})

    def _watch(self) -> Watch | None:
        return _watches.get((os.getpid(), self.token))  # a forked process has copies

    def _write(self, told: dict[str, Any]) -> None:
        if self.folder is None:
            return
        with contextlib.suppress(OSError):  # which is no reason to end a training
            file = os.open(Path(self.folder) / "news", os.O_WRONLY | os.O_APPEND)
            try:
                os.write(file, f"{json.dumps(told)}\n".encode())
            finally:
                os.close(file)


def _may_not_go_on(folder: str, members: Sequence[int]) -> bool:
    return _stop_of(folder, members).exists() or _stop_of(folder).exists()


def _stop_of(folder: str, members: Sequence[int] = ()) -> Path:
    """Return the file that is there where a stack is to stop; without members, all of them."""
    return Path(folder) / "-".join(("stop", *map(str, members)))


@contextlib.contextmanager
def channel_to(watch: Watch, processes: bool) -> Iterator[Channel]:
    """Open the way to a watch, also for other processes; tell of the beginning and the end."""
    key = os.getpid(), uuid.uuid4().hex
    _watches[key] = watch
    failed = True
    try:
        watch.begins()
        with _read_from_processes(watch) if processes else contextlib.nullcontext() as folder:
            yield Channel(key[1], folder)
        failed = False
    finally:
        del _watches[key]
        watch.ends(failed)
    if watch.error is not None:  # of a listener, when it was told of another process
        raise watch.error


@contextlib.contextmanager
def _read_from_processes(watch: Watch) -> Iterator[str]:
    """Read what other processes tell; yield the folder in which they do."""
    with tempfile.TemporaryDirectory(prefix="skensemble-") as folder, _Reader(watch, folder) as one:
        over = threading.Event()
        thread = threading.Thread(target=one.follow, args=(over,), daemon=True)
        thread.start()
        watch.catch_up = one.read
        try:
            yield folder
        finally:
            over.set()
            thread.join()
            one.read()


class _Reader(contextlib.AbstractContextManager[Any]):
    """Passes the lines of other processes on to a watch."""

    def __init__(self, watch: Watch, folder: str) -> None:
        self._watch, self._folder, self._rest = watch, folder, b""
        self._turn = threading.Lock()
        news = Path(folder) / "news"
        news.touch()
        self._file = news.open("rb")

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def follow(self, over: threading.Event) -> None:
        """Read until it is over."""
        while not over.wait(_PAUSE):
            self.read()

    def read(self) -> None:
        """Pass on what is there; a listener's error ends all stacks, and is kept for the end."""
        with self._turn:
            *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
            try:
                for line in lines if self._watch.error is None else ():
                    self._pass_on(json.loads(line))
            except Exception as error:
                self._watch.error = error
                _stop_of(self._folder).touch()

    def _pass_on(self, told: dict[str, Any]) -> None:
        members = tuple(told.pop("members"))
        if not told:
            self._watch.stack_ends(members)
            return
        best = told.pop("best")
        news = News(members, best=None if best is None else (best[0], best[1]), **told)
        if self._watch.epoch_ends(news):
            _stop_of(self._folder, members).touch()
