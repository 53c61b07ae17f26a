"""Architectures: published sizes, pruned forms, options, and what the engine needs of them."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from nets import assert_same_network, make_net
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torchvision.models import mobilenet_v2, resnet18

import skensemble.nn as architectures
from skensemble import DeepEnsembleClassifier, NetworkClassifier, load
from skensemble._engine.net import StackNet
from skensemble._engine.stacks import VmapStack
from skensemble._recipes.reading import read_recipe
from skensemble.nn import (
    MLP,
    VGG,
    CifarResNet,
    DenseNet,
    PreActResNet,
    PyramidNet,
    SimpleCNN,
    WideResNet,
)
from skensemble.nn._stages import ChannelSelect, ZeroPad

CIFAR = (3, 32, 32)
PUBLISHED = {
    "ResNet-20 A": (CifarResNet, {"depth": 20, "shortcut": "A"}, 275_572),
    "ResNet-56 A": (CifarResNet, {"depth": 56, "shortcut": "A"}, 858_868),
    "ResNet-56 B": (CifarResNet, {"depth": 56}, 861_620),
    "ResNet-110 A": (CifarResNet, {"depth": 110, "shortcut": "A"}, 1_733_812),
    "ResNet-110 B": (CifarResNet, {"depth": 110}, 1_736_564),
    "pre-activation 56": (PreActResNet, {"depth": 56}, 613_556),
    "pre-activation 110": (PreActResNet, {"depth": 110}, 1_169_972),
    "pre-activation 164": (PreActResNet, {"depth": 164}, 1_726_388),
    "WRN-28-2": (WideResNet, {"depth": 28, "widen": 2}, 1_479_220),
    "WRN-28-10": (WideResNet, {"depth": 28, "widen": 10}, 36_536_884),
    "WRN-16-10": (WideResNet, {"depth": 16, "widen": 10}, 17_174_324),
    "WRN-22-10": (WideResNet, {"depth": 22, "widen": 10}, 26_855_604),
    "WRN-34-1": (WideResNet, {"depth": 34, "widen": 1}, 472_564),
    "WRN-34-2": (WideResNet, {"depth": 34, "widen": 2}, 1_867_188),
    "VGG-19": (VGG, {"depth": 19}, 20_081_188),
    "DenseNet-40-12": (DenseNet, {"depth": 40, "growth": 12}, 1_100_428),
    "PyramidNet-110-64": (PyramidNet, {"depth": 110, "alpha": 64}, 1_725_300),
    "PyramidNet-200-240": (PyramidNet, {"depth": 200, "alpha": 240}, 26_844_952),
    "PyramidNet-200-300": (PyramidNet, {"depth": 200, "alpha": 300}, 40_324_900),
}
STATISTICS = ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
# Cheap forms of all of them, with each option somewhere.
SMALL = {
    "resnet-a": (CifarResNet, {"width": 4, "shortcut": "A", "normalize": STATISTICS}),
    "resnet-b": (CifarResNet, {"width": 4, "width_list": (3, 5, 2)}),
    "preact": (PreActResNet, {"depth": 11, "width": 2}),
    "preact-read": (
        PreActResNet,
        {"depth": 11, "width": 2, "width_list": (2, 1, 2, 5, 3, 2, 7, 4, 6, 20)},
    ),
    "wide": (WideResNet, {"depth": 10, "widen": 1, "width": 4, "normalize": STATISTICS}),
    "vgg": (VGG, {"depth": 8, "width": 2, "width_list": (2, 3, 4, 9, 5)}),
    "dense": (DenseNet, {"depth": 10, "growth": 3}),
    "dense-read": (
        DenseNet,
        {"depth": 7, "growth": 3, "width_list": (4, 8, 7, 9, 10, 11)},
    ),
    "dense-bc": (DenseNet, {"depth": 10, "growth": 2, "bottleneck": True, "compression": 0.5}),
    "pyramid": (PyramidNet, {"depth": 8, "alpha": 7, "bottleneck": False, "width": 4}),
    "pyramid-bottleneck": (PyramidNet, {"depth": 11, "alpha": 5, "width": 3}),
    "simple": (SimpleCNN, {"width": 3, "width_list": (3, 4, 8), "normalize": STATISTICS}),
}
ARCHITECTURES = {cls for cls, _ in SMALL.values()}


def small(name, in_shape=(3, 16, 16), n_classes=3):
    cls, options = SMALL[name]
    return cls(in_shape, n_classes, **options)


def count(module):
    return sum(p.numel() for p in module.parameters())


def on_meta(cls, n_classes=100, **options):
    with torch.device("meta"):
        return cls(CIFAR, n_classes, **options)


def stir(module, seed=0):
    """Give a network weights and statistics that hide no mistake, such as ones and zeros do."""
    draws = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if value.is_floating_point() and "normalize" not in name:
            value.copy_(torch.rand(value.shape, generator=draws, dtype=value.dtype) + 0.1)
            if value.dim() > 1:
                value.sub_(0.6)
    return module


# -- sizes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("cls", "options", "published"), PUBLISHED.values(), ids=PUBLISHED)
def test_parameter_counts_at_100_classes(cls, options, published):
    assert count(on_meta(cls, **options)) == published


def test_every_architecture_on_images_is_tested():
    exported = {getattr(architectures, name) for name in architectures.__all__}
    classes = {one for one in exported if isinstance(one, type)}
    on_images = {cls for cls in classes if issubclass(cls, architectures._stages.ImageNetwork)}
    assert on_images == ARCHITECTURES == {cls for cls, _, _ in PUBLISHED.values()} | {SimpleCNN}


@pytest.mark.parametrize("side", [16, 17, 32])
@pytest.mark.parametrize("name", SMALL)
def test_logits_have_one_row_a_sample(name, side):
    module = small(name, (3, side, side), 7)
    assert module(torch.rand(2, 3, side, side)).shape == (2, 7)


@pytest.mark.parametrize("name", [name for name in SMALL if name != "vgg"])
def test_images_of_8_pixels(name):
    assert small(name, (3, 8, 8)).eval()(torch.rand(2, 3, 8, 8)).shape == (2, 3)


def maps_of(module, side=32):
    """Return the shapes ``(channels, side)`` of what each convolution puts out, as they run."""
    seen = []
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(lambda _, x, out: seen.append(tuple(out.shape[1:3])))
    module(torch.empty(1, 3, side, side, device="meta"))
    return seen


def test_three_stages_halve_the_map_twice():
    shapes = maps_of(on_meta(CifarResNet, depth=14, width=5, shortcut="A").eval())
    assert shapes == [(5, 32)] * 5 + [(10, 16)] * 4 + [(20, 8)] * 4


def test_vgg_19_is_the_published_chain():
    sides = [(64, 32)] * 2 + [(128, 16)] * 2 + [(256, 8)] * 4 + [(512, 4)] * 4 + [(512, 2)] * 4
    assert maps_of(on_meta(VGG).eval()) == sides


def test_pyramid_widens_by_alpha_over_the_blocks():
    # Han et al., equation 2: additive widening from 16 by alpha / (3 n) a block, rounded.
    for depth, alpha, bottleneck, n in ((110, 64, True, 12), (110, 84, False, 18)):
        net = on_meta(PyramidNet, depth=depth, alpha=alpha, bottleneck=bottleneck)
        f, expected = 16.0, []
        for _ in range(3 * n):
            f += alpha / (3 * n)
            expected.append(round(f) * (4 if bottleneck else 1))
        convs = [[p for p in b.modules() if isinstance(p, nn.Conv2d)] for b in net.blocks]
        assert [block[-1].out_channels for block in convs] == expected
        assert {tuple(c.kernel_size[0] for c in block) for block in convs} == {
            (1, 3, 1) if bottleneck else (3, 3)
        }
        assert expected[-1] == (16 + alpha) * (4 if bottleneck else 1)


def test_dense_layers_read_all_that_came_before():
    net = on_meta(DenseNet, depth=40, growth=12)
    read = [part.in_channels for part in net.modules() if isinstance(part, nn.Conv2d)]
    expected, n = [3], 24
    for block in range(3):
        for _ in range(12):
            expected.append(n)
            n += 12
        expected += [n] if block < 2 else []
    assert read == expected
    assert net.head.in_features == 24 + 36 * 12


def test_dense_layers_append_to_what_they_read():
    layer = DenseNet((3, 8, 8), 2, depth=7, growth=3).layers[0]
    x = torch.rand(2, 6, 8, 8)
    assert torch.equal(layer(x)[:, :6], x)
    assert torch.equal(layer(x)[:, 6:], layer.layers(x))


def test_dense_net_bc_compresses():
    net = on_meta(DenseNet, depth=100, growth=12, bottleneck=True, compression=0.5)
    assert abs(count(on_meta(DenseNet, 10, depth=100, bottleneck=True, compression=0.5)) / 1e6
               - 0.8) < 0.05  # fmt: skip  # Huang et al., table 2: 0.8 million
    assert net.head.in_features == ((24 + 192) // 2 + 192) // 2 + 192


# -- pruned forms --------------------------------------------------------------------------


def norm(n):
    return 2 * n


def resnet_count(widths, depth, width, n_classes, shortcut):
    n, c_in = (depth - 2) // 6, width
    total = 27 * width + norm(width)
    for at, inner in enumerate(widths):
        c_out = width * 2 ** (at // n)
        total += 9 * c_in * inner + norm(inner) + 9 * inner * c_out + norm(c_out)
        total += c_in * c_out + norm(c_out) if c_in != c_out and shortcut == "B" else 0
        c_in = c_out
    return total + c_in * n_classes + n_classes


def preact_count(widths, depth, width, n_classes, shortcut):
    n, c_in = (depth - 2) // 9, width
    total = 27 * width
    for at in range(3 * n):
        read, first, second = widths[3 * at : 3 * at + 3]
        c_out = 4 * width * 2 ** (at // n)
        total += norm(read) + read * first + norm(first) + 9 * first * second + norm(second)
        total += second * c_out + (read * c_out if c_in != c_out else 0)
        c_in = c_out
    return total + norm(widths[-1]) + widths[-1] * n_classes + n_classes


def wide_count(widths, depth, widen, width, n_classes):
    n, c_in = (depth - 4) // 6, width
    total = 27 * width
    for at, inner in enumerate(widths):
        c_out = widen * width * 2 ** (at // n)
        total += norm(c_in) + 9 * c_in * inner + norm(inner) + 9 * inner * c_out
        total += c_in * c_out if c_in != c_out else 0
        c_in = c_out
    return total + norm(c_in) + c_in * n_classes + n_classes


def chain_count(widths, n_classes):
    pairs = zip((3, *widths), widths)  # noqa: B905
    return sum(9 * a * b + norm(b) for a, b in pairs) + widths[-1] * n_classes + n_classes


def dense_count(widths, growth, layers, n_classes):
    total, n, widths = 27 * 2 * growth, 2 * growth, iter(widths)
    for block in range(3):
        for _ in range(layers):
            read = next(widths)
            total += norm(read) + 9 * read * growth
            n += growth
        read = next(widths)
        total += norm(read) + (read * n if block < 2 else read * n_classes + n_classes)
    return total


def pyramid_count(widths, planes, width, n_classes):
    total, c_in = 27 * width + norm(width), width
    for at, plane in enumerate(planes):
        a, b = widths[2 * at : 2 * at + 2]
        total += norm(c_in) + c_in * a + norm(a) + 9 * a * b + norm(b) + b * 4 * plane
        total += norm(4 * plane)
        c_in = 4 * plane
    return total + norm(c_in) + c_in * n_classes + n_classes


# Architecture, options, widths before pruning, and the count from its formula.
PRUNABLE = {
    "resnet-a": (
        CifarResNet,
        {"depth": 14, "width": 6, "shortcut": "A"},
        [6, 6, 12, 12, 24, 24],
        lambda w: resnet_count(w, 14, 6, 10, "A"),
    ),
    "resnet-b": (
        CifarResNet,
        {"depth": 14, "width": 6},
        [6, 6, 12, 12, 24, 24],
        lambda w: resnet_count(w, 14, 6, 10, "B"),
    ),
    "preact": (
        PreActResNet,
        {"depth": 20, "width": 3},
        [3, 3, 3, 12, 3, 3, 12, 6, 6, 24, 6, 6, 24, 12, 12, 48, 12, 12, 48],
        lambda w: preact_count(w, 20, 3, 10, "B"),
    ),
    "wide": (
        WideResNet,
        {"depth": 16, "widen": 2, "width": 3},
        [6, 6, 12, 12, 24, 24],
        lambda w: wide_count(w, 16, 2, 3, 10),
    ),
    "vgg": (
        VGG,
        {"depth": 16, "width": 4},
        [4, 4, 8, 8, 16, 16, 16, 32, 32, 32, 32, 32, 32],
        lambda w: chain_count(w, 10),
    ),
    "simple": (SimpleCNN, {"depth": 3, "width": 4}, [4, 8, 16], lambda w: chain_count(w, 10)),
    "dense": (
        DenseNet,
        {"depth": 10, "growth": 4},
        [8, 12, 16, 16, 20, 24, 24, 28, 32],
        lambda w: dense_count(w, 4, 2, 10),
    ),
    "pyramid": (
        PyramidNet,
        {"depth": 20, "width": 4, "alpha": 12},
        [6, 6, 8, 8, 10, 10, 12, 12, 14, 14, 16, 16],
        lambda w: pyramid_count(w, [6, 8, 10, 12, 14, 16], 4, 10),
    ),
}


@pytest.mark.parametrize("name", PRUNABLE)
@settings(max_examples=4)
@given(data=st.data())
def test_pruned_sizes_follow_the_width_list(name, data):
    cls, options, full, formula = PRUNABLE[name]
    widths = [data.draw(st.integers(1, most)) for most in full]
    pruned = cls((3, 16, 16), 10, width_list=widths, **options)
    assert count(pruned) == formula(widths)
    assert pruned.eval()(torch.rand(1, 3, 16, 16)).shape == (1, 10)


@pytest.mark.parametrize("name", PRUNABLE)
def test_full_widths_are_the_network_itself(name):
    cls, options, full, formula = PRUNABLE[name]
    networks = []
    for width_list in (None, full, tuple(np.array(full))):
        torch.manual_seed(0)
        networks.append(cls((3, 16, 16), 10, width_list=width_list, **options).state_dict())
    assert sum(v.numel() for k, v in networks[0].items() if "running" not in k
               and "num_batches" not in k) == formula(full)  # fmt: skip
    for other in networks[1:]:
        assert networks[0].keys() == other.keys()
        assert all(torch.equal(networks[0][key], other[key]) for key in other)


def test_mlp_takes_pruned_widths():
    net = MLP((6,), 3, hidden=(9, 8), width_list=(4, 2))
    assert [tuple(p.shape) for p in net.parameters()][::2] == [(4, 6), (2, 4), (3, 2)]
    with pytest.raises(ValueError, match="of MLP must have 2 entries"):
        MLP((6,), 3, hidden=(9, 8), width_list=(4,))


@pytest.mark.parametrize("name", PRUNABLE)
def test_wrong_width_lists_are_refused(name):
    cls, options, full, _ = PRUNABLE[name]

    def build(width_list):
        return on_meta(cls, 10, width_list=width_list, **options)

    of = f"he 'width_list' of {cls.__name__} must have"
    with pytest.raises(ValueError, match=f"{of} {len(full)} entries.* Got {len(full) + 1}"):
        build([*full, 1])
    of = f"Entry 0 of the 'width_list' of {cls.__name__} must be an int"
    for wrong in (0, full[0] + 1, -1, 1.5, True, "2", None):
        got = re.escape(repr(wrong))
        with pytest.raises(ValueError, match=f"{of} from 1 to {full[0]},.*Got {got}"):
            build([wrong, *full[1:]])


def test_channels_read_are_spread_and_distinct():
    for n_in in range(1, 40):
        for n_kept in range(1, n_in + 1):
            index = ChannelSelect(n_in, n_kept).index
            assert len(index.unique()) == n_kept
            assert (index.diff() <= -(-n_in // n_kept)).all()
            assert index[0] == 0
            assert n_in - 1 >= index[-1] >= n_in - -(-n_in // n_kept)


def test_a_net_that_reads_some_channels_is_the_masked_whole():
    """Reading fewer channels is the full net whose other channels weigh nothing."""
    whole = DenseNet((3, 8, 8), 4, depth=7, growth=3).eval()
    keep = [[0, 2, 5], [1, 3, 4, 8], [0, 6, 7], [1, 2], [3, 9, 11], [0, 5, 13, 14]]
    part = DenseNet((3, 8, 8), 4, depth=7, growth=3, width_list=[len(k) for k in keep]).eval()
    stir(whole)
    state = dict(part.state_dict())
    state["stem.weight"] = whole.stem.weight
    kept, readers = iter(keep), [m for m in whole.modules() if isinstance(m, nn.BatchNorm2d)]
    norms = [m for m in part.modules() if isinstance(m, nn.BatchNorm2d)]
    selects = [m for m in part.modules() if isinstance(m, ChannelSelect)]
    convs = [m for m in whole.modules() if isinstance(m, nn.Conv2d)][1:]
    with torch.no_grad():
        part.load_state_dict(state)
        small_convs = [m for m in part.modules() if isinstance(m, nn.Conv2d)][1:]
        for number, (wide, narrow) in enumerate(zip(readers, norms, strict=True)):
            index = torch.tensor(next(kept))
            if number < len(selects):
                selects[number].index.copy_(index)
            for key, value in wide.state_dict().items():
                getattr(narrow, key).copy_(value[index] if value.dim() else value)
            gone = torch.ones(len(wide.weight), dtype=torch.bool)
            gone[index] = False
            wide.weight[gone] = 0
            wide.bias[gone] = 0
            if number < len(convs):
                small_convs[number].weight.copy_(convs[number].weight[:, index])
            else:
                part.head.weight.copy_(whole.head.weight[:, index])
                part.head.bias.copy_(whole.head.bias)
    x = torch.rand(3, 3, 8, 8)
    torch.testing.assert_close(part(x), whole(x), rtol=1e-5, atol=1e-5)


# -- parts against slow references ---------------------------------------------------------


@pytest.mark.parametrize("average", [False, True], ids=["every other", "mean"])
@pytest.mark.parametrize("shape", [(2, 3, 6, 6), (2, 3, 7, 5)])
def test_shortcut_without_weights(shape, average):
    x = torch.rand(shape)
    n, c, h, w = shape
    expected = torch.zeros(n, c + 2, -(-h // 2), -(-w // 2))
    for i in range(-(-h // 2)):
        for j in range(-(-w // 2)):
            patch = x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            expected[:, :c, i, j] = patch.mean((2, 3)) if average else patch[:, :, 0, 0]
    torch.testing.assert_close(ZeroPad(2, 2, average)(x), expected)
    assert torch.equal(ZeroPad(0, 1, average)(x), x)


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_residual_network_from_its_formula(shortcut):
    net = stir(CifarResNet((3, 9, 9), 4, 8, 3, shortcut).double()).eval()
    s = {key: value for key, value in net.state_dict().items() if value.is_floating_point()}

    def bn(x, name):
        p = {
            key: s[f"{name}.{key}"].view(1, -1, 1, 1)
            for key in ("weight", "bias", "running_mean", "running_var")
        }
        return (x - p["running_mean"]) / (p["running_var"] + 1e-5).sqrt() * p["weight"] + p["bias"]

    x = torch.rand(2, 3, 9, 9, dtype=torch.float64)
    out = bn(F.conv2d(x, s["stem.weight"], padding=1), "bn").clamp(min=0)
    for block in range(3):
        at, stride = f"blocks.{block}.", 2 if block else 1
        branch = F.conv2d(out, s[at + "conv1.weight"], stride=stride, padding=1)
        branch = F.conv2d(bn(branch, at + "bn1").clamp(min=0), s[at + "conv2.weight"], padding=1)
        short = out[:, :, ::stride, ::stride]
        if block and shortcut == "A":
            short = torch.cat([short, torch.zeros_like(short)], 1)
        elif block:
            weight = s[at + "shortcut.0.weight"][:, :, 0, 0]
            short = bn(torch.einsum("oi,nihw->nohw", weight, short), at + "shortcut.1")
        out = (bn(branch, at + "bn2") + short).clamp(min=0)
    expected = out.mean((2, 3)) @ s["head.weight"].T + s["head.bias"]
    torch.testing.assert_close(net(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["preact", "wide"])
def test_pre_activation_blocks_from_their_formula(name):
    net = stir(small(name).double()).eval()
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        out = net.stem(net.normalize(x))
        for number, block in enumerate(net.blocks):
            active = block.before[0](out).clamp(min=0)
            layers = [m for m in block.residual if isinstance(m, (nn.Conv2d, nn.BatchNorm2d))]
            branch = layers[0](active)
            for norm_, conv_ in zip(layers[1::2], layers[2::2], strict=True):
                branch = conv_(norm_(branch).clamp(min=0))
            # The first block of each stage changes shapes: its shortcut sees the activated
            # input. That of WRN-d-1 keeps them in the first stage.
            changes = out.shape != branch.shape
            assert changes == (name == "preact" or number > 0)
            stride = out.shape[-1] // branch.shape[-1]
            if changes:
                weight = block.shortcut.weight[:, :, 0, 0]
                out = torch.einsum("oi,nihw->nohw", weight, active[:, :, ::stride, ::stride])
            out = out + branch
        out = net.tail[0](out).clamp(min=0).mean((2, 3))
        expected = out @ net.head.weight.T + net.head.bias
        torch.testing.assert_close(net(x), expected, rtol=1e-9, atol=1e-9)


def test_default_residual_network_starts_as_torch_starts_its_layers():
    """The default network's weights for a seed must never change: results depend on them."""
    torch.manual_seed(5)
    net = CifarResNet((2, 8, 8), 3)
    torch.manual_seed(5)
    expected = [nn.Conv2d(2, 16, 3, bias=False).weight]
    for n_in, n_out in ((16, 16), (16, 32), (32, 64)):
        expected += [nn.Conv2d(n_in, n_out, 3, bias=False).weight]
        expected += [nn.Conv2d(n_out, n_out, 3, bias=False).weight]
        expected += [nn.Conv2d(n_in, n_out, 1, bias=False).weight] if n_in != n_out else []
    head = nn.Linear(64, 3)
    weights = [m.weight for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert all(torch.equal(a, b) for a, b in zip(weights, expected, strict=True))
    assert torch.equal(net.head.weight, head.weight)
    assert torch.equal(net.head.bias, head.bias)


def scaled_weights(net):
    """Return all weights of convolutions over the spread that He et al. give them."""
    convs = [part for part in net.modules() if isinstance(part, nn.Conv2d)]
    fan_outs = [part.out_channels * part.kernel_size[0] ** 2 for part in convs]
    pairs = zip(convs, fan_outs, strict=True)
    return torch.cat([(part.weight / (2 / fan) ** 0.5).flatten() for part, fan in pairs])


@pytest.mark.parametrize("cls", sorted(ARCHITECTURES - {CifarResNet}, key=lambda c: c.__name__))
def test_convolutions_start_with_variance_two_over_fan_out(cls):
    torch.manual_seed(0)
    net = cls((3, 16, 16), 10, **({"depth": 20} if cls is PyramidNet else {}))
    assert not net.head.bias.any()
    values = scaled_weights(net)
    assert abs(values.std() - 1) < 4 / len(values) ** 0.5
    assert values.abs().max() > 2.5  # normal, not uniform


# -- options -------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [*sorted(ARCHITECTURES, key=lambda c: c.__name__), MLP])
def test_normalisation_is_that_of_the_input(cls):
    options = {"depth": 8} if cls in (VGG,) else {"depth": 11} if cls is PyramidNet else {}
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    mean, std = (torch.tensor(part, dtype=torch.float64) for part in STATISTICS)
    outputs = []
    for normalize in (None, STATISTICS):
        torch.manual_seed(0)
        net = cls((3, 16, 16), 4, normalize=normalize, **options).double().eval()
        rows = x if normalize else (x - mean.view(3, 1, 1)) / std.view(3, 1, 1)
        outputs.append(net(rows))
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-6, atol=1e-7)  # float32 statistics


@pytest.mark.parametrize("normalize", [0.5, (0.5, 0.5, 0.5), ((1.0,), (1.0,), (1.0,)), (1.0, 2.0)])
def test_what_is_no_pair_is_no_normalisation(normalize):
    with pytest.raises(ValueError, match=r"'normalize' of SimpleCNN must be None or a pair \(mean"):
        SimpleCNN(CIFAR, 10, normalize=normalize)


def test_normalisation_has_a_number_a_channel():
    with pytest.raises(ValueError, match=r"each of the 3 channels.*\(3, 32, 32\). Got 1 means"):
        VGG(CIFAR, 10, normalize=([0.5], [0.5]))
    with pytest.raises(ValueError, match="must have one length"):
        MLP((2,), 10, normalize=([0.5, 0.5], [0.5]))


def test_dropout_of_wide_networks():
    net = WideResNet((3, 8, 8), 2, depth=10, widen=1, width=4, dropout=0.5)
    x = torch.rand(4, 3, 8, 8)
    assert sum(isinstance(m, nn.Dropout) and m.p == 0.5 for m in net.modules()) == 3
    assert not torch.equal(net(x), net(x))
    assert torch.equal(net.eval()(x), net(x))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CifarResNet((3, 32), 10), "CifarResNet takes images of shape .channels, height"),
        (lambda: CifarResNet(CIFAR, 10, 9), r"'depth' of CifarResNet must be 6n \+ 2 .* Got 9"),
        (lambda: CifarResNet(CIFAR, 10, shortcut="C"), "must be 'A' or 'B'. Got 'C'"),
        (lambda: CifarResNet(CIFAR, 10, width=0), "'width' of CifarResNet must be an int .* Got 0"),
        (lambda: PreActResNet(CIFAR, 10, 20 + 1), r"'depth' of PreActResNet must be 9n \+ 2"),
        (lambda: PreActResNet(CIFAR, 10, width=2.0), "'width' of PreActResNet .* Got 2.0"),
        (lambda: WideResNet(CIFAR, 10, 20), r"'depth' of WideResNet must be 6n \+ 4"),
        (lambda: WideResNet(CIFAR, 10, widen=0), "'widen' of WideResNet must be an int of at"),
        (lambda: WideResNet(CIFAR, 10, dropout=1.5), "'dropout' of WideResNet must be a number"),
        (lambda: VGG(CIFAR, 10, 18), r"'depth' of VGG must be one of \[8, 11, .*\]. Got 18"),
        (lambda: DenseNet(CIFAR, 10, 41), r"'depth' of DenseNet must be 3n \+ 4"),
        (lambda: DenseNet(CIFAR, 10, 13, bottleneck=True), r"DenseNet must be 6n \+ 4"),
        (lambda: DenseNet(CIFAR, 10, growth=1.5), "'growth' of DenseNet must be an int"),
        (lambda: DenseNet(CIFAR, 10, compression=0), "'compression' of DenseNet must be a number"),
        (lambda: PyramidNet(CIFAR, 10, 21), r"'depth' of PyramidNet must be 9n \+ 2"),
        (lambda: PyramidNet(CIFAR, 10, 21, bottleneck=False), r"PyramidNet must be 6n \+ 2"),
        (lambda: PyramidNet(CIFAR, 10, alpha=-1), "'alpha' of PyramidNet must be a number from 0"),
        (lambda: SimpleCNN(CIFAR, 10, depth=0), "'depth' of SimpleCNN must be an int of at least"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("cls", "options", "least"),
    [
        (VGG, {"depth": 8, "width": 1}, 16),
        (DenseNet, {"depth": 7, "growth": 1}, 4),
        (SimpleCNN, {"depth": 4, "width": 1}, 8),
    ],
)
def test_images_too_small_are_refused(cls, options, least):
    assert cls((1, least, least), 2, **options).eval()(torch.rand(1, 1, least, least)).shape == (
        1,
        2,
    )
    small_ = least - 1
    with pytest.raises(
        ValueError, match=f"{cls.__name__} .* at least {least} x {least} pixels; got .*{small_}, 40"
    ):
        cls((1, small_, 40), 2, **options)


# -- what the engine and surgery need ------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_plain_torch_fx_traces_it(name):
    module = stir(small(name)).eval()
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(torch.fx.symbolic_trace(module)(x), module(x))


@pytest.mark.parametrize("name", SMALL)
def test_stacked_members_are_members(name):
    modules = [stir(small(name).double(), seed).train() for seed in range(3)]
    states = stack_module_state(modules)
    x = torch.rand(3, 4, 3, 16, 16, dtype=torch.float64)

    def one(parameters, buffers, rows):
        return functional_call(modules[0], (parameters, buffers), (rows,))

    together = vmap(one)(*states, x)
    for number, module in enumerate(modules):
        before = {name: value.clone() for name, value in module.named_buffers()}
        torch.testing.assert_close(together[number], module(x[number]), rtol=1e-9, atol=1e-9)
        moved = 0
        for key, value in module.named_buffers():
            torch.testing.assert_close(states[1][key][number], value, rtol=1e-9, atol=1e-9)
            moved += not torch.equal(before[key], value)
        assert moved


@pytest.mark.parametrize("name", SMALL)
def test_an_ensemble_trains_stacked_as_one_by_one(name, monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.random((20, 3, 16, 16)), np.arange(20) % 3
    cls, options = SMALL[name]
    recipe = make_net(
        cls,
        **{f"module__{key}": value for key, value in options.items()},
        optimizer=torch.optim.SGD,
        lr=0.01,
        max_epochs=1,
        batch_size=10,
    )
    kinds, train = [], StackNet.train
    monkeypatch.setattr(
        StackNet, "train", lambda self, *a: kinds.append(type(self.module)) or train(self, *a)
    )
    together = DeepEnsembleClassifier(recipe, 2, stack=2, random_state=0).fit(X, y)
    assert kinds == [VmapStack]
    alone = DeepEnsembleClassifier(recipe, 2, stack=1, random_state=0).fit(X, y)
    for left, right in zip(together, alone, strict=True):
        assert_same_network(left, right, atol=1e-9)
    np.testing.assert_allclose(together.predict_proba(X), alone.predict_proba(X), atol=1e-9)


def test_an_instance_starts_anew_as_the_class_starts():
    module = WideResNet((3, 8, 8), 2, depth=10, widen=1, width=8)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(7.0)
    recipe = read_recipe(module).bind(np.zeros((2, 3, 8, 8), np.float32), 2)
    first, second = (recipe.build(seed).stem.weight for seed in (0, 1))
    assert not torch.equal(first, second)
    values = scaled_weights(recipe.build(0))
    assert abs(values.std() - 1) < 0.02  # not torch's uniform start, whose spread is smaller


def test_pruned_networks_are_saved_and_loaded(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.random((12, 3, 8, 8), dtype=np.float32), np.arange(12) % 2
    cls, options = SMALL["preact-read"]
    net = make_net(
        cls,
        **{f"module__{key}": value for key, value in options.items()},
        module__normalize=STATISTICS,
        max_epochs=1,
    )
    fitted = NetworkClassifier(net, random_state=0).fit(X, y)
    fitted.save(tmp_path / "net.safetensors")
    again = load(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    again.fit(X, y)


# -- torchvision's models ------------------------------------------------------------------


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return rng.random((12, 3, 16, 16), dtype=np.float32), np.array(["a", "b", "c"] * 4)


def test_torchvisions_models_are_recipes(images):
    X, y = images
    net = make_net(resnet18, max_epochs=1, batch_size=12, optimizer=torch.optim.SGD, lr=0.01)
    ensemble = DeepEnsembleClassifier(net, 2, random_state=0).fit(X, y)
    assert ensemble.predict_proba(X).shape == (12, 3)
    assert ensemble[0].module_.fc.out_features == 3
    first, second = (member.module_.conv1.weight for member in ensemble)
    assert not torch.equal(first, second)


def test_torchvisions_models_are_saved_and_loaded(images, tmp_path):
    X, y = images
    net = make_net(mobilenet_v2, module__width_mult=0.1, max_epochs=1)
    fitted = NetworkClassifier(net, random_state=0).fit(X, y)
    fitted.save(tmp_path / "net.safetensors")
    again = load(tmp_path / "net.safetensors", module=mobilenet_v2)
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    assert "module__num_classes" not in again.estimator.get_params()


@pytest.mark.parametrize(
    ("maker", "given", "expected"),
    [
        (resnet18, {}, {"num_classes": 3}),
        (mobilenet_v2, {"width_mult": 0.5}, {"num_classes": 3, "width_mult": 0.5}),
        (resnet18, {"num_classes": 7}, {"num_classes": 7}),
        (lambda num_classes, **kwargs: nn.Linear(4, num_classes), {}, {"num_classes": 3}),
        (lambda **kwargs: nn.Linear(4, 3), {}, {}),
    ],
    ids=["factory", "other factory", "set by the user", "named", "not asked for"],
)
def test_num_classes_is_filled_in_where_it_is_taken(maker, given, expected):
    net = make_net(maker, **{f"module__{key}": value for key, value in given.items()})
    bound = read_recipe(net).bind(np.zeros((2, 3, 8, 8), np.float32), 3)
    assert bound.module_kwargs == expected
