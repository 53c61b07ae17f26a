"""scikit-learn's callbacks are told of trainings, stacks and epochs."""

import numpy as np
import pytest
from nets import make_net, make_points, weights_of
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import EarlyStopping

from skensemble import (
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    NTKClassifier,
    StackedGridSearchCV,
)

X, Y = make_points()
EPOCHS = 3
FIT, TRAIN, STACK, EPOCH = "fit", "train", "stack", "epoch"


class Diary:
    """Notes begin and end of every task."""

    def __init__(self, stop_after=None, fails=False):
        self.notes, self.scores, self.shapes = [], [], set()
        self.stop_after, self.fails = stop_after, fails

    def setup(self, estimator, context):
        self.notes.append(("setup", type(estimator).__name__))

    def teardown(self, estimator, context):
        self.notes.append(("teardown", type(estimator).__name__))

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        self.notes.append(("begin", *self.path(context)))
        self.shapes.add((np.shape(X), np.shape(y)))

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        self.notes.append(("end", *self.path(context)))
        if hasattr(fitted_estimator, "predict_proba"):  # not of a scaler, in a pipeline
            self.scores.append(fitted_estimator.predict_proba(X))
        if self.fails and context.task_name == EPOCH:
            raise RuntimeError("the callback is broken")
        return context.task_name == EPOCH and context.task_id + 1 == self.stop_after

    @staticmethod
    def path(context):
        names = []
        while context is not None:
            names.append((context.task_name.split()[0], context.task_id))
            context = context.parent
        return tuple(reversed(names))

    def ended(self, task):
        return [note[1:] for note in self.notes if note[0] == "end" and note[-1][0] == task]


class Everywhere(Diary):
    max_propagation_depth = None


def net(**kwargs):
    return make_net(**{"max_epochs": EPOCHS, **kwargs})


def tree(n_stacks, n_epochs=EPOCHS, number=0, root=((FIT, 0),)):
    """What is told of one training, stack after stack."""
    training = (*root, (TRAIN, number))
    told = [("begin", *training)]
    for stack in range(n_stacks):
        told.append(("begin", *training, (STACK, stack)))
        for epoch in range(n_epochs):
            path = (*training, (STACK, stack), (EPOCH, epoch))
            told += [("begin", *path), ("end", *path)]
        told.append(("end", *training, (STACK, stack)))
    return [*told, ("end", *training)]


def test_a_fit_tells_of_its_stacks_and_their_epochs():
    diary = Diary()
    ensemble = DeepEnsembleClassifier(net(), 3, stack=2, random_state=0).set_callbacks(diary)
    ensemble.fit(X, Y)
    name = "DeepEnsembleClassifier"
    assert diary.notes == [
        ("setup", name), ("begin", (FIT, 0)), *tree(2), ("end", (FIT, 0)), ("teardown", name),
    ]  # fmt: skip
    assert diary.shapes == {(X.shape, Y.shape)}
    assert not hasattr(ensemble, "_callback_fit_ctx")


def test_workers_tell_the_same_of_each_stack():
    diaries = [Diary(), Diary()]
    made = [
        DeepEnsembleClassifier(net(), 4, stack=2, n_jobs=n_jobs, random_state=0)
        .set_callbacks(diary)
        .fit(X, Y)
        for n_jobs, diary in zip((1, 2), diaries, strict=True)
    ]
    for at in (0, 1):
        told = [[one for one in diary.notes if (EPOCH, at) in one] for diary in diaries]
        assert len(told[0]) == len(told[1]) == 4
    assert len(diaries[1].notes) == len(diaries[0].notes)
    assert diaries[1].notes[-2:] == diaries[0].notes[-2:]
    for one, other in zip(*made, strict=True):
        theirs = weights_of(other)
        for name, value in weights_of(one).items():
            np.testing.assert_array_equal(value, theirs[name])


def test_a_teacher_trains_in_the_fit_of_its_student():
    diary = Diary()
    student = DistilledClassifier(DeepEnsembleClassifier(net(), 2), net(), random_state=0)
    student.set_callbacks(diary).fit(X, Y)
    assert diary.notes[2:-2] == [*tree(1), *tree(1, number=1)]


@pytest.mark.parametrize(
    "made",
    [
        lambda net: NetworkClassifier(net, random_state=0),
        lambda net: DeepEnsembleClassifier(net, 2, random_state=0),
        lambda net: DistilledClassifier(
            DeepEnsembleClassifier(make_net(), 2), net, n_students=2, random_state=0
        ),
    ],
    ids=["network", "ensemble", "students"],
)
def test_what_is_fitted_after_an_epoch_is_a_fit_of_so_many(made):
    diary = Diary()
    made(net()).set_callbacks(diary).fit(X, Y)
    assert len(diary.scores) == EPOCHS
    for at, score in enumerate(diary.scores):
        np.testing.assert_array_equal(
            score, made(net(max_epochs=at + 1)).fit(X, Y).predict_proba(X)
        )


def test_no_fitted_estimator_where_a_stack_is_not_all_of_it():
    diary = Diary()
    DeepEnsembleClassifier(net(), 2, stack=1).set_callbacks(diary).fit(X, Y)
    assert diary.scores == []


def test_callbacks_change_no_bit():
    stops = EarlyStopping(monitor="train_loss", patience=1)
    made = NetworkClassifier(net(callbacks=[stops]), random_state=0)
    plain, told = clone(made).fit(X, Y), made.set_callbacks(Diary()).fit(X, Y)
    theirs = weights_of(told)
    for name, value in weights_of(plain).items():
        np.testing.assert_array_equal(value, theirs[name])


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_callback_ends_the_epochs(n_jobs):
    diary = Diary(stop_after=1)
    recipe = net(max_epochs=3 if n_jobs == 1 else 2000)
    ensemble = DeepEnsembleClassifier(recipe, 2, stack=1, n_jobs=n_jobs, random_state=0)
    ensemble.set_callbacks(diary).fit(X, Y)
    lengths = {len(one.history_) for one in ensemble}
    # A worker goes on until its parent has looked.
    assert lengths == {1} if n_jobs == 1 else max(lengths) < 2000
    assert len(diary.ended(STACK)) == 2


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_of_a_callback_is_raised(n_jobs):
    diary = Diary(fails=True)
    ensemble = DeepEnsembleClassifier(net(), 2, stack=1, n_jobs=n_jobs, random_state=0)
    with pytest.raises(RuntimeError, match="the callback is broken"):
        ensemble.set_callbacks(diary).fit(X, Y)
    assert diary.notes[-1] == ("teardown", "DeepEnsembleClassifier")


def test_a_pipeline_in_a_search_passes_them_on():
    diary = Everywhere()
    pipe = make_pipeline(StandardScaler(), NetworkClassifier(net(), random_state=0))
    search = GridSearchCV(pipe, {"networkclassifier__estimator__lr": [0.01, 0.02]}, cv=2)
    search.set_callbacks(diary).fit(X, Y)
    ended = diary.ended(EPOCH)
    assert len(ended) == len(set(ended)) == 5 * EPOCHS
    assert {path[0] for path in ended} == {(FIT, 0)}  # the search's own


def test_a_stacked_search_tells_of_its_candidates_and_of_the_last_epochs():
    diary = Everywhere()
    search = StackedGridSearchCV(
        NetworkClassifier(net()), {"random_state": [0, 1]}, cv=2
    ).set_callbacks(diary)
    search.fit(X, Y)
    assert len(diary.ended(EPOCH)) == EPOCHS  # the others train together, before they are asked for


def test_kernel_machines_have_no_epochs():
    diary = Diary()
    NTKClassifier(net(), random_state=0).set_callbacks(diary).fit(X, Y)
    assert [note[0] for note in diary.notes] == ["setup", "begin", "end", "teardown"]


def test_scores_of_every_epoch():
    monitor = ScoringMonitor(scoring="accuracy")
    made = NetworkClassifier(net(), random_state=0).set_callbacks(monitor).fit(X, Y)
    logged = [row for row in monitor.get_logs().data if row["task_name"] == EPOCH]
    key = next(name for name in logged[0] if name in ("accuracy", "score"))
    assert [row["task_id"] for row in logged] == [*range(EPOCHS)]
    assert logged[-1][key] == made.score(X, Y)


def test_the_progress_bar_of_scikit_learn(capfd):
    pytest.importorskip("rich")
    from sklearn.callback import ProgressBar

    DeepEnsembleClassifier(net(), 2, random_state=0).set_callbacks(ProgressBar()).fit(X, Y)
    out = capfd.readouterr().out
    assert "DeepEnsembleClassifier - fit" in out
    assert "stack #0" in out
    assert "100%" in out
