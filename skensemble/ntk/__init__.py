"""Neural tangent kernels of any torch module: fast, exact, and within bounded memory.

`empirical_ntk` computes kernels, `kernel_operator` multiplies by them without writing them
down, and `NTKFeatures` returns the gradients themselves, as a transformer.
`skensemble.NTKClassifier` is the classifier.
"""

from skensemble.ntk.features import NTKFeatures
from skensemble.ntk.kernels import empirical_ntk, kernel_operator

__all__ = ["NTKFeatures", "empirical_ntk", "kernel_operator"]
