"""Data on which ensembles help, data on which they do not, and CIFAR from disk."""

from skensemble.datasets.cifar import load_cifar
from skensemble.datasets.gaussian import make_labelled_gaussian
from skensemble.datasets.multiview import THOUGHT_EXPERIMENT, make_multiview_classification

__all__ = [
    "THOUGHT_EXPERIMENT",
    "load_cifar",
    "make_labelled_gaussian",
    "make_multiview_classification",
]
