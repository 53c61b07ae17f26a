"""How an estimator's transfer rows are read, checked and described."""

from __future__ import annotations

from typing import Any

from skensemble import _parameters
from skensemble._private import HasMethods, StrOptions
from skensemble.transfer import Interpolate, Mixup, Munge, Noise, Sampler

KINDS: dict[str, type[Sampler]] = {
    "munge": Munge,
    "mixup": Mixup,
    "interpolate": Interpolate,
    "noise": Noise,
}
# A sampler, or anything that samples as one does.
CONSTRAINTS: list[Any] = [StrOptions(set(KINDS)), HasMethods(["sample"]), None]


def read_transfer(given: Any) -> Any:
    """Return the sampler of a name, or the one that was given, checked."""
    return _parameters.read(given, KINDS) if isinstance(given, (str, Sampler)) else given


def describe_transfer(given: Any) -> Any:
    """Describe a sampler in plain numbers and names; a user's own stays as it is."""
    return _parameters.describe(given, KINDS)


def rebuild_transfer(about: Any) -> Any:
    """Return the sampler that a file describes."""
    return _parameters.rebuild(about, KINDS)
