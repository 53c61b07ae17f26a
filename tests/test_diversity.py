"""The score of rows' gradients, against rows one by one."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from nets import InPlace, ResidualMLP, SmallCNN, make_data, make_images, make_net
from sklearn.linear_model import LogisticRegression
from torch import nn

from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    NetworkClassifier,
    NTKClassifier,
)
from skensemble.inspection import diversity, diversity_score

X, Y = make_data(60)
IMAGES, CLASSES = make_images()
SOME = X[:8]


class Dropping(nn.Module):
    """A network that differs between training and use by dropout alone."""

    def __init__(self, in_shape, n_classes):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_shape[0], 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, n_classes)
        )

    def forward(self, x):
        return self.layers(x)


def fit(module=None, rows=(X, Y)):
    net = make_net(max_epochs=2) if module is None else make_net(module, max_epochs=2)
    return NetworkClassifier(net, random_state=0).fit(*rows)


def slow_gradients(module, rows):
    """Differentiate the outputs of each row by that row alone."""
    found = []
    for row in rows:
        x = torch.from_numpy(row[None].copy()).requires_grad_()
        module(x.clone()).sum().backward()
        found.append(x.grad.numpy().ravel())
    return np.stack(found)


def slow_score(gradients):
    """Take the eigenvalues from the singular values of standardised gradients."""
    standard = []
    for row in gradients:
        centred = row - row.mean()
        standard.append(centred / math.sqrt((centred**2).sum()))
    singular = np.linalg.svd(np.stack(standard), compute_uv=False)
    sigma = [*(s**2 for s in singular), *[0.0] * (len(gradients) - len(singular))]
    return -sum(math.log(s + 1e-5) + 1 / (s + 1e-5) for s in sigma)


@pytest.mark.parametrize(
    ("module", "rows"),
    [(ResidualMLP, (X, Y)), (SmallCNN, (IMAGES, CLASSES)), (Dropping, (X, Y))],
)
def test_it_is_the_slow_one(module, rows):
    network = fit(module, rows)
    some = rows[0][:4]
    expected = slow_score(slow_gradients(copy.deepcopy(network.module_).eval(), some))
    assert diversity_score(network, some) == pytest.approx([expected], rel=1e-6)


@pytest.mark.parametrize("module", [ResidualMLP, SmallCNN])
def test_training_mode_differentiates_through_the_batch(module):
    rows = (IMAGES, CLASSES) if module is SmallCNN else (X, Y)
    network = fit(module, rows)
    some = rows[0][:4]
    twin = copy.deepcopy(network.module_).train()
    x = torch.from_numpy(some.copy()).requires_grad_()
    twin(x).sum().backward()
    expected = slow_score(x.grad.numpy().reshape(4, -1))
    found = diversity_score(network, some, mode="train")
    assert found == pytest.approx([expected], rel=1e-5)
    assert abs(found - diversity_score(network, some))[0] > 1e-3


@given(seed=st.integers(0, 10_000), n_rows=st.integers(2, 12), n_numbers=st.integers(2, 9))
@settings(max_examples=60, deadline=None)
def test_no_score_is_above_minus_n(seed, n_rows, n_numbers):
    J = torch.from_numpy(np.random.default_rng(seed).normal(size=(n_rows, n_numbers)))
    score = diversity._score(J, 0)
    assert score <= -n_rows
    assert score == pytest.approx(slow_score(J.numpy()), rel=1e-4)
    scales = torch.linspace(0.5, 3, n_rows)[:, None]
    assert diversity._score(scales * J + 0.25, 0) == pytest.approx(score, rel=1e-4)


def test_the_bound_is_reached_and_copies_are_far_below():
    apart = torch.tensor([[1.0, -1, 0, 0], [0, 0, 1, -1]], dtype=torch.float64)
    assert diversity._score(apart, 0) == pytest.approx(-2, abs=1e-9)
    assert diversity._score(apart[[0, 0]], 0) < -9e4


def test_gradients_that_are_all_alike_are_named():
    J = torch.tensor([[1.0, 2.0], [0.0, 0.0], [3.0, 3.0]])
    with pytest.raises(ValueError, match="by each input for row 1 in network 4, 2 such rows"):
        diversity._score(J, 4)
    network = fit(InPlace)  # a row that ReLU makes zero has no slope
    rows = np.concatenate([abs(SOME), -np.ones((1, 6))])
    with pytest.raises(ValueError, match="same slope by each input for row 8 in network 0, 1 such"):
        diversity_score(network, rows)


def test_members_one_by_one():
    deep = DeepEnsembleClassifier(make_net(max_epochs=2), 3, random_state=0).fit(X, Y)
    found = diversity_score(deep, SOME)
    assert found.shape == (3,)
    for member, one in zip(deep, found, strict=True):
        assert diversity_score(member, SOME)[0] == one
    shared = BatchEnsembleClassifier(make_net(max_epochs=2), 3, random_state=0).fit(X, Y)
    expected = [
        slow_score(slow_gradients(shared.module_.member(m).eval(), SOME[:4])) for m in range(3)
    ]
    assert diversity_score(shared, SOME[:4]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("module", [ResidualMLP, Dropping])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_nothing_else_moves(module, mode):
    network = fit(module)
    before = {name: value.clone() for name, value in network.module_.state_dict().items()}
    state = torch.get_rng_state()
    first = diversity_score(network, SOME[:4], mode=mode)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(one.training for one in network.module_.modules())
    assert all(p.grad is None for p in network.module_.parameters())
    for name, value in network.module_.state_dict().items():
        assert torch.equal(value, before[name]), name
    np.testing.assert_array_equal(first, diversity_score(network, SOME[:4], mode=mode))
    other = diversity_score(network, SOME[:4], mode=mode, random_state=1)
    assert (first != other)[0] == (mode == "train" and module is Dropping)


def test_errors():
    network = fit()
    with pytest.raises(ValueError, match="'mode' parameter of diversity_score must be a str among"):
        diversity_score(network, SOME, mode="fit")
    with pytest.raises(ValueError, match="'X' must have at least 2 rows to compare. Got 1"):
        diversity_score(network, SOME[:1])
    with pytest.raises(ValueError, match="'estimator' parameter of diversity_score .* Logistic"):
        diversity_score(LogisticRegression().fit(X, Y), SOME)
    kernel = NTKClassifier(make_net(), n_estimators=2, random_state=0).fit(X, Y)
    with pytest.raises(ValueError, match="kernel machines of NTKClassifier"):
        diversity_score(kernel, SOME)
