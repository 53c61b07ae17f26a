"""What is done to a network that starts from weights: a new head, frozen parts, rates by part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from skensemble._recipes.wraps import Wrap
from skensemble.nn._still import stay_still

_MOST_NAMES = 8


@dataclass(frozen=True)
class NewHead(Wrap, name="head"):
    """A network whose last layer is another one, drawn from the member's seed.

    Attributes
    ----------
    layer : str
        Its name; "last" until the network is known.
    n_outputs : int
        How many numbers it puts out; 0 until the data are known.
    """

    layer: str = "last"
    n_outputs: int = 0

    def wrap(self, module: nn.Module, in_shape: tuple[int, ...]) -> nn.Module:
        """Put a layer of the same inputs in the place of the head."""
        old: Any = module.get_submodule(self.layer)
        bias = old.bias is not None
        new: nn.Module
        if isinstance(old, nn.Linear):
            new = nn.Linear(old.in_features, self.n_outputs, bias)
        else:
            new = nn.Conv2d(old.in_channels, self.n_outputs, old.kernel_size, bias=bias)
        if not self.layer:
            return new
        owner, _, name = self.layer.rpartition(".")
        setattr(module.get_submodule(owner), name, new)
        return module

    def bound(self, module: nn.Module, n_outputs: int) -> NewHead:
        """Return the wrap with the layer's own name."""
        return replace(self, layer=find_head(module, self.layer), n_outputs=n_outputs)


def find_head(module: nn.Module, head: str = "last") -> str:
    """Return the name of a network's last layer: a linear one, or a convolution of one pixel."""
    layers = dict(module.named_modules())
    if head != "last":
        part = layers.get(head)
        if not isinstance(part, nn.Linear) and not _is_pointwise(part):
            raise ValueError(
                "The 'head' must be 'last', None, or the name of a linear layer of the "
                f"{type(module).__name__}, here one of {_listed(_heads(layers))}. Got {head!r}."
            )
        return head
    found = _heads(layers)
    if not found:
        raise ValueError(
            f"The {type(module).__name__} has no linear layer that could be its head. Use "
            "head=None with a network that puts out one number a class."
        )
    return found[-1]


def _heads(layers: Mapping[str, nn.Module]) -> list[str]:
    linear = [name for name, part in layers.items() if isinstance(part, nn.Linear)]
    return linear or [name for name, part in layers.items() if _is_pointwise(part)]


def _is_pointwise(part: Any) -> bool:
    return isinstance(part, nn.Conv2d) and part.kernel_size == (1, 1) and part.groups == 1


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _MOST_NAMES
    shown = ", ".join(map(repr, names[-_MOST_NAMES:])) or "none"
    return f"{shown} and {rest} before" if rest > 0 else shown


def is_in(name: str, prefix: str) -> bool:
    """Whether a parameter or part is the named one, or inside of it."""
    return not prefix or name == prefix or name.startswith(f"{prefix}.")


@dataclass(frozen=True)
class Frozen(Wrap, name="frozen"):
    """A network of which parts learn nothing, nor move their averages, nor draw.

    Attributes
    ----------
    parts : tuple of str
        Names of parameters or of parts.
    others : bool
        Whether all but these are frozen.
    """

    parts: tuple[str, ...] = ()
    others: bool = False

    def wrap(self, module: nn.Module, in_shape: tuple[int, ...]) -> nn.Module:
        """Let the parts have no gradient, and run as in prediction."""
        for name, parameter in module.named_parameters():
            if self.holds(name):
                parameter.requires_grad_(False)
        for name, part in module.named_modules():
            if self.holds(name):
                stay_still(part)
        return module

    def holds(self, name: str) -> bool:
        """Whether a parameter or part is frozen."""
        return self._names(name) != self.others

    def _names(self, name: str) -> bool:
        # The network itself, '', is in none of its parts.
        return any(is_in(name, part) for part in self.parts)

    @property
    def backbone_of(self) -> str | None:
        """The one layer that learns, where all others are frozen."""
        return self.parts[0] if self.others else None

    def bound(self, module: nn.Module, n_outputs: int) -> Frozen:
        """Return the wrap with the head's own name, or refuse parts that are not there."""
        if self.others:
            return replace(self, parts=(find_head(module, *self.parts),))
        require_parts(module, self.parts, "freeze")
        if all(self.holds(name) for name, _ in module.named_parameters()):
            raise ValueError(
                f"The 'freeze' must leave something to learn. Got {list(self.parts)}, which is all "
                f"of the {type(module).__name__}."
            )
        return self

    @classmethod
    def from_description(cls, about: dict[str, Any]) -> Frozen:
        """Return what was described."""
        return cls(tuple(about["parts"]), about["others"])


@dataclass(frozen=True)
class Rates(Wrap, name="rates"):
    """A network whose parts learn at their own share of the rate.

    Attributes
    ----------
    factors : tuple of (str, float)
        Names of parameters or of parts, and what the rate is multiplied with; the longest name
        has the say.
    """

    factors: tuple[tuple[str, float], ...]

    is_built_in = False

    def wrap(self, module: nn.Module, in_shape: tuple[int, ...]) -> nn.Module:
        """Leave the module as it is."""
        return module

    def bound(self, module: nn.Module, n_outputs: int) -> Rates:
        """Refuse parts that are not there."""
        require_parts(module, [name for name, _ in self.factors], "rates")
        return self

    def groups(self, lr: float) -> list[tuple[str, dict[str, float]]]:
        """Return skorch's groups of parameters for a rate, the most particular first."""
        ordered = sorted(self.factors, key=lambda one: len(one[0]), reverse=True)
        return [
            (pattern, {"lr": lr * factor})
            for name, factor in ordered
            for pattern in (name, f"{name}.*")
        ]

    @classmethod
    def from_description(cls, about: dict[str, Any]) -> Rates:
        """Return what was described."""
        return cls(tuple((name, factor) for name, factor in about["factors"]))


def require_parts(module: nn.Module, names: Sequence[str], parameter: str) -> None:
    """Refuse names of which a module has no parameters."""
    there = [name for name, _ in module.named_parameters()]
    for name in names:
        if not any(is_in(one, name) for one in there):
            raise ValueError(
                f"The {parameter!r} must name parts of the {type(module).__name__}, here "
                f"{_listed(list(_first_names(there)))}, or parts of these. Got {name!r}."
            )


def _first_names(names: Sequence[str]) -> Iterator[str]:
    yield from dict.fromkeys(name.partition(".")[0] for name in names)
