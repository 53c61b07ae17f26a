"""The peer's side of `ntk.py`, run by a Python that has neural-tangents.

    python3.11 -m venv jax-env
    jax-env/bin/pip install "neural-tangents==0.6.5" "jax==0.4.30" "jaxlib==0.4.30" \
        "numpy<2" "scipy<1.13"

Reads one line a turn, ``FILE TASK``: an npz with rows and the network's weights, and what is
wanted; writes the kernel into ``FILE.out.npy`` and prints the seconds that it took. The first
turn of a task compiles and is not counted.
"""

from __future__ import annotations

import sys
import time

import jax
import jax.numpy as jnp
import neural_tangents as nt
import numpy as np


def mlp(params, x):
    """Apply linear layers with ReLU between them."""
    for number, (w, b) in enumerate(params):
        x = x @ w.T + b
        x = jax.nn.relu(x) if number < len(params) - 1 else x
    return x


def cnn(params, x):
    """Apply the network of torch.func's tutorial, images channels first."""
    for number, (w, b) in enumerate(params[:-1]):
        x = jax.lax.conv_general_dilated(
            x, w, (1, 1), "VALID", dimension_numbers=("NCHW", "OIHW", "NCHW")
        )
        x = x + b[None, :, None, None]
        x = jax.nn.relu(x) if number < 2 else x
    w, b = params[-1]
    return x.reshape(len(x), -1) @ w.T + b


def kernel_function(task, apply):
    """Return neural-tangents' kernel of two sets of rows."""
    options = {"trace_axes": () if "full" in task else (-1,)}
    if "default" not in task:  # what its documentation advises where rows are independent
        options["vmap_axes"] = 0
    if "structured" in task:
        options["implementation"] = nt.NtkImplementation.STRUCTURED_DERIVATIVES
    return jax.jit(nt.empirical_ntk_fn(apply, **options))


def main():
    """Answer turns until the input ends."""
    functions = {}
    for line in sys.stdin:
        path, task = line.strip().split(" ", 1)
        with np.load(path) as file:
            x = jnp.asarray(file["x"])
            n_layers = sum(name.startswith("w") for name in file)
            params = [
                (jnp.asarray(file[f"w{i}"]), jnp.asarray(file[f"b{i}"])) for i in range(n_layers)
            ]
        apply = cnn if x.ndim == 4 else mlp
        if task not in functions:
            functions[task] = kernel_function(task, apply)
            functions[task](x, None, params).block_until_ready()
        start = time.perf_counter()
        kernel = functions[task](x, None, params).block_until_ready()
        seconds = time.perf_counter() - start
        np.save(f"{path}.out.npy", np.asarray(kernel))
        print(f"SECONDS {seconds!r}", flush=True)


if __name__ == "__main__":
    main()
