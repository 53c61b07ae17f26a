"""Transformers: raw tables, what a network's layer puts out, and a part of the channels."""

from skensemble._tables.preprocessor import TablePreprocessor
from skensemble.preprocessing.channel_split import ChannelSplit
from skensemble.preprocessing.module_features import ModuleFeatures

__all__ = ["ChannelSplit", "ModuleFeatures", "TablePreprocessor"]
