"""Network architectures, one file each, and parts to build networks of.

Architectures take ``in_shape`` (the shape of one sample) and ``n_classes``, which the
estimators fill in from the data, and return logits of shape ``(n_samples, n_classes)``.
"""

from skensemble.nn.batch_ensemble import BatchEnsemble
from skensemble.nn.densenet import DenseNet
from skensemble.nn.mlp import MLP
from skensemble.nn.multiview import MultiViewNet, gradient_descent
from skensemble.nn.normalize import Normalize
from skensemble.nn.preact_resnet import PreActResNet
from skensemble.nn.pyramidnet import PyramidNet
from skensemble.nn.resnet import CifarResNet
from skensemble.nn.simple_cnn import SimpleCNN
from skensemble.nn.vgg import VGG
from skensemble.nn.wide_resnet import WideResNet

__all__ = [
    "MLP",
    "VGG",
    "BatchEnsemble",
    "CifarResNet",
    "DenseNet",
    "MultiViewNet",
    "Normalize",
    "PreActResNet",
    "PyramidNet",
    "SimpleCNN",
    "WideResNet",
    "gradient_descent",
]
