"""Terms and perturbations as parameters: searched, cloned, compared, checked, saved."""

import json
import pickle
from dataclasses import dataclass, fields

import joblib
import numpy as np
import pytest
import torch
from nets import assert_same_network, make_images, make_net, make_points, weights_of
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator

import skensemble
from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NTKClassifier,
    StackedGridSearchCV,
    objectives,
)
from skensemble._data.batches import Batch
from skensemble._engine import training
from skensemble.distillation.files import upgrade_params
from skensemble.objectives import (
    AdaptiveTerm,
    AttentionTerm,
    HintTerm,
    LabelTerm,
    OneToOneTerm,
    Term,
    TruncatedTerm,
)
from skensemble.objectives.names import TERMS, describe_term, rebuild_term
from skensemble.perturbation import KINDS, ODS, ConfODS, describe_perturbation, rebuild_perturbation

ABSTRACT = {"LayerTerm", "Objective", "Term"}
OBJECTS = [
    *(getattr(objectives, name)() for name in objectives.__all__ if name not in ABSTRACT),
    *(kind() for kind in KINDS.values()),
]


@pytest.mark.parametrize("one", OBJECTS, ids=repr)
def test_objects_have_parameters_as_estimators_do(one):
    params = one.get_params()
    assert {field.name for field in fields(one) if field.repr} == set(params)
    twin = clone(one)
    assert twin is not one
    assert twin == one
    assert hash(twin) == hash(one)
    assert joblib.hash(twin) == joblib.hash(one) == joblib.hash(pickle.loads(pickle.dumps(one)))
    assert eval(repr(one), {**vars(objectives), **{k.__name__: k for k in KINDS.values()}}) == one
    one.check_params()
    for name in params:
        wrong = 3 if name == "layers" else "no such value"
        changed = clone(one).set_params(**{name: wrong})
        assert changed != one
        with pytest.raises(ValueError, match=f"The '{name}' parameter of {type(one).__name__}"):
            changed.check_params()
    with pytest.raises(ValueError, match=r"A parameter of \w+ must be one of .* Got 'other' inst"):
        one.set_params(other=1)


@pytest.mark.parametrize("one", OBJECTS, ids=repr)
def test_files_describe_objects(one):
    is_term = isinstance(one, Term)
    describe, rebuild = (
        (describe_term, rebuild_term) if is_term else (describe_perturbation, rebuild_perturbation)
    )
    assert rebuild(json.loads(json.dumps(describe(one)))) == one


def test_parameters_are_set_through_the_student():
    student = DistilledClassifier(objective=TruncatedTerm(), perturbation=ODS())
    assert student.get_params()["objective__tau"] == "auto"
    twin = clone(student).set_params(objective__tau=0.5, perturbation__step=0.1)
    assert twin.objective == TruncatedTerm(tau=0.5)
    assert student.objective == TruncatedTerm()
    assert twin.perturbation == ODS(0.1)
    shown = " ".join(repr(twin).split())
    assert "objective=TruncatedTerm(tau=0.5, one_sided=False, weight=1.0)" in shown
    assert "TruncatedTerm" in twin._repr_html_inner()
    with pytest.raises(ValueError, match=r"'objective__tau' is a parameter of the object in 'obj"):
        DistilledClassifier(objective="truncated").set_params(objective__tau=0.5)
    both = DistilledClassifier().set_params(objective=TruncatedTerm(), objective__tau=0.5)
    assert both.objective.tau == 0.5


@dataclass(frozen=True, eq=False)
class Mean(Term):
    """A user's term, with a parameter and a temperature that may be left open."""

    power: float = 2.0
    temperature: float | None = None
    scalars = ("power", "temperature")

    def targets(self, teacher):
        return {"labelled": (teacher / self.temperature).softmax(-1).mean(-2)}

    def __call__(self, logits, batch):
        gap = (logits.softmax(-1) - batch.targets["labelled"]).abs()
        power = torch.as_tensor(self.power).reshape(-1, 1, 1)
        return (gap**power).sum(-1).mean(-1)


class Plain(Term):
    """A user's term that is no dataclass: cloned with all it holds."""

    def __init__(self, factor):
        self._factor = factor

    def targets(self, teacher):
        return {"target": teacher.mean(-2)}

    def __call__(self, logits, batch):
        return self._factor * (logits - batch.targets["target"]).square().sum(-1).mean(-1)


def test_terms_of_ones_own_are_cloned_and_searched(teacher, monkeypatch):
    X, y = make_points()
    assert clone(Plain(3.0))._factor == 3.0
    DistilledClassifier(teacher, make_net(), objective=Plain(3.0), random_state=0).fit(X, y)
    sizes = []
    train = training.train_shard
    monkeypatch.setattr(
        training,
        "train_shard",
        lambda job, m, *more: (sizes.append(len(m)), train(job, m, *more))[1],
    )
    student = DistilledClassifier(
        FrozenEstimator(teacher), make_net(), objective=Mean(), random_state=0
    )
    grid = {"objective__power": [1.0, 2.0], "objective__temperature": [None, 1.0]}
    search = StackedGridSearchCV(student, grid, cv=2, refit=False).fit(X, y)
    assert sizes == [8]
    assert len(search.cv_results_["params"]) == 4


@pytest.mark.parametrize(
    ("term", "grid"),
    [
        (TruncatedTerm(), {"objective__tau": [0.5, 1.0], "objective__weight": [1.0, 2.0]}),
        (HintTerm(), {"objective__weight": [1.0, 10.0]}),
        (LabelTerm(), {"objective__temperature": [1.0, 2.0], "alpha": [0.5, 1.0]}),
        ("label", {"temperature": [1.0, 2.0], "alpha": [0.5, 1.0]}),
    ],
    ids=repr,
)
@pytest.mark.parametrize("augmentation", [None, "mixup"])
def test_numbers_of_a_term_train_in_one_stack(teacher, monkeypatch, term, grid, augmentation):
    X, y = make_points()
    sizes = []
    train = training.train_shard
    monkeypatch.setattr(
        training,
        "train_shard",
        lambda job, m, *more: (sizes.append(len(m)), train(job, m, *more))[1],
    )
    student = DistilledClassifier(
        FrozenEstimator(teacher), make_net(max_epochs=1), objective=term, random_state=0,
        augmentation=augmentation,
    )  # fmt: skip
    StackedGridSearchCV(student, grid, cv=2, refit=False).fit(X, y)
    assert sum(sizes) == 2 * np.prod([len(values) for values in grid.values()])
    asks_apart = augmentation and not isinstance(term, HintTerm)
    assert len(sizes) == 1 or asks_apart  # one teacher, asked at several temperatures


def test_a_term_keeps_its_own_temperature(teacher):
    X, y = make_points()
    args = {"student": make_net(), "random_state": 0}
    flat = DistilledClassifier(teacher, temperature=2.0, **args).fit(X, y)
    own = DistilledClassifier(teacher, objective=LabelTerm(2.0), **args).fit(X, y)
    left = DistilledClassifier(teacher, objective=LabelTerm(), temperature=2.0, **args).fit(X, y)
    assert_same_network(own, flat, atol=0)
    assert_same_network(left, flat, atol=0)
    mean = DistilledClassifier(
        teacher, objective=LabelTerm(averaging="logit"), averaging="proba", **args
    ).fit(X, y)
    assert_same_network(mean, DistilledClassifier(teacher, averaging="logit", **args).fit(X, y))


def test_names_are_terms_with_their_defaults(teacher):
    X, y = make_points()
    for name in ("truncated", "adaptive", "hint"):
        args = {"student": make_net(max_epochs=1), "random_state": 0}
        named = DistilledClassifier(teacher, objective=name, **args).fit(X, y)
        given = DistilledClassifier(teacher, objective=TERMS[name](), **args).fit(X, y)
        assert_same_network(named, given, atol=0)


def test_students_with_members_learn_one_to_one_by_a_term(teacher):
    X, y = make_points()
    body = BatchEnsembleClassifier(make_net(), 3)
    by_name, by_term = (
        DistilledClassifier(teacher, body, objective=one, random_state=0).fit(X, y)
        for one in ("label", OneToOneTerm())
    )
    assert_same_network(by_name, by_term, atol=0)
    with pytest.raises(ValueError, match="needs a student with members"):
        DistilledClassifier(teacher, make_net(), objective=OneToOneTerm()).fit(X, y)


def test_a_kernel_machine_learns_a_label_term(teacher):
    X, y = make_points()
    args = {"student": NTKClassifier(make_net()), "random_state": 0}
    own = DistilledClassifier(teacher, objective=LabelTerm(2.0, "logit"), **args).fit(X, y)
    flat = DistilledClassifier(teacher, temperature=2.0, averaging="logit", **args).fit(X, y)
    np.testing.assert_array_equal(own.predict_proba(X), flat.predict_proba(X))
    with pytest.raises(ValueError, match="learns from its teacher's probabilities alone"):
        DistilledClassifier(teacher, objective=TruncatedTerm(), **args).fit(X, y)


def test_wrong_parameters_are_refused_before_anything_is_fitted():
    X, y = make_points()
    never = RandomForestClassifier(n_estimators=0)  # its fit would raise another error
    student = DistilledClassifier(never, make_net(), objective=AdaptiveTerm(cap=1.5))
    with pytest.raises(ValueError, match="The 'cap' parameter of AdaptiveTerm must be a float in"):
        student.fit(X, y)
    with pytest.raises(ValueError, match="The 'step' parameter of ODS must be a float in"):
        student.set_params(objective="label", perturbation=ODS(0.0)).fit(X, y)


# -- names of layers and targets are the user's ------------------------------------------------


class Names(torch.nn.Module):
    """Layers that are called as fields of a batch are."""

    def __init__(self, n_classes=3):
        super().__init__()
        self.labelled = torch.nn.Linear(6, 8)
        self.target = torch.nn.Linear(8, 8)
        self.teacher_diversity = torch.nn.Linear(8, n_classes)

    def forward(self, x):
        return self.teacher_diversity(self.target(self.labelled(x).relu()).relu())


@pytest.mark.parametrize("augmentation", [None, "mixup"])
@pytest.mark.parametrize("unlabelled", [False, True])
def test_layers_may_have_any_name(unlabelled, augmentation):
    X, y = make_points()
    net = make_net(Names)
    teacher = DeepEnsembleClassifier(net, 2, random_state=1).fit(X, y)
    more = {"X_unlabelled": make_points(20, seed=1)[0]} if unlabelled else {}

    def student(layers):
        return DistilledClassifier(
            FrozenEstimator(teacher), net, objective=AttentionTerm(5.0, layers=layers),
            augmentation=augmentation, report_diversity=True, random_state=0,
        ).fit(X, y, **more)  # fmt: skip

    named = student(["labelled", "target", "teacher_diversity"])
    plain = clone(net).set_params(module=Renamed)
    teacher = DeepEnsembleClassifier(plain, 2, random_state=1).fit(X, y)
    net = plain
    renamed = student(["a", "b", "c"])
    for one, other in zip(weights_of(named).values(), weights_of(renamed).values(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert named.history_[-1]["train_teacher_diversity"] > 0


class Renamed(torch.nn.Module):
    """`Names` with other names."""

    def __init__(self, n_classes=3):
        super().__init__()
        self.a, self.b = torch.nn.Linear(6, 8), torch.nn.Linear(8, 8)
        self.c = torch.nn.Linear(8, n_classes)

    def forward(self, x):
        return self.c(self.b(self.a(x).relu()).relu())


def test_batches_have_named_tables():
    batch = Batch(torch.zeros(1, 2, 3), torch.zeros(1, 2), targets={"a": torch.ones(1, 2)})
    assert list(batch.tables()) == [("targets", "a")]
    assert batch.map_tables(lambda values: values + 1)["targets"]["a"].tolist() == [[2.0, 2.0]]


# -- files -------------------------------------------------------------------------------------


def test_a_student_is_saved_with_its_objects(tmp_path):
    X, y = make_images()
    student = DistilledClassifier(
        None, make_net(skensemble.nn.SimpleCNN, max_epochs=1),
        objective=LabelTerm(2.0), perturbation=ConfODS(0.1, (-9.0, 9.0)), random_state=0,
    ).fit(X, y)  # fmt: skip
    student.save(tmp_path / "file")
    again = skensemble.load(tmp_path / "file")
    assert again.objective == student.objective
    assert again.perturbation.get_params() == {"step": 0.1, "input_range": [-9.0, 9.0]}
    np.testing.assert_array_equal(again.predict_proba(X), student.predict_proba(X))


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"objective": "label"}, "label"),
        ({"objective": "hint", "beta": 2.0, "layers": {"a": "b"}}, HintTerm(2.0, {"a": "b"})),
        ({"objective": "truncated", "tau": 0.5}, TruncatedTerm(0.5)),
        ({"objective": "adaptive", "beta": 3.0, "cap": 0.5}, AdaptiveTerm(cap=0.5)),
    ],
)
def test_files_of_format_1_have_their_flat_parameters(params, expected):
    flat = {
        "beta": "auto", "tau": "auto", "one_sided": False, "cap": 0.6, "layers": "last",
        "step": 1 / 255, "input_range": "auto", "perturbation": None, "alpha": 0.5,
    }  # fmt: skip
    got = upgrade_params({**flat, **params})
    assert got == {"objective": expected, "perturbation": None, "alpha": 0.5}
    altered = upgrade_params({**flat, **params, "perturbation": "ods", "step": 0.1})
    assert altered["perturbation"] == ODS(0.1)
    assert upgrade_params(got) is got
