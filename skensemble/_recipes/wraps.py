"""What is put around a module, or done to it, once it is made.

Each is a small frozen object: it changes a module, says what of it networks must share to train
in one stack, and describes itself for files. A kind gives the name that files know it by where
it is defined, which may be anywhere above this room.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from torch import nn

from skensemble._recipes.training import TrainingSettings
from skensemble.nn._channels import OnPart, part_columns
from skensemble.nn.narrowing import Cuts, cut, cut_widths
from skensemble.objectives import Objective
from skensemble.objectives.sparse import Slimmed, scale_names, scaled_norms

# The scales' first value in network slimming (Liu et al. 2017).
_SLIM_START = 0.5


class Wrap(ABC):
    """Abstract change of a module; subclasses are frozen dataclasses of plain values.

    Attributes
    ----------
    name : str
        The kind's name in files, given with the class: ``class Cut(Wrap, name="cut")``.
    is_built_in : bool
        Whether it changes the module that is built, and not its training alone.
    is_network : bool
        Whether what comes out is still a network of layers: one that can be differentiated by
        its input, pruned, exported, and asked for its layers' features.
    shares_layers : bool
        Whether the members in it share their layers.
    """

    name: ClassVar[str]
    is_built_in: ClassVar[bool] = True
    is_network: ClassVar[bool] = True
    shares_layers: ClassVar[bool] = False

    def __init_subclass__(cls, name: str) -> None:
        super().__init_subclass__()
        cls.name = name
        _KINDS[name] = cls

    @abstractmethod
    def wrap(self, module: nn.Module, in_shape: tuple[int, ...]) -> nn.Module:
        """Return the changed module, which may be the same object.

        Random numbers come from torch's global generator, seeded for the member.
        """

    def bound(self, module: nn.Module, n_outputs: int) -> Wrap:
        """Return the wrap for a network that is known by now, and for its number of outputs."""
        return self

    def seen(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of what the module inside is given of a sample."""
        return in_shape

    def count_members(self) -> int:
        """Return how many members a module becomes."""
        return 1

    def of_member(self, number: int) -> Wrap:
        """Return what a member of an ensemble has in its place."""
        return self

    def key(self) -> Any:
        """Return what must be equal for networks to train in one stack."""
        return (self.name, self.describe())

    def regularised(self, objective: Objective, module: nn.Module) -> Objective:
        """Return the objective of training the changed module."""
        return objective

    def as_given(self, training: TrainingSettings) -> TrainingSettings:
        """Return training settings without what came with this change."""
        return training

    def describe(self) -> dict[str, Any]:
        """Return the fields as JSON has them."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]

    @classmethod
    def from_description(cls, about: dict[str, Any]) -> Wrap:
        """Return what was described."""
        return cls(**about)


_KINDS: dict[str, type[Wrap]] = {}


def describe_wraps(wraps: Sequence[Wrap]) -> list[list[Any]]:
    """Return name and description of each, in order."""
    return [[one.name, one.describe()] for one in wraps]


def rebuild_wraps(described: Sequence[Sequence[Any]]) -> tuple[Wrap, ...]:
    """Return what `describe_wraps` described; names lead to registered kinds alone."""
    unknown = sorted({name for name, _ in described} - set(_KINDS))
    if unknown:
        raise ValueError(
            f"The file's networks must be changed in ways of {sorted(_KINDS)}. Got "
            f"{unknown[0]!r} instead; a newer skensemble may read it."
        )
    return tuple(_KINDS[name].from_description(about) for name, about in described)


@dataclass(frozen=True)
class Channels(Wrap, name="channels"):
    """A network that is given one part of the channels alone.

    Attributes
    ----------
    part : int
        Which part.
    n_splits : int
        How many there are.
    """

    part: int
    n_splits: int

    def wrap(self, module: nn.Module, in_shape: tuple[int, ...]) -> nn.Module:
        """Put the choice of the channels before the module."""
        return OnPart(self._columns(in_shape), module)

    def seen(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the part."""
        columns = self._columns(in_shape)
        return (columns.stop - columns.start, *in_shape[1:])

    def of_member(self, number: int) -> Channels:
        """Return the member's part; parts go round."""
        return replace(self, part=number % self.n_splits)

    def key(self) -> Any:
        """Leave the part out, which is a buffer."""
        return (self.name, self.n_splits)

    def _columns(self, in_shape: tuple[int, ...]) -> slice:
        return part_columns(in_shape[0], self.n_splits, self.part)


@dataclass(frozen=True)
class Cut(Wrap, name="cut"):
    """A network that channels were taken out of.

    Attributes
    ----------
    cuts : dict
        What stays of each layer; see `skensemble.nn.narrowing`.
    """

    cuts: Cuts

    def wrap(self, module: nn.Module, in_shape: tuple[int, ...]) -> nn.Module:
        """Cut the module in place."""
        return cut(module, self.cuts)

    def key(self) -> Any:
        """Of cut networks the widths must agree, not the channels that were kept."""
        return (self.name, cut_widths(self.cuts))


@dataclass(frozen=True)
class Slimming(Wrap, name="slimming"):
    """Batch normalisation whose scales start at one half and are pulled to zero.

    Attributes
    ----------
    strength : float
        Strength of the pull.
    keeps : bool
        Whether the scales start where they are, in a network that has its weights.
    """

    strength: float
    keeps: bool = False

    def wrap(self, module: nn.Module, in_shape: tuple[int, ...]) -> nn.Module:
        """Let the scales start where network slimming has them, unless they were learned."""
        for _, norm in () if self.keeps else scaled_norms(module):
            nn.init.constant_(norm.weight, _SLIM_START)
        return module

    def regularised(self, objective: Objective, module: nn.Module) -> Objective:
        """Pull the scales to zero."""
        return Slimmed(objective, self.strength, scale_names(module))
