"""One network, and ensembles of networks that differ by their seed alone."""

from __future__ import annotations

import copy
import numbers
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skensemble._base.augmenting import augment
from skensemble._base.checks import N_JOBS
from skensemble._base.errors import MemberDivergedError
from skensemble._base.folds import require_splitter
from skensemble._base.fusion import AVERAGING
from skensemble._base.single import check_same_device
from skensemble._data.rows import FitData
from skensemble._engine.members import Member
from skensemble._engine.results import MemberResult
from skensemble._engine.training import Preview, Training
from skensemble._files.registry import in_files
from skensemble._fits.given import Given, Steps
from skensemble._fits.running import fit_alone
from skensemble._private import HasMethods, Interval, RealNotInt, StrOptions, fit_context
from skensemble._recipes.recipe import Recipe
from skensemble._recipes.wraps import Channels
from skensemble._seeding import member_seed
from skensemble.ensembles.cross_fitted import CrossFitted
from skensemble.ensembles.drawing import drawn_rows
from skensemble.ensembles.left_out import FOUND, require_calibration
from skensemble.ensembles.network import NETWORK_CONSTRAINTS, NetworkClassifier
from skensemble.nn._heads import share_backbone
from skensemble.objectives.base import SumCrossEntropy

__all__ = ["DeepEnsembleClassifier"]


@in_files
class DeepEnsembleClassifier(CrossFitted):
    """Networks of one architecture that differ by their seed, fused into one classifier.

    Every member is trained on the same data by the same algorithm; only initial weights,
    order of the samples and dropout masks differ [1]_. Without a recipe each member also holds
    out another fold of the rows, which it stops by and the ensemble is calibrated on. The fused
    prediction is the mean of the members' probabilities, the softmax of their mean logits [2]_,
    or their vote.
    Members train together, stacked along a leading axis, where that is faster.

    Parameters
    ----------
    estimator : NeuralNetClassifier, Module class or instance, Pretrained, default=None
        The recipe of a member; see `NetworkClassifier`. A module instance is
        re-initialised for every member, with a warning; a `Pretrained` says what else is meant.
    n_estimators : int, default=10
        Number of members.
    averaging : {"auto", "proba", "logit", "vote"}, default="auto"
        How members are fused; may be changed after `fit`. "auto" averages
        probabilities, and logits where ``joint=True``.
    joint : bool, default=False
        Train the sum: one network whose logits are the mean of the members', instead of
        each member by itself. Its members see the same batches, altered alike. Each member's
        gradient is divided by their number M: at M times the recipe's learning rate and 1/M of
        its weight decay, a member goes as far as alone where the mean errs as it would.
    cross_fit : "auto", int, splitter or None, default="auto"
        Let member `m` hold out fold ``m % k`` of the rows, stratified: an early-stopping rule of
        the recipe then watches the member's own fold, and each row has probabilities by members
        that did not see it. An int is k; a splitter of scikit-learn is followed, and `groups` of
        `fit` need one; with more members than folds rows are dealt anew. "auto" is ten folds, or
        five for two to nine members, where `estimator` is None, and ``None``, which lets every
        member see all rows, where a recipe is given.
    calibrate : "auto" or bool, default="auto"
        Whether probabilities are those at ``temperature_``; may be changed after `fit`. "auto" is
        True where `estimator` is None and there are folds. True needs `cross_fit`, and another
        `averaging` than "vote".
    bootstrap : bool, default=False
        Whether each member draws its rows with replacement.
    max_samples : int, float or None, default=None
        Rows a member draws: a number, a share, or as many as there are.
    channel_splits : int or None, default=None
        Give member `i` one of this many parts of consecutive channels (axis 1) alone, part
        ``i % channel_splits``; the parts are those of `ChannelSplit`.
    augmentation : str, Augmentation, callable, list or None, default=None
        Alter each batch before it is learned: "cutmix", "mixup", "cutout", "autoaugment",
        "randaugment", "crop-flip", an object of `skensemble.augmentation`, a callable such as
        those of ``torchvision.transforms.v2``, or a list of them in turn. Held-out rows
        stay as they are.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, multiplied with the sample weights.
    stack : int or "auto", default="auto"
        How many members train together. It changes the speed, and members by rounding alone; a
        number gives the same bits whatever `n_jobs`, and 1 whatever the other members.
    n_jobs : int or None, default=None
        joblib workers that stacks are dealt out to; a backend such as dask or ray is
        chosen with :func:`joblib.parallel_config`. Without effect where ``joint=True``.
    precision : {"bf16"} or None, default=None
        Run forward passes in bfloat16 where that is safe (autocast).
    warm_start : bool, default=False
        Whether `fit` keeps the members it has and trains only those that are missing.
    random_state : int, RandomState instance or None, default=None
        Seed. Member `m` depends on it and on `m` alone.
    checkpoint : path-like, Checkpoint or None, default=None
        A folder that `fit` keeps each epoch and each finished network in, and goes on from after
        it was killed or interrupted; see `Checkpoint`.
    verbose : int, default=0
        1 tells what is trained how and shows a bar at a terminal, 2 also tells of every epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    estimators_ : list of NetworkClassifier
        The fitted members. ``len``, iteration and indexing of the ensemble reach them; a
        slice is an ensemble of some of them.
    oof_proba_ : ndarray of shape (n_samples, n_classes)
        Of each row, the probabilities by the members that did not see it, before calibration;
        NaN where all did. With `cross_fit` only.
    oof_score_ : float
        Accuracy of these.
    temperature_ : float
        Temperature at which their log loss is least, drawn towards one where rows are few; at
        most one where fewer than three members left a row out, since few are surer than all.
    folds_ : list of ndarray
        The rows that each member held out.
    preprocessor_ : TablePreprocessor or None
        What reads raw tables, where `estimator` is None.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where `X` had names that are strings.

    See Also
    --------
    NetworkClassifier : One member.

    References
    ----------
    .. [1] Lakshminarayanan, Pritzel and Blundell, "Simple and scalable predictive
       uncertainty estimation using deep ensembles", 2017.
    .. [2] Allen-Zhu and Li, "Towards understanding ensemble, knowledge distillation and
       self-distillation in deep learning", 2023.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import DeepEnsembleClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> ensemble = DeepEnsembleClassifier(n_estimators=3, random_state=0).fit(X, y)
    >>> ensemble.predict_members(X).shape
    (3, 150, 3)
    """

    _averagings = ("auto", *AVERAGING)
    _members_attribute = "estimators_"
    _found: ClassVar[dict[str, Any]] = FOUND
    _n_folds: Any = None
    _takes_other_rows = True
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **NETWORK_CONSTRAINTS,
        "n_estimators": [Interval(numbers.Integral, 1, None, closed="left")],
        "averaging": [StrOptions({"auto", "proba", "logit", "vote"})],
        "joint": ["boolean"],
        "cross_fit": [
            StrOptions({"auto"}),
            Interval(numbers.Integral, 2, None, closed="left"),
            HasMethods(["split", "get_n_splits"]),
            None,
        ],
        "calibrate": [StrOptions({"auto"}), "boolean"],
        "bootstrap": ["boolean"],
        "max_samples": [
            Interval(numbers.Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="right"),
            None,
        ],
        "channel_splits": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "stack": [Interval(numbers.Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "n_jobs": N_JOBS,
        "warm_start": ["boolean"],
    }

    def __init__(
        self,
        estimator: Any = None,
        n_estimators: int = 10,
        *,
        averaging: str = "auto",
        joint: bool = False,
        cross_fit: Any = "auto",
        calibrate: Any = "auto",
        bootstrap: bool = False,
        max_samples: Any = None,
        channel_splits: int | None = None,
        augmentation: Any = None,
        class_weight: Any = None,
        stack: Any = "auto",
        n_jobs: int | None = None,
        precision: str | None = None,
        warm_start: bool = False,
        random_state: Any = None,
        checkpoint: Any = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.averaging = averaging
        self.joint = joint
        self.cross_fit = cross_fit
        self.calibrate = calibrate
        self.bootstrap = bootstrap
        self.max_samples = max_samples
        self.channel_splits = channel_splits
        self.augmentation = augmentation
        self.class_weight = class_weight
        self.stack = stack
        self.n_jobs = n_jobs
        self.precision = precision
        self.warm_start = warm_start
        self.random_state = random_state
        self.checkpoint = checkpoint
        self.verbose = verbose

    # -- fit -----------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None
    ) -> DeepEnsembleClassifier:
        """Train the members.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Tables, or images of shape (n_samples, channels, height, width); bytes of
            images are scaled to [0, 1]. Memory maps are read batch by batch.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights; a row of weight zero counts as absent.
        groups : array-like of shape (n_samples,), default=None
            Groups of rows, for a splitter as `cross_fit` such as ``GroupKFold(5)``; refused
            without one.

        Returns
        -------
        DeepEnsembleClassifier
            The fitted estimator.

        Raises
        ------
        MemberDivergedError
            If the loss of a member stopped being finite. The others are kept in
            ``estimators_``; with ``warm_start=True`` the next `fit` trains what is missing.
        """
        if self.joint and (self.bootstrap or self.max_samples is not None):
            raise ValueError(
                "With joint=True all members see the same rows, so 'bootstrap' must be False and "
                f"'max_samples' None. Got bootstrap={self.bootstrap}, "
                f"max_samples={self.max_samples!r} instead."
            )
        fit_alone(self, Given(X, y, sample_weight, groups=groups))
        return self

    def _steps(self, given: Given) -> Steps:
        kept = self._kept_members()
        root = int(getattr(self, "_root", 0)) if kept else given.root_of(self)
        before = dict(vars(self))
        cross_fit = self._cross_fit()
        require_splitter(self.cross_fit, given.groups)
        require_calibration(self, cross_fit is not None)
        recipe, data = self._prepare(self.estimator, given, root, hold_out=cross_fit is None)
        recipe = self._check_same_data(recipe, data, before) if kept else recipe
        labels = recipe.objective()
        if self.joint:
            labels = SumCrossEntropy(labels.class_weight, labels.label_smoothing)
        objective = augment(self, labels, recipe, data, given)
        folds = None if cross_fit is None else self._make_folds(cross_fit, data, given, root, kept)
        members = []
        for number in range(self.n_estimators):
            if number not in kept:
                seed = member_seed(root, number)
                own = data if folds is None else folds.of(data, number)
                rows = drawn_rows(self, own.rows, seed)
                own = own if rows is None else replace(own, rows=rows)
                members.append(Member(number, seed, recipe.of_member(number), objective, own))
        self._root: int = root
        self._forget_left_out()
        yield from self._train(recipe, members, kept)
        if folds is not None:
            self._learn_of_left_out(folds, data, given)

    def _kept_members(self) -> dict[int, NetworkClassifier]:
        """Return the members a warm start keeps, by number."""
        if not self.warm_start or not hasattr(self, "estimators_"):
            return {}
        kept = dict(zip(self._numbers, self.estimators_, strict=True))
        if self.n_estimators < len(kept):
            raise ValueError(
                f"With warm_start=True 'n_estimators' must be at least {len(kept)}, the number "
                f"of members there are. Got {self.n_estimators} instead."
            )
        if self.joint and self.n_estimators != len(kept):
            raise ValueError(
                "With joint=True members are parts of one network, which cannot grow from "
                f"{len(kept)} to {self.n_estimators}; set warm_start=False to train it anew."
            )
        return kept

    def _check_same_data(self, recipe: Recipe, data: FitData, before: dict[str, Any]) -> Recipe:
        """Refuse new data that the members there are cannot predict; keep their dtype."""
        classes, old = before["classes_"], before["_recipe"]
        if not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"With warm_start=True the classes must stay {classes.tolist()}. "
                f"Got {self.classes_.tolist()} instead."
            )
        if old.in_shape != recipe.in_shape:
            raise ValueError(
                f"With warm_start=True samples must keep the shape {old.in_shape}. "
                f"Got {recipe.in_shape} instead."
            )
        splits = old.find(Channels)
        if splits != recipe.find(Channels):
            raise ValueError(
                "With warm_start=True 'channel_splits' must stay what the members there are "
                f"were trained with, {splits and splits.n_splits}. "
                f"Got {self.channel_splits} instead."
            )
        data.require_range(old.dtype)
        check_same_device(self.estimators_[0].module_, recipe)
        return replace(recipe, dtype=old.dtype)

    def _train(
        self, recipe: Recipe, members: list[Member], kept: dict[int, NetworkClassifier]
    ) -> Steps:
        """Train `members`; whatever happens, keep what was finished."""
        training = Training(
            members, self.stack, self.n_jobs, self._root, self.verbose, type(self).__name__
        )
        training.preview = Preview(self, lambda results: self._would_be(recipe, members, results))
        seeds = {member.number: member.seed for member in members}
        done, diverged = dict(kept), {}
        try:
            if members:
                yield training
        finally:
            for number, result in training.results.items():
                if result.diverged_at is None:
                    own = recipe.of_member(number)
                    done[number] = self._make_member(own, seeds[number], result)
                    if own.only_head is not None:  # so that there are no more than two copies
                        two = [next(iter(done.values())).module_, done[number].module_]
                        share_backbone(two, own.only_head)
                else:
                    diverged[number] = result.diverged_at
            self._recipe = recipe
            self._numbers = sorted(done)
            self.estimators_ = [done[number] for number in self._numbers]
        if diverged:
            raise MemberDivergedError.of(diverged, self.n_estimators)

    def _would_be(
        self, recipe: Recipe, members: list[Member], results: dict[int, MemberResult]
    ) -> dict[str, Any]:
        """Return the attributes of a fit that ended now, with new members alone."""
        made = [
            self._make_member(recipe.of_member(one.number), one.seed, results[one.number])
            for one in members
        ]
        numbers = [one.number for one in members]
        found = {} if self._cross_fit() is None else {"temperature_": 1.0}  # not looked for yet
        return {"estimators_": made, "_numbers": numbers, "_recipe": recipe, **found}

    def _make_member(self, recipe: Recipe, seed: int, result: MemberResult) -> NetworkClassifier:
        member = NetworkClassifier(
            recipe.written(self.estimator),
            augmentation=self.augmentation,
            class_weight=self.class_weight,
            precision=self.precision,
            random_state=seed,
        )
        self._share_fitted(member)
        member._set_result(recipe, result)
        return member

    # -- the members -----------------------------------------------------------------------

    def __len__(self) -> int:
        check_is_fitted(self)
        return len(self.estimators_)

    def __iter__(self) -> Iterator[NetworkClassifier]:
        check_is_fitted(self)
        return iter(self.estimators_)

    def __getitem__(self, index: Any) -> Any:
        check_is_fitted(self)
        if not isinstance(index, slice):
            return self.estimators_[index]
        if not self.estimators_[index]:
            raise IndexError(f"{index} selects none of the {len(self)} members")
        part = copy.copy(self)
        part.estimators_ = self.estimators_[index]
        part._numbers = self._numbers[index]
        part.n_estimators = len(part.estimators_)
        if hasattr(part, "folds_"):
            part.folds_ = self.folds_[index]
            del part.oof_proba_, part._oof_labels, part.oof_score_  # of all members
        return part

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether there are members to predict with."""
        return bool(getattr(self, "estimators_", None))

    # -- fusion ------------------------------------------------------------------------------

    def _networks(self) -> Sequence[nn.Module]:
        return [member.module_ for member in self.estimators_]

    def _recipes(self) -> Sequence[Recipe]:
        return [member._recipe for member in self.estimators_]  # a warm start may change it

    def _averaging(self) -> str:
        averaging = super()._averaging()
        if averaging == "auto":
            return "logit" if self.joint else "proba"
        return averaging

    def _teaching(self, logits: Tensor) -> Tensor:
        voices = logits.mean(0, keepdim=True) if self.joint else logits
        return voices / self.temperature_ if self._calibrates() else voices

    def _count_voices(self) -> int:
        return 1 if self.joint else super()._count_voices()
