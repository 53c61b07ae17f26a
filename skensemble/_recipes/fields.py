"""What the fields of a recipe say of themselves, so that no list of their names is kept by hand.

A field without it is an error wherever recipes are compared or written.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Literal

FileForm = Literal["plain", "own", "no"]
StackRule = Literal["alike", "free", "own"]


def says(file: FileForm, stack: StackRule) -> dict[str, str]:
    """Return the metadata of a field.

    Parameters
    ----------
    file : {"plain", "own", "no"}
        Whether a file holds the value as JSON has it, in a form of its own, or not at all.
    stack : {"alike", "free", "own"}
        Whether networks that train in one stack must have it in common, may differ in it, or
        share what is said where stacks are made.
    """
    return {"file": file, "stack": stack}


def named(record: Any, about: str, value: str) -> tuple[str, ...]:
    """Return the names of the fields that say `value` of ``"file"`` or ``"stack"``."""
    return tuple(one.name for one in fields(record) if one.metadata[about] == value)
