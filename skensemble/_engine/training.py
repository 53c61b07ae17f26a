"""Deal members out to shards, and shards to joblib's workers.

A shard is one stack trained by one `StackNet`. Processes, threads, dask and ray are
joblib's: whatever backend is active runs the shards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from joblib import Parallel, delayed, effective_n_jobs
from joblib.parallel import get_active_backend

from skensemble._data.rows import Rows
from skensemble._engine.bar import tell
from skensemble._engine.failures import Outcome, warn_of_room
from skensemble._engine.heads import Heads, find_heads
from skensemble._engine.lost import told_of_lost
from skensemble._engine.members import SAMPLE_ROWS, Member
from skensemble._engine.planning import Plan, make_plan
from skensemble._engine.progress import Channel, Watch, announce, channel_to, listeners
from skensemble._engine.resources import threads_of_step, threads_of_worker
from skensemble._engine.results import MemberResult
from skensemble._engine.resuming import records_of
from skensemble._engine.shards import Job, _parts, make_shards, shard_device, train_shard
from skensemble._records.folder import active


@dataclass(frozen=True)
class Preview:
    """How an estimator would look if its training ended now.

    Attributes
    ----------
    estimator : estimator
        Whose fit it is.
    attributes : callable
        Function of results, by the members' numbers, to the fitted attributes.
    """

    estimator: Any
    attributes: Callable[[dict[int, MemberResult]], dict[str, Any]]


@dataclass
class Training:
    """Networks that a fit wants to be trained; they come back in `results`.

    Attributes
    ----------
    members : list of Member
        The networks.
    stack : int or "auto"
        How many may train together.
    n_jobs : int or None
        joblib's.
    order_seed : int
        One order for all members, where they share batches.
    verbose : int
        1 tells what is trained how, 2 tells of every epoch.
    owner : str
        Who tells it.
    announced : int
        How many epochs of networks a bar has been told of before it begins.
    preview : Preview or None
        What makes a fitted estimator of networks that are not done, for callbacks.
    results : dict of int to MemberResult
        What was trained, by the members' numbers.
    """

    members: list[Member]
    stack: int | str = "auto"
    n_jobs: int | None = None
    order_seed: int = 0
    verbose: int = 0
    owner: str = "skensemble"
    announced: int = 0
    preview: Preview | None = None

    def __post_init__(self) -> None:
        self.results: dict[int, MemberResult] = {}

    @property
    def work(self) -> int:
        """How many epochs of networks it takes, at most."""
        return sum(member.recipe.training.max_epochs for member in self.members)

    def announce(self) -> None:
        """Say how much there is to do before it begins."""
        self.announced += announce(self.work - self.announced)

    def run(self) -> None:
        """Train the members; results are kept as they come.

        The first error ends the fit once those that train beside it are done, and is then raised.
        """
        failures: list[Exception] = []
        rooms: list[int] = []
        with told_of_lost(self.members, self.results):
            for outcome in train_members(self, failures):
                self.results.update(outcome.results)
                if outcome.error is not None:
                    failures.append(outcome.error)
                if outcome.room_for is not None:
                    rooms.append(outcome.room_for)
        if rooms:
            warn_of_room(min(rooms))
        if len(failures) > 1:
            failures[0].add_note(f"{len(failures) - 1} more failed beside it.")
        if failures:
            raise failures[0]


def train_members(training: Training, failures: Sequence[Any] = ()) -> Iterator[Outcome]:
    """Train members and yield what became of each shard; none is begun after `failures`."""
    heads = find_heads(training.members)
    if heads is None:
        yield from _train(training, failures)
        return
    for outcome in _train(_of_heads(training, heads), failures):
        yield heads.outcome(outcome)


def _of_heads(training: Training, heads: Heads) -> Training:
    """Return the training of heads, which callbacks see as that of networks."""
    preview = training.preview
    if preview is not None:
        attributes = preview.attributes
        preview = replace(preview, attributes=lambda done: attributes(heads.all_whole(done)))
    return replace(training, members=heads.members, preview=preview)


def _train(training: Training, failures: Sequence[Any]) -> Iterator[Outcome]:
    members = training.members
    recipe, objective, joint = _parts(members)
    sample = Rows(members[0].data.X, recipe.dtype).slice(0, SAMPLE_ROWS)
    seeds = [member.seed for member in members]
    plan = make_plan(recipe, sample, seeds, training.stack, joint=joint, taps=objective.taps)
    if training.verbose:
        _say_plan(training, plan)
    n_workers, backend = effective_n_jobs(training.n_jobs), get_active_backend()[0]
    shards = [members]
    if not joint:
        shards = [
            shard
            for group in _in_step(members)
            for shard in make_shards(group, plan.size, n_workers, fixed=training.stack != "auto")
        ]
    n_workers = min(n_workers, len(shards))
    step = plan.member_macs * max(map(len, shards))
    n_threads = threads_of_step(threads_of_worker(backend, n_workers), step)
    with _told(training, len(shards), backend) as (watch, channel):
        job = Job(plan, training.order_seed, training.verbose, n_threads, n_workers, channel)
        for outcome in _train_shards(training, job, shards, backend, failures):
            if watch is not None:
                watch.came_back(tuple(outcome.results))
            yield outcome


@contextmanager
def _told(
    training: Training, n_stacks: int, backend: Any
) -> Iterator[tuple[Watch | None, Channel | None]]:
    """Count epochs inside the block, where somebody listens."""
    told = listeners()
    if not told:
        yield None, None
        return
    until = {one.number: one.recipe.training.max_epochs for one in training.members}
    watch = Watch(training.owner, until, told, n_stacks, training)
    shared = getattr(backend, "supports_sharedmem", False)
    away = effective_n_jobs(training.n_jobs) > 1 and not shared
    with channel_to(watch, away) as channel:
        yield watch, channel


def _train_shards(
    training: Training,
    job: Job,
    shards: list[list[Member]],
    backend: Any,
    failures: Sequence[Any],
) -> Iterator[Outcome]:
    recipe = training.members[0].recipe
    folder = active()
    records: list[Any] = [None] * len(shards)
    if folder is not None:
        records = records_of(folder, shards, {"stack": job.plan.kind.__name__})
    waiting = []
    for number, (shard, record) in enumerate(zip(shards, records, strict=True)):
        done = None if record is None else record.results()
        if done is None:
            waiting.append((shard, shard_device(recipe.training.device, number), record))
        else:
            yield Outcome({one.number: each for one, each in zip(shard, done, strict=True)})
    calls = (delayed(train_shard)(job, *one) for one in waiting if not failures)
    # Finished members are kept as they come, where the backend (unlike ray's) can do that.
    streams = backend.supports_return_generator
    parallel = Parallel(n_jobs=training.n_jobs, return_as="generator" if streams else "list")
    if waiting:
        yield from parallel(calls)


def _say_plan(training: Training, plan: Plan) -> None:
    n_members = len(training.members)
    how = f"{min(plan.size, n_members)} at a time as {plan.kind.__name__}"
    why = f" because {plan.reason}" if plan.reason else ""
    tell(training.owner, f"{n_members} members, {how}{why}")


def _in_step(members: list[Member]) -> list[list[Member]]:
    """Group members that step together; those with equally many rows stand side by side."""
    groups: dict[Any, list[Member]] = {}
    for member in sorted(members, key=_lengths):
        groups.setdefault((*member.starts(), member.data.valid is None), []).append(member)
    return list(groups.values())


def _lengths(member: Member) -> tuple[int, int]:
    valid = member.data.valid
    return len(member.data.rows), 0 if valid is None else len(valid.rows)
