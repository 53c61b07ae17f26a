"""Deep ensembles, and what can be learned from them, inside scikit-learn."""

from skensemble import (
    augmentation,
    datasets,
    inspection,
    losses,
    metrics,
    nn,
    ntk,
    objectives,
    preprocessing,
    pruning,
)
from skensemble._base import MemberDivergedError
from skensemble._persistence import load
from skensemble.batch_ensemble import BatchEnsembleClassifier
from skensemble.distillation import DistilledClassifier
from skensemble.ensemble import DeepEnsembleClassifier, NetworkClassifier
from skensemble.model_selection import StackedGridSearchCV, StackedRandomizedSearchCV
from skensemble.ntk.classifier import NTKClassifier
from skensemble.pruning.classifier import PrunedClassifier
from skensemble.self_distillation import SelfDistiller

__version__ = "0.1.0"

__all__ = [
    "BatchEnsembleClassifier",
    "DeepEnsembleClassifier",
    "DistilledClassifier",
    "MemberDivergedError",
    "NTKClassifier",
    "NetworkClassifier",
    "PrunedClassifier",
    "SelfDistiller",
    "StackedGridSearchCV",
    "StackedRandomizedSearchCV",
    "augmentation",
    "datasets",
    "inspection",
    "load",
    "losses",
    "metrics",
    "nn",
    "ntk",
    "objectives",
    "preprocessing",
    "pruning",
]
