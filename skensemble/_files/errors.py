"""What is said of a file that cannot be read."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80


class FileError(ValueError):
    """A file is none of ours, is damaged, or says what no estimator can be.

    Attributes
    ----------
    path : path-like
        The file.
    field : str
        Where in it, such as ``"recipe.lr"``; empty where it is about the file as a whole.
    """

    def __init__(self, path: Any, field: str, text: str) -> None:
        super().__init__(path, field, text)
        self.path, self.field, self.text = path, field, text

    def __str__(self) -> str:
        where = f"{self.field}: " * bool(self.field)
        return f"{self.path} cannot be loaded. {where}{self.text}"


class Misfit(ValueError):
    """Something in a file is not as it must be; which file is said further up."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(field, text)
        self.field, self.text = field, text

    def __str__(self) -> str:
        return f"{self.field}: {self.text}" if self.field else self.text


def must(field: str, what: str, got: Any) -> Misfit:
    """Return the error of a value that is not what it must be."""
    return Misfit(field, f"It must be {what}. Got {_short.repr(got)} instead.")


def below(field: str, inner: str) -> str:
    """Join the names of a field and of a part of it."""
    return ".".join(filter(None, (field, inner))).replace(".[", "[")


@contextmanager
def within(field: str) -> Iterator[None]:
    """Say of every error which part of the file it is about."""
    try:
        yield
    except Misfit as error:
        raise Misfit(below(field, error.field), error.text) from error
    except Exception as error:
        # Constructors, of a reader's own modules too, raise what they like.
        raise Misfit(field, told(error)) from error


def told(error: Exception) -> str:
    """Return an error of somebody else as a sentence."""
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    return f"It was refused: {kind}{error}"
