"""Multi-view data, on which ensembles help (Allen-Zhu and Li, 2023)."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from skensemble._arguments import as_numpy, naming, require_dtype
from skensemble._private import Interval, StrOptions, validate_params
from skensemble._seeding import as_random_state

__all__ = ["THOUGHT_EXPERIMENT", "make_multiview_classification"]

#: Arguments of `make_multiview_classification` for the two-class thought experiment: 80 % of
#: the rows have both views of their class, 10 % the first alone, 10 % the second alone, each at
#: weight 1; all have one feature of the other class at 0.1, which is what an ensemble can teach
#: beside labels, and noise that can be learned by heart.
THOUGHT_EXPERIMENT: dict[str, Any] = {
    "n_classes": 2,
    "n_patches": 4,
    "patch_dim": 40,
    "single_view": 0.2,
    "n_others": "one",
    "own": (1.0, 1.0),
    "others": (0.1, 0.1),
    "single_own": (1.0, 1.0),
    "lost": (0.0, 0.0),
    "single_others": (0.1, 0.1),
    "background": 1.0,
}

_RANGES = ("own", "others", "single_own", "lost", "single_others")


@validate_params(
    {
        "n_samples": [Interval(numbers.Integral, 1, None, closed="left")],
        "n_classes": [Interval(numbers.Integral, 2, None, closed="left")],
        "n_patches": [Interval(numbers.Integral, 2, None, closed="left")],
        "patch_dim": [Interval(numbers.Integral, 4, None, closed="left")],
        "patches_per_feature": [Interval(numbers.Integral, 1, None, closed="left")],
        "n_others": [StrOptions({"one"}), Interval(numbers.Real, 0, None, closed="left")],
        "single_view": [Interval(numbers.Real, 0, 1, closed="both")],
        **{name: [tuple, list] for name in _RANGES},
        "background": [Interval(numbers.Real, 0, None, closed="left")],
        "patch_noise": [Interval(numbers.Real, 0, None, closed="left")],
        "feature_noise": [StrOptions({"balanced"}), Interval(numbers.Real, 0, None, closed="left")],
        "features": ["array-like", None],
        "return_views": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def make_multiview_classification(
    n_samples: int = 500,
    *,
    n_classes: int = 10,
    n_patches: int = 14,
    patch_dim: int = 160,
    patches_per_feature: int = 1,
    n_others: float | str = 3.0,
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
    n_others : float or "one", default=3.0
        `s`: each feature of other classes is present with probability ``s / k``. Where they do
        not find room, some are left out at random. "one" is exactly one of them in every row.
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
    n_samples, patches_per_feature = int(n_samples), int(patches_per_feature)
    _check_multiview(n_classes, n_patches, patch_dim, patches_per_feature, n_others)
    for name, given in zip(_RANGES, (own, others, single_own, lost, single_others), strict=True):
        _check_range(name, given)
    require_dtype(dtype)
    rng = as_random_state(random_state)
    features = _features(features, n_classes, patch_dim, rng)
    y = rng.randint(n_classes, size=n_samples)
    view = np.where(rng.uniform(size=n_samples) < single_view, rng.randint(2, size=n_samples), -1)
    single = view >= 0
    shape = (n_samples, n_classes, 2)
    if isinstance(n_others, str):
        present = _one_other(y, n_classes, rng)
    else:
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
    n_classes: int, n_patches: int, patch_dim: int, per_feature: int, s: Any
) -> None:
    for name, value, least in (
        ("patch_dim", patch_dim, 2 * n_classes),
        ("n_patches", n_patches, 2 * per_feature),
    ):
        if value < least:
            raise ValueError(f"The {name!r} must be at least {least}. Got {value!r} instead.")
    if s != "one" and (isinstance(s, str) or not 0 <= s <= n_classes):
        raise ValueError(f"The 'n_others' must be in [0, n_classes], or 'one'. Got {s!r} instead.")
    if s == "one" and n_patches < 3 * per_feature:
        raise ValueError(
            "With n_others='one' there are three features in a row, so 'n_patches' must be at "
            f"least {3 * per_feature}. Got {n_patches} instead."
        )


def _check_range(name: str, given: Any) -> None:
    if len(given) != 2 or not all(isinstance(one, numbers.Real) for one in given):
        raise ValueError(f"The {name!r} must be two numbers, low and high. Got {given!r} instead.")
    if not -math.inf < given[0] <= given[1] < math.inf:
        raise ValueError(f"The {name!r} must be finite, low before high. Got {given!r} instead.")


def _features(features: Any, n_classes: int, patch_dim: int, rng: Any) -> np.ndarray:
    """Draw orthonormal features, or check those that were given."""
    shape = (n_classes, 2, patch_dim)
    if features is None:
        square = np.linalg.qr(rng.normal(size=(patch_dim, 2 * n_classes)))[0]
        return np.ascontiguousarray(square.T).reshape(shape)
    with naming("features", "be an array of numbers"):
        features = np.asarray(as_numpy(features), dtype=float)
    flat = features.reshape(-1, patch_dim) if features.shape == shape else None
    if flat is None or not np.allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-6):
        raise ValueError(
            f"The 'features' must be orthonormal vectors of shape {shape}. "
            f"Got shape {features.shape}."
        )
    return features


def _between(many: Any, one: Any, single: np.ndarray, shape: Any, rng: Any) -> np.ndarray:
    return np.where(single, rng.uniform(*one, size=shape), rng.uniform(*many, size=shape))


def _one_other(y: np.ndarray, n_classes: int, rng: Any) -> np.ndarray:
    """Choose one feature of the other classes for each row."""
    present = np.zeros((len(y), n_classes, 2), dtype=bool)
    other = (y + rng.randint(1, n_classes, size=len(y))) % n_classes
    present[np.arange(len(y)), other, rng.randint(2, size=len(y))] = True
    return present


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
        noise = np.full((n_patches, 1), float(background))
        noise[places] = patch_noise
        X[row] *= noise
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
