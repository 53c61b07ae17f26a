"""One call of the API fuzz: drawn from a seed and a number, made, and judged."""

from __future__ import annotations

import contextlib
import io
import re
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _fuzz_functions import SUBJECTS, saved
from _fuzz_judge import Verdict, global_state, judge
from _fuzz_nets import NET_POOLS, net
from _fuzz_subjects import Subject
from _fuzz_values import GOOD_X, GOOD_Y, ODD_X, ODD_Y, WEIGHTS, Pool, labels as good_labels, rows
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import skensemble

# Of the calls that fit: how often each place is altered.
PLACES = {"parameter": 6, "net": 6, "X": 2, "y": 1.5, "sample_weight": 1.5, "fit": 1}
METHODS = (
    "predict", "predict_proba", "predict_log_proba", "decision_function", "predict_members",
    "uncertainty", "predict_set", "predict_concentration",
    "predict_teachers", "transform", "score", "save", "len", "index", "merge_members", "clone",
    "set_params", "get_feature_names_out", "repr",
)  # fmt: skip
SECONDS = 30


class Slow(BaseException):
    """A call that does not end."""


@dataclass
class Call:
    """What is called with what; `altered` says it in words."""

    subject: Subject
    altered: list[tuple[str, str, str]] = field(default_factory=list)
    methods: list[tuple[str, str]] = field(default_factory=list)
    fitted: bool = True

    def names(self) -> set[str]:
        """Return what an error may name."""
        inner = {name for _, _, label in self.altered for name in re.findall(r"(\w+)=", label)}
        return {name for _, name, _ in self.altered} | inner | {"X", "y", "sample_weight"}

    def said(self) -> str:
        """Return what was altered, for a table."""
        return ", ".join(f"{name}={label}" for _, name, label in self.altered) or "nothing"


def _pick(rng: np.random.Generator, things: Any) -> Any:
    things = list(things)
    return things[int(rng.integers(len(things)))]


def draw(seed: int, number: int) -> Call:
    """Draw a call."""
    rng = np.random.default_rng([seed, number])
    weights = np.array([one.weight for one in SUBJECTS])
    subject = SUBJECTS[int(rng.choice(len(SUBJECTS), p=weights / weights.sum()))]
    call = Call(subject)
    for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.04, 0.66, 0.22, 0.08]))):
        call.altered.append(_alter(rng, subject))
    # Of what is altered twice, the last holds.
    call.altered = list({(place, name): (place, name, label)
                         for place, name, label in call.altered}.values())  # fmt: skip
    if subject.fits:
        call.fitted = bool(rng.random() > 0.03)
        call.altered = call.altered if call.fitted else []
        call.methods = [_method(rng) for _ in range(int(rng.integers(1, 4)))]
    return call


def _alter(rng: np.random.Generator, subject: Subject) -> tuple[str, str, str]:
    if not subject.fits:
        name = _pick(rng, subject.pools)
        return "parameter", name, _pick(rng, subject.pools[name])
    places = {
        name: weight for name, weight in PLACES.items()
        if (name != "net" or subject.recipe) and (name != "fit" or subject.fit_pools)
    }  # fmt: skip
    shares = np.array(list(places.values()))
    place = list(places)[int(rng.choice(len(places), p=shares / shares.sum()))]
    if place in ("X", "y", "sample_weight"):
        return place, place, _pick(rng, DATA[place])
    pools = {"parameter": subject.pools, "net": NET_POOLS, "fit": subject.fit_pools}[place]
    name = _pick(rng, pools)
    return place, name, _pick(rng, pools[name])


DATA: dict[str, Pool] = {
    "X": {**GOOD_X, **ODD_X}, "y": {**GOOD_Y, **ODD_Y}, "sample_weight": WEIGHTS,
}  # fmt: skip


def _method(rng: np.random.Generator) -> tuple[str, str]:
    label = "float64" if rng.random() < 0.5 else _pick(rng, DATA["X"])
    return _pick(rng, METHODS), label


# -- making it ---------------------------------------------------------------------------------


def make(call: Call) -> Iterator[tuple[str, set[str], Callable[[], Any]]]:
    """Yield each step of a call: what it is, what an error may name, and the step itself."""
    subject, given, made = call.subject, {}, []
    yield "values", call.names(), lambda: given.update(_values(call))
    yield "make", call.names(), lambda: made.append(subject.make(**given["parameter"]))
    if not subject.fits:
        return
    estimator, X, y = made[0], given["X"], given["y"]
    if call.fitted:
        yield "fit", call.names(), lambda: estimator.fit(X, y, **given["fit"])
    for (method, label), asked in zip(call.methods, given["asked"], strict=True):
        names = {*call.names(), "path", "merge", "response", "input_features", "A parameter"}
        yield f"{method} of {label}", names, lambda m=method, a=asked: _call(estimator, m, a, y)


def _values(call: Call) -> dict[str, Any]:
    """Return what is passed, by the place it is passed in."""
    subject = call.subject
    given: dict[str, Any] = {"parameter": subject.arguments(), "net": {}, "fit": {}}
    given |= {"X": rows(), "y": good_labels()}
    pools = {"parameter": subject.pools, "net": NET_POOLS, "fit": subject.fit_pools}
    for place, name, label in call.altered:
        if place in ("X", "y"):
            given[place] = DATA[place][label]()
        elif place == "sample_weight":
            given["fit"][place] = DATA[place][label]()
        else:
            given[place][name] = pools[place][name][label]()
    if given["net"] and not any(name == subject.recipe for _, name, _ in call.altered):
        given["parameter"][subject.recipe] = net(**given["net"])
    given["asked"] = [
        given["X"] if label == "float64" else DATA["X"][label]() for _, label in call.methods
    ]
    return given


def _call(estimator: Any, method: str, X: Any, y: Any) -> Any:
    """Make a call of a method, where there is one."""
    if method == "len":
        return len(estimator) if hasattr(type(estimator), "__len__") else None
    if method == "index":
        return estimator[0] if hasattr(type(estimator), "__getitem__") else None
    if method == "clone":
        return clone(estimator)
    if method == "repr":
        return repr(estimator)
    if method == "set_params":
        return clone(estimator).set_params(foo=1)
    if not hasattr(estimator, method):
        return None
    if method == "save":
        return _save(estimator)
    if method in ("merge_members", "get_feature_names_out"):
        return getattr(estimator, method)()
    found = estimator.score(X, y) if method == "score" else getattr(estimator, method)(X)
    return (method, found, estimator)


def _save(estimator: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        estimator.save(path)
        return skensemble.load(path)


def check(result: Any) -> str:
    """Return what is wrong with what a method returned."""
    if not (isinstance(result, tuple) and len(result) == 3 and isinstance(result[0], str)):
        return ""
    method, found, estimator = result
    if method in ("predict_proba", "predict_members", "predict_teachers"):
        if not np.isfinite(found).all() or (found < 0).any():
            return "probabilities that are none"
        if np.abs(found.sum(-1) - 1).max(initial=0) > 1e-6:
            return "probabilities that do not sum to one"
    elif method == "predict":
        if not set(np.asarray(found).tolist()) <= set(estimator.classes_.tolist()):
            return "labels that are no classes"
    elif method == "transform" and not np.isfinite(found).all():
        return "features that are not finite"
    elif method == "score" and not np.isfinite(found):
        return "a score that is not finite"
    return ""


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise Slow

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(call: Call) -> tuple[str, Verdict]:
    """Make a call until a step of it fails; return that step and the verdict."""
    saved()  # whose making is no part of a call
    step = "draw"
    warnings.simplefilter("ignore")
    for step, names, action in make(call):
        before = global_state()
        verdict = _attempt(action, names, call, step)
        after = global_state()
        if after != before and step != "values":  # where the fuzz itself draws
            return step, Verdict("global state", "", "", str(verdict))
        if verdict.kind != "worked":
            if verdict.kind == "named" and step not in ("values", "make", "fit"):
                continue  # the next method may still work
            return step, verdict
    return step, Verdict("worked")


def _attempt(action: Callable[[], Any], names: set[str], call: Call, step: str) -> Verdict:
    try:
        with _limited(), contextlib.redirect_stdout(io.StringIO()):
            wrong = check(action())
    except Slow:
        return Verdict("slow", "Slow")
    except NotFittedError as error:
        return Verdict(
            "bare" if f"This {call.subject.name}" in str(error) and step == "fit" else "named",
            "NotFittedError",
            "",
            str(error)[:300],
        )
    except Exception as error:
        if step.startswith("set_params") and "foo" in str(error):
            return Verdict("named")
        return judge(error, {*names, *_own_names(call)})
    return Verdict("wrong", "", "", wrong) if wrong else Verdict("worked")


def _own_names(call: Call) -> set[str]:
    """Return the parameters of the estimator: what was altered may be at odds with another."""
    return {*call.subject.pools, "net", "module", "teacher"} - {"dtype"}
