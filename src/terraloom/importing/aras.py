"""The published ARAS400k, taken in with its captions, percentages and synthetic part.

Real patches are not copied: the settings file that is written names them as a source, so that
`terraloom build` cuts, splits and tests them as it does any other. Synthetic images, captions and
percentages become tables below `import/`.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from terraloom.classes import ClassTable, preset
from terraloom.engines import Engine
from terraloom.errors import InputError
from terraloom.files import read_json, sha256_of, sha256_of_value, write_json, write_text
from terraloom.importing._aras_rows import (
    SideTables,
    csv_files,
    find_side_tables,
    id_of,
)
from terraloom.importing._aras_summary import (
    caption_summary,
    file_summary,
    percentage_summary,
    summary_lines,
    synthetic_summary,
)
from terraloom.importing._aras_tables import (
    CAPTION_SHARD_IMAGES,
    SAMPLE_SHARD_ROWS,
    CaptionRows,
    PercentageRows,
    SyntheticRows,
)
from terraloom.importing.archives import check_archives
from terraloom.progress import console
from terraloom.runs import Project, stage_key
from terraloom.settings import CONFIG_NAME
from terraloom.sources import _aras
from terraloom.tables import Shard, Table, plan_shards, write_table

__all__ = ["PUBLISHED_MD5", "import_aras", "summary_lines"]

PUBLISHED_MD5: Final = {
    "train.zip": "95cd5caea68c813fd86888f9cd95b627",
    "val.zip": "76e61fd7557d65ba0596e44c0f92b43f",
    "test.zip": "01679231ee8e38701f5d3ab7de0b5719",
    "synth.zip": "0dc95bfdda44a816ade0d7ea747e4f9c",
}
"""Of the archives of Zenodo record 18890661, as the authors' README prints them."""
IMPORT: Final = "import"
SUMMARY: Final = "import.json"
_TABLES: Final = ("percentages", "synthetic", "captions")
_CLASSES: Final = "worldcover7"

_SETTINGS: Final = """\
# ARAS400k, real patches. Written by: terraloom import aras
[project]
name = "ARAS400k"

[classes]
preset = "{classes}"

[sources.aras]
folder = {folder}
# published: roles as the authors drew them, at random among neighbours (import/import.json counts
# how many test patches touch a train patch). blocks: roles anew, apart by [split] buffer_m.
split = "published"

[cut]
patch_size = {patch_size}

[split]
# The published split has no gap between roles; with split = "blocks", leave this line out.
buffer_m = 0.0
"""


def import_aras(
    folder: Path,
    out: Path,
    *,
    archives: Path | None = None,
    md5: Mapping[str, str] = PUBLISHED_MD5,
    engine: Engine | None = None,
) -> dict[str, Any]:
    """Take in a copy of ARAS400k; the same call again goes on where it stopped.

    Args:
        folder: holds train, val, test and synth as unpacked, with the CSV files beside or in them.
        out: project folder; receives terraloom.toml (where there is none) and import/.
        archives: folder of the zip archives to compare with `md5`; left out, `folder`.
        md5: published MD5 by archive name.
        engine: where shards are computed; left out, in this process.

    Returns:
        What import/import.json holds: counts, checksums, and what does not fit.

    Raises:
        InputError: an archive differs from its checksum, the folder is not laid out as ARAS400k, or
            a CSV file cannot be read.
    """
    checked = check_archives(archives or folder, md5)
    if archives is not None and not checked:
        raise InputError(f"{archives} holds none of {', '.join(sorted(md5))}.")
    classes = preset(_CLASSES)
    listings = _aras.list_splits(folder, _aras.SPLITS)
    settings = {"classes": classes.model_dump(mode="json")}
    with Project(out).locked():
        inputs, times = _inputs(folder)
        key = stage_key(IMPORT, settings, inputs | {"times": times})
        stage = Project(out).stage(IMPORT)
        if not stage.is_done(key):
            side = find_side_tables(folder, listings, classes)  # may tell of a wrong file
            stage.begin(key, settings, inputs)
            summary = _import(folder, stage.path, listings, side, classes, inputs, engine)
            write_json(stage.path / SUMMARY, summary | {"archives_md5": checked})
            tables = {name: sha256_of(stage.path / name / "manifest.json") for name in _TABLES}
            stage.finish(key, settings, inputs, tables)
        told: dict[str, Any] = read_json(stage.path / SUMMARY)
        if checked and told["archives_md5"] != checked:  # archives that were not there before
            told["archives_md5"] = checked
            write_json(stage.path / SUMMARY, told)
        _write_settings(folder, out, listings)
    return told


def _inputs(folder: Path) -> tuple[dict[str, str], str]:
    """What decides the import: CSV files by content, images and masks by name and size.

    The second value holds the times of change too. It decides whether a finished import is kept,
    and stands in no table: reading gigabytes only to see that nothing changed would cost more.
    """
    found = {}
    times: dict[str, int] = {}
    for path in csv_files(folder):
        found[path.relative_to(folder).as_posix()] = sha256_of(path)
    for split in _aras.SPLITS:
        for kind in ("images", "masks"):
            if (folder / split / kind).is_dir():
                sizes = {}
                with os.scandir(folder / split / kind) as entries:
                    for entry in entries:
                        stat = entry.stat()
                        sizes[entry.name] = stat.st_size
                        times[f"{split}/{kind}/{entry.name}"] = stat.st_mtime_ns
                found[f"{split}/{kind}"] = sha256_of_value(sizes)
    return found, sha256_of_value(times)


def _import(
    folder: Path,
    out: Path,
    listings: Mapping[str, _aras.Listing],
    side: SideTables,
    classes: ClassTable,
    inputs: dict[str, str],
    engine: Engine | None,
) -> dict[str, Any]:
    images = sorted(
        ((split, stem) for split, listing in listings.items() for stem in listing.images),
        key=lambda image: (id_of(*image), image[0]),
    )
    with_mask = frozenset((s, stem) for s, listing in listings.items() for stem in listing.masks)
    real = frozenset().union(*(listings[s].images for s in _aras.REAL_SPLITS if s in listings))
    synthetic = _aras.SYNTHETIC_SPLIT
    stems = tuple(listings[synthetic].pairs) if synthetic in listings else ()
    captioned = {name for rows in side.captions for name in rows.offsets}
    settings_sha256 = sha256_of_value(classes.model_dump(mode="json"))

    def table(
        name: str, shards: list[Shard], make: Callable[[Shard], pa.Table], description: str
    ) -> Table:
        return write_table(
            out / name,
            shards,
            make,
            settings_sha256=settings_sha256,
            inputs=inputs,
            description=description,
            unit="images",
            engine=engine,
        )

    percentages = table(
        "percentages",
        plan_shards(len(images)),
        PercentageRows(folder, classes, tuple(images), with_mask, tuple(side.percentages)),
        "measuring masks",
    )
    pairs = SyntheticRows(folder, classes, stems, real)
    samples = table(
        "synthetic",
        plan_shards(len(stems), SAMPLE_SHARD_ROWS),
        pairs,
        "taking in synthetic images",
    )
    captions = table(
        "captions",
        plan_shards(len(captioned), CAPTION_SHARD_IMAGES),
        CaptionRows(tuple(sorted(captioned)), tuple(side.captions)),
        "taking in captions",
    )
    return file_summary(folder, listings, side) | {
        "synthetic": synthetic_summary(samples, pairs),
        "percentages": percentage_summary(percentages),
        "captions": caption_summary(captions, [id_of(*image) for image in images]),
    }


def _write_settings(folder: Path, out: Path, listings: Mapping[str, _aras.Listing]) -> None:
    """Settings that take the real patches as a source; a file that stands there is the user's."""
    path = out / CONFIG_NAME
    if not any(listings[split].pairs for split in _aras.REAL_SPLITS if split in listings):
        console.print(f"no real pairs, so no {CONFIG_NAME} was written")
        return
    if path.exists():
        console.print(f"{path} stands there already and was left as it is", soft_wrap=True)
        return
    # Relative, so that the project tells nothing of the machine that it was made on.
    relative = Path(os.path.relpath(folder.resolve(), out.resolve())).as_posix()
    quoted = relative.replace("\\", "\\\\").replace('"', '\\"')
    write_text(
        path,
        _SETTINGS.format(classes=_CLASSES, folder=f'"{quoted}"', patch_size=_aras.PATCH_SIZE),
    )
