"""Where members look, against Grad-CAM and slopes that are computed by hand."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from nets import ResidualCNN, SmallCNN, Tutorial, make_data, make_images, make_net
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    NTKClassifier,
)
from skensemble.inspection import ViewMapsDisplay, networks, view_maps

X, Y = make_images()
X = np.pad(X, [(0, 0), (0, 0), (1, 1), (1, 2)])  # 8 x 9 pixels
FEW = X[:7]


class SoftmaxCNN(SmallCNN):
    def forward(self, x):
        return super().forward(x).softmax(-1)


class Shortcut(nn.Module):
    """The last convolution that runs is a shortcut; activations write into what they get."""

    def __init__(self, in_shape, n_classes):
        super().__init__()
        self.shortcut = nn.Conv2d(in_shape[0], 4, 1)
        self.conv = nn.Conv2d(in_shape[0], 4, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, n_classes)

    def forward(self, x):
        out = self.act(self.conv(x))
        return self.head((out + self.shortcut(x)).mean((2, 3)))


def fit(module=SmallCNN, rows=(X, Y), **kwargs):
    return NetworkClassifier(make_net(module, max_epochs=2, **kwargs), random_state=0).fit(*rows)


def bilinear(small, height, width):
    """Interpolate one map, centres of pixels on centres of pixels."""
    out = np.empty((height, width))
    for i in range(height):
        for j in range(width):
            places = []
            for at, size, n in ((i, height, small.shape[0]), (j, width, small.shape[1])):
                place = min(max((at + 0.5) * n / size - 0.5, 0), n - 1)
                low = int(place)
                places.append((low, min(low + 1, n - 1), place - low))
            (a, b, u), (c, d, v) = places
            top = (1 - v) * small[a, c] + v * small[a, d]
            out[i, j] = (1 - u) * top + u * ((1 - v) * small[b, c] + v * small[b, d])
    return out


def slow_gradcam(module, layer, X, y, is_proba=False):
    """One image after the other: mean slopes of the logit by the layer's numbers, as weights."""
    module = copy.deepcopy(module).eval().requires_grad_(True)
    maps = []
    for x, label in zip(X, y, strict=True):
        kept = []
        handle = module.get_submodule(layer).register_forward_hook(
            lambda part, inputs, out, kept=kept: kept.append(out) or out.clone()
        )
        out = module(torch.tensor(x)[None])[0, label]
        (slope,) = torch.autograd.grad(out.log() if is_proba else out, kept[0])
        handle.remove()
        small = np.zeros(slope.shape[2:])
        for channel in range(slope.shape[1]):
            weight = slope[0, channel].mean().item()
            small += weight * kept[0][0, channel].detach().numpy()
        maps.append(bilinear(np.maximum(small, 0), *x.shape[1:]))
    return np.array(maps)


@pytest.fixture
def captum():
    return pytest.importorskip("captum")


@pytest.mark.parametrize(
    ("module", "layer", "is_default"),
    [
        (SmallCNN, "body.3", True),
        (SmallCNN, "body.2", False),
        (ResidualCNN, "conv", True),
        (ResidualCNN, "stem", False),
        (Tutorial, "conv2", True),
        (SoftmaxCNN, "body.3", True),
        (Shortcut, "conv", True),
        (Shortcut, "shortcut", False),
    ],
)
def test_gradcam_is_the_slow_one(captum, module, layer, is_default):
    is_proba = module is SoftmaxCNN
    kind = {"criterion": nn.NLLLoss} if is_proba else {}
    size = {"rows": (X[..., :8], Y)} if module is Tutorial else {}  # which halves twice
    network = fit(module, **kind, **size)
    few = FEW[..., :8] if module is Tutorial else FEW
    found = view_maps(network, few, layer=None if is_default else layer)
    expected = slow_gradcam(network.module_, layer, few, network.predict(few), is_proba)
    assert found.shape == (1, *few.shape[:1], *few.shape[2:])
    np.testing.assert_allclose(found[0], expected, rtol=1e-9, atol=1e-12)
    assert expected.max() > 0
    asked = view_maps(network, few, Y[:7], layer=layer)
    expected = slow_gradcam(network.module_, layer, few, Y[:7], is_proba)
    np.testing.assert_allclose(asked[0], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("module", [SmallCNN, SoftmaxCNN])
def test_saliency_is_the_slope(captum, module):
    is_proba = module is SoftmaxCNN
    network = fit(module, **({"criterion": nn.NLLLoss} if is_proba else {}))
    few, step = FEW[:2], 1e-6
    found = view_maps(network, few, Y[:2], method="saliency")[0]

    def logits(x):
        with torch.no_grad():
            out = network.module_(torch.tensor(x))
        return (out.log() if is_proba else out).numpy()[np.arange(len(x)), Y[:2]]

    slopes = np.empty_like(few)
    for place in np.ndindex(*few.shape[1:]):
        up, down = few.copy(), few.copy()
        up[(slice(None), *place)] += step
        down[(slice(None), *place)] -= step
        slopes[(slice(None), *place)] = (logits(up) - logits(down)) / (2 * step)
    np.testing.assert_allclose(found, abs(slopes).max(1), atol=1e-7)
    assert found.max() > 1e-3


def test_members_one_by_one(captum):
    deep = DeepEnsembleClassifier(make_net(SmallCNN, max_epochs=2), 3, random_state=0).fit(X, Y)
    found = view_maps(deep, FEW)
    assert found.shape == (3, 7, 8, 9)
    for member, own in zip(deep, found, strict=True):
        np.testing.assert_allclose(own, view_maps(member, FEW)[0], atol=1e-12)
    assert abs(found[0] - found[1]).max() > 1e-6
    shared = BatchEnsembleClassifier(make_net(SmallCNN, max_epochs=2), 3, random_state=0).fit(X, Y)
    (module,) = shared._networks()
    predicted = shared.predict_members(FEW).argmax(-1)
    for number, own in enumerate(view_maps(shared, FEW)):
        expected = slow_gradcam(module.member(number), "body.3", FEW, predicted[number])
        np.testing.assert_allclose(own, expected, rtol=1e-8, atol=1e-12)
    student = DistilledClassifier(FrozenEstimator(deep), make_net(SmallCNN), random_state=0)
    student.fit(X, Y)
    (module,) = student._networks()
    expected = slow_gradcam(module, "body.3", FEW, student.predict(FEW))
    np.testing.assert_allclose(view_maps(student, FEW)[0], expected, rtol=1e-9, atol=1e-12)


def test_what_holds_the_estimator_does_not_matter(captum):
    network = fit()
    expected = view_maps(network, FEW)
    again = clone(network).fit(X, Y)
    np.testing.assert_array_equal(view_maps(again, FEW), expected)
    np.testing.assert_array_equal(view_maps(FrozenEstimator(network), FEW), expected)
    chain = make_pipeline(FunctionTransformer(lambda X: X / 2), clone(network)).fit(2 * X, Y)
    with pytest.raises(ValueError, match=r"Got Pipeline instead; give pipe\[-1\], and pipe\[:-1\]"):
        view_maps(chain, 2 * FEW)
    np.testing.assert_array_equal(view_maps(chain[-1], chain[:-1].transform(2 * FEW)), expected)


def test_labels_are_those_of_the_estimator(captum):
    names = np.array(["b", "c", "a"])
    network = fit(rows=(X, names[Y]))
    found = view_maps(network, FEW, names[Y[:7]])
    at = np.searchsorted(network.classes_, names[Y[:7]])
    expected = slow_gradcam(network.module_, "body.3", FEW, at)
    np.testing.assert_allclose(found[0], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", ["gradcam", "saliency"])
def test_chunks_and_bytes(captum, method, monkeypatch):
    network = fit()
    whole = view_maps(network, X, method=method)
    monkeypatch.setattr(networks, "_CHUNK_ROWS", 9)
    np.testing.assert_allclose(view_maps(network, X, method=method), whole, atol=1e-12)
    pictures = np.random.default_rng(0).integers(0, 256, X.shape).astype(np.uint8)
    network = fit(rows=(pictures, Y))
    few = pictures[:3].astype(np.float32) / 255
    found = view_maps(network, pictures[:3], method=method)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, view_maps(network, few, method=method), atol=1e-6)


@pytest.mark.parametrize("method", ["gradcam", "saliency"])
def test_nothing_else_moves(captum, method):
    network = fit()
    network.module_.train()  # as a user may leave it
    network.module_.body[0].requires_grad_(False)
    before = {name: value.clone() for name, value in network.module_.state_dict().items()}
    wanted = [one.requires_grad for one in network.module_.parameters()]
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    rows = FEW.copy()
    with torch.no_grad():  # which the user may have said
        view_maps(network, rows, method=method)
    np.testing.assert_array_equal(rows, FEW)
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    for name, value in network.module_.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert [one.requires_grad for one in network.module_.parameters()] == wanted
    assert all(one.grad is None for one in network.module_.parameters())
    for part in network.module_.modules():
        assert part.training
        hooks = (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks)
        assert not any(hooks)


def test_frozen_weights_have_maps_too(captum):
    network = fit()
    expected = view_maps(network, FEW)
    network.module_.requires_grad_(False)
    np.testing.assert_array_equal(view_maps(network, FEW), expected)


def test_threads_do_not_meet(captum):
    network = fit()
    proba, maps = network.predict_proba(X), view_maps(network, X)
    calls = [lambda: network.predict_proba(X), lambda: view_maps(network, X)] * 4
    with ThreadPoolExecutor(4) as pool:
        found = [job.result() for job in [pool.submit(call) for call in calls]]
    for one, expected in zip(found, [proba, maps] * 4, strict=True):
        np.testing.assert_allclose(one, expected, atol=1e-12)


# -- agreement ---------------------------------------------------------------------------------


@settings(max_examples=40)
@given(n_members=st.integers(1, 5), n_flat=st.integers(0, 3), seed=st.integers(0, 99))
def test_agreement_is_the_mean_correlation(n_members, n_flat, seed):
    rng = np.random.default_rng(seed)
    maps = rng.exponential(size=(n_members, 4, 3, 5))
    for flat in range(n_flat):
        maps[flat % n_members, rng.integers(4)] = 0.3 * flat
    found = ViewMapsDisplay(maps, None).agreement()
    for sample in range(4):
        rows = [one for one in maps[:, sample].reshape(n_members, -1) if np.ptp(one) > 0]
        pairs = [np.corrcoef(rows[i], rows[j])[0, 1] for i in range(len(rows)) for j in range(i)]
        if pairs:
            assert found[sample] == pytest.approx(np.mean(pairs), abs=1e-12)
            assert -1 - 1e-9 <= found[sample] <= 1 + 1e-9
        else:
            assert np.isnan(found[sample])


def test_agreement_of_small_numbers_is_that_of_large_ones():
    maps = np.random.default_rng(0).exponential(size=(3, 2, 4, 4))
    expected = ViewMapsDisplay(maps, None).agreement()
    for factor in (1e-30, 1e30):
        found = ViewMapsDisplay(factor * maps, None).agreement()
        np.testing.assert_allclose(found, expected)
    same = ViewMapsDisplay(maps[[0, 0]], None).agreement()
    np.testing.assert_allclose(same, 1.0)


# -- pictures ----------------------------------------------------------------------------------


def test_display(captum, tmp_path):
    pytest.importorskip("matplotlib")
    names = np.array(["b", "c", "a"])
    deep = DeepEnsembleClassifier(make_net(SmallCNN, max_epochs=2), 2, random_state=0)
    deep.fit(X, names[Y])
    display = ViewMapsDisplay.from_estimator(deep, FEW[:3], names=["one", "two"], scale="map")
    np.testing.assert_array_equal(display.maps, view_maps(deep, FEW[:3]))
    np.testing.assert_array_equal(display.images, FEW[:3])
    assert display.axes_.shape == (3, 2)
    predicted = deep.classes_[deep.predict_members(FEW[:3]).argmax(-1)].T
    titles = [[ax.get_title() for ax in line] for line in display.axes_]
    np.testing.assert_array_equal(titles, predicted)
    assert [ax.get_xlabel() for ax in display.axes_[-1]] == ["one", "two"]
    display.figure_.savefig(tmp_path / "maps.png")
    asked = ViewMapsDisplay.from_estimator(deep, FEW[:1], names[Y[:1]])
    assert {ax.get_title() for ax in asked.axes_[0]} == {names[Y[0]]}
    assert len(deep._networks()[0]._forward_hooks) == 0


def test_members_of_an_image_share_a_scale():
    pytest.importorskip("matplotlib")
    maps = np.zeros((2, 2, 3, 4))
    maps[0, 0, 1, 2], maps[1, 0, 0, 0] = 4.0, 1.0  # nobody looks at the second image
    display = ViewMapsDisplay(maps, np.zeros((2, 3, 3, 4)))
    strong, weak = display.plot().axes_[0]
    top = strong.images[0].get_array().max()
    assert weak.images[0].get_array().max() < top / 2
    alone = display.plot(scale="map").axes_[0, 1]
    assert alone.images[0].get_array().max() == pytest.approx(top)
    assert display.axes_[1, 0].images[0].get_array().max() == 0
    place = np.asarray(strong.images[0].get_array()).sum(-1)
    assert np.unravel_index(place.argmax(), place.shape) == (1, 2)


def test_errors_of_the_display():
    pytest.importorskip("matplotlib")
    display = ViewMapsDisplay(np.zeros((2, 1, 3, 4)), np.zeros((1, 1, 3, 4)))
    with pytest.raises(ValueError, match="one for each of 2 members. Got 3"):
        display.plot(names="abc")
    with pytest.raises(ValueError, match="'scale' must be 'image' or 'map'. Got 'all'"):
        display.plot(scale="all")


# -- errors ------------------------------------------------------------------------------------


def test_errors(captum):
    network = fit()
    layers = r"Got 'body\.9', which is not run; there are body\.0, body\.1, .*body\.6"
    with pytest.raises(ValueError, match=f"'layer' of view_maps must name a layer .* {layers}"):
        view_maps(network, FEW, layer="body.9")
    with pytest.raises(ValueError, match=r"Got 'body\.8', which puts out \(2, 3\)"):
        view_maps(network, FEW, layer="body.8")
    with pytest.raises(ValueError, match="'layer' is for method='gradcam'.* Got 'body.3'"):
        view_maps(network, FEW, layer="body.3", method="saliency")
    with pytest.raises(ValueError, match=r"must be images.* Got rows of shape \(6,\)"):
        view_maps(NetworkClassifier(make_net(), random_state=0).fit(*make_data(40)), X[:, 0, 0, :6])
    with pytest.raises(ValueError, match="'y' must have labels that were seen in fit. Got 7"):
        view_maps(network, FEW, np.full(7, 7))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        view_maps(network, FEW, Y[:6])
    with pytest.raises(ValueError, match="expecting samples of shape"):
        view_maps(network, FEW[..., 1:])
    with pytest.raises(ValueError, match="'estimator' parameter of view_maps .* Got Logistic"):
        view_maps(LogisticRegression().fit(*make_data(40)), FEW)
    with pytest.raises(ValueError, match="not fitted"):
        view_maps(NetworkClassifier(), FEW)
    kernel = NTKClassifier(make_net(SmallCNN), n_estimators=2, random_state=0).fit(X, Y)
    with pytest.raises(ValueError, match="kernel machines of NTKClassifier"):
        view_maps(kernel, FEW)


class Flat(nn.Module):
    """Images as rows of numbers; and a convolution of one position."""

    def __init__(self, in_shape, n_classes, conv=False):
        super().__init__()
        self.conv = nn.Conv2d(in_shape[0], 4, in_shape[1:]) if conv else nn.Flatten()
        self.head = nn.LazyLinear(n_classes)

    def forward(self, x):
        return self.head(self.conv(x).flatten(1))


@pytest.mark.parametrize("conv", [False, True])
def test_without_a_map_there_is_no_gradcam(captum, conv):
    network = fit(Flat, module__conv=conv)
    with pytest.raises(ValueError, match="must have a convolution .* Got a Flat .* from none"):
        view_maps(network, FEW)
    assert view_maps(network, FEW, method="saliency").shape == (1, 7, 8, 9)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"method": "lime"}, "The 'method' parameter of view_maps must be a str among"),
        ({"layer": 3}, "The 'layer' parameter of view_maps must be an instance of 'str' or None"),
    ],
)
def test_settings(wrong, match):
    with pytest.raises(ValueError, match=match):
        view_maps(None, X, **wrong)


def test_without_captum_its_extra_is_named(monkeypatch):
    network = fit()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"skensemble\[inspect\]"):
        view_maps(network, FEW)
