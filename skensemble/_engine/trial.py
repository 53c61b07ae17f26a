"""A trial run of a module, once a fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from skensemble._recipes.recipe import Recipe
from skensemble._seeding import torch_seeded

# Of embeddings, which are given what every network is given.
_INTEGERS = ". Rows reach networks as floats; let its forward begin with x = x.long()"


def try_module(recipe: Recipe, sample: Tensor, n_rows: int) -> dict[str, Any]:
    """Run a module on a few rows, in both modes, and say what is wrong with its outputs.

    Parameters
    ----------
    recipe : Recipe
        Of the module.
    sample : Tensor
        The rows.
    n_rows : int
        How many rows there are to train on.

    Returns
    -------
    dict
        What this tells of a recipe: its ``writes_input`` and ``channels_last``.
    """
    given, name = sample.clone(), getattr(recipe.module, "__name__", type(recipe.module).__name__)
    with torch.no_grad(), torch_seeded(0):
        module = _attempt(lambda: recipe.build(0).eval(), name, sample)
        outputs = _attempt(lambda: module(given), name, sample)
    _check_outputs(outputs, recipe, name, sample)
    if recipe.outputs_proba:
        sums = outputs.sum(-1)
        if outputs.min() < 0 or not torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
            raise ValueError(
                "The criterion NLLLoss means, as in skorch, that the module returns "
                f"probabilities. Got rows of {name} with smallest entry "
                f"{outputs.min():.3g} and sum {sums[0]:.3g}. End the module with a softmax, or "
                "use criterion=torch.nn.CrossEntropyLoss with plain logits."
            )
    found = {
        "writes_input": not torch.equal(given, sample),
        "channels_last": _takes_channels_last(module, sample, outputs),
    }
    # Last, since it moves the averages of batch normalisation.
    mode = " in training mode"
    with torch.no_grad(), torch_seeded(0):
        outputs = _attempt(lambda: module.train()(sample.clone()), name, sample, mode)
        # Batch normalisation cannot learn from a single row.
        if 1 in (recipe.training.batch_size, n_rows):
            one = sample[:1]
            why = "at batch_size=1," if n_rows > 1 else "as X has one row to learn,"
            _attempt(lambda: module.train()(one.clone()), name, one, f"{mode}, {why}")
    _check_outputs(outputs, recipe, name, sample, mode)
    return found


def _said_of(sample: Tensor) -> str:
    return f"{len(sample)} rows of shape {tuple(sample.shape[1:])} and dtype {sample.dtype}"


def _attempt(run: Callable[[], Any], name: str, sample: Tensor, mode: str = "") -> Any:
    """Run what is the user's, and say of an error whose it is."""
    try:
        return run()
    except Exception as error:  # whatever the user's forward raises
        hint = _INTEGERS if "Long, Int" in str(error) else ""
        raise ValueError(
            f"The module {name} failed{mode} on {_said_of(sample)}: {error}{hint}"
        ) from error


def _check_outputs(outputs: Any, recipe: Recipe, name: str, sample: Tensor, mode: str = "") -> None:
    """Raise unless a module returned one tensor of logits."""
    shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else None
    if shape == (len(sample), recipe.n_outputs):
        return
    message = (
        f"The module {name} must return one tensor of shape (n_samples, n_classes), here "
        f"({len(sample)}, {recipe.n_outputs}), for {_said_of(sample)}. Got "
        f"{type(outputs).__name__ if shape is None else shape}{mode} instead"
    )
    if shape is None:
        message += (
            "; return the logits alone: torchvision's networks with auxiliary outputs do with "
            "aux_logits=False, others inside a module that picks them, as the .logits of "
            "transformers' outputs"
        )
    elif recipe.origin is not None:
        message += "; the 'head' of Pretrained says which layer is to be of that size"
    raise ValueError(f"{message}.")


def _takes_channels_last(module: nn.Module, sample: Tensor, outputs: Tensor) -> bool:
    """Whether a module has 2-d convolutions, which are faster so, and says the same in that order.

    One that flattens its maps with ``view`` fails.
    """
    if sample.dim() != 4 or not any(isinstance(part, nn.Conv2d) for part in module.modules()):
        return False
    order = torch.channels_last
    try:
        with torch.no_grad(), torch_seeded(0):
            module.to(memory_format=order)  # type: ignore[call-overload]
            same = module(sample.clone(memory_format=order))
    except Exception:
        return False
    finally:
        module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return torch.allclose(same, outputs, rtol=1e-3, atol=1e-3)
