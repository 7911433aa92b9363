"""The tables of an import of ARAS400k, each made shard by shard in bounded memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from terraloom.captioning import CAPTION_SCHEMA
from terraloom.classes import ClassTable
from terraloom.errors import InputError, PairError, UnknownCode, UnreadableFile
from terraloom.files import sha256_of
from terraloom.importing._aras_rows import (
    WRITERS,
    id_of,
    origin_of,
    parent_of,
    seed_of,
    share_columns,
)
from terraloom.importing._csv_rows import CsvRows
from terraloom.samples import Sample, SourceFile, samples_to_table
from terraloom.sources import _aras
from terraloom.tables import Shard

CAPTION_SHARD_IMAGES: Final = 400
"""Five captions each make the 2,000 rows of a full shard."""
SAMPLE_SHARD_ROWS: Final = 512
PERCENTAGE_SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.string()),
        ("published_percent", pa.list_(pa.float32())),
        ("measured_percent", pa.list_(pa.float32())),
        ("largest_difference_points", pa.float32()),
        ("problem", pa.string()),
    ]
)


@dataclass(frozen=True)
class PercentageRows:
    """Published class percentages beside those measured on the masks, one row per image."""

    folder: Path
    classes: ClassTable
    images: tuple[tuple[str, str], ...]
    """Split and name of every image, in order of ids."""
    with_mask: frozenset[tuple[str, str]]
    tables: tuple[CsvRows, ...]

    def __call__(self, shard: Shard) -> pa.Table:
        """The rows of one shard."""
        images = self.images[shard.start : shard.stop]
        published = self._published([id_of(*image) for image in images])
        return pa.Table.from_pylist(
            [self._row(split, stem, published) for split, stem in images],
            schema=PERCENTAGE_SCHEMA,
        )

    def _published(self, ids: Sequence[str]) -> dict[str, list[float] | str]:
        """Percentages by id in label order, or what is wrong with them."""
        found: dict[str, list[float] | str] = {}
        for table in self.tables:
            columns = share_columns(table.header, self.classes)
            assert columns is not None
            wanted = [key for key in ids if key not in found]
            for key, row in table.read(wanted).items():
                try:
                    values = [float(row.get(column, "")) for column in columns]
                except ValueError:
                    found[key] = f"{table.path.name} holds percentages that are no numbers"
                    continue
                in_range = all(0.0 <= value <= 100.0 for value in values)
                found[key] = (
                    values if in_range else f"{table.path.name}: percentages beyond 0 … 100"
                )
        return found

    def _row(
        self, split: str, stem: str, published: dict[str, list[float] | str]
    ) -> dict[str, Any]:
        key = id_of(split, stem)
        problems = []
        told = published.get(key)
        if isinstance(told, str):
            problems.append(told)
            told = None
        measured = None
        if (split, stem) not in self.with_mask:
            problems.append("image without mask")
        else:
            try:
                labels = _aras.read_mask(_aras.mask_path(self.folder, split, stem), self.classes)
                measured = (100.0 * self.classes.shares(labels).astype(np.float64)).tolist()
            except (UnreadableFile, UnknownCode, PairError) as error:
                problems.append(str(error))
        difference = None
        if told is not None and measured is not None:
            difference = float(np.abs(np.subtract(told, measured)).max())
        return {
            "id": key,
            "split": split,
            "published_percent": told,
            "measured_percent": measured,
            "largest_difference_points": difference,
            "problem": "; ".join(problems) or None,
        }


@dataclass(frozen=True)
class SyntheticRows:
    """Synthetic images with their masks as rows of the sample table.

    A pair that cannot be read has no row; `problem_of` tells why.
    """

    folder: Path
    classes: ClassTable
    stems: tuple[str, ...]
    """In order of ids."""
    real: frozenset[str]
    """Names of the real patches, which parents are looked up in."""

    def __call__(self, shard: Shard) -> pa.Table:
        """The rows of one shard."""
        samples = []
        for stem in self.stems[shard.start : shard.stop]:
            try:
                samples.append(self._sample(stem))
            except (UnreadableFile, UnknownCode, PairError):
                continue  # counted and named from the finished table by `problem_of`
        return samples_to_table(samples, self.classes)

    def problem_of(self, stem: str) -> str:
        """Why a pair has no row."""
        try:
            self._sample(stem)
        except InputError as error:
            return str(error)
        return f"{stem}.png was unreadable when it was imported, and is not any more"

    def _sample(self, stem: str) -> Sample:
        paths = [
            place(self.folder, _aras.SYNTHETIC_SPLIT, stem)
            for place in (_aras.image_path, _aras.mask_path)
        ]
        image = _aras.read_image(paths[0])
        mask = _aras.read_mask(paths[1], self.classes)
        _aras.check_same_size(paths[0], image.shape, mask.shape)
        parent = parent_of(stem)
        return Sample(
            id=id_of(_aras.SYNTHETIC_SPLIT, stem),
            image=image,
            mask=mask,
            origin=origin_of(stem)[0],
            sources=tuple(
                SourceFile(
                    path.name,
                    path.relative_to(self.folder).as_posix(),
                    sha256_of(path),
                    _aras.LICENCE,
                    _aras.ATTRIBUTION,
                )
                for path in paths
            ),
            parent=parent if parent in self.real else None,
            seed=seed_of(stem),
        )


@dataclass(frozen=True)
class CaptionRows:
    """The published captions as rows of the caption table."""

    ids: tuple[str, ...]
    """Of the images that have a caption, in order."""
    tables: tuple[CsvRows, ...]

    def __call__(self, shard: Shard) -> pa.Table:
        """The captions of one shard of images; empty cells are no captions."""
        ids = list(self.ids[shard.start : shard.stop])
        cells: dict[tuple[str, str], str] = {}
        for table in self.tables:
            columns = [w.column for w in WRITERS if w.column in table.header]
            for key, row in table.read(ids).items():
                for column in columns:
                    if text := (row.get(column) or "").strip():
                        cells.setdefault((key, column), text)
        rows = []
        for key in ids:
            for index, writer in enumerate(WRITERS):
                told = cells.get((key, writer.column))
                if told is not None:
                    rows.append(
                        {
                            "id": key,
                            "index": index,
                            "text": told,
                            "writer": writer.column,
                            "mode": writer.mode,
                            "saw": list(writer.saw),
                            "model": writer.model,
                            "prompt_sha256": None,
                            "seed": None,
                            "decoding": writer.decoding,
                        }
                    )
        return pa.Table.from_pylist(rows, schema=CAPTION_SCHEMA)
