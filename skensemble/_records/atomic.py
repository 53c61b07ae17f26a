"""Files that are replaced at once or not at all, and are on the disk when that is done."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# How the names of temporary files end, of which one is left behind by a process that is killed.
LEFTOVER = ".tmp"
# What is wrong, and what to do about it, by the number the system gives.
_REASONS = {
    errno.ENOENT: "its folder is missing; make it first",
    errno.ENOTDIR: "a part of its path is no folder",
    errno.EACCES: "its folder may not be written to",
    errno.EPERM: "its folder may not be written to",
    errno.EROFS: "its folder may only be read",
    errno.ENOSPC: "the disk is full; what was there is as it was",
    errno.EDQUOT: "the quota of the disk is used up; what was there is as it was",
    errno.EFBIG: "files may not become so large here; what was there is as it was",
    errno.ELOOP: "it is a symbolic link that leads to itself",
    errno.EISDIR: "it is a folder",
    errno.EINVAL: "it is no ordinary file, which alone can be replaced",
}


@contextmanager
def replacing(path: str | os.PathLike[str], sync: bool = True) -> Iterator[Path]:
    """Give a temporary path to write to, which takes the place of `path` at the end.

    The file and its folder are synced to the disk when the block is left. If anything fails,
    an interrupt too, the temporary file is removed and what was there stays as it was. The mode
    of a file that is there is kept; a symbolic link stays one, and its target is replaced.

    Parameters
    ----------
    path : path-like
        The file, in a folder that there is.
    sync : bool, default=True
        Whether it is to outlive the machine, and not this process alone.

    Yields
    ------
    pathlib.Path
        An empty file beside it.

    Raises
    ------
    OSError
        Of the kind that the system raised, with the path and the reason in words.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skensemble._records.atomic import replacing
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "file") as temporary:
    ...         _ = temporary.write_text("all of it")
    ...     (Path(folder) / "file").read_text()
    'all of it'
    """
    with _named(path):
        target = _target(path)
        # Not in the folder of temporary files: only within one file system a rename is at once.
        temporary = target.parent / f".{secrets.token_hex(8)}{LEFTOVER}"
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        # Of a new file as the umask has it; some writers make the file anew, for its owner alone.
        mode = (target if target.exists() else temporary).stat().st_mode
    try:
        with _named(path):
            yield temporary
            _finish(temporary, target, stat.S_IMODE(mode), sync)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise


def is_leftover(name: str) -> bool:
    """Whether a file has a name that `replacing` gives."""
    return re.fullmatch(rf"\.[0-9a-f]{{16}}{re.escape(LEFTOVER)}", name) is not None


def _target(path: Any) -> Path:
    """Return the file that is to be replaced, behind all symbolic links."""
    target = Path(os.path.realpath(os.fspath(path)))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return target


def _finish(temporary: Path, target: Path, mode: int, sync: bool) -> None:
    """Set the mode, sync, and rename."""
    os.chmod(temporary, mode)
    if sync:
        _sync(temporary, os.O_RDWR)
    os.replace(temporary, target)
    if sync and os.name == "posix":  # elsewhere a folder cannot be opened
        _sync(target.parent, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    number = os.open(path, flags)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextmanager
def _named(path: Any) -> Iterator[None]:
    """Say of an error of the system which file was to be written, and why it was not."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        reason = _REASONS.get(error.errno, os.strerror(error.errno))
        raise OSError(
            error.errno, f"{os.fspath(path)} was not written: {reason}", os.fspath(path)
        ) from error
