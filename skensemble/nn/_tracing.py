"""Graphs of networks, as torch.fx traces them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from torch import fx, nn

from skensemble._turns import Turns
from skensemble.nn._channels import Columns
from skensemble.nn.dropout import Dropout
from skensemble.nn.normalize import Normalize


class CannotStack(Exception):
    """Why modules cannot be run together; the message is for the user."""


class _Tracer(fx.Tracer):
    """A tracer that leaves the modules of other threads alone.

    While it traces, torch.fx changes ``Module.__call__`` for the whole process.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call modules of other threads as if nothing was traced."""
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Also leave whole what draws, chooses channels, or asks its input for numbers."""
        whole = isinstance(m, Columns | Dropout | Normalize)
        return whole or super().is_leaf_module(m, module_qualified_name)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: Any) -> Any:
        """Hand attributes to other threads as they are."""
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


_TRACING = Turns()


def trace_graph(module: nn.Module) -> fx.Graph:
    """Trace a module's forward; one thread at a time."""
    try:
        with _TRACING:
            return _Tracer().trace(module)
    except Exception as error:  # fx raises whatever the user's code raises on proxies
        raise CannotStack(f"its forward cannot be traced ({error})") from error
