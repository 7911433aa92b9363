"""Where numbers came from: the file, the part of it, and the run that made it."""

from collections.abc import Iterator, Sequence
from typing import Final

from terraloom.files import sha256_of
from terraloom.report.reading import STAGES, ProjectFiles
from terraloom.report.views import Block, Section, Source
from terraloom.tables import MANIFEST

_MOST_BYTES: Final = 64 << 20
"""Files above this are named without a checksum."""


class Tracer:
    """Finds file, run and checksum of the sources that blocks name."""

    def __init__(self, files: ProjectFiles) -> None:
        self._files = files
        self._known: dict[str, Source] = {}
        self._runs: dict[str, str] = {}

    def __call__(self, source: str) -> Source:
        """One source, as a block names it: a path inside the project, then ", " and its part."""
        if source not in self._known:
            self._known[source] = self._trace(source)
        return self._known[source]

    def _trace(self, source: str) -> Source:
        path, _, part = source.partition(", ")
        own = self._files.folder / path
        if path.split("/", 1)[0] not in STAGES and not own.exists():
            return Source(source)
        return Source(path, part, self._run(path.split("/", 1)[0]), self._checksum(path))

    def _run(self, stage: str) -> str:
        if stage not in self._runs:
            self._runs[stage] = self._key(stage)
        return self._runs[stage]

    def _key(self, stage: str) -> str:
        record = self._files.stage_record(stage)
        if record:
            return str(record["key"])
        # A cross-validation joins many runs: its locked recipe stands for them.
        recipe = self._files.json(f"{stage}/recipe.json")
        return str(recipe["sha256"]) if recipe else ""

    def _checksum(self, path: str) -> str:
        own = self._files.folder / path
        if own.is_dir():
            own = own / MANIFEST
        if "*" in path or not own.is_file() or own.stat().st_size > _MOST_BYTES:
            return ""
        return sha256_of(own)


def blocks_of(sections: Sequence[Section]) -> Iterator[Block]:
    """All blocks of a page in order."""
    for section in sections:
        yield from section.blocks
        yield from blocks_of(section.subsections)


def sources_of(sections: Sequence[Section], trace: Tracer) -> list[Source]:
    """Every source that some block names, once, by file and part."""
    named = {
        source for block in blocks_of(sections) for source in getattr(block, "sources", ())
    }  # fmt: skip
    found = {trace(source) for source in named}
    return sorted(found, key=lambda source: (source.file, source.part))
