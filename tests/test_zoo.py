"""The benchmark of networks as they are: what a cell says, and that a small one is tried whole."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from skensemble.nn import SimpleCNN

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def zoo():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield __import__("zoo")
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.mark.parametrize(
    ("error", "outcome", "words"),
    [
        (None, "works", ""),
        (ValueError("one line"), "refused", "one line"),
        (TypeError("first\nsecond"), "failed", "first"),
        (KeyError("x"), "failed", "KeyError: 'x'"),
        (AssertionError("wanted y"), "failed", "AssertionError: wanted y"),
    ],
)
def test_a_cell_says_what_came_of_it(zoo, error, outcome, words):
    def run():
        if error is not None:
            raise error

    cell = zoo.tell(run)
    assert (cell["outcome"], cell["words"]) == (outcome, words)
    assert (cell["seconds"] is None) == (error is not None)


class Whole(nn.Module):
    """A network in a module that others would write."""

    def __init__(self):
        super().__init__()
        self.net = SimpleCNN((3, 64, 64), 5)

    def forward(self, x):
        return self.net(x)


def test_a_small_network_is_tried_for_everything(zoo):
    trial = zoo.Trial("small", lambda name: Whole())
    cells = {name: zoo.tell(lambda one=one: one(trial)) for name, one in zoo.TRIED.items()
             if name not in ("onnx", "learn")}  # fmt: skip
    assert {name: cell["words"] for name, cell in cells.items()} == dict.fromkeys(cells, "")


def test_a_fit_that_changes_the_given_network_is_a_miss(zoo):
    trial = zoo.Trial("small", lambda name: Whole())
    fit = zoo.NetworkClassifier.fit

    def spoiling(self, X, y):
        with torch.no_grad():
            next(trial.module.parameters()).add_(1)
        return fit(self, X, y)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo.NetworkClassifier, "fit", spoiling)
        cell = zoo.tell(lambda: zoo.TRIED["fit"](trial))
    assert cell["words"] == "AssertionError: wanted the given network as it was"


def test_rows_differ_by_class_and_take_each_networks_size(zoo):
    X, y = zoo.rows_for("inception_v3")
    assert X.shape[1:] == (3, 96, 96)
    assert zoo.rows_for("bert")[0].shape == (len(y), 8)
    means = np.array([X[y == k].mean((0, 2, 3)) for k in range(3)])
    assert (means.argmax(1) == np.arange(3)).all()
