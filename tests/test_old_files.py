"""Files of format 1, written by version 0.1.0, are read as they were."""

import json
from pathlib import Path

import numpy as np
import pytest

from skensemble import load

FOLDER = Path(__file__).parent / "data" / "format1"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())


@pytest.mark.parametrize("name", sorted(EXPECTED["proba"]))
def test_a_file_of_format_1_predicts_what_it_did(name):
    X = np.array(EXPECTED["X"])
    if "images" in name:
        X = np.array(EXPECTED["images"], dtype=np.float32)
    found = load(FOLDER / f"{name}.skensemble").predict_proba(X)
    np.testing.assert_allclose(found, EXPECTED["proba"][name], atol=1e-6)


def test_every_file_is_expected_to_say_something():
    assert {path.stem for path in FOLDER.glob("*.skensemble")} == set(EXPECTED["proba"])
