"""The private names of scikit-learn we lean on still mean what they meant."""

import numbers
import weakref

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils._param_validation import InvalidParameterError

from skensemble import _private
from skensemble._fits.given import Given


class Probe(BaseEstimator):
    _parameter_constraints = {  # noqa: RUF012
        "share": [
            _private.Interval(numbers.Integral, 1, None, closed="left"),
            _private.Interval(_private.RealNotInt, 0, 1, closed="right"),
        ],
        "mode": [_private.StrOptions({"a", "b"}), None],
    }

    def __init__(self, share=1, mode=None):
        self.share = share
        self.mode = mode

    @_private.fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        return self


@pytest.mark.parametrize("params", [{"share": 3}, {"share": 0.5}, {"mode": "a"}])
def test_fit_context_accepts(params):
    assert Probe(**params).fit([[0]]).get_params()["share"] == params.get("share", 1)


@pytest.mark.parametrize("params", [{"share": 0}, {"share": 1.5}, {"mode": "c"}, {"mode": 1}])
def test_fit_context_refuses(params):
    (name,) = params
    with pytest.raises(InvalidParameterError, match=f"The '{name}' parameter of Probe must be"):
        Probe(**params).fit([[0]])


def test_validate_parameter_constraints():
    check = _private.validate_parameter_constraints
    check(Probe._parameter_constraints, {"mode": "a", "other": 1}, "Probe")
    with pytest.raises(InvalidParameterError, match="The 'mode' parameter of Probe must be"):
        check(Probe._parameter_constraints, {"mode": "c"}, "Probe")


def test_check_sample_weight():
    X = np.ones((3, 1), dtype=np.float32)
    weight = _private.check_sample_weight([1, 2, 3], X, dtype=np.float32)
    assert weight.dtype == np.float32
    with pytest.raises(ValueError, match="Negative values"):
        _private.check_sample_weight([1, -2, 3], X, ensure_non_negative=True)


def test_check_y():
    np.testing.assert_array_equal(_private.check_y(["b", "a"]), ["b", "a"])
    with pytest.raises(ValueError, match="NaN"):
        _private.check_y([1.0, np.nan])


def test_hooks_of_a_search():
    """`skensemble.model_selection` trains between scikit-learn's questions."""
    asked = []

    class Search(GridSearchCV):
        def _get_routed_params_for_fit(self, params):
            asked.append("routed")
            return super()._get_routed_params_for_fit(params)

        def _run_search(self, evaluate_candidates, *, callback_ctx):
            def evaluate(candidates, cv=None, **more):
                asked.append((list(candidates), cv, self._checked_cv_orig.get_n_splits()))
                self.found = evaluate_candidates(candidates, cv=self._checked_cv_orig, **more)
                return self.found

            super()._run_search(evaluate, callback_ctx=callback_ctx)

    search = Search(DummyClassifier(), {"strategy": ["prior"]}, cv=2).fit([[0]] * 4, [0, 0, 1, 1])
    assert asked == ["routed", ([{"strategy": "prior"}], None, 2)]
    assert search.cv_results_ is search.found


class Told(CallbackSupportMixin, BaseEstimator):
    _parameter_constraints = {}  # noqa: RUF012

    @_private.fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        self.inside = _private.is_inside(self)
        context = _private.open_callbacks(self)
        context.call_on_fit_task_begin(estimator=self, X=X)
        self.depth = 0 if context.parent is None else 1
        task = context.subcontext("task", max_subtasks=2, sequential_subtasks=False)
        task.max_subtasks += 1  # what is not known at the beginning
        for number in range(3):
            task.subcontext("epoch", task_id=number)
        self.stop = task.call_on_fit_task_end(
            estimator=self, X=X, reconstruction_attributes=lambda: {"found": 3}
        )
        context.call_on_fit_task_end(estimator=self, X=X)
        return self


class Hears:
    max_propagation_depth = None

    def __init__(self):
        self.told = []

    def setup(self, estimator, context):
        self.told.append("setup")

    def teardown(self, estimator, context):
        self.told.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None):
        self.told.append((context.task_name, context.max_subtasks))

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.told.append((context.task_name, getattr(fitted_estimator, "found", None)))
        return context.task_name == "task"


def test_callbacks_are_opened_and_torn_down():
    one, hears = Told(), Hears()
    assert _private.callbacks_of(one) == []
    one.set_callbacks(hears).fit([[0]])
    assert _private.callbacks_of(one) == [hears]
    assert hears.told == ["setup", ("fit", None), ("task", 3), ("fit", None), "teardown"]
    assert (one.stop, one.inside, one.depth) == (True, False, 0)


def test_who_is_inside_is_told_so():
    pipe = make_pipeline(Told()).set_callbacks(Hears()).fit([[0]])
    assert pipe[-1].inside
    assert pipe[-1].depth == 1
    assert not _private.is_inside(pipe[-1])


def test_blocks_of_diagrams():
    one = DummyClassifier()
    assert _private.visual_block(one).kind == "single"
    assert _private.visual_block(GridSearchCV(one, {})).kind != "single"
    block = _private.VisualBlock(
        "serial", [one, "text"], names=["a: b", "c"], name_details=["d", "e"], dash_wrapped=False
    )
    assert _private.visual_block(block) is block
    shown = DummyClassifier().fit([[0], [1]], [0, 1])._get_fitted_attr_html("")
    shown.data = {"seconds": {"type_name": "float", "value": 0.5}, **shown.data}
    assert next(iter(shown)) == "seconds"
    assert "<td>0.5</td>" in shown._repr_html_inner()


def test_what_is_remembered_of_an_object_is_never_told_of_another():
    given = Given(None, None)
    owner = np.zeros(3)
    alive = weakref.ref(owner)
    assert given.recall("sum", lambda: 1, (owner,), ("a",)) == 1
    assert given.recall("sum", lambda: 2, (owner,), ("a",)) == 1
    assert given.recall("sum", lambda: 2, (owner,), ("b",)) == 2
    assert given.recall("sum", lambda: 3, (owner.copy(),), ("a",)) == 3
    del owner
    assert alive() is not None  # or its identity could become another object's
