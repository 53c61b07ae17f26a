"""Members that share their weights but for two vectors a layer."""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skensemble._base.fusion import FusedMembers
from skensemble._base.single import SingleModule
from skensemble._engine.results import MemberResult
from skensemble._files.registry import in_files
from skensemble._fits.given import Given, Steps
from skensemble._fits.running import fit_alone
from skensemble._private import Interval, Options, StrOptions, fit_context
from skensemble._recipes.parts import Frozen, Rates
from skensemble._recipes.recipe import Recipe
from skensemble.ensembles.network import NETWORK_CONSTRAINTS, NetworkClassifier
from skensemble.ensembles.rank1 import Rank1
from skensemble.nn.batch_ensemble import FAST_WEIGHTS, INITS, BatchEnsemble
from skensemble.objectives.distilled import SharedWeights

__all__ = ["BatchEnsembleClassifier"]


@in_files
class BatchEnsembleClassifier(SingleModule, FusedMembers):
    """An ensemble at nearly the parameters of one network: rank-one members (BatchEnsemble).

    Member `m` uses ``W ∘ (s_m r_mᵀ)`` in every linear and convolutional layer [1]_; the
    weights ``W`` and the statistics of normalisation layers are shared, biases are the
    members' own. All members see every batch, in one forward pass.

    Parameters
    ----------
    estimator : NeuralNetClassifier, Module class or instance, default=None
        The recipe of one network; see `NetworkClassifier`. Layers with parameters that
        are neither linear, convolutional nor a normalisation are refused by name.
    n_estimators : int, default=4
        Number of members.
    init : {"sign", "normal", "one", "first-only"}, default="sign"
        The vectors' start: random signs; ``N(1, 0.5²)``; all one, so that members differ by
        their targets alone, as when each learns from a teacher of its own; or, as in
        TabM [2]_ for tables, random signs before the first layer, one elsewhere, and a last
        layer of its own for each member.
    fast_lr_factor : float, default=0.5
        Learning rate of the vectors, as a factor of the recipe's.
    decay_to : {1, None}, default=None
        ``None`` leaves the vectors out of weight decay. 1 pulls them towards one by the
        recipe's ``weight_decay`` and multiplies their gradients by `n_estimators`, as
        LatentBE does [3]_.
    merge : {"factor-mean", "rank-mean"} or None, default=None
        Fold the trained members into one network that predicts, with the mean of the
        vectors, or with the mean of their products. See `merge_members`.
    averaging : {"proba", "logit", "vote"}, default="proba"
        How members are fused; may be changed after `fit`.
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
        Seed of initial weights, vectors, order of samples and dropout.
    checkpoint : path-like, Checkpoint or None, default=None
        A folder that `fit` keeps each epoch and each finished network in, and goes on from after
        it was killed or interrupted; see `Checkpoint`.
    verbose : int, default=0
        1 tells what is trained how and shows a bar at a terminal, 2 also tells of every epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    module_ : BatchEnsemble
        The members as one network, in evaluation mode.
    merged_ : NetworkClassifier
        The members folded into one network, where `merge` says so.
    history_ : list of dict
        One row an epoch.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where `X` had names that are strings.

    See Also
    --------
    DeepEnsembleClassifier : Members that share nothing.
    skensemble.nn.BatchEnsemble : The network behind it.

    References
    ----------
    .. [1] Wen, Tran and Ba, "BatchEnsemble: an alternative approach to efficient ensemble
       and lifelong learning", 2020.
    .. [2] Gorishniy, Kotelnikov and Babenko, "TabM: advancing tabular deep learning with
       parameter-efficient ensembling", 2025.
    .. [3] Nam et al., "Improving ensemble distillation with weight averaging and
       diversifying perturbation", 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import BatchEnsembleClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> ensemble = BatchEnsembleClassifier(n_estimators=4, random_state=0).fit(X, y)
    >>> ensemble.predict_members(X).shape
    (4, 150, 3)
    """

    _takes_other_rows = True
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **NETWORK_CONSTRAINTS,
        "n_estimators": [Interval(numbers.Integral, 1, None, closed="left")],
        "init": [StrOptions(set(INITS))],
        "fast_lr_factor": [Interval(numbers.Real, 0, None, closed="left")],
        "decay_to": [Options(numbers.Real, {1}), None],
        "merge": [StrOptions({"factor-mean", "rank-mean"}), None],
        "averaging": [StrOptions({"proba", "logit", "vote"})],
    }

    def __init__(
        self,
        estimator: Any = None,
        n_estimators: int = 4,
        *,
        init: str = "sign",
        fast_lr_factor: float = 0.5,
        decay_to: float | None = None,
        merge: str | None = None,
        averaging: str = "proba",
        augmentation: Any = None,
        class_weight: Any = None,
        precision: str | None = None,
        random_state: Any = None,
        checkpoint: Any = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.init = init
        self.fast_lr_factor = fast_lr_factor
        self.decay_to = decay_to
        self.merge = merge
        self.averaging = averaging
        self.augmentation = augmentation
        self.class_weight = class_weight
        self.precision = precision
        self.random_state = random_state
        self.checkpoint = checkpoint
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> BatchEnsembleClassifier:
        """Train all members together.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Tables, or images of shape (n_samples, channels, height, width).
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights; a row of weight zero counts as absent.

        Returns
        -------
        BatchEnsembleClassifier
            The fitted estimator.
        """
        fit_alone(self, Given(X, y, sample_weight))
        return self

    def _steps(self, given: Given) -> Steps:
        seed = given.root_of(self)
        recipe, data = self._prepare(self.estimator, given, seed)
        recipe = self._widen(recipe)
        shared = SharedWeights(recipe.objective(), self.n_estimators)
        self._set_result(recipe, (yield from self._train(recipe, shared, data, given, seed)))

    def _widen(self, recipe: Recipe) -> Recipe:
        """Turn the recipe of one network into that of all members."""
        if recipe.find(Frozen) is not None or recipe.find(Rates) is not None:
            raise ValueError(
                "The layers of a BatchEnsembleClassifier are its members' own, so a Pretrained "
                "recipe of it must have freeze=None and rates=None; 'fast_lr_factor' is the rate "
                "of the members' vectors."
            )
        around_one = self.decay_to is not None
        gain = float(self.n_estimators) if around_one else 1.0
        rank1 = Rank1(int(self.n_estimators), self.init, around_one, gain)
        training = recipe.training
        kwargs = dict(training.optimizer_kwargs)
        fast: dict[str, Any] = {"lr": training.lr * self.fast_lr_factor}
        if not around_one and ("weight_decay" in kwargs or _decays(training.optimizer)):
            fast["weight_decay"] = 0.0
        _check_groups(training.optimizer, training.lr)
        groups = [(pattern, fast) for pattern in FAST_WEIGHTS]
        kwargs["param_groups"] = [*groups, *kwargs.get("param_groups", [])]
        training = replace(training, optimizer_kwargs=kwargs)
        return replace(recipe.wrapped(rank1), training=training)

    module_: BatchEnsemble
    _merged_by: str | None = None

    def _set_result(self, recipe: Recipe, result: MemberResult) -> None:
        super()._set_result(recipe, result)
        self._merged_by = self.merge
        if self.merge is not None:
            self.merged_ = self.merge_members(self.merge)

    def merge_members(self, merge: str = "factor-mean") -> NetworkClassifier:
        """Fold the members into one network that needs one forward pass (LatentBE).

        Parameters
        ----------
        merge : {"factor-mean", "rank-mean"}, default="factor-mean"
            ``W ∘ (s̄ r̄ᵀ)`` with the members' mean vectors, or ``W`` times the mean of the
            members' products. Biases, and the heads of ``init="first-only"``, are averaged.

        Returns
        -------
        NetworkClassifier
            A fitted classifier of the recipe's own architecture.
        """
        check_is_fitted(self)
        network = NetworkClassifier(
            self.estimator,
            augmentation=self.augmentation,
            class_weight=self.class_weight,
            precision=self.precision,
            random_state=self.random_state,
        )
        self._share_fitted(network)
        state = self.module_.merged(merge).cpu().state_dict()
        network._set_result(self._recipe.without(Rank1), MemberResult(state, self.history_))
        return network

    # -- predictions ---------------------------------------------------------------------

    def _networks(self) -> Sequence[nn.Module]:
        if self.merge is None:
            return [self.module_]
        if self.merge != self._merged_by:
            raise ValueError(
                "Members are merged at the end of 'fit', so a 'merge' that is set later must be "
                f"None or what it was then, here {self._merged_by!r}. Got {self.merge!r} instead; "
                f"fit again, or call merge_members({self.merge!r})."
            )
        return [self.merged_.module_]

    def _read(self, logits: Tensor) -> Tensor:
        """Turn logits into log-probabilities."""
        return logits.log_softmax(-1)

    def _prunable(self) -> list[Any]:
        if self.merge is None:
            raise ValueError(
                "The members of a BatchEnsembleClassifier share their weights, so that none can "
                "be pruned by itself. Set merge='factor-mean' to prune the network they are "
                "folded into."
            )
        return [self.merged_]

    def __len__(self) -> int:
        check_is_fitted(self)
        return self.module_.n_members


def _check_groups(optimizer: Any, lr: float) -> None:
    """Refuse an optimiser that cannot give rank-1 weights a rate of their own."""
    two = [{"params": [nn.Parameter(torch.zeros(2, 2))]} for _ in range(2)]
    try:
        optimizer(two, lr=lr)
    except ValueError as error:
        raise ValueError(
            "The rank-1 members of a BatchEnsembleClassifier have a rate of their own, so the "
            "'optimizer' of the net must take groups of parameters. Got "
            f"{getattr(optimizer, '__name__', optimizer)!r} instead: {error}."
        ) from error
    except TypeError:  # it wants arguments that the net gives it
        return


def _decays(optimizer: Any) -> bool:
    """Whether an optimiser decays weights unless it is told not to."""
    known = inspect.signature(optimizer).parameters
    return "weight_decay" in known and bool(known["weight_decay"].default)
