"""Deep ensembles, and what can be learned from them, inside scikit-learn."""

from skensemble import losses, metrics, nn
from skensemble._base import MemberDivergedError
from skensemble._persistence import load
from skensemble.ensemble import DeepEnsembleClassifier, NetworkClassifier

__version__ = "0.1.0"

__all__ = [
    "DeepEnsembleClassifier",
    "MemberDivergedError",
    "NetworkClassifier",
    "load",
    "losses",
    "metrics",
    "nn",
]
