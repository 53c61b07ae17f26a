"""Labels and teacher's term together, and what is put around them.

Around them are networks of several members, a teacher that is asked about every batch,
perturbed rows, and a watch on diversity.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import joblib
import torch
from torch import Tensor

from skensemble import losses
from skensemble._data.batches import Batch
from skensemble._data.tables import RowTables
from skensemble._seeding import Purpose, generator, purpose_seed
from skensemble.nn._taps import Tap
from skensemble.objectives.base import (
    Classifies,
    CrossEntropy,
    Mergeable,
    Objective,
    Term,
    WrappedObjective,
    as_like,
)
from skensemble.objectives.layer_terms import RegressedTerm
from skensemble.perturbation import Perturbation

# The column of the history that says how far the teacher's members are apart.
TEACHER_DIVERSITY = "teacher_diversity"


@dataclass(frozen=True, eq=False)
class Distilled(Classifies):
    """``label_share * CE(y, softmax(s)) + teacher_share * term``.

    Rows that have no label are those whose ``labelled`` is zero.
    """

    labels: CrossEntropy
    term: Term
    label_share: float = 0.1
    teacher_share: float = 0.9
    layers: tuple[Tap, ...] = ()

    scalars: ClassVar[tuple[str, ...]] = ("label_share", "teacher_share")

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        label_loss = self._label_loss(logits, batch)
        teacher_loss = self.term(logits if batch.other is None else batch.other, batch)
        label_share, teacher_share = (
            as_like(self.label_share, logits),
            as_like(self.teacher_share, logits),
        )
        return label_share * label_loss + teacher_share * teacher_loss

    def _label_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        if batch.labelled is None:
            return self.labels(logits, batch)
        weight = batch.labelled * (1.0 if batch.weight is None else batch.weight)
        # A batch without any label must give zero, not zero by zero.
        some = weight.sum(-1, keepdim=True) > 0
        loss = self.labels(logits, replace(batch, weight=torch.where(some, weight, 1.0)))
        return loss * some.squeeze(-1)

    @property
    def taps(self) -> tuple[Tap, ...]:
        return self.layers

    @property
    def targets_of_members(self) -> bool:
        return self.term.targets_of_members

    @property
    def follows_progress(self) -> bool:
        return self.term.follows_progress

    def start(self, seeds: Sequence[int], shapes: dict[str, Any], dtype: torch.dtype) -> Distilled:
        if not isinstance(self.term, RegressedTerm):
            return self
        seeds = [purpose_seed(seed, Purpose.REGRESSOR) for seed in seeds]
        return replace(self, term=self.term.start(seeds, self.layers, shapes, dtype))

    def learnable(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        for number, weight in enumerate(getattr(self.term, "regressors", ())):
            yield f"regressor.{number}", weight


@dataclass(frozen=True, eq=False)
class SharedWeights(WrappedObjective):
    """Another objective, for networks that are several members each (BatchEnsemble).

    Logits have the shape ``(network, sample, member, class)``; a network's loss is the
    mean of its members'. All members see the whole batch. Targets of members go to the
    member they are for.
    """

    n_members: int

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        members = logits.transpose(1, 2).flatten(0, 1)
        losses_ = _spread(self.inner, self.n_members)(members, self._tile(batch))
        return losses_.unflatten(0, (len(logits), self.n_members)).mean(1)

    def _tile(self, batch: Batch) -> Batch:
        def tile(values: Tensor) -> Tensor:
            return values if len(values) == 1 else values.repeat_interleave(self.n_members, 0)

        def deal(values: Tensor) -> Tensor:
            return values.movedim(2, 1).flatten(0, 1)

        tables = batch.map_tables(tile)
        if self.targets_of_members:
            tables["targets"] = {name: deal(values) for name, values in batch.targets.items()}
        weight = None if batch.weight is None else tile(batch.weight)
        other = None if batch.other is None else deal(batch.other)
        return replace(batch, y=tile(batch.y), weight=weight, other=other, **tables)

    def combine(self, logits: Tensor) -> Tensor:
        """Report the mean of the members' probabilities."""
        return logits.softmax(-1).mean(2).log()

    def held_out_scores(self, logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Score the mean of the members."""
        return self.inner.held_out_scores(self.combine(logits), batch)


def _spread(part: Any, n_members: int) -> Any:
    """Repeat numbers that differ between networks for each of a network's members."""
    if not hasattr(part, "__dataclass_fields__"):
        return part
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if isinstance(value, Mergeable):
            spread = _spread(value, n_members)
            if spread is not value:
                changes[field.name] = spread
        elif field.name in part.scalars and isinstance(value, Tensor):
            changes[field.name] = value.repeat_interleave(n_members)
    return replace(part, **changes) if changes else part


@dataclass(frozen=True, eq=False)
class AskedPerBatch(WrappedObjective):
    """Another objective; what its term needs of the teacher is asked for every batch.

    So it is where rows are altered before the student sees them: the teacher is asked about
    the same rows. It stands within whatever alters them.

    Attributes
    ----------
    term : Term
        What makes targets of the teacher's logits.
    teacher : callable or None
        Maps rows to logits ``(network, sample, class)``.
    layers : callable or None
        Maps rows to the teacher's layers by name, ``(sample, network, channel, ...)``.
    diversity : bool
        Whether to say how far the teacher's networks are apart.
    shapes : dict of str to tuple
        Of the layers, without the sample.
    """

    term: Term
    teacher: Callable[[Tensor], Tensor] | None
    layers: Callable[[Tensor], dict[str, Tensor]] | None = None
    diversity: bool = False
    shapes: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)

    def key(self) -> Any:
        """Let students of one teacher train together whose targets are made alike."""
        who = (id(self.teacher), id(self.layers), self.diversity)
        return (type(self), self.inner.key(), self.term.targets_key(), who)

    def start(self, seeds: Sequence[int], shapes: dict[str, Any], dtype: torch.dtype) -> Objective:
        return super().start(seeds, {**shapes, "layers": self.shapes}, dtype)

    @property
    def reads_rows(self) -> bool:
        return True

    def prepare(self, batch: Batch, look: Callable[[Tensor], Tensor]) -> Batch:
        rows = batch.x if batch.other_x is None else batch.other_x
        with torch.no_grad():
            answer = self._ask(rows.flatten(0, 1))
        by_member = answer.map_tables(lambda values: values.unflatten(0, rows.shape[:2]))
        return super().prepare(replace(batch, **by_member), look)

    def _ask(self, rows: Tensor) -> RowTables:
        layers = {} if self.layers is None else self.layers(rows)
        if self.teacher is None:
            return RowTables(layers=layers)
        logits = self.teacher(rows).transpose(0, 1).to(rows.dtype)
        apart = losses.member_divergence(logits) if self.diversity else None
        targets = self.term.targets(logits)
        return RowTables(targets=targets, layers=layers, teacher_diversity=apart)


@dataclass(frozen=True, eq=False)
class Perturbed(WrappedObjective):
    """Another objective, its teacher's term on rows that a perturbation has altered."""

    perturbation: Perturbation
    teacher: Callable[[Tensor], Tensor]
    temperature: float
    spread: Tensor | None = None
    bounds: tuple[float, float] | None = None
    draws: tuple[torch.Generator, ...] = ()

    def key(self) -> Any:
        """Let students of one teacher at one temperature train together."""
        spread = None if self.spread is None else id(self.spread)
        alter = (type(self.perturbation), joblib.hash(self.perturbation), self.bounds, spread)
        return (type(self), self.inner.key(), alter, id(self.teacher), self.temperature)

    def start(self, seeds: Sequence[int], shapes: dict[str, Any], dtype: torch.dtype) -> Perturbed:
        spread = None if self.spread is None else self.spread.to(shapes["device"], dtype)
        draws = tuple(generator(seed, Purpose.PERTURB) for seed in seeds)
        inner = self.inner.start(seeds, shapes, dtype)
        return replace(self, inner=inner, draws=draws, spread=spread)

    def among(self, members: slice) -> Perturbed:
        return replace(super().among(members), draws=self.draws[members])

    @property
    def reads_rows(self) -> bool:
        return True

    def prepare(self, batch: Batch, look: Callable[[Tensor], Tensor]) -> Batch:
        x = batch.x if len(batch.x) == len(self.draws) else batch.x[[0] * len(self.draws)]
        altered = torch.stack(
            [
                self.perturbation.alter(
                    x[at].clone(), self.teacher, _member_logits(look, x, at), self.temperature,
                    draw, self.spread, self.bounds,
                )
                for at, draw in enumerate(self.draws)
            ]
        )  # fmt: skip
        if self.perturbation.replaces:
            return super().prepare(replace(batch, x=altered), look)
        return super().prepare(replace(batch, other_x=altered), look)


@dataclass(frozen=True, eq=False)
class WithDiversity(WrappedObjective):
    """Another objective; how far members are apart is recorded every epoch.

    Of the student, where its networks are several members each; of the teacher, where the
    batch says so. Both are taken on the rows on which the teacher's term is learned.
    """

    def measures(self, logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        found = {}
        if logits.dim() == 4:
            seen = logits if batch.other is None else batch.other
            found["diversity"] = losses.member_divergence(seen)
        if batch.teacher_diversity is not None:
            found[TEACHER_DIVERSITY] = batch.teacher_diversity
        mean = {name: losses.weighted_mean(one, batch.weight) for name, one in found.items()}
        return {**super().measures(logits, batch), **mean}


def _member_logits(
    look: Callable[[Tensor], Tensor], x: Tensor, at: int
) -> Callable[[Tensor], Tensor]:
    """Return what maps rows to the logits of each member of network `at`."""

    def members(rows: Tensor) -> Tensor:
        logits = look(torch.cat([x[:at], rows.unsqueeze(0), x[at + 1 :]]))[at]
        return logits.unsqueeze(0) if logits.dim() == 2 else logits.transpose(0, 1)

    return members
