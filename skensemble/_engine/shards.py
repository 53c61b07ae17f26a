"""One shard: members that one net trains, built and handed back."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import torch

from skensemble._data.batches import TrainingData
from skensemble._data.rows import FitData, Rows
from skensemble._engine.early_stopping import MemberEarlyStopping
from skensemble._engine.failures import Outcome, lacks_memory, named
from skensemble._engine.masks import MemberMasks
from skensemble._engine.members import SAMPLE_ROWS, Member
from skensemble._engine.net import StackNet
from skensemble._engine.planning import Plan
from skensemble._engine.progress import Channel
from skensemble._engine.rates import MemberRates
from skensemble._engine.resources import at_most_threads, available_bytes
from skensemble._engine.results import MemberResult
from skensemble._engine.resuming import Recorder, ShardRecord
from skensemble._engine.splits import Split
from skensemble._engine.stacks import LoopStack, MemberStack
from skensemble._engine.telling import Teller
from skensemble._recipes.parts import Rates
from skensemble._recipes.recipe import Recipe
from skensemble._seeding import Purpose, generator, purpose_seed, torch_seeded
from skensemble.nn._taps import captured_shapes
from skensemble.objectives import Objective
from skensemble.objectives.base import merge


@dataclass(frozen=True)
class Job:
    """How members are trained; sent to workers as it is."""

    plan: Plan
    order_seed: int = 0
    verbose: int = 0
    n_threads: int = 1  # torch's, at most
    n_workers: int = 1  # that share the memory
    channel: Channel | None = None  # to who counts epochs


def make_shards(
    members: list[Member], size: int, n_workers: int, fixed: bool = False
) -> list[list[Member]]:
    """Cut members into shards of at most `size`, at least one a worker where possible.

    Fixed shards are `size` in order, whoever trains them: a member beside others, or beside fewer,
    is another one in its last bits.

    >>> [len(shard) for shard in make_shards(list(range(10)), 8, 2)]
    [5, 5]
    >>> [len(shard) for shard in make_shards(list(range(10)), 8, 2, fixed=True)]
    [8, 2]
    """
    if fixed:
        return [members[at : at + size] for at in range(0, len(members), size)]
    n_shards = max(-(-len(members) // size), min(n_workers, len(members)))
    bounds = [len(members) * i // n_shards for i in range(n_shards + 1)]
    return [members[a:b] for a, b in pairwise(bounds)]


def shard_device(device: str, shard: int) -> str:
    """Spread shards over the CUDA devices where the recipe names none of them."""
    if device == "cuda" and torch.cuda.device_count() > 1:
        return f"cuda:{shard % torch.cuda.device_count()}"
    return device


def _parts(members: list[Member]) -> tuple[Recipe, Objective, bool]:
    first = members[0]
    return first.recipe, first.objective, first.objective.shared_batches


def train_shard(
    job: Job, members: list[Member], device: str, record: ShardRecord | None = None
) -> Outcome:
    """Train a shard, in parts where there is no room for all of it; return errors too.

    What is done is kept where `record` says.
    """
    with at_most_threads(job.n_threads):
        return _run_part(job, members, device, record)


def _run_part(job: Job, members: list[Member], device: str, record: ShardRecord | None) -> Outcome:
    divisible = len(members) > 1 and not members[0].objective.shared_batches
    if not (divisible and _is_too_large(job, members, device)):
        try:
            with named(members):
                results = _train(job, members, device, record and record.part(members))
        except Exception as error:
            if not (divisible and lacks_memory(error)):
                return Outcome(error=error)
        else:
            numbers = [member.number for member in members]
            return Outcome(dict(zip(numbers, results, strict=True)))
    # Not while the error is handled, whose traceback keeps the tensors.
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
    half = -(-len(members) // 2)
    found = Outcome(room_for=half) + _run_part(job, members[:half], device, record)
    if found.error is None:
        found += _run_part(job, members[half:], device, record)
    return found


def _is_too_large(job: Job, members: list[Member], device: str) -> bool:
    """Whether weights, gradients and moments of a stack would not fit into main memory."""
    if torch.device(device).type != "cpu":
        return False  # which says so itself, where the system would end the process
    room = available_bytes()
    return room is not None and len(members) * job.plan.member_bytes > room / job.n_workers


def _train(
    job: Job, members: list[Member], device: str, record: ShardRecord | None
) -> list[MemberResult]:
    """Build, train and hand back the members of one shard, unless they are there."""
    done = record and record.results()
    if done:
        return done
    recipe = members[0].recipe.on(device)
    modules = [member.recipe.build(member.seed) for member in members]
    data = TrainingData.gather([member.data for member in members], recipe.dtype, device)
    objective = _start_objective(members, modules[0], data)
    stack = job.plan.build(modules)
    net = _make_net(job, members, recipe, stack, objective)
    stack.set_draws([generator(m.seed, Purpose.FORWARD, device) for m in members])
    shared = members[0].objective.shared_batches
    # Without shuffling, members with the same rows see the same batches: one copy will do.
    rows = members[0].data.rows
    alike = not recipe.training.shuffle and all(member.data.rows is rows for member in members)
    train = Split(data, _runs([member.data for member in members], data, shared or alike))
    held_out = _held_out(members, recipe, shared)
    draws = job.plan.draws and isinstance(stack, LoopStack)
    seed = purpose_seed(members[0].seed, Purpose.FORWARD)
    draws_on = torch.device(device) if draws else None
    recorder = None if record is None else Recorder(record, draws_on)
    numbers = tuple(member.number for member in members)
    teller = None if job.channel is None else Teller(job.channel, numbers)
    with named(members, net), torch_seeded(seed, device) if draws else nullcontext():
        results = net.train(train, held_out, _label(members), recorder, teller)
    if record is not None:
        record.keep_results(results)
    return results


def _make_net(
    job: Job, members: list[Member], recipe: Recipe, stack: MemberStack, objective: Objective
) -> StackNet:
    """Return skorch's net that trains a stack as the members' recipes say."""
    training, device = recipe.training, recipe.training.device
    stopping = training.early_stopping()
    rates = MemberRates([member.recipe.training for member in members], device)
    masks = MemberMasks([member.recipe for member in members], device)
    kwargs = dict(rates.optimizer_kwargs)
    by_part = recipe.find(Rates)
    if by_part is not None:
        kwargs["param_groups"] = by_part.groups(rates.lr)
    return StackNet(
        stack,
        objective,
        orders=_orders(job, members),
        outputs_proba=recipe.outputs_proba,
        autocast=None if recipe.precision is None else torch.bfloat16,
        early_stopping=stopping and MemberEarlyStopping(stopping, len(members)),
        rates=rates if rates.needed else None,
        masks=masks if masks.needed else None,
        loader={"drop_last": training.drop_last, "valid_batch_size": training.valid_batch_size},
        optimizer=training.optimizer,
        lr=rates.lr,
        max_epochs=training.max_epochs,
        batch_size=training.batch_size,
        callbacks=[each for each in training.callbacks() if not _is_followed(each[1], stopping)],
        device=device,
        compile=training.compile,
        classes=list(range(recipe.n_outputs)),
        verbose=job.verbose,
        use_caching=training.use_caching,
        torch_load_kwargs=training.torch_load_kwargs,
        **{f"optimizer__{key}": value for key, value in kwargs.items()},
        **{f"compile__{key}": value for key, value in training.compile_kwargs.items()},
    )


def _start_objective(
    members: list[Member], module: torch.nn.Module, data: TrainingData
) -> Objective:
    """Join the members' objectives and draw what is trained beside the networks."""
    objective: Objective = merge([member.objective for member in members])
    objective = members[0].recipe.regularised(objective, module)
    rows = data.rows
    features: dict[str, Any] = {}
    if objective.taps:
        sample = Rows(rows.array, rows.dtype).slice(0, SAMPLE_ROWS)
        features = captured_shapes(module, objective.taps, sample)
    shapes = {
        "features": features,
        "layers": {name: tuple(values.shape[2:]) for name, values in data.layers.items()},
        "device": rows.device,
    }
    return objective.start([member.seed for member in members], shapes, rows.dtype)


def _held_out(members: list[Member], recipe: Recipe, shared: bool) -> Split | None:
    held_out = [member.data.valid for member in members if member.data.valid is not None]
    if not held_out:
        return None
    same = all(one.rows is held_out[0].rows and not one.tables() for one in held_out)
    data = TrainingData.gather(held_out, recipe.dtype, recipe.training.device)
    return Split(data, _runs(held_out, data, shared or same))


def _runs(own: list[FitData], data: TrainingData, shared: bool) -> list[torch.Tensor]:
    """Return the rows of each member in the joined data, or one row where all see the same.

    Members that stand side by side and have equally many rows are together.
    """
    starts = data.starts[:1] if shared and len(set(data.starts)) == 1 else data.starts
    rows = [torch.from_numpy(one.rows + start) for one, start in zip(own, starts, strict=False)]
    return [torch.stack(list(run)) for _, run in groupby(rows, key=len)]


def _orders(job: Job, members: list[Member]) -> list[torch.Generator]:
    recipe, _, joint = _parts(members)
    if not recipe.training.shuffle:
        return []
    if joint:
        return [generator(job.order_seed, Purpose.ORDER)]
    return [generator(member.seed, Purpose.ORDER) for member in members]


def _is_followed(callback: Any, stopping: Any) -> bool:
    """Whether a callback is the stopping rule that the engine follows itself."""
    return stopping is not None and type(callback) is type(stopping)


def _label(members: list[Member]) -> str:
    numbers = [member.number for member in members]
    first, last = min(numbers), max(numbers)
    return f"member {first}" if first == last else f"members {first} to {last}"
