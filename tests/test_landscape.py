"""The loss around a network, against a network whose weights are moved by hand."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from nets import (
    InPlace,
    ResidualMLP,
    SmallCNN,
    SoftmaxMLP,
    Tutorial,
    make_data,
    make_images,
    make_net,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from torch import nn

from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    NTKClassifier,
)
from skensemble.inspection import (
    LossLandscape,
    LossLandscapeDisplay,
    landscape,
    loss_landscape,
)
from skensemble.metrics import negative_log_likelihood

X, Y = make_data(60)
IMAGES, CLASSES = make_images()


def fit(module=None, rows=(X, Y), **kwargs):
    net = make_net(max_epochs=2) if module is None else make_net(module, max_epochs=2, **kwargs)
    return NetworkClassifier(net, random_state=0).fit(*rows)


def slow(network, X, y, steps, dims, seed):
    """Move a copy of the weights point by point, directions filter by filter."""
    rng = np.random.RandomState(seed)
    module = copy.deepcopy(network.module_).eval()
    start = {name: value.detach().clone() for name, value in module.named_parameters()}
    directions = []
    for _ in range(dims):
        one = {}
        for name, value in start.items():
            if value.dim() < 2:
                continue
            noise = torch.from_numpy(rng.normal(size=tuple(value.shape))).to(value)
            for number in range(len(value)):
                noise[number] *= value[number].norm() / noise[number].norm()
            one[name] = noise
        directions.append(one)
    x, target = torch.from_numpy(X), torch.from_numpy(y)
    losses = []
    for point in np.stack(np.meshgrid(*[steps] * dims, indexing="ij"), -1).reshape(-1, dims):
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                moved = start[name].clone()
                for share, one in zip(point, directions, strict=True):
                    moved += share * one.get(name, torch.zeros_like(moved))
                parameter.copy_(moved)
            losses.append(F.cross_entropy(module(x.clone()), target).item())
    return np.reshape(losses, [len(steps)] * dims)


@pytest.mark.parametrize(
    ("module", "rows"),
    [
        (None, (X, Y)),
        (ResidualMLP, (X, Y)),
        (SmallCNN, (IMAGES, CLASSES)),
        (InPlace, (X, Y)),
    ],
)
@pytest.mark.parametrize("dims", [1, 2])
def test_it_is_the_slow_one(module, rows, dims):
    network = fit(module, rows)
    found = loss_landscape(network, *rows, dims=dims, n_steps=5, span=0.8, random_state=3)
    np.testing.assert_allclose(found.steps, np.linspace(-0.8, 0.8, 5), atol=1e-15)
    expected = slow(network, *rows, found.steps, dims, 3)
    np.testing.assert_allclose(found.loss, expected, rtol=1e-6, atol=1e-9)
    assert found.loss.std() > 0


@pytest.mark.parametrize("module", [None, ResidualMLP, SmallCNN, Tutorial])
def test_points_together_are_points_alone(module, monkeypatch):
    rows = (IMAGES, CLASSES) if module in (SmallCNN, Tutorial) else (X, Y)
    if module is Tutorial:  # which two halvings need eight pixels for
        rows = (np.pad(IMAGES, [(0, 0), (0, 0), (1, 1), (1, 1)]), CLASSES)
    network = fit(module, rows)
    calls = []
    together = landscape._Plane.together

    def count(plane, points, x):
        calls.append(len(points))
        return together(plane, points, x)

    monkeypatch.setattr(landscape, "_MOST_MACS", {"cpu": math.inf})
    monkeypatch.setattr(landscape._Plane, "together", count)
    monkeypatch.setattr(landscape, "_CHUNK_ROWS", 23)
    fast = loss_landscape(network, *rows, n_steps=4)
    assert (max(calls) > 2) == (module is not SmallCNN)  # torch pools one map after the other
    monkeypatch.setattr(landscape, "_MOST_MACS", {"cpu": 0})
    calls.clear()
    alone = loss_landscape(network, *rows, n_steps=4)
    assert not calls
    np.testing.assert_allclose(fast.loss, alone.loss, rtol=1e-9)


class Counting(nn.Module):
    """Asks for a number in its forward, which vmap cannot give."""

    def __init__(self, in_shape, n_classes):
        super().__init__()
        self.layer = nn.Linear(in_shape[0], n_classes)

    def forward(self, x):
        out = self.layer(x)
        return out * 2 if out.mean().item() > 0 else out


def test_what_vmap_cannot_run_is_run_in_a_loop():
    network = fit(Counting)
    found = loss_landscape(network, X, Y, n_steps=3)
    np.testing.assert_allclose(found.loss, slow(network, X, Y, found.steps, 2, 0), rtol=1e-6)


@pytest.mark.parametrize("module", [None, SoftmaxMLP, SmallCNN])
def test_the_centre_is_the_loss_of_the_estimator(module):
    rows = (IMAGES, CLASSES) if module is SmallCNN else (X, Y)
    criterion = nn.NLLLoss if module is SoftmaxMLP else nn.CrossEntropyLoss
    network = fit(module, rows, criterion=criterion) if module else fit()
    found = loss_landscape(network, *rows, n_steps=3)
    expected = negative_log_likelihood(rows[1], network.predict_proba(rows[0]))
    assert found.loss[1, 1] == found.centre
    assert found.centre == pytest.approx(expected, rel=1e-12)
    even = loss_landscape(network, *rows, n_steps=2, dims=1)
    assert even.centre == found.centre
    assert even.loss.shape == (2,)


def test_the_centre_is_exact_however_points_are_computed(monkeypatch):
    network, losses = fit(), landscape._Plane.losses
    monkeypatch.setattr(landscape._Plane, "losses", lambda *args: losses(*args) * (1 + 1e-9))
    for dims in (1, 2):
        found = loss_landscape(network, X, Y, n_steps=3, dims=dims)
        assert found.loss[(1,) * dims] == found.centre
        assert np.sum(found.loss == found.centre) == 1


def test_members_one_by_one():
    deep = DeepEnsembleClassifier(make_net(max_epochs=2), 3, random_state=0).fit(X, Y)
    shared = BatchEnsembleClassifier(make_net(max_epochs=2), 3, random_state=0).fit(X, Y)
    for ensemble in (deep, shared):
        for member, proba in enumerate(ensemble.predict_members(X)):
            found = loss_landscape(ensemble, X, Y, member=member, n_steps=3, dims=1, span=1e-7)
            assert found.centre == pytest.approx(negative_log_likelihood(Y, proba), rel=1e-12)
            np.testing.assert_allclose(found.loss, found.centre, rtol=1e-5)  # its own weights
    one = loss_landscape(deep[2], X, Y, n_steps=3)
    np.testing.assert_array_equal(one.loss, loss_landscape(deep, X, Y, member=2, n_steps=3).loss)
    first, second = (loss_landscape(deep, X, Y, member=m, n_steps=3) for m in (True, 1))
    np.testing.assert_array_equal(first.loss, second.loss)
    frozen = loss_landscape(FrozenEstimator(deep), X, Y, member=2, n_steps=3)
    np.testing.assert_array_equal(one.loss, frozen.loss)


def test_labels_are_those_of_the_estimator():
    names = np.array(["b", "c", "a"])[Y]
    network = NetworkClassifier(make_net(max_epochs=2), random_state=0).fit(X, names)
    found = loss_landscape(network, X, names, n_steps=3, dims=1)
    labels = network.classes_
    expected = negative_log_likelihood(names, network.predict_proba(X), labels=labels)
    assert found.centre == pytest.approx(expected, rel=1e-12)


def test_nothing_else_moves():
    network = fit(SmallCNN, (IMAGES, CLASSES))
    network.module_.train()  # as a user may leave it
    before = {name: value.clone() for name, value in network.module_.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = loss_landscape(network, IMAGES, CLASSES, n_steps=3, random_state=1)
    assert network.module_.training
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    for name, value in network.module_.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.requires_grad and p.grad is None for p in network.module_.parameters())
    again = loss_landscape(network, IMAGES, CLASSES, n_steps=3, random_state=1)
    np.testing.assert_array_equal(first.loss, again.loss)
    other = loss_landscape(network, IMAGES, CLASSES, n_steps=3, random_state=2)
    assert abs(first.loss - other.loss).max() > 1e-3


def test_a_line_is_the_middle_of_its_square():
    network = fit()
    line = loss_landscape(network, X, Y, n_steps=5, dims=1, random_state=4)
    square = loss_landscape(network, X, Y, n_steps=5, random_state=4)
    np.testing.assert_allclose(square.loss[:, 2], line.loss, rtol=1e-12)


def test_scale_of_a_filter_does_not_matter():
    """With ReLU, a filter times c and what reads it divided by c are the same network."""
    network = fit()
    scaled = copy.deepcopy(network)
    first, last = (m for m in scaled.module_.modules() if isinstance(m, nn.Linear))
    with torch.no_grad():
        first.weight.mul_(8.0)
        first.bias.mul_(8.0)
        last.weight.div_(8.0)
    plain, other = (loss_landscape(one, X, Y, n_steps=3) for one in (network, scaled))
    np.testing.assert_allclose(plain.loss, other.loss, rtol=1e-9)


@given(n_steps=st.integers(3, 9), dims=st.sampled_from([1, 2]), slope=st.floats(0.1, 3))
@settings(max_examples=40, deadline=None)
def test_rise_is_the_mean_near_the_centre(n_steps, dims, slope):
    steps = np.linspace(-1, 1, n_steps)
    axes = np.meshgrid(*[steps] * dims, indexing="ij")
    distance = np.sqrt(sum(axis**2 for axis in axes))
    found = LossLandscape(steps, 0.5 + slope * distance, 0.5).rise(1.0)
    near = [d for d in distance.ravel() if 0 < d <= 1 + 1e-6]
    assert found == pytest.approx(slope * sum(near) / len(near))
    assert 0 < found <= slope + 1e-9


def test_display(tmp_path):
    pytest.importorskip("matplotlib")
    network = fit()
    display = LossLandscapeDisplay.from_estimator(network, X, Y, n_steps=5)
    assert display.landscape.loss.shape == (5, 5)
    assert "in the centre" in display.ax_.get_title()
    display.figure_.savefig(tmp_path / "map.png")
    line = LossLandscapeDisplay.from_estimator(network, X, Y, dims=1, n_steps=5, ax=display.ax_)
    assert line.ax_ is display.ax_
    np.testing.assert_array_equal(line.ax_.lines[-2].get_ydata(), line.landscape.loss)
    steps = np.linspace(-1, 1, 3)
    for loss in (np.ones((3, 3)), np.array([[1, 2, np.inf], [np.nan, 0.01, 3], [900.0, 1, 2]])):
        LossLandscapeDisplay(LossLandscape(steps, loss, 1.0)).plot().figure_.savefig(
            tmp_path / "other.png"
        )


def test_errors():
    network = fit()
    with pytest.raises(ValueError, match="'member' must be the number of one of 1 networks. Got 3"):
        loss_landscape(network, X, Y, member=3)
    with pytest.raises(ValueError, match="'y' must have labels that were seen in fit. Got 7"):
        loss_landscape(network, X, np.full(len(X), 7))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        loss_landscape(network, X, Y[:-1])
    with pytest.raises(ValueError, match="expecting 6 features|samples of shape"):
        loss_landscape(network, X[:, :-1], Y)
    with pytest.raises(ValueError, match="'estimator' parameter of loss_landscape .* Got Logistic"):
        loss_landscape(LogisticRegression().fit(X, Y), X, Y)
    with pytest.raises(ValueError, match="not fitted"):
        loss_landscape(NetworkClassifier(), X, Y)
    kernel = NTKClassifier(make_net(), n_estimators=2, random_state=0).fit(X, Y)
    with pytest.raises(ValueError, match="kernel machines of NTKClassifier"):
        loss_landscape(kernel, X, Y)
    taught = DistilledClassifier(kernel, make_net(max_epochs=1), random_state=0).fit(X, Y)
    assert math.isfinite(loss_landscape(taught, X, Y, n_steps=2).centre)
    with pytest.raises(
        ValueError, match=r"'radius' must reach .* the next are 0\.5 away. Got 0\.1"
    ):
        loss_landscape(network, X, Y, n_steps=5).rise(0.1)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"member": -1}, "The 'member' parameter of loss_landscape must be an int"),
        ({"dims": 3}, "The 'dims' parameter of loss_landscape must be"),
        ({"n_steps": 1}, "The 'n_steps' parameter of loss_landscape must be an int"),
        ({"span": 0}, "The 'span' parameter of loss_landscape must be a float"),
        ({"random_state": "x"}, "The 'random_state' parameter of loss_landscape must be"),
    ],
)
def test_settings(settings, match):
    with pytest.raises(ValueError, match=match):
        loss_landscape(None, X, Y, **settings)
