"""Deal members out to shards, and shards to joblib's workers.

A shard is one stack trained by one `StackNet`. Processes, threads, dask and ray are
joblib's: whatever backend is active runs the shards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from joblib import Parallel, delayed, effective_n_jobs
from joblib.parallel import get_active_backend

from skensemble._early_stopping import MemberEarlyStopping
from skensemble._engine import MemberResult, Split, StackNet
from skensemble._loader import FitData, Rows, TrainingData
from skensemble._objectives import Objective
from skensemble._planning import Plan
from skensemble._recipe import Recipe
from skensemble._seeding import Purpose, generator, purpose_seed, torch_seeded
from skensemble._stacking import LoopStack


@dataclass(frozen=True)
class Member:
    """One member to be trained: its number, its seed, the rows it may see."""

    number: int
    seed: int
    rows: Any = None


@dataclass(frozen=True)
class Job:
    """All that a shard needs besides its members; sent to workers as it is.

    Attributes
    ----------
    recipe : Recipe
        What a member is.
    objective : Objective
        What it minimises.
    data : FitData
        The training data, checked and encoded, with what is held out of it.
    order_seed : int or None
        One order for all members, where they share batches.
    """

    recipe: Recipe
    objective: Objective
    plan: Plan
    data: FitData
    order_seed: int = 0
    extras: dict[str, Any] = field(default_factory=dict)
    verbose: int = 0


def make_shards(members: list[Member], size: int, n_workers: int) -> list[list[Member]]:
    """Cut members into shards of at most `size`, at least one a worker where possible.

    >>> [len(shard) for shard in make_shards([Member(i, i) for i in range(10)], 8, 2)]
    [5, 5]
    """
    n_shards = max(-(-len(members) // size), min(n_workers, len(members)))
    bounds = [len(members) * i // n_shards for i in range(n_shards + 1)]
    return [members[a:b] for a, b in pairwise(bounds)]


def shard_device(device: str, shard: int) -> str:
    """Spread shards over the CUDA devices where the recipe names none of them."""
    if device == "cuda" and torch.cuda.device_count() > 1:
        return f"cuda:{shard % torch.cuda.device_count()}"
    return device


def train_members(
    job: Job, members: list[Member], n_jobs: int | None
) -> Iterator[tuple[Member, MemberResult]]:
    """Train members and yield each as soon as its shard is done."""
    joint = job.objective.shared_batches
    shards = [members] if joint else make_shards(members, job.plan.size, effective_n_jobs(n_jobs))
    calls = (
        delayed(train_shard)(job, shard, shard_device(job.recipe.device, number))
        for number, shard in enumerate(shards)
    )
    # Finished members are kept as they come, where the backend (unlike ray's) can do that.
    streams = get_active_backend()[0].supports_return_generator
    parallel = Parallel(n_jobs=n_jobs, return_as="generator" if streams else "list")
    for shard, results in zip(shards, parallel(calls), strict=True):
        yield from zip(shard, results, strict=True)


def train_shard(job: Job, members: list[Member], device: str) -> list[MemberResult]:
    """Build, train and hand back the members of one shard."""
    recipe = replace(job.recipe, device=device)
    data = _training_data(job.data, recipe, job.extras)
    stack = job.plan.build([recipe.build(member.seed) for member in members])
    stopping = recipe.early_stopping()
    net = StackNet(
        stack,
        job.objective,
        orders=_orders(job, members),
        outputs_proba=recipe.outputs_proba,
        autocast=None if recipe.precision is None else torch.bfloat16,
        early_stopping=stopping and MemberEarlyStopping(stopping, len(members)),
        loader={"drop_last": recipe.drop_last, "valid_batch_size": recipe.valid_batch_size},
        optimizer=recipe.optimizer,
        lr=recipe.lr,
        max_epochs=recipe.max_epochs,
        batch_size=recipe.batch_size,
        callbacks=[(name, cb) for name, cb in recipe.callbacks() if not _is_followed(cb, stopping)],
        device=device,
        compile=recipe.compile,
        classes=list(range(int(data.y.max()) + 1)),
        verbose=job.verbose,
        use_caching=recipe.use_caching,
        torch_load_kwargs=recipe.torch_load_kwargs,
        **{f"optimizer__{key}": value for key, value in recipe.optimizer_kwargs.items()},
        **{f"compile__{key}": value for key, value in recipe.compile_kwargs.items()},
    )
    stack.set_draws([generator(m.seed, Purpose.FORWARD, device) for m in members])
    held_out = None
    if job.data.valid is not None:
        valid = _training_data(job.data.valid, recipe, {})
        held_out = Split(valid, torch.from_numpy(job.data.valid.rows.copy()).unsqueeze(0))
    train = Split(data, _index(job, members))
    if not (job.plan.draws and isinstance(stack, LoopStack)):
        return net.train(train, held_out, _label(members))
    with torch_seeded(purpose_seed(members[0].seed, Purpose.FORWARD), device):
        return net.train(train, held_out, _label(members))


def _training_data(data: FitData, recipe: Recipe, extras: dict[str, Any]) -> TrainingData:
    return TrainingData(
        Rows(data.X, recipe.dtype, recipe.device),
        torch.from_numpy(data.y.copy()),
        None if data.weight is None else torch.from_numpy(data.weight.copy()).to(recipe.dtype),
        {name: torch.from_numpy(values.copy()) for name, values in extras.items()},
    )


def _index(job: Job, members: list[Member]) -> torch.Tensor:
    """Return the rows of each member, or one row of them where batches are shared."""
    if job.objective.shared_batches:
        members = members[:1]
    picks = [job.data.rows if m.rows is None else m.rows for m in members]
    return torch.stack([torch.from_numpy(pick.copy()) for pick in picks])


def _orders(job: Job, members: list[Member]) -> list[torch.Generator]:
    if not job.recipe.shuffle:
        return []
    if job.objective.shared_batches:
        return [generator(job.order_seed, Purpose.ORDER)]
    return [generator(member.seed, Purpose.ORDER) for member in members]


def _is_followed(callback: Any, stopping: Any) -> bool:
    """Whether a callback is the stopping rule that the engine follows itself."""
    return stopping is not None and type(callback) is type(stopping)


def _label(members: list[Member]) -> str:
    first, last = members[0].number, members[-1].number
    return f"member {first}" if first == last else f"members {first} to {last}"
