"""Networks with less in them: fewer channels, fewer weights, or fewer networks."""

from skensemble.pruning.choosing import Widths
from skensemble.pruning.classifier import PrunedClassifier
from skensemble.pruning.costs import Change
from skensemble.pruning.ensembles import EnsemblePruning, prune_ensemble
from skensemble.pruning.surgery import CannotPrune

__all__ = [
    "CannotPrune",
    "Change",
    "EnsemblePruning",
    "PrunedClassifier",
    "Widths",
    "prune_ensemble",
]
