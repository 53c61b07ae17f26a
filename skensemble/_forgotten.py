"""What a file does not hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ForgottenRecipe:
    """Stands for a recipe of which a saved file could not carry all parts."""

    missing: tuple[str, ...]
