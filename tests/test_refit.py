"""A second network on all rows, for as many epochs as the first one's best."""

import pickle

import numpy as np
import pytest
import torch
from nets import assert_same_network, differ, make_net, make_points
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from skorch.callbacks import EarlyStopping, LRScheduler
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import predefined_split

import skensemble
from skensemble import (
    DeepEnsembleClassifier,
    DistilledClassifier,
    MemberDivergedError,
    NetworkClassifier,
    PrunedClassifier,
    StackedGridSearchCV,
)
from skensemble._engine.training import Training
from skensemble._recipes.defaults import choose
from skensemble.preprocessing import TablePreprocessor

X, Y = make_points(90)
SPLIT = ValidSplit(5, stratified=True)


def stopping(**kwargs):
    return EarlyStopping(**{"patience": 4, "threshold": 0.0, "load_best": True, **kwargs})


def stopped_net(*callbacks, **kwargs):
    settings = {"max_epochs": 60, "lr": 0.05, "train_split": SPLIT, **kwargs}
    return make_net(callbacks=[*callbacks, ("stop", stopping())], **settings)


def cosine():
    return LRScheduler("CosineAnnealingLR", T_max=60)


def best_epoch(fitted):
    return int(np.argmin([row["valid_loss"] for row in fitted.history_])) + 1


# -- what it is ------------------------------------------------------------------------------


@pytest.mark.parametrize("with_weight", [False, True])
@pytest.mark.parametrize("callbacks", [[], [("cosine", cosine())]], ids=["flat", "cosine"])
@pytest.mark.parametrize("load_best", [False, True])
def test_it_is_the_network_of_so_many_epochs_on_all_rows(callbacks, with_weight, load_best):
    weight = np.arange(len(X)) % 4 / 2 if with_weight else None
    net = stopped_net(*callbacks, callbacks__stop__load_best=load_best)
    first = NetworkClassifier(net, random_state=3).fit(X, Y, sample_weight=weight)
    n_epochs = best_epoch(first)
    assert 1 < n_epochs < len(first.history_)
    plain = make_net(callbacks=callbacks, max_epochs=n_epochs, lr=0.05)
    expected = NetworkClassifier(plain, random_state=3).fit(X, Y, sample_weight=weight)
    found = clone(first).set_params(refit=True).fit(X, Y, sample_weight=weight)
    np.testing.assert_array_equal(found.predict_proba(X), expected.predict_proba(X))
    assert differ(found, first)
    assert len(found.history_) == n_epochs
    assert "valid_loss" not in found.history_[-1]
    losses = [[row["train_loss"] for row in one.history_] for one in (found, expected)]
    assert losses[0] == losses[1]


def test_what_is_chosen_by_rules_is_trained_again_too():
    first = NetworkClassifier(random_state=1).fit(X, Y)
    table = TablePreprocessor(embed="auto").fit(X)
    rows = table.transform(X)
    choice = choose(rows.shape[1:], len(rows), table.layout_)
    arguments = {f"module__{name}": value for name, value in choice.module_kwargs.items()}
    net = clone(choice.training.net).set_params(
        max_epochs=best_epoch(first), callbacks=choice.training.net.callbacks[:1], **arguments
    )
    expected = NetworkClassifier(net, random_state=1).fit(rows, Y)
    found = NetworkClassifier(refit=True, random_state=1).fit(X, Y)
    np.testing.assert_array_equal(found.predict_proba(X), expected.predict_proba(rows))
    assert found.preprocessor_ is not None
    again = NetworkClassifier(refit=True, random_state=1).fit(X, Y)
    np.testing.assert_array_equal(found.predict_proba(X), again.predict_proba(X))


def test_classes_are_weighed_on_all_rows():
    first = NetworkClassifier(stopped_net(), class_weight="balanced", random_state=0).fit(X, Y)
    plain = make_net(max_epochs=best_epoch(first), lr=0.05)
    expected = NetworkClassifier(plain, class_weight="balanced", random_state=0).fit(X, Y)
    assert_same_network(clone(first).set_params(refit=True).fit(X, Y), expected, atol=0)


def test_it_tells_what_it_does(capsys):
    found = NetworkClassifier(stopped_net(), refit=True, random_state=0, verbose=1).fit(X, Y)
    text = f"once more on all 90 rows, for {len(found.history_)} epochs"
    assert capsys.readouterr().out.count(text) == 1


def test_an_epoch_that_is_never_best_ends_with_the_last():
    net = stopped_net(callbacks__stop__monitor="valid_acc", callbacks__stop__lower_is_better=True)
    net.set_params(callbacks__stop__threshold=10.0, callbacks__stop__threshold_mode="abs")
    found = NetworkClassifier(net, refit=True, random_state=0).fit(X, Y)
    assert len(found.history_) == 1


# -- where it is used ------------------------------------------------------------------------


@pytest.mark.parametrize("cv", [3, ShuffleSplit(2, random_state=0)], ids=["folds", "shuffled"])
def test_searches_agree(cv):
    estimator = NetworkClassifier(stopped_net(), random_state=0)
    grid = {"refit": [False, True], "estimator__lr": [0.02, 0.05]}
    settings = {"cv": cv, "scoring": "neg_log_loss", "error_score": "raise"}
    plain = GridSearchCV(estimator, grid, **settings).fit(X, Y)
    stacked = StackedGridSearchCV(estimator, grid, **settings).fit(X, Y)
    scores = plain.cv_results_["mean_test_score"]
    np.testing.assert_allclose(scores, stacked.cv_results_["mean_test_score"], rtol=1e-6)
    assert len(set(scores)) == 4


def test_copies_and_files(tmp_path):
    found = NetworkClassifier(stopped_net(), refit=True, random_state=0).fit(X, Y)
    found.save(tmp_path / "file")
    again = skensemble.load(tmp_path / "file")
    assert again.refit is True
    assert again.history_ == found.history_
    for one in (again, pickle.loads(pickle.dumps(found)), clone(found).fit(X, Y)):
        np.testing.assert_array_equal(one.predict_proba(X), found.predict_proba(X))
    assert clone(found).refit is True


def test_a_teacher_may_be_trained_again():
    teacher = NetworkClassifier(stopped_net(), refit=True, random_state=0)
    student = DistilledClassifier(teacher, make_net(), random_state=0).fit(X, Y)
    assert len(student.teacher_.history_) > 1
    assert "valid_loss" not in student.teacher_.history_[-1]


def test_a_pruned_network_is_fine_tuned_by_the_recipe():
    network = NetworkClassifier(stopped_net(), refit=True)
    found = PrunedClassifier(network, method="magnitude", finetune=2, random_state=0).fit(X, Y)
    assert "valid_loss" not in found.unpruned_.history_[-1]
    assert len(found.pruned_.history_) == 2
    assert found.score(X, Y) > 0.5


def test_members_keep_what_they_hold_out():
    ensemble = DeepEnsembleClassifier(stopped_net(), 2, random_state=0).fit(X, Y)
    assert not any(member.refit for member in ensemble)
    assert "refit" not in ensemble.get_params()


# -- what goes wrong -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("net", "text"),
    [
        (make_net(), "must hold rows out .* Got no rows held out and no EarlyStopping instead"),
        (
            make_net(train_split=ValidSplit(4)),
            "Got some rows held out and no EarlyStopping instead",
        ),
        (
            make_net(callbacks=[stopping(monitor="train_loss")], train_split=ValidSplit(4)),
            "Got some rows held out and one on 'train_loss' instead",
        ),
        (stopped_net(train_split=None), "Set 'train_split'"),
        (
            stopped_net(train_split=predefined_split(Dataset(X[:20], Y[:20]))),
            "must return Subsets of the dataset it is given.* Got rows of its own",
        ),
        (
            stopped_net(("plateau", LRScheduler("ReduceLROnPlateau", monitor="valid_loss"))),
            "no callback but EarlyStopping can watch .* Got plateau too",
        ),
        (skensemble.nn.MLP, "Got no rows held out and no EarlyStopping instead"),
    ],
)
def test_what_has_no_best_epoch_is_refused_before_training(net, text, monkeypatch):
    monkeypatch.setattr(Training, "run", lambda self: pytest.fail("trained"))
    estimator = NetworkClassifier(net, refit=True, random_state=0)
    with pytest.raises(ValueError, match=text):
        estimator.fit(X, Y)
    assert not hasattr(estimator, "classes_")


def test_a_first_network_that_diverges_ends_it():
    net = stopped_net(optimizer=torch.optim.SGD).set_params(lr=1e30)
    estimator = NetworkClassifier(net, refit=True, random_state=0)
    with pytest.raises(MemberDivergedError):
        estimator.fit(X, Y)
    assert not hasattr(estimator, "module_")


def test_an_interrupt_between_leaves_no_network_that_saw_a_part(monkeypatch):
    runs, run = [], Training.run

    def twice(self):
        runs.append(self)
        if len(runs) == 2:
            raise KeyboardInterrupt
        run(self)

    monkeypatch.setattr(Training, "run", twice)
    estimator = NetworkClassifier(stopped_net(), refit=True, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, Y)
    assert not hasattr(estimator, "module_")
