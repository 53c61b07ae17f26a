"""Members of ten settings as they were: what moves code must not move a bit.

``python tests/test_members_fixture.py --write`` writes tests/data/members.json anew.
"""

import copy
import hashlib
import json
import platform
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy
import sklearn
import torch
from registry import ESTIMATORS
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from skorch import NeuralNetClassifier
from torch import nn

from skensemble import (
    BatchEnsembleClassifier,
    DeepEnsembleClassifier,
    DistilledClassifier,
    NTKClassifier,
    PrunedClassifier,
    SelfDistiller,
)

FILE = Path(__file__).parent / "data" / "members.json"
# Elsewhere, kernels add in another order; four epochs make little of that.
ATOL = 1e-6
N_SHOWN = 5


def setting(cls: type, **parameters: Any) -> BaseEstimator:
    """Return the first setting of the registry of a class and with these parameters."""
    return next(
        one
        for one in ESTIMATORS
        if type(one) is cls and all(_is(getattr(one, k), v) for k, v in parameters.items())
    )


def _is(value: Any, expected: Any) -> bool:
    return isinstance(value, expected) if isinstance(expected, type) else value == expected


SETTINGS = {
    "ensemble of logits": partial(setting, DeepEnsembleClassifier, averaging="logit"),
    "joint ensemble": partial(setting, DeepEnsembleClassifier, joint=True),
    "channel splits": partial(setting, DeepEnsembleClassifier, channel_splits=2),
    "distilled from no network": partial(setting, DistilledClassifier, teacher=LogisticRegression),
    "distilled by features": partial(setting, DistilledClassifier, objective="feature"),
    "two adaptive students": partial(setting, DistilledClassifier, objective="adaptive"),
    "merged batch ensemble": partial(setting, BatchEnsembleClassifier, merge="rank-mean"),
    "self-distilled": partial(
        setting, SelfDistiller, estimator=NeuralNetClassifier, variant="cwtm"
    ),
    "pruned ensemble": partial(setting, PrunedClassifier, method="magnitude"),
    "tangent kernel": partial(setting, NTKClassifier, features="ntk-prime"),
}


def provenance() -> dict[str, str]:
    """Return what the last bit depends on beside this package."""
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "processor": _processor(),
    }


def _processor() -> str:
    """Return which processor it is, to the stepping: linear algebra has kernels for each."""
    about = Path("/proc/cpuinfo")
    if not about.exists():
        return platform.machine()
    pairs = (line.split(":", 1) for line in about.read_text().split("\n\n")[0].splitlines())
    facts = {name.strip(): value.strip() for name, value in pairs}
    names = ("vendor_id", "model name", "cpu family", "model", "stepping", "cache size", "flags")
    told = " ".join(facts.get(name, "") for name in names)
    return f"{facts.get('model name', '')} {hashlib.sha256(told.encode()).hexdigest()[:12]}"


def make_rows() -> tuple[np.ndarray, np.ndarray]:
    return make_classification(
        60, 4, n_informative=4, n_redundant=0, n_classes=3, n_clusters_per_class=1, random_state=0
    )


def modules_of(fitted: Any) -> list[nn.Module]:
    """Return the networks in public places, the teacher's and the unpruned ones with them."""
    if isinstance(fitted, nn.Module):
        return [fitted]
    if isinstance(fitted, list):
        return [module for one in fitted for module in modules_of(one)]
    if not isinstance(fitted, BaseEstimator):
        return []
    places = ("teacher_", "unpruned_", "estimators_", "generations_", "module_", "merged_")
    return [module for name in places for module in modules_of(vars(fitted).get(name))]


def describe_state(module: nn.Module) -> dict[str, Any]:
    """Return the values of a network, without the names, which are the files' concern."""
    arrays = [value.detach().numpy() for value in module.state_dict().values()]
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    flat = np.concatenate([array.ravel().astype(np.float64) for array in arrays])
    return {
        "sha256": digest.hexdigest(),
        "size": flat.size,
        "sum": float(flat.sum()).hex(),
        "norm": float(np.linalg.norm(flat)).hex(),
    }


def members_of(fitted: Any, X: np.ndarray) -> list[np.ndarray]:
    """Return each member's probabilities, also of members that were merged."""
    if hasattr(fitted, "predict_members"):
        apart = copy.copy(fitted)
        if hasattr(apart, "merge"):
            apart.merge = None
        return list(apart.predict_members(X))
    inside = getattr(fitted, "generations_", None) or fitted.estimators_
    return [one.predict_proba(X) for one in inside]


def describe(name: str) -> dict[str, Any]:
    """Fit one setting and return what it became."""
    X, y = make_rows()
    fitted = clone(SETTINGS[name]()).set_params(random_state=0).fit(X, y)
    shown = X[:N_SHOWN]
    return {
        "proba": _hex(fitted.predict_proba(shown)),
        "members": [_hex(member) for member in members_of(fitted, shown)],
        "states": [describe_state(module) for module in modules_of(fitted)],
    }


def _hex(array: np.ndarray) -> list[list[str]]:
    return [[float(value).hex() for value in row] for row in array]


def _numbers(about: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return all numbers that a description holds, as such."""
    read = np.vectorize(float.fromhex, otypes=[np.float64])
    return {
        "proba": read(about["proba"]),
        "members": read(about["members"]),
        "sizes": np.array([state["size"] for state in about["states"]]),
        "sums": read([[state["sum"], state["norm"]] for state in about["states"]]),
    }


def write() -> None:
    torch.set_num_threads(1)
    settings = {name: describe(name) for name in SETTINGS}
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps({"provenance": provenance(), "settings": settings}, indent=1) + "\n")


@pytest.fixture
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("name", SETTINGS)
def test_members_are_what_they_were(name):
    written = json.loads(FILE.read_text())
    expected, found = written["settings"][name], describe(name)
    if written["provenance"] == provenance():
        assert found == expected
    numbers = _numbers(found)
    for key, value in _numbers(expected).items():
        np.testing.assert_allclose(numbers[key], value, rtol=ATOL, atol=ATOL, err_msg=key)


def test_the_file_has_the_settings():
    assert list(json.loads(FILE.read_text())["settings"]) == list(SETTINGS)


def test_no_setting_became_what_another_did():
    settings = json.loads(FILE.read_text())["settings"].values()
    shas = [state["sha256"] for about in settings for state in about["states"]]
    assert all(about["states"] for about in settings)
    assert len({json.dumps(about["proba"]) for about in settings}) == len(SETTINGS)
    assert len(set(shas)) > len(shas) / 2


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    write()
