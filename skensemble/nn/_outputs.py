"""From what networks put out to the logits of members, ``(member, sample, class)``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def log_proba(outputs: Tensor) -> Tensor:
    """Turn the outputs of a module that returns probabilities into logits.

    The offset is skorch's: it keeps the logarithm of an exact zero finite.
    """
    return (outputs + torch.finfo(outputs.dtype).eps).log()


def member_logits(outputs: Sequence[Tensor], are_proba: Sequence[bool]) -> Tensor:
    """Join what networks put out into logits of members.

    Parameters
    ----------
    outputs : sequence of Tensor
        One a network: ``(sample, class)``, or ``(sample, member, class)`` of a network that
        is many.
    are_proba : sequence of bool
        Whether they are probabilities, one a network.

    Returns
    -------
    Tensor of shape (member, sample, class)
        The members of the first network, then those of the next.
    """
    logits = [
        log_proba(own) if is_proba else own
        for own, is_proba in zip(outputs, are_proba, strict=True)
    ]
    members = [own.unsqueeze(0) if own.dim() == 2 else own.transpose(0, 1) for own in logits]
    return members[0] if len(members) == 1 else torch.cat(members)
