"""Network architectures, one file each, and parts to build networks of.

Architectures take ``in_shape`` (the shape of one sample) and ``n_classes``, which the
estimators fill in from the data, and return logits of shape ``(n_samples, n_classes)``.
"""

from skensemble.nn.batch_ensemble import BatchEnsemble
from skensemble.nn.densenet import DenseNet
from skensemble.nn.dropout import Dropout
from skensemble.nn.embeddings import (
    CategoryEmbedding,
    Periodic,
    PiecewiseLinear,
    quantile_bins,
)
from skensemble.nn.mlp import MLP
from skensemble.nn.multiview import MultiViewNet, gradient_descent
from skensemble.nn.normalize import Normalize
from skensemble.nn.preact_resnet import PreActResNet
from skensemble.nn.pyramidnet import PyramidNet
from skensemble.nn.resnet import CifarResNet
from skensemble.nn.simple_cnn import SimpleCNN
from skensemble.nn.tabular import TabularNet
from skensemble.nn.vgg import VGG
from skensemble.nn.wide_resnet import WideResNet

__all__ = [
    "MLP",
    "VGG",
    "BatchEnsemble",
    "CategoryEmbedding",
    "CifarResNet",
    "DenseNet",
    "Dropout",
    "MultiViewNet",
    "Normalize",
    "Periodic",
    "PiecewiseLinear",
    "PreActResNet",
    "PyramidNet",
    "SimpleCNN",
    "TabularNet",
    "WideResNet",
    "gradient_descent",
    "quantile_bins",
]
