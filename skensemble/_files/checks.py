"""What values of a file may be: checks made of checks, which name the field that is wrong.

A check is a function of a value that returns nothing or raises `Misfit`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from skensemble._files.errors import Misfit, below, must

Check = Callable[[Any], None]

# No number of a header, whatever it counts, is larger; seeds go up to 2**32.
LARGEST = 2**63


def _look(check: Check, value: Any, name: str) -> None:
    """Check a part; no context manager, since a file may have a million of them."""
    try:
        check(value)
    except Misfit as error:
        raise Misfit(below(name, error.field), error.text) from error


def boolean(value: Any) -> None:
    """Require True or False."""
    if not isinstance(value, bool):
        raise must("", "true or false", value)


def integer(low: int = -LARGEST, high: int = LARGEST) -> Check:
    """Require an int from `low` to `high`."""

    def check(value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise must("", f"an int from {low} to {high}", value)

    return check


def real(low: float = -math.inf, high: float = math.inf, above: bool = False) -> Check:
    """Require a finite number from `low`, or above it, to `high`."""
    what = f"a finite number {'above' if above else 'from'} {low:g} up to {high:g}"

    def check(value: Any) -> None:
        known = isinstance(value, (int, float)) and not isinstance(value, bool)
        # An int may be too large to be compared with as a float.
        if not known or (not -LARGEST <= value <= LARGEST and isinstance(value, int)):
            raise must("", what, value)
        if not math.isfinite(value) or not low <= value <= high or (above and value == low):
            raise must("", what, value)

    return check


def text(longest: int = 1000) -> Check:
    """Require a string."""

    def check(value: Any) -> None:
        if not isinstance(value, str) or len(value) > longest:
            raise must("", f"a string of at most {longest} characters", value)

    return check


def one_of(*choices: Any) -> Check:
    """Require one of some strings or None."""

    def check(value: Any) -> None:
        if not isinstance(value, (str, type(None))) or value not in choices:
            raise must("", f"one of {list(choices)}", value)

    return check


def maybe(inner: Check) -> Check:
    """Allow None instead."""

    def check(value: Any) -> None:
        if value is not None:
            inner(value)

    return check


def many(inner: Check, least: int = 0, most: int | None = None) -> Check:
    """Require a list of values that are alike."""
    length = "" if most is None else f" and at most {most}"

    def check(value: Any) -> None:
        if not isinstance(value, list) or not least <= len(value) <= (most or len(value)):
            raise must("", f"a list of at least {least}{length} values", value)
        for number, one in enumerate(value):
            _look(inner, one, f"[{number}]")

    return check


def mapping(inner: Check | None = None) -> Check:
    """Require a dict whose values are alike."""

    def check(value: Any) -> None:
        if not isinstance(value, dict):
            raise must("", "an object of names and values", value)
        if inner is not None:
            for name, one in value.items():
                _look(inner, one, name)

    return check


def record(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """Require a dict with fields of known names, and no others."""
    known = {**required, **(optional or {})}

    def check(value: Any) -> None:
        require_names(value, required, known)
        for name, one in value.items():
            _look(known[name], one, name)

    return check


def partial(fields: Mapping[str, Check]) -> Check:
    """Require a dict with some of known fields."""
    return record({}, fields)


def require_names(value: Any, required: Collection[str], known: Collection[str]) -> None:
    """Require a dict that has all required names and none that is unknown."""
    if not isinstance(value, dict):
        raise must("", f"an object with the fields {sorted(required)}", value)
    missing = sorted(set(required) - set(value))
    if missing:
        raise must(missing[0], "there", None)
    strange = sorted(set(value) - set(known))
    if strange:
        raise must(
            strange[0], f"left out, as there are {sorted(known)} alone here", value[strange[0]]
        )


# -- JSON as such ----------------------------------------------------------------------------

_DEEPEST = 40


def require_plain(value: Any) -> None:
    """Refuse what nests too deeply and integers that are too large, without recursion."""
    level = [value]
    for _ in range(_DEEPEST):
        inside: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inside.extend(one.values())
            elif isinstance(one, list):
                inside.extend(one)
            elif isinstance(one, int) and not -LARGEST <= one <= LARGEST:
                raise must("", f"made of ints of at most {LARGEST}", "a larger one")
        if not inside:
            return
        level = inside
    raise must("", f"nested at most {_DEEPEST} deep", "more")


def scalar(value: Any) -> None:
    """Require a number, a string, true, false or null."""
    if isinstance(value, (dict, list)):
        raise must("", "a single value", value)


def anything(value: Any) -> None:
    """Require nothing of what JSON holds: it is handed on, and looked at where it is used."""
