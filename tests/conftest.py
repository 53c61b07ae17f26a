"""Settings for all tests."""

import importlib
import os
import warnings
from importlib.util import find_spec

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


def pytest_collection_modifyitems(items):
    """Leave out docstrings' examples that want packages of an extra which are not there."""
    missing = [name for name in ("onnxscript", "skl2onnx") if find_spec(name) is None]
    for item in items if missing else []:
        if item.nodeid.startswith("skensemble/deploy/onnx.py"):
            item.add_marker(pytest.mark.skip(reason=f"needs {' and '.join(missing)}"))


@pytest.fixture(scope="module")
def teacher():
    """Three networks that know the points; tests must leave them as they were."""
    return DeepEnsembleClassifier(make_net(), 3, random_state=5).fit(*make_points())


@pytest.fixture(scope="module")
def ray_cluster():
    """Two workers of ray, which end with the module."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        ray = pytest.importorskip("ray")
        importlib.import_module("ray.util.joblib").register_ray()
        ray.init(
            num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False,
            object_store_memory=100 * 2**20,
            runtime_env={"env_vars": {"PYTHONPATH": os.path.dirname(__file__)}},
        )  # fmt: skip
        yield ray
        ray.shutdown()
