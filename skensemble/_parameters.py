"""scikit-learn's parameters for small frozen objects that estimators take as theirs."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from sklearn.base import clone

from skensemble._private import validate_parameter_constraints


class Parameters:
    """Mixin of dataclasses whose fields are parameters, searched as ``objective__tau``.

    A field that is hidden from the repr is no parameter. What is no dataclass has none, and
    is cloned by copying it.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {}

    def _names(self) -> list[str]:
        if not dataclasses.is_dataclass(self):
            return []
        return [field.name for field in dataclasses.fields(self) if field.repr]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include those of parameters that have some, as ``name__inner``.

        Returns
        -------
        dict of str to object
            The parameters.
        """
        found = {name: getattr(self, name) for name in self._names()}
        for name, value in list(found.items()) if deep else ():
            if hasattr(value, "get_params") and not isinstance(value, type):
                found.update({f"{name}__{key}": one for key, one in value.get_params().items()})
        return found

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name, those inside of others as ``name__inner``.

        Parameters
        ----------
        **params : dict of str to object
            The parameters.

        Returns
        -------
        object
            The object itself.
        """
        for name, value in params.items():
            outer, inside, inner = name.partition("__")
            if outer not in self._names():
                raise ValueError(
                    f"A parameter of {type(self).__name__} must be one of {self._names()}. Got "
                    f"{outer!r} instead."
                )
            if inside:
                getattr(self, outer).set_params(**{inner: value})
            else:
                object.__setattr__(self, outer, value)  # frozen for all but its owner's search
        return self

    def check_params(self) -> None:
        """Raise unless all parameters are what the table of constraints says."""
        validate_parameter_constraints(
            self._parameter_constraints, self.get_params(deep=False), type(self).__name__
        )

    def __sklearn_clone__(self) -> Self:
        if not dataclasses.is_dataclass(self):
            return copy.deepcopy(self)
        twins = {name: clone(getattr(self, name), safe=False) for name in self._names()}
        return dataclasses.replace(self, **twins)

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other) or not dataclasses.is_dataclass(self):
            return self is other
        return self.get_params() == other.get_params()  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash(type(self))  # parameters can be set


def refuse_inner(owner: Any, params: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Refuse to set parameters of an object where only its name was given."""
    for name in names:
        inner = [key for key in params if key.startswith(f"{name}__")]
        value = params.get(name, getattr(owner, name))
        if inner and not hasattr(value, "set_params"):
            raise ValueError(
                f"{inner[0]!r} is a parameter of the object in {name!r}, which must be one. Got "
                f"{name}={value!r} instead; pass the object, whose defaults the name stands for."
            )


def read(given: Any, kinds: Mapping[str, type[Any]]) -> Any:
    """Return the object of a name, or the one that was given, checked; None stays None."""
    if isinstance(given, str):
        return kinds[given]()
    if given is not None:
        given.check_params()
    return given


def describe(given: Any, kinds: Mapping[str, type[Any]]) -> Any:
    """Return an object of known classes as plain names and numbers, anything else as it is."""
    if type(given) not in kinds.values():
        return given
    return {"class": type(given).__name__, **given.get_params(deep=False)}


def rebuild(about: Any, kinds: Mapping[str, type[Any]]) -> Any:
    """Return what `describe` described."""
    if not isinstance(about, dict):
        return about
    classes = {cls.__name__: cls for cls in kinds.values()}
    return classes[about["class"]](**{k: v for k, v in about.items() if k != "class"})
