"""Reading and writing whole files: a file is either the old one or the new one, never half of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from topokit.errors import InputError

__all__ = ["read_bytes", "replacing", "write_bytes", "write_text"]


def read_bytes(path: str | Path) -> bytes:
    """Read a whole file.

    Raises
    ------
    InputError
        If there is no such file or it cannot be read.

    Examples
    --------
    >>> read_bytes("no-such-file.json")
    Traceback (most recent call last):
        ...
    topokit.errors.InputError: cannot read no-such-file.json: there is no such file
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {_reason(error)}") from None
    except ValueError as error:
        raise InputError(f"cannot read {str(path)!r}: {error}") from None


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a whole file at once; `replacing` tells how.

    Raises
    ------
    InputError
        If the file cannot be written; an old file is left as it was.
    """
    with replacing(path) as file:
        file.write(data)


def write_text(path: str | Path, text: str) -> None:
    """Write a whole text file at once, in UTF-8 with the newlines as given; `replacing` tells how.

    Raises
    ------
    InputError
        If the file cannot be written; an old file is left as it was.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_text(Path(folder, "note.txt"), "hello")
    ...     os.listdir(folder)
    ['note.txt']
    """
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path` when the block ends without an exception.

    The bytes go to a temporary name in the same folder, reach the disk, and are renamed: a reader, a crash or a full
    disk sees the old file or the new one. Devices and pipes (``/dev/stdout``) are written directly, links followed.

    Parameters
    ----------
    path : str or Path
        The file to write; its folder must exist.

    Yields
    ------
    BinaryIO
        The open file.

    Raises
    ------
    InputError
        If the file cannot be written; an old file is left as it was.
    """
    try:
        final = Path(os.path.realpath(path))
        if _is_special(final):
            with final.open("wb") as device:
                yield device
            return
        if final.is_dir():
            raise InputError(f"cannot write {path}: it is a folder; give the name of a file")
        temporary = final.with_name(f".{final.name[:100]}.{token_hex(6)}.tmp")
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, final)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise InputError(f"cannot write {path}: {_reason(error, folder=Path(path).parent)}") from error


def _is_special(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _reason(error: OSError, folder: Path | None = None) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file" if folder is None else f"the folder {folder} does not exist"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, IsADirectoryError):
        return "it is a folder, not a file"
    if isinstance(error, NotADirectoryError):
        return "a part of the path is a file, not a folder"
    return error.strerror or str(error)
