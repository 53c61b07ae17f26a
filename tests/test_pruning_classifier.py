"""Pruned classifiers: what is kept, who teaches whom, and that the result is ordinary."""

import pickle

import numpy as np
import pytest
import torch
from nets import SmallCNN, SoftmaxMLP, differ, make_data, make_net, weights_of
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import skensemble
from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    MemberDivergedError,
    NetworkClassifier,
    NTKClassifier,
    PrunedClassifier,
    SelfDistiller,
    StackedGridSearchCV,
)
from skensemble._engine.training import Training
from skensemble._recipes.wraps import Cut
from skensemble.augmentation import MixUp
from skensemble.metrics import surplus
from skensemble.nn import CifarResNet
from skensemble.objectives import FeatureTerm
from skensemble.objectives.augmented import Augmented
from skensemble.objectives.distilled import Distilled
from skensemble.pruning import CannotPrune, Widths

METHODS = ("l1-filter", "slimming", "magnitude")


class NormedMLP(nn.Module):
    """Two hidden layers with batch normalisation."""

    def __init__(self, in_shape, n_classes, widths=(8, 6)):
        super().__init__()
        self.stem = nn.Linear(in_shape[0], widths[0], bias=False)
        self.norm = nn.BatchNorm1d(widths[0])
        self.stage = nn.Sequential(
            nn.Linear(widths[0], widths[1], bias=False), nn.BatchNorm1d(widths[1]), nn.ReLU()
        )
        self.head = nn.Linear(widths[1], n_classes)

    def forward(self, x):
        return self.head(self.stage(torch.relu(self.norm(self.stem(x)))))


def net(module=NormedMLP, **kwargs):
    return make_net(module, **{"max_epochs": 2, "lr": 0.05, **kwargs})


def taught(protocol, **lesson):
    """Return what makes a network learn by a protocol; None is by labels."""
    if protocol is None:
        return {}
    return {"distill": DistilledClassifier(**lesson), "protocol": protocol}


def pruned(estimator=None, **kwargs):
    kwargs.setdefault("random_state", 0)
    return PrunedClassifier(net() if estimator is None else estimator, **kwargs)


def images(n=24, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3, 8, 8)).astype(np.float32), np.arange(n) % 3


X, y = make_data(60)


# -- what is kept ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_keeping_all_changes_nothing(method):
    given = DeepEnsembleClassifier(net(), 2, averaging="logit", random_state=0).fit(X, y)
    same = PrunedClassifier(given, method=method, keep=1.0, finetune=None).fit(X, y)
    assert np.array_equal(same.predict_proba(X), given.predict_proba(X))
    if method != "slimming":  # which trains otherwise
        plain = NetworkClassifier(net(), random_state=0).fit(X, y)
        same = pruned(method=method, keep=1.0, finetune=0).fit(X, y)
        assert np.array_equal(same.predict_proba(X), plain.predict_proba(X))
        assert same.history_ == []


def test_filters_of_least_absolute_weight_go_and_costs_are_as_by_formula():
    given = NetworkClassifier(net(), random_state=0).fit(X, y)
    small = PrunedClassifier(given, keep=0.7, finetune=None).fit(X, y)
    before, after = weights_of(given), weights_of(small)
    kept = {}
    for name, n in (("stem", 5), ("stage.0", 4)):  # int(8 * 0.7), int(6 * 0.7)
        size = np.array([sum(abs(w) for w in row) for row in before[f"{name}.weight"]])
        kept[name] = np.sort(np.argsort(-size)[:n])
    assert np.array_equal(after["stem.weight"], before["stem.weight"][kept["stem"]])
    assert np.array_equal(after["norm.running_var"], before["norm.running_var"][kept["stem"]])
    columns = before["stage.0.weight"][kept["stage.0"]][:, kept["stem"]]
    assert np.array_equal(after["stage.0.weight"], columns)
    assert np.array_equal(after["head.weight"], before["head.weight"][:, kept["stage.0"]])
    assert small.kept_channels_ == [{"stem": Widths(8, 5), "stage.0": Widths(6, 4)}]
    assert list(small.left_alone_) == ["head"]

    def parameters(a, b):
        return 6 * a + 2 * a + a * b + 2 * b + 3 * b + 3

    assert (small.n_parameters_.before, small.n_parameters_.after) == (
        parameters(8, 6), parameters(5, 4),
    )  # fmt: skip
    assert (small.n_flops_.before, small.n_flops_.after) == (
        6 * 8 + 8 * 6 + 6 * 3, 6 * 5 + 5 * 4 + 4 * 3,
    )  # fmt: skip
    assert small.sparsity_.before == small.sparsity_.after == 0


def test_flops_of_convolutions_are_as_by_formula():
    images_, labels = images()
    recipe = make_net(CifarResNet, module__width=4, max_epochs=1)
    small = pruned(recipe, keep=0.5, finetune=None).fit(images_, labels)

    def macs(share):
        stem, head = 3 * 4 * 9 * 64, 16 * 3
        one = 2 * 4 * int(4 * share) * 9 * 64
        two = (4 * int(8 * share) + int(8 * share) * 8) * 9 * 16 + 4 * 8 * 16
        three = (8 * int(16 * share) + int(16 * share) * 16) * 9 * 4 + 8 * 16 * 4
        return stem + one + two + three + head

    assert (small.n_flops_.before, small.n_flops_.after) == (macs(1), macs(0.5))


def test_a_share_for_each_part_and_parts_to_skip():
    given = NetworkClassifier(net(), random_state=0).fit(X, y)

    def widths(**kwargs):
        small = PrunedClassifier(given, finetune=None, **kwargs).fit(X, y)
        return {name: w.after for name, w in small.kept_channels_[0].items()}

    assert widths(keep={"": 0.5, "stage": 0.9}) == {"stem": 4, "stage.0": 5}
    assert widths(keep={"stage.0": 0.5}) == {"stage.0": 3}
    assert widths(skip=["stage"]) == {"stem": 4}
    assert widths(keep=0.3, round_to=4) == {"stem": 4, "stage.0": 4}
    assert widths(keep=0.7, round_to=4) == {"stem": 8, "stage.0": 4}
    assert widths(keep=0.5, round_to=5) == {"stem": 5, "stage.0": 5}
    assert widths(keep=0.2, min_channels=3) == {"stem": 3, "stage.0": 3}
    with pytest.raises(ValueError, match=r"'stages', which is no layer.*There are stem, stage.0"):
        widths(keep={"stages": 0.5})
    with pytest.raises(ValueError, match=r"in the range \(0, 1\]. Got 0 for 'stem'"):
        widths(keep={"stem": 0})


def test_slimming_has_one_threshold_for_all_scales():
    given = NetworkClassifier(net(), random_state=0).fit(X, y)
    scales = {"norm": [3.0, -5, 0.1, 4, 0.2, 6, -0.3, 2], "stage.1": [0.4, -7, 0.5, 8, 0.6, 1]}
    with torch.no_grad():
        for name, values in scales.items():
            given.module_.get_submodule(name).weight.copy_(torch.tensor(values))
    small = PrunedClassifier(given, method="slimming", keep=0.5, finetune=None).fit(X, y)
    # 7 of 14 are kept; the threshold is the 8th largest scale, 1.
    expected = {name: [v for v in values if abs(v) > 1] for name, values in scales.items()}
    for name, values in expected.items():
        assert weights_of(small)[f"{name}.weight"].tolist() == values
    assert len(expected["norm"]) + len(expected["stage.1"]) == 7


@pytest.mark.parametrize("keep", [0.01, 0.2])
@pytest.mark.parametrize("method", METHODS)
def test_no_layer_is_emptied_and_those_at_risk_are_named(method, keep):
    given = NetworkClassifier(net(), random_state=0).fit(X, y)
    with torch.no_grad():
        given.module_.stage[1].weight.mul_(1e-3)
        given.module_.stage[0].weight.mul_(1e-3)
    small = PrunedClassifier(given, method=method, keep=keep, finetune=None)
    if keep == 0.2 and method == "l1-filter":
        small.fit(X, y)
    else:
        with pytest.warns(UserWarning, match=r"Nothing would be left of .*stage\.0"):
            small.fit(X, y)
    for name, value in weights_of(small).items():
        assert value.any() or "weight" not in name, name
    assert np.isfinite(small.predict_proba(X)).all()


def test_a_score_function_of_ones_own():
    given = NetworkClassifier(net(), random_state=0).fit(X, y)
    seen = []

    def score(layer, norm):
        seen.append((layer.out_features, norm.num_features))
        return torch.arange(layer.out_features)

    small = PrunedClassifier(given, method=score, keep=0.5, finetune=None).fit(X, y)
    assert seen == [(8, 8), (6, 6)]
    last = weights_of(given)["stem.weight"][4:]
    assert np.array_equal(weights_of(small)["stem.weight"], last)
    for bad in (lambda layer, norm: torch.ones(3), lambda layer, norm: torch.full((8,), np.nan)):
        with pytest.raises(ValueError, match=r"one finite number a channel, shape \(8,\) for 'st"):
            PrunedClassifier(given, method=bad).fit(X, y)


def test_kinds_of_layers():
    images_, labels = images()
    given = NetworkClassifier(make_net(SmallCNN, max_epochs=1), random_state=0).fit(images_, labels)

    def fitted(**kwargs):
        return PrunedClassifier(given, finetune=None, **kwargs).fit(images_, labels)

    assert list(fitted().kept_channels_[0]) == ["body.0", "body.3"]
    linear = fitted(method="magnitude", layers="linear", keep=0.25)
    zeros = {name: (value == 0).mean() for name, value in weights_of(linear).items()}
    assert zeros["body.8.weight"] == 0.75
    assert zeros["body.0.weight"] == zeros["body.3.weight"] == 0
    with pytest.raises(CannotPrune, match=r"finds no channels.*layers='linear' leaves its kind"):
        fitted(layers="linear")

    def normed(in_shape, n_classes):
        return nn.utils.parametrizations.weight_norm(nn.Linear(in_shape[0], n_classes))

    with pytest.raises(CannotPrune, match="no layer with weights to mask.*parametrised"):
        PrunedClassifier(make_net(normed, max_epochs=1), method="magnitude").fit(X, y)
    with pytest.raises(CannotPrune, match=r"no batch normalisation.*Use method='magnitude'"):
        PrunedClassifier(make_net(max_epochs=1), method="slimming").fit(X, y)


# -- masks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", ["global", "layer"])
@pytest.mark.parametrize(
    "optimizer",
    [
        {"optimizer": torch.optim.SGD, "optimizer__momentum": 0.9, "optimizer__weight_decay": 0.1},
        {"optimizer": torch.optim.Adam, "optimizer__weight_decay": 0.1},
        {"optimizer": torch.optim.AdamW, "optimizer__weight_decay": 0.1},
    ],
    ids=lambda kwargs: kwargs["optimizer"].__name__,
)
def test_masked_weights_stay_exactly_zero_in_training(optimizer, threshold):
    source = DeepEnsembleClassifier(net(**optimizer), 2, random_state=0)
    fits = [
        PrunedClassifier(source, method="magnitude", keep=0.3, threshold=threshold, stack=stack)
        for stack in ("auto", 1)
    ]
    for fit in fits:
        fit.fit(X, y)
        for wide, small in zip(fit.unpruned_, fit.estimators_, strict=True):
            names = [f"{name}.weight" for name in ("stem", "stage.0", "head")]
            weights = {name: abs(weights_of(wide)[name]) for name in names}
            pools = [names] if threshold == "global" else [[name] for name in names]
            for pool in pools:
                ordered = np.sort(np.concatenate([weights[name].ravel() for name in pool]))
                limit = ordered[len(ordered) - int(len(ordered) * 0.3)]
                for name in pool:
                    kept = weights_of(small)[name] != 0
                    assert np.array_equal(kept, weights[name] >= limit), name
            assert differ(wide, small)
    for together, alone in zip(*(fit.estimators_ for fit in fits), strict=True):
        for name, value in weights_of(together).items():
            assert abs(value - weights_of(alone)[name]).max() < 1e-10, name
    assert fits[0].sparsity_.after == pytest.approx(0.7, abs=0.02)


# -- slimming's training -----------------------------------------------------------------------


@pytest.mark.parametrize("stack", [1, "auto"])
def test_scales_start_at_a_half_and_are_pulled_by_their_sign(stack):
    rate, strength = 0.01, 0.3
    recipe = net(max_epochs=1, batch_size=-1, optimizer=torch.optim.SGD, lr=rate)
    ensembles = [
        PrunedClassifier(
            DeepEnsembleClassifier(recipe, 2, stack=stack, random_state=0),
            method="slimming", strength=s, finetune=None,
        ).fit(X, y).unpruned_
        for s in (0.0, strength)
    ]  # fmt: skip
    for plain, pulled in zip(*ensembles, strict=True):
        for name, value in weights_of(plain).items():
            step = rate * strength if name in ("norm.weight", "stage.1.weight") else 0.0
            assert abs(value - step - weights_of(pulled)[name]).max() < 1e-12, name
        assert abs(weights_of(plain)["norm.weight"] - 0.5).max() < 5 * rate
    # The recipe that the user wrote is what the fitted estimators show.
    assert ensembles[1].estimator is ensembles[1][0].estimator
    assert type(ensembles[1].estimator) is type(recipe)


def test_slimming_does_not_touch_a_teacher_or_fine_tuning():
    fit = pruned(method="slimming", strength=50.0, **taught("self"), finetune=1).fit(X, y)
    assert abs(weights_of(fit.unpruned_)["norm.weight"] - 0.5).max() > 0.2
    assert abs(weights_of(fit.teacher_)["norm.weight"] - 1).max() < 0.5
    student = DistilledClassifier(None, net(), random_state=0)
    fit = PrunedClassifier(student, method="slimming", strength=50.0, finetune=None).fit(X, y)
    assert abs(weights_of(fit.teacher_ or fit.unpruned_.teacher_[0])["norm.weight"] - 1).max() < 0.5


# -- protocols -----------------------------------------------------------------------------------


@pytest.fixture
def trainings(monkeypatch):
    """Record every training: its members, in order."""
    seen = []
    run = Training.run

    def recorded(self):
        seen.append(list(self.members))
        run(self)

    monkeypatch.setattr(Training, "run", recorded)
    return seen


def target(teacher, T=4.0):
    logits = teacher.decision_function(X)
    p = np.exp((logits - logits.max(1, keepdims=True)) / T)
    return p / p.sum(1, keepdims=True)


def learns(member):
    return "teacher" if isinstance(member.objective, Distilled) else "labels"


@pytest.mark.parametrize(
    ("distill", "expected"),
    [
        (None, [("labels", False), ("labels", True)]),
        ("pre", [("labels", False), ("teacher", False), ("labels", True)]),
        ("post", [("labels", False), ("teacher", True)]),
        ("pre-post", [("labels", False), ("teacher", False), ("teacher", True)]),
        ("self", [("labels", False), ("teacher", False), ("teacher", True)]),
    ],
)
def test_protocols_train_these_networks_on_these_objectives(distill, expected, trainings):
    fit = pruned(**taught(distill, temperature=4.0, alpha=0.7), finetune=3).fit(X, y)
    members = [member for members in trainings for member in members]
    assert [(learns(m), bool(m.recipe.find(Cut))) for m in members] == expected
    assert [m.recipe.training.max_epochs for m in members] == [2] * (len(expected) - 1) + [3]
    learners = [m for m in members if learns(m) == "teacher"]
    for member in learners:
        assert (member.objective.teacher_share, member.objective.term.temperature) == (0.7, 4.0)
    who = {
        "pre": [fit.teacher_],
        "post": [fit.unpruned_],
        "pre-post": [fit.teacher_, fit.teacher_],
        "self": [fit.teacher_, fit.unpruned_],
    }.get(distill, [])
    for member, teacher in zip(learners, who, strict=True):
        assert abs(member.data.targets["target"] - target(teacher)).max() < 1e-10
    # Fine-tuning starts from what pruning left of the unpruned network.
    columns = fit.unpruned_.module_.state_dict()["stem.weight"]
    start = members[-1].recipe.start.state["stem.weight"]
    assert torch.equal(start, columns[members[-1].recipe.find(Cut).cuts["stem"]["out"]])


@pytest.mark.parametrize("teacher", ["fitted", "frozen", "foreign", "unfitted"])
@pytest.mark.parametrize("distill", ["pre", "post", "pre-post", "self"])
def test_a_teacher_of_ones_own_stays_as_it_is(distill, teacher):
    given = NetworkClassifier(net(), random_state=7)
    if teacher == "foreign":
        given = LogisticRegression()
    if teacher != "unfitted":
        given.fit(X, y)
    before = pickle.dumps(given)
    used = FrozenEstimator(given) if teacher == "frozen" else given
    fit = pruned(**taught(distill, teacher=used), finetune=1).fit(X, y)
    assert pickle.dumps(given) == before
    assert np.array_equal(fit.teacher_.predict_proba(X), clone(given).fit(X, y).predict_proba(X))
    assert fit.distill.teacher is used


def test_features_can_be_what_is_learned(trainings):
    lesson = taught("self", objective=FeatureTerm(weight=2.0))
    fit = pruned(**lesson, finetune=1, skip=["stage"]).fit(X, y)
    last = trainings[-1][0].objective
    assert (last.teacher_share, last.label_share) == (2.0, 1.0)
    assert last.taps[0].module == "head"
    assert fit.score(X, y) > 0.4


def test_members_learn_from_themselves(trainings):
    source = DeepEnsembleClassifier(net(), 2, random_state=0)
    fit = PrunedClassifier(source, **taught("post"), finetune=1).fit(X, y)
    assert [len(members) for members in trainings] == [2, 2]
    for member, wide in zip(trainings[-1], fit.unpruned_, strict=True):
        assert abs(member.data.targets["target"] - target(wide)).max() < 1e-10


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        (taught("post", student=net()), "so its 'student' must be None"),
        (taught("post", n_students=2), "and its 'n_students' 1. Got None and 2"),
        ({"coupled": True, "method": "slimming"}, "coupled=True is for method='l1-filter'"),
        ({"init": "scratch", "finetune": 0}, "must be trained. Got finetune=0"),
        ({"finetune": make_net(SoftmaxMLP, criterion=nn.NLLLoss)}, "puts out, logits. Got"),
        ({"estimator": NTKClassifier()}, "must be a skorch NeuralNetClassifier"),
        ({"estimator": BatchEnsembleClassifier(net(), 2)}, "Set merge='factor-mean'"),
        ({"estimator": DeepEnsembleClassifier(net(), 2), **taught("self")}, "it has no teacher"),
        ({"estimator": DeepEnsembleClassifier(net(), 2, joint=True)}, "parts of one network"),
        ({"estimator": PrunedClassifier(net())}, "must be fitted; under cross-validation"),
        (
            {
                "estimator": DistilledClassifier(LogisticRegression(), net()),
                **taught("self", teacher=LogisticRegression()),
            },
            "learns from a teacher of its own",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(kwargs, match):
    with pytest.raises((ValueError, TypeError), match=match):
        PrunedClassifier(**{"estimator": net(), "random_state": 0, **kwargs}).fit(X, y)


def test_fitted_networks_are_pruned_as_they_are(trainings):
    given = NetworkClassifier(net(), random_state=0).fit(X, y)
    before = weights_of(given)
    del trainings[:]
    fit = PrunedClassifier(given, finetune=1, random_state=0).fit(X, y)
    assert len(trainings) == 1
    assert fit.unpruned_ is given
    assert all(np.array_equal(before[name], value) for name, value in weights_of(given).items())
    with pytest.raises(ValueError, match="cannot be taught, since it is fitted already"):
        PrunedClassifier(given, **taught("pre")).fit(X, y)
    with pytest.raises(ValueError, match=r"must know the classes of y, \[1, 2\]. It knows \[0, 1"):
        PrunedClassifier(given).fit(X[y > 0], y[y > 0])
    again = PrunedClassifier(fit, finetune=1, random_state=0).fit(X, y)
    assert again.kept_channels_ == [{"stem": Widths(4, 2), "stage.0": Widths(3, 1)}]
    assert pickle.loads(pickle.dumps(again)).module_.stem.out_features == 2


def test_from_scratch_the_shape_alone_is_kept():
    fits = [pruned(init=init).fit(X, y) for init in ("finetune", "scratch")]
    assert fits[0].kept_channels_ == fits[1].kept_channels_
    assert differ(*(fit.estimators_[0] for fit in fits))
    other = pruned(init="scratch", random_state=1).fit(X, y)
    masked = pruned(init="scratch", method="magnitude", keep=0.3).fit(X, y)
    assert masked.sparsity_.after == pytest.approx(0.7, abs=0.02)
    assert other.n_parameters_ == fits[1].n_parameters_


def test_fine_tuning_is_what_the_user_says(trainings):
    def said(finetune):
        pruned(finetune=finetune).fit(X, y)
        told = trainings[-1][0].recipe.training
        return told.max_epochs, told.lr, told.optimizer

    assert said("recipe") == (2, 0.05, torch.optim.Adam)
    assert said(3) == (3, 0.05, torch.optim.Adam)
    assert said({"max_epochs": 1, "lr": 1e-3}) == (1, 1e-3, torch.optim.Adam)
    other = make_net(max_epochs=1, optimizer=torch.optim.SGD, lr=0.5)
    assert said(other) == (1, 0.5, torch.optim.SGD)
    plain = PrunedClassifier(NormedMLP, finetune={"max_epochs": 1}, random_state=0)
    plain.set_params(memory=None).fit(X, y)
    assert trainings[-1][0].recipe.training.max_epochs == 1
    with pytest.raises(ValueError, match="Invalid parameter .epochs."):
        said({"epochs": 1})


# -- ensembles -----------------------------------------------------------------------------------


SOURCES = {
    "network": lambda: NetworkClassifier(net(), random_state=0),
    "ensemble": lambda: DeepEnsembleClassifier(net(), 2, averaging="logit", random_state=0),
    "students": lambda: DistilledClassifier(LogisticRegression(), net(), n_students=2),
    "generations": lambda: SelfDistiller(net(), average_generations=True),
    "last generation": lambda: SelfDistiller(net()),
    "merged": lambda: BatchEnsembleClassifier(net(), 2, merge="factor-mean"),
    "merged student": lambda: DistilledClassifier(
        LogisticRegression(),
        BatchEnsembleClassifier(net(), 2, merge="factor-mean"),
        averaging="proba",
    ),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SOURCES)
def test_every_estimator_of_networks_is_pruned(name, method, tmp_path):
    fit = PrunedClassifier(SOURCES[name](), method=method, finetune=1, random_state=0).fit(X, y)
    merged = name == "merged"
    assert type(fit.pruned_) is (NetworkClassifier if merged else type(fit.unpruned_))
    assert len(fit.estimators_) == len(fit._networks()) == fit.n_parameters_.before // 145
    assert fit.n_parameters_.after < fit.n_parameters_.before or method == "magnitude"
    assert fit.n_flops_.after < fit.n_flops_.before or method == "magnitude"
    again = pickle.loads(pickle.dumps(fit))
    assert np.array_equal(again.predict_proba(X), fit.predict_proba(X))
    fit.save(tmp_path / "file")
    loaded = skensemble.load(tmp_path / "file", module=NormedMLP)
    assert type(loaded) is PrunedClassifier
    assert np.array_equal(loaded.predict_proba(X), fit.predict_proba(X))
    for attribute in ("n_parameters_", "n_flops_", "sparsity_", "kept_channels_", "left_alone_"):
        assert getattr(loaded, attribute) == getattr(fit, attribute)
    assert loaded.history_ == fit.history_
    refit = clone(loaded)
    assert refit.method == method
    if "student" not in name:
        assert refit.set_params(finetune=1).fit(X, y).score(X, y) > 0.3


def test_an_ensemble_stays_one_and_its_averaging_can_be_changed():
    fit = PrunedClassifier(SOURCES["ensemble"](), finetune=1).fit(X, y)
    members = [one.decision_function(X) for one in fit.estimators_]
    assert np.allclose(fit.decision_function(X), np.mean(members, 0))
    fit.pruned_.averaging = "proba"
    expected = np.mean([one.predict_proba(X) for one in fit.estimators_], 0)
    assert np.allclose(fit.predict_proba(X), expected)
    assert fit.pruned_.predict_members(X).shape == (2, 60, 3)


def test_shapes_that_differ_are_trained_one_by_one_and_that_is_said(capsys):
    source = DeepEnsembleClassifier(net(), 3, random_state=1).fit(X, y)
    with torch.no_grad():
        source[0].module_.norm.weight[:5] *= 3
    fit = PrunedClassifier(source, method="slimming", finetune=1, verbose=1).fit(X, y)
    shapes = {tuple(w.after for w in one.values()) for one in fit.kept_channels_}
    assert len(shapes) > 1
    said = capsys.readouterr().out
    assert "the networks' shapes differ; they are trained on one by one" in said
    assert "head is left alone: its channels are the network's output" in said
    PrunedClassifier(source, finetune=1, verbose=1).fit(X, y)
    said = capsys.readouterr().out
    assert "shapes differ" not in said
    assert "3 members, 3 at a time" in said
    assert "network 2: stem 8 -> 4, stage.0 6 -> 3" in said


def test_stacked_fine_tuning_is_the_same_as_one_by_one():
    source = DeepEnsembleClassifier(net(), 3, random_state=0)
    fits = [
        PrunedClassifier(source, **taught("post"), stack=stack).fit(X, y) for stack in ("auto", 1)
    ]
    for together, alone in zip(*(fit.estimators_ for fit in fits), strict=True):
        for name, value in weights_of(together).items():
            assert abs(value - weights_of(alone)[name]).max() < 1e-10, name


def test_a_lost_network_is_named():
    with pytest.raises(MemberDivergedError, match="member 0 in epoch 1, member 1 in epoch"):
        PrunedClassifier(
            DeepEnsembleClassifier(net(), 2, random_state=0),
            finetune={"lr": 1e300, "optimizer": torch.optim.SGD},
        ).fit(X, y)


# -- inside scikit-learn ---------------------------------------------------------------------------


def test_searches_over_keep_and_method(trainings):
    grid = {"keep": [0.5, 0.75], "method": ["l1-filter", "magnitude"]}
    source = pruned(finetune=1, **taught("post"))
    plain = GridSearchCV(source, grid, cv=2, refit=False).fit(X, y)
    one_by_one = len(trainings)
    del trainings[:]
    stacked = StackedGridSearchCV(source, grid, cv=2, refit=False).fit(X, y)
    for key in ("mean_test_score", "split1_test_score"):
        assert np.allclose(plain.cv_results_[key], stacked.cv_results_[key])
    assert one_by_one == 16
    assert sum(len(members) for members in trainings) == 2 + 8
    assert len(trainings) == 1 + 3  # all folds in step; masks, and two widths


def test_in_a_pipeline_with_weights_and_a_clone(tmp_path):
    pipe = make_pipeline(StandardScaler(), pruned(finetune=1, memory=str(tmp_path)))
    weight = np.linspace(0, 1, len(X))
    fit = clone(pipe).fit(X, y, prunedclassifier__sample_weight=weight)
    plain = clone(pipe).fit(X, y)
    assert differ(fit[-1].estimators_[0], plain[-1].estimators_[0])
    again = clone(pipe).fit(X, y, prunedclassifier__sample_weight=weight)
    assert np.array_equal(fit.predict_proba(X), again.predict_proba(X))
    assert not differ(fit[-1].estimators_[0], again[-1].estimators_[0])


def test_weights_of_classes_reach_every_training(trainings):
    pruned(class_weight={0: 1.0, 1: 5.0, 2: 1.0}, **taught("self"), finetune=1).fit(X, y)
    assert len(trainings) == 3
    for members in trainings:
        assert np.array_equal(members[0].data.weight, np.where(y == 1, 5.0, 1.0))


@pytest.mark.parametrize("distill", [None, "post", "self"])
def test_rows_are_altered_in_every_training(distill, trainings):
    def altered(objective):
        inner = getattr(objective, "inner", None)
        return isinstance(objective, Augmented) or (inner is not None and altered(inner))

    given = NetworkClassifier(net(), augmentation=MixUp(p=1.0))
    fit = pruned(given, **taught(distill), finetune=1).fit(X, y)
    assert len(trainings) == (3 if distill == "self" else 2)
    assert all(altered(member.objective) for members in trainings for member in members)
    assert fit.estimators_[0].augmentation == MixUp(p=1.0)


@pytest.mark.parametrize("distill", [None, "post", "pre-post", "self"])
def test_training_on_has_an_augmentation_of_its_own(distill, trainings):
    given = NetworkClassifier(net(), augmentation=MixUp(p=1.0), random_state=4)
    fit = pruned(given, **taught(distill), finetune=1, augmentation=None).fit(X, y)
    learned = [isinstance(at.objective, Augmented) for members in trainings for at in members]
    assert learned == [True] * (len(learned) - 1) + [False]
    assert fit.estimators_[0].augmentation is None
    assert fit.unpruned_.augmentation == MixUp(p=1.0)


def test_training_on_without_augmentation_is_that_of_a_plain_network():
    given = NetworkClassifier(net(), augmentation=MixUp(p=1.0), random_state=4).fit(X, y)
    bare = clone(given).set_params(augmentation=None).fit(X, y)
    bare.module_.load_state_dict(given.module_.state_dict())  # trained alike, remembered as plain
    rows_as_they_are = pruned(given, finetune=2, augmentation=None).fit(X, y)
    expected = pruned(bare, finetune=2).fit(X, y)
    assert np.array_equal(rows_as_they_are.predict_proba(X), expected.predict_proba(X))
    altered = pruned(given, finetune=2).fit(X, y)
    assert differ(altered, expected)
    other = pruned(bare, finetune=2, augmentation=MixUp(p=1.0)).fit(X, y)
    assert np.array_equal(other.predict_proba(X), altered.predict_proba(X))


def test_members_that_train_on_otherwise_survive_files(tmp_path):
    given = DeepEnsembleClassifier(net(), 2, augmentation=MixUp(p=1.0))
    fit = pruned(given, finetune=1, augmentation=[MixUp(0.3), MixUp(0.2)]).fit(X, y)
    fit.save(tmp_path / "file")
    loaded = skensemble.load(tmp_path / "file", module=NormedMLP)
    assert loaded.augmentation == [MixUp(0.3), MixUp(0.2)]
    assert loaded.estimators_[0].augmentation == [MixUp(0.3), MixUp(0.2)]
    assert loaded.pruned_.augmentation == MixUp(p=1.0)
    again = clone(loaded).fit(X, y)
    assert np.array_equal(again.predict_proba(X), fit.predict_proba(X))


def test_an_augmentation_of_nothing_that_trains_on_is_refused():
    with pytest.raises(ValueError, match="'augmentation' is for networks that train on. Got MixUp"):
        pruned(finetune=None, augmentation=MixUp()).fit(X, y)
    with pytest.raises(ValueError, match="'augmentation' parameter of PrunedClassifier must be"):
        pruned(augmentation="network").fit(X, y)
    pruned(finetune=None, augmentation=None).fit(X, y)


def test_unpruned_networks_are_remembered(tmp_path, trainings):
    for keep in (0.5, 0.75):
        pruned(keep=keep, finetune=1, memory=str(tmp_path), random_state=None).fit(X, y)
    assert len(trainings) == 3


class Picking(nn.Module):
    """A feature map that two batch normalisations read."""

    def __init__(self, in_shape, n_classes):
        super().__init__()
        self.stem = nn.Linear(in_shape[0], 6)
        self.norms = nn.ModuleList(nn.BatchNorm1d(6) for _ in range(2))
        self.inner = nn.Linear(6, 6)
        self.head = nn.Linear(6, n_classes)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.inner(self.norms[0](x).relu())
        return self.head(self.norms[1](x).relu())


def test_channels_that_are_picked_survive_files_and_onnx(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    fit = pruned(net(Picking), method="slimming", keep=0.4, finetune=1).fit(X, y)
    assert sum(w.after for w in fit.kept_channels_[0].values()) == 4
    assert "index" in "".join(fit.module_.state_dict())
    fit.save(tmp_path / "file")
    loaded = skensemble.load(tmp_path / "file", module=Picking)
    assert np.array_equal(loaded.predict_proba(X), fit.predict_proba(X))
    fit.export_onnx(tmp_path / "graph.onnx")
    session = runtime.InferenceSession(tmp_path / "graph.onnx")
    (said,) = session.run(["probabilities"], {"X": X.astype(np.float32)})
    assert abs(said - fit.predict_proba(X)).max() < 1e-5


def test_what_a_file_cannot_hold_is_asked_for(tmp_path):
    def score(layer, norm):
        return layer.weight.abs().sum(1)

    fit = pruned(method=score, finetune=make_net(max_epochs=1)).fit(X, y)
    fit.save(tmp_path / "file")
    loaded = skensemble.load(tmp_path / "file", module=NormedMLP)
    assert np.array_equal(loaded.predict(X), fit.predict(X))
    with pytest.raises(ValueError, match="does not hold its 'method'"):
        loaded.fit(X, y)
    with pytest.raises(ValueError, match="does not hold its 'finetune'"):
        loaded.set_params(method=score).fit(X, y)


# -- the surplus -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [  # gains that the paper's tables print; the levels are ours
        ((72.52, 70.80, 72.81, 71.80), 0.71),
        ((71.99, 70.80, 72.61, 71.80), 0.38),
        ((73.55, 72.60, 74.15, 73.00), -0.20),
    ],
    ids=["ResNet-56 40/70/90 label", "ResNet-56 40/70/90 feature", "VGG-19 slimming label"],
)
def test_surplus(accuracies, expected):
    assert surplus(*accuracies) == pytest.approx(expected, abs=1e-9)
    assert surplus(*(a + 1 for a in accuracies)) == pytest.approx(expected, abs=1e-9)
    self_distilled, *rest = accuracies
    assert surplus(self_distilled + 1, *rest) == pytest.approx(expected + 1, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "value"),
    [("augmentation", "mixup"), ("class_weight", "balanced"), ("precision", "bf16")],
)
def test_what_the_prototype_of_a_lesson_cannot_say_is_refused(name, value):
    lesson = DistilledClassifier(**{name: value})
    with pytest.raises(
        ValueError, match=rf"The '{name}' of 'distill' must be None.* Got '{value}'"
    ):
        PrunedClassifier(net(), distill=lesson).fit(X, y)
