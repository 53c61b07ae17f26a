"""Network architectures, one file each.

Every class takes ``in_shape`` (the shape of one sample) and ``n_classes``, which the
estimators fill in from the data, and returns logits of shape ``(n_samples, n_classes)``.
"""

from skensemble.nn.mlp import MLP
from skensemble.nn.resnet import CifarResNet

__all__ = ["MLP", "CifarResNet"]
