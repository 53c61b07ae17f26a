"""Every public estimator in cheap settings; the common tests run over this list.

Each way of training, fusing, merging and asking is in one of them. Networks take a few epochs:
a setting is fitted some hundred times.
"""

import torch
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from skorch import NeuralNetClassifier

import skensemble
from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    NTKClassifier,
    PrunedClassifier,
    SelfDistiller,
    StackedGridSearchCV,
    StackedRandomizedSearchCV,
    TeacherCommittee,
)
from skensemble.augmentation import MixUp
from skensemble.model_selection import StackedHalvingGridSearchCV, StackedHalvingRandomSearchCV
from skensemble.nn import MLP
from skensemble.ntk import NTKFeatures
from skensemble.perturbation import TDivSDiv
from skensemble.preprocessing import ChannelSplit, ModuleFeatures, TablePreprocessor


def cheap_net(**kwargs) -> NeuralNetClassifier:
    """Return a recipe that learns scikit-learn's little test problems in few epochs."""
    return NeuralNetClassifier(
        MLP,
        module__hidden=(32,),
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=0.05,
        max_epochs=4,
        **kwargs,
    )


ESTIMATORS: list[BaseEstimator] = [
    NetworkClassifier(cheap_net()),
    # Labels as shares; altered rows could not be the same for a weight of two and a row twice.
    NetworkClassifier(cheap_net(), augmentation=MixUp(p=0.0)),
    DeepEnsembleClassifier(cheap_net(), n_estimators=3, averaging="logit"),
    DeepEnsembleClassifier(cheap_net(), n_estimators=3, averaging="vote"),
    DeepEnsembleClassifier(cheap_net(), n_estimators=3, joint=True),
    DeepEnsembleClassifier(cheap_net(), n_estimators=2, stack=1, class_weight="balanced"),
    DeepEnsembleClassifier(cheap_net(), n_estimators=2, channel_splits=2),
    DistilledClassifier(student=cheap_net()),
    DistilledClassifier(LogisticRegression(), cheap_net()),
    DistilledClassifier(NetworkClassifier(cheap_net()), objective="feature"),
    DistilledClassifier(
        DeepEnsembleClassifier(cheap_net(), 2), objective="proxy-dirichlet", alpha=0.5
    ),
    DistilledClassifier(
        DeepEnsembleClassifier(cheap_net(), 3), objective="adaptive", n_students=2, alpha=0.5
    ),
    DistilledClassifier(
        DeepEnsembleClassifier(cheap_net(), 2),
        BatchEnsembleClassifier(cheap_net(), 2, init="one", decay_to=1, merge="factor-mean"),
    ),
    DistilledClassifier(
        DeepEnsembleClassifier(cheap_net(), 2),
        BatchEnsembleClassifier(cheap_net(), 2),
        perturbation=TDivSDiv(0.05),
    ),
    DistilledClassifier(
        [LogisticRegression(), NetworkClassifier(cheap_net())],
        cheap_net(),
        patience=1.5,
    ),
    TeacherCommittee([LogisticRegression(), DecisionTreeClassifier(random_state=0)]),
    BatchEnsembleClassifier(cheap_net()),
    BatchEnsembleClassifier(cheap_net(), 3, init="first-only", averaging="logit"),
    BatchEnsembleClassifier(cheap_net(), 2, init="normal", decay_to=1, merge="rank-mean"),
    NTKClassifier(),
    NTKClassifier(cheap_net(), features="ntk-prime", reg="loo"),
    NTKClassifier(cheap_net(), features="trace", n_estimators=2, combine="sum"),
    NTKClassifier(cheap_net(), features="gp", n_estimators=2, class_weight="balanced"),
    NTKClassifier(cheap_net(), solver="cg"),
    NTKFeatures(cheap_net(), random_state=0),
    ModuleFeatures(cheap_net(), random_state=0),
    ChannelSplit(),
    ChannelSplit(2, mode="average"),
    TablePreprocessor(),
    TablePreprocessor(embed="auto", min_count=1),
    NTKFeatures(cheap_net(), features="gp", n_components=7, random_state=0),
    DistilledClassifier(DeepEnsembleClassifier(cheap_net(), 2), NTKClassifier(cheap_net())),
    SelfDistiller(NTKClassifier(cheap_net()), temperature=1.0),
    SelfDistiller(cheap_net()),
    SelfDistiller(cheap_net(), variant="cwtm", average_generations=True),
    PrunedClassifier(cheap_net(), finetune=5),
    PrunedClassifier(
        DeepEnsembleClassifier(cheap_net(), 2),
        method="magnitude",
        threshold="layer",
        finetune=5,
        distill=DistilledClassifier(),
    ),
    StackedGridSearchCV(
        DistilledClassifier(LogisticRegression(), cheap_net(), random_state=0),
        {"student__lr": [0.02, 0.03]},
        cv=2,
        error_score="raise",
    ),
    StackedGridSearchCV(
        make_pipeline(StandardScaler(), NetworkClassifier(cheap_net(), random_state=0)),
        {"networkclassifier__estimator__lr": [0.02, 0.03]},
        cv=2,
        error_score="raise",
    ),
    StackedRandomizedSearchCV(
        NetworkClassifier(cheap_net(), random_state=0),
        {"estimator__lr": [0.02, 0.03]},
        n_iter=2,
        cv=2,
        error_score="raise",
    ),
    StackedHalvingGridSearchCV(
        NetworkClassifier(cheap_net(), random_state=0),
        {"estimator__lr": [0.02, 0.03]},
        cv=2,
        resource="estimator__max_epochs",
        max_resources=4,
        min_resources=2,
        factor=2,
        error_score="raise",
    ),
    StackedHalvingRandomSearchCV(
        NetworkClassifier(cheap_net(), random_state=0),
        {"estimator__lr": [0.02, 0.03]},
        n_candidates=2,
        cv=2,
        resource="estimator__max_epochs",
        max_resources=4,
        min_resources=2,
        factor=2,
        error_score="raise",
    ),
]


def public_estimators() -> list[type]:
    """Return the estimator classes that the package exports."""
    modules = (skensemble, skensemble.model_selection, skensemble.ntk, skensemble.preprocessing)
    names = [getattr(module, name) for module in modules for name in module.__all__]
    return [obj for obj in names if isinstance(obj, type) and issubclass(obj, BaseEstimator)]
