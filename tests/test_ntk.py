"""Tangent kernels against explicit Jacobians, and kernel machines against their formulas."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import make_data, make_net
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch import nn

import skensemble
from skensemble import (
    DeepEnsembleClassifier,
    DistilledClassifier,
    NTKClassifier,
    SelfDistiller,
    StackedGridSearchCV,
)
from skensemble.nn import MLP, CifarResNet
from skensemble.ntk import NTKFeatures, empirical_ntk, kernel_operator, linearised, solvers
from skensemble.ntk.gradients import Gradients


class Attention(nn.Module):
    """Tokens that see each other, built of linear layers and a bare parameter."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.randn(5, 4))
        self.q, self.k, self.v = nn.Linear(4, 6), nn.Linear(4, 6, bias=False), nn.Linear(4, 6)
        self.norm, self.head = nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, x):
        x = x + self.place
        share = torch.softmax(self.q(x) @ self.k(x).transpose(1, 2) / 6**0.5, -1)
        return self.head(self.norm(share @ self.v(x)).mean(1))


class Repeated(nn.Module):
    """One layer used twice, one weight shared by two layers, one layer that is never used."""

    def __init__(self):
        super().__init__()
        self.twice, self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.idle, self.head = nn.Linear(3, 3), nn.Linear(6, 2)

    def forward(self, x):
        x = torch.tanh(self.twice(torch.tanh(self.twice(x))))
        return self.head(torch.relu_(self.second(torch.relu_(self.first(x)))))


class BorrowedWeight(nn.Module):
    """A layer whose weight is used behind its back."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.inner(x)) @ self.inner.weight)


class ByClass(nn.Module):
    """A bare parameter and a borrowed layer for each class: each has to do with one output."""

    def __init__(self):
        super().__init__()
        self.shifts = nn.ParameterList([nn.Parameter(torch.randn(6)) for _ in range(4)])
        self.heads = nn.ModuleList([nn.Linear(6, 1) for _ in range(4)])

    def forward(self, x):
        each = [
            torch.tanh(x + shift) @ head.weight.T
            for shift, head in zip(self.shifts, self.heads, strict=True)
        ]
        return torch.cat(each, 1)


class SequenceFirst(nn.Module):
    """Layers whose first axis is not the sample."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.inner(x.transpose(0, 1))).mean(0))


class TorchAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


def trained_norm(channels):
    norm = nn.BatchNorm2d(channels)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    norm.weight.data.normal_()
    return norm


class Probabilities(MLP):
    def forward(self, x):
        return super().forward(x).softmax(-1)


def chain(*layers):
    return lambda: nn.Sequential(*layers)


NETS = {
    "mlp": (lambda: MLP((6,), 3, hidden=(8, 7)), (6,), set()),
    "no bias": (chain(nn.Linear(6, 5, bias=False), nn.Tanh(), nn.Linear(5, 2)), (6,), set()),
    "cnn": (
        chain(
            nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(4, 6, (3, 2), groups=2, dilation=2, padding="same", padding_mode="circular"),
            nn.GroupNorm(2, 6), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 16, 3),
        ), (2, 8, 8), set(),
    ),
    "batch norm": (
        chain(
            nn.Conv2d(2, 4, 3, bias=False), trained_norm(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(4, 3),
        ), (2, 6, 6), set(),
    ),
    "one axis": (
        chain(
            nn.Conv1d(2, 4, 3, stride=2, padding=1, dilation=2), nn.BatchNorm1d(4), nn.ReLU(),
            nn.Flatten(), nn.Linear(12, 2),
        ), (2, 8), set(),
    ),
    "three axes": (
        chain(
            nn.Conv3d(2, 4, (2, 3, 1), stride=(1, 2, 1), padding=(1, 0, 2), dilation=(2, 1, 1),
                      groups=2),
            nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2),
        ), (2, 5, 6, 3), set(),
    ),
    "residual": (lambda: CifarResNet((2, 8, 8), 3, 8, 4), (2, 8, 8), set()),
    "attention": (Attention, (5, 4), {"place"}),
    "repeated": (Repeated, (6,), {"first.weight", "first.bias", "second.bias"}),
    "borrowed": (BorrowedWeight, (6,), {"inner.weight", "inner.bias"}),
    "by class": (
        ByClass, (6,), {f"{part}.{k}" for k in range(4)
                        for part in ("shifts",)} | {f"heads.{k}.weight" for k in range(4)}
        | {f"heads.{k}.bias" for k in range(4)},
    ),
    "sequence first": (SequenceFirst, (5, 4), {"inner.weight", "inner.bias"}),
    "torch attention": (
        TorchAttention, (5, 4), {f"attention.{k}" for k in (
            "in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")},
    ),
}  # fmt: skip


def make(name, n=5, seed=0):
    maker, shape, _ = NETS[name]
    torch.manual_seed(seed)
    return maker().double(), torch.randn(n, *shape, dtype=torch.float64)


def jacobian(module, x):
    """Differentiate every output of every row by every parameter, one at a time."""
    module = copy.deepcopy(module).eval()
    parameters = [p for p in module.parameters() if p.requires_grad]
    rows = []
    for row in x:
        out = module(row.unsqueeze(0))[0]
        for value in out:
            grads = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
            flat = [torch.zeros_like(p) if g is None else g
                    for p, g in zip(parameters, grads, strict=True)]  # fmt: skip
            rows.append(torch.cat([g.flatten() for g in flat]))
    return torch.stack(rows).unflatten(0, (len(x), -1))


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


# -- kernels -------------------------------------------------------------------------------


@pytest.mark.parametrize("implementation", ["layerwise", "contraction", "vector-product"])
@pytest.mark.parametrize("name", NETS)
def test_kernels_are_products_of_explicit_jacobians(name, implementation):
    module, x = make(name, 7)
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
    with pytest.raises(ValueError, match="'implementation' must be one of layerwise, contraction"):
        empirical_ntk(module, x, implementation="magic")
    with pytest.raises(ValueError, match="number from 0 to 2. Got 3"):
        empirical_ntk(module, x, outputs=3)
    with pytest.raises(ValueError, match="must be 'full', 'trace', 'last' or the number"):
        empirical_ntk(module, x, outputs="all")
    with pytest.raises(ValueError, match="'chunk_size' must be an int of at least 1 or 'auto'"):
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


# -- solvers -------------------------------------------------------------------------------


def problem(n=9, n_outputs=1, n_columns=2, seed=0, weighted=True):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(n * n_outputs, n * n_outputs + 2))
    kernel = torch.from_numpy(a @ a.T).reshape(n, n_outputs, n, n_outputs)
    targets = torch.from_numpy(rng.normal(size=(n, n_outputs, n_columns)))
    weight = torch.from_numpy(rng.uniform(0.5, 2, n)) if weighted else None
    return kernel, targets, weight


def slow_dual(kernel, targets, weight, ridge):
    """Minimise the weighted squared error by its normal equations ``(W K + λ) α = W Y``."""
    n, o = targets.shape[:2]
    k, y = kernel.reshape(n * o, -1).numpy(), targets.reshape(n * o, -1).numpy()
    w = np.ones(n) if weight is None else weight.numpy()
    w = np.repeat(w, o)[:, None]
    return np.linalg.solve(w * k + ridge * np.eye(n * o), w * y).reshape(targets.shape)


def slow_scale(kernel, weight):
    diagonal = np.array([np.trace(kernel[i, :, i].numpy()) / kernel.shape[1]
                         for i in range(len(kernel))])  # fmt: skip
    return np.average(diagonal, weights=weight)


@pytest.mark.parametrize("solver", ["cholesky", "eigh"])
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_factoring_solves_and_leaves_one_out(solver, n_outputs, weighted):
    kernel, targets, weight = problem(n_outputs=n_outputs, weighted=weighted)
    reg = 0.3
    ours = solvers.factor_and_solve(kernel.clone(), targets, weight, reg, solver, True)
    ridge = reg * slow_scale(kernel, weight)
    np.testing.assert_allclose(ours.dual, slow_dual(kernel, targets, weight, ridge), rtol=1e-9)
    for i in range(len(targets)):  # by brute force
        rest = [j for j in range(len(targets)) if j != i]
        w = None if weight is None else weight[rest]
        if weight is not None and weight[i] > 1:  # one unit of it
            rest, w = list(range(len(targets))), weight.clone()
            w[i] -= 1
        dual = slow_dual(kernel[rest][:, :, rest], targets[rest], w, ridge)
        said = np.einsum("anb,nbc->ac", kernel[i][:, rest].numpy(), dual)
        np.testing.assert_allclose(ours.left_out[i], said, rtol=1e-8)


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_loo_chooses_the_ridge_of_the_least_error(n_outputs):
    kernel, targets, weight = problem(n_outputs=n_outputs)
    ours = solvers.factor_and_solve(kernel.clone(), targets, weight, "loo", "cholesky", False)

    def error(reg):
        one = solvers.factor_and_solve(kernel.clone(), targets, weight, reg, "cholesky", True)
        return float((weight[:, None, None] * (targets - one.left_out) ** 2).sum())

    errors = {reg: error(reg) for reg in solvers.RIDGES}
    assert ours.ridge == min(errors, key=errors.get)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("preconditioned", [False, True])
def test_conjugate_gradients_agree_with_factoring(weighted, preconditioned):
    kernel, targets, weight = problem(20, 2, weighted=weighted)
    rows = torch.tensor([3, 7, 11, 12])
    condition = None
    if preconditioned:
        condition = solvers.nystroem(kernel[:, :, rows], rows, weight, 0.5)
    dual, steps = solvers.conjugate_gradients(
        lambda v: torch.einsum("namb,mbc->nac", kernel, v), targets, weight, 0.5, condition, 1e-12
    )
    np.testing.assert_allclose(dual, slow_dual(kernel, targets, weight, 0.5), rtol=1e-7)
    assert steps <= 60


def test_nystroem_of_all_rows_is_the_inverse():
    kernel, targets, weight = problem(8, 2)
    inverse = solvers.nystroem(kernel, torch.arange(8), weight, 2.0)
    root = weight.sqrt().repeat_interleave(2)
    full = kernel.reshape(16, 16) * root * root[:, None] + 2.0 * torch.eye(16)
    expected = torch.linalg.solve(full, targets.reshape(16, -1)).reshape(targets.shape)
    torch.testing.assert_close(inverse(targets), expected, rtol=1e-5, atol=1e-6)


def test_conjugate_gradients_that_do_not_arrive_say_so():
    kernel, targets, _ = problem(20)
    with pytest.raises(ValueError, match="did not reach tol=1e-12 in max_iter=2 iterations"):
        solvers.conjugate_gradients(
            lambda v: torch.einsum("namb,mbc->nac", kernel, v), targets, None, 1e-3, None, 1e-12, 2
        )


def test_the_temperature_has_the_least_cross_entropy():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(50, 3)), np.eye(3)[rng.integers(0, 3, 50)]
    scores = scores + labels
    weight = rng.uniform(0.5, 2, 50)

    def loss(log_t):
        z = scores / np.exp(log_t[0])
        log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
        return -(weight * (labels * log_p).sum(1)).sum()

    best = np.exp(minimize(loss, [0.0]).x[0])
    args = (torch.from_numpy(a) for a in (scores, labels, weight))
    assert solvers.fit_temperature(*args) == pytest.approx(best, rel=1e-3)


# -- the classifier --------------------------------------------------------------------------


def expected_outputs(model, X, y, X_new, sample_weight=None):
    """Fit every member from explicit Jacobians; return the mean of their outputs."""
    n_classes = len(model.classes_)
    targets = np.eye(n_classes)[np.searchsorted(model.classes_, y)] - 1 / n_classes
    w = np.ones(len(X)) if sample_weight is None else sample_weight
    kernels = []
    for member in model.estimators_:
        body = member.module_.body
        j, new = jacobian(body, torch.from_numpy(X)), jacobian(body, torch.from_numpy(X_new))
        if model.features == "gp":
            with torch.no_grad():
                j, new = (
                    torch.cat([body.layers[:-1](torch.from_numpy(x)), torch.ones(len(x), 1)], 1)
                    for x in (X, X_new)
                )
            j, new = j.unsqueeze(1), new.unsqueeze(1)
        elif model.features == "ntk":
            j, new = j[:, :1], new[:, :1]
        elif model.features == "trace":
            j, new = (one.flatten(1).unsqueeze(1) / n_classes**0.5 for one in (j, new))
        pair = [torch.einsum("nap,mbp->namb", a, j).numpy() for a in (j, new)]
        kernels.append(pair)
    if model.combine == "sum":
        kernels = [[np.mean([k[at] for k in kernels], 0) for at in (0, 1)]]
    out = []
    for own, new in kernels:
        n, o = own.shape[:2]
        flat = targets.reshape(n * o, -1) if o > 1 else targets
        scale = np.average([np.trace(own[i, :, i]) / o for i in range(n)], weights=w)
        weights = np.repeat(w, o)[:, None]
        ridge = model.reg * scale * np.eye(n * o)
        dual = np.linalg.solve(weights * own.reshape(n * o, -1) + ridge, weights * flat)
        said = (new.reshape(len(X_new) * o, -1) @ dual).reshape(len(X_new), -1)
        out.append(said + 1 / n_classes)
    return np.mean(out, 0)


@pytest.mark.parametrize("combine", ["ensemble", "sum"])
@pytest.mark.parametrize("features", ["ntk", "ntk-prime", "trace", "gp"])
@pytest.mark.parametrize("solver", ["cholesky", "cg"])
def test_predictions_are_the_ridge_regression_of_explicit_features(features, combine, solver):
    X, y = make_data(30)
    weight = np.random.default_rng(1).uniform(0.5, 2, len(X))
    model = NTKClassifier(
        make_net(), features=features, n_estimators=2, combine=combine, solver=solver, reg=0.1,
        tol=1e-11, temperature=0.5, random_state=0,
    ).fit(X, y, weight)  # fmt: skip
    X_new = np.random.default_rng(2).normal(size=(6, X.shape[1]))
    expected = expected_outputs(model, X, y, X_new, weight)
    np.testing.assert_allclose(model.decision_function(X_new) * 0.5, expected, rtol=1e-6, atol=1e-8)
    z = np.exp(expected / 0.5)
    np.testing.assert_allclose(
        model.predict_proba(X_new), z / z.sum(1, keepdims=True), rtol=1e-5, atol=1e-8
    )


@pytest.mark.parametrize("features", ["ntk", "ntk-prime", "trace", "gp"])
def test_dual_and_primal_predictions_are_the_same(monkeypatch, features, tmp_path):
    X, y = make_data(30)
    model = NTKClassifier(make_net(), features=features, n_estimators=2, random_state=0)
    primal = clone(model).fit(X, y)
    monkeypatch.setattr("skensemble.ntk.classifier._FOLDED", 0)
    dual = model.fit(X, y)
    assert dual.estimators_[0].module_.dual
    assert not primal.estimators_[0].module_.dual
    np.testing.assert_allclose(dual.predict_proba(X), primal.predict_proba(X), rtol=1e-7)
    dual.save(tmp_path / "file")
    again = skensemble.load(tmp_path / "file")
    np.testing.assert_allclose(again.predict_proba(X), dual.predict_proba(X), rtol=1e-12)


@pytest.mark.parametrize("combine", ["ensemble", "sum"])
def test_descent_arrives_where_factoring_does(combine):
    X, y = make_data(60)
    model = NTKClassifier(
        make_net(), n_estimators=2, combine=combine, reg=0.3, temperature=1.0, random_state=0
    )
    exact = clone(model).fit(X, y)
    ours = model.set_params(solver="sgd", max_iter=200).fit(X, y)
    gap = np.abs(ours.decision_function(X) - exact.decision_function(X)).max()
    assert gap < 0.02 * np.abs(exact.decision_function(X)).max()


def test_weight_two_is_a_repeated_row():
    X, y = make_data(30)
    model = NTKClassifier(make_net(), temperature=1.0, random_state=0)
    weight = np.where(np.arange(len(X)) < 5, 2.0, 1.0)
    weighed = clone(model).fit(X, y, weight)
    repeated = clone(model).fit(np.concatenate([X, X[:5]]), np.concatenate([y, y[:5]]))
    np.testing.assert_allclose(
        weighed.decision_function(X), repeated.decision_function(X), rtol=1e-7
    )


def test_workers_chunks_and_solvers_change_nothing():
    X, y = make_data(40)
    model = NTKClassifier(make_net(), n_estimators=2, random_state=0).fit(X, y)
    for change in ({"n_jobs": 2}, {"chunk_size": 7}, {"solver": "eigh"}):
        other = clone(model).set_params(**change).fit(X, y)
        np.testing.assert_allclose(other.predict_proba(X), model.predict_proba(X), rtol=1e-8)
    one = clone(model).set_params(n_estimators=1, temperature=model.temperature_).fit(X, y)
    np.testing.assert_allclose(one.predict_members(X)[0], model.predict_members(X)[0], rtol=1e-8)


def test_it_can_be_kept(tmp_path):
    X, y = make_data(40)
    labels = np.array(["a", "b", "c"])[y]
    model = NTKClassifier(make_net(), n_estimators=2, reg="loo", random_state=0).fit(X, labels)
    model.save(tmp_path / "file")
    for again in (
        skensemble.load(tmp_path / "file", module=MLP),
        pickle.loads(pickle.dumps(model)),
    ):
        np.testing.assert_allclose(again.predict_proba(X), model.predict_proba(X), rtol=1e-12)
        assert again.reg_ == model.reg_
        assert again.temperature_ == model.temperature_
        assert again.layers_ == model.layers_
    with pytest.raises(ValueError, match="ONNX has no graph for"):
        model.export_onnx(tmp_path / "graph")


def test_images_and_float32():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (30, 1, 8, 8), dtype=np.uint8)
    y = (X[:, 0, :4].mean((1, 2)) > X[:, 0, 4:].mean((1, 2))).astype(int)
    net = make_net(CifarResNet, module__depth=8, module__width=4)
    model = NTKClassifier(net, reg=1e-3, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.9
    assert model.predict_proba(X).dtype == np.float32
    double = NTKClassifier(net, reg=1e-3, dtype="float64", random_state=0).fit(X, y)
    assert double.predict_proba(X).dtype == np.float64
    np.testing.assert_allclose(double.predict_proba(X), model.predict_proba(X), atol=1e-2)


def test_grids_of_kernels_agree_with_scikit_learn():
    X, y = make_data(60)
    model = NTKClassifier(make_net(), random_state=0)
    grid = {"reg": [1e-3, 1e-1], "features": ["ntk", "gp"]}
    theirs = GridSearchCV(model, grid, cv=3, scoring="neg_log_loss").fit(X, y)
    ours = StackedGridSearchCV(model, grid, cv=3, scoring="neg_log_loss").fit(X, y)
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], atol=1e-8
    )


def test_classifier_errors():
    X, y = make_data(30)
    with pytest.raises(ValueError, match="needs a factorisation"):
        NTKClassifier(make_net(), reg="loo", solver="cg").fit(X, y)
    proba = make_net(Probabilities, criterion=nn.NLLLoss)
    with pytest.raises(ValueError, match="linearises logits"):
        NTKClassifier(proba).fit(X, y)
    with pytest.raises(ValueError, match="not positive definite"):
        NTKClassifier(make_net(), features="gp", reg=1e-300).fit(X, y)
    model = NTKClassifier(make_net(), verbose=1, random_state=0).fit(X, y)
    student = DistilledClassifier(FrozenEstimator(model), make_net(), perturbation="ods")
    with pytest.raises(ValueError, match="must be made of networks of skensemble"):
        student.fit(X, y)
    with pytest.raises(ValueError, match="compares layers"):
        student.set_params(perturbation=None, objective="hint").fit(X, y)


def test_progress_is_told_when_asked(capsys):
    X, y = make_data(30)
    model = NTKClassifier(make_net(), n_estimators=2, random_state=0).fit(X, y)
    assert capsys.readouterr().out == ""
    clone(model).set_params(verbose=1).fit(X, y)
    assert "kernel 2 of 2" in capsys.readouterr().out


# -- students --------------------------------------------------------------------------------


def test_kernel_students_learn_a_mix_of_labels_and_teacher():
    X, y = make_data(40)
    teacher = DeepEnsembleClassifier(make_net(), 2, random_state=5).fit(X, y)
    kernel = NTKClassifier(make_net(), temperature=1.0, reg=0.1)
    student = DistilledClassifier(teacher, kernel, temperature=2.0, alpha=0.7, random_state=0)
    student.fit(X, y)
    z = np.exp(teacher.predict_members(X, response="logit") / 2)
    p = (z / z.sum(-1, keepdims=True)).mean(0)
    shares = 0.3 * np.eye(3)[y] + 0.7 * p
    (network,) = student.estimators_[0]._networks()
    j = jacobian(network.body, torch.from_numpy(X))[:, 0].numpy()
    k = j @ j.T
    dual = np.linalg.solve(k + 0.1 * np.mean(np.diag(k)) * np.eye(len(X)), shares - 1 / 3)
    np.testing.assert_allclose(student.decision_function(X), k @ dual + 1 / 3, rtol=1e-7)
    logits = teacher.predict_members(X, response="logit")
    brought = DistilledClassifier(student=kernel, temperature=2.0, alpha=0.7, random_state=0)
    brought.fit(X, y, teacher_logits=logits)
    np.testing.assert_allclose(brought.predict_proba(X), student.predict_proba(X), rtol=1e-9)
    with pytest.raises(ValueError, match="that are NTKClassifiers inside of a Distilled"):
        student.save("nowhere")
    plain = clone(student).set_params(alpha=0.0).fit(X, y)
    alone = clone(kernel).set_params(random_state=0).fit(X, y)
    np.testing.assert_allclose(plain.predict_proba(X), alone.predict_proba(X), rtol=1e-9)


def test_several_kernel_students_are_averaged():
    X, y = make_data(40)
    teacher = DeepEnsembleClassifier(make_net(), 2, random_state=5).fit(X, y)
    kernel = NTKClassifier(make_net(), n_estimators=2)
    students = DistilledClassifier(teacher, kernel, n_students=2, random_state=0).fit(X, y)
    mean = np.mean([one.predict_proba(X) for one in students.estimators_], 0)
    np.testing.assert_allclose(students.predict_proba(X), mean, rtol=1e-7)
    first = clone(students).set_params(keep="first", teacher=FrozenEstimator(teacher)).fit(X, y)
    np.testing.assert_allclose(
        first.predict_proba(X), students.estimators_[0].predict_proba(X), rtol=1e-9
    )


def test_generations_of_kernels():
    X, y = make_data(40)
    kernel = NTKClassifier(make_net())
    ours = SelfDistiller(kernel, 2, temperature=1.0, alpha=0.6, random_state=3).fit(X, y)
    one = clone(kernel).set_params(random_state=ours.generations_[0].random_state).fit(X, y)
    for later in ours.generations_[1:]:
        step = DistilledClassifier(
            FrozenEstimator(one), kernel, temperature=1.0, alpha=0.6,
            random_state=later.random_state,
        ).fit(X, y)  # fmt: skip
        np.testing.assert_allclose(step.predict_proba(X), later.predict_proba(X), rtol=1e-7)
        one = later
    assert len({one.random_state for one in ours.generations_}) == 3


def test_students_of_kernels():
    X, y = make_data(40)
    teacher = NTKClassifier(make_net(), n_estimators=2, combine="sum", random_state=0)
    student = DistilledClassifier(teacher, make_net(max_epochs=40), random_state=0).fit(X, y)
    assert student.score(X, y) > 0.8


def test_errors_of_kernel_students():
    X, y = make_data(40)
    kernel = NTKClassifier(make_net())
    teacher = DeepEnsembleClassifier(make_net(), 2)
    for wrong in ({"objective": "logit"}, {"perturbation": "ods"}, {"report_diversity": True}):
        with pytest.raises(ValueError, match="learns from its teacher's probabilities alone"):
            DistilledClassifier(teacher, kernel, **wrong).fit(X, y)
    for wrong in ({"averaging": "one-to-one"}, {"precision": "bf16"}):
        with pytest.raises(ValueError, match="the mean of its teacher, in full precision"):
            DistilledClassifier(teacher, kernel, **wrong).fit(X, y)
    with pytest.raises(ValueError, match="Got variant='label', precision='bf16'"):
        SelfDistiller(kernel, precision="bf16").fit(X, y)
    with pytest.raises(ValueError, match="does not take 'X_unlabelled'"):
        DistilledClassifier(teacher, kernel).fit(X, y, X_unlabelled=X)
    with pytest.raises(ValueError, match="variant='label'"):
        SelfDistiller(kernel, variant="cwtm").fit(X, y)


# -- features --------------------------------------------------------------------------------


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
