"""Networks made smaller: trained, pruned and trained on."""

from __future__ import annotations

import copy
import numbers
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from sklearn.utils.validation import check_memory
from skorch import NeuralNetClassifier
from torch import Tensor, nn

from skensemble._base.classifier import BaseNetworkClassifier
from skensemble._base.fitted import is_fitted, unwrap
from skensemble._data.rows import FitData, Rows
from skensemble._engine.bar import tell
from skensemble._engine.members import SAMPLE_ROWS
from skensemble._files.format import State
from skensemble._files.registry import in_files
from skensemble._fits.given import Given, Steps
from skensemble._fits.running import fit_alone
from skensemble._forgotten import ForgottenRecipe
from skensemble._private import Interval, StrOptions, fit_context
from skensemble._recipes.recipe import Recipe, Start
from skensemble._recipes.wraps import Cut, Slimming
from skensemble.augmentation.names import CONSTRAINTS
from skensemble.distillation.classifier import DistilledClassifier
from skensemble.ensembles.network import NetworkClassifier
from skensemble.pruning.choosing import Operation, PruningSettings, Widths
from skensemble.pruning.costs import changes
from skensemble.pruning.files import from_state, params_of_prototype, to_state
from skensemble.pruning.finetuning import finetuning_seed, train_on, tuned, untrained, widths_of
from skensemble.pruning.members import networks_of, slimmed
from skensemble.pruning.operation import plan_operation
from skensemble.pruning.protocols import PROTOCOLS, Protocol

__all__ = ["PrunedClassifier"]


# The seed of what is remembered, where nobody has set one.
_FIXED_SEED = 0


@in_files
class PrunedClassifier(BaseNetworkClassifier):
    """Smaller networks: trained, relieved of what matters least, and trained on.

    Channels are taken out of the module physically: what is left is an ordinary module with
    narrower layers, faster wherever it runs. They are those with the least absolute weights
    [1]_ or with the least scales of batch normalisation, which training has pulled towards
    zero [2]_. ``method="magnitude"`` masks single weights instead [3]_; that saves no time,
    and is what structured pruning is compared with.

    Parameters
    ----------
    estimator : NeuralNetClassifier, Module class or instance, or classifier, default=None
        The recipe of a network; see `NetworkClassifier`. Or an estimator of networks, of
        which each is pruned: a `NetworkClassifier`, `DeepEnsembleClassifier`,
        `DistilledClassifier`, `SelfDistiller`, or `BatchEnsembleClassifier` with `merge`. One
        that is fitted is pruned as it is; ``FrozenEstimator`` keeps it so under
        cross-validation, which clones.
    method : {"l1-filter", "slimming", "magnitude"} or callable, default="l1-filter"
        How channels or weights are chosen. A callable ``score(layer, norm)`` returns one number
        a channel of a layer, the least of which are taken out; `norm` is the batch
        normalisation that follows, or None.
    keep : float or dict of str to float, default=0.5
        Share of the channels, or weights, to keep: of each layer with "l1-filter" and a
        callable, of all together with "slimming". A dict has a share for each part of the
        network, by the prefix of layers' names, the longest one that fits; other layers stay
        whole.
    skip : list of str, default=()
        Layers, or parts of the network, to leave whole, by the prefix of their names.
    layers : {"auto", "conv", "linear", "all"}, default="auto"
        Which kind of layers is pruned. "auto" is convolutions where there are any.
    threshold : {"global", "layer"}, default="global"
        Of "magnitude": whether all layers, or each, keep the share.
    strength : float, default=1e-4
        Of "slimming": how strongly scales are pulled towards zero while the unpruned network is
        trained; they start at 0.5. Without effect on an `estimator` that is fitted.
    coupled : bool, default=False
        Also take out channels that layers share, through sums and concatenations, with the help
        of Torch-Pruning (``pip install 'skensemble[pruning]'``). Its answer is used only if the
        pruned network says what the unpruned one says with the channels at zero.
    min_channels : int, default=1
        Channels that every layer keeps at least.
    round_to : int, default=1
        Round the channels to keep up to a multiple; processors work on blocks of channels.
    init : {"finetune", "scratch"}, default="finetune"
        Whether pruned networks start from the weights they have left, or from new random ones.
    finetune : "recipe", int, dict, NeuralNetClassifier or None, default="recipe"
        How pruned networks are trained on. "recipe" runs the recipe again as it is, learning rate
        and schedule included [5]_; an int does so for that many epochs. A dict overrides
        parameters of the net, such as ``{"max_epochs": 40, "lr": 1e-3}``; a net says all but
        the module. ``None`` and 0 are no training.
    augmentation : "estimator", str, Augmentation, callable, list or None, default="estimator"
        How batches are altered while pruned networks train on: as the estimator says, or
        as given here, see `NetworkClassifier`. ``None`` is rows as they are.
    distill : DistilledClassifier or None, default=None
        Learn from a teacher: what is learned, as its parameters say. Its `teacher` of ``None``
        is a network of the same recipe; its `student` is the network that is pruned.
    protocol : {"pre", "post", "pre-post", "self"}, default="post"
        With `distill`: who learns from a teacher [4]_. "pre": the unpruned network; "post": the
        pruned one; "pre-post": both, from one teacher; "self": the unpruned one, which then
        teaches the pruned one. In "post", the unpruned network is the teacher unless there is
        another.
    memory : str, joblib.Memory or None, default=None
        Where unpruned networks and teachers are remembered, so that candidates of a search that
        differ in `keep` share one a fold. A ``random_state=None`` is then a fixed number.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, multiplied with the sample weights.
    stack : int or "auto", default="auto"
        As of `DeepEnsembleClassifier`, of pruned networks of equal shapes.
    n_jobs : int or None, default=None
        joblib workers that pruned networks are dealt out to.
    precision : {"bf16"} or None, default=None
        Run forward passes in bfloat16 where that is safe (autocast).
    random_state : int, RandomState instance or None, default=None
        Seed.
    checkpoint : path-like, Checkpoint or None, default=None
        A folder that `fit` goes on from after it was killed; see `Checkpoint`.
    verbose : int, default=0
        1 tells what is pruned and what is left alone, and shows a bar where networks train at a
        terminal; 2 also tells of every epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    unpruned_ : classifier
        What was pruned, fitted and as it was.
    pruned_ : classifier
        The same kind of estimator with pruned networks; an ensemble is still one.
    estimators_ : list of NetworkClassifier
        The pruned networks.
    teacher_ : classifier or None
        Who taught.
    n_parameters_ : Change
        Parameters, `before` and `after`.
    n_flops_ : Change
        Multiply-adds of linear and convolutional layers for one row, `before` and `after`. What
        is masked is counted.
    sparsity_ : Change
        Share of the weights of linear and convolutional layers that are zero.
    kept_channels_ : list of dict of str to Widths
        For each network, the channels of its prunable layers, `before` and `after`.
    left_alone_ : dict of str to str
        Layers that stay whole, and why.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where `X` had names that are strings.

    See Also
    --------
    DistilledClassifier : A small network of another architecture.
    skensemble.pruning.prune_ensemble : Fewer members instead of smaller ones.

    References
    ----------
    .. [1] Li, Kadav, Durdanovic, Samet and Graf, "Pruning filters for efficient ConvNets",
       2017.
    .. [2] Liu, Li, Shen, Huang, Yan and Zhang, "Learning efficient convolutional networks
       through network slimming", 2017.
    .. [3] Han, Pool, Tran and Dally, "Learning both weights and connections for efficient
       neural networks", 2015.
    .. [4] Park, Yoo and Kwak, "On the orthogonality of knowledge distillation with other
       techniques", 2020.
    .. [5] Renda, Frankle and Carbin, "Comparing rewinding and fine-tuning in neural network
       pruning", 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import PrunedClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> small = PrunedClassifier(keep=0.25, random_state=0).fit(X, y)
    >>> small.n_parameters_
    Change(before=67843, after=18499)
    """

    _members_attribute = "estimators_"
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "estimator": "no_validation",
        "method": [StrOptions({"l1-filter", "slimming", "magnitude"}), callable, ForgottenRecipe],
        "keep": [Interval(numbers.Real, 0, 1, closed="right"), dict],
        "skip": [list, tuple],
        "layers": [StrOptions({"auto", "conv", "linear", "all"})],
        "threshold": [StrOptions({"global", "layer"})],
        "strength": [Interval(numbers.Real, 0, None, closed="left")],
        "coupled": ["boolean"],
        "min_channels": [Interval(numbers.Integral, 1, None, closed="left")],
        "round_to": [Interval(numbers.Integral, 1, None, closed="left")],
        "init": [StrOptions({"finetune", "scratch"})],
        "finetune": [
            StrOptions({"recipe"}),
            Interval(numbers.Integral, 0, None, closed="left"),
            dict,
            NeuralNetClassifier,
            ForgottenRecipe,
            None,
        ],
        "augmentation": [StrOptions({"estimator"}), *CONSTRAINTS],
        "distill": [DistilledClassifier, None],
        "protocol": [StrOptions(set(PROTOCOLS))],
        **{
            name: DistilledClassifier._parameter_constraints[name]
            for name in (
                "memory", "class_weight", "stack", "n_jobs", "precision", "random_state",
                "checkpoint", "verbose",
            )
        },
    }  # fmt: skip

    def __init__(
        self,
        estimator: Any = None,
        *,
        method: Any = "l1-filter",
        keep: Any = 0.5,
        skip: Sequence[str] = (),
        layers: str = "auto",
        threshold: str = "global",
        strength: float = 1e-4,
        coupled: bool = False,
        min_channels: int = 1,
        round_to: int = 1,
        init: str = "finetune",
        finetune: Any = "recipe",
        augmentation: Any = "estimator",
        distill: DistilledClassifier | None = None,
        protocol: str = "post",
        memory: Any = None,
        class_weight: Any = None,
        stack: Any = "auto",
        n_jobs: int | None = None,
        precision: str | None = None,
        random_state: Any = None,
        checkpoint: Any = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.keep = keep
        self.skip = skip
        self.layers = layers
        self.threshold = threshold
        self.strength = strength
        self.coupled = coupled
        self.min_channels = min_channels
        self.round_to = round_to
        self.init = init
        self.finetune = finetune
        self.augmentation = augmentation
        self.distill = distill
        self.protocol = protocol
        self.memory = memory
        self.class_weight = class_weight
        self.stack = stack
        self.n_jobs = n_jobs
        self.precision = precision
        self.random_state = random_state
        self.checkpoint = checkpoint
        self.verbose = verbose

    # -- fit -----------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> PrunedClassifier:
        """Train, prune and train on.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Tables, or images of shape (n_samples, channels, height, width).
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights, in all trainings.

        Returns
        -------
        PrunedClassifier
            The fitted estimator.
        """
        fit_alone(self, Given(X, y, sample_weight))
        return self

    def _steps(self, given: Given) -> Steps:
        self._check_settings()
        root = given.root_of(self)
        data = self._check_fit(given)
        if self.memory is not None and self.random_state is None:
            root = _FIXED_SEED
        # Every training gets the classes' weights, as weights of the rows.
        weight = given.sample_weight if self.class_weight is None else data.weight
        given = given.without_lesson(weight)

        source = self._source()
        protocol = self._protocol()
        unpruned = yield from protocol.find_unpruned(source, given, root)
        networks = networks_of(unpruned, self.classes_, self.finetune not in (None, 0))
        operations, recipes = self._operate(networks, data)
        teacher = yield from protocol.find_teacher(source, unpruned, given, root)
        trainers = [
            protocol.trainer(network, recipe, teacher, finetuning_seed(network, number, root))
            for number, (network, recipe) in enumerate(zip(networks, recipes, strict=True))
        ]
        pruned = yield from self._train_on(networks, recipes, trainers, given)

        self.unpruned_, self.teacher_ = unpruned, teacher
        self.estimators_: list[NetworkClassifier] = pruned
        self.pruned_ = unpruned._with_members(pruned)
        self._recipe = pruned[0]._recipe
        self.n_parameters_, self.n_flops_, self.sparsity_ = changes(networks, pruned)
        self.kept_channels_: list[dict[str, Widths]] = [one.widths for one in operations]
        self.left_alone_: dict[str, str] = operations[0].left_alone

    def _check_settings(self) -> None:
        if isinstance(self.method, ForgottenRecipe):
            raise ValueError(
                "The file this estimator was loaded from does not hold its 'method', a function. "
                "It can predict; to fit it, bring it back with set_params(method=...)."
            )
        self._settings().check()
        if self.finetune in (None, 0) and self.augmentation not in ("estimator", None):
            raise ValueError(
                "An 'augmentation' is for networks that train on. Got "
                f"{self.augmentation!r} with finetune={self.finetune!r}; leave it at 'estimator', "
                "or train on."
            )
        one = self.distill
        if one is not None and (one.student is not None or one.n_students != 1):
            raise ValueError(
                "The student of 'distill' is the network that is pruned, so its 'student' must be "
                f"None and its 'n_students' 1. Got {one.student!r} and {one.n_students}."
            )
        for name in ("augmentation", "class_weight", "precision"):
            if one is not None and getattr(one, name) is not None:
                raise ValueError(
                    f"The {name!r} of 'distill' must be None, since the estimator's, or that of "
                    f"PrunedClassifier, is used. Got {getattr(one, name)!r}."
                )

    def _settings(self) -> PruningSettings:
        return PruningSettings(
            self.method, self.keep, tuple(self.skip), self.layers, self.threshold, self.coupled,
            self.min_channels, self.round_to,
        )  # fmt: skip

    # -- what is pruned ------------------------------------------------------------------

    def _source(self) -> Any:
        """Return the recipe or estimator of networks; of what was pruned before, its networks."""
        source = unwrap(self.estimator)
        if not isinstance(source, PrunedClassifier):
            return source
        if not is_fitted(source):
            raise ValueError(
                "A PrunedClassifier as 'estimator', to be pruned further, must be fitted; under "
                "cross-validation put it into a FrozenEstimator. Got an unfitted one."
            )
        return source.pruned_

    def _protocol(self) -> Protocol:
        return Protocol(
            None if self.distill is None else self.protocol,
            self.distill,
            slimmed(self.strength) if self.method == "slimming" else _same,
            self.precision,
            check_memory(self.memory),
            self.verbose,
            self.augmentation,
        )

    # -- pruning -------------------------------------------------------------------------

    def _operate(
        self, networks: list[NetworkClassifier], data: FitData
    ) -> tuple[list[Operation], list[Recipe]]:
        """Plan what is taken out of each network, and return the recipes of what is left."""
        how = self._settings()
        operations, recipes = [], []
        for network in networks:
            module = copy.deepcopy(network.module_).cpu()
            sample = Rows(data.X, network._recipe.dtype).slice(0, SAMPLE_ROWS)
            sample = sample if len(sample) > 1 else torch.cat([sample, sample])
            operation = plan_operation(module, sample, how)
            left = operation.perform(module, sample).state_dict()
            operations.append(operation)
            recipes.append(self._pruned_recipe(network, operation, left))
        if self.verbose:
            self._say_plan(operations)
        return operations, recipes

    def _say_plan(self, operations: list[Operation]) -> None:
        for number, one in enumerate(operations):
            widths = ", ".join(f"{n} {w.before} -> {w.after}" for n, w in one.widths.items())
            self._say(f"network {number}: {widths or f'{len(one.masks)} layers masked'}")
        for name, why in operations[0].left_alone.items():
            self._say(f"{name} is left alone: {why}")

    def _say(self, what: str) -> None:
        tell(type(self).__name__, what)

    def _pruned_recipe(
        self, network: NetworkClassifier, operation: Operation, left: dict[str, Tensor]
    ) -> Recipe:
        """Return the recipe of training on, which starts from the weights that are left.

        Without training on it is that of the pruned module.
        """
        wide = network._recipe.without(Slimming)
        cuts = [Cut(operation.cuts)] if operation.cuts else []
        from_scratch = self.init == "scratch"
        start = Start(None if from_scratch else left, operation.masks)
        narrow = replace(wide.wrapped(*cuts), start=start)
        return tuned(narrow, self.finetune, from_scratch) or narrow

    # -- training on ---------------------------------------------------------------------

    def _train_on(
        self,
        networks: list[NetworkClassifier],
        recipes: list[Recipe],
        trainers: list[Any],
        given: Given,
    ) -> Steps:
        """Train pruned networks, each with its own seed, and together where they can be."""
        if self.finetune in (None, 0):
            return [untrained(*pair) for pair in zip(networks, recipes, strict=True)]
        if self.verbose and len({widths_of(recipe) for recipe in recipes}) > 1:
            self._say("the networks' shapes differ; they are trained on one by one")
        return (yield from train_on(networks, trainers, given, self.stack, self.n_jobs))

    # -- files ---------------------------------------------------------------------------

    @classmethod
    def _params_of(cls, about: dict[str, Any]) -> dict[str, Any]:
        return super()._params_of(params_of_prototype(about))

    def _to_state(self) -> State:
        return to_state(self)

    @classmethod
    def _from_state(cls, state: State) -> PrunedClassifier:
        return from_state(cls, state)

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether there are pruned networks to predict with."""
        return hasattr(self, "pruned_")

    @property
    def module_(self) -> nn.Module:
        """The pruned network, the first where there are several."""
        return self.estimators_[0].module_

    @property
    def history_(self) -> list[dict[str, Any]]:
        """The record of training `module_` on; empty where it was not."""
        return self.estimators_[0].history_

    def _networks(self) -> Sequence[nn.Module]:
        return self.pruned_._networks()

    def _recipes(self) -> Sequence[Recipe]:
        return self.pruned_._recipes()

    def _fuse_proba(self, logits: Tensor) -> Tensor:
        return self.pruned_._fuse_proba(logits)

    def _fuse_log_proba(self, logits: Tensor) -> Tensor:
        return self.pruned_._fuse_log_proba(logits)

    def _fuse_score(self, logits: Tensor) -> Tensor:
        return self.pruned_._fuse_score(logits)

    def _teaching(self, logits: Tensor) -> Tensor:
        return self.pruned_._teaching(logits)

    @property
    def _concentration(self) -> Any:
        return self.pruned_._concentration


def _same(recipe: Recipe) -> Recipe:
    return recipe
