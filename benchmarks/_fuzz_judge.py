"""Whether a call of the API fuzz went well: it worked, or its error says what was wrong."""

from __future__ import annotations

import dis
import pickle
import random
import re
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch

import skensemble

OURS = str(Path(skensemble.__file__).parent)
HERE = str(Path(__file__).resolve().parent)
# Where the functions are that calls are given.
GIVEN = [f"{HERE}/_fuzz_{name}.py" for name in ("values", "nets", "objects", "functions")]
PIPELINE = "/sklearn/pipeline.py"
# What a message may call the data by.
WORDS = {
    "X": (
        r"\bX\w*\b|\bsamples?\b|\brows?\b|\bfeatures?\b|\barray\b|\bimages?\b|\bcolumns?\b"
        r"|\bsparse matri\w+\b"
    ),
    "y": r"\by\b|\by_\w+\b|\blabels?\b|\bclass(es)?\b|\btargets?\b",
    "sample_weight": r"\bweights?\b|sample_weight",
    "callbacks": r"\bcallbacks?\b",
    # scikit-learn's searches.
    "cv": r"\bcv\b|\bCV\b|\bn_splits\b|\bfolds?\b",
    "param_grid": r"\bparam_grid\b|[Pp]arameter grid|[Pp]arameter '",
    "param_distributions": r"param_distributions|[Pp]arameter (grid|distribution)|[Pp]arameter '",
    "refit": r"\brefit\b|\bbest_index_",
    "scoring": r"\bscoring\b|\bscorers?\b|\bmetrics\b|\baverage\b",
    "path": r"\bpath\b|/",
}
# Errors that are no accident, where they are raised on purpose and say what was wrong.
KINDS = (ValueError, TypeError, ArithmeticError, OSError, ImportError)


class Verdict(NamedTuple):
    """What became of a call: ``"worked"``, ``"named"``, or what is wrong with it."""

    kind: str
    error: str = ""
    frame: str = ""
    message: str = ""


def global_state() -> list[Any]:
    """Return what a call could change for others, generators first."""
    return [
        torch.get_rng_state().numpy().tobytes(),
        pickle.dumps(np.random.get_state()),  # noqa: NPY002
        random.getstate(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
    ]


def judge(error: BaseException, names: Collection[str]) -> Verdict:
    """Say whether an error names what was wrong, given the names of what was altered."""
    steps = []
    step = error.__traceback__
    while step is not None:
        steps.append(step)
        step = step.tb_next
    message = str(error)
    told = (type(error).__name__, _place(steps), message[:300])
    if _is_users(steps[-1]) or _is_of_a_step(steps):
        return Verdict("named", *told)
    # scikit-learn's searches have no methods to predict by without a refit.
    fine = isinstance(error, KINDS) or (isinstance(error, AttributeError) and "refit=" in message)
    if fine and _on_purpose(error, steps) and _is_named(message, names):
        return Verdict("named", *told)
    return Verdict("bare", *told)


def _place(steps: list[TracebackType]) -> str:
    """Return file and function of the innermost frame of skensemble."""
    ours = [step.tb_frame.f_code for step in steps if _file(step).startswith(OURS)]
    if not ours:
        return "outside"
    return f"{Path(ours[-1].co_filename).relative_to(OURS)}:{ours[-1].co_name}"


def _file(step: TracebackType) -> str:
    return step.tb_frame.f_code.co_filename


def _is_users(last: TracebackType) -> bool:
    """Whether a function that was passed raised it by itself."""
    return _file(last) in GIVEN and _raises(last)


def _is_of_a_step(steps: list[TracebackType]) -> bool:
    """Whether another package's step of a pipeline raised it, as it does without skensemble."""
    paths = [path for path in map(_file, steps) if path.startswith(OURS) or PIPELINE in path]
    return bool(paths) and PIPELINE in paths[-1]


def _raises(step: TracebackType) -> bool:
    """Whether a frame is at a raise statement."""
    return dis.opname[step.tb_frame.f_code.co_code[step.tb_lasti]] in ("RAISE_VARARGS", "RERAISE")


def _on_purpose(error: BaseException, steps: list[TracebackType]) -> bool:
    """Whether skensemble or scikit-learn raised it by a statement, or Python at the call itself."""
    path = _file(steps[-1])
    if isinstance(error, OSError):
        return True  # the operating system's
    if path.startswith(OURS):
        return _raises(steps[-1])
    # A signature that does not fit, or scikit-learn, whose checks let NumPy read the array.
    return path.startswith(HERE) or any("/sklearn/" in _file(one) for one in steps[-3:])


def _is_named(message: str, names: Collection[str]) -> bool:
    wanted = []
    for name in names:
        wanted.append(WORDS.get(name, rf"\b{re.escape(name)}_?\b"))
        prefix, _, rest = name.partition("__")
        wanted += [rf"\b{re.escape(prefix)}\b"] if rest else []
    return any(re.search(one, message) for one in wanted)
