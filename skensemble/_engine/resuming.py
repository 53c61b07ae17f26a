"""What a stack of members is in the middle of its training, as a record, and back again."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor, nn

from skensemble._data.rows import FitData
from skensemble._engine.members import Member
from skensemble._engine.results import MemberResult
from skensemble._records.file import BrokenRecord, read, write
from skensemble._records.folder import Folder, require_same
from skensemble._records.tree import NotRecordable, is_recordable
from skensemble.nn._states import extra_state, versions, with_versions

# skorch's callbacks that tell of a training and have no say in it.
_TELLERS = "skorch.callbacks.logging"
# What is said of each member of a shard.
_OF_MEMBERS = ("members", "seeds", "data")
# Between two records of one stack, where nobody says how often.
_SECONDS = 1.0


@dataclass(frozen=True)
class ShardRecord:
    """Where a shard is kept, and what it is of; sent to workers as it is.

    Attributes
    ----------
    path : Path
        Of its results, without an ending.
    about : dict
        What its members and their data are, in plain words.
    every : int or "auto"
        After how many epochs it is kept; see `Checkpoint`.
    """

    path: Path
    about: dict[str, Any]
    every: int | str

    @property
    def _done(self) -> Path:
        return self.path.with_suffix(".done")

    @property
    def _under_way(self) -> Path:
        return self.path.with_suffix(".part-way")

    def part(self, members: list[Member]) -> ShardRecord:
        """Return where some members are kept, where there is no room for all together."""
        numbers = [member.number for member in members]
        whole = self.about["members"]
        if numbers == whole:
            return self
        places = [whole.index(number) for number in numbers]
        own = {name: [self.about[name][at] for at in places] for name in _OF_MEMBERS}
        path = self.path.with_name(f"{self.path.name}-{numbers[0]}-{numbers[-1]}")
        return replace(self, path=path, about={**self.about, **own})

    def results(self) -> list[MemberResult] | None:
        """Return the results of a shard that is done."""
        kept = self._read(self._done)
        return None if kept is None else [_result(one) for one in kept["members"]]

    def progress(self) -> dict[str, Any] | None:
        """Return what was kept of a shard that is under way."""
        return self._read(self._under_way)

    def _read(self, path: Path) -> Any:
        if not path.exists():
            return None
        try:
            kept = read(path)
        except BrokenRecord as error:
            warnings.warn(
                f"Members are trained again, since their record cannot be used: {error}",
                stacklevel=2,
            )
            return None
        require_same(path, kept["about"], self.about)
        return kept

    def keep_results(self, results: list[MemberResult]) -> None:
        """Keep a shard that is done."""
        kept = [_about_result(one) for one in results]
        self._write(self._done, {"members": kept}, sync=True)
        self._under_way.unlink(missing_ok=True)

    def keep_progress(self, progress: dict[str, Any]) -> None:
        """Keep a shard that is under way."""
        self._write(self._under_way, progress)

    def _write(self, path: Path, tree: dict[str, Any], sync: bool = False) -> None:
        try:
            write(path, {"about": self.about, **tree}, sync)
        except NotRecordable as error:
            at, kind = error.args
            raise ValueError(
                "A 'checkpoint' holds tensors, numbers, strings, lists and dicts. Got a "
                f"{kind} in {at}; leave it out of the module's extra state and the history, or "
                "fit without a checkpoint."
            ) from error


def records_of(
    folder: Folder, shards: list[list[Member]], about: dict[str, Any]
) -> list[ShardRecord]:
    """Return where each shard of the next training is kept."""
    path = folder.next_training()
    records = []
    for number, shard in enumerate(shards):
        told = {
            **about,
            "shard that 'stack' and 'n_jobs' make": f"{number} of {len(shards)}",
            "members": [one.number for one in shard],
            "seeds": [one.seed for one in shard],
            "data": [_told_data(folder, one.told or one.data) for one in shard],
        }
        records.append(ShardRecord(path / f"shard-{number}", told, folder.every))
    return records


def _told_data(folder: Folder, data: FitData | None) -> dict[str, Any] | None:
    if data is None:
        return None
    arrays = {"X": data.X, "y": data.y, "weight": data.weight, "rows": data.rows}
    arrays |= {"_".join(name).strip("_"): value for name, value in data.tables().items()}
    told: dict[str, Any] = {name: folder.data_of(value) for name, value in arrays.items()}
    return {**told, "held_out": _told_data(folder, data.valid)}


def _about_result(result: MemberResult) -> dict[str, Any]:
    return {
        "state": dict(result.state),
        "versions": versions(result.state),
        "history": result.history,
        "diverged_at": result.diverged_at,
        "best_epoch": result.best_epoch,
    }


def _result(kept: dict[str, Any]) -> MemberResult:
    state = with_versions(kept["state"], kept["versions"])
    return MemberResult(state, kept["history"], kept["diverged_at"], kept["best_epoch"])


# -- in the middle of a training -------------------------------------------------------------


class Recorder:
    """Keeps a `StackNet` after its epochs, and gives it back what was kept.

    Parameters
    ----------
    record : ShardRecord
        Where.
    draws_on : torch.device or None
        Whose global generator the training draws from, where it does.
    """

    def __init__(self, record: ShardRecord, draws_on: torch.device | None) -> None:
        self.record = record
        self.draws_on = draws_on
        self._kept_at = time.monotonic()

    def resume(self, net: Any) -> int:
        """Bring a net that is about to train to where it was; return how many epochs are done."""
        kept = self.record.progress()
        if kept is None:
            return 0
        with torch.no_grad():
            for name, value in _tensors(net.stack_).items():
                value.copy_(kept["stack"][name])
        if kept["extra"]:
            net.stack_.load_state_dict(kept["extra"], strict=False)
        for name, parameter in net.stack_.named_parameters():
            parameter.requires_grad_(name in kept["learned"])
        _give_optimizer(net.optimizer_, kept["optimizer"])
        for moving, state in zip(_moving(net), kept["moving"], strict=True):
            _give(moving, state)
        for name, callback in net.callbacks_:
            _give_callback(callback, kept["callbacks"].get(name, {}))
        if net.early_stopping is not None:
            for name, value in kept["stopping"].items():
                setattr(net.early_stopping, name, value)
        net.history.extend(kept["history"])
        net.take_rows(kept["rows"], kept["diverged"])
        if self.draws_on is not None:
            _give_global(kept["global"], self.draws_on)
        return len(kept["history"])

    def after_epoch(self, net: Any) -> None:
        """Keep a net if it is time."""
        if not self._is_time(len(net.history)):
            return
        stopping = net.early_stopping
        self.record.keep_progress(
            {
                "stack": _tensors(net.stack_),
                "extra": extra_state(net.stack_.state_dict()),
                "learned": [n for n, p in net.stack_.named_parameters() if p.requires_grad],
                "optimizer": net.optimizer_.state_dict(),
                "moving": [_state_of(one) for one in _moving(net)],
                "callbacks": {name: self._callback(name, one) for name, one in net.callbacks_},
                "stopping": None if stopping is None else _told_stopping(stopping),
                "history": [dict(row) for row in net.history],
                "rows": net.member_rows,
                "diverged": net.diverged,
                "global": None if self.draws_on is None else _global(self.draws_on),
            }
        )

    def _is_time(self, epoch: int) -> bool:
        every = self.record.every
        if not isinstance(every, str):
            return epoch % every == 0
        now = time.monotonic()
        if now - self._kept_at < _SECONDS:
            return False
        self._kept_at = now
        return True

    def _callback(self, name: str, callback: Callback) -> dict[str, Any]:
        """Return what a callback has found out, or refuse one that cannot be kept."""
        found: dict[str, Any] = {}
        if type(callback).__module__ == _TELLERS:
            return found
        for key, value in vars(callback).items():
            if is_recordable(value):
                found[key] = {"value": value}
            elif hasattr(value, "load_state_dict") and not isinstance(value, type):
                found[key] = {"state": _plain_state(value)}
            elif not callable(value) and key not in callback.get_params(deep=False):
                raise ValueError(
                    f"A 'checkpoint' must give every callback back what it has found out. Got "
                    f"{key!r} of {name}, a {type(value).__name__}, which is neither made of "
                    "tensors and plain values nor has a state_dict; fit without a checkpoint."
                )
        return found


def _plain_state(value: Any) -> Any:
    """Return a state dict without what cannot be kept and is the same anyway, as functions are."""
    state = value.state_dict()
    return {name: one for name, one in state.items() if not callable(one)}


def _give_callback(callback: Callback, kept: dict[str, Any]) -> None:
    for name, about in kept.items():
        if "value" in about:
            setattr(callback, name, about["value"])
        else:
            getattr(callback, name).load_state_dict(about["state"])


def _told_stopping(stopping: Any) -> dict[str, Any]:
    names = ("bar", "misses", "best_epoch", "stopped")
    kept = {number: dict(state) for number, state in stopping.kept.items()}
    return {**{name: getattr(stopping, name) for name in names}, "kept": kept}


def _tensors(stack: nn.Module) -> dict[str, Tensor]:
    """Return all that a stack computes with; a state dict lacks buffers that are not persistent."""
    return {**dict(stack.named_parameters()), **dict(stack.named_buffers())}


def _give_optimizer(optimizer: torch.optim.Optimizer, kept: dict[str, Any]) -> None:
    optimizer.load_state_dict(kept)
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            # In the memory order of the parameter, by which its kernels are chosen.
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                own = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False)
                state[name] = own.copy_(value)


def _moving(net: Any) -> list[Any]:
    """Return the generators and parameters beside the stack, in an order that repeats."""
    roots = (tuple(net.orders), tuple(getattr(net.stack_, "_draws", ())), net.criterion_)
    return list(_parts(roots))


def _parts(one: Any) -> Iterator[Any]:
    if isinstance(one, torch.Generator | np.random.Generator | nn.Parameter):
        yield one
    elif isinstance(one, tuple | list):
        for each in one:
            yield from _parts(each)
    elif isinstance(one, dict):
        yield from _parts(list(one.values()))
    elif dataclasses.is_dataclass(one) and not isinstance(one, type):
        for field in dataclasses.fields(one):
            yield from _parts(getattr(one, field.name))


def _state_of(one: Any) -> Any:
    if isinstance(one, torch.Generator):
        return one.get_state()
    return one.bit_generator.state if isinstance(one, np.random.Generator) else one


def _give(one: Any, state: Any) -> None:
    if isinstance(one, torch.Generator):
        one.set_state(state)
    elif isinstance(one, np.random.Generator):
        one.bit_generator.state = state
    else:
        with torch.no_grad():
            one.copy_(state)


def _global(device: torch.device) -> list[Tensor]:
    own = [torch.get_rng_state()]
    return own if device.type != "cuda" else [*own, torch.cuda.get_rng_state(device)]


def _give_global(kept: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(kept[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(kept[1], device)
