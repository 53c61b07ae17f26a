"""Estimators as HTML: blocks inside blocks, and what a fit has cost."""

import copy
import pickle
from html.parser import HTMLParser

import joblib
import pytest
import torch
from nets import make_net, make_points
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NetworkClassifier,
    StackedGridSearchCV,
)

X, Y = make_points()
VOID = {"input", "br", "img", "meta", "link", "hr", "path", "rect"}


class Diagram(HTMLParser):
    """Labels of blocks with their depth, and the cells of each block's tables."""

    def __init__(self, estimator):
        super().__init__()
        self.open, self.blocks, self.tables, self.cells = [], [], {}, []
        self.feed(estimator._repr_html_())
        self.close()
        assert self.open == []  # every tag is closed

    def handle_starttag(self, tag, attributes):
        if tag in VOID:
            return
        self.open.append((tag, dict(attributes).get("class") or ""))
        if tag == "tr":
            self.cells = []

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open.pop()[0] == tag
        if tag == "tr" and self.cells and self.blocks:
            name, *values = self.cells
            self.tables.setdefault(self.blocks[-1], {})[name] = values[-1] if values else ""

    def handle_data(self, data):
        tags = [tag for tag, _ in self.open]
        text = " ".join(data.split())
        if not text or {"style", "script"} & set(tags):
            return
        if "tr" in tags:
            self.cells.append(text)
        elif "label" in tags and not any(
            word in kind for _, kind in self.open for word in ("caption", "link", "status")
        ):
            depth = sum(kind.split()[:1] == ["sk-item"] for _, kind in self.open)
            self.blocks.append((depth, text))

    @property
    def labels(self):
        return [label for _, label in self.blocks]

    def table(self, label):
        """The rows of all blocks of this label, the first one's where they are the same."""
        found = {}
        for block, rows in self.tables.items():
            if block[1] == label:
                found = {**rows, **found}
        return found


def net(**kwargs):
    return make_net(**{"max_epochs": 2, **kwargs})


def ensemble(**kwargs):
    return DeepEnsembleClassifier(net(), 3, random_state=0, **kwargs)


def n_numbers(estimators):
    return sum(one.numel() for each in estimators for one in each.module_.parameters())


def assert_nested(diagram, outer, inner):
    """A label stands in the block of another one."""
    at = diagram.labels.index(outer)
    depth = diagram.blocks[at][0]
    inside = []
    for level, label in diagram.blocks[at + 1 :]:
        if level <= depth:
            break
        inside.append(label)
    assert inner in inside


def test_a_student_with_its_teacher():
    diagram = Diagram(DistilledClassifier(ensemble(), net()))
    assert_nested(diagram, "DistilledClassifier", "teacher: DeepEnsembleClassifier")
    assert_nested(diagram, "DistilledClassifier", "student: NeuralNetClassifier")
    assert_nested(diagram, "teacher: DeepEnsembleClassifier", "estimator: NeuralNetClassifier")
    assert diagram.table("teacher: DeepEnsembleClassifier")["n_estimators"] == "3"
    assert "seconds" not in diagram.table("DistilledClassifier")


@pytest.mark.parametrize(
    ("student", "labels"),
    [
        (DistilledClassifier(), ("teacher: DeepEnsembleClassifier", "student: chosen by rules")),
        (
            DistilledClassifier(None, net()),
            ("teacher: DeepEnsembleClassifier", "student: NeuralNetClassifier"),
        ),
        (
            DistilledClassifier(RandomForestClassifier()),
            ("teacher: RandomForestClassifier", "student: chosen by rules"),
        ),
        (
            DistilledClassifier(ensemble()),
            ("teacher: DeepEnsembleClassifier", "student: NeuralNetClassifier"),
        ),
        (DistilledClassifier(net(), torch.nn.Linear), ("student: Linear",)),
        (
            DistilledClassifier([RandomForestClassifier(), ensemble()]),
            ("teacher: TeacherCommittee", "0: RandomForestClassifier", "1: DeepEnsembleClassifier"),
        ),
    ],
    ids=["rules", "no teacher", "forest", "no student", "module", "list"],
)
def test_whoever_teaches_and_whatever_learns(student, labels):
    student._sk_visual_block_()  # of which scikit-learn hides the errors
    diagram = Diagram(student)
    for label in labels:
        assert_nested(diagram, "DistilledClassifier", label)


@pytest.fixture(scope="module")
def fitted():
    teacher = ensemble(cross_fit=3)
    return DistilledClassifier(teacher, net(), n_students=2, random_state=0).fit(X, Y)


def test_what_a_fit_has_cost(fitted):
    diagram = Diagram(fitted)
    student = diagram.table("DistilledClassifier")
    assert student["members"] == "2"
    assert student["parameters"] == str(n_numbers(fitted.estimators_))
    assert float(student["seconds"]) == pytest.approx(fitted._fit_seconds, rel=1e-3)
    teacher = diagram.table("teacher: DeepEnsembleClassifier")
    assert teacher["members"] == "3"
    assert teacher["parameters"] == str(n_numbers(fitted.teacher_.estimators_))
    assert float(teacher["oof_score_"]) == pytest.approx(fitted.teacher_.oof_score_, rel=1e-3)
    assert 0 < float(teacher["seconds"]) <= float(student["seconds"])


def test_members_of_one_network_are_counted():
    many = BatchEnsembleClassifier(net(), 4, random_state=0).fit(X, Y)
    assert Diagram(many).table("BatchEnsembleClassifier")["members"] == "4"
    many.set_params(merge="rank-mean")  # which it cannot say any more
    assert "members" not in Diagram(many).table("BatchEnsembleClassifier")


def test_a_teacher_that_is_not_kept(fitted):
    forgetful = copy.copy(fitted).set_params(keep_teacher=False)
    forgetful.teacher_ = None
    assert "teacher: DeepEnsembleClassifier" in Diagram(forgetful).labels
    frozen = DistilledClassifier(
        FrozenEstimator(fitted.teacher_), net(), keep_teacher=False, random_state=0
    ).fit(X, Y)
    assert "teacher: not kept" in Diagram(pickle.loads(pickle.dumps(frozen))).labels


def test_in_a_pipeline_and_in_searches():
    student = DistilledClassifier(ensemble(), net(), random_state=0)
    pipe = make_pipeline(StandardScaler(), student)
    for one in (pipe, pipe.fit(X, Y)):
        assert_nested(Diagram(one), "Pipeline", "teacher: DeepEnsembleClassifier")
    assert Diagram(pipe).table("distilledclassifier: DistilledClassifier")["members"] == "1"
    for kind in (GridSearchCV, StackedGridSearchCV):
        search = kind(student, {"alpha": [0.5, 1.0]}, cv=2)
        for one in (search, search.fit(X, Y)):
            assert_nested(Diagram(one), kind.__name__, "teacher: DeepEnsembleClassifier")
        assert search.best_estimator_._fit_seconds > 0


def test_seconds_of_candidates_are_their_share():
    seconds = {}

    def scorer(estimator, X, y):
        seconds[estimator.random_state] = estimator._fit_seconds
        return 0.0

    search = StackedGridSearchCV(
        NetworkClassifier(net()), {"random_state": [0, 1]}, cv=2, scoring=scorer, refit=False
    )
    search.fit(X, Y)
    for at, mean in enumerate(search.cv_results_["mean_fit_time"]):
        assert seconds[at] == pytest.approx(mean, rel=1)


def test_seconds_are_part_of_a_pickle_and_not_of_a_file(fitted, tmp_path):
    assert pickle.loads(pickle.dumps(fitted))._fit_seconds == fitted._fit_seconds
    fitted.save(tmp_path / "student")
    import skensemble

    again = skensemble.load(tmp_path / "student")
    table = Diagram(again).table("DistilledClassifier")
    assert "seconds" not in table
    assert table["members"] == "2"
    assert joblib.hash(fitted) == joblib.hash(pickle.loads(pickle.dumps(fitted)))


def test_text_is_escaped():
    class Sly(RandomForestClassifier):
        pass

    Sly.__name__ = "<b>Sly</b>"
    student = DistilledClassifier([Sly(criterion="<script>alert(1)</script>")], net())
    html = student._repr_html_()
    assert "<b>Sly" not in html
    assert "<script>alert" not in html
    diagram = Diagram(student)
    assert "0: <b>Sly</b>" in diagram.labels
