"""Transfer rows: rows like the training rows, without labels, for a teacher to label.

A student that sees them learns more of what its teacher knows than the training rows tell
(Bucila, Caruana and Niculescu-Mizil, 2006). A sampler makes them of tables in pandas, polars
or arrays, with categories, dates and missing values; `Mixup` and `Noise` of images too. A
sampler of your own subclasses `Sampler`, or has its method ``sample(X, n, random_state)``.
"""

from skensemble.transfer.base import Sampler
from skensemble.transfer.mixing import Interpolate, Mixup
from skensemble.transfer.munge import Munge
from skensemble.transfer.noise import Noise

__all__ = ["Interpolate", "Mixup", "Munge", "Noise", "Sampler"]
