"""One record: a file that is there as a whole or not at all, with a digest of what is in it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors.torch import load, save

from skensemble._records.atomic import replacing
from skensemble._records.tree import flatten, restored

_HEAD = b"skensemble record 1\n"
_DIGEST = hashlib.sha256().digest_size


class BrokenRecord(ValueError):
    """A record that is not what was written."""


def write(path: Path, tree: Any, sync: bool = False) -> None:
    """Write a record over the one that is there, at once.

    Parameters
    ----------
    path : Path
        The file.
    tree : tree
        Of tensors, arrays and plain values.
    sync : bool, default=False
        Whether it is to outlive the machine, and not this process alone.
    """
    about, tensors = flatten(tree)
    body = save(tensors, {"tree": json.dumps(about)})
    with replacing(path, sync) as temporary, temporary.open("wb") as file:
        file.write(_HEAD + hashlib.sha256(body).digest())
        file.write(body)


def read(path: Path) -> Any:
    """Return the tree of a record; raise `BrokenRecord` if it is not as it was written."""
    whole = path.read_bytes()
    start = len(_HEAD) + _DIGEST
    digest, body = whole[len(_HEAD) : start], whole[start:]
    if not whole.startswith(_HEAD) or hashlib.sha256(body).digest() != digest:
        raise BrokenRecord(f"{path} is no record, or was altered or cut short.")
    n_header = int.from_bytes(body[:8], "little")
    about = json.loads(json.loads(body[8 : 8 + n_header])["__metadata__"]["tree"])
    return restored(about, load(body))
