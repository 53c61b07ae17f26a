"""Layers and channels as features."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from nets import make_data, make_net
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import nn

from skensemble import DeepEnsembleClassifier, NetworkClassifier
from skensemble.nn import CifarResNet
from skensemble.preprocessing import ChannelSplit, ModuleFeatures


def images(n=12, channels=4):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, channels, 8, 8)).astype(np.float32)
    return X, np.arange(n) % 2


def test_features_are_what_the_layer_puts_out():
    X, _ = images()
    module = CifarResNet((4, 8, 8), 2, 8, 4).train()
    for name, expected in (("blocks.0", (4, 8, 8)), ("last", (16, 2, 2)), ("head", (2,))):
        found = ModuleFeatures(module, layer=name).fit_transform(X)
        assert found.shape == (12, *expected)
    assert module.training
    module.eval()
    with torch.no_grad():
        x = torch.from_numpy(X)
        expected = module.blocks[0](torch.relu(module.bn(module.stem(x))))
    np.testing.assert_allclose(
        ModuleFeatures(module, layer="blocks.0").fit_transform(X), expected, atol=1e-5
    )


def test_any_network_will_do():
    X, y = make_data(40)
    network = NetworkClassifier(make_net(), random_state=0).fit(X, y)
    expected = network.module_.layers[:-1](torch.from_numpy(X)).detach().numpy()
    for source in (network, FrozenEstimator(network), network.module_):
        np.testing.assert_allclose(ModuleFeatures(source).fit_transform(X), expected, rtol=1e-9)
    net = make_net(module__in_shape=(X.shape[1],),
                                                       module__n_classes=3)  # fmt: skip
    net.initialize()
    small = X.astype(np.float32)
    expected = net.module_.layers[:-1](torch.from_numpy(small)).detach().numpy()
    np.testing.assert_allclose(ModuleFeatures(net).fit_transform(small), expected, rtol=1e-6)
    drawn = ModuleFeatures(make_net(), random_state=1).fit(X)
    again = clone(drawn).fit(X)
    np.testing.assert_array_equal(drawn.transform(X), again.transform(X))
    assert not np.allclose(drawn.transform(X), ModuleFeatures(make_net(), random_state=2)
                           .fit_transform(X))  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(n_splits=st.integers(1, 4), size=st.integers(1, 3), extra=st.integers(0, 3),
       seed=st.integers(0, 99))  # fmt: skip
def test_parts_make_up_the_whole_and_their_mean(n_splits, size, extra, seed):
    extra = min(extra, n_splits - 1)
    X = np.random.default_rng(seed).normal(size=(3, n_splits * size + extra, 2, 2))
    each = [ChannelSplit(n_splits, part=part).fit_transform(X) for part in range(n_splits)]
    np.testing.assert_array_equal(np.concatenate(each, 1), X[:, : n_splits * size])
    mean = ChannelSplit(n_splits, mode="average").fit_transform(X)
    for at in range(size):  # of neighbours
        own = X[:, at * n_splits : (at + 1) * n_splits].mean(1)
        np.testing.assert_allclose(mean[:, at], own, atol=1e-12)


def test_names_bytes_and_pipelines():
    X, y = images(40)
    pipeline = make_pipeline(
        ModuleFeatures(CifarResNet((4, 8, 8), 2, 8, 4), layer="blocks.0"),
        ChannelSplit(2, part=1),
        DeepEnsembleClassifier(
            make_net(CifarResNet, module__depth=8, module__width=4), 2, random_state=0
        ),
    )
    assert pipeline.fit(X, y).predict_proba(X).shape == (40, 2)
    table = np.arange(8.0).reshape(2, 4)
    split = ChannelSplit(2, part=1).fit(table)
    assert split.get_feature_names_out().tolist() == ["x2", "x3"]
    mean = ChannelSplit(2, mode="average").fit(table)
    assert mean.get_feature_names_out().tolist() == ["channelsplit0", "channelsplit1"]
    small = (X > 0).astype(np.uint8)
    assert ChannelSplit(2).fit_transform(small).dtype == np.uint8
    assert ChannelSplit(2, mode="average").fit_transform(small).dtype == np.float32
    flat = make_pipeline(ModuleFeatures(make_net()), LogisticRegression())
    assert flat.fit(*make_data(60)).score(*make_data(60)) > 0.5


def test_errors():
    X, y = images()
    with pytest.raises(ValueError, match="must be below n_splits=2. Got 2"):
        ChannelSplit(2, part=2).fit(X)
    with pytest.raises(ValueError, match="4 feature.s. .channels. while a minimum of n_splits=5"):
        ChannelSplit(5).fit(X)
    with pytest.raises(ValueError, match="must name modules of the teacher|'layers' must name"):
        ModuleFeatures(nn.Linear(4, 2), layer="nothing").fit(X[:, :, 0, 0])
    ensemble = DeepEnsembleClassifier(make_net(), 2, random_state=0).fit(X[:, :, 0, 0], y)
    with pytest.raises(ValueError, match="must have one network. Got 2"):
        ModuleFeatures(ensemble).fit(X[:, :, 0, 0])
    features = ModuleFeatures(CifarResNet((4, 8, 8), 2, 8, 4)).fit(X)
    with pytest.raises(ValueError, match=r"expecting samples of shape \(4, 8, 8\)"):
        features.transform(X[:, :, :4])
