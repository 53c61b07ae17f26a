"""Losses between a student's logits and those of its teachers.

Here ``s`` and ``t`` are logits of student and teacher, ``T`` is the temperature and
``K`` the number of classes. Targets carry no gradient: the caller detaches them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skensemble.losses.classification import weighted_mean

__all__ = [
    "adaptive_distillation",
    "confidence_weights",
    "label_distillation",
    "logit_regression",
    "min_norm_weights",
    "per_member",
    "permute_dark_knowledge",
    "project_capped_simplex",
    "soften",
    "truncated_distillation",
    "truncated_logit",
]


def per_member(value: float | Tensor, ndim: int) -> float | Tensor:
    """Shape one number a member so that it broadcasts against tensors ``(member, ...)``.

    Parameters
    ----------
    value : float or Tensor of shape (n_members,)
        A number for all members, which is returned as it is, or one for each.
    ndim : int
        Number of axes of the tensor it meets.

    Returns
    -------
    float or Tensor of shape (n_members, 1, ..., 1)
        The number, or the numbers with `ndim` axes.

    Examples
    --------
    >>> import torch
    >>> per_member(torch.tensor([1.0, 4.0]), 3).shape
    torch.Size([2, 1, 1])
    """
    if not isinstance(value, Tensor) or value.dim() == 0:
        return value
    return value.reshape(-1, *[1] * (ndim - 1))


def require_positive(name: str, value: float | Tensor) -> None:
    """Raise unless a float is positive; tensors are not read, which would stall a GPU."""
    if not isinstance(value, Tensor) and not 0 < value < 1e150:  # so that it has a square
        raise ValueError(f"{name} must be greater than 0 and less than 1e150. Got {value}.")


def require_shape(name: str, value: Tensor, shape: tuple[int, ...]) -> None:
    """Raise unless all axes of `value` but the member axis are those of `shape`."""
    if tuple(value.shape[1:]) != tuple(shape[1:]):
        wanted = ", ".join(str(size) for size in shape[1:])
        raise ValueError(
            f"{name} must have the shape ({shape[0]} or 1, {wanted}). Got {tuple(value.shape)}."
        )


def soften(logits: Tensor, temperature: float = 1.0, averaging: str = "proba") -> Tensor:
    """Merge teachers into one target, ``mean_m softmax(t_m / T)``.

    Parameters
    ----------
    logits : Tensor of shape (..., n_samples, n_teachers, n_classes)
        Teacher logits.
    temperature : float, default=1.0
        Divides the logits.
    averaging : {"proba", "logit"}, default="proba"
        Whether probabilities are averaged, or logits: ``softmax(mean_m t_m / T)``.

    Returns
    -------
    Tensor of shape (..., n_samples, n_classes)
        Probabilities.

    Examples
    --------
    >>> import torch
    >>> soften(torch.tensor([[[0.0, 4.0], [4.0, 0.0]]]), temperature=4.0)
    tensor([[0.5000, 0.5000]])
    """
    require_positive("temperature", temperature)
    if averaging == "proba":
        return (logits / temperature).softmax(-1).mean(-2)
    if averaging == "logit":
        return (logits.mean(-2) / temperature).softmax(-1)
    raise ValueError(f"averaging must be 'proba' or 'logit'. Got {averaging!r}.")


def label_distillation(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    temperature: float | Tensor = 1.0,
) -> Tensor:
    """Divergence from softened labels, ``T² KL(p || softmax(s / T))``.

    Hinton, Vinyals and Dean (2015), "Distilling the knowledge in a neural network".

    Parameters
    ----------
    logits : Tensor of shape (n_members, n_samples, n_classes)
        Student logits.
    target : Tensor of shape (n_members or 1, n_samples, n_classes)
        Probabilities already softened, see :func:`soften`; zeros contribute nothing.
    weight : Tensor of shape (n_members or 1, n_samples), default=None
        Sample weights.
    temperature : float or Tensor of shape (n_members,), default=1.0
        Divides the student's logits.

    Returns
    -------
    Tensor of shape (n_members,)
        The loss of each member.

    Examples
    --------
    >>> import torch
    >>> target = torch.tensor([[[1.0, 0.0]]])
    >>> label_distillation(torch.zeros(2, 1, 2), target)
    tensor([0.6931, 0.6931])
    """
    require_positive("temperature", temperature)
    require_shape("target", target, logits.shape)
    log_q = (logits / per_member(temperature, 3)).log_softmax(-1)
    divergence = (torch.xlogy(target, target) - target * log_q).sum(-1)
    return temperature**2 * weighted_mean(divergence, weight)


def logit_regression(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Squared distance of logits, ``sum_k (s_k - t_k)²``.

    Ba and Caruana (2014), "Do deep nets really need to be deep?".

    Parameters
    ----------
    logits : Tensor of shape (n_members, n_samples, n_classes)
        Student logits.
    target : Tensor of shape (n_members or 1, n_samples, n_classes)
        Teacher logits.
    weight : Tensor of shape (n_members or 1, n_samples), default=None
        Sample weights.

    Returns
    -------
    Tensor of shape (n_members,)
        The loss of each member.

    Examples
    --------
    >>> import torch
    >>> logit_regression(torch.zeros(1, 3, 2), torch.ones(1, 3, 2))
    tensor([2.])
    """
    require_shape("target", target, logits.shape)
    return weighted_mean((logits - target).square().sum(-1), weight)


def truncated_logit(logits: Tensor, tau: float | Tensor) -> Tensor:
    """Truncate and scale logits, the softmax of ``min(tau² F_i, 1) / tau``.

    Allen-Zhu and Li (2023), "Towards understanding ensemble, knowledge distillation and
    self-distillation in deep learning", eq. 4.2.

    Parameters
    ----------
    logits : Tensor of shape (n_members, n_samples, n_classes)
        Network outputs ``F``.
    tau : float or Tensor of shape (n_members,)
        Scale; the paper takes ``1 / log(K)²``.

    Returns
    -------
    Tensor of shape (n_members, n_samples, n_classes)
        Probabilities, whose ratios are at most ``exp(1 / tau)`` for positive logits.

    Examples
    --------
    >>> import torch
    >>> truncated_logit(torch.tensor([[[5.0, 9.0, 0.0]]]), tau=1.0)
    tensor([[[0.4223, 0.4223, 0.1554]]])
    """
    require_positive("tau", tau)
    tau = per_member(tau, logits.dim())
    return ((tau**2 * logits).clamp(max=1.0) / tau).softmax(-1)


def truncated_distillation(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    tau: float | Tensor,
    one_sided: bool = False,
) -> Tensor:
    """Surrogate ``sum_i sg(d_i) F_i`` with ``d_i = logit_i(F) - logit_i(G)``.

    Its gradient in ``F_i`` is ``d_i``, the step of Allen-Zhu and Li (2023), eq. 4.3,
    with :func:`truncated_logit`; its value has no meaning and may be negative.

    Parameters
    ----------
    logits : Tensor of shape (n_members, n_samples, n_classes)
        Student logits ``F``.
    target : Tensor of shape (n_members or 1, n_samples, n_classes)
        Teacher logits ``G``.
    weight : Tensor of shape (n_members or 1, n_samples), default=None
        Sample weights.
    tau : float or Tensor of shape (n_members,)
        Scale of the truncated logits.
    one_sided : bool, default=False
        Take ``min(0, d_i)``, as published: only raise classes where the student is below the
        teacher. Nothing in it lowers a logit, so they run away.

    Returns
    -------
    Tensor of shape (n_members,)
        The surrogate of each member.

    Examples
    --------
    >>> import torch
    >>> student = torch.zeros(1, 1, 2, requires_grad=True)
    >>> teacher = torch.tensor([[[1.0, 0.0]]])
    >>> truncated_distillation(student, teacher, tau=1.0).sum().backward()
    >>> student.grad
    tensor([[[-0.2311,  0.2311]]])
    """
    require_shape("target", target, logits.shape)
    gap = (truncated_logit(logits, tau) - truncated_logit(target, tau)).detach()
    if one_sided:
        gap = gap.clamp(max=0.0)
    return weighted_mean((gap * logits).sum(-1), weight)


def adaptive_distillation(
    logits: Tensor,
    target_logits: Tensor,
    weight: Tensor | None = None,
    *,
    temperature: float | Tensor = 4.0,
    cap: float = 0.6,
) -> Tensor:
    """Label distillation from teachers weighed by agreement, ``sum_t lambda_t l_t``.

    Here ``l_t = T² KL(softmax(t/T) || softmax(s/T))``, and lambda makes the shortest sum
    of the batch's mean gradients ``T (softmax(s/T) - softmax(t/T))`` in the logits, see
    :func:`min_norm_weights`. Du et al. (2020), "Agree to disagree".

    Parameters
    ----------
    logits : Tensor of shape (n_members, n_samples, n_classes)
        Student logits.
    target_logits : Tensor of shape (n_members or 1, n_samples, n_teachers, n_classes)
        Teacher logits.
    weight : Tensor of shape (n_members or 1, n_samples), default=None
        Sample weights.
    temperature : float or Tensor of shape (n_members,), default=4.0
        Divides the logits of student and teachers.
    cap : float, default=0.6
        Largest weight of a teacher, at least ``1 / n_teachers``.

    Returns
    -------
    Tensor of shape (n_members,)
        The loss of each member.

    Examples
    --------
    >>> import torch
    >>> teachers = torch.tensor([[[[4.0, 0.0], [0.0, 4.0]]]])
    >>> adaptive_distillation(torch.zeros(1, 1, 2), teachers)
    tensor([1.7751])
    """
    require_positive("temperature", temperature)
    shape = (*logits.shape[:2], target_logits.shape[-2], logits.shape[-1])
    require_shape("target_logits", target_logits, shape)
    log_q = (logits / per_member(temperature, 3)).log_softmax(-1).unsqueeze(-2)
    log_p = (target_logits / per_member(temperature, 4)).log_softmax(-1)
    p = log_p.exp()
    divergence = (p * (log_p - log_q)).sum(-1).transpose(-1, -2)
    gradient = (log_q.exp() - p).detach().movedim(1, -1)
    if weight is not None:
        weight = weight.unsqueeze(1)
    by_teacher = weighted_mean(divergence, weight)
    slopes = weighted_mean(gradient, None if weight is None else weight.unsqueeze(1))
    shares = min_norm_weights(per_member(temperature, 3) * slopes, cap)
    return temperature**2 * (shares * by_teacher).sum(-1)


def confidence_weights(proba: Tensor) -> Tensor:
    """Share of each sample in its batch's confidence, ``max_k p / sum_batch max_k p``.

    "Confidence weighted by teacher max" of Furlanello et al. (2018), "Born again neural
    networks".

    Parameters
    ----------
    proba : Tensor of shape (..., n_samples, n_classes)
        Teacher probabilities.

    Returns
    -------
    Tensor of shape (..., n_samples)
        Sample weights that sum to one.

    Examples
    --------
    >>> import torch
    >>> confidence_weights(torch.tensor([[0.9, 0.1], [0.4, 0.6]]))
    tensor([0.6000, 0.4000])
    """
    top = proba.amax(-1)
    return top / top.sum(-1, keepdim=True)


def permute_dark_knowledge(proba: Tensor, generator: torch.Generator) -> Tensor:
    """Keep each sample's top probability in place and permute the others at random.

    "Dark knowledge with permuted predictions" of Furlanello et al. (2018), "Born again
    neural networks".

    Parameters
    ----------
    proba : Tensor of shape (..., n_classes)
        Teacher probabilities.
    generator : torch.Generator
        A generator of the CPU, whatever the device of `proba`.

    Returns
    -------
    Tensor of shape (..., n_classes)
        The same numbers in each row, in another order.

    Examples
    --------
    >>> import torch
    >>> p = torch.tensor([0.1, 0.7, 0.2])
    >>> permute_dark_knowledge(p, torch.Generator().manual_seed(0))[1]
    tensor(0.7000)
    """
    keys = torch.rand(proba.shape, generator=generator).to(proba.device)
    top = proba.argmax(-1, keepdim=True)
    # Both orders name the top class first; the rest is at random, and as it stands.
    source = keys.scatter(-1, top, -1.0).argsort(-1)
    place = torch.ones_like(keys).scatter(-1, top, 0.0).argsort(dim=-1, stable=True)
    return proba.scatter(-1, place, proba.gather(-1, source))


def project_capped_simplex(points: Tensor, cap: float) -> Tensor:
    """Nearest point with ``sum(x) = 1`` and ``0 <= x <= cap``.

    It is ``clip(v - theta, 0, cap)``, where the sum is piecewise linear in theta; its
    breakpoints are the ``v_i`` and ``v_i - cap``.

    Parameters
    ----------
    points : Tensor of shape (..., n)
        Points ``v``.
    cap : float
        Upper bound, at least ``1 / n``.

    Returns
    -------
    Tensor of shape (..., n)
        The projections.

    Examples
    --------
    >>> import torch
    >>> project_capped_simplex(torch.tensor([3.0, 1.0, 1.0]), cap=0.5)
    tensor([0.5000, 0.2500, 0.2500])
    """
    _require_cap(cap, points.shape[-1])
    points = points - points.mean(-1, keepdim=True)
    theta = torch.cat([points, points - cap], -1).sort(-1).values
    total = (points.unsqueeze(-2) - theta.unsqueeze(-1)).clamp(0.0, cap).sum(-1)
    left = ((total >= 1).sum(-1, keepdim=True) - 1).clamp(0, theta.shape[-1] - 2)
    low, high = total.gather(-1, left), total.gather(-1, left + 1)
    share = (low - 1) / (low - high).clamp_min(torch.finfo(points.dtype).tiny)
    start, end = theta.gather(-1, left), theta.gather(-1, left + 1)
    return (points - torch.lerp(start, end, share.clamp(0.0, 1.0))).clamp(0.0, cap)


def _require_cap(cap: float, n: int) -> None:
    if not cap * n >= 1 - 1e-9:
        raise ValueError(f"cap must be at least 1/{n} for {n} weights that sum to 1. Got {cap}.")


def min_norm_weights(gradients: Tensor, cap: float = 1.0) -> Tensor:
    """Minimise ``|sum_t lambda_t g_t|² / 2`` with ``sum(lambda) = 1``, ``0 <= lambda <= cap``.

    The weights of AE-KD (Du et al., 2020): ``cap = 1 / n_teachers`` takes the plain mean,
    ``cap = 1`` the shortest vector of the hull (multiple-gradient descent). Solved on the
    CPU in float64 by an active-set method, for up to some 50 teachers; no gradient flows.

    Parameters
    ----------
    gradients : Tensor of shape (..., n_teachers, n_classes)
        One gradient a teacher.
    cap : float, default=1.0
        Largest weight, at least ``1 / n_teachers``.

    Returns
    -------
    Tensor of shape (..., n_teachers)
        The weights, on the device and in the dtype of `gradients`.

    Examples
    --------
    >>> import torch
    >>> min_norm_weights(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    tensor([0.8000, 0.2000])
    """
    n = gradients.shape[-2]
    _require_cap(cap, n)
    if n == 1 or cap * n <= 1 + 1e-9:
        return gradients.new_full(gradients.shape[:-1], 1 / n)
    g = gradients.detach().to("cpu", torch.float64).reshape(-1, *gradients.shape[-2:])
    gram = g @ g.mT
    scale = gram.diagonal(dim1=-2, dim2=-1).amax(-1).clamp_min(torch.finfo(g.dtype).tiny)
    # The ridge makes the minimum unique and moves the objective by 1e-11 of its scale at most.
    gram = gram / scale[:, None, None] + 1e-11 * torch.eye(n, dtype=g.dtype)
    weights = project_capped_simplex(_active_set(gram, min(cap, 1.0)), cap)
    return weights.reshape(gradients.shape[:-1]).to(gradients)


def _active_set(gram: Tensor, cap: float) -> Tensor:
    """Solve a batch of strictly convex programs, ``gram`` of shape (problem, n, n).

    Walk to the minimum of the face of free weights; a bound met on the way is fixed, and
    at the minimum the bound that holds the objective up most is freed. Every walk
    descends, so no face returns, and the weights are feasible wherever the loop ends.
    """
    n = gram.shape[-1]
    weights = gram.new_full(gram.shape[:-1], 1 / n)
    free = torch.ones_like(weights, dtype=torch.bool)
    for _ in range(20 * n):
        weights, free, blocked = _walk(weights, _face_step(gram, weights, free), free, cap)
        freed = _find_releases((gram @ weights.unsqueeze(-1)).squeeze(-1), weights, free, cap)
        freed = freed & ~blocked.unsqueeze(-1)
        if not (blocked.any() or freed.any()):
            break
        free = free | freed
    return weights


def _face_step(gram: Tensor, weights: Tensor, free: Tensor) -> Tensor:
    """Step to the minimum over the free weights with their sum kept (a Newton-KKT system)."""
    n_problems, n = weights.shape
    on = free.to(gram.dtype)
    system = gram.new_zeros(n_problems, n + 1, n + 1)
    system[:, :n, :n] = gram * on.unsqueeze(-1) * on.unsqueeze(-2) + torch.diag_embed(1 - on)
    system[:, :n, n] = system[:, n, :n] = on
    system[:, n, n] = (~free.any(-1)).to(gram.dtype)
    slope = (gram @ weights.unsqueeze(-1)).squeeze(-1)
    rhs = torch.cat([-slope * on, slope.new_zeros(n_problems, 1)], -1)
    step: Tensor = torch.linalg.solve(system, rhs)[:, :n] * on
    return step - on * step.sum(-1, keepdim=True) / on.sum(-1, keepdim=True).clamp_min(1)


def _walk(weights: Tensor, step: Tensor, free: Tensor, cap: float) -> tuple[Tensor, Tensor, Tensor]:
    """Go along `step` as far as the bounds allow and fix the weights that met theirs."""
    bound = cap * (step > 0).to(step.dtype)
    moves = free & (step.abs() > 1e-15)
    room = ((bound - weights) / torch.where(moves, step, 1.0)).clamp_min(0.0)
    room = torch.where(moves, room, torch.inf)
    length = room.amin(-1, keepdim=True).clamp(max=1.0)
    blocked = length.squeeze(-1) < 1
    hit = moves & (room <= length * (1 + 1e-12)) & blocked.unsqueeze(-1)
    return torch.where(hit, bound, weights + length * step), free & ~hit, blocked


def _find_releases(slope: Tensor, weights: Tensor, free: Tensor, cap: float) -> Tensor:
    """Mark the fixed weight whose move would descend most: a pair where none is free."""
    at_zero, at_cap = ~free & (weights < cap / 2), ~free & (weights >= cap / 2)
    low, raised = torch.where(at_zero, slope, torch.inf).min(-1, keepdim=True)
    high, lowered = torch.where(at_cap, slope, -torch.inf).max(-1, keepdim=True)
    n_free = free.sum(-1, keepdim=True)
    level = (slope * free).sum(-1, keepdim=True) / n_free.clamp_min(1)
    none = n_free == 0
    up = torch.where(none, high - low, level - low)
    down = torch.where(none, high - low, high - level)
    # Gradients are of order one here, so this is far above their rounding.
    tolerance = 1e-12
    freed = torch.zeros_like(free)
    freed = freed | freed.scatter(-1, raised, (up > tolerance) & (up >= down))
    return freed | torch.zeros_like(free).scatter(-1, lowered, (down > tolerance) & (down >= up))
