"""Data on which ensembles help, data on which they do not, CIFAR from disk, and corruptions."""

from skensemble.datasets.cifar import load_cifar
from skensemble.datasets.corrupted_images import CORRUPTIONS, corrupt_images
from skensemble.datasets.corrupted_tables import TABLE_CORRUPTIONS, corrupt_table
from skensemble.datasets.gaussian import make_labelled_gaussian
from skensemble.datasets.multiview import THOUGHT_EXPERIMENT, make_multiview_classification

__all__ = [
    "CORRUPTIONS",
    "TABLE_CORRUPTIONS",
    "THOUGHT_EXPERIMENT",
    "corrupt_images",
    "corrupt_table",
    "load_cifar",
    "make_labelled_gaussian",
    "make_multiview_classification",
]
