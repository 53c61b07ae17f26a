"""Settings for all tests."""

import os

# Before scikit-learn and SciPy are imported: the common checks then cover array API inputs.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
# Test networks are so small that a second thread costs more than it brings.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings
from nets import make_net, make_points

from skensemble import DeepEnsembleClassifier

# Examples are small, but the first one of a process pays for torch's lazy imports.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture(scope="module")
def teacher():
    """Three networks that know the points; tests must leave them as they were."""
    return DeepEnsembleClassifier(make_net(), 3, random_state=5).fit(*make_points())
