"""What networks have learned, as numbers and as pictures."""

from skensemble.inspection.channels import ChannelImagesDisplay, channel_images
from skensemble.inspection.diversity import diversity_score
from skensemble.inspection.landscape import LossLandscape, LossLandscapeDisplay, loss_landscape
from skensemble.inspection.maps import ViewMapsDisplay, view_maps
from skensemble.inspection.views import LearnedViews, LearnedViewsDisplay, learned_views

__all__ = [
    "ChannelImagesDisplay",
    "LearnedViews",
    "LearnedViewsDisplay",
    "LossLandscape",
    "LossLandscapeDisplay",
    "ViewMapsDisplay",
    "channel_images",
    "diversity_score",
    "learned_views",
    "loss_landscape",
    "view_maps",
]
