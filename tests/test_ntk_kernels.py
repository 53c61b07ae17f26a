"""Tangent kernels against explicit Jacobians."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from tangents import NETS, jacobian, make
from torch import nn

from skensemble.nn import MLP
from skensemble.ntk import empirical_ntk, kernel_operator
from skensemble.ntk.gradients import Gradients


def explicit(module, x1, x2, outputs="full"):
    full = torch.einsum("nap,mbp->nmab", jacobian(module, x1), jacobian(module, x2))
    if outputs == "full":
        return full
    if outputs == "trace":
        return torch.einsum("nmaa->nm", full) / full.shape[-1]
    return full[:, :, outputs, outputs]


def assert_kernel(ours, expected, rel=1e-9):
    assert ours.shape == expected.shape
    assert float((ours - expected).abs().max()) <= rel * float(expected.abs().max())


@pytest.mark.parametrize("implementation", ["layerwise", "contraction", "vector-product"])
@pytest.mark.parametrize("name", NETS)
def test_kernels_are_products_of_explicit_jacobians(name, implementation):
    module, x = make(name, 7)
    if name in ("gru", "lstm") and implementation == "vector-product":
        with pytest.raises(ValueError, match="Use implementation='layerwise'"):
            empirical_ntk(module, x, implementation=implementation)
        return
    for outputs in ("full", "trace", 1):
        args = {"outputs": outputs, "implementation": implementation, "chunk_size": 2}
        assert_kernel(empirical_ntk(module, x[:4], x[4:], **args),
                      explicit(module, x[:4], x[4:], outputs))  # fmt: skip
        assert_kernel(empirical_ntk(module, x, **args), explicit(module, x, x, outputs))


@pytest.mark.parametrize("name", NETS)
def test_what_the_layers_do_not_explain_is_reported(name):
    module, x = make(name)
    report = Gradients(module, x).report
    assert set(report) == {k for k, _ in module.named_parameters()}
    assert {k for k, how in report.items() if how == "torch.func"} == NETS[name][2]
    assert {k for k, how in report.items() if how == "unused"} == {
        k for k in report if k.startswith("idle")
    }


@settings(max_examples=15, deadline=None)
@given(
    channels=st.sampled_from([2, 4]), groups=st.sampled_from([1, 2]), kernel=st.integers(1, 3),
    stride=st.integers(1, 3), padding=st.integers(0, 2), dilation=st.integers(1, 2),
    size=st.integers(5, 8), n=st.integers(1, 4), seed=st.integers(0, 99),
)  # fmt: skip
def test_convolutions_of_all_shapes(
    channels, groups, kernel, stride, padding, dilation, size, n, seed
):
    torch.manual_seed(seed)
    conv = nn.Conv2d(channels, 4, kernel, stride, padding, dilation, groups)
    module = nn.Sequential(conv, nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    module = module.double()
    x = torch.randn(n, channels, size, size, dtype=torch.float64)
    assert_kernel(empirical_ntk(module, x), explicit(module, x, x))
    assert set(Gradients(module, torch.cat([x, x])[:2]).report.values()) == {"layer"}


@settings(max_examples=15, deadline=None)
@given(
    hidden=st.lists(st.integers(1, 9), max_size=3), n=st.integers(1, 6), m=st.integers(1, 6),
    n_outputs=st.integers(1, 4), chunk=st.integers(1, 4), seed=st.integers(0, 99),
)  # fmt: skip
def test_perceptrons_of_all_shapes(hidden, n, m, n_outputs, chunk, seed):
    torch.manual_seed(seed)
    module = MLP((3,), n_outputs, hidden=tuple(hidden)).double()
    x1, x2 = (torch.randn(k, 3, dtype=torch.float64) for k in (n, m))
    assert_kernel(empirical_ntk(module, x1, x2, chunk_size=chunk), explicit(module, x1, x2))
    values = torch.linalg.eigvalsh(empirical_ntk(module, x1, outputs="trace"))
    assert values.min() >= -1e-9 * max(1.0, values.max())


def test_the_last_layer_has_its_input_as_features():
    module, x = make("mlp")
    head = [part for part in module.modules() if isinstance(part, nn.Linear)][-1]
    frozen = copy.deepcopy(module).requires_grad_(False)
    list(frozen.modules())[-1].requires_grad_(True)
    assert_kernel(empirical_ntk(module, x, outputs="last"), explicit(frozen, x, x, 0))
    assert head.weight.requires_grad


def test_frozen_parameters_are_left_out():
    module, x = make("cnn")
    module[2].requires_grad_(False)
    module[0].bias.requires_grad_(False)
    assert_kernel(empirical_ntk(module, x), explicit(module, x, x))
    assert set(Gradients(module, x).report) == {
        k for k, p in module.named_parameters() if p.requires_grad
    }


@pytest.mark.parametrize("implementation", ["layerwise", "contraction", "vector-product"])
def test_a_module_is_left_as_it_was(implementation):
    module, x = make("batch norm")
    module.train()
    module[0].eval()
    before = copy.deepcopy(module.state_dict())
    needs = [p.requires_grad for p in module.parameters()]
    empirical_ntk(module, x, implementation=implementation)
    assert [part.training for part in module] == [False, True, True, True, True, True]
    assert [p.requires_grad for p in module.parameters()] == needs
    assert all(p.grad is None and not p._backward_hooks for p in module.parameters())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    for key, value in module.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_products_are_exact_whatever_is_allowed_elsewhere():
    module, x = make("mlp", 64)
    module, x = module.float(), x.float()
    expected = empirical_ntk(module, x)
    torch.set_float32_matmul_precision("medium")
    try:
        torch.testing.assert_close(empirical_ntk(module, x), expected, rtol=0, atol=0)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_sum_of_kernels_is_the_kernel_of_concatenated_features():
    (one, x), (other, _) = make("mlp"), make("mlp", seed=1)
    both = torch.cat([jacobian(one, x)[:, 0], jacobian(other, x)[:, 0]], 1)
    total = empirical_ntk(one, x, outputs=0) + empirical_ntk(other, x, outputs=0)
    assert_kernel(total, both @ both.T)


@pytest.mark.parametrize("outputs", ["full", "trace", "last", 0])
@pytest.mark.parametrize("chunk_size", ["auto", 2])
def test_operators_multiply_by_the_kernel(outputs, chunk_size):
    module, x = make("cnn")
    operator = kernel_operator(module, x, outputs=outputs, chunk_size=chunk_size)
    kernel = empirical_ntk(module, x, outputs=outputs)
    if outputs == "full":
        kernel = kernel.permute(0, 2, 1, 3).reshape(operator.shape)
    v = np.random.default_rng(0).normal(size=(operator.shape[0], 3))
    np.testing.assert_allclose(operator @ v, kernel.numpy() @ v, rtol=1e-9)
    np.testing.assert_allclose(operator @ v[:, 0], kernel.numpy() @ v[:, 0], rtol=1e-9)


def test_kernel_errors():
    module, x = make("mlp")
    with pytest.raises(ValueError, match="'implementation' parameter .* Got 'magic'"):
        empirical_ntk(module, x, implementation="magic")
    with pytest.raises(ValueError, match="number from 0 to 2. Got 3"):
        empirical_ntk(module, x, outputs=3)
    with pytest.raises(ValueError, match="'outputs' parameter .* Got 'all'"):
        empirical_ntk(module, x, outputs="all")
    with pytest.raises(ValueError, match="'chunk_size' parameter .* Got 0"):
        empirical_ntk(module, x, chunk_size=0)
    with pytest.raises(ValueError, match="at least 2 axes and 1 row"):
        empirical_ntk(module, x[:0])
    coupled = nn.Sequential(nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(6, 2)).double()
    with pytest.raises(ValueError, match="depends on the other rows"):
        empirical_ntk(coupled, x)
    with pytest.raises(ValueError, match=r"Got outputs of shape \(2, 3, 6\)"):
        empirical_ntk(nn.Linear(6, 6), torch.zeros(2, 3, 6))
    with pytest.raises(ValueError, match="does not end in one. Use features='ntk'"):
        empirical_ntk(nn.Sequential(nn.Linear(6, 4), nn.Tanh()).double(), x, outputs="last")
    with pytest.raises(ValueError, match="made of features"):
        empirical_ntk(module, x, outputs="last", implementation="vector-product")
    with pytest.raises(ValueError, match="no parameters that require gradients"):
        empirical_ntk(module.requires_grad_(False), x)
