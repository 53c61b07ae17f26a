"""TabularNet and its embeddings against NumPy, alone and in stacks."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from nets import make_net
from torch import nn

import skensemble
from skensemble import DeepEnsembleClassifier, NetworkClassifier, PrunedClassifier
from skensemble._engine.graph_stack import GraphStack
from skensemble._engine.net import StackNet
from skensemble.nn import (
    CategoryEmbedding,
    Dropout,
    Periodic,
    PiecewiseLinear,
    TabularNet,
    quantile_bins,
)

RNG = np.random.default_rng(0)
CARDINALITIES = (3, 5)
N_NUMBERS = 4
# Numbers, two flags, two columns of codes.
X = np.column_stack(
    [RNG.normal(size=(90, N_NUMBERS)), RNG.integers(0, 2, (90, 2)),
     RNG.integers(0, 3, 90), RNG.integers(0, 5, 90)]
)  # fmt: skip
Y = (X[:, 0] + X[:, 6] > 1).astype(int) + (X[:, 1] > 0.5)
BINS = quantile_bins(X[:, :N_NUMBERS], 5)
SETTINGS = {
    "plain": {"embedding": "piecewise", "bins": BINS},
    "residual": {"embedding": "periodic", "blocks": "residual", "hidden": (12, 8)},
    "bare": {"activation": "relu"},
}


def make_recipe(name):
    module = {"hidden": (12, 10), **SETTINGS[name], "numeric": N_NUMBERS}
    module["cardinalities"] = CARDINALITIES
    settings = {f"module__{key}": value for key, value in module.items()}
    return make_net(TabularNet, **settings, lr=0.01, max_epochs=3, batch_size=20)


def piecewise_by_hand(x, edges):
    """Equation 1 of Gorishniy et al. (2022), with ends that are not open."""
    parts = []
    for left, right in itertools.pairwise(edges):
        parts.append(0.0 if x < left else 1.0 if x >= right else (x - left) / (right - left))
    return parts


@given(
    st.lists(
        st.lists(st.floats(-5, 5, width=16), max_size=5, unique=True).filter(lambda e: len(e) != 1),
        min_size=1, max_size=3,
    ),
    st.integers(0, 9),
)  # fmt: skip
def test_piecewise_linear_against_its_formula(bins, seed):
    bins = [sorted(edges) for edges in bins]
    rows = np.random.default_rng(seed).uniform(-7, 7, (6, len(bins)))
    got = PiecewiseLinear(bins)(torch.from_numpy(rows))
    expected = [
        [v for x, edges in zip(row, bins, strict=True) for v in piecewise_by_hand(x, edges)]
        for row in rows
    ]
    np.testing.assert_allclose(got, np.array(expected).reshape(6, -1), atol=1e-9)


@given(st.integers(0, 99), st.integers(1, 20))
def test_piecewise_linear_fills_bins_in_order(seed, n_bins):
    column = np.random.default_rng(seed).normal(size=(40, 1)).astype(np.float32)
    encode = PiecewiseLinear(quantile_bins(column, n_bins))
    rows = torch.linspace(-4, 4, 50).unsqueeze(1)
    out = encode(rows)
    assert ((out >= 0) & (out <= 1)).all()
    assert (out.diff(dim=0) >= 0).all()  # grows with the number
    later = (out[:, 1:] > 0).float()
    assert (out[:, :-1] >= later).all()  # a bin is full before the next one begins


def test_quantile_bins_hold_equally_many_rows():
    column = np.random.default_rng(1).normal(size=(1600, 1))
    edges = quantile_bins(column, 16)[0]
    counts, _ = np.histogram(column, edges)
    assert len(edges) == 17
    assert counts.min() >= 99
    assert quantile_bins(np.c_[np.ones(5), np.arange(5) % 2], 4) == [[], [0.0, 1.0]]


@pytest.mark.parametrize("bins", [[[0.0]], [[0.0, 0.0]], [[0.0, np.nan]], [[1.0, 0.0]]])
def test_bins_that_are_none_are_refused(bins):
    with pytest.raises(ValueError, match=r"The 'bins' must be, for each feature, increasing"):
        PiecewiseLinear(bins)


def test_periodic_against_its_formula():
    embed = Periodic(3, n_frequencies=5, size=4).double()
    rows = RNG.normal(size=(7, 3))
    c = embed.frequencies.detach().numpy()
    w, b = embed.linear.weight.detach().numpy(), embed.linear.bias.detach().numpy()
    expected = []
    for row in rows:
        for j, x in enumerate(row):
            v = 2 * np.pi * c[j] * x
            expected.append(np.maximum(w @ np.concatenate([np.cos(v), np.sin(v)]) + b, 0))
    got = embed(torch.from_numpy(rows)).detach().numpy()
    np.testing.assert_allclose(got, np.array(expected).reshape(7, -1), atol=1e-12)


def test_categories_are_looked_up_in_their_own_rows():
    embed = CategoryEmbedding([2, 3], size=2)
    table = embed.table.weight.detach().numpy()
    got = embed(torch.tensor([[1.0, 0.0], [0.0, 2.0]])).detach().numpy()
    np.testing.assert_array_equal(got, [[*table[1], *table[2]], [*table[0], *table[4]]])
    for codes in ([2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]):
        with pytest.raises(IndexError):
            embed(torch.tensor([codes]))


@given(st.floats(0.05, 0.9), st.integers(0, 9))
def test_dropout_keeps_share_and_mean(p, seed):
    torch.manual_seed(seed)
    out = Dropout(p)(torch.ones(20_000))
    assert abs(float((out == 0).float().mean()) - p) < 0.02
    assert abs(float(out.mean()) - 1) < 0.1
    assert torch.equal(Dropout(p).eval()(torch.ones(3)), torch.ones(3))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_stack_trains_what_one_by_one_does(name, monkeypatch):
    kinds = []
    init = StackNet.__init__
    monkeypatch.setattr(
        StackNet, "__init__", lambda self, module, *args, **kwargs: (
            kinds.append(type(module)), init(self, module, *args, **kwargs))[1]
    )  # fmt: skip
    together = DeepEnsembleClassifier(make_recipe(name), 3, random_state=0).fit(X, Y)
    assert kinds == [GraphStack]
    alone = DeepEnsembleClassifier(make_recipe(name), 3, stack=1, random_state=0).fit(X, Y)
    for one, other in zip(together, alone, strict=True):
        for a, b in zip(one.module_.parameters(), other.module_.parameters(), strict=True):
            torch.testing.assert_close(a, b, atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", SETTINGS)
def test_files_pickles_and_graphs(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    fitted = NetworkClassifier(make_recipe(name), random_state=0).fit(X, Y)
    proba = fitted.predict_proba(X)
    fitted.save(tmp_path / "file")
    for again in (skensemble.load(tmp_path / "file"), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(again.predict_proba(X), proba)
    fitted.export_onnx(tmp_path / "file.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "file.onnx")
    got = session.run(["probabilities"], {"X": X.astype(np.float32)})[0]
    np.testing.assert_allclose(got, proba, atol=1e-5)


@pytest.mark.parametrize("name", ["plain", "residual"])
def test_hidden_units_are_pruned(name):
    pruned = PrunedClassifier(make_recipe(name), keep=0.5, finetune=1, random_state=0).fit(X, Y)
    assert pruned.n_parameters_.after < pruned.n_parameters_.before
    widths = [layer.out_features for layer in pruned.module_.modules() if type(layer) is nn.Linear]
    assert {6, 5} & set(widths)


def test_arguments_that_do_not_fit_are_refused():
    for kwargs, text in (
        ({"embedding": "piecewise"}, "The 'bins' of TabularNet must be given with"),
        ({"bins": [[0.0, 1.0]]}, "The 'bins' of TabularNet must be given with"),
        ({"numeric": 9}, "The 'numeric' of TabularNet must be None or an int from 0 to 4"),
        ({"cardinalities": (2,) * 5}, "at least one feature and a column for each"),
        ({"blocks": "dense"}, "The 'blocks' of TabularNet must be one of"),
    ):
        with pytest.raises(ValueError, match=text):
            TabularNet((4,), 2, **kwargs)
