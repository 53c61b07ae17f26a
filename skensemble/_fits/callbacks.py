"""scikit-learn's callbacks (SLEP 23): a fit, the trainings in it, their stacks, their epochs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from skensemble._engine.progress import Listener, News, Peek, Watch, listening
from skensemble._fits.given import Given
from skensemble._private import callbacks_of, open_callbacks


class Told(Listener):
    """Tells the callbacks of one estimator; other estimators' trainings in its fit are tasks too.

    Parameters
    ----------
    estimator : estimator
        Whose callbacks they are.
    root : CallbackContext
        That of its fit.
    given : Given
        The data of the fit.
    """

    def __init__(self, estimator: Any, root: Any, given: Given) -> None:
        self._estimator, self._root = estimator, root
        weight = given.sample_weight
        metadata = None if weight is None else {"sample_weight": weight}
        self._about = {"estimator": estimator, "X": given.X, "y": given.y, "metadata": metadata}
        self._trainings: dict[int, Any] = {}
        self._stacks: dict[tuple[int, tuple[int, ...]], Any] = {}
        self._epochs: dict[tuple[int, tuple[int, ...]], Any] = {}

    def fit_begins(self) -> None:
        """Tell of the fit."""
        self._root.call_on_fit_task_begin(**self._about)

    def fit_ends(self) -> None:
        """Tell that it went well."""
        self._root.call_on_fit_task_end(**self._about)

    def training_begins(self, watch: Watch) -> None:
        """Make a task whose subtasks are stacks, in any order."""
        training = self._root.subcontext(
            f"train {watch.owner}", max_subtasks=watch.n_stacks, sequential_subtasks=False
        )
        self._trainings[id(watch)] = training.call_on_fit_task_begin(**self._about)

    def epoch_begins(self, watch: Watch, members: tuple[int, ...]) -> None:
        """Make a task of the epoch, and before the first one of its stack."""
        key = id(watch), members
        stack = self._stacks.get(key) or self._begin_stack(watch, members)
        self._stacks[key] = stack
        self._epochs[key] = stack.subcontext("epoch").call_on_fit_task_begin(**self._about)

    def epoch_ends(self, watch: Watch, news: News, gained: int, peek: Peek | None) -> bool:
        """Tell of an epoch; what is told of another process begins and ends at once."""
        key = id(watch), news.members
        if key not in self._epochs:
            self.epoch_begins(watch, news.members)
        attributes = self._preview(watch, news.members, peek)
        epoch = self._epochs.pop(key)
        return bool(epoch.call_on_fit_task_end(reconstruction_attributes=attributes, **self._about))

    def stack_ends(self, watch: Watch, members: tuple[int, ...], gained: int) -> None:
        """Tell that a stack is done, unless it was found done."""
        stack = self._stacks.pop((id(watch), members), None)
        if stack is not None:
            stack.call_on_fit_task_end(**self._about)

    def training_ends(self, watch: Watch, failed: bool) -> None:
        """Tell that a training is done."""
        training = self._trainings.pop(id(watch), None)
        if training is not None and not failed:
            training.call_on_fit_task_end(**self._about)

    def _begin_stack(self, watch: Watch, members: tuple[int, ...]) -> Any:
        training = self._trainings[id(watch)]
        number = len({one.task_id for one in training if one.parent is training})
        if number == training.max_subtasks:  # one that had no room trains in parts
            training.max_subtasks += 1
        n_epochs = watch.until[members[0]]
        stack = training.subcontext("stack", task_id=number, max_subtasks=n_epochs)
        return stack.call_on_fit_task_begin(**self._about)

    def _preview(self, watch: Watch, members: tuple[int, ...], peek: Peek | None) -> Any:
        """Return what makes a fitted estimator, where one stack of ours has all there is to it."""
        preview = watch.source.preview
        if peek is None or preview is None or preview.estimator is not self._estimator:
            return None
        if set(members) != set(watch.until):
            return None
        return lambda: preview.attributes(dict(zip(members, peek(), strict=True)))


@contextmanager
def told_of(estimator: Any, given: Given) -> Iterator[None]:
    """Tell the callbacks that are set on an estimator of the fit inside the block."""
    if not callbacks_of(estimator):
        yield
        return
    told = Told(estimator, open_callbacks(estimator), given)
    told.fit_begins()
    with listening(told):
        yield
    told.fit_ends()
