"""Small modules and recipes that the tests share."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import make_classification
from skorch import NeuralNetClassifier
from torch import nn

from skensemble import DeepEnsembleClassifier
from skensemble.nn import MLP

# Of tests whose recipe is a bare instance, which is told of.
AN_INSTANCE = pytest.mark.filterwarnings("ignore:The recipe's module is an instance:UserWarning")


class ResidualMLP(nn.Module):
    """Two layers with a shortcut and batch normalisation of vectors."""

    def __init__(self, in_shape, n_classes, width=12):
        super().__init__()
        self.stem = nn.Linear(in_shape[0], width, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.inner = nn.Linear(width, width)
        self.head = nn.Linear(width, n_classes)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        return self.head(x + torch.tanh(self.inner(x)))


class SmallCNN(nn.Module):
    """Convolution, batch normalisation, pooling."""

    def __init__(self, in_shape, n_classes, width=4):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_shape[0], width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width, n_classes),
        )

    def forward(self, x):
        return self.body(x)


class ResidualCNN(nn.Module):
    """One residual block of convolutions."""

    def __init__(self, in_shape, n_classes, width=4):
        super().__init__()
        self.stem = nn.Conv2d(in_shape[0], width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, n_classes)

    def forward(self, x):
        x = torch.relu(self.norm1(self.stem(x)))
        x = torch.relu(self.norm2(self.conv(x)) + x)
        return self.head(x.mean((2, 3)))


class Tutorial(nn.Module):
    """As in PyTorch's tutorial: maps are flattened by ``view``, which says how many there are."""

    def __init__(self, in_shape, n_classes, literal=True):
        super().__init__()
        self.conv1 = nn.Conv2d(in_shape[0], 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 6, 3, padding=1)
        self.n_numbers = 6 * (in_shape[1] // 4) * (in_shape[2] // 4)
        self.fc1 = nn.Linear(self.n_numbers, 10)
        self.fc2 = nn.Linear(10, n_classes)
        self.literal = literal

    def forward(self, x):
        x = F.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = F.max_pool2d(torch.relu(self.conv2(x)), 2)
        x = x.view(-1, self.n_numbers) if self.literal else x.reshape(x.size(0), -1)
        return self.fc2(torch.relu(self.fc1(x)))


class SoftmaxMLP(nn.Module):
    """Probabilities instead of logits, as skorch's ``NLLLoss`` wants them."""

    def __init__(self, in_shape, n_classes, width=12):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_shape[0], width), nn.ReLU(), nn.Linear(width, n_classes), nn.Softmax(-1)
        )

    def forward(self, x):
        return self.layers(x)


class InPlace(nn.Module):
    """Writes into its input."""

    def __init__(self, in_shape, n_classes):
        super().__init__()
        self.layers = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(in_shape[0], n_classes))

    def forward(self, x):
        return self.layers(x)


class Fragile(nn.Module):
    """A linear layer; whoever draws a negative coin at birth returns NaN in training."""

    def __init__(self, in_shape, n_classes, share=0.5):
        super().__init__()
        self.layer = nn.Linear(in_shape[0], n_classes)
        coin = torch.rand(()) < share
        self.register_buffer("poison", torch.where(coin, torch.nan, 1.0))

    def forward(self, x):
        return self.layer(x) * (self.poison if self.training else 1.0)


def make_net(module=MLP, **kwargs):
    """Return a cheap recipe with plain logits."""
    if module is MLP:
        kwargs.setdefault("module__hidden", (12,))
    settings = {
        "criterion": nn.CrossEntropyLoss,
        "optimizer": torch.optim.Adam,
        "lr": 0.02,
        "max_epochs": 5,
        "batch_size": 32,
        "train_split": None,
    }
    return NeuralNetClassifier(module, **{**settings, **kwargs})


def weights_of(classifier):
    """Return the state of a fitted network as NumPy arrays."""
    return {name: value.numpy().copy() for name, value in classifier.module_.state_dict().items()}


def assert_same_network(a, b, atol=1e-10):
    """Compare all parameters and buffers of two fitted networks."""
    left, right = weights_of(a), weights_of(b)
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].dtype == right[name].dtype
        assert abs(left[name] - right[name]).max() <= atol, name


def differ(a, b):
    """Whether any parameter of two fitted networks is different."""
    left, right = weights_of(a), weights_of(b)
    return any((left[name] != right[name]).any() for name in left)


def make_data(n_rows=90, n_classes=3, dtype=np.float64, seed=0):
    X, y = make_classification(
        n_rows, 6, n_informative=4, n_classes=n_classes, flip_y=0.1, random_state=seed
    )
    return X.astype(dtype), y


def make_ensemble(n_estimators=3, net=None, **kwargs):
    kwargs.setdefault("random_state", 0)
    return DeepEnsembleClassifier(make_net() if net is None else net, n_estimators, **kwargs)


def make_points(n_rows=60, n_classes=3, seed=0):
    X, y = make_classification(
        n_rows, 6, n_informative=5, n_redundant=0, n_classes=n_classes, random_state=seed
    )
    return X, y


def make_images(n_rows=40):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 3, 6, 6))
    y = np.arange(n_rows) % 3
    X[np.arange(n_rows), y] += 1.0
    return X, y
