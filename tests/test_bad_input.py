"""Errors name what was wrong: groups of calls that once ended in an error from further inside.

Found by ``benchmarks/api_fuzz.py``, which makes many thousands of such calls.
"""

import re

import numpy as np
import pytest
import torch
from nets import ResidualMLP, make_net, make_points
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from skorch.callbacks import (
    EarlyStopping,
    EpochScoring,
    Freezer,
    GradientNormClipping,
    InputShapeSetter,
    LRScheduler,
    Unfreezer,
)
from skorch.dataset import ValidSplit
from skorch.helper import predefined_split
from torch.utils.data import TensorDataset

from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    NTKClassifier,
    PrunedClassifier,
    StackedGridSearchCV,
    TeacherCommittee,
)
from skensemble.augmentation import CutMix, InTurn, RandAugment
from skensemble.datasets import (
    load_cifar,
    make_labelled_gaussian,
    make_multiview_classification,
)
from skensemble.inspection import learned_views
from skensemble.metrics import disagreement, negative_log_likelihood, retention, surplus
from skensemble.nn import MLP, gradient_descent, quantile_bins
from skensemble.ntk import NTKFeatures, empirical_ntk, kernel_operator
from skensemble.preprocessing import ChannelSplit, ModuleFeatures, TablePreprocessor
from skensemble.pruning import prune_ensemble
from skensemble.transfer import Munge

X, Y = make_points(24)


def small(**kwargs):
    return make_net(**{"max_epochs": 2, "batch_size": 8, **kwargs})


def refuse(match, net=None, X=X, y=Y, estimator=NetworkClassifier, error=(ValueError, TypeError),
           weight=None, **kwargs):  # fmt: skip
    with pytest.raises(error, match=match):
        estimator(small() if net is None else net, **kwargs).fit(X, y, sample_weight=weight)


# -- recipes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"callbacks": ["x"]}, "'callbacks' of the net must hold callbacks .* Got 'x'"),
        ({"callbacks": [("mine",)]}, r"'callbacks' of the net must hold .* Got \('mine',\)"),
        ({"callbacks": np.array([1, 2])}, "'callbacks' of the net must be a list"),
        ({"callbacks": [LRScheduler("Nothing")]}, "'callbacks' must .* no attribute 'Nothing'"),
        ({"callbacks": [LRScheduler(None)]}, "'callbacks' must .* LRScheduler is not"),
        ({"callbacks": [LRScheduler("StepLR", foo=1, step_size=1)]}, "'callbacks' must .*foo"),
        ({"callbacks": [EarlyStopping("train_loss", patience="x")]}, "'patience' parameter of Ear"),
        ({"callbacks": [EarlyStopping("train_loss", patience=0)]}, "'patience' parameter of Early"),
        ({"callbacks": [EarlyStopping("train_loss", threshold="x")]}, "'threshold' parameter of"),
        ({"callbacks": [EpochScoring("nothing")], "train_split": ValidSplit(3)},
         "'callbacks' must .* EpochScoring is not"),
        ({"callbacks": [GradientNormClipping("x")]}, "'callbacks' must .* GradientNormClipping is"),
        ({"lr": -1}, "'lr' of the net must be a finite number of at least 0. Got -1"),
        ({"lr": "x"}, "'lr' of the net must be a finite number"),
        ({"lr": None}, "'lr' of the net must be a finite number"),
        ({"optimizer": 5}, "'optimizer' of the net must be a class"),
        ({"optimizer": torch.optim.SparseAdam, "lr": 0.1}, "'optimizer' must .*SparseAdam"),
        ({"optimizer__amsgrad": np.array([np.nan])}, "'optimizer' must .*amsgrad"),
        ({"optimizer__betas": {"x": 1}}, "'optimizer' must be such that Adam of the net can take"),
        ({"optimizer__param_groups": 5}, "'optimizer__param_groups' of the net must be a list"),
        ({"optimizer__param_groups": [("*", {"lr": -1})]}, "'optimizer__param_groups' .*'lr'"),
        ({"criterion": 5}, "'criterion' of the net must be a class"),
        ({"criterion__foo": 5}, "'criterion' must take .*foo"),
        ({"criterion__weight": torch.ones(2)}, "'criterion__weight' of the net must have one"),
        ({"criterion__weight": [1, 1, 1]}, "'criterion' must take .*weight"),
        ({"criterion__ignore_index": np.array([1, 2])}, "'criterion__ignore_index' of the net"),
        ({"train_split": 5}, "'train_split' of the net must be None, or a function"),
        ({"train_split": np.array([1, 2])}, "'train_split' of the net must be None"),
        ({"train_split": ValidSplit(0.99, stratified=True)}, "'train_split' must split the rows"),
        ({"train_split": ValidSplit([([0, 100], [2])])}, "'train_split' must split the rows"),
        ({"train_split": ValidSplit([(list(range(24)), [])])}, "'train_split' .* at least one row"),
        ({"train_split": ValidSplit([([], [2])])}, "'train_split' .* must leave rows to train on"),
        ({"train_split": lambda dataset, y=None: 1}, "'train_split' must split the rows"),
        ({"device": "zz"}, "'device' of the net must name a device of torch"),
        ({"device": 5}, "'device' of the net must name a device of torch"),
        ({"device": "meta"}, "'device' of the net must be one that computes"),
        ({"device": "xla"}, "'device' must be one that this machine has"),
        ({"classes": 1}, "'classes' of the net must be None"),
        ({"batch_size": torch.tensor([1, 2])}, "'batch_size' of the net must be an int"),
        ({"use_caching": np.array([1, 2])}, "'use_caching' of the net must be True or False"),
        ({"torch_load_kwargs": 5}, "'torch_load_kwargs' of the net must be a dict"),
        ({"module": "MLP"}, "'module' of the net must be a class"),
        ({"module__foo": 1}, "'module' must be made with .*foo"),
        ({"module": ResidualMLP, "batch_size": 1}, "ResidualMLP failed .* at batch_size=1"),
    ],
    ids=lambda one: re.sub(r" object at 0x\w+|0x\w+", "", str(one)),
)  # fmt: skip
def test_recipes(settings, match):
    refuse(match, small(**settings))


def test_what_a_users_score_raises_stays_in_sight():
    def score(net, X, y):
        raise KeyError("mine")

    net = small(callbacks=[EpochScoring(score)], train_split=ValidSplit(3))
    with pytest.raises(ValueError, match="EpochScoring is not. Got: 'mine'") as found:
        NetworkClassifier(net).fit(X, Y)
    assert isinstance(found.value.__cause__, KeyError)


def test_a_score_of_none_is_no_number_and_no_end():
    scoring = EpochScoring(lambda net, X, y: None, on_train=True, name="mine")
    refuse("'callbacks' must .* EpochScoring", small(callbacks=[scoring]))


def test_a_single_row_is_too_few_for_batch_normalisation():
    weight = np.eye(len(Y))[0] + np.eye(len(Y))[1]
    two = NetworkClassifier(small(module=ResidualMLP)).fit(X, Y % 2, sample_weight=weight * 1.0)
    assert np.isfinite(two.predict_proba(X)).all()


def test_weights_that_are_no_numbers_are_refused():
    proba = np.full((2, 2), 0.5)
    with pytest.raises(ValueError, match="'sample_weight' must be one number of at least 0 a row"):
        retention([0, 1], proba, proba, sample_weight=np.float32("nan"))


def test_a_network_that_is_frozen_as_a_whole_is_refused():
    refuse("must have something to learn.*'callbacks'", small(callbacks=[Freezer("*", at=1)]))


@pytest.mark.parametrize("cv", [torch.tensor([1, 2]), b"three", "three"])
def test_folds_that_are_none_are_refused(cv):
    search = StackedGridSearchCV(NetworkClassifier(small()), {"random_state": [0]}, cv=cv)
    with pytest.raises(ValueError, match="'cv'|cv as an integer"):
        search.fit(X, Y)


def test_what_works():
    frozen = small(
        callbacks=[Freezer("layers.1*", at=1), Unfreezer("layers.1*", at=2)],
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
    )
    own_rows = predefined_split(TensorDataset(torch.from_numpy(X[:9]), torch.from_numpy(Y[:9])))
    for one in (
        NetworkClassifier(small(callbacks=[InputShapeSetter(param_name="input_dim")])),
        NetworkClassifier(frozen),
        DeepEnsembleClassifier(frozen, 2),
        DeepEnsembleClassifier(small(), 2, max_samples=True, bootstrap=True),
        PrunedClassifier(small(train_split=lambda rows, y=None: (rows, rows)), finetune=1),
        NetworkClassifier(small(train_split=own_rows)),
        DeepEnsembleClassifier(small(train_split=own_rows), 2),
        NTKClassifier(small(), reg=1e-30),
        NTKClassifier(small(), reg=1e-30, solver="eigh"),
    ):
        proba = one.fit(X, Y).predict_proba(X)
        np.testing.assert_allclose(proba.sum(1), 1, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_kernels_of_few():
    assert NTKFeatures(small(), n_components=True).fit(X).transform(X).shape == (24, 1)
    proba = NTKClassifier(small(module__hidden=(0,))).fit(X, Y).predict_proba(X)
    np.testing.assert_allclose(proba.sum(1), 1, atol=1e-6)


def test_rank_1_members_want_an_optimiser_with_groups():
    net = small(optimizer=torch.optim.LBFGS, lr=0.5)
    refuse("LBFGS", net, estimator=BatchEnsembleClassifier, n_estimators=2)


# -- parameters ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: DeepEnsembleClassifier(small(), 2, n_jobs=0),
        lambda: DistilledClassifier(LogisticRegression(), small(), n_jobs=0),
        lambda: NTKClassifier(small(), n_jobs=0),
        lambda: PrunedClassifier(small(), n_jobs=0),
    ],
)
def test_no_workers_are_no_number_of_workers(make):
    with pytest.raises(ValueError, match="'n_jobs' parameter of .* Got 0"):
        make().fit(X, Y)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DeepEnsembleClassifier(small()),
        lambda: BatchEnsembleClassifier(small()),
        lambda: NTKClassifier(small(), n_estimators=2),
    ],
)
def test_unfitted_ensembles_have_no_length(make):
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        len(make())


def test_classes_in_the_place_of_estimators():
    refuse("'estimator' must be a skorch", NetworkClassifier)
    with pytest.raises((TypeError, ValueError), match="estimator"):
        StackedGridSearchCV(MLP, {"lr": [0.1]}, cv=2).fit(X, Y)


def test_searches():
    def search(**kwargs):
        base = {"param_grid": {"random_state": [0, 1]}, "cv": 2}
        return StackedGridSearchCV(NetworkClassifier(small()), **{**base, **kwargs})

    for cv in ([1, 2], [([0, 1], [99])], ["x"], b"x", np.array([1, 2])):
        with pytest.raises((ValueError, TypeError), match="'cv'"):
            search(cv=cv).fit(X, Y)
    with pytest.raises(TypeError, match="'X' must"):
        search().fit(1.0, Y)
    with pytest.raises(TypeError, match="'X' must be rows"):
        StackedGridSearchCV(LogisticRegression(), {"C": [1, 2]}, cv=2).fit(1.0, Y)
    with pytest.raises(TypeError, match="'param_grid' must have names of parameters. Got 1"):
        search(param_grid={1: [1]}).fit(X, Y)
    with pytest.raises(ValueError, match="'scoring' must be scorers"):
        search(scoring={}).fit(X, Y)
    with pytest.raises(TypeError, match="'y' must be one label a row"):
        search().fit(X, np.array(["u", "v", None] * 8, object))


def test_augmentations():
    for make, name in (
        (lambda: CutMix(alpha=[]), "alpha"), (lambda: CutMix(p=None), "p"),
        (lambda: RandAugment(magnitude="x"), "magnitude"), (lambda: InTurn(5), "parts"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"The '{name}' "):
            make()
    refuse("'augmentation' must be able to alter a batch", augmentation=torch.nn.Linear(2, 2))


def test_a_finetuning_by_no_name():
    refuse("'finetune' must have parameters of a net by name. Got the name 1", finetune={1: 2},
           estimator=PrunedClassifier)  # fmt: skip


def test_a_method_of_pruning_that_cannot_score():
    refuse("'method' must be able to score the channels", estimator=PrunedClassifier,
           method=torch.nn.Linear(4, 3))  # fmt: skip
    refuse("A score function as 'method' must return one finite number", method=lambda *_: 0,
           estimator=PrunedClassifier)  # fmt: skip


def test_teachers():
    class Wrong(LogisticRegression):
        def predict_proba(self, X):
            return np.ones((len(X), 1))

    frozen = FrozenEstimator(Wrong().fit(X, Y))
    refuse("teacher Wrong must predict finite probabilities", frozen, estimator=DistilledClassifier,
           student=small())  # fmt: skip
    refuse("'teacher' must be a classifier. Got DummyRegressor, which knows no classes_",
           FrozenEstimator(DummyRegressor().fit(X, Y)), estimator=DistilledClassifier,
           student=small())  # fmt: skip
    for teachers in ([5], [LogisticRegression], ["x"]):
        refuse("'teachers' must be classifiers with fit and predict_proba", teachers,
               estimator=TeacherCommittee)  # fmt: skip
    refuse("'teachers' must be classifiers", ["x"], estimator=DistilledClassifier, student=small())
    refuse("'teacher' must be able to learn", [LogisticRegression()], np.full((24, 2), "a"),
           estimator=TeacherCommittee)  # fmt: skip
    refuse("Negative values in data passed to `sample_weight`", [LogisticRegression()],
           estimator=TeacherCommittee, weight=-np.ones(len(Y)))  # fmt: skip
    refuse("'weights' must be one number", [LogisticRegression()], estimator=TeacherCommittee,
           weights=["x"])  # fmt: skip


# -- data ----------------------------------------------------------------------------------

ODD_ROWS = {
    "letters": np.full((24, 6), "a"),
    "objects": np.array([[object()] * 6] * 24),
    "iterator": iter(X),
    "dict": {"a": X},
    "sparse tensor": torch.from_numpy(X).to_sparse(),
    "ragged": [[1, 2], [3]],
    "number": 3.0,
}


@pytest.mark.parametrize("rows", ODD_ROWS.values(), ids=ODD_ROWS)
@pytest.mark.parametrize(
    "make",
    [
        lambda: NetworkClassifier(small()), lambda: NTKFeatures(small()),
        lambda: ModuleFeatures(small()), lambda: ChannelSplit(),
        lambda: DistilledClassifier(LogisticRegression(), small()),
    ],
)  # fmt: skip
def test_rows_that_are_none(make, rows):
    with pytest.raises((ValueError, TypeError), match=r"\bX\b"):
        make().fit(rows, Y)


def test_tables_and_samplers():
    for rows in (iter(X), {"a": X}, 3.0, torch.from_numpy(X).to_sparse()):
        with pytest.raises((ValueError, TypeError), match=r"\bX\b"):
            TablePreprocessor().fit(rows)
        with pytest.raises((ValueError, TypeError), match=r"\bX\b"):
            Munge().sample(rows, 3)
    with pytest.raises(ValueError, match="'random_state' must be an int"):
        Munge().sample(X, 3, random_state=[])


def test_rows_with_a_mask(tmp_path):
    whole, holes = np.ma.array(X, mask=False), np.ma.array(X, mask=X > 1)
    plain = NetworkClassifier(small(), random_state=0).fit(X, Y).predict_proba(X)
    same = NetworkClassifier(small(), random_state=0).fit(whole, Y).predict_proba(whole)
    np.testing.assert_array_equal(plain, same)
    PrunedClassifier(small(), memory=str(tmp_path)).fit(whole, Y)
    refuse(r"The 'X' must be .* masked entries are no numbers; filled\(numpy.nan\)", X=holes)


def test_tensors_of_half_precision_are_rows():
    for rows in (torch.from_numpy(X).bfloat16(), torch.from_numpy(X).half().requires_grad_()):
        proba = NetworkClassifier(small()).fit(rows, Y).predict_proba(rows)
        np.testing.assert_allclose(proba.sum(1), 1, atol=1e-6)


def test_labels_and_weights():
    refuse("'y' must be one label a row", y=np.array(["u", "v", None] * 8, object))
    for weight in (["a"] * 24, [object()] * 24, "balanced", np.ones(24) * 1j):
        refuse("sample_weight", weight=weight)


def test_a_kernel_that_overflows_speaks_of_the_rows():
    refuse(r"\bX\b", X=np.where(X > 1, 1e300, X), estimator=NTKClassifier)


# -- functions -----------------------------------------------------------------------------


def test_functions():
    linear = torch.nn.Linear(6, 3)
    proba = np.full((24, 3), 1 / 3)
    ensemble = DeepEnsembleClassifier(small(), 2, random_state=0).fit(X, Y)
    for call, name in (
        (lambda: disagreement(iter([1])), "members"),
        (lambda: negative_log_likelihood(Y, object()), "y_proba"),
        (lambda: negative_log_likelihood([[1], [2, 3]], proba), "y_true"),
        (lambda: negative_log_likelihood(Y, proba, labels=0), "labels"),
        (lambda: retention(Y, proba, proba, sample_weight=np.zeros(24)), "sample_weight"),
        (lambda: retention(Y, proba, proba, n_bootstrap="x"), "n_bootstrap"),
        (lambda: surplus("x", 1, 1, 1), "self_distilled"),
        (lambda: make_labelled_gaussian(n_samples=[]), "n_samples"),
        (lambda: make_labelled_gaussian(random_state="x"), "random_state"),
        (lambda: make_labelled_gaussian(shape=(0,)), "shape"),
        (lambda: make_labelled_gaussian(dtype="x"), "dtype"),
        (lambda: make_multiview_classification(own=()), "own"),
        (lambda: make_multiview_classification(own=(2, 1)), "own"),
        (lambda: make_multiview_classification(features="x"), "features"),
        (lambda: make_multiview_classification(n_others=np.array([1, 2])), "n_others"),
        (lambda: load_cifar("cifar10", 5), "root"),
        (lambda: quantile_bins(5), "X"),
        (lambda: quantile_bins(X, n_bins="x"), "n_bins"),
        (lambda: gradient_descent(lr="x"), "lr"),
        (lambda: empirical_ntk(5, X), "module"),
        (lambda: empirical_ntk(linear, X[:, :2].astype("f")), "module"),
        (lambda: empirical_ntk(linear, X, X[:, :2]), "X2"),
        (lambda: kernel_operator(linear, iter(X)), "X"),
        (lambda: kernel_operator(linear, X, chunk_size="x"), "chunk_size"),
        (lambda: learned_views(5, X), "estimator"),
        (lambda: prune_ensemble(5, X, Y), "ensemble"),
        (lambda: prune_ensemble(ensemble, X, object()), "y_val"),
        (lambda: prune_ensemble(ensemble, X[:, :2], Y), "X_val"),
        (lambda: prune_ensemble(ensemble, X, Y, sample_weight="x"), "sample_weight"),
    ):
        with pytest.raises((ValueError, TypeError), match=rf"\b{name}\b"):
            call()


def test_datasets_draw_from_no_global_generator():
    numpy, torch_ = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    make_labelled_gaussian(20, shape=(1, 2, 2), labeller="conv2")
    make_multiview_classification(20)
    assert (np.random.get_state()[1] == numpy).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_)
