"""CIFAR from disk."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from skensemble._private import StrOptions, validate_params

__all__ = ["load_cifar"]


@validate_params(
    {
        "name": [StrOptions({"cifar10", "cifar100"})],
        "root": [str, os.PathLike],
        "split": [StrOptions({"train", "test"})],
        "memory_map": [str, os.PathLike, None],
    },
    prefer_skip_nested_validation=True,
)
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
            f"The 'root' must be a folder with torchvision's files of {name}, or an .npz file. "
            f"There is no {root}; nothing is downloaded."
        )
    if root.is_dir():
        from torchvision import datasets  # takes a second to import

        kind = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
        try:
            found = kind(str(root), train=split == "train", download=False)
        except RuntimeError as error:
            raise FileNotFoundError(
                f"The 'root' {root} must hold torchvision's files of {name}. torchvision says: "
                f"{error}"
            ) from error
        X, y = found.data, np.asarray(found.targets)
    else:
        with np.load(root) as file:
            X, y = file[f"X_{split}"], file[f"y_{split}"]
    if X.ndim != 4 or X.dtype != np.uint8 or 3 not in (X.shape[1], X.shape[3]):
        raise ValueError(
            f"The images in the 'root' {root} must be bytes of shape (n, 3, 32, 32) or "
            f"(n, 32, 32, 3). Got {X.dtype} of shape {X.shape}."
        )
    if X.shape[1] != 3:
        X = np.ascontiguousarray(X.transpose(0, 3, 1, 2))
    return X, y.astype(np.int64)
