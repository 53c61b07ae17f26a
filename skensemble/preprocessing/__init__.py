"""Transformers: raw tables, what a network's layer puts out, and a part of the channels."""

from typing import TYPE_CHECKING, Any

from skensemble.preprocessing.channel_split import ChannelSplit
from skensemble.preprocessing.table import TablePreprocessor

if TYPE_CHECKING:
    from skensemble.preprocessing.module_features import ModuleFeatures

__all__ = ["ChannelSplit", "ModuleFeatures", "TablePreprocessor"]


def __getattr__(name: str) -> Any:
    # Estimators read tables, and ModuleFeatures reads estimators: it is loaded when asked for.
    if name == "ModuleFeatures":
        from skensemble.preprocessing.module_features import ModuleFeatures

        return ModuleFeatures
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
