"""Gradients as features."""

import numpy as np
import pytest
import torch
from nets import AN_INSTANCE, make_data, make_net
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from tangents import jacobian, make
from torch import nn

from skensemble.ntk import NTKFeatures, linearised


@AN_INSTANCE
@pytest.mark.parametrize("name", ["mlp", "cnn", "attention"])
def test_features_are_the_jacobian(name):
    module, x = make(name)
    features = NTKFeatures(type(module) if name == "attention" else nn.Sequential(module),
                           random_state=0)  # fmt: skip
    found = features.fit(x.numpy()).transform(x.numpy())
    expected = jacobian(features.module_, x)[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    names = features.get_feature_names_out()
    assert len(names) == found.shape[1] == len(set(names))
    first = next(iter(dict(features.module_.named_parameters())))
    assert names[0].startswith(f"{first}[0")


def test_projections_keep_inner_products_on_average():
    X, _ = make_data(20)
    full = NTKFeatures(make_net(), random_state=0).fit_transform(X)
    few = NTKFeatures(make_net(), n_components=4000, random_state=0).fit(X)
    assert list(few.get_feature_names_out()[:2]) == ["ntkfeatures0", "ntkfeatures1"]
    gap = np.abs(few.transform(X) @ few.transform(X).T - full @ full.T).max()
    assert gap < 0.1 * np.abs(full @ full.T).max()
    np.testing.assert_array_equal(few.transform(X), few.transform(X))


def test_features_of_the_last_layer_and_a_pipeline():
    X, y = make_data(60)
    gp = NTKFeatures(make_net(), features="gp", random_state=0).fit(X)
    found = gp.transform(X)
    body = gp.module_.layers[:-1]
    with torch.no_grad():
        np.testing.assert_allclose(found[:, :-1], body(torch.from_numpy(X)), rtol=1e-9)
    np.testing.assert_array_equal(found[:, -1], 1)
    assert len(gp.get_feature_names_out()) == found.shape[1]
    pipeline = make_pipeline(NTKFeatures(make_net(), random_state=0), LogisticRegression())
    assert pipeline.fit(X, y).score(X, y) > 0.8
    ridge = Ridge(alpha=1e-3, fit_intercept=False)
    features = NTKFeatures(make_net(), random_state=0).fit_transform(X)
    k = features @ features.T
    dual = k @ np.linalg.solve(k + 1e-3 * np.eye(len(X)), y.astype(float))
    np.testing.assert_allclose(ridge.fit(features, y).predict(features), dual, rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="3 features, but NTKFeatures is expecting"):
        gp.transform(X[:, :3])


def test_linearised_networks_are_found_by_their_features():
    assert set(linearised.OUTPUTS) == {"ntk", "ntk-prime", "trace", "gp"}
