"""One network as a scikit-learn classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor, nn

from skensemble._base.classifier import BaseNetworkClassifier
from skensemble._base.single import SingleModule
from skensemble._data.rows import FitData
from skensemble._engine.bar import tell
from skensemble._engine.progress import announce
from skensemble._files.registry import in_files
from skensemble._fits.given import Given, Steps
from skensemble._fits.running import fit_alone
from skensemble._private import StrOptions, fit_context
from skensemble._recipes.recipe import Recipe
from skensemble._records.folder import CHECKPOINT
from skensemble.augmentation.names import CONSTRAINTS
from skensemble.ensembles.refitting import require_best_epoch

# Of the parameters that ensembles of networks have too.
NETWORK_CONSTRAINTS: dict[str, Any] = {
    "estimator": "no_validation",
    "augmentation": CONSTRAINTS,
    "class_weight": [StrOptions({"balanced"}), dict, None],
    "precision": [StrOptions({"bf16"}), None],
    "random_state": ["random_state"],
    "checkpoint": CHECKPOINT,
    "verbose": ["verbose"],
}


@in_files
class NetworkClassifier(SingleModule, BaseNetworkClassifier):
    """One neural network that obeys scikit-learn's contract.

    It is what the members of a `DeepEnsembleClassifier` are: refitting a member with its
    own ``random_state`` gives the same network again, unless the ensemble drew rows for it,
    held rows out at random, gave it a part of the channels, or trained the sum.

    Parameters
    ----------
    estimator : NeuralNetClassifier, Module class or instance, Pretrained, default=None
        The recipe: a skorch net says module, criterion, optimiser, learning rate, epochs,
        batch size, device and callbacks; a `Pretrained`, which weights are kept. ``in_shape``
        and ``n_classes`` are filled in where the module's constructor has them. ``None`` reads
        raw tables (categories, missing values), chooses network and training by rules on rows
        and columns, holds a tenth of the rows out, and keeps the epoch that predicts them best;
        ``verbose=1`` tells what.
    refit : bool, default=False
        Whether to train a second network of the same seed on all rows, for as many epochs as
        the best one of the first had, by the same schedule. Needs rows that are held out and an
        ``EarlyStopping`` that watches them, as there are where `estimator` is None.
    augmentation : str, Augmentation, callable, list or None, default=None
        Alter each batch before it is learned: "cutmix", "mixup", "cutout", "autoaugment",
        "randaugment", "crop-flip", an object of `skensemble.augmentation`, a callable such as
        those of ``torchvision.transforms.v2``, or a list of them in turn. Held-out rows
        stay as they are.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, multiplied with the sample weights.
    precision : {"bf16"} or None, default=None
        Run forward passes in bfloat16 where that is safe (autocast).
    random_state : int, RandomState instance or None, default=None
        Seed of initial weights, order of samples and dropout.
    checkpoint : path-like, Checkpoint or None, default=None
        A folder that `fit` keeps each epoch and each finished network in, and goes on from after
        it was killed or interrupted; see `Checkpoint`.
    verbose : int, default=0
        1 tells what is trained how and shows a bar at a terminal, 2 also tells of every epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    module_ : torch.nn.Module
        The fitted network, in evaluation mode.
    preprocessor_ : TablePreprocessor or None
        What reads raw tables, where `estimator` is None.
    history_ : list of dict
        One row an epoch: losses, held-out accuracy where rows were held out, seconds. With
        ``refit=True`` those of the second training.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where `X` had names that are strings.

    See Also
    --------
    DeepEnsembleClassifier : Several of them, averaged.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import NetworkClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> net = NetworkClassifier(random_state=0).fit(X, y)
    >>> net.score(X, y) > 0.9
    True
    """

    _takes_other_rows = True
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **NETWORK_CONSTRAINTS,
        "refit": ["boolean"],
    }

    def __init__(
        self,
        estimator: Any = None,
        *,
        refit: bool = False,
        augmentation: Any = None,
        class_weight: Any = None,
        precision: str | None = None,
        random_state: Any = None,
        checkpoint: Any = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.refit = refit
        self.augmentation = augmentation
        self.class_weight = class_weight
        self.precision = precision
        self.random_state = random_state
        self.checkpoint = checkpoint
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> NetworkClassifier:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Tables, or images of shape (n_samples, channels, height, width); bytes of
            images are scaled to [0, 1]. Memory maps are read batch by batch.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights; a row of weight zero counts as absent.

        Returns
        -------
        NetworkClassifier
            The fitted estimator.
        """
        fit_alone(self, Given(X, y, sample_weight))
        return self

    def _steps(self, given: Given) -> Steps:
        seed = given.root_of(self)
        recipe, data = self._prepare(self.estimator, given, seed)
        told, announced = recipe, 0
        if self.refit:
            announced = announce(recipe.training.max_epochs)  # at most
            told, data = yield from self._find_epochs(recipe, data, given, seed)
        result = yield from self._train(told, recipe.objective(), data, given, seed, announced)
        self._set_result(recipe, result)

    def _find_epochs(self, recipe: Recipe, data: FitData, given: Given, seed: int) -> Steps:
        """Train a first network; return how the second one is to be trained, and on what."""
        whole = self._check_fit(given)  # as it was before rows were held out
        require_best_epoch(recipe.training, data, whole)
        first = yield from self._train(recipe, recipe.objective(), data, given, seed)
        n_epochs = first.best_epoch or len(first.history)
        if self.verbose:
            rows = f"all {len(whole.rows)} rows"
            tell(type(self).__name__, f"once more on {rows}, for {n_epochs} epochs")
        return replace(recipe, training=recipe.training.for_epochs(n_epochs)), whole

    # How logits are read as log-probabilities, where not by a softmax.
    _reading: Callable[[Tensor], Tensor] | None = None

    def _networks(self) -> Sequence[nn.Module]:
        return [self.module_]

    def _fuse_proba(self, logits: Tensor) -> Tensor:
        return logits[0].softmax(-1) if self._reading is None else self._read(logits[0]).exp()

    def _fuse_log_proba(self, logits: Tensor) -> Tensor:
        return self._read(logits[0])

    def _fuse_score(self, logits: Tensor) -> Tensor:
        return logits[0] if self._reading is None else self._read(logits[0])

    def _teaching(self, logits: Tensor) -> Tensor:
        return logits if self._reading is None else self._read(logits)

    def _read(self, logits: Tensor) -> Tensor:
        """Turn logits into log-probabilities."""
        return logits.log_softmax(-1) if self._reading is None else self._reading(logits)
