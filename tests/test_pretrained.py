"""Networks that start from weights: what is kept, drawn anew, frozen, and at which rates."""

import copy
import fnmatch
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from nets import ResidualCNN, ResidualMLP, SmallCNN, assert_same_network, make_net, weights_of
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import LRScheduler
from torch import nn
from torchvision.models import ShuffleNet_V2_X0_5_Weights, VisionTransformer, shufflenet_v2_x0_5
from torchvision.models._api import WeightsEnum
from torchvision.models.resnet import Bottleneck, ResNet

import skensemble
from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    Pretrained,
    PrunedClassifier,
    StackedGridSearchCV,
)
from skensemble._engine.graph_stack import GraphStack
from skensemble._engine.net import StackNet
from skensemble._engine.stacks import LoopStack, VmapStack
from skensemble._recipes.parts import Frozen, Rates, find_head
from skensemble._recipes.reading import read_recipe
from skensemble._seeding import Purpose, purpose_seed
from skensemble.nn import SimpleCNN

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(36, 3, 16, 16)).astype(np.float32)
LABELS = np.arange(36) % 3
IMAGES[LABELS == 1] += 0.6
IMAGES[LABELS == 2, 0] -= 0.9
ROWS = RNG.normal(size=(40, 6)) + np.arange(40)[:, None] % 4
GROUPS = np.arange(40) % 4


def resnet(num_classes=5):
    return ResNet(Bottleneck, [1, 1, 1, 1], num_classes=num_classes, width_per_group=4)


def vit(num_classes=5):
    return VisionTransformer(16, 8, 1, 2, 8, 16, num_classes=num_classes)


def trained(module, X=IMAGES, y=LABELS % 2, n_epochs=1):
    """Return a module after a short training on other labels, by hand."""
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    x = torch.from_numpy(X).to(next(module.parameters()).dtype)
    for _ in range(n_epochs):
        loss = nn.functional.cross_entropy(module(x), torch.from_numpy(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module.eval()


@pytest.fixture(scope="module")
def big():
    return trained(resnet())


@pytest.fixture(scope="module")
def tokens():
    return trained(vit())


@pytest.fixture(scope="module")
def small():
    return trained(ResidualMLP((6,), 5).double(), ROWS, GROUPS % 2, 3)


@pytest.fixture
def kinds(monkeypatch):
    seen = []
    init = StackNet.__init__
    monkeypatch.setattr(
        StackNet,
        "__init__",
        lambda self, module, *a, **k: (seen.append(type(module)), init(self, module, *a, **k))[1],
    )
    return seen


def net_of(module, **kwargs):
    kwargs = {"max_epochs": 1, "batch_size": 12, "lr": 0.01, **kwargs}
    return make_net(module, **kwargs)


def fit(recipe, data=(IMAGES, LABELS), n_estimators=2, **kwargs):
    kwargs.setdefault("random_state", 0)
    return DeepEnsembleClassifier(recipe, n_estimators, **kwargs).fit(*data)


def differing(one, other):
    """Return the names of what differs between two state dicts."""
    assert one.keys() == other.keys()
    same = {n for n, v in one.items() if v.shape == other[n].shape and torch.equal(v, other[n])}
    return set(one) - same


# -- the start -----------------------------------------------------------------------------


@pytest.mark.parametrize("make", ["big", "tokens"])
def test_members_start_from_the_weights_and_heads_of_their_own(make, request):
    module = request.getfixturevalue(make)
    head = {"big": "fc", "tokens": "heads.head"}[make]
    before = copy.deepcopy(module.state_dict())
    recipe = read_recipe(Pretrained(module)).bind(IMAGES, 3)
    for seed in (1, 2):
        born = recipe.build(seed)
        assert differing(born.state_dict(), before) == {f"{head}.weight", f"{head}.bias"}
        with torch.random.fork_rng():
            torch.manual_seed(purpose_seed(seed, Purpose.INIT))
            drawn = nn.Linear(born.get_submodule(head).in_features, 3)
        assert torch.equal(born.get_submodule(head).weight, drawn.weight)
    ensemble = fit(Pretrained(net_of(module)))
    assert ensemble.predict_proba(IMAGES).shape == (36, 3)
    assert not differing(module.state_dict(), before)  # the user's own is left as it was
    assert module.get_submodule(head).out_features == 5


def test_a_fit_is_a_loop_of_torch_from_the_weights(big):
    big = copy.deepcopy(big).double()
    rows = IMAGES.astype(np.float64)
    net = net_of(big, optimizer=torch.optim.SGD, lr=0.1, batch_size=-1, max_epochs=2,
                 iterator_train__shuffle=False)  # fmt: skip
    found = NetworkClassifier(Pretrained(net), random_state=3).fit(rows, LABELS)
    module = copy.deepcopy(big).train()
    module.fc = read_recipe(Pretrained(net)).bind(rows, 3).build(3).fc
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(2):
        loss = nn.functional.cross_entropy(module(torch.from_numpy(rows)), torch.arange(36) % 3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name, value in module.state_dict().items():
        np.testing.assert_allclose(weights_of(found)[name], value.detach(), rtol=0, atol=1e-9)


def test_a_network_that_puts_out_a_number_a_class_can_be_kept_whole(small):
    data = ROWS, np.arange(40) % 5
    recipe = read_recipe(Pretrained(small, head=None)).bind(ROWS, 5)
    assert not differing(recipe.build(1).state_dict(), small.state_dict())
    with pytest.raises(ValueError, match=r"ResidualMLP must return .*\(4, 4\).*'head' of Pretr"):
        fit(Pretrained(net_of(small), head=None), (ROWS, GROUPS))
    assert fit(Pretrained(net_of(small), head=None), data).score(*data) >= 0


def test_members_can_draw_weights_of_their_own_without_a_warning(small):
    recipe = read_recipe(Pretrained(small, start="reset")).bind(ROWS, 4)
    one, other = recipe.build(1), recipe.build(2)
    assert not torch.equal(one.stem.weight, other.stem.weight)
    assert one.head.out_features == 4
    fit(Pretrained(net_of(small), start="reset"), (ROWS, GROUPS))


def test_what_cannot_be_drawn_anew_says_how_it_can_start(tokens):
    with pytest.raises(ValueError, match=r"no reset_parameters.*skensemble\.Pretrained\(module\)"):
        fit(Pretrained(tokens, start="reset"))


def test_together_is_as_alone(small, kinds):
    net = net_of(small, max_epochs=3)
    together, alone = (fit(Pretrained(net), (ROWS, GROUPS), 3, stack=n) for n in ("auto", 1))
    assert kinds == [GraphStack, LoopStack, LoopStack, LoopStack]
    for one, other in zip(together, alone, strict=True):
        assert_same_network(one, other)
    again = NetworkClassifier(Pretrained(net), random_state=alone[1].random_state)
    assert_same_network(again.fit(ROWS, GROUPS), alone[1])
    assert_same_network(clone(alone[1]).fit(ROWS, GROUPS), alone[1])


# -- factories -----------------------------------------------------------------------------


@pytest.mark.parametrize("around", [lambda net: net, Pretrained], ids=["a net", "Pretrained"])
def test_torchvisions_factories_bring_their_weights(monkeypatch, tmp_path, around):
    theirs, asked = shufflenet_v2_x0_5().state_dict(), []
    monkeypatch.setattr(
        WeightsEnum, "get_state_dict", lambda *a, **k: asked.append(1) or copy.deepcopy(theirs)
    )
    net = net_of(shufflenet_v2_x0_5, module__weights=ShuffleNet_V2_X0_5_Weights.DEFAULT)
    recipe = read_recipe(around(net)).bind(IMAGES, 3)
    state = recipe.build(0).state_dict()
    assert state["fc.weight"].shape == (3, 1024)
    assert differing(state, theirs) == {"fc.weight", "fc.bias"}
    recipe.build(1)
    assert asked == [1]  # once a fit
    fitted = fit(around(net), stack=2)
    assert asked == [1, 1]
    fitted.save(tmp_path / "file")
    for again in (
        pickle.loads(pickle.dumps(fitted)),
        skensemble.load(tmp_path / "file", module=shufflenet_v2_x0_5),
    ):
        np.testing.assert_array_equal(again.predict_proba(IMAGES), fitted.predict_proba(IMAGES))
    assert asked == [1, 1]


def test_timms_factories_bring_their_weights(tmp_path):
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("test_vit")
    torch.save(theirs.state_dict(), tmp_path / "own.pth")
    make = partial(timm.create_model, "test_vit", pretrained=True, img_size=16, num_classes=1000,
                   pretrained_cfg_overlay={"file": str(tmp_path / "own.pth"),
                                           "num_classes": 1000})  # fmt: skip
    recipe = read_recipe(Pretrained(net_of(make))).bind(IMAGES, 3)
    state = recipe.build(0).state_dict()
    assert state["head.weight"].shape[0] == 3
    changed = differing(state, theirs.state_dict())
    assert changed == {"head.weight", "head.bias", "pos_embed"}  # the last for smaller images


def test_a_factory_is_told_the_number_of_classes_where_it_brings_no_weights():
    recipe = read_recipe(net_of(shufflenet_v2_x0_5)).bind(IMAGES, 3)
    assert recipe.module_kwargs == {"num_classes": 3}
    assert recipe.origin is None


# -- heads ---------------------------------------------------------------------------------


def test_a_head_by_name_and_a_convolution_as_head(small):
    both = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 4)).double()
    recipe = read_recipe(Pretrained(both, head="1")).bind(ROWS, 3)
    assert [part.out_features for part in recipe.build(0)] == [4, 3]
    squeezed = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 7, 1), nn.AdaptiveAvgPool2d(1),
                             nn.Flatten())  # fmt: skip
    assert find_head(squeezed) == "1"
    assert fit(Pretrained(net_of(squeezed))).predict_proba(IMAGES).shape == (36, 3)
    for wrong in ("nothing", "norm"):
        with pytest.raises(ValueError, match=r"linear layer.*'stem', 'inner', 'head'\. Got"):
            fit(Pretrained(small, head=wrong), (ROWS, GROUPS))
    with pytest.raises(ValueError, match="no linear layer that could be its head. Use head=None"):
        fit(Pretrained(nn.Sequential(nn.Flatten(), nn.LayerNorm(768))))


# -- everywhere ----------------------------------------------------------------------------


def test_files_hold_the_weights_and_not_where_they_began(big, tmp_path):
    ensemble = fit(Pretrained(net_of(big), freeze=["conv1"]))
    ensemble.save(tmp_path / "file")
    for module in (big, resnet, lambda: resnet(9)):
        again = skensemble.load(tmp_path / "file", module=module)
        np.testing.assert_array_equal(again.predict_proba(IMAGES), ensemble.predict_proba(IMAGES))
        with pytest.raises(ValueError, match="does not hold its pretrained weights"):
            again.fit(IMAGES, LABELS)
    again.save(tmp_path / "again")
    twice = skensemble.load(tmp_path / "again", module=big)
    with pytest.raises(ValueError, match="does not hold its pretrained weights"):
        twice.fit(IMAGES, LABELS)
    copied = pickle.loads(pickle.dumps(ensemble))
    np.testing.assert_array_equal(copied.predict_proba(IMAGES), ensemble.predict_proba(IMAGES))
    assert_same_network(copied.fit(IMAGES, LABELS)[1], ensemble[1])


def test_a_large_pretrained_teacher_and_a_small_pretrained_student(big, tokens):
    own = trained(SimpleCNN((3, 16, 16), 5))
    teacher = fit(Pretrained(net_of(big)))
    told = DistilledClassifier(
        FrozenEstimator(teacher), Pretrained(net_of(own), rates={"layers": 0.1}), random_state=0
    ).fit(IMAGES, LABELS)
    assert told.predict_proba(IMAGES).shape == (36, 3)
    large, little = (
        sum(p.numel() for p in one.parameters()) for one in (teacher[0].module_, told.module_)
    )
    assert little < large / 4
    same = DistilledClassifier(DeepEnsembleClassifier(Pretrained(net_of(tokens)), 2)).fit(
        IMAGES, LABELS
    )
    assert isinstance(same.module_, VisionTransformer)


@pytest.mark.parametrize("method", ["l1-filter", "slimming", "magnitude"])
def test_pretrained_networks_are_pruned(method):
    own = trained(SmallCNN((3, 16, 16), 5, width=6))
    net = net_of(own, optimizer=torch.optim.SGD, lr=1e-6)
    small = PrunedClassifier(
        Pretrained(net, freeze=["body.0"]), method=method, keep=0.5, random_state=0
    ).fit(IMAGES, LABELS)
    if method == "magnitude":
        assert small.sparsity_.after > 0.4
        return
    assert small.n_parameters_.after < small.n_parameters_.before
    # Scales are where they were learned, not where slimming has others begin.
    norm = small.unpruned_.module_.body[1]
    torch.testing.assert_close(norm.weight, own.body[1].weight, rtol=0, atol=1e-4)
    kept = small.kept_channels_[0]["body.0"]
    assert (kept.before, kept.after) == (6, len(small.module_.body[0].weight))
    for row in small.module_.body[0].weight:  # a frozen filter, of those that there were
        assert any(torch.equal(row, old) for old in own.body[0].weight)


def test_searches_reach_what_a_pretrained_recipe_says(small):
    recipe = Pretrained(net_of(small, max_epochs=2))
    grid = {"estimator__network__lr": [0.01, 0.1], "estimator__freeze": [None, "backbone"]}
    model = DeepEnsembleClassifier(recipe, 2, random_state=0)
    stacked = StackedGridSearchCV(model, grid, cv=2, scoring="neg_log_loss").fit(ROWS, GROUPS)
    plain = GridSearchCV(model, grid, cv=2, scoring="neg_log_loss").fit(ROWS, GROUPS)
    scores = [search.cv_results_["mean_test_score"] for search in (stacked, plain)]
    np.testing.assert_allclose(*scores, atol=1e-9)
    assert len(set(scores[0].round(9))) == 4


def test_clones_share_the_module_which_nobody_changes(small):
    twin = clone(Pretrained(net_of(small), freeze=["stem"], rates={"head": 2.0}))
    assert twin.network.module is small
    assert twin.set_params(network__lr=0.5).network.lr == 0.5
    assert clone(Pretrained(small)).network is small


def test_a_checkpoint_is_of_the_weights_too(small, tmp_path):
    net = net_of(small)
    first = fit(Pretrained(net), (ROWS, GROUPS), checkpoint=tmp_path)
    again = fit(Pretrained(copy.deepcopy(net)), (ROWS, GROUPS), checkpoint=tmp_path)
    assert_same_network(first[1], again[1])
    other = copy.deepcopy(small)
    with torch.no_grad():
        other.stem.weight[0, 0] += 1
    with pytest.raises(ValueError, match="estimator__weights"):
        fit(Pretrained(net_of(other)), (ROWS, GROUPS), checkpoint=tmp_path)


# -- frozen parts --------------------------------------------------------------------------


class Noisy(nn.Module):
    """Dropout and averages before a head."""

    def __init__(self, n_outputs=5):
        super().__init__()
        self.stem = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, n_outputs)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.norm(self.stem(x)))))


@pytest.mark.parametrize(
    ("kind", "stack"), [(GraphStack, 2), (VmapStack, 2), (LoopStack, 1)], ids=lambda x: str(x)[-16:]
)
def test_frozen_parts_keep_their_bits(kind, stack, kinds):
    data = (ROWS, GROUPS) if kind is GraphStack else (IMAGES[:, :, :8, :8], LABELS)
    own = Noisy().double() if kind is GraphStack else ResidualCNN((3, 8, 8), 5)
    own = trained(own, *data[:1], data[1] % 2)
    frozen = ["stem", "norm" if kind is GraphStack else "norm1.weight"]
    net = net_of(own, optimizer=torch.optim.AdamW, optimizer__weight_decay=0.3, max_epochs=3)
    ensemble = fit(Pretrained(net, freeze=frozen), data, stack=stack)
    assert kinds == [kind] * (2 // stack)
    start = own.state_dict()
    still = {name for name in start if name.startswith(tuple(frozen))}
    for member in ensemble:
        moved = differing(member.module_.state_dict(), start)
        assert not still & moved
        assert moved == set(start) - still
    alone = fit(Pretrained(net, freeze=frozen), data, stack=1)
    assert_same_network(ensemble[1], alone[1], atol=1e-5)


def test_a_frozen_backbone_is_a_function_and_a_linear_model_on_it(small):
    own = trained(Noisy().double(), ROWS, GROUPS % 2)
    net = net_of(own, optimizer=torch.optim.SGD, lr=0.1, batch_size=-1, max_epochs=4)
    found = NetworkClassifier(Pretrained(net, freeze="backbone"), random_state=0)
    found.fit(ROWS, GROUPS)
    assert differing(found.module_.state_dict(), own.state_dict()) == {"head.weight", "head.bias"}
    x = torch.from_numpy(ROWS)
    with torch.no_grad():
        features = torch.relu(own.norm(own.stem(x)))  # in evaluation mode, nothing dropped
    head = read_recipe(Pretrained(net)).bind(ROWS, 4).build(0).head
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    for _ in range(4):
        loss = nn.functional.cross_entropy(head(features), torch.from_numpy(GROUPS))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(found.module_.head.weight, head.weight, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"freeze": ["stern"]},
            r"'freeze' must name parts of the ResidualMLP, here 'stem', 'norm'",
        ),
        ({"rates": {"stern": 1}}, r"'rates' must name parts .*'head', or parts of these. Got 'ste"),
        ({"freeze": ["stem", "norm", "inner", "head"]}, "must leave something to learn"),
        ({"freeze": "stem"}, "'freeze' parameter of Pretrained must be"),
        ({"freeze": [3]}, r"must be 'backbone', None, or a list of names. Got \[3\]"),
        ({"rates": {"stem": -1.0}}, "finite numbers of at least 0. Got 'stem': -1.0"),
        ({"start": "random"}, "'start' parameter of Pretrained must be"),
        ({"head": 3}, "'head' parameter of Pretrained must be"),
    ],
)
def test_what_is_wrong_is_named(small, settings, message):
    with pytest.raises(ValueError, match=message):
        fit(Pretrained(net_of(small), **settings), (ROWS, GROUPS))


def test_what_does_not_go_together_is_refused(small):
    with pytest.raises(ValueError, match="be the network itself; put Pretrained around the net"):
        fit(net_of(Pretrained(small)), (ROWS, GROUPS))
    with pytest.raises(ValueError, match=r"no arguments to make another.*module__width"):
        fit(Pretrained(net_of(small, module__width=3)), (ROWS, GROUPS))
    groups = [("head.*", {"lr": 0.1})]
    with pytest.raises(ValueError, match="Rates by part must be said once"):
        fit(Pretrained(net_of(small, optimizer__param_groups=groups), rates={"head": 2}),
            (ROWS, GROUPS))  # fmt: skip
    with pytest.raises(ValueError, match="must have freeze=None and rates=None"):
        BatchEnsembleClassifier(Pretrained(net_of(small), freeze="backbone")).fit(ROWS, GROUPS)
    with pytest.raises(ValueError, match="'network' parameter of Pretrained must be"):
        fit(Pretrained(None), (ROWS, GROUPS))


# -- rates by part -------------------------------------------------------------------------


@pytest.mark.parametrize("scheduled", [False, True])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_rates_by_part_are_groups_of_parameters(small, optimizer, scheduled):
    rates = {"stem": 0.1, "inner": 0.0, "inner.bias": 3.0}
    extra = {"callbacks": [LRScheduler("StepLR", step_size=1, gamma=0.5)]} if scheduled else {}
    net = net_of(small, optimizer=optimizer, lr=0.02, batch_size=-1, max_epochs=3, **extra)
    ensemble = fit(Pretrained(net, rates=rates), (ROWS, GROUPS))
    for member in ensemble:
        bound = read_recipe(Pretrained(net)).bind(ROWS, 4)
        module = bound.build(member.random_state).train()
        named = dict(module.named_parameters())
        groups = [
            {"params": [named.pop(name)], "lr": 0.02 * factor}
            for name, factor in [("stem.weight", 0.1), ("inner.weight", 0.0), ("inner.bias", 3.0)]
        ]
        by_hand = optimizer([*groups, {"params": list(named.values())}], lr=0.02)
        steps = torch.optim.lr_scheduler.StepLR(by_hand, 1, 0.5) if scheduled else None
        for _ in range(3):
            loss = nn.functional.cross_entropy(
                module(torch.from_numpy(ROWS)), torch.from_numpy(GROUPS)
            )
            by_hand.zero_grad()
            loss.backward()
            by_hand.step()
            if steps is not None:
                steps.step()
        for name, value in module.state_dict().items():
            np.testing.assert_allclose(weights_of(member)[name], value, rtol=0, atol=1e-10)


names = st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=3).map(".".join)


@given(names, st.dictionaries(names, st.floats(0, 4), min_size=1, max_size=5))
def test_the_longest_name_that_fits_has_the_say(name, factors):
    wanted = None
    for length in range(1, name.count(".") + 2):  # from the outermost part inwards
        wanted = factors.get(".".join(name.split(".")[:length]), wanted)
    groups = Rates(tuple(factors.items())).groups(0.5)
    found = [told["lr"] for pattern, told in groups if fnmatch.fnmatch(name, pattern)]
    assert (found[0] if found else None) == (None if wanted is None else 0.5 * wanted)


@given(names, st.sets(names, min_size=1, max_size=4))
def test_a_part_holds_what_is_inside_of_it_and_no_namesake(name, parts):
    path = name.split(".")
    wanted = any(path[: len(part.split("."))] == part.split(".") for part in parts)
    assert Frozen(tuple(parts)).holds(name) == wanted
    assert Frozen(tuple(parts), others=True).holds(name) != wanted
