"""One seed a member, so that a member never depends on how many others there are.

``random_state`` becomes a root number; member ``m`` owns the ``m``-th child of its
:class:`numpy.random.SeedSequence`; each purpose (initial weights, order of the
samples, ...) owns a child of the member. The global generators are never touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from skensemble._arguments import naming
from skensemble._turns import Turns


class Purpose(IntEnum):
    """What a member draws random numbers for."""

    INIT = 0
    ORDER = 1
    FORWARD = 2
    BOOTSTRAP = 3
    SPLIT = 4
    TEACHER = 5
    REGRESSOR = 6
    PERMUTE = 7
    PERTURB = 8
    PROJECT = 9
    AUGMENT = 10
    FOLDS = 11
    PRUNE = 12
    TRANSFER = 13


_TORCH_GENERATOR = Turns()


def root_seed(random_state: Any) -> int:
    """Turn scikit-learn's `random_state` into one number.

    An int stands for itself, ``None`` draws fresh entropy from the operating system,
    a ``RandomState`` gives its next draw.
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    return int(as_random_state(random_state).randint(np.iinfo(np.int32).max))


def as_random_state(random_state: Any) -> np.random.RandomState:
    """Turn scikit-learn's `random_state` into a generator, which is never NumPy's global one."""
    if random_state is None:
        return np.random.RandomState(root_seed(None))
    with naming("random_state", "be an int from 0 to 2**32 - 1, a RandomState or None"):
        return check_random_state(random_state)


def member_seed(root: int, member: int) -> int:
    """Return the seed of one member, whatever the size of the ensemble."""
    return int(np.random.SeedSequence(root, spawn_key=(member,)).generate_state(1)[0])


def purpose_seed(seed: int, purpose: Purpose) -> int:
    """Return the seed a member uses for one purpose."""
    return int(np.random.SeedSequence(seed, spawn_key=(int(purpose),)).generate_state(1)[0])


def numbered(root: int, number: int) -> np.random.Generator:
    """Return the generator of one thing among others, none of which is that of the root itself."""
    return np.random.default_rng(np.random.SeedSequence(root, spawn_key=(number,)))


def generator(seed: int, purpose: Purpose, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a torch generator of its own for a member and a purpose."""
    return torch.Generator(device).manual_seed(purpose_seed(seed, purpose))


@contextmanager
def torch_seeded(seed: int, device: str | torch.device = "cpu") -> Iterator[None]:
    """Seed torch's global generators inside the block and restore them after it.

    Module constructors and functional dropout draw from the global generators and
    take no other. A lock keeps threads that train side by side out of each other's way.
    """
    device = torch.device(device)
    cuda = [device] if device.type == "cuda" else []
    with _TORCH_GENERATOR, torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
