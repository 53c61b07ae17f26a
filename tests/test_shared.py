"""What is shared stays what it was: by threads, and with the rest of the process."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from domain_checks import global_state
from nets import SmallCNN, make_images, make_net, make_points
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from torch import nn

from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NTKClassifier,
    PrunedClassifier,
)
from skensemble.nn._twins import twin
from skensemble.ntk import NTKFeatures


def in_threads(work, n_times, n_threads):
    with ThreadPoolExecutor(n_threads) as threads:
        return list(threads.map(lambda _: work(), range(n_times)))


@pytest.mark.parametrize("features", ["ntk", "ntk-prime", "trace", "gp"])
def test_kernels_predict_in_threads(features):
    X, y = make_points()
    kernel = NTKClassifier(make_net(), features=features, random_state=0).fit(X, y)
    expected = kernel.predict_proba(X)
    for found in in_threads(lambda: kernel.predict_proba(X), 24, 6):
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
