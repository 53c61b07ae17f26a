"""Classes whose fitted estimators files may hold: each puts itself here."""

from __future__ import annotations

from typing import Any, TypeVar

from skensemble._files.errors import Misfit

_Class = TypeVar("_Class", bound=type)
_CLASSES: dict[str, type] = {}


def in_files(cls: _Class) -> _Class:
    """Let files hold estimators of a class; a decorator."""
    _CLASSES[cls.__name__] = cls
    return cls


def class_of(name: Any) -> Any:
    """Return the class that a file names, which must have put itself here."""
    if not isinstance(name, str) or name not in _CLASSES:
        raise Misfit(
            "class", f"It must be one of the classes {sorted(_CLASSES)}. Got {name!r} instead; "
            "a newer skensemble may read it.",
        )  # fmt: skip
    return _CLASSES[name]
