"""The training loop: skorch's, over a stack of members. The only place with a backward.

``StackNet`` is a skorch net whose module is a `MemberStack` and whose criterion is an
objective; callbacks of the user see one network. Epochs, callbacks, schedulers, optimisers and
history are skorch's.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, LRScheduler, ParamMapper
from skorch.utils import TeeGenerator
from torch import Tensor

from skensemble._arguments import naming
from skensemble._data.batches import EVERYBODY, Batch, MemberBatches, Part
from skensemble._data.rows import Rows
from skensemble._engine.bar import tell
from skensemble._engine.early_stopping import MemberEarlyStopping
from skensemble._engine.masks import MemberMasks
from skensemble._engine.rates import MemberRates
from skensemble._engine.results import MemberResult
from skensemble._engine.resuming import Recorder
from skensemble._engine.splits import Split
from skensemble._engine.stacks import MemberStack
from skensemble._engine.telling import Teller
from skensemble._recipes.training import make_optimizer
from skensemble.nn._outputs import log_proba
from skensemble.nn._states import is_extra, map_state
from skensemble.objectives import Objective


class _StopTraining(Exception):
    """Raised inside the loop when no member has anything left to learn."""


def _listens_to_batches(callback: Callback) -> bool:
    """Whether a callback wants to hear of every batch."""
    if isinstance(callback, LRScheduler):
        return callback.step_every == "batch"
    hooks = ("on_batch_begin", "on_batch_end", "on_grad_computed")
    return any(getattr(type(callback), hook) is not getattr(Callback, hook) for hook in hooks)


def _spoken_for(callback: Callback) -> contextlib.AbstractContextManager[None]:
    """Name the callbacks in errors of skorch's own, which speak of what is inside of them."""
    kind = type(callback)
    if not kind.__module__.startswith("skorch."):
        return contextlib.nullcontext()
    return naming("callbacks", f"be able to do their work, and {kind.__name__} is not")


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(-1)


def _weight(part: Part, losses: Tensor) -> Any:
    """Return what means of a part's rows count in those of an epoch."""
    batch = part.batch
    if batch.weight is not None:
        return batch.weight.sum(-1)
    n_rows = batch.y.shape[1]
    return n_rows if part.members == EVERYBODY else torch.full_like(losses, n_rows)


def _added_up(values: Tensor, batch: Batch) -> Tensor:
    return values.sum(-1) if batch.weight is None else (values * batch.weight).sum(-1)


class StackNet(NeuralNetClassifier):
    """skorch's loop over the members of a stack.

    Parameters
    ----------
    module : MemberStack
        The members.
    criterion : Objective
        Function of ``(logits, batch)`` to losses, one a member.
    orders : sequence of torch.Generator
        One a member (one in all for shared batches); empty for no shuffling.
    outputs_proba : bool
        Whether the module returns probabilities instead of logits.
    autocast : torch.dtype or None
        Reduced precision of the forward pass.
    early_stopping : MemberEarlyStopping or None
        Who stops when.
    rates : MemberRates or None
        Learning rates and decays, where members have their own.
    masks : MemberMasks or None
        Which weights stay zero.
    loader : dict
        ``valid_batch_size`` and ``drop_last``.
    **kwargs
        skorch's own parameters.
    """

    def __init__(
        self,
        module: MemberStack,
        criterion: Objective,
        *,
        orders: Sequence[torch.Generator] = (),
        outputs_proba: bool = False,
        autocast: torch.dtype | None = None,
        early_stopping: MemberEarlyStopping | None = None,
        rates: MemberRates | None = None,
        masks: MemberMasks | None = None,
        loader: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(
            module,
            criterion=criterion,
            train_split=None,
            predict_nonlinearity=_softmax,
            **kwargs,
        )
        self.orders = orders
        self.outputs_proba = outputs_proba
        self.autocast = autocast
        self.early_stopping = early_stopping
        self.rates = rates
        self.masks = masks
        self.loader = loader

    # -- what skorch builds ------------------------------------------------------------

    def get_default_callbacks(self) -> list[Any]:
        """Return none: the engine records times and losses itself."""
        return []

    def initialize_module(self) -> StackNet:
        """Take the stack as it is; its weights were drawn by the recipe.

        The engine runs ``stack_``. Callbacks find in ``module_`` what skorch's would: the
        module that is trained.
        """
        self.stack_ = self.module
        self.module_ = self.module.shown()
        return self

    def initialize_criterion(self) -> StackNet:
        """Take the objective as it is."""
        self.criterion_ = self.criterion
        return self

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> StackNet:
        """Build the optimiser."""
        found = self.get_params_for_optimizer("optimizer", self.get_all_learnable_params())
        (parameters,), kwargs = found
        frees = any(isinstance(one, ParamMapper) for _, one in self.callbacks_)
        self.optimizer_ = make_optimizer(self.optimizer, parameters, kwargs, frees)
        return self

    def get_all_learnable_params(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the stacked parameters under the names of the user's module."""
        yield from self.stack_.learnable()
        yield from self.criterion_.learnable()

    # -- what it loops over ------------------------------------------------------------

    def check_data(self, X: Any, y: Any = None) -> None:
        """Trust the estimator, which has checked the data."""

    def get_split_datasets(
        self, X: tuple[Split, Split | None], y: None = None, **_: Any
    ) -> tuple[Split, Split | None]:
        """Hand on the split that was made before the members were dealt out."""
        return X

    def get_iterator(self, dataset: Split, training: bool = False) -> MemberBatches:
        """Slice batches by index instead of starting a ``DataLoader``."""
        data, runs = dataset.data, dataset.runs
        if training:
            drop_last = bool(self.loader["drop_last"])
            return MemberBatches(data, runs, self.batch_size, self.orders, drop_last)
        return MemberBatches(data, runs, int(self.loader["valid_batch_size"]))

    # -- one step ----------------------------------------------------------------------

    def _run(self, x: Tensor, members: slice = EVERYBODY) -> Tensor:
        """Return logits of shape ``(member, sample, class)``."""
        some = () if members == EVERYBODY else (members,)
        if self.autocast is None:
            outputs = self.stack_(x, *some)
        else:
            with torch.autocast(x.device.type, dtype=self.autocast):
                outputs = self.stack_(x, *some)
            outputs = outputs.to(x.dtype)
        return log_proba(outputs) if self.outputs_proba else outputs

    def _objective(self, members: slice) -> Objective:
        return self.criterion_ if members == EVERYBODY else self.criterion_.among(members)

    def get_loss(
        self, y_pred: Tensor, y_true: Part, X: Any = None, training: bool = False
    ) -> Tensor:
        """Return the loss of each member of a part."""
        batch = y_true.batch
        if self.stack_.taps:
            batch = replace(batch, features=dict(self.stack_.features))
        if self.criterion_.follows_progress and training:
            done = (len(self.history) - 1) / max(1, self.max_epochs - 1)
            batch = replace(batch, progress=done)
        return self._objective(y_true.members)(y_pred, batch)

    def train_step_single(self, parts: list[Part], **fit_params: Any) -> dict[str, Any]:
        """Run forward and backward; members' losses are added, so none sees another's."""
        told = [self._learn(part) for part in parts]
        loss = reduce(add, [losses.sum() for _, losses, _ in told])
        if not loss.requires_grad:
            raise ValueError(
                "The network must have something to learn. None of its parameters asks for a "
                "gradient: the 'callbacks' (such as Freezer) or the 'module' froze them all."
            )
        loss.backward()
        self.criterion_.adjust(self.get_all_learnable_params())
        told = [(logits, losses.detach(), measures) for logits, losses, measures in told]
        return {"loss": loss, "y_pred": told[0][0], "told": told}

    def _learn(self, part: Part) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        logits = self._run(part.batch.x, part.members)
        if part.batch.other_x is not None:
            other = self._run(part.batch.other_x, part.members)
            part = replace(part, batch=replace(part.batch, other=other))
        losses = self.get_loss(logits, part, training=True)
        return logits, losses, self._measure(logits.detach(), part)

    def _measure(self, logits: Tensor, part: Part) -> dict[str, Tensor]:
        """Return what the objective wants to have recorded beside the loss."""
        batch = part.batch
        if batch.other is not None:
            batch = replace(batch, other=batch.other.detach())
        return self._objective(part.members).measures(logits, batch)

    def _prepared(self, part: Part) -> Part:
        """Return a part whose batch the objective has altered, if it does."""

        def look(x: Tensor) -> Tensor:  # logits as in prediction, to be differentiated by the input
            self._set_training(False)
            try:
                return self._run(x, part.members)
            finally:
                self._set_training(True)

        return replace(part, batch=self._objective(part.members).prepare(part.batch, look))

    def train_step(self, parts: list[Part], **fit_params: Any) -> dict[str, Any]:
        """Make one optimiser step; the closure serves optimisers that ask more than once."""
        steps: list[dict[str, Any]] = []
        # Once a step: whoever asks more than once compares losses of the same rows.
        altered = [self._prepared(part) for part in parts]

        def closure() -> Tensor:
            self.optimizer_.zero_grad()
            steps.append(self.train_step_single(altered))
            if self._batch_listeners:
                named = TeeGenerator(self.get_all_learnable_params())
                self._tell("on_grad_computed", parts, named_parameters=named, training=True)
            if self.rates is not None:
                self.rates.decay(parameters)
            return steps[-1]["loss"]

        if self.rates is None:
            self.optimizer_.step(closure)
        else:
            parameters = [parameter for _, parameter in self.get_all_learnable_params()]
            start = self.rates.before(parameters)
            self.optimizer_.step(closure)
            self.rates.after(parameters, start)
        if self.masks is not None:
            self.masks.apply(self.get_all_learnable_params())
        return steps[0]

    def validation_step(self, parts: list[Part], **fit_params: Any) -> dict[str, Any]:
        """Evaluate one held-out batch of each member."""
        told = []
        with torch.no_grad():
            for part in parts:
                logits = self._run(part.batch.x, part.members)
                told.append((logits, self.get_loss(logits, part), self._measure(logits, part)))
        loss = reduce(add, [losses.sum() for _, losses, _ in told])
        return {"loss": loss, "y_pred": told[0][0], "told": told}

    # -- one epoch ---------------------------------------------------------------------

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Any, **fit_params: Any
    ) -> None:
        """Loop over steps and record each member's mean loss (and scores of held-out rows)."""
        if iterator is None:
            return
        self._set_training(training)
        sums: dict[str, Any] = {}
        scores: dict[str, Any] = {}
        weights: Any = 0.0
        for parts in iterator:
            if self._batch_listeners:
                self.history.new_batch()
                self._tell("on_batch_begin", parts, training=training)
                self._set_training(training)  # whatever a callback did with the module
            step = step_fn(parts)
            for part, (logits, losses, measures) in zip(parts, step["told"], strict=True):
                weight = _weight(part, losses)
                weights = weights + self._of_all(weight, part)
                for name, values in {"loss": losses, **measures}.items():
                    sums[name] = sums.get(name, 0.0) + self._of_all(values * weight, part)
                if not training:
                    found = self._objective(part.members).held_out_scores(logits, part.batch)
                    for name, values in found.items():
                        total = self._of_all(_added_up(values, part.batch), part)
                        scores[name] = scores.get(name, 0.0) + total
            if self._batch_listeners:
                self._record_batch(prefix, step, parts)
                self._tell("on_batch_end", parts, training=training, **self._single(step))
        for name, total in sums.items():
            self._record(f"{prefix}_{name}", total / weights)
        for name, total in scores.items():
            self._record(name, total / weights)

    def _of_all(self, values: Any, part: Part) -> Any:
        """Return numbers of some members as numbers of all, with zeros for the others."""
        if part.members == EVERYBODY:
            return values
        whole = values.new_zeros(self.stack_.n_members)
        whole[part.members] = values
        return whole

    def _record(self, name: str, values: Tensor) -> None:
        numbers = values.expand(self.stack_.n_members).double().cpu().numpy()
        self.member_rows[-1][name] = numbers
        self.history.record(name, float(numbers.mean()))

    # -- the whole fit -----------------------------------------------------------------

    def train(
        self,
        train: Split,
        valid: Split | None,
        label: str = "",
        recorder: Recorder | None = None,
        teller: Teller | None = None,
    ) -> list[MemberResult]:
        """Train all members and return what is left of each.

        Unlike skorch's ``fit`` an interrupt from the keyboard is not swallowed.
        """
        self.label, self._train, self._recorder, self._teller = label, train, recorder, teller
        self.initialize()
        self._batch_listeners = [
            callback for _, callback in self.callbacks_ if _listens_to_batches(callback)
        ]
        self.member_rows: list[dict[str, np.ndarray]] = []
        self.diverged: dict[int, int] = {}
        self.notify("on_train_begin", X=train.data.rows.array, y=train.data.y)
        done = 0 if recorder is None else recorder.resume(self)
        if done and self.verbose:
            tell(label, f"goes on after epoch {done}")
        if not (done and self._nobody_left()):
            with contextlib.suppress(_StopTraining):
                self.fit_loop((train, valid), epochs=self.max_epochs - done)
        self.notify("on_train_end", X=train.data.rows.array, y=train.data.y)
        if teller is not None:
            teller.ends()
        return [self._result(member) for member in range(self.stack_.n_members)]

    def take_rows(self, rows: list[dict[str, np.ndarray]], diverged: dict[int, int]) -> None:
        """Take back what members have shown so far."""
        self.member_rows, self.diverged = rows, diverged

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Open a row of the history."""
        super().on_epoch_begin(net, **kwargs)
        self.member_rows.append({})
        if self._teller is not None:
            self._teller.epoch_begins()
        self._epoch_start = time.perf_counter()

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Close the row; find members that diverged or may stop."""
        self.history.record("dur", time.perf_counter() - self._epoch_start)
        epoch, row = len(self.history), self.member_rows[-1]
        for member in np.flatnonzero(~np.isfinite(row["train_loss"]) & ~self._stopped()):
            self.diverged.setdefault(int(member), epoch)
        if self.early_stopping is not None:
            scores = row[self.early_stopping.recipe.monitor]
            self.early_stopping.update(epoch, scores, self.stack_.member_state)
        if self.verbose > 1:
            self._say(epoch)

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Tell the callbacks; one that raises ``KeyboardInterrupt`` asks for the end."""
        getattr(self, method_name)(self, **cb_kwargs)
        for _, callback in self.callbacks_:
            try:
                with _spoken_for(callback):
                    getattr(callback, method_name)(self, **cb_kwargs)
            except KeyboardInterrupt as stop:
                if method_name != "on_epoch_end":
                    raise
                raise _StopTraining from stop
        if method_name != "on_epoch_end":
            return
        if self._recorder is not None:
            self._recorder.after_epoch(self)
        enough = self._teller is not None and self._teller.epoch_ends(self)
        if enough or self._nobody_left():
            raise _StopTraining

    def peek(self) -> list[MemberResult]:
        """Return the members as they are, and leave torch's global generators as they are."""
        with torch.random.fork_rng():
            return [self._result(member) for member in range(self.stack_.n_members)]

    def _nobody_left(self) -> bool:
        stopped = set(self.diverged) | set(np.flatnonzero(self._stopped()).tolist())
        return len(stopped) == self.stack_.n_members

    def _stopped(self) -> np.ndarray:
        if self.early_stopping is None:
            return np.zeros(self.stack_.n_members, dtype=bool)
        return self.early_stopping.stopped

    def _say(self, epoch: int) -> None:
        numbers = "  ".join(
            f"{name} {values.mean():.4f}" for name, values in self.member_rows[-1].items()
        )
        tell(self.label, f"epoch {epoch}  {numbers}")

    def _result(self, member: int) -> MemberResult:
        kept = self.early_stopping.kept if self.early_stopping is not None else {}
        state = kept.get(member) or self.stack_.member_state(member)
        rows = []
        for entry, members in zip(self.history, self.member_rows, strict=True):
            row = {k: v for k, v in entry.items() if isinstance(v, (int, float, str, bool))}
            row.update({name: float(values[member]) for name, values in members.items()})
            rows.append(row)
        if self.early_stopping is not None and self.early_stopping.stopped[member]:
            last = self.early_stopping.best_epoch[member] + self.early_stopping.recipe.patience
            rows = rows[:last]
        # The last step of all can still lose the weights after a finite loss.
        tensors = [value for name, value in state.items() if not is_extra(name)]
        lost = not all(bool(value.isfinite().all()) for value in tensors)
        return MemberResult(
            map_state(state, Tensor.cpu),
            rows,
            self.diverged.get(member, len(self.history) if lost else None),
            None if self.early_stopping is None else int(self.early_stopping.best_epoch[member]),
        )

    # -- what a user's callback sees: one member, as in skorch ---------------------------

    def _tell(self, hook: str, parts: list[Part], **kwargs: Any) -> None:
        batch = parts[0].batch
        for callback in self._batch_listeners:
            with _spoken_for(callback):
                getattr(callback, hook)(self, batch=(batch.x[0], batch.y[0]), **kwargs)

    def infer(self, x: Any, **fit_params: Any) -> Tensor:
        """Return what the network puts out for rows, as skorch does."""
        if isinstance(x, Tensor):
            x = x.to(self.device, self._train.data.rows.dtype)
        else:
            x = self._rows(x).slice(0, len(x))
        logits = self.criterion_.combine(self._run(x.unsqueeze(0)))[0]
        return logits.softmax(-1) if self.outputs_proba else logits

    def forward_iter(self, X: Any, training: bool = False, device: str = "cpu") -> Iterator[Tensor]:
        """Yield logits batch by batch; the mode is put back, as training may be under way."""
        rows, before = self._rows(X), self.stack_.training
        size = len(rows) if self.batch_size == -1 else self.batch_size
        self._set_training(training)
        try:
            for start in range(0, len(rows), size):
                with torch.no_grad():
                    logits = self._run(rows.slice(start, start + size).unsqueeze(0))
                yield self.criterion_.combine(logits)[0].to(device)
        finally:
            self._set_training(before)

    def _rows(self, X: Any) -> Rows:
        return Rows(np.asarray(X), self._train.data.rows.dtype, self.device)

    def _single(self, step: dict[str, Any]) -> dict[str, Tensor]:
        return {"loss": step["loss"], "y_pred": step["y_pred"][0]}

    def _record_batch(self, prefix: str, step: dict[str, Any], parts: list[Part]) -> None:
        self.history.record_batch(f"{prefix}_loss", step["loss"].item())
        self.history.record_batch(f"{prefix}_batch_size", parts[0].batch.y.shape[1])
