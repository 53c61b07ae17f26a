"""Deep ensembles, and what can be learned from them, inside scikit-learn."""

from skensemble import (
    augmentation as augmentation,
    datasets as datasets,
    deploy as deploy,
    inspection as inspection,
    losses as losses,
    metrics as metrics,
    nn as nn,
    ntk as ntk,
    objectives as objectives,
    preprocessing as preprocessing,
    pruning as pruning,
    transfer as transfer,
)
from skensemble._base.errors import MemberDivergedError
from skensemble._engine.lost import WorkerLostError
from skensemble._files.errors import FileError
from skensemble._files.states import load
from skensemble._recipes.pretrained import Pretrained
from skensemble._records.folder import Checkpoint
from skensemble.distillation.classifier import DistilledClassifier
from skensemble.distillation.committee import TeacherCommittee
from skensemble.distillation.generations import SelfDistiller
from skensemble.ensembles.batch_ensemble import BatchEnsembleClassifier
from skensemble.ensembles.ensemble import DeepEnsembleClassifier
from skensemble.ensembles.network import NetworkClassifier
from skensemble.model_selection import StackedGridSearchCV, StackedRandomizedSearchCV
from skensemble.ntk.classifier import NTKClassifier
from skensemble.pruning.classifier import PrunedClassifier

__version__ = "0.1.0"

# What `import *` brings: not the modules, which have names that others' modules have too.
__all__ = [
    "BatchEnsembleClassifier",
    "Checkpoint",
    "DeepEnsembleClassifier",
    "DistilledClassifier",
    "FileError",
    "MemberDivergedError",
    "NTKClassifier",
    "NetworkClassifier",
    "Pretrained",
    "PrunedClassifier",
    "SelfDistiller",
    "StackedGridSearchCV",
    "StackedRandomizedSearchCV",
    "TeacherCommittee",
    "WorkerLostError",
    "load",
]
