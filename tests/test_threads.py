"""What threads that share a fitted estimator get is what one after the other gets."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from nets import SmallCNN, make_images, make_net, make_points
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from torch import nn

from skensemble import DeepEnsembleClassifier, DistilledClassifier, NTKClassifier
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
