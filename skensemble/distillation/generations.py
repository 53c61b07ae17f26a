"""Networks that learn from their own earlier selves."""

from __future__ import annotations

import numbers
from typing import Any, ClassVar

import torch

from skensemble._base.augmenting import augment
from skensemble._base.errors import MemberDivergedError
from skensemble._base.estimator import inside
from skensemble._data.rows import FitData
from skensemble._engine.members import Member
from skensemble._engine.progress import announce
from skensemble._engine.training import Training
from skensemble._files.checks import Check, many, mapping, maybe
from skensemble._files.registry import in_files
from skensemble._fits.given import Given, Steps
from skensemble._fits.running import fit_alone
from skensemble._private import Interval, StrOptions, fit_context
from skensemble._recipes.recipe import Recipe
from skensemble._records.folder import CHECKPOINT
from skensemble._seeding import Purpose, member_seed, purpose_seed
from skensemble.augmentation.names import CONSTRAINTS
from skensemble.distillation.kernels import check_no_batches, kernel_student, learns_targets
from skensemble.distillation.lesson import Lesson
from skensemble.distillation.students import StudentClassifier
from skensemble.distillation.teachers import teacher_logits
from skensemble.ensembles.network import NetworkClassifier
from skensemble.objectives import ConfidenceTerm, LabelTerm, Objective, PermutedTerm, Term

__all__ = ["SelfDistiller"]


@in_files
class SelfDistiller(StudentClassifier):
    """A network taught by its own earlier self, again and again: born-again networks.

    Generation 0 learns the labels. Each later generation has the same architecture and a
    fresh seed, and learns from the one before it [1]_.

    Parameters
    ----------
    estimator : NeuralNetClassifier, Module class or instance, or NTKClassifier, default=None
        The recipe of a generation; see `NetworkClassifier`. Or an `NTKClassifier`, whose
        generations are fitted to ``(1 - alpha) y + alpha p``.
    n_generations : int, default=1
        Generations after the first.
    variant : {"label", "cwtm", "dkpp"}, default="label"
        What a generation learns: the teacher's probabilities; the labels, each row weighed
        by the teacher's confidence; or the teacher's largest probability in its place and
        the others permuted. The latter two tell what of distillation is due to the weights
        and what to the order of the wrong classes.
    temperature : float, default=4.0
        Of the probabilities that are learned, and of the confidence.
    alpha : float, default=0.9
        Share of the teacher's term.
    average_generations : bool, default=False
        Whether the probabilities of all generations are averaged, or the last predicts.
    augmentation : str, Augmentation, callable, list or None, default=None
        Alter each batch before it is learned: "cutmix", "mixup", "cutout", "autoaugment",
        "randaugment", "crop-flip", an object of `skensemble.augmentation`, a callable such as
        those of ``torchvision.transforms.v2``, or a list of them in turn. Held-out rows
        stay as they are. All generations are so trained; each teacher is asked about the
        rows that its student sees.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, multiplied with the sample weights.
    precision : {"bf16"} or None, default=None
        Run forward passes in bfloat16 where that is safe (autocast).
    random_state : int, RandomState instance or None, default=None
        Seed. Generation 0 is what `NetworkClassifier` makes of it.
    checkpoint : path-like, Checkpoint or None, default=None
        A folder that `fit` keeps each epoch and each finished network in, and goes on from after
        it was killed or interrupted; see `Checkpoint`.
    verbose : int, default=0
        1 tells what is trained how and shows a bar at a terminal, 2 also tells of every epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    generations_ : list of NetworkClassifier
        All generations, the plain one first; each has its `history_`.
    generation_scores_ : list of dict or None
        Loss and accuracy on the held-out rows after the last epoch of each generation;
        ``None`` where the recipe holds no rows out.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where `X` had names that are strings.

    See Also
    --------
    DistilledClassifier : A student of another teacher.

    References
    ----------
    .. [1] Furlanello et al., "Born-again neural networks", 2018.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import SelfDistiller
    >>> X, y = load_iris(return_X_y=True)
    >>> born_again = SelfDistiller(n_generations=2, random_state=0).fit(X, y)
    >>> len(born_again.generations_)
    3
    """

    _members_attribute = "generations_"
    _found: ClassVar[dict[str, Check]] = {"generation_scores_": maybe(many(mapping()))}
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "estimator": "no_validation",
        "n_generations": [Interval(numbers.Integral, 1, None, closed="left")],
        "variant": [StrOptions({"label", "cwtm", "dkpp"})],
        "temperature": [Interval(numbers.Real, 0, None, closed="neither")],
        "alpha": [Interval(numbers.Real, 0, 1, closed="both")],
        "average_generations": ["boolean"],
        "augmentation": CONSTRAINTS,
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "precision": [StrOptions({"bf16"}), None],
        "random_state": ["random_state"],
        "checkpoint": CHECKPOINT,
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator: Any = None,
        n_generations: int = 1,
        *,
        variant: str = "label",
        temperature: float = 4.0,
        alpha: float = 0.9,
        average_generations: bool = False,
        augmentation: Any = None,
        class_weight: Any = None,
        precision: str | None = None,
        random_state: Any = None,
        checkpoint: Any = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.n_generations = n_generations
        self.variant = variant
        self.temperature = temperature
        self.alpha = alpha
        self.average_generations = average_generations
        self.augmentation = augmentation
        self.class_weight = class_weight
        self.precision = precision
        self.random_state = random_state
        self.checkpoint = checkpoint
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SelfDistiller:
        """Train one generation after the other.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Tables, or images of shape (n_samples, channels, height, width).
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.

        Returns
        -------
        SelfDistiller
            The fitted estimator.
        """
        fit_alone(self, Given(X, y, sample_weight))
        return self

    def _recipe_source(self) -> Any:
        return self.estimator

    def _students(self) -> list[NetworkClassifier]:
        return self.generations_ if self.average_generations else self.generations_[-1:]

    def _steps(self, given: Given) -> Steps:
        root = given.root_of(self)
        if learns_targets(self.estimator):
            yield from self._kernel_steps(self.estimator, given, root)
            return
        recipe, plain = self._prepare(self.estimator, given, root)
        objective = augment(self, recipe.objective(), recipe, plain, given)
        data, n_epochs = plain, recipe.training.max_epochs
        announce((self.n_generations + 1) * n_epochs)
        generations: list[NetworkClassifier] = []
        for number in range(self.n_generations + 1):
            seed = member_seed(root, number) if number else root
            if generations:
                data, objective = self._learn_from(generations[-1], recipe, plain, given, seed)
            member = Member(number, seed, recipe, objective, data)
            owner = type(self).__name__
            training = Training([member], verbose=self.verbose, owner=owner, announced=n_epochs)
            yield training
            result = training.results[number]
            if result.diverged_at is not None:
                lost = {number: result.diverged_at}
                raise MemberDivergedError.of(lost, self.n_generations + 1)
            generations.append(self._make_student(recipe, seed, result))
            if recipe.table is not None:  # which is read by the names of its columns
                self._name_features(generations)
        self._recipe = recipe
        self._name_features(generations)
        self.generations_ = generations
        self.generation_scores_ = None
        if plain.valid is not None:
            names = ("valid_loss", "valid_acc")
            self.generation_scores_ = [
                {name: one.history_[-1][name] for name in names} for one in generations
            ]

    def _kernel_steps(self, source: Any, given: Given, root: int) -> Steps:
        if self.variant != "label" or self.precision is not None:
            raise ValueError(
                "Generations of an NTKClassifier learn probabilities in full precision: "
                "variant='label', precision=None. "
                f"Got variant={self.variant!r}, precision={self.precision!r}."
            )
        check_no_batches(self.augmentation)
        self._check_fit(given)
        term = LabelTerm(float(self.temperature))
        generations: list[Any] = []
        taught = None
        for number in range(self.n_generations + 1):
            seed = member_seed(root, number) if number else root
            one = yield from kernel_student(source, seed, given, taught, self.class_weight)
            logits = teacher_logits(one, given.X, self.classes_, torch.float64)
            taught = term.targets(logits)["target"].numpy(), float(self.alpha)
            generations.append(one)
        self._recipe = generations[0]._recipe
        self.generations_, self.generation_scores_ = generations, None

    def _learn_from(
        self, teacher: NetworkClassifier, recipe: Recipe, data: FitData, given: Given, seed: int
    ) -> tuple[FitData, Objective]:
        """Return what a generation minimises, and its data with what the one before says."""
        altered_by = "" if self.augmentation is None else f"augmentation={self.augmentation!r}"
        lesson = Lesson(
            self._term(seed),
            repr(self.variant),
            teacher,
            self.classes_,
            1.0 - self.alpha,
            float(self.alpha),
            # Not remembered: nobody else has this teacher.
            asked=Given(data.X if recipe.table is None else given.X, None),
            altered_by=altered_by,
        )
        data, objective = lesson.teach(recipe, data, given, recipe.objective())
        objective = lesson.alter(objective, recipe, data)
        return data, augment(self, objective, recipe, data, given)

    def _term(self, seed: int) -> Term:
        temperature = float(self.temperature)
        if self.variant == "cwtm":
            return ConfidenceTerm(temperature)
        if self.variant == "dkpp":
            return PermutedTerm(temperature, seed=purpose_seed(seed, Purpose.PERMUTE))
        return LabelTerm(temperature)

    def _with_members(self, members: list[Any]) -> Any:
        twin = super()._with_members(members)
        twin.generation_scores_ = None
        return twin

    def _prunable(self) -> list[Any]:
        return [network for one in self._students() for network in inside(one, self)]

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether there are generations to predict with."""
        return bool(getattr(self, "generations_", None))
