"""Students: one small network that learns what a teacher knows."""

from __future__ import annotations

import numbers
from typing import Any, ClassVar

from skensemble._base.checks import N_JOBS
from skensemble._base.fitted import is_fitted
from skensemble._base.states import plain_params
from skensemble._files.registry import in_files
from skensemble._fits.given import Given
from skensemble._fits.running import fit_alone
from skensemble._forgotten import ForgottenRecipe
from skensemble._parameters import refuse_inner
from skensemble._private import HasMethods, Interval, StrOptions, fit_context
from skensemble._records.folder import CHECKPOINT
from skensemble.augmentation.names import CONSTRAINTS
from skensemble.distillation.committee import as_teacher
from skensemble.distillation.files import params_with_teacher, plain_without_teacher, upgrade_params
from skensemble.distillation.taught import TaughtClassifier
from skensemble.objectives import Term
from skensemble.objectives.names import TERMS
from skensemble.perturbation import KINDS, Perturbation
from skensemble.transfer.names import CONSTRAINTS as SAMPLERS

__all__ = ["DistilledClassifier"]


@in_files
class DistilledClassifier(TaughtClassifier):
    """One network that learns from a teacher: an ensemble, or any other classifier.

    The student minimises ``(1 - alpha) * CE(y, s) + alpha * term(s, teacher)``; where the
    objective compares layers or is ``"truncated"``, ``CE(y, s) + weight * term``. With
    ``objective="label"`` the term is ``T² KL(σ(t/T) ‖ σ(s/T))`` [1]_.

    Parameters
    ----------
    teacher : classifier or list of classifiers, default=None
        Anything with `predict_proba`; for several see `TeacherCommittee`. An unfitted one is
        cloned and fitted on the rows that `fit` is given; a fitted one is used as it is.
        Cross-validation clones it, and clones are unfitted: each fold then trains a teacher of
        its own, which has not seen the fold's test rows. ``FrozenEstimator(teacher)`` is never
        fitted again. ``None`` is an ensemble of five networks of the student's recipe.
    student : net, Module class or instance, BatchEnsembleClassifier or NTKClassifier
        The recipe; see `NetworkClassifier`. A `BatchEnsembleClassifier` is a student of
        several members; with its ``merge="factor-mean"`` they are folded into one network
        in the end (LatentBE). An `NTKClassifier` is fitted to ``(1 - alpha) y + alpha p`` with
        the teacher's probabilities `p` at the temperature. ``None`` takes that of the
        teacher's member where there is one, and otherwise chooses network and training by
        rules, and with them what is "auto" below.
    objective : str or Term, default="label"
        "label", "logit" [2]_, "feature" [3]_, "hint", "attention", "relation",
        "truncated" [4]_, "adaptive" (AE-KD), "dirichlet" (EnD²), "proxy-dirichlet", which are
        the terms of `skensemble.objectives` with their defaults; a term with parameters of its
        own, such as ``HintTerm(weight=10.0, layers=["0"])``, which are searched as
        ``objective__weight``; or an object of your own that subclasses
        `skensemble.objectives.Term`.
    temperature : float or "auto", default="auto"
        Of "label" and "adaptive"; of "dirichlet", where it goes to 1 in the second half of
        the epochs; of perturbations. A term that has a temperature of its own keeps it. "auto"
        is 4, and 1 for tables where rules choose the student.
    alpha : float, default=0.9
        Share of the teacher's term, from 0 (plain training) to 1 (labels are not used). Of
        "label", "logit", "adaptive", the Dirichlets and terms of your own; those that compare
        layers and "truncated" have a ``weight`` beside the full cross-entropy instead.
    averaging : {"auto", "proba", "logit", "one-to-one"}, default="auto"
        Whether "label" learns the mean of the probabilities of an ensemble's members, the
        softmax of their mean logits, or, each member of a `BatchEnsembleClassifier`, from
        the teacher's member of its number [5]_. "auto" is "one-to-one" for such a student
        and "proba" for others.
    teacher_cv : "auto", int, splitter or None, default="auto"
        Let the student hear of each training row from those who have not seen it, since a
        teacher repeats the labels of rows that it has learned by heart. A teacher that is
        fitted here gets twins, each of which leaves a fold out; the members of a cross-fitted
        `DeepEnsembleClassifier` have left out folds of their own, which are then used as they
        are. All rows that are not training rows are asked of the whole teacher, and where it is
        surer of left-out rows than it is right, its words are tempered. Splitters that ask for
        groups cannot be used, since `fit` takes none. "auto" is five folds
        where rules choose the student and the teacher does not stop early by rows that it
        holds out, and None otherwise.
    transfer : str, Sampler, object or None, default="auto"
        Make further rows like those of training, of which the teacher alone says something:
        "munge", "mixup", "interpolate", "noise", a sampler of `skensemble.transfer`, or an
        object with a method ``sample(X, n, random_state)``, which is asked once. "auto" is
        "munge" for tables where rules choose the student, and None otherwise.
    transfer_size : float or "auto", default="auto"
        How many of them, as a multiple of the training rows. "auto" is 9, and less for more
        than 2,000 rows.
    patience : float or "auto", default="auto"
        How many times the epochs of its recipe the student may take; with more than one it
        stops where it agrees no better with the teacher, on transfer rows that are held out,
        or on held-out rows where there are some. "auto" is 3 where rules choose the student,
        and 1 for a recipe, which means what it says.
    perturbation : {"ods", "confods", "tdiv-sdiv", "gaussian"}, Perturbation or None
        Alter the rows on which the teacher's term is learned, where the teacher's networks
        differ [6]_. The teacher is then asked for every batch. "tdiv-sdiv" is for students
        with members, and alters the rows for the labels too; "gaussian" is the control. An
        object of `skensemble.perturbation` has the length of the step and the range to keep,
        ``ODS(step=0.1, input_range=None)``, searched as ``perturbation__step``.
    report_diversity : bool, default=False
        Record for every epoch, in the student's ``history_`` and with ``verbose=2`` in
        print, how far the networks of the teacher are apart on the rows that its term is
        learned on (``train_teacher_diversity``), and the members of a student that has
        some (``train_diversity``); with a validation split ``valid_`` likewise. Both are
        `skensemble.metrics.pairwise_kl`, without a temperature.
    report : bool or int, default=False
        Whether to judge the teacher, the student, and a plain network of the student's recipe
        on rows that none of them has seen, in ``report_``: all three are fitted again on this
        many folds, 5 for True.
    n_students : int, default=1
        Students of different seeds, trained together.
    keep : {"all", "first"}, default="all"
        Whether the students are averaged, or only the first is kept.
    keep_teacher : bool, default=True
        Whether ``teacher_`` stays, and with it its size in a pickle. Without it a fitted
        `teacher` is left out of pickles of the fitted student too.
    memory : str, joblib.Memory or None, default=None
        Where fitted teachers are remembered, so that candidates of a grid search share one
        a fold. A teacher's ``random_state=None`` is then a fixed number.
    augmentation : str, Augmentation, callable, list or None, default=None
        Alter each batch before it is learned: "cutmix", "mixup", "cutout", "autoaugment",
        "randaugment", "crop-flip", an object of `skensemble.augmentation`, a callable such as
        those of ``torchvision.transforms.v2``, or a list of them in turn. Held-out rows
        stay as they are. The teacher is asked about the same altered rows, whose targets are
        what it says of them and are not mixed; whether it was *trained* on altered rows is
        its own parameter.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, multiplied with the sample weights in both terms, and for a
        teacher that is fitted here.
    stack : int or "auto", default="auto"
        How many students train together; see `DeepEnsembleClassifier`.
    n_jobs : int or None, default=None
        joblib workers that students are dealt out to.
    precision : {"bf16"} or None, default=None
        Run forward passes in bfloat16 where that is safe (autocast).
    random_state : int, RandomState instance or None, default=None
        Seed of the students, and of a teacher that has none.
    checkpoint : path-like, Checkpoint or None, default=None
        A folder that `fit` keeps each epoch and each finished network in, and goes on from after
        it was killed or interrupted; see `Checkpoint`.
    verbose : int, default=0
        1 tells what is trained how and shows a bar at a terminal, 2 also tells of every epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    teacher_ : classifier or None
        The fitted teacher; ``None`` where `fit` was given ``teacher_logits``, or with
        ``keep_teacher=False``.
    report_ : dict
        With `report`: log loss, accuracy, agreement, sizes and seconds, and the share of the
        teacher's gain over a plain network that is kept, as `metrics.retention` says it.
    estimators_ : list of NetworkClassifier
        The students that are kept.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where `X` had names that are strings.

    See Also
    --------
    SelfDistiller : A network that learns from its own earlier generations.
    StackedGridSearchCV : A grid over `temperature` and `alpha` in one training run.

    References
    ----------
    .. [1] Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015.
    .. [2] Ba and Caruana, "Do deep nets really need to be deep?", 2014.
    .. [3] Park, Yoo and Kwak, "On the orthogonality of knowledge distillation with other
       techniques", 2020.
    .. [4] Allen-Zhu and Li, "Towards understanding ensemble, knowledge distillation and
       self-distillation in deep learning", 2023.
    .. [5] Mariet, Jenatton, Wenzel and Tran, "Distilling ensembles improves uncertainty
       estimates", 2020.
    .. [6] Nam et al., "Improving ensemble distillation with weight averaging and
       diversifying perturbation", 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from skensemble import DistilledClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> student = DistilledClassifier(RandomForestClassifier(random_state=0), random_state=0)
    >>> student.fit(X, y).score(X, y) > 0.9
    True
    """

    _recipe_parameter = "student"
    _members_attribute = "estimators_"
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "teacher": [HasMethods(["fit", "predict"]), ForgottenRecipe, list, tuple, None],
        "student": "no_validation",
        "objective": [StrOptions(set(TERMS)), Term],
        "temperature": [Interval(numbers.Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "alpha": [Interval(numbers.Real, 0, 1, closed="both")],
        "averaging": [StrOptions({"auto", "proba", "logit", "one-to-one"})],
        "teacher_cv": [
            StrOptions({"auto"}),
            Interval(numbers.Integral, 2, None, closed="left"),
            HasMethods(["split", "get_n_splits"]),
            None,
        ],
        "transfer": [StrOptions({"auto"}), *SAMPLERS],
        "transfer_size": [Interval(numbers.Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "patience": [Interval(numbers.Real, 1, 1000, closed="both"), StrOptions({"auto"})],
        "perturbation": [StrOptions(set(KINDS)), Perturbation, None],
        "report_diversity": ["boolean"],
        "report": ["boolean", Interval(numbers.Integral, 2, None, closed="left")],
        "n_students": [Interval(numbers.Integral, 1, None, closed="left")],
        "keep": [StrOptions({"all", "first"})],
        "keep_teacher": ["boolean"],
        "memory": [str, HasMethods(["cache"]), None],
        "augmentation": CONSTRAINTS,
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "stack": [Interval(numbers.Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "n_jobs": N_JOBS,
        "precision": [StrOptions({"bf16"}), None],
        "random_state": ["random_state"],
        "checkpoint": CHECKPOINT,
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        teacher: Any = None,
        student: Any = None,
        *,
        objective: Any = "label",
        temperature: Any = "auto",
        alpha: float = 0.9,
        averaging: str = "auto",
        teacher_cv: Any = "auto",
        transfer: Any = "auto",
        transfer_size: Any = "auto",
        patience: Any = "auto",
        perturbation: Any = None,
        report_diversity: bool = False,
        report: Any = False,
        n_students: int = 1,
        keep: str = "all",
        keep_teacher: bool = True,
        memory: Any = None,
        augmentation: Any = None,
        class_weight: Any = None,
        stack: Any = "auto",
        n_jobs: int | None = None,
        precision: str | None = None,
        random_state: Any = None,
        checkpoint: Any = None,
        verbose: int = 0,
    ) -> None:
        self.teacher = teacher
        self.student = student
        self.objective = objective
        self.temperature = temperature
        self.alpha = alpha
        self.averaging = averaging
        self.teacher_cv = teacher_cv
        self.transfer = transfer
        self.transfer_size = transfer_size
        self.patience = patience
        self.perturbation = perturbation
        self.report_diversity = report_diversity
        self.report = report
        self.n_students = n_students
        self.keep = keep
        self.keep_teacher = keep_teacher
        self.memory = memory
        self.augmentation = augmentation
        self.class_weight = class_weight
        self.stack = stack
        self.n_jobs = n_jobs
        self.precision = precision
        self.random_state = random_state
        self.checkpoint = checkpoint
        self.verbose = verbose

    # -- fit -----------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        teacher_logits: Any = None,
        X_unlabelled: Any = None,
        groups: Any = None,
    ) -> DistilledClassifier:
        """Train the teacher where it is not fitted, and then the student.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Tables, or images of shape (n_samples, channels, height, width). The teacher is
            given `X` as it is.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights; also a teacher that is fitted here gets them.
        teacher_logits : array-like of shape (n_samples, n_classes), default=None
            What a teacher says, instead of asking `teacher`; with an axis in front for
            several networks. Rows of `X_unlabelled` follow those of `X`.
        X_unlabelled : array-like of shape (n_unlabelled, ...), default=None
            Further rows, on which the student learns from the teacher alone.
        groups : array-like of shape (n_samples,), default=None
            Groups of rows that `teacher_cv`, or the `cross_fit` of a teacher that is fitted here,
            is to keep together: splitters that ask for them, such as ``GroupKFold``.

        Returns
        -------
        DistilledClassifier
            The fitted estimator.
        """
        lesson = {"teacher_logits": teacher_logits, "X_unlabelled": X_unlabelled}
        fit_alone(self, Given(X, y, sample_weight, groups=groups, **lesson))
        return self

    def set_params(self, **params: Any) -> DistilledClassifier:
        """Set parameters, those of an objective that is an object as ``objective__weight``.

        Parameters
        ----------
        **params : dict of str to object
            The parameters.

        Returns
        -------
        DistilledClassifier
            The estimator itself.
        """
        refuse_inner(self, params, ("objective", "perturbation", "transfer"))
        return super().set_params(**params)

    # -- files ---------------------------------------------------------------------------

    def _plain_params(self) -> dict[str, Any]:
        params = self.get_params(deep=False)
        del params["student"]
        return plain_params(plain_without_teacher(params))

    @classmethod
    def _params_of(cls, about: dict[str, Any]) -> dict[str, Any]:
        return upgrade_params(super()._params_of(params_with_teacher(about)))

    def _take_found(self, found: dict[str, Any]) -> None:
        super()._take_found(found)
        self.teacher_ = None

    # -- pickles -------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """Return the state, without a fitted teacher where it is not to be kept."""
        state = dict(super().__getstate__())
        if not self.keep_teacher and "estimators_" in state and is_fitted(as_teacher(self.teacher)):
            state["teacher"] = ForgottenRecipe(("teacher",))
        return state

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether there are students to predict with."""
        return bool(getattr(self, "estimators_", None))
