"""Save fitted estimators as safetensors and JSON, and load them without executing anything.

An estimator gives its state and takes it back (``_to_state``, ``_from_state``); a file knows no
class but those that put themselves into the registry. Nothing else is looked up by a name found
in a file, but for the architectures of :mod:`skensemble.nn`, the augmentations of
:mod:`skensemble.augmentation` and torch's own elementwise optimisers; any other module is named
by the caller.
"""

from __future__ import annotations

import os
from typing import Any

from skensemble._files.format import read, write
from skensemble._files.registry import class_of


def save(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator; see ``BaseNetworks.save``."""
    class_of(type(estimator).__name__, path)
    write(estimator._to_state(), path)


def load(path: str | os.PathLike[str], module: Any = None) -> Any:
    """Load an estimator written by its ``save``, executing nothing from the file.

    Parameters
    ----------
    path : path-like
        The file.
    module : Module class, factory or instance, or list of them, default=None
        The network's architecture, where it is not one of :mod:`skensemble.nn`; a list, one a
        member, where a warm start gave members several.

    Returns
    -------
    estimator
        The fitted estimator. Teachers, callbacks, ``train_split``, ``compile``, augmentations
        that are not skensemble's, and optimisers that are not torch's elementwise ones are
        not in the file; where there were any, `fit` asks for them to be set again.

    Examples
    --------
    >>> import tempfile, skensemble
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> net = skensemble.NetworkClassifier(random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net.save(f"{folder}/iris.skensemble")
    ...     again = skensemble.load(f"{folder}/iris.skensemble")
    >>> bool((again.predict_proba(X) == net.predict_proba(X)).all())
    True
    """
    state = read(path, module)
    return class_of(state.about.get("class"), path)._from_state(state)
