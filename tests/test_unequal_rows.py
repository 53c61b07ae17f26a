"""Members that learn from unequally many rows train in one stack, as each would alone."""

from functools import cache
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from nets import ResidualMLP, SmallCNN, make_net
from sklearn import model_selection as theirs
from sklearn.datasets import make_classification
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import KFold
from skorch.callbacks import EarlyStopping
from skorch.dataset import ValidSplit

from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
)
from skensemble._data.batches import MemberBatches, TrainingData, bounds
from skensemble._data.rows import FitData
from skensemble._engine.graph_stack import GraphStack
from skensemble._engine.net import StackNet
from skensemble._engine.planning import KNOWN
from skensemble._engine.shards import _label
from skensemble._engine.stacks import LoopStack, VmapStack
from skensemble.augmentation import MixUp
from skensemble.model_selection import cross_validate
from skensemble.nn import MLP, TabularNet
from skensemble.objectives import AdaptiveTerm, FeatureTerm

# Four folds have 46, 46, 47 and 47 rows to train on: batches of 16, 16 and 14 or 15.
X, Y = make_classification(62, 6, n_informative=5, n_redundant=0, n_classes=3, random_state=0)
IMAGES = np.random.default_rng(0).uniform(size=(62, 2, 6, 6))
WEIGHTS = np.random.default_rng(1).uniform(0.2, 2, 62)


def net(module=MLP, **kwargs):
    return make_net(module, batch_size=16, max_epochs=3, **kwargs)


def student(**kwargs):
    teacher = DeepEnsembleClassifier(net(), 2, random_state=3)
    return DistilledClassifier(teacher, net(), random_state=0, **kwargs)


@cache
def teacher(module):
    rows = X if module is MLP else IMAGES
    ensemble = DeepEnsembleClassifier(net(module), 2, random_state=3)
    return FrozenEstimator(ensemble.fit(rows, Y))


def of_one_teacher(module=MLP, **kwargs):
    return DistilledClassifier(teacher(module), net(module), random_state=0, **kwargs)


# What is fitted to the folds, on which rows, and how many members train at once.
CASES = {
    "dropout": (lambda: NetworkClassifier(net(module__dropout=0.3)), {}, [4]),
    "batch normalisation": (lambda: NetworkClassifier(net(ResidualMLP)), {}, [4]),
    "convolutions": (lambda: NetworkClassifier(net(SmallCNN)), {"X": IMAGES}, [4]),
    "an ensemble": (lambda: DeepEnsembleClassifier(net(), 3), {}, [12]),
    "weights": (lambda: NetworkClassifier(net()), {"params": {"sample_weight": WEIGHTS}}, [4]),
    "one batch": (lambda: NetworkClassifier(net().set_params(batch_size=-1)), {}, [4]),
    "full batches alone": (
        lambda: NetworkClassifier(net(iterator_train__drop_last=True)), {}, [4]
    ),
    "in order": (lambda: NetworkClassifier(net(iterator_train__shuffle=False)), {}, [4]),
    "mixed rows": (lambda: NetworkClassifier(net(), augmentation=MixUp(0.4)), {}, [4]),
    "held-out rows": (
        lambda: NetworkClassifier(
            net(train_split=ValidSplit(3), callbacks=[EarlyStopping(patience=1, load_best=True)])
        ), {}, [4],
    ),
    "students": (student, {}, [8, 4]),
    "layers": (lambda: student(objective=FeatureTerm()), {}, [8, 4]),
    "all teachers' words": (lambda: student(objective=AdaptiveTerm()), {}, [8, 4]),
    "perturbed images": (
        lambda: of_one_teacher(SmallCNN, perturbation="ods"), {"X": IMAGES}, [4]
    ),
    "students of mixed rows": (lambda: of_one_teacher(augmentation="mixup"), {}, [4]),
    "maps to layers": (lambda: student(objective=FeatureTerm(), n_students=2), {}, [8, 8]),
    "batch ensembles": (lambda: BatchEnsembleClassifier(net(), 2), {}, [4]),
}  # fmt: skip


@pytest.fixture
def sizes(monkeypatch):
    """Return a list that gets how many members each net trains."""
    found, train = [], StackNet.train

    def spy(net, *args):
        found.append(net.module.n_members)
        return train(net, *args)

    monkeypatch.setattr(StackNet, "train", spy)
    return found


@pytest.mark.parametrize("name", CASES)
def test_folds_are_those_that_train_alone(name, sizes):
    make, more, wanted = CASES[name]
    rows = more.get("X", X)
    given = {"X": rows, "y": Y, "cv": KFold(4), "return_estimator": True, **more}
    alone = theirs.cross_validate(make().set_params(random_state=0), **given)
    sizes.clear()
    together = cross_validate(make().set_params(random_state=0), **given)
    assert sizes == wanted
    for one, other in zip(alone["estimator"], together["estimator"], strict=True):
        np.testing.assert_allclose(one.predict_proba(rows), other.predict_proba(rows), atol=1e-9)
        for a, b in zip(networks(one), networks(other), strict=True):
            for left, right in zip(a.history_, b.history_, strict=True):
                assert left.keys() == right.keys()
                for key in left.keys() - {"dur"}:
                    assert left[key] == pytest.approx(right[key], abs=1e-9), key


def networks(estimator):
    return getattr(estimator, "estimators_", [estimator])


@st.composite
def lengths(draw):
    """Return a batch's size, and numbers of rows whose batches begin at the same rows."""
    size = draw(st.sampled_from([-1, 2, 3, 5, 8]))
    drop_last = draw(st.booleans())
    first = draw(st.integers(2, 30))
    starts = bounds(first, size, drop_last)[:-1]
    fine = [n for n in range(2, 40) if bounds(n, size, drop_last)[:-1] == starts]
    return size, drop_last, sorted(draw(st.lists(st.sampled_from(fine), min_size=1, max_size=5)))


@settings(max_examples=200, deadline=None)
@given(lengths(), st.booleans())
def test_each_member_sees_its_own_batches(case, shuffles):
    size, drop_last, numbers = case
    rows = np.arange(40.0)[:, None]
    data = TrainingData.gather(
        [FitData(rows, np.zeros(40, int), None, rows=np.arange(n)) for n in numbers],
        torch.float64,
        "cpu",
    )
    indices = [torch.arange(n) + 40 - n for n in numbers]

    def generators(seeds):
        return [torch.Generator().manual_seed(seed) for seed in seeds] if shuffles else []

    runs = [torch.stack([one for one in indices if len(one) == n]) for n in sorted(set(numbers))]
    seen = [[] for _ in numbers]
    steps = MemberBatches(data, runs, size, generators(range(len(numbers))), drop_last)
    n_steps = 0
    for parts in steps:
        n_steps += 1
        at = 0
        for part in parts:
            x = part.batch.x.expand(len(range(len(numbers))[part.members]), -1, 1)
            assert range(len(numbers))[part.members] == range(at, at + len(x))
            for one in x:
                seen[at].append(one[:, 0].tolist())
                at += 1
        assert at == len(numbers)
    assert n_steps == len(steps)
    for number, index in enumerate(indices):
        order = index
        if shuffles:
            order = index[torch.randperm(len(index), generator=generators([number])[0])]
        cuts = bounds(len(index), size, drop_last)
        expected = [order[a:b].tolist() for a, b in pairwise(cuts)]
        assert seen[number] == expected


@given(st.integers(2, 200), st.integers(2, 50), st.booleans())
def test_batches_are_full_but_for_the_last(n_rows, size, drop_last):
    cuts = bounds(n_rows, size, drop_last)
    lengths = np.diff(cuts)
    assert (lengths[:-1] == size).all()
    assert lengths[-1] > 1
    rest = n_rows % size
    if n_rows <= size:
        assert cuts == [0, n_rows]
    elif drop_last:
        assert cuts[-1] == n_rows - rest
    else:
        assert cuts[-1] == n_rows
        assert lengths[-1] == (size + 1 if rest == 1 else rest or size)


# -- stacks ------------------------------------------------------------------------------------

MLPS = [
    {"activation": activation, "dropout": dropout, "hidden": hidden}
    for activation in ("relu", "gelu", "tanh", "silu")
    for dropout, hidden in ((0.0, (5,)), (0.3, (7, 5)))
]
TABULAR = [
    {"activation": activation, "blocks": blocks, "dropout": dropout, "hidden": (5, 4), **reads}
    for activation in ("relu", "gelu", "tanh", "silu")
    for blocks in ("plain", "residual")
    for dropout, reads in (
        (0.0, {"embedding": "periodic"}),
        (0.2, {"numeric": 3, "cardinalities": (3, 4)}),
        (0.2, {"embedding": "piecewise", "bins": [[-1.0, 0.0, 1.0]] * 6}),
    )
]  # fmt: skip
SETTINGS = [*((MLP, one) for one in MLPS), *((TabularNet, one) for one in TABULAR)]


def test_only_these_are_not_tried():
    assert {kind for kind, _ in SETTINGS} == set(KNOWN)


def made(kind, kwargs, n_members=4):
    modules = []
    for seed in range(n_members):
        torch.manual_seed(seed)
        modules.append(kind(module_shape(kind), 3, **kwargs).double())
    return modules


def gradients(outputs, module):
    return torch.autograd.grad((outputs**2).sum(), list(module.parameters()))


@pytest.mark.parametrize(("kind", "kwargs"), SETTINGS, ids=str)
def test_graphs_that_are_not_tried_run_as_their_members_do(kind, kwargs):
    stack, alone = GraphStack(made(kind, kwargs)), made(kind, kwargs)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 5, 6)))
    if kwargs.get("cardinalities"):
        x[..., 4:] = torch.from_numpy(np.random.default_rng(1).integers(0, 3, (4, 5, 2))).double()
    for training in (True, False):
        stack.train(training).set_draws([torch.Generator().manual_seed(9 + n) for n in range(4)])
        together = stack(x)
        slopes = dict(zip(stack._names, gradients(together, stack), strict=False))
        for number, module in enumerate(alone):
            torch.manual_seed(9 + number)
            output = module.train(training)(x[number])
            torch.testing.assert_close(together[number], output, rtol=0, atol=1e-12)
            names = [name for name, _ in module.named_parameters()]
            for name, slope in zip(names, gradients(output, module), strict=True):
                torch.testing.assert_close(slopes[name][number], slope, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", [GraphStack, VmapStack, LoopStack])
@pytest.mark.parametrize("training", [True, False])
def test_some_members_of_a_stack_run_and_learn_as_in_all_of_it(kind, training):
    module = SmallCNN if kind is VmapStack else ResidualMLP
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 5, *module_shape(module))))
    whole, parts = (kind(made(module, {})).train(training) for _ in range(2))
    expected = whole(x)
    found = torch.cat([parts(x[:1], slice(0, 1)), parts(x[1:], slice(1, 4))])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    shared = parts.eval()(x[:1], slice(2, 4))
    torch.testing.assert_close(shared, whole.eval()(x[:1])[2:], rtol=0, atol=1e-12)
    for number in range(4):  # averages of batch normalisation
        left, right = whole.member_state(number), parts.member_state(number)
        for name in left:
            torch.testing.assert_close(left[name], right[name], rtol=0, atol=1e-12)


def test_a_stack_is_named_by_its_lowest_and_highest_member():
    members = [SimpleNamespace(number=number) for number in (2, 5, 1, 3)]
    assert _label(members) == "members 1 to 5"
    assert _label(members[:1]) == "member 2"


def module_shape(module):
    return (2, 6, 6) if module is SmallCNN else (6,)
