"""The bytes of a file, compressed or not; every fault is a `FileError` of one line."""

import bz2
import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gabp.files.errors import FileError


@contextmanager
def reraise_as_file_error(path: str | os.PathLike[str], done: str) -> Iterator[None]:
    """Reraise an error of the operating system about `path` as a `FileError`: it cannot be `done`."""
    try:
        yield
    except OSError as error:
        raise FileError(f"{path}: cannot be {done}: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:
        if "null byte" not in str(error):
            raise
        raise FileError(f"{str(path)!a}: not a file name ({error})") from error


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read a file, uncompressed where its name ends in ``.gz`` or ``.bz2``."""
    path = Path(path)
    with reraise_as_file_error(path, "read"):
        data = path.read_bytes()
    name = path.name.lower()
    if name.endswith(".bz2"):
        try:
            return bz2.decompress(data)
        except (OSError, ValueError, EOFError) as error:
            raise FileError(f"{path}: damaged, truncated or not bzip2 ({error})") from error
    if not name.endswith(".gz"):
        return data
    try:
        return gzip.decompress(data)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FileError(f"{path}: damaged, truncated or not gzip ({error})") from error


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file, compressed where its name ends in ``.gz`` or ``.bz2``."""
    name = str(path).lower()
    if name.endswith(".gz"):
        data = gzip.compress(data, mtime=0)  # a fixed time stamp: the same content gives the same file
    elif name.endswith(".bz2"):
        data = bz2.compress(data)
    with reraise_as_file_error(path, "written"):
        Path(path).write_bytes(data)
