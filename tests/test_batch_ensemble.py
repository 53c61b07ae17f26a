"""Layers of many members against explicit weights, one member at a time."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from nets import ResidualCNN, ResidualMLP, SmallCNN, make_data, make_net
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from torch import nn

import skensemble
from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    StackedGridSearchCV,
)
from skensemble._seeding import Purpose, purpose_seed
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


# -- the estimator -------------------------------------------------------------------------


def table(n_rows=60):
    X, y = make_data(n_rows)
    return X, y


def slow_batch_ensemble(net, estimator, X, y, weight, seed):
    """Train by hand: explicit member weights, one member at a time."""
    fresh = clone(estimator).set_params(estimator=clone(net).set_params(lr=0.0))
    module = fresh.fit(X, y).module_.train()
    fast, slow = [], []
    for name, parameter in module.named_parameters():
        (fast if "fast" in name else slow).append(parameter)
    decay = net.get_params()["optimizer__weight_decay"]
    gain = len(module.module.layers[1].fast_in) if estimator.decay_to else 1
    factor = estimator.fast_lr_factor
    x, labels = torch.from_numpy(X), torch.from_numpy(y)
    w = torch.from_numpy(weight)
    draw = torch.Generator().manual_seed(purpose_seed(seed, Purpose.ORDER))
    for _ in range(net.max_epochs):
        order = torch.randperm(len(X), generator=draw)
        for at in range(0, len(X), net.batch_size):
            rows = order[at : at + net.batch_size]
            module.zero_grad()
            total = 0.0
            for m in range(module.n_members):
                hidden = x[rows]
                layers = [part for part in module.module.layers if isinstance(part, _Rank1)]
                for depth, layer in enumerate(layers):
                    r, s = layer.fast_in[m] + layer.offset, layer.fast_out[m] + layer.offset
                    hidden = hidden @ (layer.weight * torch.outer(s, r)).T + layer.bias[m]
                    hidden = torch.relu(hidden) if depth < len(layers) - 1 else hidden
                ce = nn.functional.cross_entropy(hidden, labels[rows], reduction="none")
                total = total + (w[rows] * ce).sum() / w[rows].sum() / module.n_members
            total.backward()
            with torch.no_grad():
                for p in slow:
                    p -= net.lr * (p.grad + decay * p)
                for p in fast:
                    pull = decay * p if estimator.decay_to else 0.0
                    p -= net.lr * factor * (gain * p.grad + pull)
    return module.state_dict()


@pytest.mark.parametrize("decay_to", [None, 1])
def test_training_equals_a_slow_trainer(decay_to):
    X, y = table()
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    net = make_net(
        optimizer=torch.optim.SGD, optimizer__weight_decay=0.05, lr=0.1, batch_size=20, max_epochs=3
    )
    estimator = BatchEnsembleClassifier(
        net, 3, init="normal", decay_to=decay_to, fast_lr_factor=0.3, random_state=4
    )
    expected = slow_batch_ensemble(net, estimator, X, y, weight, 4)
    got = estimator.fit(X, y, sample_weight=weight).module_.state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=0, atol=1e-10)


@pytest.mark.parametrize("averaging", ["proba", "logit", "vote"])
def test_members_and_their_fusion(averaging):
    X, y = table()
    ensemble = BatchEnsembleClassifier(make_net(), 3, averaging=averaging, random_state=0).fit(X, y)
    logits = ensemble.predict_members(X, response="logit")
    assert len(ensemble) == len(logits) == 3
    for m in range(3):
        alone = ensemble.module_.member(m)(torch.from_numpy(X)).detach().numpy()
        np.testing.assert_allclose(logits[m], alone, atol=1e-10)
    proba = ensemble.predict_members(X)
    expected = {
        "proba": proba.mean(0),
        "logit": torch.softmax(torch.from_numpy(logits).mean(0), -1).numpy(),
        "vote": np.eye(3)[proba.argmax(-1)].mean(0),
    }[averaging]
    np.testing.assert_allclose(ensemble.predict_proba(X), expected, atol=1e-12)


@pytest.mark.parametrize("merge", ["factor-mean", "rank-mean"])
def test_merged_members_predict_with_one_network(merge):
    X, y = table()
    ensemble = BatchEnsembleClassifier(make_net(), 3, init="one", merge=merge, random_state=0)
    ensemble.fit(X, y)
    network = ensemble.merge_members(merge)
    assert isinstance(network, NetworkClassifier)
    assert type(network.module_) is MLP
    np.testing.assert_array_equal(ensemble.predict_proba(X), network.predict_proba(X))
    np.testing.assert_allclose(
        network.decision_function(X),
        ensemble.module_.merged(merge)(torch.from_numpy(X)).detach().numpy(), atol=1e-12,
    )  # fmt: skip
    clone(network).fit(X, y)  # its recipe is a plain one


def test_merge_may_be_taken_back_after_fit_but_not_changed():
    X, y = table()
    ensemble = BatchEnsembleClassifier(make_net(), 3, init="one", random_state=0).fit(X, y)
    separate = ensemble.predict_proba(X)
    with pytest.raises(ValueError, match="here None. Got 'rank-mean' instead; fit again, or call"):
        ensemble.set_params(merge="rank-mean").predict(X)
    merged = ensemble.fit(X, y).predict_proba(X)
    with pytest.raises(ValueError, match="here 'rank-mean'. Got 'factor-mean' instead"):
        ensemble.set_params(merge="factor-mean").predict(X)
    np.testing.assert_array_equal(ensemble.set_params(merge=None).predict_proba(X), separate)
    np.testing.assert_array_equal(ensemble.set_params(merge="rank-mean").predict_proba(X), merged)


def test_one_member_of_ones_is_a_plain_network():
    X, y = table()
    net = make_net(module__hidden=(9,), optimizer=torch.optim.SGD)
    one = BatchEnsembleClassifier(net, 1, init="one", fast_lr_factor=0.0, random_state=3).fit(X, y)
    plain = NetworkClassifier(net, random_state=3).fit(X, y)
    np.testing.assert_allclose(one.predict_proba(X), plain.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(
        one.merge_members().predict_proba(X), plain.predict_proba(X), atol=1e-6
    )


@pytest.mark.parametrize("package", [pickle, "save"])
@pytest.mark.parametrize("merge", [None, "factor-mean"])
def test_it_can_be_kept(tmp_path, package, merge):
    X, y = table()
    ensemble = BatchEnsembleClassifier(make_net(), 3, merge=merge, random_state=0).fit(X, y)
    if package == "save":
        ensemble.save(tmp_path / "file")
        again = skensemble.load(tmp_path / "file")
    else:
        again = pickle.loads(pickle.dumps(ensemble))
    np.testing.assert_array_equal(again.predict_proba(X), ensemble.predict_proba(X))
    np.testing.assert_array_equal(again.predict_members(X), ensemble.predict_members(X))
    again.fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), ensemble.predict_proba(X))


def test_images_and_what_cannot_be_converted():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(24, 3, 6, 6)), np.arange(24) % 3
    ensemble = BatchEnsembleClassifier(make_net(ResidualCNN), 2, random_state=0).fit(X, y)
    assert ensemble.predict_members(X).shape == (2, 24, 3)

    class Gated(nn.Module):
        def __init__(self, in_shape, n_classes):
            super().__init__()
            self.gate = nn.Parameter(torch.ones(in_shape[0]))
            self.head = nn.Linear(in_shape[0], n_classes)

        def forward(self, x):
            return self.head(x * self.gate)

    with pytest.raises(ValueError, match=r"cannot convert the module itself \(Gated\)"):
        BatchEnsembleClassifier(make_net(Gated)).fit(*table())


# -- students ------------------------------------------------------------------------------


def test_each_member_learns_from_its_own_teacher():
    X, y = table()
    teacher = DeepEnsembleClassifier(make_net(max_epochs=20), 3, random_state=5).fit(X, y)
    body = BatchEnsembleClassifier(make_net(max_epochs=150), 3)
    args = {"alpha": 1.0, "temperature": 1.0, "random_state": 0}
    student = DistilledClassifier(teacher, body, **args).fit(X, y)
    (learned,) = student.estimators_
    own = teacher.predict_members(X)
    got = learned.predict_members(X)
    distance = np.abs(got[:, None] - own[None]).mean((2, 3))
    assert (distance.argmin(1) == np.arange(3)).all()
    np.testing.assert_allclose(student.predict_proba(X), got.mean(0), atol=1e-12)
    mean = DistilledClassifier(teacher, body, averaging="proba", **args).fit(X, y)
    spread = mean.estimators_[0].predict_members(X).std(0).mean()
    assert spread < got.std(0).mean()


def test_one_to_one_equals_the_formula():
    X, y = table()
    teacher = DeepEnsembleClassifier(make_net(), 2, random_state=5).fit(X, y)
    net = make_net(batch_size=-1, optimizer=torch.optim.SGD, max_epochs=1, lr=0.3)
    body = BatchEnsembleClassifier(net, 2, init="normal")
    T, alpha = 3.0, 0.7
    student = DistilledClassifier(teacher, body, alpha=alpha, temperature=T, random_state=6)
    start = clone(student).set_params(
        teacher=FrozenEstimator(teacher), student__estimator__lr=0.0
    ).fit(X, y).estimators_[0].module_.train()  # fmt: skip
    said = torch.from_numpy(teacher.predict_members(X, response="logit"))
    logits = start(torch.from_numpy(X))
    loss = 0.0
    for m in range(2):
        q = torch.softmax(said[m] / T, -1)
        kl = (q * (q.log() - torch.log_softmax(logits[:, m] / T, -1))).sum(-1).mean()
        ce = nn.functional.cross_entropy(logits[:, m], torch.from_numpy(y))
        loss = loss + ((1 - alpha) * ce + alpha * T**2 * kl) / 2
    loss.backward()
    got = student.fit(X, y).estimators_[0].module_.state_dict()
    for name, value in start.named_parameters():
        rate = 0.15 if "fast" in name else 0.3
        torch.testing.assert_close(got[name], value.detach() - rate * value.grad)


def test_latent_students_are_one_network():
    X, y = table()
    teacher = DeepEnsembleClassifier(make_net(max_epochs=20), 3, random_state=5).fit(X, y)
    body = BatchEnsembleClassifier(
        make_net(max_epochs=60), 3, init="one", decay_to=1, merge="factor-mean"
    )
    student = DistilledClassifier(teacher, body, alpha=1.0, random_state=0).fit(X, y)
    assert type(student.estimators_[0].merged_.module_) is MLP
    assert len(student._networks()) == 1
    assert (student.predict(X) == teacher.predict(X)).mean() > 0.85


def test_many_students_of_many_members():
    X, y = table()
    teacher = DeepEnsembleClassifier(make_net(), 2, random_state=5).fit(X, y)
    student = DistilledClassifier(
        teacher, BatchEnsembleClassifier(make_net(), 2), n_students=2, random_state=0
    ).fit(X, y)
    alone = clone(student).set_params(stack=1, teacher=FrozenEstimator(teacher)).fit(X, y)
    for a, b in zip(student.estimators_, alone.estimators_, strict=True):
        np.testing.assert_allclose(a.predict_members(X), b.predict_members(X), atol=1e-8)


def test_grids_of_shared_members_agree_with_scikit_learn():
    X, y = table()
    teacher = DeepEnsembleClassifier(make_net(max_epochs=2), 2)
    student = DistilledClassifier(teacher, BatchEnsembleClassifier(make_net(), 2), random_state=0)
    grid = {"temperature": [1.0, 4.0], "alpha": [0.5, 1.0]}
    theirs = GridSearchCV(student, grid, cv=3, scoring="neg_log_loss").fit(X, y)
    ours = StackedGridSearchCV(student, grid, cv=3, scoring="neg_log_loss").fit(X, y)
    for name in ("mean_test_score", "std_test_score"):
        np.testing.assert_allclose(ours.cv_results_[name], theirs.cv_results_[name], atol=1e-8)


def test_errors_of_students_with_members(tmp_path):
    X, y = table()
    teacher = DeepEnsembleClassifier(make_net(), 3, random_state=5).fit(X, y)
    body = BatchEnsembleClassifier(make_net(), 2)
    with pytest.raises(ValueError, match="Got 3 and 2; set n_estimators=3"):
        DistilledClassifier(teacher, body).fit(X, y)
    with pytest.raises(ValueError, match="compares layers, which the members"):
        DistilledClassifier(teacher, body, objective="hint").fit(X, y)
    with pytest.raises(ValueError, match="needs a student with members"):
        DistilledClassifier(teacher, make_net(), averaging="one-to-one").fit(X, y)
    student = DistilledClassifier(teacher, body, averaging="proba").fit(X, y)
    student.estimators_[0].save(tmp_path / "file")
    again = skensemble.load(tmp_path / "file")
    np.testing.assert_allclose(again.predict_proba(X), student.predict_proba(X), atol=1e-12)


@pytest.mark.parametrize("merge", [None, "factor-mean"])
@pytest.mark.parametrize("recipe", [None, make_net()])
def test_students_with_members_can_be_saved(tmp_path, merge, recipe):
    X, y = table()
    teacher = DeepEnsembleClassifier(make_net(), 2, random_state=5).fit(X, y)
    body = BatchEnsembleClassifier(recipe, 2, init="one", merge=merge, class_weight={0: 2.0, 1: 1})
    if recipe is None:
        X, y = X[:20], y[:20]
    student = DistilledClassifier(teacher, body, n_students=2, random_state=0).fit(X, y)
    student.save(tmp_path / "file")
    again = skensemble.load(tmp_path / "file")
    np.testing.assert_allclose(again.predict_proba(X), student.predict_proba(X), atol=1e-12)
    assert again.student.get_params(deep=False).keys() == body.get_params(deep=False).keys()
    assert again.student.merge == merge
    assert again.student.class_weight == {0: 2.0, 1: 1}
    refitted = again.set_params(teacher=FrozenEstimator(teacher)).fit(X, y)
    np.testing.assert_allclose(refitted.predict_proba(X), student.predict_proba(X), atol=1e-10)
