"""Files of older formats are read as they were; those of format 1 are of version 0.1.0."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skensemble import load

FOLDER = Path(__file__).parent / "data" / "format1"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
FOLDER_2 = Path(__file__).parent / "data" / "format2"
EXPECTED_2 = json.loads((FOLDER_2 / "expected.json").read_text())


@pytest.mark.parametrize("name", sorted(EXPECTED["proba"]))
def test_a_file_of_format_1_predicts_what_it_did(name):
    X = np.array(EXPECTED["X"])
    if "images" in name:
        X = np.array(EXPECTED["images"], dtype=np.float32)
    found = load(FOLDER / f"{name}.skensemble").predict_proba(X)
    np.testing.assert_allclose(found, EXPECTED["proba"][name], atol=1e-6)


def rows_of(told):
    """Return rows as they were given, of a file's entry in ``expected.json``."""
    if "rows" in told:
        return np.array(told["rows"], dtype=told["dtype"])
    return pd.DataFrame(told["columns"]["data"], columns=told["columns"]["columns"])


@pytest.mark.parametrize("name", sorted(EXPECTED_2))
def test_a_file_of_format_2_predicts_what_it_did(name):
    told = EXPECTED_2[name]
    fitted = load(FOLDER_2 / f"{name}.skensemble")
    assert fitted.classes_.tolist() == told["classes"]
    # Reduced precision rounds as the processor does.
    atol = 2e-2 if name == "periodic" else 1e-6
    np.testing.assert_allclose(fitted.predict_proba(rows_of(told)), told["proba"], atol=atol)


@pytest.mark.parametrize(("folder", "names"), [(FOLDER, EXPECTED["proba"]), (FOLDER_2, EXPECTED_2)])
def test_every_file_is_expected_to_say_something(folder, names):
    assert {path.stem for path in folder.glob("*.skensemble")} == set(names)
