"""Every public estimator in cheap settings; the common tests run over this list."""

import torch
from sklearn.base import BaseEstimator
from skorch import NeuralNetClassifier

import skensemble
from skensemble import DeepEnsembleClassifier, NetworkClassifier
from skensemble.nn import MLP


def cheap_net(**kwargs) -> NeuralNetClassifier:
    """Return a recipe that learns scikit-learn's little test problems in few epochs."""
    return NeuralNetClassifier(
        MLP,
        module__hidden=(32,),
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=0.02,
        max_epochs=15,
        **kwargs,
    )


ESTIMATORS: list[BaseEstimator] = [
    NetworkClassifier(),
    DeepEnsembleClassifier(n_estimators=2),
    NetworkClassifier(cheap_net()),
    DeepEnsembleClassifier(cheap_net(), n_estimators=3, averaging="logit"),
    DeepEnsembleClassifier(cheap_net(), n_estimators=3, averaging="vote"),
    DeepEnsembleClassifier(cheap_net(), n_estimators=3, joint=True),
    DeepEnsembleClassifier(cheap_net(), n_estimators=2, stack=1, class_weight="balanced"),
]


def public_estimators() -> list[type]:
    """Return the estimator classes that the package exports."""
    names = [getattr(skensemble, name) for name in skensemble.__all__]
    return [obj for obj in names if isinstance(obj, type) and issubclass(obj, BaseEstimator)]
