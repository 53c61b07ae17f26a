"""The network of the theory: its pooled activation against plain operations, and its recipe."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from skensemble import DeepEnsembleClassifier
from skensemble._engine.stacks import LoopStack, VmapStack
from skensemble._recipes.reading import read_recipe
from skensemble.datasets import make_multiview_classification
from skensemble.nn import MLP, MultiViewNet, gradient_descent, multiview
from skensemble.nn.multiview import pooled_smoothed_relu, smoothed_relu


def draw(shape, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draws, dtype=torch.float64)


def plain(z, power, bend):
    """The slow twin."""
    return smoothed_relu(z, power, bend).sum(-2)


@settings(max_examples=25, deadline=None)
@given(
    power=st.sampled_from([2.0, 3.0, 4.0, 5.5]), bend=st.floats(0.2, 2.0),
    lead=st.sampled_from([(1,), (7,), (2, 3), ()]), piece=st.sampled_from([1, 20, 1 << 16]),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_pooled_values_and_gradients_are_those_of_plain_operations(power, bend, lead, piece, seed):
    z = draw((*lead, 5, 4), seed).requires_grad_()
    above = draw((*lead, 4), seed + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiview, "_PIECE", piece)
        fast = pooled_smoothed_relu(z, power, bend)
        (ours,) = torch.autograd.grad(fast, z, above)
    slow = plain(z, power, bend)
    (theirs,) = torch.autograd.grad(slow, z, above)
    torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("power", [3.0, 4.0])
def test_pooled_relu_can_be_differentiated_twice(power):
    z = draw((3, 4, 2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: pooled_smoothed_relu(z, power, 0.7), z)
    assert torch.autograd.gradgradcheck(lambda z: pooled_smoothed_relu(z, power, 0.7), z)


def test_pooled_relu_under_transforms():
    z, tangent = draw((6, 3, 4, 2)), draw((3, 2))

    def slope(pool):
        one = torch.func.grad(lambda row: (pool(row, 4.0, 1.0) * tangent).sum())
        return torch.func.vmap(one)(z)

    torch.testing.assert_close(slope(pooled_smoothed_relu), slope(plain))
    inner = torch.func.vmap(lambda one: pooled_smoothed_relu(one, 3.0, 1.0), in_dims=1)(z)
    torch.testing.assert_close(inner, plain(z.movedim(1, 0), 3.0, 1.0))
    jacobian = torch.func.jacrev(lambda one: pooled_smoothed_relu(one, 4.0, 1.0))(z[0])
    torch.testing.assert_close(jacobian, torch.func.jacrev(lambda one: plain(one, 4.0, 1.0))(z[0]))


def test_pooled_relu_takes_any_strides_and_leaves_its_input_alone():
    z = draw((4, 6, 5)).transpose(1, 2).requires_grad_()
    before = z.detach().clone()
    above = torch.ones(()).double().expand(4, 6)
    (ours,) = torch.autograd.grad(pooled_smoothed_relu(z), z, above, retain_graph=True)
    (theirs,) = torch.autograd.grad(plain(z, 4.0, 1.0), z, above)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(z.detach(), before, rtol=0, atol=0)
    out = pooled_smoothed_relu(z)
    first, second = (torch.autograd.grad(out, z, above, retain_graph=True)[0] for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_exported_networks_keep_plain_operations():
    net = MultiViewNet((4, 6), 3).double().eval()
    rows = draw((2, 4, 6))
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(net, (rows,), dynamic_shapes=({0: batch},))
    many = draw((50, 4, 6), 1)
    torch.testing.assert_close(program.module()(many), net(many))


@pytest.mark.parametrize("kind", [LoopStack, VmapStack])
def test_stacks_give_the_gradients_of_plain_networks(kind):
    def networks():
        torch.manual_seed(0)
        return [MultiViewNet((5, 8), 3, init_std=0.5).double() for _ in range(3)]

    x, above = draw((1, 6, 5, 8)), draw((3, 6, 3))
    stack = kind(networks())
    (stack(x) * above).sum().backward()
    for at, net in enumerate(networks()):
        out = plain(net.filters(x[0]), 4.0, 1.0).unflatten(1, (3, -1)).sum(-1)
        (out * above[at]).sum().backward()
        grads = [parameter.grad for _, parameter in stack.learnable()]
        ours = grads[at] if kind is LoopStack else grads[0][at]
        torch.testing.assert_close(ours, net.filters.weight.grad)


def test_gradient_descent_is_that_of_the_formula():
    X, y = make_multiview_classification(30, n_classes=3, random_state=0)
    net = gradient_descent(lr=2.0, n_steps=4).set_params(module__init_std=0.3)
    ensemble = DeepEnsembleClassifier(net, 2, random_state=0).fit(X, y)
    untrained = DeepEnsembleClassifier(net.set_params(lr=0.0), 2, random_state=0).fit(X, y)
    for trained, first in zip(ensemble, untrained, strict=True):
        weight = first.module_.filters.weight.detach().clone().requires_grad_()
        for _ in range(4):
            z = torch.from_numpy(X) @ weight.T
            logits = plain(z, 4.0, 1.0).reshape(30, 3, 6).sum(-1)
            loss = nn.functional.cross_entropy(logits, torch.from_numpy(y))
            (slope,) = torch.autograd.grad(loss, weight)
            weight = (weight - 2.0 * slope).detach().requires_grad_()
        torch.testing.assert_close(trained.module_.filters.weight.detach(), weight.detach())
    recipe = read_recipe(gradient_descent(MLP, n_steps=7))
    training = recipe.training
    assert (recipe.module, training.max_epochs, training.batch_size) == (MLP, 7, -1)
    assert not training.shuffle
    assert training.optimizer is torch.optim.SGD


@pytest.mark.parametrize("given", [{"power": 1.0}, {"bend": 0.0}])
def test_errors_of_the_network(given):
    with pytest.raises(ValueError, match="a 'power' above 1 and a 'bend' above 0. Got"):
        MultiViewNet((5, 8), 3, **given)
    assert np.isfinite(MultiViewNet((5, 8), 3, power=1.5)(torch.zeros(2, 5, 8)).sum().item())
