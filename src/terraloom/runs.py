"""Project folders and stage records: what is done, with which settings, from which inputs.

A stage's folder holds `stage.json`, written last: settings, input checksums and versions. A stage
whose record matches is not run again; one that was interrupted goes on where it stopped; one whose
settings or inputs changed is made anew.
"""

import fcntl
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from terraloom.errors import ProjectBusy
from terraloom.files import (
    check_writable,
    make_folder,
    read_json,
    remove_folder,
    sha256_of_value,
    write_json,
)

RECORD: Final = "stage.json"
_STARTED: Final = "started.json"
_LIBRARIES: Final = ("torch", "segmentation-models-pytorch", "timm", "pyarrow", "numpy", "rasterio")


def library_versions() -> dict[str, str]:
    """Versions of terraloom, Python and the libraries that decide results."""
    found = {"python": platform.python_version()}
    for name in ("terraloom", *_LIBRARIES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


@dataclass(frozen=True)
class Project:
    """One project folder."""

    folder: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the project for this process.

        Raises:
            ProjectBusy: another process works on it.
            OutputError: the folder cannot be written.
        """
        check_writable(self.folder)
        with open(self.folder / ".lock", "w", encoding="utf-8") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ProjectBusy(
                    f"another terraloom process works on {self.folder}; wait for it or stop it."
                ) from error
            yield

    def stage(self, name: str) -> "StageFolder":
        """The folder of one stage."""
        return StageFolder(name, self.folder / name)


@dataclass(frozen=True)
class StageFolder:
    """The folder of one stage and its record."""

    name: str
    path: Path

    def record(self) -> dict[str, Any] | None:
        """The record of a finished stage, or None."""
        file = self.path / RECORD
        return read_json(file) if file.exists() else None

    def is_done(self, key: str) -> bool:
        """Whether the stage finished with these settings and inputs."""
        record = self.record()
        return record is not None and record["key"] == key

    def is_started(self, key: str) -> bool:
        """Whether the stage was interrupted with these settings and inputs."""
        file = self.path / _STARTED
        return file.exists() and bool(read_json(file)["key"] == key)

    def begin(self, key: str, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> list[str]:
        """Prepare the folder; leftovers of other settings or inputs are removed.

        Returns:
            What changed against the leftovers, in words; empty for a fresh start or a resume.
        """
        changes: list[str] = []
        if self.path.exists() and not self.is_started(key):
            changes = self._changes(settings, inputs)
            remove_folder(self.path)
        make_folder(self.path)
        # A finished record would be a lie while the stage is at work.
        (self.path / RECORD).unlink(missing_ok=True)
        write_json(
            self.path / _STARTED, {"key": key, "settings": dict(settings), "inputs": dict(inputs)}
        )
        return changes

    def finish(
        self,
        key: str,
        settings: Mapping[str, Any],
        inputs: Mapping[str, str],
        outputs: Mapping[str, str],
    ) -> None:
        """Write the record: the stage is done."""
        write_json(
            self.path / RECORD,
            {
                "stage": self.name,
                "key": key,
                "settings": dict(settings),
                "inputs": dict(inputs),
                "outputs": dict(outputs),
                "versions": library_versions(),
            },
        )

    def reopen(self) -> None:
        """Take the record away: the stage goes on with what it made, and looks at it anew."""
        (self.path / RECORD).unlink(missing_ok=True)

    def is_bare(self) -> bool:
        """Whether the stage has begun and made nothing yet."""
        return {path.name for path in self.path.iterdir()} <= {_STARTED}

    def discard(self) -> None:
        """Remove the folder: its input was wrong, and nothing half-written may stay."""
        remove_folder(self.path)

    def _changes(self, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> list[str]:
        for name in (RECORD, _STARTED):
            if (self.path / name).exists():
                old = read_json(self.path / name)
                break
        else:
            return []
        changes = _differences(old["settings"], dict(settings), "")
        changed = [k for k in inputs if old["inputs"].get(k) != inputs[k]]
        return changes + [f"input {name}" for name in changed[:3]]


def stage_key(name: str, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Hash of everything that decides a stage's output."""
    return sha256_of_value({"stage": name, "settings": dict(settings), "inputs": dict(inputs)})


def _differences(old: Any, new: Any, where: str) -> list[str]:  # noqa: ANN401 - JSON values
    if isinstance(old, dict) and isinstance(new, dict):
        found: list[str] = []
        for key in sorted(old.keys() | new.keys()):
            path = f"{where}.{key}" if where else key
            found += _differences(old.get(key), new.get(key), path)
        return found
    return [] if old == new else [f"{where}: {old} → {new}"]
