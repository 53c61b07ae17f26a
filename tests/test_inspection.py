"""What members have learned, and the network of the theory."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from nets import make_data, make_net

from skensemble import DeepEnsembleClassifier, NetworkClassifier
from skensemble.datasets import make_multiview_classification
from skensemble.inspection import LearnedViews, LearnedViewsDisplay, learned_views
from skensemble.nn import MultiViewNet, gradient_descent
from skensemble.nn.multiview import smoothed_relu


@settings(max_examples=30, deadline=None)
@given(z=st.floats(-4, 4), power=st.sampled_from([2.0, 3.0, 4.0, 5.5]), bend=st.floats(0.2, 2))
def test_smoothed_relu_is_its_three_pieces_and_smooth(z, power, bend):
    if z <= 0:
        expected = 0.0
    elif z <= bend:
        expected = z**power / (power * bend ** (power - 1))
    else:
        expected = z - (1 - 1 / power) * bend
    x = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    y = smoothed_relu(x, power, bend)
    y.backward()
    assert y.item() == pytest.approx(expected, abs=1e-12)
    slope = 0.0 if z <= 0 else min(z / bend, 1.0) ** (power - 1)
    assert float(x.grad) == pytest.approx(slope, abs=1e-9)


def test_multi_view_net_is_its_formula():
    torch.manual_seed(0)
    net = MultiViewNet((5, 8), 3, n_filters=4, power=3.0, bend=0.5).double()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    net.requires_grad_(False)
    w = net.filters.weight.reshape(3, 4, 8)
    for n in range(2):
        for i in range(3):
            total = sum(
                float(smoothed_relu(w[i, r] @ x[n, p], 3.0, 0.5))
                for r in range(4)
                for p in range(5)
            )
            assert float(net(x)[n, i]) == pytest.approx(total)
    many = MultiViewNet((5, 400), 50, init_std=0.05)
    assert many.filters.weight.std().item() == pytest.approx(0.05, rel=0.02)
    with pytest.raises(ValueError, match=r"got samples of shape \(8,\)"):
        MultiViewNet((8,), 3)


def test_views_are_found_where_filters_point_at_them():
    X, y, views = make_multiview_classification(60, n_classes=3, return_views=True, random_state=0)
    ensemble = DeepEnsembleClassifier(gradient_descent(n_steps=1), 2, random_state=0).fit(X, y)
    first = torch.from_numpy(views.features)
    for member, has in zip(ensemble, ([(0, 0), (1, 1)], [(0, 1), (2, 0), (2, 1)]), strict=True):
        weight = member.module_.filters.weight.data.zero_().reshape(3, -1, 160)
        for at, (c, v) in enumerate(has):
            weight[c, at] = first[c, v]
    found = learned_views(ensemble, views.features)
    expected = np.zeros((2, 3, 2), bool)
    expected[0, 0, 0] = expected[0, 1, 1] = expected[1, 0, 1] = expected[1, 2] = True
    np.testing.assert_array_equal(found.learned, expected)
    np.testing.assert_array_equal(found.union, expected.any(0))
    np.testing.assert_allclose(found.response[expected], smoothed_relu(torch.tensor(1.5)))
    one = learned_views(ensemble[0], views.features)
    np.testing.assert_array_equal(one.learned[0], expected[0])


def test_a_trained_ensemble_has_more_views_than_its_members():
    X, y, views = make_multiview_classification(
        300, n_classes=5, patch_dim=60, return_views=True, random_state=0
    )
    ensemble = DeepEnsembleClassifier(gradient_descent(n_steps=150), 6, random_state=0).fit(X, y)
    found = learned_views(ensemble, views.features)
    assert found.learned.any(-1).all()  # each member has a view of every class
    assert found.learned.mean() < found.union.mean()


def test_what_was_not_trained_has_learned_nothing():
    X, y, views = make_multiview_classification(40, n_classes=3, return_views=True, random_state=0)
    for net in (gradient_descent(n_steps=1), gradient_descent(n_steps=1, lr=1e-9)):
        ensemble = DeepEnsembleClassifier(net, 3, random_state=0).fit(X, y)
        assert not learned_views(ensemble, views.features).learned.any()
        assert learned_views(ensemble, views.features, least=0.0).learned.any()


def test_display(tmp_path):
    pytest.importorskip("matplotlib")
    learned = np.random.default_rng(0).uniform(size=(4, 3, 2)) < 0.5
    views = LearnedViews(learned * 1.0, learned, np.array(["a", "b", "c"]))
    display = LearnedViewsDisplay(views).plot()
    shown = display.ax_.images[0].get_array()
    np.testing.assert_array_equal(np.asarray(shown[:4]), learned.reshape(4, 6))
    np.testing.assert_array_equal(np.asarray(shown[5]), views.union.reshape(6))
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["a", "b", "c"]
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == [*"0123", "all"]
    display.figure_.savefig(tmp_path / "views.png")
    named = LearnedViewsDisplay(views).plot(names=list("wxyz"), union=False).ax_
    np.testing.assert_array_equal(np.asarray(named.images[0].get_array()), learned.reshape(4, 6))
    assert [label.get_text() for label in named.get_yticklabels()] == list("wxyz")
    with pytest.raises(ValueError, match="one for each of 4 members. Got 2"):
        LearnedViewsDisplay(views).plot(names=["a", "b"])
    X, y, made = make_multiview_classification(40, n_classes=3, return_views=True, random_state=0)
    network = NetworkClassifier(gradient_descent(n_steps=2), random_state=0).fit(X, y)
    drawn = LearnedViewsDisplay.from_estimator(network, made.features, ax=display.ax_)
    assert drawn.ax_ is display.ax_
    assert drawn.views.learned.shape == (1, 3, 2)


def test_errors_of_learned_views():
    X, y, views = make_multiview_classification(40, n_classes=3, return_views=True, random_state=0)
    network = NetworkClassifier(gradient_descent(n_steps=1), random_state=0).fit(X, y)
    with pytest.raises(ValueError, match=r"\(3, any, 160\). Got shape \(2, 2, 160\)"):
        learned_views(network, views.features[:2])
    table = NetworkClassifier(make_net(), random_state=0).fit(*make_data(40))
    with pytest.raises(ValueError, match="Got one of rows of shape"):
        learned_views(table, views.features)


def test_members_that_share_batches_are_those_that_train_alone():
    X, y, _ = make_multiview_classification(40, n_classes=3, return_views=True, random_state=0)
    for batch_size in (-1, 16):
        net = gradient_descent(n_steps=3).set_params(batch_size=batch_size)
        stacked = DeepEnsembleClassifier(net, 3, random_state=0).fit(X, y)
        alone = DeepEnsembleClassifier(net, 3, stack=1, random_state=0).fit(X, y)
        np.testing.assert_allclose(stacked.predict_members(X), alone.predict_members(X), atol=1e-9)
