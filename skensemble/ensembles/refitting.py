"""What a second training on all rows needs of the first one."""

from __future__ import annotations

from skensemble._data.rows import FitData
from skensemble._recipes.training import TrainingSettings


def require_best_epoch(training: TrainingSettings, data: FitData, whole: FitData) -> None:
    """Refuse to train again where no rows of the fit say for how many epochs.

    Parameters
    ----------
    training : TrainingSettings
        How the first network is trained.
    data : FitData
        What it learns, and what is held out.
    whole : FitData
        What the second one is to learn.
    """
    stopping = training.early_stopping()
    if data.valid is None or stopping is None or stopping.monitor == "train_loss":
        rule = "no EarlyStopping" if stopping is None else f"one on {stopping.monitor!r}"
        raise ValueError(
            "With refit=True the recipe must hold rows out by 'train_split' and have an "
            "EarlyStopping on 'valid_loss' or 'valid_acc', whose best epoch says how long to train "
            f"on all rows. Got {'no' if data.valid is None else 'some'} rows held out and {rule} "
            "instead."
        )
    if data.X is not whole.X or data.valid.X is not whole.X:
        raise ValueError(
            "With refit=True the 'train_split' must return Subsets of the dataset it is given, "
            "since the second network learns all rows of X. Got rows of its own instead."
        )
    watching = [
        name
        for name, callback in training.for_epochs(1).callbacks()
        if str(getattr(callback, "monitor", "")).startswith("valid")
    ]
    if watching:
        raise ValueError(
            "With refit=True no callback but EarlyStopping can watch rows that are held out, since "
            f"the second network learns them all. Got {watching[0]} too."
        )
