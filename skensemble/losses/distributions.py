"""What an ensemble says as a distribution: its spread, and the Dirichlet that fits it.

Gamma functions of large numbers cancel, so all is computed in float64 and returned in
the dtype of the logits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from skensemble.losses.classification import weighted_mean
from skensemble.losses.distillation import per_member, require_positive, require_shape

__all__ = [
    "dirichlet_nll",
    "dirichlet_proba",
    "member_divergence",
    "proxy_dirichlet",
    "proxy_dirichlet_target",
]

# exp(500) is far beyond any trained network, and its log-gamma does not overflow.
_LIMIT = 500.0


def bounded_exp(logits: Tensor) -> Tensor:
    """Return the exponential in float64, of what is within the range that a Dirichlet can have."""
    return logits.double().clamp(-_LIMIT, _LIMIT).exp()


def dirichlet_nll(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    temperature: float | Tensor = 1.0,
    smoothing: float = 1e-3,
) -> Tensor:
    """Likelihood of the teachers, ``-mean_t log Dir(p_t; alpha)``, ``alpha = exp(s / T)``.

    Malinin, Mlodozeniec and Gales (2020), "Ensemble distribution distillation".

    Parameters
    ----------
    logits : Tensor of shape (n_members, n_samples, n_classes)
        Student logits.
    target : Tensor of shape (n_members or 1, n_samples, n_teachers, n_classes)
        Probabilities of each teacher.
    weight : Tensor of shape (n_members or 1, n_samples), default=None
        Sample weights.
    temperature : float or Tensor of shape (n_members,), default=1.0
        Divides the logits.
    smoothing : float, default=1e-3
        Shrinks targets to ``(1 - e) p + e / K``; zero allows no probability of zero.

    Returns
    -------
    Tensor of shape (n_members,)
        The loss of each member.

    Examples
    --------
    >>> import torch
    >>> dirichlet_nll(torch.zeros(1, 1, 3), torch.full((1, 1, 5, 3), 1 / 3))
    tensor([-0.6931])
    """
    require_positive("temperature", temperature)
    if not 0 <= smoothing <= 1:
        raise ValueError(f"smoothing must be in [0, 1]. Got {smoothing}.")
    require_shape("target", target, (*logits.shape[:2], target.shape[-2], logits.shape[-1]))
    alpha = bounded_exp(logits.double() / per_member(temperature, 3))
    target = (1 - smoothing) * target.double() + smoothing / logits.shape[-1]
    fit = ((alpha - 1) * target.log().mean(-2)).sum(-1)
    loss = torch.lgamma(alpha).sum(-1) - torch.lgamma(alpha.sum(-1)) - fit
    return weighted_mean(loss, weight).to(logits.dtype)


def proxy_dirichlet_target(proba: Tensor, eps: float = 1e-8) -> tuple[Tensor, Tensor]:
    """Mean and precision of a Dirichlet that fits the teachers.

    ``mean = mean_m p_m`` and ``beta_0 = (K - 1) / (2 mean_m KL(mean || p_m) + eps)``, by
    Stirling's formula. Ryabinin, Malinin and Gales (2021), "Scaling ensemble distribution
    distillation to many classes with proxy targets".

    Parameters
    ----------
    proba : Tensor of shape (..., n_teachers, n_classes)
        Probabilities of each teacher.
    eps : float, default=1e-8
        Bounds the precision where all teachers agree.

    Returns
    -------
    mean : Tensor of shape (..., n_classes)
        The teachers' mean.
    precision : Tensor of shape (...)
        The precision ``beta_0``.

    Examples
    --------
    >>> import torch
    >>> mean, precision = proxy_dirichlet_target(torch.tensor([[0.4, 0.6], [0.6, 0.4]]))
    >>> mean, precision
    (tensor([0.5000, 0.5000]), tensor(24.4966))
    """
    require_positive("eps", eps)
    # A probability that underflowed is taken for the smallest one: the divergence is finite.
    p = proba.double().clamp_min(torch.finfo(proba.dtype).tiny)
    mean = p.mean(-2)
    divergence = (mean * (mean.log() - p.log().mean(-2))).sum(-1)
    precision = (proba.shape[-1] - 1) / (2 * divergence.clamp_min(0.0) + eps)
    return mean.to(proba.dtype), precision.to(proba.dtype)


def proxy_dirichlet(
    logits: Tensor,
    mean: Tensor,
    precision: Tensor,
    weight: Tensor | None = None,
    *,
    reverse: bool = True,
) -> Tensor:
    """Divergence of ``Dir(alpha)`` and ``Dir(beta)``, ``alpha = e^s + 1``, ``beta = b mean + 1``.

    Reverse: ``KL(Dir(alpha) || Dir(beta)) / b`` without its constant, which is
    ``-sum_k mean_k [psi(alpha_k) - psi(alpha_0)] - H[Dir(alpha)] / b``. Forward:
    ``KL(Dir(beta) || Dir(alpha)) / b``. Ryabinin, Malinin and Gales (2021).

    Parameters
    ----------
    logits : Tensor of shape (n_members, n_samples, n_classes)
        Student logits.
    mean : Tensor of shape (n_members or 1, n_samples, n_classes)
        Mean of the target, see :func:`proxy_dirichlet_target`.
    precision : Tensor of shape (n_members or 1, n_samples)
        Its precision ``b``.
    weight : Tensor of shape (n_members or 1, n_samples), default=None
        Sample weights.
    reverse : bool, default=True
        Which divergence is taken.

    Returns
    -------
    Tensor of shape (n_members,)
        The loss of each member.

    Examples
    --------
    >>> import torch
    >>> logits, mean, precision = torch.zeros(1, 1, 2), torch.full((1, 1, 2), 0.5), torch.ones(1, 1)
    >>> proxy_dirichlet(logits, mean, precision)
    tensor([0.9584])
    """
    require_shape("mean", mean, logits.shape)
    require_shape("precision", precision, logits.shape[:2])
    alpha, mean, precision = bounded_exp(logits) + 1, mean.double(), precision.double()
    if reverse:
        gap = torch.digamma(alpha) - torch.digamma(alpha.sum(-1, keepdim=True))
        loss = -(mean * gap).sum(-1) - _entropy(alpha) / precision
    else:
        beta = precision.unsqueeze(-1) * mean + 1
        gap = torch.digamma(beta) - torch.digamma(beta.sum(-1, keepdim=True))
        loss = _log_norm(alpha) - _log_norm(beta) + ((beta - alpha) * gap).sum(-1)
        loss = loss / precision
    return weighted_mean(loss, weight).to(logits.dtype)


def _log_norm(alpha: Tensor) -> Tensor:
    """Logarithm of the beta function, by which a Dirichlet density is divided."""
    return torch.lgamma(alpha).sum(-1) - torch.lgamma(alpha.sum(-1))


def _entropy(alpha: Tensor) -> Tensor:
    """Entropy of a Dirichlet, ``sum_k h(a_k) - h(a_0) - (K - 1) psi(a_0)``, see `_rest`."""
    total = alpha.sum(-1)
    return _rest(alpha).sum(-1) - _rest(total) - (alpha.shape[-1] - 1) * torch.digamma(total)


def _rest(a: Tensor) -> Tensor:
    """``h(a) = log Gamma(a) + a - (a - 1) psi(a)``, by its series where terms would cancel."""
    small, large = a.clamp(max=200.0), a.clamp(min=200.0)
    exact = torch.lgamma(small) + small - (small - 1) * torch.digamma(small)
    r = 1 / large
    tail = r * (1 / 3 + r * (1 / 12 + r * (1 / 90 - r / 120)))
    return torch.where(a < 200, exact, 0.5 * (large.log() + math.log(2 * math.pi) + 1) - tail)


def dirichlet_proba(logits: Tensor) -> Tensor:
    """Mean of the student's Dirichlet, ``(exp(s_k) + 1) / sum_j (exp(s_j) + 1)``.

    Parameters
    ----------
    logits : Tensor of shape (..., n_classes)
        Logits of a student trained by :func:`proxy_dirichlet`.

    Returns
    -------
    Tensor of shape (..., n_classes)
        Probabilities.

    Examples
    --------
    >>> import torch
    >>> dirichlet_proba(torch.tensor([0.0, 1000.0, 1000.0]))
    tensor([0.0000, 0.5000, 0.5000])
    """
    wide = logits.double()
    return torch.logaddexp(wide, torch.zeros_like(wide)).softmax(-1).to(logits.dtype)


def member_divergence(logits: Tensor) -> Tensor:
    """Kullback-Leibler divergence between members, mean over ordered pairs.

    ``mean over i != j of KL(p_i || p_j)``, as :func:`skensemble.metrics.pairwise_kl`
    takes it of probabilities.

    Parameters
    ----------
    logits : Tensor of shape (..., n_members, n_classes)
        Logits of at least two members.

    Returns
    -------
    Tensor of shape (...)
        The mean of each sample, in nats.

    Examples
    --------
    >>> import torch
    >>> member_divergence(torch.tensor([[[0.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]]))
    tensor([0.0000, 0.4621])
    """
    n_members = logits.shape[-2]
    if n_members < 2:
        raise ValueError(f"Diversity is of at least 2 members. Got {n_members}.")
    log_p = logits.log_softmax(-1)
    # The sum over i and j of p_i (l_i - l_j); pairs of a member with itself add nothing.
    gap = (log_p.exp() * (log_p - log_p.mean(-2, keepdim=True))).sum((-2, -1))
    return gap / (n_members - 1)
