"""``verbose=1`` shows one bar for a whole fit, which counts epochs of networks."""

import io
import os
import re
import subprocess
import sys
import threading

import joblib
import numpy as np
import pytest
from nets import make_net, make_points
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, EarlyStopping
from skorch.dataset import ValidSplit
from tqdm.std import tqdm

from skensemble import (
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    SelfDistiller,
    StackedGridSearchCV,
)
from skensemble._engine import bar, progress
from skensemble._engine.bar import Bar, bar_shown, tell
from skensemble._engine.progress import Listener, News, Watch, channel_to, listening

X, Y = make_points()
EPOCHS = 4


class Terminal(io.StringIO):
    """A terminal that remembers every state of its lines."""

    def isatty(self):
        return True

    @property
    def bars(self):
        """Who shows a bar, what it has done and of how much, each time that it was drawn."""
        found = re.findall(r"(\w+): +\d+%\|[^|]*\| (\d+)/(\d+) epochs", self.getvalue())
        return [(who, int(done), int(total)) for who, done, total in found]

    @property
    def screen(self):
        """The lines as they are in the end."""
        return [line.rstrip("\r").split("\r")[-1] for line in self.getvalue().split("\n")]


class Streams:
    """In the place of `sys`, whose streams pytest exchanges before every test."""

    def __init__(self, stderr, stdout=None):
        self.stderr, self._stdout = stderr, stdout

    @property
    def stdout(self):
        return sys.stdout if self._stdout is None else self._stdout


@pytest.fixture
def terminal(monkeypatch):
    shown, drawn, draw = Terminal(), [], bar._draw
    monkeypatch.setattr(bar, "sys", Streams(shown))
    # Kept, as tqdm closes a bar that nobody knows any more.
    monkeypatch.setattr(bar, "_draw", lambda *args: drawn.append(draw(*args)) or drawn[-1])
    yield shown
    assert all(one.disable for one in drawn)  # which closing does
    assert Bar.here() is None
    assert not list(getattr(tqdm, "_instances", ()))


class Count(Listener):
    """Adds up what it is told."""

    def __init__(self):
        self.n = self.announced = 0
        self.ends = []

    def announce(self, work):
        self.announced += work

    def epoch_ends(self, watch, news, gained, peek):
        self.n += gained
        self.ends.append((news.members, news.epoch))
        return False

    def stack_ends(self, watch, members, gained):
        self.n += gained


class Fails(Callback):
    def __init__(self, error=ValueError):
        self.error = error

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            raise self.error("in epoch 2")


def net(**kwargs):
    return make_net(**{"max_epochs": EPOCHS, **kwargs})


def ensemble(n_estimators=3, estimator=None, **kwargs):
    kwargs = {"random_state": 0, **kwargs}
    return DeepEnsembleClassifier(estimator or net(), n_estimators, **kwargs)


def weights(fitted):
    return [v.numpy() for one in fitted.estimators_ for v in one.module_.state_dict().values()]


def assert_one_bar(shown, owner, total):
    """The same bar throughout, never backwards, at its total only in the end."""
    assert {who for who, _, _ in shown.bars} == {owner}
    done = [n for _, n, _ in shown.bars]
    assert done == sorted(done)
    assert shown.bars[-1] == (owner, total, total)
    assert {n for _, n, of in shown.bars if n == of} == {total}
    assert sum("epochs" in line for line in shown.screen) == 1


# -- what is counted ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("backend", "n_jobs"), [("loky", 1), ("threading", 2), ("loky", 2)], ids=str
)
def test_counts_are_members_times_epochs(backend, n_jobs):
    count = Count()
    with listening(count), joblib.parallel_config(backend):
        fitted = ensemble(5, stack=2, n_jobs=n_jobs).fit(X, Y)
    trained = [len(one.history_) for one in fitted.estimators_]
    assert count.n == sum(trained) == 5 * EPOCHS
    stacks = [(0, 1), (2, 3), (4,)]
    assert sorted(count.ends) == [(one, n + 1) for one in stacks for n in range(EPOCHS)]


def test_dask_counts_too():
    distributed = pytest.importorskip("distributed")
    count = Count()
    with (
        distributed.Client(
            processes=False, n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ),
        joblib.parallel_config("dask"),
        listening(count),
    ):
        ensemble(2, stack=1, n_jobs=2).fit(X, Y)
    assert count.n == 2 * EPOCHS
    assert len(count.ends) == 2 * EPOCHS


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_who_stops_early_has_nothing_left(n_jobs):
    stops = EarlyStopping(monitor="train_loss", patience=1, threshold=10.0, threshold_mode="abs")
    count = Count()
    with listening(count):
        fitted = ensemble(2, net(callbacks=[stops]), stack=1, n_jobs=n_jobs).fit(X, Y)
    assert {len(one.history_) for one in fitted.estimators_} == {2}
    assert len(count.ends) == 4
    assert count.n == 2 * EPOCHS


def test_news_have_the_loss_and_the_best_epoch():
    told = []

    class Hear(Listener):
        def epoch_ends(self, watch, news, gained, peek):
            told.append(news)
            return False

    stops = EarlyStopping(monitor="valid_loss", patience=3, threshold=0)
    split = ValidSplit(0.25, stratified=True, random_state=0)
    recipe = net(callbacks=[stops], train_split=split, max_epochs=8, lr=0.5)
    with listening(Hear()):
        fitted = ensemble(2, recipe).fit(X, Y)
    losses = np.array([[row["valid_loss"] for row in one.history_] for one in fitted.estimators_])
    n = losses.shape[1]
    for at, news in enumerate(told[:n]):
        assert news.epoch == at + 1
        assert news.loss == pytest.approx(losses[:, at].mean())
        best = losses[:, : at + 1].argmin(1) + 1
        assert news.best == (best.min(), best.max())


def test_a_part_that_trains_again_is_not_counted_twice():
    count = Count()
    watch = Watch("probe", {0: 3, 1: 3}, [count], 1)
    watch.epoch_ends(News((0, 1), 2, 0.5))
    watch.epoch_ends(News((0,), 1, 0.5))  # the whole had no memory, and its halves begin anew
    assert (count.n, watch.left) == (4, 2)
    watch.stack_ends((0,))
    watch.came_back((0, 1))
    assert (count.n, watch.left) == (6, 0)


def test_lines_of_another_process_come_in_order_and_can_end_a_stack():
    told = []

    class Stops(Listener):
        def epoch_ends(self, watch, news, gained, peek):
            told.append((news, peek))
            return news.epoch == 2

    watch = Watch("probe", {0: 3}, [Stops()], 1)
    with channel_to(watch, processes=True) as channel:
        assert os.listdir(channel.folder) == ["news"]
        away = progress.Channel("of another process", channel.folder)
        first, second = News((0,), 1, 0.5), News((0,), 2, 0.25, (1, 2))
        assert not away.epoch_ends(first, list)
        away.epoch_ends(second, list)
        watch.catch_up()
        assert away.epoch_ends(second, list)
    assert [one for one, _ in told] == [first, second, second]
    assert {peek for _, peek in told} == {None}
    assert not os.path.exists(channel.folder)
    away.stack_ends((0,))  # which nobody hears any more


def test_who_listens_in_vain_costs_nothing():
    assert progress.listeners() == ()
    seen = []

    class Look(Callback):
        def on_train_begin(self, net, **kwargs):
            seen.append(net._teller)

    ensemble(1, net(callbacks=[Look()])).fit(X, Y)
    assert seen == [None]


# -- what is shown -----------------------------------------------------------------------------
def test_a_bar_of_an_ensemble(terminal, capsys):
    ensemble(3, verbose=1).fit(X, Y)
    assert_one_bar(terminal, "DeepEnsembleClassifier", 3 * EPOCHS)
    assert "loss 0." in terminal.screen[0]
    assert "<00:00" in terminal.screen[0]  # what is left
    assert "3 members, 3 at a time" in capsys.readouterr().out


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_nothing_is_shown_unless_asked(terminal, capsys, n_jobs):
    ensemble(2, stack=1, n_jobs=n_jobs).fit(X, Y)
    StackedGridSearchCV(NetworkClassifier(net()), {"random_state": [0, 1]}, cv=2).fit(X, Y)
    assert terminal.getvalue() == capsys.readouterr().out == ""


@pytest.mark.parametrize("verbose", [1, 2])
def test_no_bar_where_nobody_looks(capfd, verbose):
    ensemble(2, verbose=verbose).fit(X, Y)
    out, err = capfd.readouterr()
    assert err == ""
    assert "\r" not in out
    assert len(out.splitlines()) == (1 if verbose == 1 else 1 + EPOCHS)


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_a_bar_of_workers(terminal, backend):
    with joblib.parallel_config(backend):
        ensemble(4, stack=1, n_jobs=2, verbose=1).fit(X, Y)
    assert_one_bar(terminal, "DeepEnsembleClassifier", 4 * EPOCHS)


def test_a_teacher_and_its_student_have_one_bar(terminal):
    DistilledClassifier(ensemble(2, verbose=1), net(), random_state=0, verbose=1).fit(X, Y)
    assert_one_bar(terminal, "DistilledClassifier", 3 * EPOCHS)
    assert {total for _, _, total in terminal.bars} == {3 * EPOCHS}  # known from the beginning


def test_twins_of_a_teacher_are_part_of_it(terminal):
    teacher = NetworkClassifier(net())
    student = DistilledClassifier(teacher, net(), teacher_cv=3, random_state=0, verbose=1)
    student.fit(X, Y)
    assert_one_bar(terminal, "DistilledClassifier", 5 * EPOCHS)


def test_generations_have_one_bar(terminal):
    SelfDistiller(net(), n_generations=2, random_state=0, verbose=1).fit(X, Y)
    assert_one_bar(terminal, "SelfDistiller", 3 * EPOCHS)
    assert {total for _, _, total in terminal.bars} == {3 * EPOCHS}


def test_a_second_training_as_long_as_was_best_has_one_bar(terminal):
    stops = EarlyStopping(monitor="valid_loss", patience=1)
    recipe = net(callbacks=[stops], train_split=ValidSplit(0.25, random_state=0), max_epochs=30)
    fitted = NetworkClassifier(recipe, refit=True, random_state=0, verbose=1).fit(X, Y)
    assert_one_bar(terminal, "NetworkClassifier", 30 + len(fitted.history_))


def test_a_stacked_search_has_one_bar(terminal, capsys):
    search = StackedGridSearchCV(
        NetworkClassifier(net(), verbose=1), {"random_state": [0, 1]}, cv=3, verbose=3
    )
    search.fit(X, Y)
    assert_one_bar(terminal, "StackedGridSearchCV", 7 * EPOCHS)  # with the last fit, on all rows
    assert {total for _, _, total in terminal.bars} == {7 * EPOCHS}
    assert "2 candidates on 3 folds" in capsys.readouterr().out


def test_a_search_of_scikit_learn_shows_the_bars_of_its_fits_in_turn(terminal):
    grid = {"random_state": [0, 1]}
    GridSearchCV(NetworkClassifier(net(), verbose=1), grid, cv=2).fit(X, Y)
    assert terminal.getvalue().count(f" 0/{EPOCHS} epochs") == 5
    assert not any("epochs" in line for line in terminal.screen)  # none of them stays


def _looks_in_a_worker():
    sys.stderr = Terminal()
    seen = bar._can_be_seen()
    sys.stderr = sys.__stderr__
    return seen


def test_workers_of_others_show_none(terminal):
    assert bar._can_be_seen()
    assert joblib.Parallel(2)([joblib.delayed(_looks_in_a_worker)()] * 2) == [False, False]
    GridSearchCV(
        NetworkClassifier(net(), verbose=1), {"random_state": [0, 1]}, cv=2, n_jobs=2, refit=False
    ).fit(X, Y)
    assert terminal.getvalue() == ""


def test_a_forked_process_has_no_bar(terminal, monkeypatch):
    with bar_shown(1, "probe") as shown:
        assert Bar.here() is shown
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: -1)
            assert Bar.here() is None


def test_notebooks_are_looked_at(monkeypatch):
    stream = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    monkeypatch.setattr(bar, "sys", Streams(stream))
    assert bar._can_be_seen()
    monkeypatch.setattr(bar, "sys", Streams(None))
    assert not bar._can_be_seen()


def test_fits_of_several_threads_share_the_bar(terminal):
    """Also those that begin in contexts of their own."""
    with bar_shown(1, "probe"):
        ensemble(1).fit(X, Y)
        thread = threading.Thread(target=ensemble(2, verbose=1).fit, args=(X, Y))
        thread.start()
        thread.join()
        silent = threading.Thread(target=ensemble(2).fit, args=(X, Y))
        silent.start()
        silent.join()
    assert terminal.bars[0] == ("probe", 0, EPOCHS)
    assert terminal.bars[-1] == ("probe", 3 * EPOCHS, 3 * EPOCHS)
    assert sum("epochs" in line for line in terminal.screen) == 1


def test_words_stand_above_the_bar(terminal, monkeypatch):
    monkeypatch.setattr(bar, "sys", Streams(terminal, terminal))
    monkeypatch.setattr(sys, "stdout", terminal)
    with bar_shown(1, "probe"):
        tell("probe", "before")
        ensemble(1, verbose=2).fit(X, Y)
    tell("probe", "after")
    lines = [line for line in terminal.screen if line]
    assert lines[0] == "[skensemble] probe: before"
    assert [line[:26] for line in lines[2:-2]] == [
        f"[skensemble] member 0: epoch {n + 1}"[:26] for n in range(EPOCHS)
    ]
    assert f"{EPOCHS}/{EPOCHS} epochs" in lines[-2]
    assert lines[-1] == "[skensemble] probe: after"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_closes_the_bar_where_it_is(terminal, error):
    class Ends(Callback):
        def on_batch_begin(self, net, **kwargs):
            if len(net.history) == 3:
                raise error("in epoch 3")

    with pytest.raises(error, match="in epoch 3"):
        ensemble(2, net(callbacks=[Ends()]), stack=1, verbose=1).fit(X, Y)
    assert terminal.bars[-1][1] == 2
    assert terminal.getvalue().endswith("\n")  # and the fixture finds no bar


def test_a_search_goes_on_after_candidates_that_fail(terminal):
    grid = {"estimator__callbacks": [None, [Fails()]]}
    with pytest.warns(FitFailedWarning), pytest.warns(UserWarning, match="non-finite"):
        StackedGridSearchCV(
            NetworkClassifier(net(), random_state=0), grid, cv=2, verbose=1
        ).fit(X, Y)  # fmt: skip
    who, done, total = terminal.bars[-1]
    assert (who, done) == ("StackedGridSearchCV", total)


# -- nothing else changes ----------------------------------------------------------------------
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_bar_changes_no_bit(terminal, n_jobs):
    made = [ensemble(3, stack=2, n_jobs=n_jobs, verbose=v).fit(X, Y) for v in (0, 1)]
    for ours, theirs in zip(*map(weights, made), strict=True):
        np.testing.assert_array_equal(ours, theirs)


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from nets import make_net, make_points
from skensemble import DeepEnsembleClassifier
X, y = make_points()
net = make_net(max_epochs=4)
DeepEnsembleClassifier(net, 4, stack=1, n_jobs=2, random_state=0, verbose=1).fit(X, y)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_bar_in_a_real_terminal():
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    script = SCRIPT.format(tests=os.path.dirname(__file__))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        read = bytearray()
        while True:
            try:
                read += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
        assert process.wait() == 0
    os.close(ours)
    shown = Terminal()
    shown.write(read.decode().replace("\r\n", "\n"))
    assert_one_bar(shown, "DeepEnsembleClassifier", 16)


def test_a_forked_process_has_no_listeners(monkeypatch):
    with listening(Count()):
        assert len(progress.listeners()) == 1
        monkeypatch.setattr(os, "getpid", lambda: -1)
        assert progress.listeners() == ()
