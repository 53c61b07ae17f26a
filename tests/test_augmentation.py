"""Altered batches: what becomes of rows and labels, and which network sees what."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from nets import SmallCNN, assert_same_network, differ, make_data, make_net, weights_of
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from skorch.dataset import ValidSplit
from torch import nn

import skensemble
from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    NTKClassifier,
    SelfDistiller,
    StackedGridSearchCV,
    losses,
)
from skensemble._data.batches import Batch
from skensemble._seeding import Purpose, purpose_seed
from skensemble.augmentation import (
    Augmentation,
    AutoAugment,
    CropFlip,
    CutMix,
    Cutout,
    MixUp,
    RandAugment,
    Transform,
    mixed,
    policies,
)
from skensemble.augmentation.names import read_augmentation
from skensemble.metrics import pairwise_kl
from skensemble.nn import MLP
from skensemble.objectives import AttentionTerm, HintTerm
from skensemble.perturbation import Gaussian


def images(n_rows=24, n_classes=3, side=6, seed=0):
    """Return images that are bytes, as floats in [0, 1], and labels."""
    rng = np.random.default_rng(seed)
    X = rng.integers(256, size=(n_rows, 3, side, side)) / 255
    return X, np.arange(n_rows) % n_classes


def draws_of(*seeds):
    return tuple(np.random.default_rng(purpose_seed(seed, Purpose.AUGMENT)) for seed in seeds)


def marked(n_members, n_rows, height, width):
    """Return images whose pixels say which row they are of, each of a class of its own."""
    x = torch.arange(n_rows, dtype=torch.float64).reshape(1, -1, 1, 1, 1)
    y = torch.eye(n_rows, dtype=torch.float64)
    return Batch(x.expand(n_members, n_rows, 2, height, width), y.expand(n_members, n_rows, n_rows))


# -- what becomes of rows and labels -----------------------------------------------------------


@settings(max_examples=40)
@given(st.integers(0, 999), st.integers(1, 9), st.integers(1, 9), st.floats(0.1, 5))
def test_cutmix_labels_are_the_fractions_of_the_pixels(seed, height, width, alpha):
    batch = marked(2, 5, height, width)
    out = CutMix(alpha, p=1.0).alter(batch, draws_of(seed, seed + 1))
    for m in range(2):
        for i in range(5):
            fraction = np.bincount(out.x[m, i, 0].long().flatten(), minlength=5) / (height * width)
            np.testing.assert_allclose(out.y[m, i], fraction, rtol=0, atol=1e-12)
            assert (out.x[m, i, 0] == out.x[m, i, 1]).all()
    np.testing.assert_array_equal(batch.x[0], marked(1, 5, height, width).x[0])


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_cutmix_boxes_are_those_of_the_paper(p):
    height, width, ones = 12, 8, 0
    for seed in range(30):
        out = CutMix(p=p).alter(marked(1, 4, height, width), draws_of(seed))
        (rng,) = draws_of(seed)
        is_on, side = rng.random() < p, np.sqrt(1 - rng.beta(1.0, 1.0))
        cy, cx, partner = rng.integers(height), rng.integers(width), rng.permutation(4)
        ones += is_on
        for i in range(4):
            for r in range(height):
                for c in range(width):
                    inside = cy - int(side * height) // 2 <= r < cy + int(side * height) // 2
                    inside &= cx - int(side * width) // 2 <= c < cx + int(side * width) // 2
                    assert out.x[0, i, 0, r, c] == (partner[i] if inside and is_on else i)
    assert 30 * p - 10 <= ones <= 30 * p + 10


@given(st.integers(0, 999), st.floats(0.1, 5), st.floats(0, 1))
def test_mixup_is_convex_and_labels_are_mixed_as_rows_are(seed, alpha, p):
    eye = torch.eye(6, dtype=torch.float64).expand(2, 6, 6)
    out = MixUp(alpha, p).alter(Batch(eye, eye), draws_of(seed, seed + 1))
    torch.testing.assert_close(out.x, out.y, rtol=0, atol=1e-12)
    torch.testing.assert_close(out.y.sum(-1), torch.ones(2, 6, dtype=torch.float64))
    assert out.y.min() >= 0
    for m, rng in enumerate(draws_of(seed, seed + 1)):
        is_on, share, partner = rng.random() < p, rng.beta(alpha, alpha), rng.permutation(6)
        share = share if is_on else 1.0
        expected = share * np.eye(6) + (1 - share) * np.eye(6)[partner]
        np.testing.assert_allclose(out.x[m], expected, atol=1e-12)


@settings(max_examples=40)
@given(st.integers(0, 999), st.integers(1, 20), st.integers(1, 9), st.integers(1, 9))
def test_cutout_fills_one_clipped_square(seed, side, height, width):
    batch = marked(2, 5, height, width)
    out = Cutout(side, fill=(-1.0, -2.0), p=0.7).alter(batch, draws_of(seed, seed + 1))
    for m, rng in enumerate(draws_of(seed, seed + 1)):
        is_on, tops, lefts = rng.random(5) < 0.7, rng.integers(height, size=5), None
        lefts = rng.integers(width, size=5)
        for i in range(5):
            expected = np.full((2, height, width), float(i))
            top, left = tops[i] - side // 2, lefts[i] - side // 2
            if is_on[i]:
                box = slice(max(0, top), top + side), slice(max(0, left), left + side)
                expected[0][box], expected[1][box] = -1, -2
            np.testing.assert_array_equal(out.x[m, i], expected)
    assert out.y is batch.y


@settings(max_examples=25)
@given(st.integers(0, 999), st.integers(0, 5), st.integers(1, 6), st.integers(1, 6))
def test_crop_flip_is_a_shifted_and_mirrored_copy(seed, padding, height, width):
    x = torch.rand(2, 4, 3, height, width, dtype=torch.float64)
    out = CropFlip(padding, 0.4).alter(Batch(x, torch.zeros(2, 4)), draws_of(seed, seed + 1)).x
    for m, rng in enumerate(draws_of(seed, seed + 1)):
        (down, right), number = rng.integers(2 * padding + 1, size=(2, 4)), rng.random(4)
        for i in range(4):
            expected = np.zeros((3, height, width))
            for r in range(height):
                for c in range(width):
                    at = r + down[i] - padding, c + right[i] - padding
                    if 0 <= at[0] < height and 0 <= at[1] < width:
                        expected[:, r, c] = x[m, i][:, at[0], at[1]].numpy()
            expected = expected[:, :, ::-1] if number[i] < 0.4 else expected
            np.testing.assert_array_equal(out[m, i], expected)


def reference_loss(logits, q, w, c, smoothing):
    """Return the cross-entropy with shares of classes, number by number."""
    n_rows, n_classes = logits.shape
    above = below = 0.0
    for i in range(n_rows):
        log_p = logits[i] - np.log(np.exp(logits[i]).sum())
        for k in range(n_classes):
            target = (1 - smoothing) * q[i, k] + smoothing / n_classes
            above -= w[i] * c[k] * target * log_p[k]
            below += w[i] * c[k] * q[i, k]
    return above / below


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("by_class", [False, True])
def test_cross_entropy_with_shares_of_classes(smoothing, weighted, by_class):
    rng = np.random.default_rng(0)
    logits, q = rng.normal(size=(2, 7, 4)), rng.dirichlet(np.ones(4), size=(2, 7))
    w = rng.uniform(0, 2, size=(2, 7)) if weighted else np.ones((2, 7))
    c = rng.uniform(0.5, 2, size=4) if by_class else np.ones(4)
    options = {
        "class_weight": torch.from_numpy(c) if by_class else None,
        "label_smoothing": smoothing,
    }
    t, weight = torch.from_numpy, torch.from_numpy(w) if weighted else None
    got = losses.cross_entropy(t(logits), t(q), weight, **options)
    expected = [reference_loss(logits[m], q[m], w[m], c, smoothing) for m in range(2)]
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    # Members that share a batch, and rows of one class alone.
    shared = losses.cross_entropy(
        t(logits), t(q[:1]), weight if weight is None else weight[:1], **options
    )
    expected = [reference_loss(logits[m], q[0], w[0], c, smoothing) for m in range(2)]
    np.testing.assert_allclose(shared, expected, rtol=1e-12)
    y = t(rng.integers(4, size=(2, 7)))
    hard = losses.cross_entropy(t(logits), y, weight, **options)
    soft = losses.cross_entropy(t(logits), torch.eye(4, dtype=torch.float64)[y], weight, **options)
    torch.testing.assert_close(soft, hard)


def test_floating_labels_without_shares_are_refused():
    with pytest.raises(ValueError, match="class indices must be integers"):
        losses.cross_entropy(torch.zeros(1, 2, 3), torch.zeros(1, 2))


def test_mixed_rows_weigh_what_their_labels_do():
    rng = np.random.default_rng(1)
    logits, classes = rng.normal(size=(1, 6, 3)), rng.integers(3, size=6)
    w, labelled = rng.uniform(0.1, 3, 6), np.array([1, 1, 0, 1, 0, 0])
    partner, share = np.array([1, 2, 0, 3, 5, 4]), 0.3
    t = torch.from_numpy
    batch = Batch(
        torch.zeros(1, 6, 2), t(np.eye(3)[classes][None]), t(w[None]),
        labelled=t(labelled[None] * 1.0),
    )  # fmt: skip
    out = mixed(batch, batch.x, t(np.array([[share]])), t(partner[None]))
    log_p = logits[0] - np.log(np.exp(logits[0]).sum(-1, keepdims=True))
    above = below = total = 0.0
    for i in range(6):
        for j, part in ((i, share), (partner[i], 1 - share)):
            total += part * w[j]
            above -= part * w[j] * labelled[j] * log_p[i, classes[j]]
            below += part * w[j] * labelled[j]
    weight = out.weight * out.labelled
    assert out.weight.sum().item() == pytest.approx(total, rel=1e-12)
    assert total == pytest.approx(w.sum())
    assert weight[0, 4] == 0  # two rows without a label
    got = losses.cross_entropy(t(logits), out.y, weight)
    assert got.item() == pytest.approx(above / below, rel=1e-12)


# -- members -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table():
    return make_data(60)


@pytest.fixture(scope="module")
def pictures():
    return images()


def global_state():
    return torch.get_rng_state().numpy().copy(), np.random.get_state()[1].copy()  # noqa: NPY002


@pytest.mark.parametrize(
    "augmentation", ["mixup", ["crop-flip", "cutout", "cutmix"], "randaugment"], ids=str
)
def test_a_member_is_the_same_in_any_company(augmentation, table, pictures):
    X, y = table if augmentation == "mixup" else pictures
    net = make_net(max_epochs=2, batch_size=20) if augmentation == "mixup" else make_net(
        SmallCNN, max_epochs=1, batch_size=10
    )  # fmt: skip
    before = global_state()
    ensemble = DeepEnsembleClassifier(net, 3, augmentation=augmentation, random_state=0)
    ensemble.fit(X, y)
    for a, b in zip(before, global_state(), strict=True):
        np.testing.assert_array_equal(a, b)
    others = [
        clone(ensemble).set_params(stack=1),
        clone(ensemble).set_params(n_estimators=2),
        clone(ensemble).set_params(n_jobs=2, stack=2),
    ]
    for other in others:
        for one, same in zip(ensemble, other.fit(X, y), strict=False):
            assert_same_network(one, same)
    assert_same_network(ensemble[1], clone(ensemble[1]).fit(X, y))
    assert differ(ensemble[1], clone(ensemble[1]).set_params(augmentation=None).fit(X, y))


def test_members_draw_by_themselves_also_where_they_share_batches(table):
    X, y = table
    net = make_net(max_epochs=1, batch_size=-1, iterator_train__shuffle=False)
    seen = []

    class Spy(MixUp):
        def alter(self, batch, draws):
            out = super().alter(batch, draws)
            seen.append(out.x.numpy())
            return out

    DeepEnsembleClassifier(net, 3, augmentation=Spy(), random_state=0).fit(X, y)
    (x,) = seen
    assert x.shape == (3, *X.shape)
    assert (x[0] != x[1]).any()
    assert (x[1] != x[2]).any()
    seen.clear()
    DeepEnsembleClassifier(net, 3, augmentation=Spy(), joint=True, random_state=0).fit(X, y)
    assert [x.shape for x in seen] == [(1, *X.shape)]  # one network sees one batch


def test_nothing_altered_changes_nothing(table):
    X, y = table
    plain = NetworkClassifier(make_net(max_epochs=2), random_state=0)
    as_before = clone(plain).fit(X, y)
    same = clone(plain).set_params(augmentation=Transform(lambda x: x)).fit(X, y)
    assert_same_network(as_before, same, atol=0)
    assert as_before.history_[-1]["train_loss"] == same.history_[-1]["train_loss"]
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    shares = clone(plain).set_params(augmentation=MixUp(p=0.0))
    assert_same_network(clone(plain).fit(X, y, weight), shares.fit(X, y, weight))


@pytest.mark.parametrize("joint", [False, True])
def test_one_step_is_the_formula(table, joint):
    X, y = table
    w = np.random.default_rng(0).uniform(0.2, 3, len(y))
    net = make_net(
        batch_size=-1, optimizer=torch.optim.SGD, max_epochs=1, lr=0.3,
        iterator_train__shuffle=False, criterion__label_smoothing=0.1,
    )  # fmt: skip
    ensemble = DeepEnsembleClassifier(net, 2, joint=joint, augmentation="mixup", random_state=4)
    still = clone(ensemble).set_params(estimator__lr=0.0).fit(X, y)
    modules = [member.module_ for member in still]
    draws = draws_of(*(member.random_state for member in still))
    x, t = [], torch.from_numpy
    for rng in draws[:1] * 2 if joint else draws:
        if not (joint and x):
            _, share, partner = rng.random(), rng.beta(1.0, 1.0), rng.permutation(len(y))
        x.append(t(share * X + (1 - share) * X[partner]))
        if not joint or len(x) == 2:
            logits = [module(one) for module, one in zip(modules, x, strict=False)]
            log_p = torch.log_softmax(sum(logits) / 2 if joint else logits[-1], -1)
            loss = 0.0
            for labels, part in ((y, share * w), (y[partner], (1 - share) * w[partner])):
                target = t(0.9 * np.eye(3)[labels] + 0.1 / 3)
                loss = loss - (t(part) * (target * log_p).sum(-1)).sum()
            (loss / w.sum()).backward()
    ensemble.fit(X, y, w)
    for module, member in zip(modules, ensemble, strict=True):
        for name, value in module.named_parameters():
            got = member.module_.get_parameter(name)
            torch.testing.assert_close(got, value.detach() - 0.3 * value.grad)


def test_an_optimiser_that_asks_more_than_once_asks_about_the_same_rows(table):
    X, y = table
    rows = []

    class Watching(MLP):
        def forward(self, x):
            if len(x) > 4:
                rows.append(x.clone())
            return super().forward(x)

    net = make_net(
        Watching, optimizer=torch.optim.LBFGS, optimizer__max_iter=3, max_epochs=1, batch_size=-1
    )
    NetworkClassifier(net, augmentation="mixup", random_state=0).fit(X, y)
    assert len(rows) >= 2
    assert all((one == rows[0]).all() for one in rows)
    assert (rows[0].numpy() != X).any()


# -- teachers and students -----------------------------------------------------------------------

SEEN = []


class Spy(nn.Module):
    """A small network that writes down what it sees."""

    def __init__(self, in_shape, n_classes, tag=""):
        super().__init__()
        self.tag = tag
        self.conv = nn.Conv2d(in_shape[0], 4, 3)
        self.head = nn.Linear(4, n_classes)

    def forward(self, x):
        if len(x) > 4:  # not a trial run
            SEEN.append((self.tag, self.training, x.detach().clone()))
        return self.head(torch.tanh(self.conv(x)).mean((2, 3)))


def spy(tag, **kwargs):
    kwargs = {"max_epochs": 2, "batch_size": 8, **kwargs}
    return make_net(Spy, module__tag=tag, **kwargs)


def seen(tag, training):
    return [x for name, mode, x in SEEN if (name, mode) == (tag, training)]


def rows_of(parts, X):
    """Whether all rows of some batches are rows of `X`."""
    known = {row.tobytes() for row in X}
    return [row.contiguous().numpy().tobytes() in known for part in parts for row in part]


@pytest.mark.parametrize("of_student", [None, "cutmix"])
@pytest.mark.parametrize("of_teacher", [None, MixUp(alpha=2.0)])
@pytest.mark.parametrize("objective", ["label", "hint"])
def test_teacher_and_student_see_the_same_rows(of_teacher, of_student, objective):
    X, y = images()
    student = DistilledClassifier(
        NetworkClassifier(spy("t"), augmentation=of_teacher),
        spy("s"),
        objective=HintTerm(layers={"conv": "conv"}) if objective == "hint" else objective,
        augmentation=None if of_student is None else CutMix(p=1.0),
        random_state=0,
    )
    SEEN.clear()
    student.fit(X, y)
    learned = rows_of(seen("t", True), X)
    assert len(learned) == 2 * len(X)
    assert all(learned) if of_teacher is None else not any(learned)
    inputs, asked = seen("s", True), seen("t", False)
    if of_student is None:
        assert all(rows_of(inputs, X))
        (whole,) = asked  # once, and remembered
        np.testing.assert_array_equal(whole, X)
    else:
        assert not all(rows_of(inputs, X))
        assert len(inputs) == len(asked) == 2 * 3
        for ours, theirs in zip(inputs, asked, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def still_student(student, X, y):
    name = "student__estimator__lr" if hasattr(student.student, "estimator") else "student__lr"
    return clone(student).set_params(**{name: 0.0}).fit(X, y)


@pytest.mark.parametrize("objective", ["label", "attention"])
@pytest.mark.parametrize("seed", [0, 3])
def test_one_step_of_a_student_is_the_formula(pictures, objective, seed):
    X, y = pictures
    net = make_net(
        Spy, batch_size=-1, optimizer=torch.optim.SGD, max_epochs=1, lr=0.3,
        iterator_train__shuffle=False,
    )  # fmt: skip
    teacher = DeepEnsembleClassifier(make_net(Spy, max_epochs=2), 2, random_state=5).fit(X, y)
    augmentation = CutMix(p=1.0)
    student = DistilledClassifier(
        FrozenEstimator(teacher), net, augmentation=augmentation, temperature=2.0, alpha=0.6,
        objective=AttentionTerm(5.0, {"conv": "conv"}) if objective == "attention" else objective,
        random_state=seed,
    )  # fmt: skip
    module = still_student(student, X, y).module_
    (rng,) = draws_of(seed)
    batch = Batch(torch.from_numpy(X)[None], torch.from_numpy(np.eye(3)[y])[None])
    out = augmentation.alter(batch, [rng])
    x, q = out.x[0], out.y[0]
    ce = -(q * torch.log_softmax(module(x), -1)).sum(-1).mean()
    if objective == "label":
        said = torch.stack([torch.softmax(one.module_(x) / 2, -1) for one in teacher]).mean(0)
        said = said.detach()  # of the altered rows, and not mixed
        kl = (said * (said.log() - torch.log_softmax(module(x) / 2, -1))).sum(-1).mean()
        loss = 0.4 * ce + 0.6 * 4 * kl
    else:

        def attention(net):
            maps = net.conv(x).square().mean(1).flatten(1)
            return maps / maps.norm(dim=1, keepdim=True)

        gaps = [attention(module) - attention(one.module_).detach() for one in teacher]
        loss = ce + 5.0 * sum(gap.square().mean() for gap in gaps) / 2
    module.zero_grad()
    loss.backward()
    student.fit(X, y)
    for name, value in module.named_parameters():
        got = student.module_.get_parameter(name)
        torch.testing.assert_close(got, value.detach() - 0.3 * value.grad)


def test_students_are_the_same_stacked_and_alone(table):
    X, y = table
    teacher = DeepEnsembleClassifier(make_net(max_epochs=3), 2, random_state=5).fit(X, y)
    student = DistilledClassifier(
        FrozenEstimator(teacher), make_net(max_epochs=2), augmentation="mixup", n_students=3,
        report_diversity=True, random_state=2,
    )  # fmt: skip
    stacked = clone(student).fit(X, y)
    for settings_ in ({"stack": 1}, {"n_jobs": 2}):
        other = clone(student).set_params(**settings_).fit(X, y)
        for a, b in zip(stacked.estimators_, other.estimators_, strict=True):
            assert_same_network(a, b)
            assert a.history_[0]["train_teacher_diversity"] == pytest.approx(
                b.history_[0]["train_teacher_diversity"]
            )


def test_diversity_is_that_of_the_altered_rows(table):
    X, y = table
    teacher = DeepEnsembleClassifier(make_net(max_epochs=3), 2, random_state=5).fit(X, y)
    net = make_net(max_epochs=1, batch_size=-1, iterator_train__shuffle=False)
    student = DistilledClassifier(
        teacher, net, augmentation="mixup", report_diversity=True, random_state=2
    ).fit(X, y)
    batch = Batch(torch.from_numpy(X)[None], torch.from_numpy(np.eye(3)[y])[None])
    x = MixUp().alter(batch, draws_of(2)).x[0].numpy()
    expected = pairwise_kl(teacher.predict_members(x))
    assert student.history_[0]["train_teacher_diversity"] == pytest.approx(expected, rel=1e-9)


def test_held_out_rows_are_not_altered_and_are_all_that_a_teacher_is_asked_beside():
    X, y = images(30)
    teacher = NetworkClassifier(spy("t"), random_state=1).fit(X, y)
    split = ValidSplit(3, stratified=True)
    net = spy("s", batch_size=10, train_split=split, iterator_valid__batch_size=-1)
    for model in (
        NetworkClassifier(net, augmentation=MixUp(), random_state=0),
        DistilledClassifier(teacher, net, augmentation=MixUp(), random_state=0),
        DistilledClassifier(teacher, net, augmentation=MixUp(), objective="hint", random_state=0),
    ):
        SEEN.clear()
        model.fit(X, y)
        held_out = [x for x in seen("s", False) if len(x) == 10]
        assert held_out
        assert all(rows_of(held_out, X))
        assert not any(rows_of(seen("s", True), X))
        asked = rows_of(seen("t", False), X)
        # Each altered row once an epoch, and each held-out row once.
        assert asked.count(True) == (10 if isinstance(model, DistilledClassifier) else 0)
        assert asked.count(False) == (2 * 20 if isinstance(model, DistilledClassifier) else 0)
        assert "valid_loss" in model.history_[-1]
    SEEN.clear()
    SelfDistiller(net, augmentation=MixUp(), random_state=0).fit(X, y)
    clean = [all(rows_of([x], X)) for x in seen("s", False)]
    # Twice in each generation, once for the second one's targets; the rest are its batches.
    assert (clean.count(True), clean.count(False)) == (5, 4)


def test_a_perturbation_starts_from_the_altered_rows():
    X, y = images(16)
    teacher = NetworkClassifier(spy("t"), random_state=1).fit(X, y)
    start, end = [], []

    class Step(Gaussian):
        def alter(self, x, *args):
            start.append(x.clone())
            end.append(super().alter(x, *args))
            return end[-1]

    SEEN.clear()
    student = DistilledClassifier(
        teacher, spy("s"), augmentation="cutmix", perturbation=Step(0.1), random_state=0
    ).fit(X, y)
    inputs, asked = seen("s", True), seen("t", False)
    assert len(start) == len(asked) == 4
    for at in range(4):
        torch.testing.assert_close(inputs[2 * at], start[at], rtol=0, atol=0)
        torch.testing.assert_close(inputs[2 * at + 1], end[at], rtol=0, atol=0)
        torch.testing.assert_close(asked[at], end[at], rtol=0, atol=0)
    assert not all(rows_of(start, X))
    assert student.augmentation == "cutmix"


def test_without_the_teachers_share_a_student_is_a_plain_network(table):
    X, y = table
    args = {"augmentation": "mixup", "random_state": 3}
    plain = NetworkClassifier(make_net(max_epochs=2), **args).fit(X, y)
    student = DistilledClassifier(LogisticRegression(), make_net(max_epochs=2), alpha=0.0, **args)
    assert_same_network(plain, student.fit(X, y), atol=0)
    born_again = SelfDistiller(make_net(max_epochs=2), **args).fit(X, y)
    assert_same_network(plain, born_again.generations_[0], atol=0)


@pytest.mark.parametrize("variant", ["label", "cwtm", "dkpp"])
def test_generations_see_altered_rows(pictures, variant):
    X, y = pictures
    SEEN.clear()
    net = spy("s", batch_size=-1)
    model = SelfDistiller(net, variant=variant, augmentation=MixUp(), random_state=0).fit(X, y)
    learned, asked = seen("s", True)[2:], seen("s", False)
    assert len(learned) == len(asked) == 2
    for ours, theirs in zip(learned, asked, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert np.isfinite(model.history_[-1]["train_loss"])


@pytest.mark.parametrize("averaging", ["auto", "proba"])
def test_students_with_members_see_one_altered_batch(table, averaging):
    X, y = table
    net = make_net(
        batch_size=-1, optimizer=torch.optim.SGD, max_epochs=1, lr=0.3,
        iterator_train__shuffle=False,
    )  # fmt: skip
    teacher = DeepEnsembleClassifier(make_net(max_epochs=3), 2, random_state=5).fit(X, y)
    body = BatchEnsembleClassifier(net, 2, init="normal", fast_lr_factor=1.0)
    student = DistilledClassifier(
        FrozenEstimator(teacher), body, augmentation="mixup", averaging=averaging,
        temperature=2.0, alpha=0.6, random_state=6,
    )  # fmt: skip
    module = still_student(student, X, y).module_.train()
    batch = Batch(torch.from_numpy(X)[None], torch.from_numpy(np.eye(3)[y])[None])
    out = MixUp().alter(batch, draws_of(6))
    said = torch.stack([torch.softmax(one.module_(out.x[0]) / 2, -1) for one in teacher]).detach()
    said = said if averaging == "auto" else said.mean(0, keepdim=True).expand_as(said)
    module.zero_grad()
    logits, loss = module(out.x[0]), 0.0
    for m in range(2):
        log_p = torch.log_softmax(logits[:, m] / 2, -1)
        kl = (said[m] * (said[m].log() - log_p)).sum(-1).mean()
        ce = -(out.y[0] * torch.log_softmax(logits[:, m], -1)).sum(-1).mean()
        loss = loss + (0.4 * ce + 0.6 * 4 * kl) / 2
    loss.backward()
    student.fit(X, y)
    for name, value in module.named_parameters():
        got = student.module_.get_parameter(name)
        torch.testing.assert_close(got, value.detach() - 0.3 * value.grad)


def test_shared_weights_and_other_objectives_learn(table):
    X, y = table
    net = make_net(max_epochs=1)
    plain = BatchEnsembleClassifier(net, 2, random_state=0)
    altered = clone(plain).set_params(augmentation="mixup").fit(X, y)
    assert differ(plain.fit(X, y), altered)
    teacher = FrozenEstimator(DeepEnsembleClassifier(net, 2, random_state=1).fit(X, y))
    for objective in ("feature", "relation", "truncated", "adaptive", "proxy-dirichlet", "logit"):
        student = DistilledClassifier(
            teacher, net, objective=objective, augmentation="mixup", random_state=0
        ).fit(X, y)
        assert np.isfinite(student.history_[-1]["train_loss"])
        assert differ(student, clone(student).set_params(augmentation=None).fit(X, y))


def test_rows_without_labels_are_altered_too(table):
    X, y = table
    teacher = FrozenEstimator(LogisticRegression().fit(X, y))
    net = make_net(max_epochs=2, batch_size=16, train_split=ValidSplit(3, stratified=True))
    student = DistilledClassifier(teacher, net, augmentation="mixup", alpha=0.5, random_state=0)
    weight = np.random.default_rng(0).uniform(0.5, 2, 40)
    student.fit(X[:40], y[:40], weight, X_unlabelled=X[40:])
    assert np.isfinite(student.history_[-1]["valid_loss"])
    rest = np.random.default_rng(1).permutation(y[40:])
    again = clone(student).fit(X[:40], y[:40], weight, X_unlabelled=X[40:] + 0 * rest[:, None])
    assert_same_network(student, again, atol=0)


def test_any_classifier_can_be_asked_about_altered_rows(table):
    pd = pytest.importorskip("pandas")
    X, y = table
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])
    asked = []

    class Named(LogisticRegression):
        def predict_proba(self, X):
            asked.append(X)
            return super().predict_proba(X)

    net = make_net(max_epochs=1, batch_size=-1, train_split=ValidSplit(3, stratified=True))
    named = DistilledClassifier(Named(), net, augmentation="mixup", random_state=0).fit(frame, y)
    assert [list(X.columns) for X in asked] == [list(frame.columns)] * 2
    assert [len(X) for X in asked] == [20, 40]  # held out, and the one batch
    plain = DistilledClassifier(LogisticRegression(), net, augmentation="mixup", random_state=0)
    assert_same_network(named, plain.fit(X, y))


# -- torchvision ---------------------------------------------------------------------------------


def v2():
    from torchvision.transforms import v2

    return v2


def altered(augmentation, x, y=None, weight=None, seed=0):
    """Return one member's altered batch."""
    labels = torch.zeros(1, len(x)) if y is None else torch.from_numpy(y)[None]
    batch = Batch(
        torch.from_numpy(x)[None],
        labels,
        None if weight is None else torch.from_numpy(weight)[None],
    )
    return augmentation.alter(batch, draws_of(seed))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [AutoAugment, partial(AutoAugment, "random", policy_seed=1),
                                  RandAugment])  # fmt: skip
def test_policies_work_on_bytes(kind, dtype):
    X = images(12, side=8)[0].astype(dtype)
    before = global_state()
    by_row, at_once = (altered(kind(per_row=own), X).x[0].numpy() for own in (True, False))
    for a, b in zip(before, global_state(), strict=True):
        np.testing.assert_array_equal(a, b)
    for out in (by_row, at_once):
        assert out.dtype == dtype
        assert (out != X).any()
        np.testing.assert_allclose(out * 255, (out * 255).round(), atol=1e-4)
    assert (by_row != at_once).any()
    np.testing.assert_array_equal(by_row, altered(kind(), X).x[0].numpy())
    assert (by_row != altered(kind(), X, seed=1).x[0].numpy()).any()

    class Same(getattr(kind, "func", kind)):
        def _build(self):
            return lambda row: row

    np.testing.assert_allclose(altered(Same(), X).x[0], X, rtol=1e-6)


IN_TORCHVISION = {
    "shear-x": "ShearX", "shear-y": "ShearY", "shift-x": "TranslateX", "shift-y": "TranslateY",
    "rotate": "Rotate", "brightness": "Brightness", "color": "Color", "contrast": "Contrast",
    "sharpness": "Sharpness", "posterize": "Posterize", "solarize": "Solarize",
    "autocontrast": "AutoContrast", "equalize": "Equalize", "invert": "Invert",
}  # fmt: skip


@pytest.mark.parametrize("name", policies.OPERATIONS)
def test_operations_of_random_policies_are_those_of_learned_ones(name):
    auto, other = v2().AutoAugment(), IN_TORCHVISION[name]
    x = torch.from_numpy((images(2, side=16)[0][0] * 255).astype(np.uint8)).expand(3, -1, -1)
    run, number_of, signed = policies.OPERATIONS[name]
    sizes, is_signed = auto._AUGMENTATION_SPACE[other]
    assert signed == is_signed
    given = {"interpolation": auto.interpolation, "fill": auto._fill}
    for size in (0, 4, 9):
        magnitude = 0.0 if number_of is None else float(sizes(10, 16, 16)[size])
        expected = auto._apply_image_or_video_transform(x, other, magnitude, **given)
        found = run(x) if number_of is None else run(x, number_of(size))
        # torchvision's sizes are float32, which may round a byte the other way.
        assert (found.int() - expected.int()).abs().max() <= 1, size


def test_random_policies():
    pairs = policies.draw_pairs(3)
    assert len(pairs) == 25
    assert pairs == policies.draw_pairs(3) != policies.draw_pairs(4)
    many = [one for seed in range(40) for pair in policies.draw_pairs(seed) for one in pair]
    assert {one.name for one in many} == set(policies.OPERATIONS)
    assert {one.size for one in many} == set(range(10))
    np.testing.assert_allclose(np.mean([one.chance for one in many]), 0.5, atol=0.03)
    x = torch.from_numpy((images(2, side=8)[0] * 255).astype(np.uint8))
    policy = policies.RandomPolicy(0)
    policy.pairs = [(policies.Operation("invert", 0.0, 0), policies.Operation("invert", 1.0, 0))]
    torch.manual_seed(0)
    assert torch.equal(policy(x), 255 - x)
    policy.pairs = [(policies.Operation("invert", 0.25, 0), policies.Operation("invert", 0.0, 0))]
    share = np.mean([torch.equal(policy(x), 255 - x) for _ in range(400)])
    assert 0.18 < share < 0.32


def test_transforms_of_torchvision():
    X, y = images(12, side=8)
    flip = v2().RandomHorizontalFlip(p=1.0)
    np.testing.assert_array_equal(altered(Transform(flip), X).x[0], X[..., ::-1])
    some = altered(Transform(v2().RandomHorizontalFlip(), per_row=True), X).x[0].numpy()
    flipped = [(a == b[..., ::-1]).all() for a, b in zip(some, X, strict=True)]
    assert 0 < sum(flipped) < 12
    to_bytes = v2().Compose([v2().ToDtype(torch.uint8, scale=True), v2().AutoAugment()])
    assert (altered(Transform(to_bytes), X).x <= 1).all()
    before = global_state()
    net = NetworkClassifier(
        make_net(SmallCNN, max_epochs=1), augmentation=[v2().RandAugment(), "cutout"],
        random_state=0,
    )  # fmt: skip
    first = clone(net).fit(X, y)
    assert_same_network(first, clone(net).fit(X, y), atol=0)
    for a, b in zip(before, global_state(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("alone", [False, True])
def test_mixtures_of_torchvision_take_weights_along(weighted, alone):
    x = marked(1, 6, 5, 7).x[0].numpy().copy()
    weight = np.random.default_rng(0).uniform(0.2, 3, 6) if weighted else None
    transform = v2().CutMix(num_classes=6)
    transform = transform if alone else v2().Compose([v2().RandomVerticalFlip(), transform])
    out = altered(Transform(transform), x, np.eye(6), weight)
    mass = np.array([np.bincount(row[0].long().flatten(), minlength=6) / 35 for row in out.x[0]])
    assert (mass.max(1) < 1).any()
    if weighted:
        mass = mass * weight
        np.testing.assert_allclose(out.weight[0], mass.sum(1))
    np.testing.assert_allclose(out.y[0], mass / mass.sum(1, keepdims=True), atol=1e-6)


# -- parameters ------------------------------------------------------------------------------------


def test_grids_agree_with_scikit_learn_and_train_together(table):
    X, y = table
    net = NetworkClassifier(make_net(max_epochs=2), random_state=0)
    grid = {"estimator__lr": [0.01, 0.1], "augmentation": [None, "mixup", MixUp(0.2)]}
    theirs = GridSearchCV(net, grid, cv=2, scoring="neg_log_loss").fit(X, y)
    ours = StackedGridSearchCV(net, grid, cv=2, scoring="neg_log_loss").fit(X, y)
    a, b = (one.cv_results_["mean_test_score"] for one in (theirs, ours))
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-8)
    assert len(set(np.round(a, 12))) == 6
    names = [MixUp(0.2), MixUp(0.2), "mixup", MixUp(), Transform(np.abs), Transform(np.abs)]
    keys = [read_augmentation(clone(one, safe=False)).key() for one in names]
    assert [keys.index(key) for key in keys] == [0, 0, 2, 2, 4, 4]
    own = Transform(lambda x: x)
    assert own.key() == pickleless(own).key() != Transform(lambda x: x).key()


def pickleless(one):
    return clone(one, safe=False)


def test_teachers_of_a_grid_are_asked_by_all_their_students(table):
    X, y = table
    teacher = FrozenEstimator(LogisticRegression().fit(X, y))
    student = DistilledClassifier(
        teacher, make_net(max_epochs=2), augmentation="mixup", random_state=0
    )
    grid = {"alpha": [0.5, 1.0], "temperature": [1.0, 4.0]}
    theirs = GridSearchCV(student, grid, cv=2, scoring="neg_log_loss").fit(X, y)
    ours = StackedGridSearchCV(student, grid, cv=2, scoring="neg_log_loss").fit(X, y)
    a, b = (one.cv_results_["mean_test_score"] for one in (theirs, ours))
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-8)


class Own(Augmentation):
    def alter(self, batch, draws):
        return batch


@pytest.mark.parametrize(
    "augmentation",
    ["mixup", CutMix(0.5), ["crop-flip", Cutout(2, (0.1, 0.2, 0.3))], ["cutmix", Own()], np.abs],
    ids=["name", "object", "list", "own", "function"],
)
def test_files_pickles_clones_and_representations(augmentation, tmp_path):
    X, y = images()
    net = NetworkClassifier(make_net(SmallCNN, max_epochs=1), random_state=0)
    net.set_params(augmentation=augmentation)
    assert net.get_params()["augmentation"] is augmentation
    assert "augmentation=" in repr(net)
    if augmentation is np.abs:
        net.set_params(augmentation=torch.abs)
    net.fit(X, y)
    twin = pickle.loads(pickle.dumps(net))
    assert_same_network(net, clone(twin).fit(X, y), atol=0)
    net.save(tmp_path / "file")
    loaded = skensemble.load(tmp_path / "file", module=SmallCNN)
    np.testing.assert_array_equal(loaded.predict_proba(X), net.predict_proba(X))
    if augmentation is np.abs or "Own" in str(augmentation):
        with pytest.raises(ValueError, match="does not hold its augmentation"):
            loaded.fit(X, y)
    else:
        assert loaded.augmentation == augmentation
        assert_same_network(net, loaded.fit(X, y), atol=0)


def test_parameters_are_checked():
    for make, name in (
        (lambda: CutMix(alpha=0), "alpha"), (lambda: CutMix(p=2), "p"),
        (lambda: MixUp(alpha=-1), "alpha"), (lambda: MixUp(p=-0.1), "p"),
        (lambda: Cutout(0), "side"), (lambda: Cutout(p=2), "p"),
        (lambda: CropFlip(-1), "padding"), (lambda: CropFlip(flip=2), "flip"),
        (lambda: AutoAugment("mnist"), "policy"),
        (lambda: AutoAugment(policy_seed=-1), "policy_seed"),
        (lambda: RandAugment(0), "n_ops"),
        (lambda: RandAugment(magnitude=31), "magnitude"), (lambda: Transform(3), "function"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"The '{name}' parameter of .* must be .* Got"):
            make()
    with pytest.raises(ValueError, match="needs the whole batch: per_row=False"):
        Transform(v2().MixUp(), per_row=True)


def test_what_cannot_be_altered_is_refused(table, pictures):
    X, y = table
    for kind in ("cutmix", "cutout", "crop-flip", "autoaugment", "randaugment"):
        with pytest.raises(ValueError, match=r"is for images.* Got rows of shape \(6,\)"):
            NetworkClassifier(make_net(), augmentation=kind).fit(X, y)
    for wrong in ([], ["mixup", 3], [CutMix]):
        with pytest.raises(ValueError, match="An 'augmentation' must be one of"):
            NetworkClassifier(make_net(), augmentation=wrong).fit(X, y)
    with pytest.raises(ValueError, match="'augmentation' parameter of NetworkClassifier"):
        NetworkClassifier(make_net(), augmentation="mixu").fit(X, y)
    X, y = pictures
    net = make_net(SmallCNN)
    with pytest.raises(ValueError, match=r"floats in \[0, 1\]. Got 0 to 2"):
        NetworkClassifier(net, augmentation=["cutmix", "autoaugment"]).fit(2 * X, y)
    with pytest.raises(ValueError, match="works on images in"):
        altered(AutoAugment(), 2 * X)
    with pytest.raises(ValueError, match="1 or 3 channels. Got 2"):
        NetworkClassifier(net, augmentation="randaugment").fit(X[:, :2], y)
    with pytest.raises(ValueError, match="one for each of 3 channels"):
        NetworkClassifier(net, augmentation=Cutout(fill=(0.0, 1.0))).fit(X, y)
    with pytest.raises(ValueError, match=r"shape it was given, \(24, 3, 6, 6\). Got"):
        altered(Transform(v2().Resize(3)), X)
    with pytest.raises(TypeError, match="floats or of bytes. Got a tensor of torch.int64"):
        altered(Transform(lambda x: x.long()), X)
    with pytest.raises(TypeError, match="Got NoneType"):
        altered(Transform(lambda x: None), X)


def test_students_that_cannot_be_taught_so_are_refused(table):
    X, y = table
    net = make_net(max_epochs=1)
    args = {"augmentation": "mixup", "random_state": 0}
    with pytest.raises(ValueError, match="'teacher_logits' are not enough"):
        DistilledClassifier(student=net, **args).fit(X, y, teacher_logits=np.zeros((60, 3)))
    with pytest.raises(ValueError, match="without batches to alter"):
        DistilledClassifier(LogisticRegression(), NTKClassifier(net), **args).fit(X, y)
    with pytest.raises(ValueError, match="without batches to alter"):
        SelfDistiller(NTKClassifier(net), **args).fit(X, y)
    inner = BatchEnsembleClassifier(net, 2, augmentation="mixup")
    with pytest.raises(ValueError, match="must be set on the DistilledClassifier"):
        DistilledClassifier(DeepEnsembleClassifier(net, 2), inner).fit(X, y)
    with pytest.raises(ValueError, match="objective='hint' compares layers"):
        DistilledClassifier(LogisticRegression(), net, objective="hint", **args).fit(X, y)
    mixing = Transform(v2().MixUp())
    with pytest.raises(ValueError, match="cannot mix rows without labels"):
        DistilledClassifier(LogisticRegression(), net, augmentation=mixing).fit(
            X[:40], y[:40], X_unlabelled=X[40:]
        )
    pixels = (255 * images()[0]).astype(np.uint8)

    class Flat(LogisticRegression):
        def fit(self, X, y):
            return super().fit(X.reshape(len(X), -1), y)

    with pytest.raises(ValueError, match="X holds bytes"):
        DistilledClassifier(Flat(), make_net(SmallCNN), **args).fit(pixels, images()[1])


def test_bytes_are_altered_as_floats():
    X, y = images()
    net = NetworkClassifier(
        make_net(SmallCNN, max_epochs=1), augmentation=["autoaugment", "cutmix"], random_state=0
    )
    same = clone(net).fit(X.astype(np.float32), y)
    as_bytes = net.fit((255 * X).round().astype(np.uint8), y)
    for name, value in weights_of(same).items():
        np.testing.assert_allclose(weights_of(as_bytes)[name], value, atol=1e-6)
