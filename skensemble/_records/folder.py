"""A folder that holds what one fit has done so far.

A fit asks for its trainings in an order that depends on its parameters and its data alone. So a
training is found again by its number, and what it was of is compared: a fit that is run again
does over what is quick, takes the networks that are there, and goes on with those that are not.
"""

from __future__ import annotations

import numbers
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import sklearn
import torch

from skensemble._parameters import Parameters
from skensemble._private import Interval, StrOptions
from skensemble._records.atomic import LEFTOVER, is_leftover
from skensemble._records.file import BrokenRecord, read, write
from skensemble._records.fingerprint import data_of, differences

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_FIT = "fit.record"
_LOCK = "fit.lock"
_active: ContextVar[Folder | None] = ContextVar("folder", default=None)


@dataclass(eq=False)
class Checkpoint(Parameters):
    """A folder that a fit goes on from after it was killed or interrupted.

    Parameters
    ----------
    folder : path-like
        Where the fit keeps what it has done. It holds one fit, with its parameters and its data;
        workers on other machines must see it too. Nothing in it is executed.
    every : int or "auto", default="auto"
        After how many epochs a stack that is being trained is kept; networks that are done are
        kept in any case. "auto" keeps it after an epoch, though not twice in a second.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import Checkpoint, DeepEnsembleClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ensemble = DeepEnsembleClassifier(n_estimators=2, checkpoint=Checkpoint(folder, 5))
    ...     first = ensemble.fit(X, y).predict_proba(X)
    ...     again = ensemble.fit(X, y).predict_proba(X)  # nothing is trained; the folder has a seed
    >>> bool((first == again).all())
    True
    """

    folder: Any
    every: int | str = "auto"

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "folder": [str, os.PathLike],
        "every": [Interval(numbers.Integral, 1, None, closed="left"), StrOptions({"auto"})],
    }


# Of the parameter of estimators.
CHECKPOINT: list[Any] = [str, os.PathLike, Checkpoint, None]


def read_checkpoint(given: Any) -> Checkpoint | None:
    """Return what the parameter says, checked."""
    if given is not None and not isinstance(given, Checkpoint):
        given = Checkpoint(given)
    if given is not None:
        given.check_params()
    return given


def active() -> Folder | None:
    """Return where the fit that is under way in this thread keeps what it has done."""
    return _active.get()


class Folder:
    """The folder of a fit that is under way.

    Parameters
    ----------
    settings : Checkpoint
        Which, and how often networks are kept.
    about : dict
        What the fit is of, in plain words.
    draw_root : callable
        Draws the seed of the fit, where the folder does not say it.
    """

    def __init__(
        self, settings: Checkpoint, about: dict[str, Any], draw_root: Callable[[], int]
    ) -> None:
        self.path = Path(settings.folder)
        self.every = settings.every
        self._scope = self.path
        self._counts: dict[Path, int] = {}
        self._digests: dict[int, tuple[Any, str | None]] = {}
        self._remove_leftovers()
        root = draw_root()  # in any case: a generator that is shared goes on as it would
        kept = self._read(self.path / _FIT)
        if kept is None:
            kept = {"about": about, "root": root, "versions": _versions()}
            write(self.path / _FIT, kept, sync=True)
        require_same(self.path, kept["about"], about)
        require_same(self.path, kept["versions"], _versions())
        self.root = int(kept["root"])

    def _remove_leftovers(self) -> None:
        """Remove what a process left that was killed in a write, and no file of anybody else's."""
        for place in (self.path, *self.path.rglob("training-*")):
            for stray in place.glob(f".*{LEFTOVER}"):
                if is_leftover(stray.name):
                    stray.unlink(missing_ok=True)

    @staticmethod
    def _read(path: Path) -> Any:
        try:
            return read(path) if path.exists() else None
        except BrokenRecord as error:
            raise ValueError(
                f"The 'checkpoint' cannot be read: {error} Delete its folder to begin anew."
            ) from error

    def next_training(self) -> Path:
        """Return where the next training of this fit keeps its networks."""
        number = self._counts.get(self._scope, 0)
        self._counts[self._scope] = number + 1
        path = self._scope / f"training-{number}"
        path.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def within(self, name: str) -> Iterator[None]:
        """Give trainings their own numbers, of a fit that may be remembered and not be run."""
        before, self._scope = self._scope, self._scope / name
        try:
            yield
        finally:
            self._scope = before

    def data_of(self, value: Any) -> str | None:
        """Describe data, each array once."""
        known = self._digests.get(id(value))
        if known is None or known[0] is not value:
            known = self._digests[id(value)] = value, data_of(value)
        return known[1]


def require_same(path: Path, before: Any, now: Any) -> None:
    """Refuse a folder that was made by another fit."""
    found = list(differences(before, now))
    if found:
        more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
        raise ValueError(
            f"The 'checkpoint' {path} holds a fit with other parameters, data or libraries: "
            f"{'; '.join(found[:3])}{more}. Set them as they were, take another folder, or delete "
            "this one."
        )


@contextmanager
def opened(
    given: Any, about: Callable[[], dict[str, Any]], draw_root: Callable[[], int]
) -> Iterator[Folder | None]:
    """Let all trainings of the fit inside be kept in a folder, if one is given."""
    settings = read_checkpoint(given)
    if settings is None:
        yield None
        return
    Path(settings.folder).mkdir(parents=True, exist_ok=True)
    with _alone(Path(settings.folder)):
        folder = Folder(settings, about(), draw_root)
        token = _active.set(folder)
        try:
            yield folder
        finally:
            _active.reset(token)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep two fits out of one folder; the lock of a process that was killed is open."""
    if fcntl is None:
        yield
        return
    with (path / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                f"The 'checkpoint' {path} is that of another fit, which is under way. A folder "
                "holds one fit: inside a search or a teacher's folds set 'checkpoint' on the "
                "outermost estimator alone."
            ) from error
        yield


def _versions() -> dict[str, str]:
    """Return what may round otherwise in another version."""
    return {one.__name__: str(one.__version__) for one in (torch, np, sklearn)}
