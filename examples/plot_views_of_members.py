"""
Where do members look?
======================

Each image shows a class in two ways: a digit on the left, and on the right another digit of the
same class, turned by a quarter. A network that is trained by gradient descent leans, for many
classes, on one of the two, since that is enough for its training rows; which one is often settled
by its initial weights (Allen-Zhu and Li, 2023). Grad-CAM shows which half a member looks at, and
rows that have noise in place of one half tell whether the picture is right. Needs
``pip install 'skensemble[inspect]'``.
"""

# %%
# Images of two views
# -------------------
# Both halves have a mean of zero and the same norm, so that neither is the louder one.
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skensemble import DeepEnsembleClassifier
from skensemble.inspection import ChannelImagesDisplay, ViewMapsDisplay, view_maps
from skensemble.nn import gradient_descent
from skensemble.nn.multiview import smoothed_relu

torch.set_num_threads(1)

digits, labels = load_digits(return_X_y=True)
digits = digits.reshape(-1, 8, 8)
drawn, drawn_test, y_drawn, y_drawn_test = train_test_split(
    digits, labels, test_size=0.5, stratify=labels, random_state=0
)


def glue(digits, labels, n_images, seed, noise=None):
    """Put two digits of a class beside each other; "left" or "right" may be noise instead."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 10, n_images)
    pick = [rng.choice(np.flatnonzero(labels == one), 2) for one in y]
    left, right = (digits[rows] for rows in np.transpose(pick))
    halves = {"left": left, "right": np.rot90(right, axes=(1, 2))}
    if noise is not None:  # a digit whose pixels are shuffled
        halves[noise] = rng.permuted(halves[noise].reshape(-1, 64), axis=1).reshape(-1, 8, 8)
    for name, half in halves.items():
        half = half - half.mean((1, 2), keepdims=True)
        halves[name] = 1.5 * half / np.linalg.norm(half, axis=(1, 2), keepdims=True)
    X = np.concatenate([halves["left"], halves["right"]], axis=2)[:, None]
    return X.astype(np.float32), y


X, y = glue(drawn, y_drawn, 500, seed=0)
tests = {
    name: glue(drawn_test, y_drawn_test, 2000, seed=1, noise=noise)
    for name, noise in {"both": None, "left": "right", "right": "left"}.items()
}

# %%
# An ensemble of the theory's network
# -----------------------------------
# Filters as large as a half are moved over the image; a class sums what its own filters answer,
# through the smoothed ReLU.


class TwoViews(torch.nn.Module):
    """Six filters a class."""

    def __init__(self, in_shape, n_classes, n_filters=6):
        super().__init__()
        self.filters = torch.nn.Conv2d(in_shape[0], n_classes * n_filters, 8, bias=False)
        torch.nn.init.normal_(self.filters.weight, std=0.1)
        self.n_classes = n_classes

    def forward(self, x):
        answers = smoothed_relu(self.filters(x), power=4.0, bend=1.0)
        return answers.unflatten(1, (self.n_classes, -1)).sum((2, 3, 4))


ensemble = DeepEnsembleClassifier(
    gradient_descent(TwoViews, n_steps=250), 6, averaging="logit", random_state=0
).fit(X, y)

# Of each class, how many rows a member gets right that show one half alone.
right = {
    name: np.array(
        [
            [(member.predict(X_test)[y_test == one] == one).mean() for one in range(10)]
            for member in ensemble
        ]
    )
    for name, (X_test, y_test) in tests.items()
}
for name, (X_test, y_test) in tests.items():
    print(
        f"{name:5} shown: a member {100 * right[name].mean():.0f} % right, "
        f"all together {100 * ensemble.score(X_test, y_test):.0f} %"
    )

# %%
# Where they look
# ---------------
# One image a class; colours of a line have one scale.
X_test, y_test = tests["both"]
first = [np.flatnonzero(y_test == one)[0] for one in range(10)]
display = ViewMapsDisplay.from_estimator(ensemble, X_test[first], y_test[first])
display.figure_.suptitle("where members look for the true class")
print(f"correlation of two members' maps: {display.agreement().mean():.2f}")

# %%
# Do the maps tell the truth?
# ---------------------------
# The share of a map that lies on the left half, against how much more often the member is right
# with the left half alone than with the right one alone.
maps = view_maps(ensemble, X_test, y_test)
mass = maps.sum(2)
share = mass[..., :8].sum(-1) / np.maximum(mass.sum(-1), 1e-12)
share = np.array([[own[y_test == one].mean() for one in range(10)] for own in share])
prefers = right["left"] - right["right"]
agree = np.corrcoef(share.ravel(), prefers.ravel())[0, 1]
print(f"maps against rows of one half: correlation {agree:.2f} over members and classes")

figure, axes = plt.subplots(1, 2, figsize=(9.0, 3.2), layout="constrained", sharey=True)
drawn_as = {"cmap": "RdBu_r", "aspect": "auto"}
shown = [(share, 0, 1, "share of the map on the left half")]
shown += [(prefers, -1, 1, "accuracy with the left half alone,\nless that with the right alone")]
for ax, (values, low, high, title) in zip(axes, shown, strict=True):
    figure.colorbar(ax.imshow(values, vmin=low, vmax=high, **drawn_as), ax=ax)
    ax.set_xticks(range(10))
    ax.set_xlabel("class")
    ax.set_title(title, fontsize="medium")
axes[0].set_ylabel("member")
figure.suptitle(f"where members look, and what they recognise: correlation {agree:.2f}")

# %%
# What their filters are
# ----------------------
# The rows that the filters of two classes answer to most, and images made for them.
chosen = [0, 1, 2, 3, 18, 19, 20, 21]
ChannelImagesDisplay.from_estimator(ensemble, "filters", X, channels=chosen, over="max", n_images=3)
plt.show()
