"""Layers of many members against explicit weights, one member at a time."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nets import ResidualCNN, ResidualMLP, SmallCNN
from torch import nn

from skensemble.nn import MLP, BatchEnsemble, CifarResNet, Normalize
from skensemble.nn.batch_ensemble import _Heads, _Rank1

M = 3
LAYERS = {
    "linear": (lambda: nn.Linear(4, 6), (4,)),
    "linear, no bias": (lambda: nn.Linear(4, 6, bias=False), (4,)),
    "linear on sequences": (lambda: nn.Linear(4, 6), (5, 4)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=1), (4, 7)),
    "conv2d, stride": (lambda: nn.Conv2d(4, 6, 3, stride=2, bias=False), (4, 7, 8)),
    "conv2d, groups": (lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1), (4, 5, 5)),
    "conv2d, depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4), (4, 5, 5)),
    "conv2d, dilation and reflection": (
        lambda: nn.Conv2d(4, 6, 3, dilation=2, padding=2, padding_mode="reflect"), (4, 7, 7)),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2), (2, 4, 4, 4)),
}  # fmt: skip


def randomise(net, seed=0):
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.5)
    return net.double()


def explicit_weight(plain, layer, m):
    """W[o, i] * s[o] * r[i'], number by number; i' counts all input channels."""
    W = plain.weight.detach().clone()
    r, s = (fast.detach()[m] + layer.offset for fast in (layer.fast_in, layer.fast_out))
    groups = getattr(plain, "groups", 1)
    per_group = W.shape[0] // groups
    for o in range(W.shape[0]):
        for i in range(W.shape[1]):
            W[o, i] *= s[o] * r[i + (o // per_group) * W.shape[1] * (groups > 1)]
    return W


def plain_member(layer, make, m):
    plain = make().double()
    with torch.no_grad():
        plain.weight.copy_(layer.weight)
        plain.weight.copy_(explicit_weight(plain, layer, m))
        if plain.bias is not None:
            plain.bias.copy_(layer.bias[m])
    return plain


@pytest.mark.parametrize("around_one", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_members_use_explicit_weights(name, around_one):
    make, shape = LAYERS[name]
    net = randomise(BatchEnsemble(make(), M, around_one=around_one))
    x = torch.randn(M, 5, *shape, dtype=torch.float64)
    got = net.forward_members(x)
    for m in range(M):
        plain = plain_member(net.module, make, m)
        torch.testing.assert_close(got[m], plain(x[m]), rtol=0, atol=1e-12)
        folded = net.member(m)
        assert type(folded) is type(plain)
        torch.testing.assert_close(folded(x[m]), plain(x[m]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["linear", "conv1d", "conv2d, groups", "conv3d"])
def test_gradients_are_those_of_the_formula(name):
    """dL/dr_i = sum over W, s of the explicit weight's gradient, and so for s, W and b."""
    make, shape = LAYERS[name]
    net = randomise(BatchEnsemble(make(), M))
    layer = net.module
    x = torch.randn(M, 5, *shape, dtype=torch.float64)
    net.forward_members(x).square().sum().backward()
    slope_W = torch.zeros_like(layer.weight)
    for m in range(M):
        plain = plain_member(layer, make, m)
        plain(x[m]).square().sum().backward()
        groups = getattr(plain, "groups", 1)
        per_group = plain.weight.shape[0] // groups
        r, s = layer.fast_in[m].detach() + 1, layer.fast_out[m].detach() + 1
        slope_r, slope_s = torch.zeros_like(r), torch.zeros_like(s)
        for o in range(plain.weight.shape[0]):
            for i in range(plain.weight.shape[1]):
                at = i + (o // per_group) * plain.weight.shape[1] * (groups > 1)
                g, w = plain.weight.grad[o, i], layer.weight.detach()[o, i]
                slope_r[at] += (g * w).sum() * s[o]
                slope_s[o] += (g * w).sum() * r[at]
                slope_W[o, i] += g * s[o] * r[at]
        torch.testing.assert_close(layer.fast_in.grad[m], slope_r, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(layer.fast_out.grad[m], slope_s, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(layer.bias.grad[m], plain.bias.grad, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(layer.weight.grad, slope_W, rtol=1e-9, atol=1e-9)


def test_gain_multiplies_the_gradients_of_the_vectors_alone():
    nets = [randomise(BatchEnsemble(nn.Linear(4, 3), M, gain=gain)) for gain in (1.0, 3.0)]
    x = torch.randn(M, 5, 4, dtype=torch.float64)
    outs = [net.forward_members(x) for net in nets]
    torch.testing.assert_close(*outs)
    for out in outs:
        out.square().sum().backward()
    a, b = (net.module for net in nets)
    torch.testing.assert_close(3 * a.fast_in.grad, b.fast_in.grad)
    torch.testing.assert_close(3 * a.fast_out.grad, b.fast_out.grad)
    torch.testing.assert_close(a.weight.grad, b.weight.grad)


NETWORKS = {
    "mlp": (lambda: MLP((6,), 3, (8, 7)), (6,)),
    "residual-mlp": (lambda: ResidualMLP((6,), 3), (6,)),
    "cnn": (lambda: SmallCNN((3, 6, 6), 3), (3, 6, 6)),
    "residual-cnn": (lambda: ResidualCNN((3, 6, 6), 3), (3, 6, 6)),
    "resnet": (lambda: CifarResNet((3, 8, 8), 3, 8, 4), (3, 8, 8)),
}


@pytest.mark.parametrize("merge", ["factor-mean", "rank-mean"])
@pytest.mark.parametrize("name", NETWORKS)
def test_one_member_of_ones_is_the_plain_network_and_so_is_its_merge(name, merge):
    make, shape = NETWORKS[name]
    plain = make().double().eval()
    net = BatchEnsemble(plain, 1, init="one").eval()
    x = torch.randn(5, *shape, dtype=torch.float64)
    torch.testing.assert_close(net(x)[:, 0], plain(x), rtol=0, atol=1e-12)
    merged = net.merged(merge)
    assert type(merged) is type(plain)
    torch.testing.assert_close(merged(x), plain(x), rtol=0, atol=1e-12)
    assert merged.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize("name", NETWORKS)
def test_members_are_networks_and_a_merge_of_one_is_the_member(name):
    make, shape = NETWORKS[name]
    net = BatchEnsemble(make().double(), M, init="normal").eval()
    x = torch.randn(5, *shape, dtype=torch.float64)
    got = net(x)
    for m in range(M):
        torch.testing.assert_close(net.member(m)(x), got[:, m], rtol=0, atol=1e-10)
    one = BatchEnsemble(make().double(), 1, init="normal").eval()
    for merge in ("factor-mean", "rank-mean"):
        torch.testing.assert_close(one.merged(merge)(x), one(x)[:, 0], rtol=0, atol=1e-10)


def test_merges_are_their_formulas():
    net = randomise(BatchEnsemble(nn.Linear(4, 3), M))
    layer = net.module
    r, s, W = layer.fast_in + 1, layer.fast_out + 1, layer.weight
    factors, ranks = torch.zeros_like(W), torch.zeros_like(W)
    for o in range(3):
        for i in range(4):
            factors[o, i] = W[o, i] * s[:, o].mean() * r[:, i].mean()
            ranks[o, i] = W[o, i] * sum(s[m, o] * r[m, i] for m in range(M)) / M
    torch.testing.assert_close(net.merged("factor-mean").weight, factors)
    torch.testing.assert_close(net.merged("rank-mean").weight, ranks)
    torch.testing.assert_close(net.merged().bias, layer.bias.mean(0))


def test_starts():
    torch.manual_seed(0)
    layer = nn.Linear(50, 40)
    signs = BatchEnsemble(layer, M, "sign").module
    for fast in (signs.fast_in, signs.fast_out):
        assert set((fast.detach() + 1).unique().tolist()) == {-1.0, 1.0}
    normal = BatchEnsemble(layer, M, "normal", around_one=False).module
    assert abs(normal.fast_in.mean() - 1) < 0.15
    assert abs(normal.fast_in.std() - 0.5) < 0.1
    one = BatchEnsemble(layer, M, "one").module
    assert one.fast_in.abs().max() == one.fast_out.abs().max() == 0
    torch.testing.assert_close(one.weight, layer.weight)
    torch.testing.assert_close(one.bias, layer.bias.repeat(M, 1))


def test_first_only_draws_before_the_first_layer_and_gives_heads():
    torch.manual_seed(0)
    net = BatchEnsemble(MLP((6,), 3, (8, 7)), M, "first-only")
    first, second, heads = (
        part for part in net.modules() if isinstance(part, (_Rank1, _Heads))
    )  # fmt: skip
    assert set((first.fast_in.detach() + 1).unique().tolist()) == {-1.0, 1.0}
    assert first.fast_out.abs().max() == second.fast_in.abs().max() == 0
    assert heads.weight.shape == (M, 3, 7)
    assert not torch.equal(heads.weight[0], heads.weight[1])
    x = torch.randn(5, 6)
    for m in range(M):
        torch.testing.assert_close(net.member(m)(x), net(x)[:, m])


def test_names_weights_shared_modules_and_methods_are_kept():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.again = self.layer
            self.head = nn.Linear(4, 2)

        def encode(self, x):
            return torch.relu(self.again(torch.relu(self.layer(x))))

        def forward(self, x):
            return self.head(self.encode(x))

    plain = Twice()
    net = BatchEnsemble(plain, M, "one")
    assert net.module.layer is net.module.again
    assert net.module.encode(torch.zeros(M * 2, 4)).shape == (M * 2, 4)
    assert {name for name, _ in net.module.named_parameters()} > {"layer.weight", "head.bias"}
    assert type(plain.layer) is nn.Linear  # the original is left alone
    state = copy.deepcopy(net.state_dict())
    again = BatchEnsemble(Twice(), M, "sign")
    again.load_state_dict(state)
    x = torch.randn(3, 4)
    torch.testing.assert_close(again(x), net(x))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.MultiheadAttention(4, 2)
        self.scale = nn.Parameter(torch.ones(4))


def test_what_cannot_be_converted_is_named():
    with pytest.raises(ValueError, match=r"mix \(MultiheadAttention\)"):
        BatchEnsemble(Attention())
    with pytest.raises(ValueError, match=r"the module itself \(Attention\)"):
        BatchEnsemble(Attention())
    with pytest.raises(ValueError, match="needs a module with linear or conv"):
        BatchEnsemble(nn.ReLU())
    with pytest.raises(ValueError, match="'init' must be one of"):
        BatchEnsemble(nn.Linear(2, 2), init="zero")
    with pytest.raises(ValueError, match="'merge' must be"):
        BatchEnsemble(nn.Linear(2, 2)).merged("median")


def test_norms_see_the_whole_tiled_batch():
    net = BatchEnsemble(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).double(), M)
    x = torch.randn(M, 6, 4, dtype=torch.float64)
    hidden = net.module[0](x.flatten(0, 1))
    expected = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(net.forward_members(x).flatten(0, 1), expected)


@given(st.integers(1, 4), st.floats(-3, 3), st.floats(0.1, 3))
def test_normalize(channels, mean, std):
    x = np.random.default_rng(0).normal(size=(2, channels, 3, 3))
    part = Normalize([mean] * channels, [std] * channels)
    np.testing.assert_allclose(part(torch.from_numpy(x)), (x - mean) / std, rtol=1e-5, atol=1e-5)
    table = torch.from_numpy(x[:, :, 0, 0].copy())
    np.testing.assert_allclose(part(table), (table - mean) / std, rtol=1e-5, atol=1e-5)


def test_normalize_errors():
    with pytest.raises(ValueError, match="must have one length"):
        Normalize([0.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="positive numbers"):
        Normalize([0.0], [0.0])
