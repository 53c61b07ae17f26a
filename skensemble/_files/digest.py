"""The digest of a file: SHA-256 of all its bytes, with zeros where the digest itself stands.

It stands as 64 hexadecimal digits in the header of safetensors, beside what the file says of
its estimator. It shows damage; it is no signature, since whoever writes a file can count anew.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path
from typing import IO, Any

from skensemble._files.errors import Misfit

KEY = "sha256"
EMPTY = "0" * 64
_BEFORE = f'"{KEY}":"'.encode()
_CHUNK = 1 << 20
# As safetensors has it.
_LONGEST_HEADER = 100_000_000


def seal(path: str | os.PathLike[str]) -> None:
    """Write the digest of a file to its place, which there must be."""
    with Path(path).open("r+b") as file:
        place = _place(file)
        file.seek(0)
        digest = _digest(file, place)
        file.seek(place)
        file.write(digest.encode())


def check(path: str | os.PathLike[str], told: Any) -> None:
    """Refuse a file whose bytes are not those that its digest was made of."""
    with Path(path).open("rb") as file:
        place = _place(file)
        file.seek(0)
        found = _digest(file, place)
    if not isinstance(told, str) or not hmac.compare_digest(found.encode(), told.encode()):
        raise Misfit(
            KEY,
            "The bytes of the file are not those that were written: it is damaged, or somebody "
            "changed it. Get it anew from where it was written.",
        )


def _place(file: IO[bytes]) -> int:
    """Return where the digits start."""
    length = int.from_bytes(file.read(8), "little")
    header = file.read(min(length, _LONGEST_HEADER))
    # Quotes inside of strings are escaped: this can be nothing but a key.
    at = header.find(_BEFORE)
    if at < 0:
        raise Misfit(KEY, "There must be the digest of the file. Got none.")
    return 8 + at + len(_BEFORE)


def _digest(file: IO[bytes], place: int) -> str:
    count = hashlib.sha256(file.read(place))
    file.read(len(EMPTY))
    count.update(EMPTY.encode())
    while chunk := file.read(_CHUNK):
        count.update(chunk)
    return count.hexdigest()
