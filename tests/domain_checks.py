"""Checks of what this package promises beyond scikit-learn, chosen by what an estimator can do.

As in scikit-learn's ``estimator_checks``, a check is a function of an unfitted estimator. Most
look at one fit that they share and must leave as it was.
"""

import copy
import functools
import gc
import inspect
import pickle
import random
import re
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import make_classification
from torch import Tensor, nn

import skensemble

# A prime that no width of a network has: an array with it as an axis holds training rows.
N_ROWS, N_FEATURES, N_CLASSES = 61, 4, 3
PREDICTIONS = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "predict_members",
    "transform",
)
# What a kind of estimator refuses, and in which words.
_NTK_STUDENT = "does not write students that are NTKClassifiers"
_NO_GRAPH = "predicts with its gradients, which ONNX has no graph for"
REFUSALS = {
    ("save", "DistilledClassifier(NTKClassifier)"): _NTK_STUDENT,
    ("save", "SelfDistiller(NTKClassifier)"): _NTK_STUDENT,
    ("export_onnx", "NTKClassifier"): _NO_GRAPH,
    ("export_onnx", "DistilledClassifier(NTKClassifier)"): _NO_GRAPH,
    ("export_onnx", "SelfDistiller(NTKClassifier)"): _NO_GRAPH,
}
# Fitted ones have no hash that a copy shares: joblib fails on the masked arrays of scikit-learn's
# ``cv_results_``, and the transformers leave pickling their ``module_`` to torch.
WITHOUT_HASH = (
    "StackedGridSearchCV",
    "StackedHalvingGridSearchCV",
    "StackedHalvingRandomSearchCV",
    "StackedRandomizedSearchCV",
    "ModuleFeatures",
    "NTKFeatures",
)
# Attributes that a docstring gives a condition: names of columns, and members that are merged.
CONDITIONAL = {"feature_names_in_", "merged_"}
# Of folds, where there are any.
CONDITIONAL |= {"oof_proba_", "oof_score_", "temperature_", "folds_"}
CONDITIONAL |= {"report_"}

Check = Callable[[BaseEstimator], None]
_CHECKS: list[tuple[tuple[str, ...], Check]] = []


def needs(*methods: str) -> Callable[[Check], Check]:
    """Register a check for estimators with these methods."""

    def register(check: Check) -> Check:
        _CHECKS.append((methods, check))
        return check

    return register


def domain_checks(estimator: BaseEstimator) -> Iterator[Check]:
    """Yield the checks that apply."""
    for methods, check in _CHECKS:
        if all(hasattr(estimator, name) for name in methods):
            yield check


def checked_methods() -> set[str]:
    """Return the methods that have a check."""
    return {name for methods, _ in _CHECKS for name in methods}


# -- what checks share -------------------------------------------------------------------


def kind_of(estimator: BaseEstimator) -> str:
    """Return the class, and in brackets that of the estimator of this package inside."""
    inner = getattr(estimator, "student", getattr(estimator, "estimator", None))
    name = type(estimator).__name__
    is_ours = type(inner).__module__.startswith("skensemble")
    return f"{name}({type(inner).__name__})" if is_ours and not is_search(estimator) else name


def is_search(estimator: BaseEstimator) -> bool:
    return hasattr(estimator, "cv")


def make_rows(n_classes: int = N_CLASSES) -> tuple[np.ndarray, np.ndarray]:
    """Return rows that float32 can hold, so that ONNX sees the same ones."""
    X, y = make_classification(
        N_ROWS, N_FEATURES, n_informative=4, n_redundant=0, n_classes=n_classes,
        n_clusters_per_class=1, random_state=0,
    )  # fmt: skip
    return X.astype(np.float32).astype(np.float64), y


def seeded(estimator: BaseEstimator, seed: int = 0) -> Any:
    """Return an unfitted copy with a seed; a search has one in what it searches."""
    estimator = clone(estimator)
    has_seed = "random_state" in estimator.get_params(deep=False)
    return estimator.set_params(random_state=seed) if has_seed else estimator


@functools.cache
def fitted(estimator: BaseEstimator, n_classes: int = N_CLASSES) -> Any:
    """Return the fit that checks share."""
    return seeded(estimator).fit(*make_rows(n_classes))


def answers(estimator: Any, X: np.ndarray) -> dict[str, np.ndarray]:
    """Return all that an estimator says of rows."""
    names = [name for name in PREDICTIONS if hasattr(estimator, name)]
    with np.errstate(divide="ignore"):  # votes have logarithms of zero
        return {name: getattr(estimator, name)(X) for name in names}


def assert_same_answers(estimator: Any, like: Any, X: np.ndarray | None = None) -> None:
    """Compare to the last bit."""
    X = make_rows()[0] if X is None else X
    found, expected = answers(estimator, X), answers(like, X)
    assert found.keys() == expected.keys()
    for name in expected:
        assert found[name].dtype == expected[name].dtype, name
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def arrays_in(value: Any, name: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield the name of each array and tensor that an object holds, however deep."""
    if id(value) in seen or isinstance(value, type) or inspect.isroutine(value):
        return
    seen.add(id(value))
    if isinstance(value, (np.ndarray, Tensor)):
        yield name, value
        return
    if isinstance(value, nn.Module):
        inside: Any = value.state_dict().items()
    elif isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, (list, tuple, set)):
        inside = enumerate(value)
    else:
        inside = getattr(value, "__dict__", {}).items()
    for key, one in inside:
        yield from arrays_in(one, f"{name}.{key}", seen)


def documented_attributes(cls: type) -> set[str]:
    """Return the names in the section "Attributes" of a docstring."""
    found = re.search(
        r"^Attributes\n-+\n(.*?)(?=\n\n\S|\Z)", inspect.getdoc(cls) or "", re.S | re.M
    )
    heads = [line for line in found[1].splitlines() if line[:1] != " "] if found else []
    return {name for head in heads for name in re.findall(r"\w+_\b", head.split(" : ")[0])}


def global_state() -> dict[str, Any]:
    """Return what a fit could change for others."""
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": pickle.dumps(np.random.get_state()),  # noqa: NPY002
        "python": random.getstate(),
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def refused(estimator: BaseEstimator, method: str, folder: Path) -> bool:
    """Whether a method is listed as refused; it then must say so, and write nothing."""
    text = REFUSALS.get((method, kind_of(estimator)))
    if text is not None:
        with pytest.raises(ValueError, match=text):
            getattr(fitted(estimator), method)(folder / "file")
        assert not list(folder.iterdir())
    return text is not None


# -- fits --------------------------------------------------------------------------------


@needs("fit")
def check_a_seed_repeats_a_fit(estimator):
    assert_same_answers(seeded(estimator).fit(*make_rows()), fitted(estimator))


@needs("fit")
def check_a_fit_leaves_nothing_for_the_next(estimator):
    again = seeded(estimator, seed=1).fit(*make_rows(2))
    again.set_params(**seeded(estimator).get_params(deep=False))
    assert_same_answers(again.fit(*make_rows()), fitted(estimator))


@needs("fit", "get_params", "set_params")
def check_set_params_equals_the_constructor(estimator):
    required = [
        name
        for name, parameter in inspect.signature(type(estimator)).parameters.items()
        if parameter.default is inspect.Parameter.empty
    ]
    bare = type(estimator)(**dict.fromkeys(required))
    bare.set_params(**seeded(estimator).get_params(deep=False))
    assert_same_answers(clone(bare).fit(*make_rows()), fitted(estimator))


@needs("fit")
def check_a_clone_of_a_fit_is_unfitted_and_fits_the_same(estimator):
    twin = clone(fitted(estimator))
    assert vars(twin).keys() == vars(seeded(estimator)).keys()
    assert_same_answers(twin.fit(*make_rows()), fitted(estimator))


# What networks must be, or have left out, to answer.
_NEEDED = {
    "uncertainty": "must be that of at least 2 networks",
    "predict_set": "need rows that members have not seen",
}


def answer_or_refusal(estimator: Any, name: str, X: np.ndarray) -> Any:
    """Return what a method says of rows, or None where it refuses in the words it should."""
    try:
        return getattr(estimator, name)(X)
    except (AttributeError, ValueError) as error:
        if _NEEDED[name] in f"{error} {error.__cause__}":
            return None
        raise


def public_calls(estimator: BaseEstimator, folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield what each public method of an estimator is called by, in an order that works.

    ``export_onnx`` has a check of its own, as a graph takes a second.
    """
    X, y = make_rows()
    one: Any = clone(estimator)
    yield "fit", lambda: one.fit(X, y)
    own = seeded(estimator)
    yield "fit_transform", lambda: own.fit_transform(X, y)
    for name in PREDICTIONS:
        yield name, lambda name=name: getattr(one, name)(X)
    yield "score", lambda: one.score(X, y)
    for name in ("uncertainty", "predict_set", "predict_concentration"):
        yield name, lambda name=name: answer_or_refusal(one, name, X)
    yield "predict_teachers", lambda: one.predict_teachers(X)
    yield "get_feature_names_out", lambda: one.get_feature_names_out()
    yield "merge_members", lambda: one.merge_members()
    yield "__len__", lambda: len(one)
    yield "__getitem__", lambda: one[0]
    yield "__iter__", lambda: list(one)
    yield "__repr__", lambda: repr(one)
    yield "get_params", lambda: one.get_params()
    yield "get_metadata_routing", lambda: one.get_metadata_routing()
    yield "__sklearn_tags__", lambda: one.__sklearn_tags__()
    yield "set_params", lambda: clone(one).set_params()
    if ("save", kind_of(estimator)) not in REFUSALS:
        yield "save", lambda: one.save(folder / "file")
        if hasattr(one, "save"):
            yield "load", lambda: skensemble.load(folder / "file")


# Of searches, which pass them on to what they search.
_PASSED_ON = {"inverse_transform", "score_samples"}


@needs("fit")
def check_global_state_is_left_alone(estimator):
    public = {name for name in dir(estimator) if not name.startswith(("_", "set_"))}
    public = {name for name in public if callable(getattr(type(estimator), name, None))}
    called = set()
    with tempfile.TemporaryDirectory() as folder, np.errstate(divide="ignore"):
        for name, call in public_calls(estimator, Path(folder)):
            called.add(name)
            if name != "load" and not hasattr(fitted(estimator), name):
                continue
            before = global_state()
            call()
            assert global_state() == before, name
    assert public <= called | _PASSED_ON | {"export_onnx", "save"}


@needs("uncertainty")
def check_uncertainty_adds_up(estimator):
    X, _ = make_rows()
    found = answer_or_refusal(fitted(estimator), "uncertainty", X)
    if found is None:
        return
    columns = found.as_dict()
    assert all(column.shape == (N_ROWS,) for column in columns.values())
    assert np.isfinite([*columns.values()]).all()
    np.testing.assert_allclose(found.total, found.aleatoric + found.epistemic, atol=1e-12)
    assert min(column.min() for column in columns.values()) >= 0
    assert found.total.max() <= np.log(N_CLASSES) + 1e-12
    part = fitted(estimator).uncertainty(X[5:9])
    for name, column in part.as_dict().items():
        np.testing.assert_allclose(column, columns[name][5:9], atol=1e-5, err_msg=name)


@needs("predict_set")
def check_sets_grow_with_their_coverage(estimator):
    X, _ = make_rows()
    large = answer_or_refusal(fitted(estimator), "predict_set", X)
    assert (large is None) == (not hasattr(fitted(estimator), "oof_proba_"))
    if large is None:
        return
    assert large.shape == (N_ROWS, N_CLASSES)
    assert large.any(1).all()
    assert (large >= fitted(estimator).predict_set(X, coverage=0.5)).all()


@needs("predict_concentration")
def check_concentrations_are_those_of_the_probabilities(estimator):
    X, _ = make_rows()
    alpha = fitted(estimator).predict_concentration(X)
    assert (alpha > 0).all()
    mean = (alpha / alpha.sum(-1, keepdims=True)).mean(0)
    np.testing.assert_allclose(mean, fitted(estimator).predict_proba(X), atol=1e-5)


@needs("fit")
def check_rows_and_labels_are_left_alone(estimator):
    X, y = make_rows()
    again = seeded(estimator).fit(X, y)
    answers(again, X)
    expected = make_rows()
    np.testing.assert_array_equal(X, expected[0])
    np.testing.assert_array_equal(y, expected[1])


@needs("fit")
def check_no_training_rows_are_kept(estimator):
    for name, value in arrays_in(fitted(estimator), kind_of(estimator), set()):
        assert N_ROWS not in value.shape, f"{name} has shape {tuple(value.shape)}"


@needs("fit")
def check_no_training_data_is_kept_alive(estimator):
    X, y = make_rows()
    weight = np.ones(len(X))
    takes_weight = "sample_weight" in inspect.signature(estimator.fit).parameters
    again = seeded(estimator)
    again.fit(X, y, **({"sample_weight": weight} if takes_weight else {}))
    answers(again, X)
    alive = [weakref.ref(array) for array in (X, y, weight)]
    del X, y, weight
    gc.collect()
    assert [one() for one in alive] == [None] * 3


@needs("fit")
def check_attributes_are_those_of_the_docstring(estimator):
    found = vars(fitted(estimator)).keys() - estimator.get_params(deep=False).keys()
    public = {name for name in found if not name.startswith("_")}
    public -= {"pre_dispatch"}  # which scikit-learn's halving searches keep beside their parameters
    documented = documented_attributes(type(estimator))
    assert all(name.endswith("_") for name in public)
    assert public <= documented
    assert not {name for name in documented - CONDITIONAL if not hasattr(fitted(estimator), name)}
    assert not [name for name in public if isinstance(getattr(fitted(estimator), name), Tensor)]


# -- copies ------------------------------------------------------------------------------


@needs("fit")
def check_copies_are_equal(estimator):
    for copied in (pickle.loads(pickle.dumps(fitted(estimator))), copy.deepcopy(fitted(estimator))):
        assert_same_answers(copied, fitted(estimator))


@needs("fit")
def check_hash_is_stable(estimator):
    if kind_of(estimator) in WITHOUT_HASH:
        return
    before = joblib.hash(fitted(estimator))
    answers(fitted(estimator), make_rows()[0])
    assert joblib.hash(fitted(estimator)) == before
    copied = pickle.loads(pickle.dumps(fitted(estimator)))
    assert joblib.hash(copied) == before
    assert joblib.hash(pickle.loads(pickle.dumps(copied))) == before


@needs("save")
def check_a_file_holds_all_of_it(estimator):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if refused(estimator, "save", folder):
            return
        fitted(estimator).save(folder / "one")
        again = skensemble.load(folder / "one")
        again.save(folder / "two")
        twice = skensemble.load(folder / "two")
    assert type(again) is type(fitted(estimator))
    assert_same_answers(again, fitted(estimator))
    assert_same_answers(twice, fitted(estimator))
    public = {name for name in vars(again) if name.endswith("_") and not name.startswith("_")}
    assert public <= documented_attributes(type(estimator))


@needs("save", "fit")
def check_what_was_loaded_fits_again_or_names_what_it_lacks(estimator):
    if ("save", kind_of(estimator)) in REFUSALS:
        return
    with tempfile.TemporaryDirectory() as name:
        fitted(estimator).save(Path(name) / "file")
        again = skensemble.load(Path(name) / "file")
    if getattr(estimator, "teacher", None) is None:
        assert_same_answers(again.fit(*make_rows()), fitted(estimator))
        return
    with pytest.raises(ValueError, match="does not hold its teacher"):
        again.fit(*make_rows())


@needs("export_onnx", "predict_proba")
def check_onnx_equals_predict_proba(estimator):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    X, _ = make_rows()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if refused(estimator, "export_onnx", folder):
            return
        before = global_state()
        fitted(estimator).export_onnx(folder / "file.onnx")
        assert global_state() == before
        session = onnxruntime.InferenceSession(folder / "file.onnx")
    for n_rows in (1, 7, N_ROWS):
        (found,) = session.run(["probabilities"], {"X": X[:n_rows].astype(np.float32)})
        expected = fitted(estimator).predict_proba(X[:n_rows])
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


# -- predictions -------------------------------------------------------------------------


@needs("predict_proba")
def check_rows_sum_to_one(estimator):
    for n_classes in (2, 3):
        proba = fitted(estimator, n_classes).predict_proba(make_rows(n_classes)[0])
        assert proba.shape == (N_ROWS, n_classes)
        assert proba.dtype == np.float64
        assert (proba >= 0).all()
        np.testing.assert_allclose(proba.sum(1), 1, rtol=0, atol=1e-12)


@needs("predict_proba", "predict_log_proba")
def check_logarithms_are_those_of_probabilities(estimator):
    found = answers(fitted(estimator), make_rows()[0])
    np.testing.assert_allclose(
        np.exp(found["predict_log_proba"]), found["predict_proba"], rtol=0, atol=1e-12
    )


@needs("predict", "predict_proba")
def check_the_likeliest_class_is_predicted(estimator):
    for n_classes in (2, 3):
        one, X = fitted(estimator, n_classes), make_rows(n_classes)[0]
        likeliest = one.classes_[one.predict_proba(X).argmax(1)]
        np.testing.assert_array_equal(one.predict(X), likeliest)
        assert len(set(likeliest)) > 1  # or else nothing was shown


@needs("predict", "decision_function")
def check_scores_agree_with_predictions(estimator):
    three, X = fitted(estimator), make_rows()[0]
    scores = three.decision_function(X)
    assert scores.shape == (N_ROWS, N_CLASSES)
    np.testing.assert_array_equal(three.classes_[scores.argmax(1)], three.predict(X))
    two, X = fitted(estimator, 2), make_rows(2)[0]
    scores = two.decision_function(X)
    assert scores.shape == (N_ROWS,)
    np.testing.assert_array_equal(two.classes_[(scores > 0).astype(int)], two.predict(X))


@needs("predict", "score")
def check_score_is_accuracy(estimator):
    X, y = make_rows()
    assert fitted(estimator).score(X, y) == (fitted(estimator).predict(X) == y).mean()


@needs("predict", "predict_proba")
def check_names_of_classes_do_not_matter(estimator):
    X, y = make_rows()
    for names in (
        np.array(["ash", "birch", "cedar"]),
        np.array(["ash", "birch", "cedar"], dtype=object),
        np.array([-7, 2, 40]),
    ):
        renamed = seeded(estimator).fit(X, names[y])
        np.testing.assert_array_equal(renamed.classes_, names)
        np.testing.assert_array_equal(renamed.predict_proba(X), fitted(estimator).predict_proba(X))
        np.testing.assert_array_equal(renamed.predict(X), names[fitted(estimator).predict(X)])


@needs("fit")
def check_rows_are_answered_one_by_one(estimator):
    X, _ = make_rows()
    each = [answers(fitted(estimator), X[row : row + 1]) for row in range(5)]
    for name, expected in answers(fitted(estimator), X).items():
        axis = 1 if name == "predict_members" else 0
        found = np.concatenate([one[name] for one in each], axis)
        expected = expected.take(range(5), axis)
        if name == "predict":
            np.testing.assert_array_equal(found, expected)
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9, err_msg=name)


@needs("transform", "fit_transform")
def check_fit_transform_is_fit_and_transform(estimator):
    X, _ = make_rows()
    np.testing.assert_array_equal(
        seeded(estimator).fit_transform(X), fitted(estimator).transform(X)
    )


@needs("transform", "get_feature_names_out")
def check_each_feature_has_a_name(estimator):
    names = fitted(estimator).get_feature_names_out()
    assert len(set(names)) == fitted(estimator).transform(make_rows()[0]).shape[1]


# -- members -----------------------------------------------------------------------------


def is_merged(estimator: BaseEstimator) -> bool:
    """Whether one network predicts that members were folded into."""
    return getattr(estimator, "merge", None) is not None


@needs("predict_members", "__len__")
def check_members_have_the_promised_shape(estimator):
    one, X = fitted(estimator), make_rows()[0]
    assert len(one) == one.n_estimators
    n_members = 1 if is_merged(one) else len(one)
    for n_rows in (1, N_ROWS):
        proba = one.predict_members(X[:n_rows])
        assert proba.shape == (n_members, n_rows, N_CLASSES)
        np.testing.assert_allclose(proba.sum(-1), 1, rtol=0, atol=1e-12)
        logits = one.predict_members(X[:n_rows], response="logit")
        softmax = torch.from_numpy(logits).softmax(-1).numpy()
        np.testing.assert_array_equal(softmax, proba)


@needs("predict_members")
def check_members_differ(estimator):
    proba = fitted(estimator).predict_members(make_rows()[0])
    assert all((proba[0] != other).any() for other in proba[1:])


@needs("predict_members", "predict_proba")
def check_members_are_fused_as_said(estimator):
    one, X = fitted(estimator), make_rows()[0]
    averaging = one.averaging
    if averaging == "auto":
        averaging = "logit" if one.joint else "proba"
    members = one.predict_members(X)
    fused = {
        "proba": members.mean(0),
        "logit": torch.from_numpy(one.predict_members(X, response="logit")).mean(0).softmax(-1),
        "vote": np.eye(N_CLASSES)[members.argmax(-1)].mean(0),
    }
    np.testing.assert_allclose(one.predict_proba(X), fused[averaging], rtol=0, atol=1e-12)


@needs("predict_teachers")
def check_teachers_are_averaged(estimator):
    one, X = fitted(estimator), make_rows()[0]
    each = one.predict_teachers(X)
    for teacher, said in zip(one.teachers_, each, strict=True):
        np.testing.assert_array_equal(teacher.predict_proba(X), said)
    np.testing.assert_allclose(one.predict_proba(X), each.mean(0), rtol=0, atol=1e-12)


@needs("predict_members")
def check_estimators_are_the_members(estimator):
    one, X = fitted(estimator), make_rows()[0]
    if not hasattr(one, "estimators_"):
        assert "estimators_" not in documented_attributes(type(one))  # members share weights
        return
    assert len(one.estimators_) == len(one)
    for member, expected in zip(one.estimators_, one.predict_members(X), strict=True):
        np.testing.assert_array_equal(member.classes_, one.classes_)
        np.testing.assert_allclose(member.predict_proba(X), expected, rtol=0, atol=1e-12)


@needs("__len__", "__iter__", "__getitem__", "predict_members")
def check_indexing_reaches_members(estimator):
    one, X = fitted(estimator), make_rows()[0]
    members = one.predict_members(X)
    assert list(one) == one.estimators_
    assert one[0] is one.estimators_[0]
    assert one[-1] is one.estimators_[-1]
    rest = one[1:]
    assert type(rest) is type(one)
    assert len(rest) == rest.n_estimators == len(one) - 1
    np.testing.assert_array_equal(rest.predict_members(X), members[1:])
    assert len(one) == one.n_estimators == len(members)
    with pytest.raises(IndexError):
        one[len(one)]
    with pytest.raises(IndexError, match="selects none"):
        one[:0]


def inside_of(one: Any) -> list[Any]:
    """Return the classifiers whose probabilities an estimator around them averages."""
    if hasattr(one, "best_estimator_"):
        return [one.best_estimator_]
    if hasattr(one, "pruned_"):
        return [one.pruned_]
    if hasattr(one, "generations_"):
        return one.generations_ if one.average_generations else one.generations_[-1:]
    is_taught = hasattr(one, "estimators_") and not hasattr(one, "predict_members")
    return one.estimators_ if is_taught else []


@needs("predict_proba")
def check_those_inside_predict(estimator):
    one, X = fitted(estimator), make_rows()[0]
    inside = inside_of(one)
    for other in inside:
        np.testing.assert_array_equal(other.classes_, one.classes_)
        assert other.n_features_in_ == one.n_features_in_ == N_FEATURES
    if inside:
        mean = np.mean([other.predict_proba(X) for other in inside], 0)
        np.testing.assert_allclose(one.predict_proba(X), mean, rtol=0, atol=1e-12)


@needs("merge_members", "predict_proba")
def check_merged_members_are_one_network(estimator):
    one, X = fitted(estimator), make_rows()[0]
    merged = one.merge_members(one.merge or "factor-mean")
    assert type(merged) is skensemble.NetworkClassifier
    np.testing.assert_array_equal(merged.classes_, one.classes_)
    if is_merged(one):
        np.testing.assert_array_equal(merged.predict_proba(X), one.predict_proba(X))
