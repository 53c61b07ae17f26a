"""What teachers say of the rows: tables, computed once for all who need them, or functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils import gen_batches
from sklearn.utils.validation import _num_samples
from torch import Tensor

from skensemble._base.features import TeacherLayers, teacher_features
from skensemble._data.rows import FitData, Rows
from skensemble._fits.given import Given
from skensemble._recipes.recipe import Recipe
from skensemble.distillation.left_out import LeftOut
from skensemble.distillation.teachers import (
    ask_teacher,
    check_given_logits,
    count_teachers,
    teacher_logits,
    teacher_modules,
)
from skensemble.distillation.transferring import TransferRows
from skensemble.losses import member_divergence
from skensemble.objectives import Term

_CHUNK_ROWS = 4096
_CHUNK_NUMBERS = 1 << 23


@dataclass(frozen=True, eq=False)
class Heard:
    """What is heard of a teacher beside its word on the rows that it was trained on.

    Attributes
    ----------
    left_out : LeftOut or None
        Words on these rows by those who had not seen them, in the place of its own.
    transfer : TransferRows or None
        Rows that nobody has seen.
    """

    left_out: LeftOut | None = None
    transfer: TransferRows | None = None

    @property
    def temperature(self) -> float:
        """What the teacher's logits are divided by."""
        return 1.0 if self.left_out is None else self.left_out.temperature

    @property
    def n_twins(self) -> int:
        """How many others speak of training rows."""
        return 0 if self.left_out is None else self.left_out.n_twins


# -- asked about every batch -----------------------------------------------------------------
def asked_teacher(
    teacher: Any, classes: np.ndarray, data: FitData, recipe: Recipe, asked: Given
) -> Callable[[Tensor], Tensor]:
    """Return the teacher as a function of altered rows, one for all students that ask it."""
    rows = Rows(data.X, recipe.dtype)

    def make() -> Callable[[Tensor], Tensor]:
        return ask_teacher(teacher, classes, asked.X, rows)

    return asked.recall("asked teacher", make, (teacher,), tuple(classes))


def asked_about_layers(
    teacher: Any, name: str, layers: dict[str, str], sample: Tensor, asked: Given
) -> TeacherLayers:
    """Return the teacher's layers as a function of altered rows, one for all who ask."""

    def find() -> TeacherLayers:
        return TeacherLayers(teacher_modules(teacher, name), layers, sample)

    return asked.recall("asked layers", find, (teacher,), tuple(layers.items()))


# -- asked once about all rows ---------------------------------------------------------------
def layer_tables(
    teacher: Any, name: str, layers: dict[str, str], recipe: Recipe, data: FitData, asked: Given
) -> dict[str, np.ndarray]:
    """Return what the teacher's layers put out for all rows, by the student's layer."""
    modules = teacher_modules(teacher, name)

    def look() -> dict[str, np.ndarray]:
        found = teacher_features(modules, layers, Rows(data.X, recipe.dtype))
        return {name: value.to(recipe.dtype).numpy() for name, value in found.items()}

    return asked.recall("features", look, (teacher, data.X), tuple(layers.items()))


def logits_of(
    teacher: Any,
    classes: np.ndarray,
    dtype: torch.dtype,
    data: FitData,
    asked: Given,
    elsewhere: Any = None,
    heard: Heard | None = None,
) -> Iterable[Tensor]:
    """Return what a teacher says of all rows or of those from `elsewhere`, in parts.

    A fit by itself asks part by part and keeps none; fits that share rows keep all that is said,
    since each may make something else of it.
    """
    heard = Heard() if heard is None else heard
    ready = asked.teacher_logits
    if ready is not None:
        n_rows, n_classes = len(data.X), len(classes)
        return [asked.recall(
            "logits", lambda: check_given_logits(ready, n_rows, n_classes, dtype), (None,),
            (dtype,),
        )]  # fmt: skip

    def ask() -> Iterator[Tensor]:
        start = 0
        for part in _parts(teacher, len(classes), asked, elsewhere, heard.transfer):
            logits = teacher_logits(teacher, part, classes, dtype)
            if heard.left_out is not None and elsewhere is None:
                logits = heard.left_out.put(logits, start)
            start += len(logits)
            yield logits / heard.temperature if heard.temperature != 1 else logits

    if asked.is_alone:
        return ask()
    owners = teacher, None if elsewhere is None else data.X, heard.left_out, heard.transfer
    return [asked.recall("logits", lambda: _joined(list(ask())), owners, (dtype,))]


def _parts(
    teacher: Any, n_classes: int, asked: Given, elsewhere: Any, transfer: TransferRows | None
) -> Iterator[Any]:
    """Yield the rows that a teacher is asked about, as many at a time as memory likes."""
    sources = [asked.X, asked.X_unlabelled] if elsewhere is None else [elsewhere]
    for source in sources:
        if source is not None:
            yield from _cut(source, teacher, n_classes)
    if transfer is not None and elsewhere is None:
        yield from transfer.chunks()


def _cut(source: Any, teacher: Any, n_classes: int) -> Iterator[Any]:
    """Cut rows so that what all networks of a teacher say of a part is not large."""
    step = max(_CHUNK_ROWS, _CHUNK_NUMBERS // (count_teachers(teacher) * n_classes))
    n_rows = _num_samples(source)
    if n_rows <= step:
        yield source
        return
    for rows in gen_batches(n_rows, step):
        yield source.iloc[rows] if hasattr(source, "iloc") else source[rows]


def _joined(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def logits_tables(
    term: Term | None, diversity: bool, asked: Given, parts: Iterable[Tensor]
) -> dict[str, Any]:
    """Return what is made of a teacher's logits: a term's targets, and their diversity.

    Beside them, under "said", the class that the teacher holds for the likeliest.
    """
    if asked.is_alone and asked.teacher_logits is None:
        return _made(term, diversity, parts)
    (logits,) = parts
    values = None if term is None else term.targets_key(), diversity
    return asked.recall(
        "targets", lambda: _made(term, diversity, logits.split(_CHUNK_ROWS)), (logits,), values
    )


def _made(term: Term | None, diversity: bool, parts: Iterable[Tensor]) -> dict[str, Any]:
    """Make tables of logits, part by part."""
    targets: list[dict[str, Tensor]] = []
    said: list[Tensor] = []
    apart: list[Tensor] = []
    for logits in parts:
        if term is not None:
            targets += [term.targets(chunk) for chunk in logits.split(_CHUNK_ROWS)]
        said.append(logits.softmax(-1).mean(1).argmax(-1))
        if diversity and logits.shape[1] > 1:
            apart.append(member_divergence(logits))
    found: dict[str, Any] = {"said": torch.cat(said).numpy()}
    if term is not None:
        found["targets"] = {
            name: torch.cat([part[name] for part in targets]).numpy() for name in targets[0]
        }
    if apart:
        found["teacher_diversity"] = torch.cat(apart).numpy()
    return found
