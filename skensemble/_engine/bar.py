"""The bar of ``verbose=1``, which is tqdm's; one in a process, whatever trains inside."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

from skensemble._engine.progress import Listener, News, Peek, Watch, listeners, listening
from skensemble._turns import Turns


class Bar(Listener):
    """Epochs of networks that are done, of those there will be; who comes while it is there joins.

    Parameters
    ----------
    owner : str
        Who shows it.
    leave : bool
        Whether its last state stays.
    """

    shown: ClassVar[Bar | None] = None
    _turn: ClassVar[Turns] = Turns()

    def __init__(self, owner: str, leave: bool) -> None:
        self.owner, self.leave, self.process = owner, leave, os.getpid()
        self.n_users = self.total = self.done = 0
        self._share, self._shares_next = 0.0, False
        self._drawn: Any = None

    # -- whose it is ---------------------------------------------------------------------

    @classmethod
    def join(cls, owner: str, leave: bool) -> Bar:
        """Return the bar that is there, or a new one."""
        with cls._turn:
            bar = cls.shown = cls.here() or cls(owner, leave)
            bar.n_users += 1
            return bar

    @classmethod
    def here(cls) -> Bar | None:
        """Return the bar of this process, if there is one; a forked process has none."""
        bar = cls.shown
        return None if bar is None or bar.process != os.getpid() else bar

    def part(self, failed: bool) -> None:
        """Leave; the last one closes it."""
        with self._turn:
            self.n_users -= 1
            if self.n_users:
                return
            type(self).shown = None
            if self._drawn is not None:
                if not failed:
                    self._share = 0.0
                    self._resize(self.done - self.total)  # what was announced and did not come
                self._drawn.close()

    # -- what it hears ---------------------------------------------------------------------

    def announce(self, work: int) -> None:
        """Make room for work that will come."""
        with self._turn:
            self._resize(work, new=True)

    def training_begins(self, watch: Watch) -> None:
        """Make room for a training, and show the bar where this is the first one."""
        with self._turn:
            self._resize(watch.left - watch.source.announced, new=True)
            if self._drawn is None:
                self._drawn = _draw(self.owner, self._shown_total, self.leave)

    def epoch_ends(self, watch: Watch, news: News, gained: int, peek: Peek | None) -> bool:
        """Move on, and say how good it is."""
        words = f"loss {news.loss:.3g}"
        if news.best is not None:
            first, last = news.best
            words += f", best epoch {first}" + (f" to {last}" if last > first else "")
        with self._turn:
            self._drawn.set_postfix_str(words, refresh=False)
            self._move(gained)
        return False

    def stack_ends(self, watch: Watch, members: tuple[int, ...], gained: int) -> None:
        """Jump to the end of a stack that stopped early."""
        with self._turn:
            self._move(gained)

    def training_ends(self, watch: Watch, failed: bool) -> None:
        """Take back what was not trained."""
        with self._turn:
            self._resize(-watch.left)

    def reserve(self, share: float) -> None:
        """Make room for later work, as a share of what comes before it."""
        with self._turn:
            self._share = share

    def work_is_known(self) -> None:
        """Say that what comes next is what room was reserved for."""
        self._shares_next = True

    def hide(self) -> None:
        """Clear the line for others' words, until the next news."""
        with self._turn:
            if self._drawn is not None:
                self._drawn.clear()

    def write(self, text: str) -> None:
        """Print a line above it."""
        if self._drawn is None:
            print(text, flush=True)  # noqa: T201
        else:
            self._drawn.write(text, file=sys.stdout)
            sys.stdout.flush()

    # -- how it looks ----------------------------------------------------------------------

    def _move(self, gained: int) -> None:
        self.done += gained
        self._drawn.update(gained)

    @property
    def _shown_total(self) -> int:
        return round(self.total * (1 + self._share))

    def _resize(self, more: int, new: bool = False) -> None:
        self.total += more
        if new and self._shares_next:
            self._share = 0.0
        if self._drawn is None:
            return
        self._drawn.total = self._shown_total
        if hasattr(self._drawn, "container"):  # a notebook's, which is told once
            self._drawn.container.children[1].max = self._shown_total


def _draw(owner: str, total: int, leave: bool) -> Any:
    from tqdm.auto import tqdm

    class OneLine(tqdm):  # type: ignore[misc]
        monitor_interval = 0  # no thread that looks after bars

    return OneLine(
        total=total,
        desc=owner,
        file=sys.stderr,
        leave=leave,
        miniters=1,
        dynamic_ncols=True,
        bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} epochs [{elapsed}<{remaining}{postfix}]",
    )


def _can_be_seen() -> bool:
    """Whether somebody looks: at a terminal or a notebook, and not at a worker's output."""
    if multiprocessing.parent_process() is not None or sys.stderr is None:
        return False
    return sys.stderr.isatty() or type(sys.stderr).__module__ == "ipykernel.iostream"


@contextlib.contextmanager
def bar_shown(verbose: int, owner: str, leave: bool = True) -> Iterator[Bar | None]:
    """Show how far the trainings inside the block are, unless that is shown already."""
    if not verbose or any(isinstance(one, Bar) for one in listeners()) or not _can_be_seen():
        yield None
        return
    bar, failed = Bar.join(owner, leave), True
    try:
        with listening(bar):
            yield bar
        failed = False
    finally:
        bar.part(failed)


def tell(who: str, what: str) -> None:
    """Print a line of ``verbose=1``, above the bar where there is one."""
    text, bar = f"[skensemble] {who}: {what}", Bar.here()
    if bar is None:
        print(text, flush=True)  # noqa: T201
    else:
        bar.write(text)
