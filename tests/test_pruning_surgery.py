"""Channels that are taken out: the right ones, and the same answers as with zeros."""

import copy
import inspect

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from nets import Tutorial, make_images, make_net
from torch import nn

import skensemble.nn
from skensemble import PrunedClassifier
from skensemble.nn.narrowing import SelectBatchNorm2d, cut
from skensemble.pruning import CannotPrune
from skensemble.pruning.choosing import PruningSettings
from skensemble.pruning.coupled import Coupling, plan_coupled
from skensemble.pruning.surgery import check_same, find_channels, make_cuts

IMAGE = (3, 8, 8)
STATISTICS = ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
# One of each architecture, small enough for a test.
ARCHITECTURES = {
    "MLP": ("MLP", {"hidden": (9, 7), "activation": "gelu"}, (5,)),
    "SimpleCNN": ("SimpleCNN", {"depth": 2, "width": 4}, IMAGE),
    "ResNet A": ("CifarResNet", {"depth": 14, "width": 4, "shortcut": "A"}, IMAGE),
    "ResNet B": ("CifarResNet", {"depth": 14, "width": 4, "normalize": STATISTICS}, IMAGE),
    "PreActResNet": ("PreActResNet", {"depth": 11, "width": 4}, IMAGE),
    "WideResNet": ("WideResNet", {"depth": 10, "widen": 2, "width": 3, "dropout": 0.0}, IMAGE),
    "VGG": ("VGG", {"depth": 11, "width": 4}, (3, 16, 16)),
    "DenseNet": ("DenseNet", {"depth": 10, "growth": 4}, IMAGE),
    "DenseNet-BC": (
        "DenseNet", {"depth": 10, "growth": 4, "bottleneck": True, "compression": 0.5}, IMAGE,
    ),
    "PyramidNet": ("PyramidNet", {"depth": 11, "alpha": 6, "width": 4}, IMAGE),
    "PyramidNet basic": (
        "PyramidNet", {"depth": 14, "alpha": 6, "width": 4, "bottleneck": False}, IMAGE,
    ),
    "tabular": ("TabularNet", {"hidden": (8, 6), "dropout": 0.0}, (5,)),
    "tabular-residual": (
        "TabularNet", {"hidden": (8, 6), "blocks": "residual", "dropout": 0.0}, (5,),
    ),
}  # fmt: skip
# Networks that are not made of layers in a row, or are made by wrapping others.
NOT_PRUNED = {"BatchEnsemble", "MultiViewNet", "Normalize"}
# Parts of networks.
NOT_PRUNED |= {"CategoryEmbedding", "Dropout", "Periodic", "PiecewiseLinear"}


def disturb(module, seed=0):
    """Make weights, statistics, scales and shifts all different from what they start as."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=draw) * 0.5)
                if name.endswith("running_var"):
                    value.copy_(value.abs() + 0.5)
    return module.eval()


def draw_kept(groups, share, seed=0):
    rng = np.random.default_rng(seed)
    kept = {}
    for group in groups:
        n = max(1, int(group.n_channels * share))
        kept[group.layer] = sorted(rng.choice(group.n_channels, n, replace=False).tolist())
    return kept


def masked_by_hand(module, groups, kept):
    """Set rows, biases, scales and shifts of channels to zero, channel by channel."""
    module = copy.deepcopy(module)
    with torch.no_grad():
        for group in groups:
            for channel in set(range(group.n_channels)) - set(kept[group.layer]):
                for name, repeat in [(group.layer, 1), *[(n.layer, n.repeat) for n in group.norms]]:
                    layer = module.get_submodule(name)
                    for at in range(channel * repeat, (channel + 1) * repeat):
                        layer.weight[at] = 0.0
                        if layer.bias is not None:
                            layer.bias[at] = 0.0
    return module


def assert_removed_is_masked(module, x, share=0.5):
    """Compare surgery with zeros, in prediction and in training, in both precisions."""
    found = find_channels(module, x.float()[:2])
    kept = draw_kept(found.groups, share)
    cuts = make_cuts(found.groups, kept)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    for dtype, atol in ((torch.float64, 1e-10), (torch.float32, 1e-6)):
        wide = copy.deepcopy(module).to(dtype)
        narrow = cut(copy.deepcopy(wide), cuts)
        masked = masked_by_hand(wide, found.groups, kept)
        for mode in (False, True):
            with torch.no_grad():
                a, b = masked.train(mode)(x.to(dtype)), narrow.train(mode)(x.to(dtype))
            assert a.shape == b.shape
            assert (a - b).abs().max() <= atol * (1 + a.abs().max()), (mode, dtype)
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
    for group in found.groups:
        layer = cut(copy.deepcopy(module), cuts).get_submodule(group.layer)
        assert len(layer.weight) == len(kept[group.layer]) >= 1
    return found


def test_every_architecture_is_tried():
    public = {name: getattr(skensemble.nn, name) for name in skensemble.nn.__all__}
    classes = {name for name, one in public.items() if inspect.isclass(one)}
    assert classes - NOT_PRUNED == {name for name, _, _ in ARCHITECTURES.values()}


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("share", [0.01, 0.5])
def test_removed_is_masked_on_every_architecture(name, share):
    cls, arguments, in_shape = ARCHITECTURES[name]
    module = disturb(getattr(skensemble.nn, cls)(in_shape=in_shape, n_classes=4, **arguments))
    x = torch.randn(5, *in_shape, generator=torch.Generator().manual_seed(1))
    found = assert_removed_is_masked(module, x, share)
    assert found.groups


# -- graphs drawn at random ------------------------------------------------------------------


class Drawn(nn.Module):
    """Layers after each other as a list of words says, with joints of all kinds."""

    def __init__(self, words, width, flat):
        super().__init__()
        self.words, self.flat = words, flat
        self.parts = nn.ModuleDict()
        n, side = 3, 8
        for at, (word, normed, _) in enumerate(words):
            if word == "pool":
                side = max(1, side // 2)
                continue
            n_out = n if word in ("shared", "residual") else width + at
            n_out = n_out * 2 if word == "grouped" else n_out
            n_in = n
            if word == "grouped":  # a plain convolution, and a grouped one behind it
                self.parts[f"lead{at}"] = nn.Conv2d(n_in, n_out, 1)
                n_in = n_out
            groups = 2 if word == "grouped" else 1
            self.parts[f"conv{at}"] = nn.Conv2d(n_in, n_out, 3, padding=1, groups=groups)
            if word == "residual":
                self.parts[f"inner{at}"] = nn.Conv2d(n, width + 2, 3, padding=1, bias=False)
                self.parts[f"back{at}"] = nn.Conv2d(width + 2, n, 1)
            if normed:
                self.parts[f"norm{at}"] = nn.BatchNorm2d(n_out)
            n = n_out + n if word == "cat" else n_out
        self.parts["head"] = nn.Linear(n * side**2 if flat else n, 3)

    def forward(self, x):
        for at, (word, normed, act) in enumerate(self.words):
            if word == "pool":
                x = F.max_pool2d(x, 2, ceil_mode=True) if x.shape[-1] > 1 else x
                continue
            before = x
            if word == "grouped":
                x = self.parts[f"lead{at}"](x)
            x = self.parts[f"conv{at}"](x)
            if word == "shared":
                x = self.parts[f"conv{at}"](x)
            if normed:
                x = self.parts[f"norm{at}"](x)
            x = getattr(torch, act)(x)
            if word == "residual":
                x = before + self.parts[f"back{at}"](torch.relu(self.parts[f"inner{at}"](x)))
            elif word == "cat":
                x = torch.cat([before, x], 1)
        x = x.view(x.size(0), -1) if self.flat else x.mean((2, 3))
        return self.parts["head"](x)


def drawn_words():
    word = st.sampled_from(["conv", "residual", "cat", "grouped", "shared"])
    act = st.sampled_from(["relu", "tanh", "sigmoid"])
    return st.lists(st.tuples(word, st.booleans(), act), min_size=1, max_size=4)


@settings(max_examples=25)
@given(drawn_words(), st.booleans(), st.sampled_from([0.05, 0.4, 0.9]))
def test_removed_is_masked_on_drawn_graphs(words, flat, share):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = disturb(Drawn(words, 4, flat))
    x = torch.randn(3, *IMAGE, generator=torch.Generator().manual_seed(1))
    found = assert_removed_is_masked(module, x, share)
    groups = {group.layer for group in found.groups if group.kind != "norm"}
    layers = {n for n, part in module.named_modules() if isinstance(part, (nn.Conv2d, nn.Linear))}
    # Each layer is either pruned or reported, and what cannot be pruned is not.
    assert groups | set(found.left_alone) == layers
    assert not groups & set(found.left_alone)
    for at, (word, _, act) in enumerate(words):
        here = f"parts.conv{at}"
        if word == "residual":
            assert f"parts.inner{at}" in groups
            assert "added" in found.left_alone[f"parts.back{at}"]
        elif word == "shared":
            assert "more than once" in found.left_alone[here]
        elif word == "grouped":
            assert "grouped" in found.left_alone[here]
            assert "grouped" in found.left_alone[f"parts.lead{at}"]
        elif word == "cat" and act != "sigmoid":
            assert "joined" in found.left_alone[here]
        elif act == "sigmoid":
            assert "0 to 0" in found.left_alone[here]
    assert "output" in found.left_alone["parts.head"]


# -- what a graph may hide -------------------------------------------------------------------


class Net(nn.Module):
    """Two convolutions with something between them that a test brings."""

    def __init__(self, between, head=None, **parts):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 4, 3)
        self.head = nn.Linear(4, 3)
        for name, part in parts.items():
            self.add_module(name, part)
        self.between = (between,)

    def forward(self, x):
        x = self.between[0](self, self.first(x))
        return self.head(self.second(x).amax((2, 3)))


def branch_in_training(net, x):
    return x + net.first(x)[:, :6] if net.training else x.relu()


def halved(net, x):
    return x * 0.5


HARMLESS = {
    "twice the same": lambda net, x: torch.relu(x + x),
    "a factor": halved,
    "interpolated": lambda net, x: F.interpolate(F.avg_pool2d(x, 2), scale_factor=2),
    "its size": lambda net, x: x / x.size(2),
    "two ways": lambda net, x: F.leaky_relu(F.dropout(x, 0.0)),
    "one slope": lambda net, x: F.gelu(x).contiguous(),
}
TRAPS = {
    "channels are counted": (lambda net, x: x / x.size(1), "channels is asked for"),
    "shape is asked": (lambda net, x: x / x.shape[1], "channels is asked for"),
    "shift": (lambda net, x: x + 1.0, "does not map 0 to 0"),
    "softmax": (lambda net, x: x.softmax(1), "softmax, which is not known"),
    "gate": (lambda net, x: x * torch.sigmoid(x), "not known|0 to 0"),
    "mean over channels": (lambda net, x: x.mean(1, keepdim=True) + x, "not known|added"),
    "norm over channels": (lambda net, x: net.norm(x), "a GroupNorm"),
    "slope a channel": (lambda net, x: net.slope(x), "a PReLU"),
    "permuted": (lambda net, x: x.permute(0, 1, 3, 2), "permute"),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_leaves_channels_apart_is_passed(name):
    module = disturb(Net(HARMLESS[name]))
    found = assert_removed_is_masked(module, torch.randn(4, *IMAGE))
    assert [group.layer for group in found.groups] == ["first", "second"]


@pytest.mark.parametrize("name", TRAPS)
def test_what_mixes_channels_is_left_alone_and_said(name):
    between, why = TRAPS[name]
    module = disturb(Net(between, norm=nn.GroupNorm(2, 6), slope=nn.PReLU(6)))
    found = assert_removed_is_masked(module, torch.randn(4, *IMAGE))
    assert [group.layer for group in found.groups] == ["second"]
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(found.left_alone["first"])


def test_channels_that_a_shape_counts_are_left_alone():
    sample = torch.randn(4, 3, 8, 8)
    found = assert_removed_is_masked(disturb(Tutorial((3, 8, 8), 3)), sample)
    assert [group.layer for group in found.groups] == ["conv1", "fc1"]
    assert "view says that there are 24 numbers" in found.left_alone["conv2"]
    found = assert_removed_is_masked(disturb(Tutorial((3, 8, 8), 3, literal=False)), sample)
    assert [group.layer for group in found.groups] == ["conv1", "conv2", "fc1"]


def test_a_use_that_training_alone_makes_is_seen():
    class Sided(Net):
        def forward(self, x):
            out = self.first(x)
            side = self.head(out.mean((2, 3))[:, :4]) if self.training else 0.0
            return self.head(self.second(out).amax((2, 3))) + side

    found = find_channels(Sided(halved), torch.randn(2, *IMAGE))
    assert "first" not in {group.layer for group in found.groups}
    assert "differs between training" in found.left_alone["first"]


def test_tied_parametrised_and_hooked_layers_are_left_alone():
    def tie(module):
        module.other = nn.Conv2d(3, 6, 3, padding=1)
        module.other.weight = module.first.weight

    def parametrise(module):
        nn.utils.parametrizations.weight_norm(module.first)

    def hook(module):
        module.first.register_forward_hook(lambda part, inputs, out: out + 1)

    for spoil, why in ((tie, "shares its weights"), (parametrise, "parametrised"), (hook, "hook")):
        module = Net(halved)
        spoil(module)
        found = find_channels(module, torch.randn(2, *IMAGE))
        assert why in found.left_alone["first"]


def test_branches_on_data_cannot_be_traced_and_say_so():
    module = Net(lambda net, x: x if x.sum() > 0 else -x)
    with pytest.raises(CannotPrune, match=r"torch.fx.*method='magnitude'"):
        find_channels(module, torch.randn(2, *IMAGE))


def test_channels_of_a_sequence_and_of_volumes():
    sequence = nn.Sequential(
        nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 5), nn.Flatten(), nn.Linear(30, 2)
    )
    found = assert_removed_is_masked(disturb(sequence), torch.randn(3, 6, 4))
    assert [group.layer for group in found.groups] == ["0"]
    assert "mixes its channels" in found.left_alone["2"]
    volumes = nn.Sequential(
        nn.Conv3d(1, 4, 2), nn.BatchNorm3d(4), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(32),
        nn.Linear(32, 2),
    )  # fmt: skip
    found = assert_removed_is_masked(disturb(volumes), torch.randn(3, 1, 3, 3, 3))
    assert found.groups[0].norms[1].repeat == found.groups[0].readers[0].repeat == 8


class PreActivated(nn.Module):
    """A feature map that feeds two blocks, each with a batch normalisation of its own."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(6) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(6, 6, 3, padding=1) for _ in range(2))
        self.last = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.stem(x)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = x + conv(norm(x).relu())
        return self.head(self.last(x).relu().mean((2, 3)))


def test_batch_normalisation_picks_channels_where_they_are_shared():
    module = disturb(PreActivated())
    found = assert_removed_is_masked(module, torch.randn(4, *IMAGE))
    assert [(g.layer, g.kind) for g in found.groups] == [
        ("norms.0", "norm"), ("norms.1", "norm"), ("last", "norm"),
    ]  # fmt: skip
    cuts = make_cuts(found.groups, draw_kept(found.groups, 0.5))
    narrow = cut(copy.deepcopy(module), cuts)
    assert isinstance(narrow.last, SelectBatchNorm2d)
    # The choice is a buffer: it is saved with the weights and is not trained.
    assert "last.index" in narrow.state_dict()
    assert "last.index" not in dict(narrow.named_parameters())
    # Twice cut, the second choice is among the first.
    first = narrow.last.index.tolist()
    again = cut(copy.deepcopy(narrow), {"last": {"select": [0, 2]}, "head": {"in": [0, 2]}})
    assert again.last.index.tolist() == [first[0], first[2]]


def test_wrong_surgery_is_found_out():
    module = disturb(Net(halved))
    x = torch.randn(4, *IMAGE)
    found = find_channels(module, x)
    cuts = make_cuts(found.groups, {"first": [0, 1, 4]})
    check_same(module, cut(copy.deepcopy(module), cuts), cuts, x)
    cuts["second"]["in"] = [0, 1, 3]
    wrong = cut(copy.deepcopy(module), cuts)
    with pytest.raises(CannotPrune, match=r"says something else.*'skip'; cut were first, second"):
        check_same(module, wrong, cuts, x)
    del cuts["second"]
    with pytest.raises(CannotPrune, match="does not run"):
        check_same(module, cut(copy.deepcopy(module), cuts), cuts, x)


def test_only_layers_with_rows_can_be_cut():
    with pytest.raises(TypeError, match="GroupNorm cannot be cut; got ''"):
        cut(nn.GroupNorm(2, 4), {"": {"out": [0]}})


# -- channels that layers share ------------------------------------------------------------------


def summed(net, x):
    return x + net.beside(x)


def couplings_of(net, wrong=False):
    """Return what belongs together in `Net(summed)`, or with one column confused."""
    one_each = [[at] for at in range(6)]
    columns = [*one_each[1:], one_each[0]] if wrong else one_each
    return [
        Coupling("first", 6, [
            ("first", "out", one_each), ("beside", "out", one_each),
            ("beside", "in", one_each), ("second", "in", columns),
        ])
    ]  # fmt: skip


def test_a_helper_is_believed_only_if_it_is_right():
    module = disturb(Net(summed, beside=nn.Conv2d(6, 6, 1)))
    x = torch.randn(4, *IMAGE)
    right = plan_coupled(module, x, PruningSettings(keep=0.5), lambda *_: couplings_of(module))
    narrow = right.perform(module, x)
    assert narrow.first.out_channels == narrow.beside.in_channels == 3
    # The channels with the largest sum of weights over both layers that make them.
    worth = module.first.weight.abs().sum((1, 2, 3)) + module.beside.weight.abs().sum((1, 2, 3))
    assert right.cuts["second"]["in"] == sorted(worth.argsort(descending=True)[:3].tolist())
    wrong = plan_coupled(
        module, x, PruningSettings(keep=0.5), lambda *_: couplings_of(module, wrong=True)
    )
    with pytest.raises(CannotPrune, match="says something else"):
        wrong.perform(module, x)


def test_torch_pruning_finds_what_residual_blocks_share():
    pytest.importorskip("torch_pruning")
    module = disturb(skensemble.nn.CifarResNet(IMAGE, 4, depth=8, width=4))
    x = torch.randn(4, *IMAGE)
    operation = plan_coupled(module, x, PruningSettings(keep=0.5))
    narrow = operation.perform(module, x)
    assert narrow.stem.out_channels == narrow.blocks[0].conv2.out_channels == 2
    assert narrow.head.out_features == 4
    half = plan_coupled(module, x, PruningSettings(keep=0.5, skip=("stem",)))
    assert "skip" in half.left_alone["stem"]
    assert half.perform(module, x).stem.out_channels == 4


def test_torch_pruning_is_not_believed_about_padded_shortcuts():
    pytest.importorskip("torch_pruning")

    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 3, padding=1)
            self.conv = nn.Conv2d(4, 8, 3, padding=1)
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            x = self.stem(x).relu()
            x = self.conv(x) + F.pad(x, (0, 0, 0, 0, 2, 2))
            return self.head(x.relu().mean((2, 3)))

    module = disturb(Padded())
    x = torch.randn(4, *IMAGE)
    with pytest.raises(CannotPrune, match="of 'stem', which has 4|says something else"):
        plan_coupled(module, x, PruningSettings(keep=0.5)).perform(module, x)


class Scaled(nn.Module):
    """A block as in ConvNeXt: depthwise, two linear layers, and a scale of the network's own."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 2, stride=2)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.wide = nn.Linear(6, 12)
        self.narrow = nn.Linear(12, 6)
        self.scale = nn.Parameter(torch.full((6,), 0.5))
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.stem(x)
        y = self.narrow(F.gelu(self.wide(self.depthwise(x).movedim(1, -1))))
        return self.head((x + (self.scale * y).movedim(-1, 1)).mean((2, 3)))


def test_coupled_says_so_where_it_takes_nothing_out():
    pytest.importorskip("torch_pruning")
    module, x = disturb(Scaled()), torch.randn(4, *IMAGE)
    said = (
        r"coupled=True finds no channels to take out of this Scaled\. Left alone are .*"
        r"it shares channels with scale, a Parameter; wide: layers='auto' leaves its kind whole\. "
        r"Use coupled=False, or set 'layers'\."
    )
    with pytest.raises(CannotPrune, match=said):
        plan_coupled(module, x, PruningSettings(keep=0.5))
    pruned = PrunedClassifier(make_net(Scaled, max_epochs=1), coupled=True, random_state=0)
    with pytest.raises(CannotPrune, match=said):
        pruned.fit(*make_images())
    operation = plan_coupled(module, x, PruningSettings(keep=0.5, layers="linear"))
    assert operation.perform(module, x).wide.out_features == 6
    assert not plan_coupled(module, x, PruningSettings(keep=0.5, skip=("",))).cuts  # as was asked


def uncalled(net, x):
    return F.conv2d(x, net.beside.weight)


def test_what_torch_pruning_cannot_follow_is_an_error_of_ours(monkeypatch):
    pytest.importorskip("torch_pruning")
    x = torch.randn(4, *IMAGE)
    module = Net(uncalled, beside=nn.Conv2d(6, 6, 1))
    with pytest.raises(CannotPrune, match=r"This Net does not call beside\. Use coupled=False"):
        plan_coupled(module, x, PruningSettings())

    def fail(*_):
        raise ZeroDivisionError("integer division or modulo by zero")

    monkeypatch.setattr("torch_pruning.DependencyGraph.build_dependency", fail)
    said = r"cannot follow the channels of this Net: ZeroDivisionError: integer.*Use coupled=False"
    with pytest.raises(CannotPrune, match=said):
        plan_coupled(Net(summed, beside=nn.Conv2d(6, 6, 1)), x, PruningSettings())


def test_without_torch_pruning_its_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"skensemble\[pruning\]"):
        plan_coupled(Net(halved), torch.randn(4, *IMAGE), PruningSettings())
