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

from skensemble._files.errors import FileError, Misfit, told, within
from skensemble._files.format import read, write
from skensemble._files.registry import class_of


def save(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator; see ``BaseNetworks.save``."""
    class_of(type(estimator).__name__)
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

    Raises
    ------
    FileError
        If the file is none of ours, is damaged, or says what no estimator can be. It names the
        file and the field. What the system says of a file it cannot open is an `OSError`.

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
    path = os.fspath(path)
    try:
        state = read(path, module)
        estimator = class_of(state.about.get("class"))._from_state(state)
        with within("networks"):
            estimator._rehearse()
    except Misfit as error:
        raise FileError(path, error.field, error.text) from error
    except (OSError, FileError):
        raise
    except Exception as error:
        raise FileError(path, "", told(error)) from error
    return estimator
