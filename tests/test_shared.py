"""What is shared stays what it was: by threads, and with the rest of the process."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from domain_checks import global_state
from nets import SmallCNN, make_images, make_net, make_points
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from skorch.callbacks import EarlyStopping
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NTKClassifier,
    Pretrained,
    PrunedClassifier,
)
from skensemble.nn._twins import twin
from skensemble.ntk import NTKFeatures
from skensemble.objectives import FeatureTerm
from skensemble.perturbation import ODS
from skensemble.preprocessing import ModuleFeatures


def in_threads(work, n_times, n_threads):
    with ThreadPoolExecutor(n_threads) as threads:
        return list(threads.map(lambda _: work(), range(n_times)))


@pytest.mark.parametrize("features", ["ntk", "ntk-prime", "trace", "gp"])
def test_kernels_predict_in_threads(features):
    X, y = make_points()
    kernel = NTKClassifier(make_net(), features=features, random_state=0).fit(X, y)
    expected = kernel.predict_proba(X)
    for found in in_threads(lambda: kernel.predict_proba(X), 24, 8):
        np.testing.assert_array_equal(found, expected)


def test_kernel_features_are_found_in_threads():
    X, y = make_points()
    features = NTKFeatures(make_net(), random_state=0).fit(X, y)
    expected = features.transform(X)
    for found in in_threads(lambda: features.transform(X), 24, 6):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("objective", ["label", "feature"])
def test_students_of_one_teacher_are_trained_in_threads(objective):
    X, y = make_images()
    net = make_net(SmallCNN, max_epochs=3)
    teacher = FrozenEstimator(DeepEnsembleClassifier(net, 2, random_state=0).fit(X, y))
    student = DistilledClassifier(teacher, net, objective=objective, random_state=0)
    expected = student.fit(X, y).predict_proba(X)
    for found in in_threads(lambda: clone(student).fit(X, y).predict_proba(X), 8, 4):
        np.testing.assert_array_equal(found, expected)


def test_a_twin_shares_numbers_and_nothing_else():
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    other = twin(module)
    heard = []
    other[0].register_forward_hook(lambda *_: heard.append(1))
    other.eval()
    for one in other.parameters():
        one.requires_grad_(False)
    module(torch.zeros(4, 3))
    assert heard == []
    assert module.training
    assert all(one.requires_grad for one in module.parameters())
    with torch.no_grad():
        module[0].weight.fill_(7.0)
        module[1].running_mean.fill_(3.0)
    assert (other[0].weight == 7).all()
    assert (other[1].running_mean == 3).all()


def test_a_parameter_of_two_layers_stays_one_in_a_twin():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[1].weight = module[0].weight
    other = twin(module)
    assert other[1].weight is other[0].weight


# -- nobody switches or listens to what is shared ------------------------------------------


@contextmanager
def left_alone(*modules):
    """Fail where a part of the modules is switched, or runs in training or with a hook."""
    parts = {part for module in modules for part in module.modules()}
    seen, switch = [], nn.Module.train

    def look(part, *_):
        if part in parts:
            n_hooks = len(part._forward_hooks) + len(part._forward_pre_hooks)
            seen.append(("runs", part.training, n_hooks))

    def train(part, mode=True):
        if part in parts:
            seen.append(("is switched", mode, 0))
        return switch(part, mode)

    handle = register_module_forward_pre_hook(look)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nn.Module, "train", train)
            yield
    finally:
        handle.remove()
    assert set(seen) <= {("runs", False, 0)}


def modules_of(estimator):
    return [member.module_ for member in estimator]


@pytest.fixture(scope="module")
def shared():
    """Two small networks of images, with batch normalisation and dropout."""
    net = make_net(ConvDropout, max_epochs=3)
    return DeepEnsembleClassifier(net, 2, random_state=0).fit(*make_images())


class ConvDropout(nn.Module):
    def __init__(self, in_shape, n_classes):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_shape[0], 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3),
            nn.Conv2d(6, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(4, n_classes),
        )  # fmt: skip

    def forward(self, x):
        return self.body(x)


def _distil(**kwargs):
    def use(shared, X, y):
        net = make_net(SmallCNN, max_epochs=2)
        student = DistilledClassifier(FrozenEstimator(shared), net, random_state=0, **kwargs)
        return student.fit(X, y).predict_proba(X)

    return use


def _prune(**kwargs):
    def use(shared, X, y):
        settings = {"finetune": None, "random_state": 0, **kwargs}
        pruned = PrunedClassifier(FrozenEstimator(shared), **settings).fit(X, y)
        return pruned.predict_proba(X)

    return use


USES = {
    "predictions": lambda shared, X, y: shared.predict_proba(X),
    "labels": _distil(),
    "features": _distil(objective=FeatureTerm(layers=("body.2",))),
    "perturbed": _distil(perturbation=ODS(input_range=None)),
    "channels": _prune(),
    "weights": _prune(method="magnitude"),
    "coupled": _prune(coupled=True),
    "fine-tuned": _prune(finetune=2),
    "layers": lambda shared, X, y: ModuleFeatures(shared[0]).fit(X).transform(X),
    "tangents": lambda shared, X, y: (
        NTKFeatures(Pretrained(shared[0].module_, head=None), random_state=0).fit(X).transform(X)
    ),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_shared_networks_are_left_alone_and_used_in_threads(shared, use):
    if use is USES["coupled"]:
        pytest.importorskip("torch_pruning")
    X, y = make_images()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with left_alone(*modules_of(shared)):
            expected = use(shared, X, y)
        assert not shared[0].module_.training
    for found in in_threads(lambda: use(shared, X, y), 8, 4):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DeepEnsembleClassifier(make_net(SmallCNN, max_epochs=2), 3, random_state=0),
        lambda: DeepEnsembleClassifier(make_net(ConvDropout), 2, stack=1, random_state=0),
        lambda: DeepEnsembleClassifier(make_net(ConvDropout), 2, joint=True, random_state=0),
        lambda: BatchEnsembleClassifier(make_net(SmallCNN, max_epochs=2), 2, random_state=0),
        lambda: DeepEnsembleClassifier(
            make_net(SmallCNN, max_epochs=2, callbacks=[EarlyStopping("train_loss")]),
            3, bootstrap=True, augmentation="mixup", random_state=0,
        ),
    ],
    ids=["stacked", "in turn", "joint", "batch", "altered"],
)  # fmt: skip
def test_ensembles_are_fitted_side_by_side_in_threads(make):
    X, y = make_images()
    expected = make().fit(X, y).predict_members(X)
    for found in in_threads(lambda: make().fit(X, y).predict_members(X), 8, 4):
        np.testing.assert_array_equal(found, expected)


class WithDropout(nn.Module):
    def __init__(self, in_shape, n_classes):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(in_shape[0], 12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, n_classes)
        )

    def forward(self, x):
        return self.body(x)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PrunedClassifier(make_net(WithDropout), random_state=0),
        lambda: BatchEnsembleClassifier(
            make_net(), 2, init="first-only", merge="factor-mean", random_state=0
        ),
        lambda: DistilledClassifier(
            None, make_net(WithDropout), transfer="munge", teacher_cv=3, patience=2, random_state=0
        ),
    ],
)
def test_no_global_generator_is_drawn_from(make):
    X, y = make_points()
    before = global_state()
    fitted = make().fit(X, y)
    fitted.predict_proba(X)
    if hasattr(fitted, "merge_members"):
        fitted.merge_members("rank-mean")
    assert global_state() == before
