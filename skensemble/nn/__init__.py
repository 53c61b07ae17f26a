"""Network architectures, one file each, and parts to build networks of.

Architectures take ``in_shape`` (the shape of one sample) and ``n_classes``, which the
estimators fill in from the data, and return logits of shape ``(n_samples, n_classes)``.
"""

from skensemble.nn.batch_ensemble import BatchEnsemble
from skensemble.nn.mlp import MLP
from skensemble.nn.multiview import MultiViewNet
from skensemble.nn.normalize import Normalize
from skensemble.nn.resnet import CifarResNet

__all__ = ["MLP", "BatchEnsemble", "CifarResNet", "MultiViewNet", "Normalize"]
