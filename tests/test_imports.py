"""What ``import skensemble`` may load."""

import subprocess
import sys

import pytest

OPTIONAL = [
    "torchvision", "matplotlib", "captum", "onnx", "onnxruntime", "skl2onnx",
    "dask", "distributed", "ray",
]  # fmt: skip


@pytest.fixture(scope="module")
def loaded():
    code = "import sys, skensemble; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_loads_what_it_stands_on(loaded):
    assert {"skensemble", "sklearn", "skorch", "torch"} <= loaded


@pytest.mark.parametrize("name", OPTIONAL)
def test_import_leaves_optional_packages_alone(loaded, name):
    assert name not in loaded


def test_a_star_brings_no_modules():
    """Their names are those of torch's and scikit-learn's too."""
    code = "from torch import nn\nfrom skensemble import *\nprint(nn.__name__, load.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["torch.nn", "load"]
