"""Losses of labels, and the mean over samples that all losses take."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["cross_entropy", "mean_logits", "weighted_mean"]


def weighted_mean(values: Tensor, weight: Tensor | None = None) -> Tensor:
    """Average per-sample values over the last axis, ``sum(w * l) / sum(w)``.

    Parameters
    ----------
    values : Tensor of shape (..., n_samples)
        One loss a sample.
    weight : Tensor broadcastable to `values`, default=None
        Non-negative sample weights; ``None`` weighs all alike.

    Returns
    -------
    Tensor of shape (...)
        The weighted means.

    Examples
    --------
    >>> import torch
    >>> weighted_mean(torch.tensor([[1.0, 4.0]]), torch.tensor([[2.0, 1.0]]))
    tensor([2.])
    """
    if weight is None:
        return values.mean(-1)
    return (values * weight).sum(-1) / weight.sum(-1)


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    class_weight: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy of each member with the labels, of one class a sample or of several.

    With smoothing `e` the target of sample `i` is ``(1 - e) * onehot(y_i) + e / K``;
    with class weights `c` the loss is torch's: each class's share of the target is
    weighed by its `c`, and the mean is taken with weights ``w_i * c[y_i]``. A sample that
    is a share ``q_k`` of class `k` is its classes' losses in these shares, and counts
    ``w_i * sum_k q_k c_k``: what as many rows of one class each, of weights ``w_i q_k``,
    would give.

    Parameters
    ----------
    logits : Tensor of shape (n_members, n_samples, n_classes)
        Member outputs before the softmax.
    target : Tensor of shape (n_members, n_samples), dtype int64
        Class indices; the member axis may be 1 where all members share a batch. Or a
        floating ``(n_members, n_samples, n_classes)``: each class's share of the sample.
    weight : Tensor of shape (n_members, n_samples), default=None
        Sample weights.
    class_weight : Tensor of shape (n_classes,), default=None
        Weight of each class, as in :class:`torch.nn.CrossEntropyLoss`.
    label_smoothing : float, default=0.0
        The share of the target spread evenly over all classes.

    Returns
    -------
    Tensor of shape (n_members,)
        The loss of each member.

    Examples
    --------
    >>> import torch
    >>> cross_entropy(torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.int64))
    tensor([1.3863, 1.3863])
    """
    log_p = logits.log_softmax(-1)
    if target.is_floating_point():
        return _shared_out(log_p, target, weight, class_weight, label_smoothing)
    target = target.expand(logits.shape[:-1])
    loss = -log_p.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    if class_weight is None and not label_smoothing:
        return weighted_mean(loss, weight)
    share = torch.ones_like(log_p[0, 0]) if class_weight is None else class_weight
    loss = (1 - label_smoothing) * share[target] * loss
    loss = loss - label_smoothing * (share * log_p).mean(-1)
    weight = torch.ones_like(loss) if weight is None else weight
    return (weight * loss).sum(-1) / (weight * share[target]).sum(-1)


def _shared_out(
    log_p: Tensor,
    target: Tensor,
    weight: Tensor | None,
    class_weight: Tensor | None,
    label_smoothing: float,
) -> Tensor:
    """Return the cross-entropy with samples that are shares of several classes."""
    if target.dim() != 3:
        raise ValueError(
            "A floating target holds each class's share of a sample, (n_members, n_samples, "
            f"n_classes). Got shape {tuple(target.shape)}; class indices must be integers."
        )
    share = torch.ones_like(log_p[0, 0]) if class_weight is None else class_weight
    loss = -(1 - label_smoothing) * (target * (share * log_p)).sum(-1)
    loss = loss - label_smoothing * (share * log_p).mean(-1)
    counts = (target * share).sum(-1).expand(loss.shape)
    if weight is not None:
        loss, counts = weight * loss, weight * counts
    return loss.sum(-1) / counts.sum(-1)


def mean_logits(logits: Tensor) -> Tensor:
    """Average the members' logits into one network's, ``F = (1/M) sum_m f_m``.

    Parameters
    ----------
    logits : Tensor of shape (n_members, n_samples, n_classes)
        Member outputs before the softmax.

    Returns
    -------
    Tensor of shape (1, n_samples, n_classes)
        The logits of the averaged network, with the member axis kept.

    Examples
    --------
    >>> import torch
    >>> mean_logits(torch.tensor([[[0.0, 2.0]], [[2.0, 0.0]]]))
    tensor([[[1., 1.]]])
    """
    return logits.mean(0, keepdim=True)
