"""What is written can be read, by people who trust the file and by those who do not."""

import copy
import json
import pickle

import cloudpickle
import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from nets import AN_INSTANCE, ResidualMLP, SoftmaxMLP, make_net
from registry import cheap_net
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.naive_bayes import GaussianNB
from skorch import NeuralNetClassifier
from skorch.callbacks import EarlyStopping, GradientNormClipping
from torch import nn

import skensemble
from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    PrunedClassifier,
    SelfDistiller,
)
from skensemble._files import digest
from skensemble._files.errors import FileError
from skensemble.distillation.teachers import Teacher
from skensemble.nn import MLP, CifarResNet
from skensemble.objectives import LabelTerm

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])


class Custom(nn.Module):
    def __init__(self, in_shape, n_classes, width=7):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_shape[0], width), nn.BatchNorm1d(width), nn.Linear(width, n_classes)
        )

    def forward(self, x):
        return self.layers(x)


class WritesInput(nn.Module):
    def __init__(self, in_shape, n_classes):
        super().__init__()
        self.layer = nn.Linear(in_shape[0], n_classes)

    def forward(self, x):
        return self.layer(x.mul_(0.5))


@pytest.fixture(scope="module")
def fitted():
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    ensemble = DeepEnsembleClassifier(
        cheap_net(), 3, random_state=0, class_weight=dict.fromkeys(NAMES, 1.0)
    )
    return ensemble.fit(frame, NAMES[Y]), frame


@pytest.mark.parametrize("package", [pickle, cloudpickle])
def test_pickle(fitted, package):
    ensemble, frame = fitted
    again = package.loads(package.dumps(ensemble))
    np.testing.assert_array_equal(again.predict_proba(frame), ensemble.predict_proba(frame))
    assert joblib.hash(again) == joblib.hash(ensemble)
    assert ensemble[0].module_ is not None  # writing takes nothing away


def test_joblib(fitted, tmp_path):
    ensemble, frame = fitted
    joblib.dump(ensemble, tmp_path / "file")
    again = joblib.load(tmp_path / "file")
    np.testing.assert_array_equal(again.predict_proba(frame), ensemble.predict_proba(frame))


def test_cloudpickle_carries_a_local_module():
    class Local(Custom):
        pass

    fitted = NetworkClassifier(Local, random_state=0).fit(X, Y)
    again = cloudpickle.loads(cloudpickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))


def test_save_and_load(fitted, tmp_path, monkeypatch):
    ensemble, frame = fitted
    path = tmp_path / "file"
    ensemble.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]

    def explode(*args, **kwargs):
        raise AssertionError("load executed something")

    for owner, name in ((pickle, "load"), (pickle, "loads"), (torch, "load")):
        monkeypatch.setattr(owner, name, explode)
    again = skensemble.load(path)
    np.testing.assert_array_equal(again.predict_proba(frame), ensemble.predict_proba(frame))
    np.testing.assert_array_equal(again.classes_, ensemble.classes_)
    np.testing.assert_array_equal(again.feature_names_in_, frame.columns)
    assert again.class_weight == ensemble.class_weight
    assert again.random_state == 0
    assert [m.random_state for m in again] == [m.random_state for m in ensemble]
    assert again[0].history_ == ensemble[0].history_
    assert len(again[1:]) == 2


def test_what_was_loaded_can_be_fitted_again(fitted, tmp_path):
    ensemble, frame = fitted
    ensemble.save(tmp_path / "file")
    again = skensemble.load(tmp_path / "file").fit(frame, NAMES[Y])
    np.testing.assert_allclose(
        again.predict_members(frame), ensemble.predict_members(frame), atol=1e-12
    )


@pytest.mark.parametrize("labels", [Y, Y.astype(float), Y.astype(np.int8), Y > 0])
def test_labels_keep_their_type(labels, tmp_path):
    fitted = NetworkClassifier(cheap_net(), random_state=0).fit(X, labels)
    fitted.save(tmp_path / "file")
    again = skensemble.load(tmp_path / "file")
    assert again.classes_.dtype == fitted.classes_.dtype
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))


def test_a_module_of_ones_own_is_named_by_the_caller(tmp_path):
    fitted = NetworkClassifier(Custom, random_state=0).fit(X, Y)
    fitted.save(tmp_path / "file")
    with pytest.raises(ValueError, match=r"module=Custom"):
        skensemble.load(tmp_path / "file")
    again = skensemble.load(tmp_path / "file", module=Custom)
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))


def test_the_wrong_module_is_refused(tmp_path):
    NetworkClassifier(cheap_net(), random_state=0).fit(X, Y).save(tmp_path / "file")
    with pytest.raises((ValueError, TypeError), match=r"do not fit|unexpected keyword"):
        skensemble.load(tmp_path / "file", module=Custom)


@AN_INSTANCE
def test_a_module_given_as_an_instance(tmp_path):
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    fitted = DeepEnsembleClassifier(module, 2, random_state=0).fit(X, Y)
    fitted.save(tmp_path / "file")
    again = skensemble.load(tmp_path / "file", module=module)
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))


def test_parts_the_file_cannot_carry_are_asked_for(tmp_path):
    net = cheap_net(callbacks=[GradientNormClipping(1.0)])
    fitted = NetworkClassifier(net, random_state=0).fit(X, Y)
    fitted.save(tmp_path / "file")
    again = skensemble.load(tmp_path / "file")
    assert np.array_equal(again.predict_proba(X), fitted.predict_proba(X))
    with pytest.raises(ValueError, match=r"callbacks.*set_params\(estimator"):
        again.fit(X, Y)
    again.set_params(estimator=net).fit(X, Y)


def test_files_that_are_none_of_ours(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"not a file of ours")
    with pytest.raises(ValueError, match=r"must be a file written by save\(\)"):
        skensemble.load(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"must be a file written by save\(\)"):
        skensemble.load(path)
    with pytest.raises(FileNotFoundError):
        skensemble.load(tmp_path / "nothing")


def read_about(path):
    """Return what a file says of its estimator."""
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["skensemble"])


def resave(path, about, tensors):
    """Write a file as somebody would who knows how its digest is made."""
    metadata = {"skensemble": json.dumps(about), digest.KEY: digest.EMPTY}
    save_file(tensors, path, metadata=metadata)
    digest.seal(path)


def tampered(tmp_path, change):
    """Save, change the description and the tensors, and write again."""
    path = tmp_path / "file"
    NetworkClassifier(cheap_net(), random_state=0).fit(X, Y).save(path)
    about, tensors = read_about(path), load_file(path)
    change(about, tensors)
    resave(path, about, tensors)
    return path


def test_format_of_the_future(tmp_path):
    path = tampered(tmp_path, lambda about, _: about.update(format=4))
    with pytest.raises(FileError, match="format: It must have format 1, 2 or 3. Got 4"):
        skensemble.load(path)


@pytest.mark.parametrize("name", ["os.system", "skensemble.nn.mlp.math", "builtins.eval"])
def test_names_in_the_file_are_not_imported(tmp_path, name):
    path = tampered(tmp_path, lambda about, _: about["recipe"].update(module=name))
    with pytest.raises(ValueError, match="does not import by itself"):
        skensemble.load(path)


def test_weights_that_are_missing_or_misshapen(tmp_path):
    path = tampered(tmp_path, lambda _, tensors: tensors.pop("0/layers.1.bias"))
    with pytest.raises(ValueError, match="do not fit"):
        skensemble.load(path)
    path = tampered(tmp_path, lambda _, t: t.update({"0/layers.1.bias": torch.zeros(2)}))
    with pytest.raises(FileError, match=r"members\[0\].weights.layers.1.bias: It does not fit"):
        skensemble.load(path)


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64])
def test_numbers_of_numpy_are_plain(kind, tmp_path):
    rate = kind(0.05)
    model = NetworkClassifier(make_net(lr=rate), random_state=0).fit(X, Y)
    model.save(tmp_path / "model")
    assert skensemble.load(tmp_path / "model").estimator.lr == rate


def test_arguments_that_are_not_plain_are_named(tmp_path):
    class Odd(Custom):
        def __init__(self, in_shape, n_classes, activation=None):
            super().__init__(in_shape, n_classes)

    net = NeuralNetClassifier(
        Odd, module__activation=nn.ReLU(), criterion=nn.CrossEntropyLoss, max_epochs=1
    )
    fitted = NetworkClassifier(net, random_state=0).fit(X, Y)
    with pytest.raises(ValueError, match="'activation'"):
        fitted.save(tmp_path / "file")
    assert not list(tmp_path.iterdir())


def exported(estimator, rows, path):
    """Return what the graph of an estimator says of rows."""
    onnxruntime = pytest.importorskip("onnxruntime")
    estimator.export_onnx(path)
    return onnxruntime.InferenceSession(path).run(["probabilities"], {"X": rows})[0]


@pytest.mark.parametrize("averaging", ["proba", "logit", "vote"])
def test_onnx(averaging, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    ensemble = DeepEnsembleClassifier(cheap_net(), 3, averaging=averaging, random_state=0)
    ensemble.fit(X.astype(np.float32), Y)
    ensemble.export_onnx(tmp_path / "file.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "file.onnx")
    for n_rows in (1, 7, 130):
        rows = X[:n_rows].astype(np.float32)
        (proba,) = session.run(["probabilities"], {"X": rows})
        np.testing.assert_allclose(proba, ensemble.predict_proba(rows), atol=1e-5)


@AN_INSTANCE
def test_onnx_of_a_module_that_counts_its_rows_is_refused(tmp_path):
    pytest.importorskip("onnxscript")

    class Counting(nn.Linear):
        def forward(self, x):
            return super().forward(x.view(len(x), -1))

    net = NeuralNetClassifier(Counting(4, 3), criterion=nn.CrossEntropyLoss, max_epochs=1)
    fitted = NetworkClassifier(net, random_state=0).fit(X.astype(np.float32), Y)
    with pytest.raises(ValueError, match=r"batches of 2 rows only.*Use x.shape\[0\]"):
        fitted.export_onnx(tmp_path / "file.onnx")
    assert not list(tmp_path.iterdir())


def test_onnx_of_a_residual_network(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    images = np.random.RandomState(0).rand(40, 1, 8, 8).astype(np.float32)
    net = NeuralNetClassifier(
        CifarResNet, module__width=4, criterion=nn.CrossEntropyLoss, max_epochs=1
    )
    fitted = NetworkClassifier(net, random_state=0)
    fitted.fit(images, np.arange(40) % 2)
    fitted.export_onnx(tmp_path / "file.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "file.onnx")
    for n_rows in (1, 7):
        (proba,) = session.run(["probabilities"], {"X": images[:n_rows]})
        np.testing.assert_allclose(proba, fitted.predict_proba(images[:n_rows]), atol=1e-5)


# -- recipes that a warm start changed ------------------------------------------------------


def instance(activation):
    """Return a recipe of an instance, which has no name of its own."""
    return make_net(nn.Sequential(nn.Linear(4, 6), activation, nn.Linear(6, 3)))


CHANGES = {
    "width": (cheap_net(), {"estimator__module__hidden": (5, 4)}),
    "module": (cheap_net(), {"estimator": make_net(ResidualMLP)}),
    "probabilities": (cheap_net(), {"estimator": make_net(SoftmaxMLP, criterion=nn.NLLLoss)}),
    "from probabilities": (make_net(SoftmaxMLP, criterion=nn.NLLLoss), {"estimator": cheap_net()}),
    "writes its input": (cheap_net(), {"estimator": make_net(WritesInput)}),
    "precision": (cheap_net(), {"precision": "bf16"}),
    "rate": (cheap_net(), {"estimator__lr": 0.01}),
    "activation": (instance(nn.ReLU()), {"estimator": instance(nn.Tanh())}),
}
# What load() is told of the kept members' module, and of the new ones'.
PASSED = {
    "module": (None, ResidualMLP),
    "probabilities": (None, SoftmaxMLP),
    "from probabilities": (SoftmaxMLP, None),
    "writes its input": (None, WritesInput),
    "activation": (CHANGES["activation"][0].module, CHANGES["activation"][1]["estimator"].module),
}


def grown(name, n_estimators=4, **kwargs):
    """Return an ensemble whose last members have another recipe than its first two."""
    net, change = copy.deepcopy(CHANGES[name])
    rows = X.astype(np.float32)
    ensemble = DeepEnsembleClassifier(net, 2, warm_start=True, random_state=0, **kwargs)
    before = ensemble.fit(rows, Y).predict_members(rows)
    ensemble.set_params(n_estimators=n_estimators, **change).fit(rows, Y)
    return ensemble, rows, before


@AN_INSTANCE
@pytest.mark.parametrize("name", CHANGES)
def test_members_predict_by_their_own_recipe(name, tmp_path):
    ensemble, rows, before = grown(name)
    members = ensemble.predict_members(rows)
    np.testing.assert_array_equal(members[:2], before)
    for member, said in zip(ensemble, members, strict=True):
        np.testing.assert_allclose(said, member.predict_proba(rows), atol=1e-7)
    again = pickle.loads(pickle.dumps(ensemble))
    np.testing.assert_array_equal(again.predict_members(rows), members)
    ask = Teacher(ensemble, ensemble.classes_)
    said = ask(torch.from_numpy(rows)).softmax(-1).detach().numpy()
    np.testing.assert_allclose(said, members, atol=1e-6)
    if name != "precision":
        got = exported(ensemble, rows, tmp_path / "graph.onnx")
        np.testing.assert_allclose(got, ensemble.predict_proba(rows), atol=1e-5)


@AN_INSTANCE
@pytest.mark.parametrize("name", CHANGES)
def test_each_members_recipe_is_in_the_file(name, tmp_path):
    ensemble, rows, _ = grown(name)
    ensemble.save(tmp_path / "file")
    old, new = PASSED.get(name, (None, None))
    again = skensemble.load(tmp_path / "file", module=[old, old, new, new])
    np.testing.assert_array_equal(again.predict_members(rows), ensemble.predict_members(rows))
    for one, other in zip(again, ensemble, strict=True):
        assert one.precision == other.precision
        assert one.estimator.lr == other.estimator.lr == other._recipe.training.lr
        refitted, expected = clone(one).fit(rows, Y), clone(other).fit(rows, Y)
        np.testing.assert_array_equal(refitted.predict_proba(rows), expected.predict_proba(rows))
    again.save(tmp_path / "again")
    twice = skensemble.load(tmp_path / "again", module=[old, old, new, new])
    np.testing.assert_array_equal(twice.predict_members(rows), ensemble.predict_members(rows))
    one = again.set_params(n_estimators=5).fit(rows, Y)[4].predict_proba(rows)
    ensemble.set_params(n_estimators=5).fit(rows, Y)
    np.testing.assert_array_equal(one, ensemble[4].predict_proba(rows))


def test_one_module_is_passed_where_only_one_is_unknown(tmp_path):
    ensemble, rows, _ = grown("module")
    ensemble.save(tmp_path / "file")
    again = skensemble.load(tmp_path / "file", module=ResidualMLP)
    np.testing.assert_array_equal(again.predict_members(rows), ensemble.predict_members(rows))
    with pytest.raises(ValueError, match=r"nets\.ResidualMLP.*module=ResidualMLP"):
        skensemble.load(tmp_path / "file")


@AN_INSTANCE
def test_modules_that_one_cannot_stand_for_are_asked_for(tmp_path):
    ensemble, _, _ = grown("activation")
    ensemble.save(tmp_path / "file")
    relu, tanh = PASSED["activation"]
    each = r"2 modules that.*module=\[Sequential, Sequential, Sequential, Sequential\]"
    for module in (None, relu):
        with pytest.raises(ValueError, match=each):
            skensemble.load(tmp_path / "file", module=module)
    with pytest.raises(ValueError, match=r"one a member, here 4. Got 2 of them instead"):
        skensemble.load(tmp_path / "file", module=[relu, tanh])


def test_a_recipe_that_no_member_has(tmp_path):
    ensemble, rows, before = grown("module", n_estimators=2)
    np.testing.assert_array_equal(ensemble.predict_members(rows), before)
    ensemble.save(tmp_path / "file")
    again = skensemble.load(tmp_path / "file")
    np.testing.assert_array_equal(again.predict_members(rows), before)
    with pytest.raises(ValueError, match=r"does not hold its module\."):
        again.set_params(n_estimators=3).fit(rows, Y)


def test_files_with_one_recipe_for_all_are_still_read(fitted, tmp_path):
    ensemble, frame = fitted
    ensemble.save(tmp_path / "file")
    about, tensors = read_about(tmp_path / "file"), load_file(tmp_path / "file")
    del about["members"], about["module"]
    about["format"] = 2
    save_file(tensors, tmp_path / "old", metadata={"skensemble": json.dumps(about)})
    again = skensemble.load(tmp_path / "old")
    np.testing.assert_array_equal(again.predict_proba(frame), ensemble.predict_proba(frame))


def test_members_stay_on_their_device():
    ensemble = DeepEnsembleClassifier(cheap_net(), 2, warm_start=True, random_state=0).fit(X, Y)
    before = ensemble.predict_proba(X)
    ensemble.set_params(n_estimators=3, estimator__device="cuda")
    with pytest.raises(ValueError, match="'device' must stay .* 'cpu'. Got 'cuda' instead"):
        ensemble.fit(X, Y)
    np.testing.assert_array_equal(ensemble.predict_proba(X), before)


# -- students ------------------------------------------------------------------------------


STUDENTS = {
    "label": DistilledClassifier(
        RandomForestClassifier(5, random_state=0), cheap_net(), n_students=2, random_state=0
    ),
    "proxy": DistilledClassifier(
        None, cheap_net(), objective="proxy-dirichlet", alpha=1.0, random_state=0
    ),
    "generations": SelfDistiller(cheap_net(), 2, average_generations=True, random_state=0),
}


@pytest.mark.parametrize("name", STUDENTS)
def test_students_are_read_as_they_were_written(name, tmp_path):
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    student = clone(STUDENTS[name]).fit(frame, NAMES[Y])
    student.save(tmp_path / "file")
    again = skensemble.load(tmp_path / "file")
    assert type(again) is type(student)
    expected = student.predict_proba(frame)
    np.testing.assert_array_equal(again.predict_proba(frame), expected)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(student)).predict_proba(frame), expected
    )
    if name == "generations":
        assert len(again.generations_) == 3
        assert again.generation_scores_ is None
        again.fit(frame, NAMES[Y])
        np.testing.assert_array_equal(again.predict_proba(frame), expected)
    elif name == "label":
        with pytest.raises(ValueError, match="does not hold its teacher"):
            again.fit(frame, NAMES[Y])
        again.set_params(teacher=STUDENTS[name].teacher).fit(frame, NAMES[Y])
        np.testing.assert_array_equal(again.predict_proba(frame), expected)
    else:
        assert again.teacher is None


class OwnTerm(LabelTerm):
    """A user's term."""


def test_a_student_with_an_objective_of_ones_own_is_pickled_but_not_saved(tmp_path):
    student = DistilledClassifier(None, cheap_net(), objective=OwnTerm(2.0), random_state=0)
    student.fit(X, Y)
    with pytest.raises(ValueError, match="the parameter 'objective' holds something else"):
        student.save(tmp_path / "file")
    again = pickle.loads(pickle.dumps(student))
    np.testing.assert_array_equal(again.predict_proba(X), student.predict_proba(X))


@pytest.mark.parametrize("name", STUDENTS)
def test_students_are_exported(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    student = clone(STUDENTS[name]).fit(X.astype(np.float32), Y)
    student.export_onnx(tmp_path / "file.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "file.onnx")
    (got,) = session.run(["probabilities"], {"X": X.astype(np.float32)})
    np.testing.assert_allclose(got, student.predict_proba(X.astype(np.float32)), atol=1e-5)


# -- versions of modules and extra state ------------------------------------------------------


class Versioned(nn.Module):
    """Cannot be loaded by weights of before its version, as torchvision's MNASNet."""

    _version = 3

    def __init__(self, in_shape, n_classes):
        super().__init__()
        self.output = nn.Linear(in_shape[0], n_classes)

    def forward(self, x):
        return self.output(x)

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args):
        assert local_metadata.get("version") == 3
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


class Counting(Versioned):
    """Knows how often it was trained, as no tensor says."""

    def __init__(self, in_shape, n_classes, kind="dict"):
        super().__init__(in_shape, n_classes)
        self.steps = {"steps": 0} if kind == "dict" else [(0,)]
        self.kind = kind

    def forward(self, x):
        if self.training:
            self.steps = {"steps": self.steps["steps"] + 1} if self.kind == "dict" else [(1,)]
        return super().forward(x)

    def get_extra_state(self):
        return self.steps

    def set_extra_state(self, state):
        self.steps = state


def estimators_of(module):
    net = make_net(module, max_epochs=2, batch_size=-1)
    return [
        NetworkClassifier(net, random_state=0),
        DeepEnsembleClassifier(net, 2, random_state=0),
        DeepEnsembleClassifier(net, 2, stack=1, random_state=0),
        skensemble.PrunedClassifier(net, method="magnitude", keep=0.5, finetune=1, random_state=0),
        skensemble.BatchEnsembleClassifier(net, 2, merge="factor-mean", random_state=0),
    ]


def first_module(estimator):
    if hasattr(estimator, "estimators_"):
        return estimator.estimators_[0].module_
    return estimator.module_


@pytest.mark.parametrize("at", range(5))
@pytest.mark.parametrize("module", [Versioned, Counting])
def test_versions_and_extra_state_are_kept(tmp_path, module, at):
    fitted = estimators_of(module)[at].fit(X, Y)
    expected = fitted.predict_proba(X)
    fitted.save(tmp_path / "file")
    copies = [
        pickle.loads(pickle.dumps(fitted)),
        skensemble.load(tmp_path / "file", module=module),
    ]
    steps = [getattr(one, "steps", None) for one in first_module(fitted).modules()]
    assert module is Versioned or any(one and one["steps"] > 0 for one in steps)
    for again in copies:
        np.testing.assert_array_equal(again.predict_proba(X), expected)
        assert [getattr(one, "steps", None) for one in first_module(again).modules()] == steps
    assert joblib.hash(copies[0]) == joblib.hash(pickle.loads(pickle.dumps(copies[0])))


def test_early_stopping_keeps_extra_state():
    stopping = EarlyStopping(monitor="train_loss", patience=1, load_best=True)
    net = make_net(Counting, callbacks=[stopping], max_epochs=40, batch_size=-1, lr=3.0)
    member = NetworkClassifier(net, random_state=0).fit(X, Y)
    assert member.module_.steps["steps"] == len(member.history_) - 1


def test_kernel_machines_keep_versions():
    fitted = skensemble.NTKClassifier(make_net(Versioned), random_state=0).fit(X, Y)
    assert fitted.score(X, Y) > 0.7


def test_extra_state_that_is_not_json_is_refused_by_save_alone(tmp_path):
    net = make_net(Counting, module__kind="list", max_epochs=1)
    fitted = NetworkClassifier(net, random_state=0).fit(X, Y)
    assert pickle.loads(pickle.dumps(fitted)).module_.steps == [(1,)]
    with pytest.raises(ValueError, match=r"Got a list as '_extra_state' of the module; use pick"):
        fitted.save(tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_torchvisions_mnasnet(tmp_path):
    models = pytest.importorskip("torchvision.models")
    images = np.random.default_rng(0).random((8, 3, 32, 32), dtype=np.float32)
    net = make_net(models.mnasnet0_5, max_epochs=1)
    fitted = NetworkClassifier(net, random_state=0).fit(images, np.arange(8) % 2)
    fitted.save(tmp_path / "file")
    again = skensemble.load(tmp_path / "file", module=models.mnasnet0_5)
    np.testing.assert_array_equal(again.predict_proba(images), fitted.predict_proba(images))


@pytest.mark.parametrize("proba", [False, True], ids=["logits", "proba"])
@pytest.mark.parametrize("taught", [False, True], ids=["members", "students"])
def test_onnx_of_members_that_share_their_weights(taught, proba, tmp_path):
    rows = X.astype(np.float32)
    net = make_net(SoftmaxMLP, criterion=nn.NLLLoss) if proba else cheap_net()
    estimator = BatchEnsembleClassifier(net, 2, random_state=0)
    if taught:
        teacher = DeepEnsembleClassifier(cheap_net(), 2, random_state=0)
        estimator = DistilledClassifier(teacher, estimator, n_students=2, random_state=0)
    estimator.fit(rows, Y)
    got = exported(estimator, rows, tmp_path / "file.onnx")
    np.testing.assert_allclose(got, estimator.predict_proba(rows), atol=1e-5)


def test_onnx_of_members_that_write_into_their_input(tmp_path):
    rows = X.astype(np.float32)
    ensemble = DeepEnsembleClassifier(WritesInput, 2, random_state=0).fit(rows, Y)
    got = exported(ensemble, rows, tmp_path / "file.onnx")
    np.testing.assert_allclose(got, ensemble.predict_proba(rows), atol=1e-5)


# -- what a file may not say ------------------------------------------------------------------


class Trap:
    """What runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def _everywhere(value, name, new):
    """Set every entry of a name in nested dicts and lists."""
    if isinstance(value, dict):
        return {k: new if k == name else _everywhere(v, name, new) for k, v in value.items()}
    return [_everywhere(one, name, new) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "make",
    [
        lambda: DistilledClassifier(GaussianNB(), make_net(), random_state=0),
        lambda: PrunedClassifier(
            DistilledClassifier(GaussianNB(), make_net()), finetune=1, protocol="post",
            distill=DistilledClassifier(), random_state=0,
        ),
    ],
)  # fmt: skip
def test_a_file_names_no_folder_of_pickles(make, tmp_path):
    folder = tmp_path / "memory"
    fitted = make().set_params(memory=str(folder)).fit(X, Y)
    fitted.save(tmp_path / "file")
    about, tensors = read_about(tmp_path / "file"), load_file(tmp_path / "file")
    assert str(folder) not in json.dumps(about)
    for output in folder.rglob("output.pkl"):  # of the fits that this estimator would ask for
        output.write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    named = _everywhere(about, "memory", str(folder))
    resave(tmp_path / "trap", named, tensors)
    loaded = skensemble.load(tmp_path / "trap")
    assert loaded.memory is None
    name = "teacher" if isinstance(loaded, DistilledClassifier) else "estimator"
    loaded.set_params(**{name: getattr(make(), name)}).fit(X, Y)
    assert not (tmp_path / "sprung").exists()


def test_a_network_that_was_an_instance_says_what_loads_it(tmp_path):
    X, y = load_iris(return_X_y=True)
    with pytest.warns(UserWarning, match="Pretrained"):
        fitted = NetworkClassifier(make_net(MLP((4,), 3, (5,))), random_state=0).fit(X, y)
    fitted.save(tmp_path / "file")
    with pytest.raises(FileError, match=r"given as an instance.*load\(path, module=...\)"):
        skensemble.load(tmp_path / "file")
    again = skensemble.load(tmp_path / "file", module=MLP((4,), 3, (5,)))
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
