"""Data on which ensembles help, data on which they do not, and CIFAR from disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils import Bunch, check_random_state
from torch import Tensor, nn

__all__ = [
    "THOUGHT_EXPERIMENT",
    "load_cifar",
    "make_labelled_gaussian",
    "make_multiview_classification",
]

#: Arguments of `make_multiview_classification` for the two-class thought experiment: 80 % of
#: the rows have both views of their class, 10 % the first alone, 10 % the second alone.
THOUGHT_EXPERIMENT: dict[str, Any] = {
    "n_classes": 2,
    "n_patches": 4,
    "patch_dim": 40,
    "single_view": 0.2,
    "n_others": 0.0,
    "lost": (0.0, 0.0),
    "background": 0.0,
}


def make_multiview_classification(
    n_samples: int = 500,
    *,
    n_classes: int = 10,
    n_patches: int = 14,
    patch_dim: int = 160,
    patches_per_feature: int = 1,
    n_others: float = 3.0,
    single_view: float = 0.03,
    own: tuple[float, float] = (1.0, 2.0),
    others: tuple[float, float] = (0.2, 0.4),
    single_own: tuple[float, float] = (1.0, 1.2),
    lost: tuple[float, float] = (0.02, 0.03),
    single_others: tuple[float, float] = (0.15, 0.3),
    background: float = 1.8,
    patch_noise: float = 0.0,
    feature_noise: float | str = 0.0,
    features: Any = None,
    return_views: bool = False,
    dtype: Any = np.float64,
    random_state: Any = None,
) -> Any:
    """Rows of patches in which each class shows up in two ways (multi-view data).

    Definitions 3.1 and 3.3 of Allen-Zhu and Li [1]_. Every class has two features, all of
    them orthonormal. A row has, in patches of their own and in random places: both features
    of its class; each feature of other classes with probability ``n_others / n_classes``,
    weakly; and background in the patches that are left. Of a share `single_view` of the
    rows one of the two own features is nearly lost. A feature's strength is drawn uniformly
    from its range and dealt out to its patches.

    The defaults are a finite set on which the theorems of [1]_ can be seen on a CPU.

    Parameters
    ----------
    n_samples : int, default=500
        Number of rows.
    n_classes : int, default=10
        Number of classes `k`.
    n_patches : int, default=14
        Patches of a row, `P`.
    patch_dim : int, default=160
        Numbers of a patch, `d`; at least ``2 * n_classes``.
    patches_per_feature : int, default=1
        Patches of each feature that is present, `C_p`.
    n_others : float, default=3.0
        `s`: each feature of other classes is present with probability ``s / k``. Where they do
        not find room, some are left out at random.
    single_view : float, default=0.03
        `μ`, the share of rows with a single view.
    own, others : tuple of float, default=(1.0, 2.0) and (0.2, 0.4)
        Strengths in rows with both views: of the own features, and of others.
    single_own, lost, single_others : tuple of float
        Strengths in rows with a single view: of that view, of the other one (`ρ`), and of
        other classes' features (`Γ`).
    background : float, default=1.8
        Root mean square length of the Gaussian noise in patches without a feature.
    patch_noise : float, default=0.0
        The same in patches with a feature (``σ_p √d``).
    feature_noise : float or "balanced", default=0.0
        `γ`: every patch has, of every feature, a share drawn from ``[0, γ]`` on top. Definition
        3.1 leaves these shares to an adversary: "balanced" takes those that hide the class from
        every linear classifier. A feature's sum over the patches is then the same in
        all rows, whatever their class; the shares are at most ``own[1] / n_patches``.
    features : array-like of shape (n_classes, 2, patch_dim), default=None
        The features, as an earlier call returned them; drawn if not given.
    return_views : bool, default=False
        Whether to return what is in the rows.
    dtype : dtype, default=numpy.float64
        Of `X`.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    X : ndarray of shape (n_samples, n_patches, patch_dim)
        The rows.
    y : ndarray of shape (n_samples,)
        Classes.
    views : Bunch
        If `return_views`: ``features``; ``view`` of each row, 0 or 1 where it is the only one
        and -1 where there are both; ``strength`` of shape (n_samples, n_classes, 2).

    References
    ----------
    .. [1] Allen-Zhu and Li, "Towards understanding ensemble, knowledge distillation and
       self-distillation in deep learning", 2023.

    Examples
    --------
    >>> from skensemble.datasets import make_multiview_classification
    >>> X, y = make_multiview_classification(100, random_state=0)
    >>> X.shape, y.shape
    ((100, 14, 160), (100,))
    """
    _check_multiview(n_classes, n_patches, patch_dim, patches_per_feature, single_view, n_others)
    if feature_noise != "balanced" and (isinstance(feature_noise, str) or feature_noise < 0):
        raise ValueError(
            f"The 'feature_noise' must be at least 0, or 'balanced'. Got {feature_noise!r} instead."
        )
    rng = check_random_state(random_state)
    features = _features(features, n_classes, patch_dim, rng)
    y = rng.randint(n_classes, size=n_samples)
    view = np.where(rng.uniform(size=n_samples) < single_view, rng.randint(2, size=n_samples), -1)
    single = view >= 0
    shape = (n_samples, n_classes, 2)
    present = rng.uniform(size=shape) < n_others / n_classes
    room = n_patches // patches_per_feature - 2
    present = _at_most(present, y, room, rng)

    strength = _between(others, single_others, single[:, None, None], shape, rng) * present
    mine = np.stack([_between(own, single_own, single, (n_samples,), rng) for _ in range(2)], 1)
    gone = rng.uniform(*lost, size=n_samples)
    at = np.flatnonzero(single)
    mine[at, 1 - view[at]] = gone[at]
    strength[np.arange(n_samples), y] = mine

    flat = features.reshape(2 * n_classes, patch_dim)
    X = _patches(strength, features, n_patches, patches_per_feature, background, patch_noise, rng)
    X += _shares(feature_noise, strength, n_patches, max(own[1], single_own[1]), rng) @ flat
    X = X.astype(dtype, copy=False)
    if not return_views:
        return X, y
    return X, y, Bunch(features=features, view=view, strength=strength)


def _check_multiview(
    n_classes: int, n_patches: int, patch_dim: int, per_feature: int, single_view: float, s: float
) -> None:
    for name, value, least in (
        ("n_classes", n_classes, 2), ("patches_per_feature", per_feature, 1),
        ("patch_dim", patch_dim, 2 * n_classes), ("n_patches", n_patches, 2 * per_feature),
    ):  # fmt: skip
        if value < least:
            raise ValueError(f"The {name!r} must be at least {least}. Got {value!r} instead.")
    if not 0 <= single_view <= 1:
        raise ValueError(f"The 'single_view' must be in [0, 1]. Got {single_view!r} instead.")
    if not 0 <= s <= n_classes:
        raise ValueError(f"The 'n_others' must be in [0, n_classes]. Got {s!r} instead.")


def _features(features: Any, n_classes: int, patch_dim: int, rng: Any) -> np.ndarray:
    """Draw orthonormal features, or check those that were given."""
    shape = (n_classes, 2, patch_dim)
    if features is None:
        square = np.linalg.qr(rng.normal(size=(patch_dim, 2 * n_classes)))[0]
        return np.ascontiguousarray(square.T).reshape(shape)
    features = np.asarray(features, dtype=float)
    flat = features.reshape(-1, features.shape[-1])
    if features.shape != shape or not np.allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-6):
        raise ValueError(
            f"The 'features' must be orthonormal vectors of shape {shape}. "
            f"Got shape {features.shape}."
        )
    return features


def _between(many: Any, one: Any, single: np.ndarray, shape: Any, rng: Any) -> np.ndarray:
    return np.where(single, rng.uniform(*one, size=shape), rng.uniform(*many, size=shape))


def _at_most(present: np.ndarray, y: np.ndarray, room: int, rng: Any) -> np.ndarray:
    """Leave out features of other classes at random until there is room for the rest."""
    present = present.copy()
    present[np.arange(len(y)), y] = False
    flat = present.reshape(len(y), -1)
    rank = np.where(flat, rng.uniform(size=flat.shape), 2.0).argsort(1).argsort(1)
    return (flat & (rank < room)).reshape(present.shape)


def _patches(
    strength: np.ndarray, features: np.ndarray, n_patches: int, per_feature: int,
    background: float, patch_noise: float, rng: Any,
) -> np.ndarray:  # fmt: skip
    """Put features into patches of their own, in random places, and noise into all."""
    n_samples, dim = len(strength), features.shape[-1]
    X = rng.normal(size=(n_samples, n_patches, dim)) / math.sqrt(dim)
    flat, flat_features = strength.reshape(n_samples, -1), features.reshape(-1, dim)
    for row in range(n_samples):
        which = np.flatnonzero(flat[row])
        places = rng.permutation(n_patches)[: len(which) * per_feature]
        shares = rng.dirichlet(np.full(per_feature, 3.0), size=len(which))
        X[row] *= background
        X[row, places] *= patch_noise / background if background else 0.0
        z = (flat[row, which, None] * shares).ravel()
        X[row, places] += z[:, None] * np.repeat(flat_features[which], per_feature, 0)
    return X


def _shares(
    noise: float | str, strength: np.ndarray, n_patches: int, most: float, rng: Any
) -> np.ndarray:
    """Return how much of every feature there is in every patch beside what is meant to be."""
    n_samples, n_features = len(strength), strength[0].size
    if isinstance(noise, str):  # what a row lacks of each feature, in equal parts
        return (most - strength.reshape(n_samples, 1, n_features)) / n_patches
    if noise == 0:
        return np.zeros((1, 1, n_features))
    return np.asarray(rng.uniform(0, noise, size=(n_samples, n_patches, n_features)))


# -- Gaussian-like data ------------------------------------------------------------------------

LABELLERS = ("linear", "fc2", "fc3", "res3", "conv2", "conv3", "resconv3")


def make_labelled_gaussian(
    n_samples: int = 1000,
    *,
    shape: int | Sequence[int] = (3, 8, 8),
    n_classes: int = 10,
    labeller: str = "linear",
    mixture: bool = False,
    rejection: bool = False,
    margin: bool = False,
    label_noise: float = 0.0,
    return_clean: bool = False,
    dtype: Any = np.float64,
    labeller_state: int = 0,
    random_state: Any = None,
) -> Any:
    """Gaussian rows labelled by a random network: data on which ensembles should not help.

    The grid of Figure 3 of Allen-Zhu and Li [1]_: rows of ``N(0, I)``, or of a mixture with one of
    ten centres, are given the class of the largest output of a random network.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of rows.
    shape : int or sequence of int, default=(3, 8, 8)
        Shape of a row; three numbers for the convolutional labellers.
    n_classes : int, default=10
        Number of classes.
    labeller : {"linear", "fc2", "fc3", "res3", "conv2", "conv3", "resconv3"}, default="linear"
        The network that labels: one, two or three layers, fully connected, convolutional or
        residual, with He's initial weights.
    mixture : bool, default=False
        Whether rows are ``0.7 N(0, I)`` plus one of ten centres of ``N(0, I)``.
    rejection : bool, default=False
        Whether classes are balanced by rejecting rows; otherwise they come as they are.
    margin : bool, default=False
        Whether only the half of the rows with the larger gap between the two largest
        outputs is kept.
    label_noise : float, default=0.0
        Share of rows whose label is then replaced by another class.
    return_clean : bool, default=False
        Whether to return the labels before that noise as well.
    dtype : dtype, default=numpy.float64
        Of `X`.
    labeller_state : int, default=0
        Seed of the labeller and the centres: calls with the same one have a concept in common.
    random_state : int, RandomState instance or None, default=None
        Seed of the rows and the noise.

    Returns
    -------
    X : ndarray of shape (n_samples, *shape)
        The rows.
    y : ndarray of shape (n_samples,)
        Classes.
    clean : ndarray of shape (n_samples,)
        If `return_clean`: the labeller's own.

    References
    ----------
    .. [1] Allen-Zhu and Li, "Towards understanding ensemble, knowledge distillation and
       self-distillation in deep learning", 2023.

    Examples
    --------
    >>> from skensemble.datasets import make_labelled_gaussian
    >>> X, y = make_labelled_gaussian(100, labeller="conv2", random_state=0)
    >>> X.shape
    (100, 3, 8, 8)
    """
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if labeller not in LABELLERS:
        raise ValueError(
            f"The 'labeller' must be one of {', '.join(LABELLERS)}. Got {labeller!r} instead."
        )
    if "conv" in labeller and len(shape) != 3:
        raise ValueError(
            f"labeller={labeller!r} needs rows of shape (channels, height, width). Got {shape}."
        )
    if not 0 <= label_noise <= 1:
        raise ValueError(f"The 'label_noise' must be in [0, 1]. Got {label_noise!r} instead.")
    rng = check_random_state(random_state)
    concept = np.random.RandomState(labeller_state)
    score = _labeller(labeller, shape, n_classes, concept)
    centres = concept.normal(size=(10, *shape)) if mixture else None

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        X = rng.normal(size=(n, *shape))
        if centres is not None:
            X = 0.7 * X + centres[rng.randint(10, size=n)]
        scores = score(X)
        y = scores.argmax(1)
        if margin:
            top = np.sort(scores, 1)
            gap = top[:, -1] - top[:, -2]
            kept = gap >= np.median(gap)
            X, y = X[kept], y[kept]
        return X, y

    X, clean = _gather(draw, n_samples, n_classes, rejection)
    y = clean.copy()
    wrong = rng.uniform(size=n_samples) < label_noise
    y[wrong] = (y[wrong] + rng.randint(1, n_classes, size=int(wrong.sum()))) % n_classes
    X = X.astype(dtype, copy=False)
    return (X, y, clean) if return_clean else (X, y)


def _gather(
    draw: Any, n_samples: int, n_classes: int, balanced: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Draw until there are enough rows, of each class where they are to be balanced."""
    wanted = np.full(n_classes, n_samples // n_classes)
    wanted[: n_samples % n_classes] += 1
    rows: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    have, counts = 0, np.zeros(n_classes, dtype=int)
    for _ in range(2000):
        X, y = draw(max(256, n_samples))
        if balanced:
            # The place of each row among those of its class, after those that are kept already.
            place = np.zeros(len(y), dtype=int)
            for c in range(n_classes):
                at = np.flatnonzero(y == c)
                place[at] = counts[c] + np.arange(len(at))
            kept = place < wanted[y]
        else:
            kept = np.arange(len(y)) < n_samples - have
        rows.append(X[kept])
        labels.append(y[kept])
        counts += np.bincount(y[kept], minlength=n_classes)
        have += int(kept.sum())
        if have == n_samples:
            return np.concatenate(rows), np.concatenate(labels)
    raise ValueError(
        f"Classes {np.flatnonzero(counts < wanted).tolist()} hardly ever come up under this "
        "labeller; choose another 'labeller_state', fewer classes, or rejection=False."
    )


class _Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def _labeller(kind: str, shape: tuple[int, ...], n_classes: int, rng: Any) -> Any:
    """Return a random network as a function of rows; weights ``N(0, 2 / fan in)``."""
    n_in = math.prod(shape)
    width = 2 * n_in
    if kind == "linear":
        layers: list[nn.Module] = [nn.Flatten(), nn.Linear(n_in, n_classes)]
    elif kind in ("fc2", "fc3"):
        more = [nn.Linear(width, width), nn.ReLU()] if kind == "fc3" else []
        layers = [nn.Flatten(), nn.Linear(n_in, width), nn.ReLU(), *more]
        layers.append(nn.Linear(width, n_classes))
    elif kind == "res3":
        block = nn.Sequential(nn.ReLU(), nn.Linear(width, width))
        layers = [nn.Flatten(), nn.Linear(n_in, width), _Residual(block), nn.ReLU()]
        layers.append(nn.Linear(width, n_classes))
    else:
        channels = 4 * shape[0]
        layers = [nn.Conv2d(shape[0], channels, 3, padding=1)]
        second = nn.Conv2d(channels, channels, 3, padding=1)
        if kind == "conv3":
            layers += [nn.ReLU(), second]
        elif kind == "resconv3":
            layers.append(_Residual(nn.Sequential(nn.ReLU(), second)))
        layers += [nn.ReLU(), nn.Flatten()]
        layers.append(nn.Linear(channels * shape[1] * shape[2], n_classes))
    network = nn.Sequential(*layers).double().requires_grad_(False)
    for parameter in network.parameters():
        if parameter.dim() == 1:
            parameter.zero_()
        else:
            scale = math.sqrt(2 / math.prod(parameter.shape[1:]))
            parameter.copy_(torch.from_numpy(scale * rng.normal(size=tuple(parameter.shape))))

    def score(X: np.ndarray) -> np.ndarray:
        parts = torch.from_numpy(X).split(4096)
        return torch.cat([network(part) for part in parts]).numpy()

    return score


# -- images ------------------------------------------------------------------------------------


def load_cifar(
    name: str, root: str | Path, *, split: str = "train", memory_map: str | Path | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Load CIFAR-10 or CIFAR-100 from files that are there already.

    Parameters
    ----------
    name : {"cifar10", "cifar100"}
        Which.
    root : path-like
        A folder with torchvision's own files (as its ``download=True`` leaves them), or an
        ``.npz`` file with ``X_train, y_train, X_test, y_test``, images as bytes, channels
        first or last.
    split : {"train", "test"}, default="train"
        Which rows.
    memory_map : path-like, default=None
        A folder to write the images to, once, as a ``.npy`` file; they are then returned as a
        memory map. ``None`` writes nothing and returns an array.

    Returns
    -------
    X : ndarray of shape (n_samples, 3, 32, 32), dtype uint8
        Images, channels first; bytes are scaled to [0, 1] by the estimators.
    y : ndarray of shape (n_samples,)
        Class indices.
    """
    if name not in ("cifar10", "cifar100"):
        raise ValueError(f"The 'name' must be 'cifar10' or 'cifar100'. Got {name!r} instead.")
    if split not in ("train", "test"):
        raise ValueError(f"The 'split' must be 'train' or 'test'. Got {split!r} instead.")
    folder = None if memory_map is None else Path(memory_map)
    files = [] if folder is None else [folder / f"{name}-{split}-{part}.npy" for part in "Xy"]
    if files and all(file.exists() for file in files):
        return np.load(files[0], mmap_mode="r"), np.load(files[1])
    X, y = _read_cifar(name, Path(root), split)
    if folder is None:
        return X, y
    folder.mkdir(parents=True, exist_ok=True)
    for file, array in zip(files, (X, y), strict=True):
        np.save(file, array)
    return np.load(files[0], mmap_mode="r"), y


def _read_cifar(name: str, root: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    if not root.exists():
        raise FileNotFoundError(
            f"{root} must be a folder with torchvision's files of {name}, or an .npz file. "
            "There is none; nothing is downloaded."
        )
    if root.is_dir():
        from torchvision import datasets  # takes a second to import

        kind = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
        try:
            found = kind(str(root), train=split == "train", download=False)
        except RuntimeError as error:
            raise FileNotFoundError(
                f"{root} must hold torchvision's files of {name}. torchvision says: {error}"
            ) from error
        X, y = found.data, np.asarray(found.targets)
    else:
        with np.load(root) as file:
            X, y = file[f"X_{split}"], file[f"y_{split}"]
    if X.ndim != 4 or X.dtype != np.uint8 or 3 not in (X.shape[1], X.shape[3]):
        raise ValueError(
            f"The images in {root} must be bytes of shape (n, 3, 32, 32) or (n, 32, 32, 3). "
            f"Got {X.dtype} of shape {X.shape}."
        )
    if X.shape[1] != 3:
        X = np.ascontiguousarray(X.transpose(0, 3, 1, 2))
    return X, y.astype(np.int64)
