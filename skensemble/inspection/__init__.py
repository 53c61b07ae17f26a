"""What networks have learned, as numbers and as pictures."""

from skensemble.inspection.diversity import diversity_score
from skensemble.inspection.landscape import LossLandscape, LossLandscapeDisplay, loss_landscape
from skensemble.inspection.views import LearnedViews, LearnedViewsDisplay, learned_views

__all__ = [
    "LearnedViews",
    "LearnedViewsDisplay",
    "LossLandscape",
    "LossLandscapeDisplay",
    "diversity_score",
    "learned_views",
    "loss_landscape",
]
