"""Deep ensembles, and what can be learned from them, inside scikit-learn."""

from skensemble import (
    augmentation as augmentation,
)
from skensemble import (
    datasets as datasets,
)
from skensemble import (
    inspection as inspection,
)
from skensemble import (
    losses as losses,
)
from skensemble import (
    metrics as metrics,
)
from skensemble import (
    nn as nn,
)
from skensemble import (
    ntk as ntk,
)
from skensemble import (
    objectives as objectives,
)
from skensemble import (
    preprocessing as preprocessing,
)
from skensemble import (
    pruning as pruning,
)
from skensemble._base.errors import MemberDivergedError
from skensemble._files.states import load
from skensemble.distillation.classifier import DistilledClassifier
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
    "DeepEnsembleClassifier",
    "DistilledClassifier",
    "MemberDivergedError",
    "NTKClassifier",
    "NetworkClassifier",
    "PrunedClassifier",
    "SelfDistiller",
    "StackedGridSearchCV",
    "StackedRandomizedSearchCV",
    "load",
]
