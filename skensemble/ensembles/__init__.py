"""Networks, and ensembles of them."""

from skensemble.ensembles.batch_ensemble import BatchEnsembleClassifier
from skensemble.ensembles.ensemble import DeepEnsembleClassifier
from skensemble.ensembles.network import NetworkClassifier

__all__ = ["BatchEnsembleClassifier", "DeepEnsembleClassifier", "NetworkClassifier"]
