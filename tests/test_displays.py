"""Displays hold the numbers that they draw, and draw them on axes that are given."""

import warnings

import numpy as np
import pytest
from nets import make_net, make_points
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.dataset import ValidSplit

from skensemble import (
    DeepEnsembleClassifier,
    DistilledClassifier,
    StackedGridSearchCV,
)
from skensemble.datasets import corrupt_images, corrupt_table
from skensemble.inspection import (
    CorruptionDisplay,
    EnsembleSizeDisplay,
    LossLandscapeDisplay,
    ReliabilityDisplay,
    RetentionDisplay,
    RiskCoverageDisplay,
    SearchHeatMapDisplay,
    TrainingCurvesDisplay,
)
from skensemble.metrics import aurc, expected_calibration_error

plt = pytest.importorskip("matplotlib.pyplot")
X, Y = make_points()


@pytest.fixture(autouse=True)
def no_screen():
    plt.switch_backend("agg")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def ensemble():
    net = make_net(max_epochs=3, train_split=ValidSplit(3))
    return DeepEnsembleClassifier(net, 3, random_state=0).fit(X, Y)


def texts(ax):
    legend = ax.get_legend()
    return " ".join(one.get_text() for one in (legend.get_texts() if legend else []))


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_reliability(ensemble, strategy):
    display = ReliabilityDisplay.from_estimator(ensemble, X, Y, n_bins=5, strategy=strategy)
    proba = ensemble.predict_proba(X)
    ece = expected_calibration_error(Y, proba, n_bins=5, strategy=strategy)
    assert display.ece == pytest.approx(ece)
    share = display.count / display.count.sum()
    assert share @ np.abs(display.accuracy - display.confidence) == pytest.approx(ece)
    assert display.count.sum() == len(X)
    assert share @ display.accuracy == pytest.approx(ensemble.score(X, Y))
    assert f"ECE {ece:.3f}" in texts(display.ax_)
    np.testing.assert_array_equal(display.frame()["count"], display.count)


def test_several_classifiers_on_one_picture(ensemble):
    display = ReliabilityDisplay.from_estimator(ensemble, X, Y)
    other = ReliabilityDisplay.from_predictions(Y, ensemble[0].predict_proba(X), ax=display.ax_)
    assert other.ax_ is display.ax_
    assert texts(other.ax_).count("calibrated") == 1
    again = other.plot()
    assert again.ax_ is not display.ax_


def test_risk_and_coverage(ensemble):
    display = RiskCoverageDisplay.from_estimator(ensemble, X, Y)
    assert display.aurc == pytest.approx(aurc(Y, ensemble.predict_proba(X)))
    score = -ensemble.uncertainty(X).epistemic
    other = RiskCoverageDisplay.from_estimator(ensemble, X, Y, score=score, name="by epistemic")
    assert other.risk[-1] == pytest.approx(display.risk[-1]) == 1 - ensemble.score(X, Y)
    assert "by epistemic" in texts(other.ax_)
    assert list(other.frame()) == ["coverage", "risk"]


def test_training_curves(ensemble):
    display = TrainingCurvesDisplay.from_estimator(ensemble)
    for name in ("train_loss", "valid_loss"):
        for number, member in enumerate(ensemble):
            frame = display.frame()
            found = frame["value"][(frame["network"] == number) & (frame["record"] == name)]
            assert found.tolist() == [row[name] for row in member.history_]
    assert len(display.ax_.lines) == 6
    one = TrainingCurvesDisplay.from_estimator(ensemble[0], records=["train_loss"])
    assert list(one.curves) == ["train_loss"]
    with pytest.raises(ValueError, match=r"'records' must be among .*train_loss.* Got \['loss'\]"):
        TrainingCurvesDisplay.from_estimator(ensemble, records=["loss"])


def test_a_landscape_is_a_frame_too(ensemble):
    display = LossLandscapeDisplay.from_estimator(ensemble, X, Y, n_steps=3)
    frame = display.frame()
    assert len(frame) == 9
    at = display.landscape
    for _, row in frame.iterrows():
        i, j = (int(np.flatnonzero(at.steps == row[name])[0]) for name in ("first", "second"))
        assert row["loss"] == at.loss[i, j]
    line = LossLandscapeDisplay.from_estimator(ensemble, X, Y, n_steps=5, dims=1)
    assert list(line.frame()) == ["first", "loss"]


def test_ensemble_size(ensemble):
    display = EnsembleSizeDisplay.from_estimator(ensemble, X, Y, scoring="neg_log_loss")
    assert display.sizes.tolist() == [1, 2, 3]
    assert display.scores[0] == display.members[0]
    plain = EnsembleSizeDisplay.from_estimator(ensemble, X, Y)
    assert plain.scores[-1] == ensemble.score(X, Y)
    assert display.ax_.get_ylabel() == "neg log loss"
    with pytest.raises(
        TypeError, match="must be a fitted DeepEnsembleClassifier.*NetworkClassifier"
    ):
        EnsembleSizeDisplay.from_estimator(ensemble[0], X, Y)


def test_a_search_over_more_than_two_parameters_shows_the_best():
    net = make_net(max_epochs=1)
    grid = {"temperature": [4.0, 1.0], "alpha": [0.1, 0.9], "random_state": [0, 1]}
    student = DistilledClassifier(DeepEnsembleClassifier(net, 2), net)
    search = StackedGridSearchCV(student, grid, cv=2, refit=False).fit(X, Y)
    display = SearchHeatMapDisplay.from_estimator(search, "temperature", "alpha")
    assert display.values == ([1.0, 4.0], [0.1, 0.9])
    means = search.cv_results_["mean_test_score"]
    for i, temperature in enumerate([1.0, 4.0]):
        for j, alpha in enumerate([0.1, 0.9]):
            mine = [
                score for one, score in zip(search.cv_results_["params"], means, strict=True)
                if (one["temperature"], one["alpha"]) == (temperature, alpha)
            ]  # fmt: skip
            assert len(mine) == 2
            assert display.scores[i, j] == max(mine)
    with pytest.raises(ValueError, match="must be two of the parameters that were searched"):
        SearchHeatMapDisplay.from_estimator(search)
    with pytest.raises(ValueError, match=r"one of the parameters that were searched.* Got 'beta'"):
        SearchHeatMapDisplay.from_estimator(search, "beta", "alpha")


def test_scikit_learns_search_in_a_pipeline_with_names_and_holes():
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    grids = [
        {"logisticregression__C": [1.0, 0.1], "logisticregression__class_weight": [None]},
        {"logisticregression__C": [10.0], "logisticregression__class_weight": ["balanced"]},
    ]
    iris = load_iris(return_X_y=True)
    search = GridSearchCV(pipeline, grids, scoring=["accuracy", "neg_log_loss"], refit=False)
    search.fit(*iris)
    display = SearchHeatMapDisplay.from_estimator(search, "C", "class_weight", metric="accuracy")
    assert np.isnan(display.scores).sum() == 3
    assert display.ax_.get_ylabel() == "C"
    assert display.values == ([0.1, 1.0, 10.0], [None, "balanced"])
    with pytest.raises(ValueError, match=r"'metric' must be one of \['accuracy', 'neg_log_loss'\]"):
        SearchHeatMapDisplay.from_estimator(search, "C", "class_weight")


def test_corruptions_of_tables_and_images(ensemble):
    display = CorruptionDisplay.from_estimator(ensemble, X, Y, ["noise", "shift"], random_state=1)
    worse = corrupt_table(X, "noise", severity=5, random_state=1)
    assert display.scores["noise"][5] == ensemble.score(worse, Y)
    assert display.scores["shift"][0] == ensemble.score(X, Y)
    assert list(display.frame()) == ["severity", "noise", "shift"]
    assert display.mean() == pytest.approx(display.frame().iloc[1:, 1:].to_numpy().mean())
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 8, 8), dtype=np.uint8)
    labels = np.arange(20) % 2

    class Bright:
        """Says whether an image is bright."""

        classes_ = np.arange(2)

        def predict(self, X):
            return (np.asarray(X).mean((1, 2, 3)) > 127).astype(int)

        def score(self, X, y):
            return float((self.predict(X) == y).mean())

        def fit(self, X, y):
            return self

    display = CorruptionDisplay.from_estimator(Bright(), images, labels, ["fog"])
    foggy = corrupt_images(images, "fog", severity=2, random_state=0)
    assert display.scores["fog"][2] == Bright().score(foggy, labels)


def test_an_infinite_loss_has_no_bar():
    losses = {"plain": 0.5, "student": 0.4, "teacher": np.inf}
    accuracies = dict.fromkeys(losses, 0.8)
    display = RetentionDisplay(losses, accuracies, np.nan, (np.nan, np.nan)).plot()
    display.figure_.canvas.draw()
    assert [bar.get_height() for bar in display.ax_.patches] == [0.5, 0.4, 0.0]
    assert display.ax_.texts[-1].get_text() == "80.0%, infinite loss"


def test_retention_of_a_student_with_a_report():
    net = make_net(max_epochs=4)
    teacher = DeepEnsembleClassifier(net, 3)
    student = DistilledClassifier(teacher, net, report=2, random_state=0)
    with warnings.catch_warnings():  # so small a teacher may be no better than a network
        warnings.simplefilter("ignore")
        student.fit(X, Y)
    display = RetentionDisplay.from_estimator(student)
    assert display.frame()["log_loss"].tolist() == [
        student.report_[f"{who}_loss"] for who in ("plain", "student", "teacher")
    ]
    assert "gain" in display.ax_.get_title()
    with pytest.raises(ValueError, match=r"fitted with report=True\. Got DistilledClassifier"):
        RetentionDisplay.from_estimator(DistilledClassifier(teacher, net).fit(X, Y))
