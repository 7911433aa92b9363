"""Atomic writes and checksums: a reader sees a whole file or none."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from terraloom.errors import OutputError, RunError

_PART_SUFFIX: Final = ".part"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success fsync it and rename it into place.

    On an exception the temporary file is removed and `path` stays as it was.

    Raises:
        OutputError: the folder cannot be created or written.
        RunError: the disk is full.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_PART_SUFFIX}")
    try:
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except PermissionError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}. Choose a folder that you may write to."
        ) from error
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise _full(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` to `path` atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON with sorted keys, atomically; equal values, equal bytes."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:  # noqa: ANN401 - JSON may hold anything
    """The value stored in a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def append_line(path: Path, value: Mapping[str, object]) -> None:
    """Append one JSON line to a log; flushed to disk before returning.

    Raises:
        OutputError: the folder cannot be created.
        RunError: the disk is full.
    """
    make_folder(path.parent)
    line = json.dumps(value, sort_keys=True) + "\n"
    try:
        with open(path, "a+b") as handle:
            if handle.seek(0, os.SEEK_END):
                handle.seek(-1, os.SEEK_END)
                if handle.read(1) != b"\n":
                    # A killed process left half a line; it must not swallow this one.
                    line = "\n" + line
            handle.write(line.encode())
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise _full(path, error) from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The values of a JSON-lines log; a last line cut off by a killed process is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            # Only an interrupted append leaves a torn line; the work it logged is done again.
            continue
    return rows


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while piece := handle.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def sha256_of_value(value: object) -> str:
    """Hexadecimal SHA-256 of a JSON-like value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def make_folder(path: Path) -> None:
    """Create a folder and its parents.

    Raises:
        OutputError: it cannot be created, or a file stands in its place.
        RunError: the disk is full.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in _FULL:
            raise _full(path, error) from error
        raise OutputError(
            f"cannot create the folder {path}: {error.strerror}. "
            "Choose a folder that you may write to, or free its name."
        ) from error


def check_writable(path: Path) -> None:
    """Make sure that files can be created in folder `path`, creating it if need be.

    Raises:
        OutputError: it cannot; nothing is left behind.
        RunError: the disk is full.
    """
    make_folder(path)
    probe = path / f".probe.{os.getpid()}{_PART_SUFFIX}"
    try:
        probe.write_bytes(b"")
    except OSError as error:
        if error.errno in _FULL:
            raise _full(path, error) from error
        raise OutputError(
            f"cannot write into {path}: {error.strerror}. Choose a folder that you may write to."
        ) from error
    finally:
        try:
            probe.unlink(missing_ok=True)
        except OSError as error:  # a read-only file system refuses even this
            raise OutputError(f"cannot write into {path}: {error.strerror}.") from error


def remove_folder(path: Path) -> None:
    """Delete a folder and what is in it, if it is there."""
    if path.exists():
        shutil.rmtree(path)


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files that a killed process left in `folder` (not below it)."""
    for leftover in folder.glob(f".*{_PART_SUFFIX}"):
        leftover.unlink(missing_ok=True)


def _full(path: Path, error: OSError) -> RunError:
    return RunError(
        f"cannot write {path}: {error.strerror}. Free some space and run the same command again; "
        "it goes on where it stopped."
    )


def _sync_folder(path: Path) -> None:
    """Make a rename durable; some file systems cannot open folders, and need no sync."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
