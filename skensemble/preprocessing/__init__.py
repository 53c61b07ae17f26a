"""Transformers: raw tables, what a network's layer puts out, and a part of the channels."""

from skensemble.preprocessing.channel_split import ChannelSplit
from skensemble.preprocessing.module_features import ModuleFeatures
from skensemble.preprocessing.table import TablePreprocessor

__all__ = ["ChannelSplit", "ModuleFeatures", "TablePreprocessor"]
