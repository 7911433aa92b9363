"""Face of the captioning stage: sentences about samples, and what their writer saw."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from terraloom.captioners._face import (
    Caption,
    Captioner,
    Failure,
    ModelCaptioner,
    Scene,
    shown_to,
)
from terraloom.errors import DamagedTable
from terraloom.repairing import Care, Repaired, repair_captions, repair_rows
from terraloom.samples import decode, decode_view
from terraloom.tables import MANIFEST, Shard, Table, shards_of, write_shard, write_table

CAPTION_SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("index", pa.int32()),
        ("text", pa.string()),
        ("writer", pa.string()),
        ("mode", pa.string()),
        ("saw", pa.list_(pa.string())),
        ("model", pa.string()),
        ("prompt_sha256", pa.string()),
        ("seed", pa.int64()),
        ("decoding", pa.string()),
    ]
)
ERROR_SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("index", pa.int32()),
        ("stage", pa.string()),
        ("attempt", pa.int32()),
        ("message", pa.string()),
    ]
)
"""Captions (stage "caption") and rewrites ("repair") that could not be had; `attempt` counts how
often the model was asked."""
ERRORS: Final = "errors"
REPAIRS: Final = "repairs"


def caption_samples(
    samples: Table,
    captioner: Captioner,
    folder: Path,
    *,
    settings_sha256: str,
    description: str,
    care: Care | None = None,
) -> Table:
    """Write the captions of a sample table, shard by shard, into `folder`.

    The writer is handed only what it declares in `sees`. Places are told by compass where the
    sample is georeferenced (rows run south there), else as top, bottom, left and right. A writer
    that asks a model has two more tables, `errors/NAME` and `repairs/NAME` beside the folder NAME:
    captions and rewrites that could not be had, and how each caption came through the checks.

    Args:
        samples: real or labelled synthetic samples.
        captioner: the writer.
        folder: of the table.
        settings_sha256: of the settings that decide the content.
        description: what the progress bar says.
        care: what becomes of captions that are contradicted or could not be had; needed by a
            writer that asks a model, and by no other.

    Raises:
        ValueError: a writer that asks a model comes without `care`, or another one fails.
    """
    if isinstance(captioner, ModelCaptioner) and care is None:
        raise ValueError(f"{captioner.name} asks a model: say in `care` what becomes of failures")

    def write(shard: Shard) -> pa.Table:
        rows = pq.read_table(
            samples.folder / shard.filename, columns=["id", "image", "mask", "shares", "crs"]
        ).to_pylist()
        scenes = [
            Scene(
                sample_id=row["id"],
                image=decode_view(row["image"]) if "image" in captioner.sees else None,
                labels=decode(row["mask"]),
                shares=row["shares"],
                compass=row["crs"] is not None,
            )
            for row in rows
        ]
        written = captioner.write(shown_to(captioner, scenes))
        if not isinstance(captioner, ModelCaptioner):
            return caption_rows(_whole(captioner, of_sample) for of_sample in written)
        assert care is not None
        repaired = repair_captions(written, scenes, captioner, care)
        _write_beside(folder, shard, repaired)
        return caption_rows([r.caption for r in own if r.caption] for own in repaired)

    shards = shards_of(samples)
    inputs = {"samples": samples.sha256}
    table = write_table(
        folder,
        shards,
        write,
        settings_sha256=settings_sha256,
        inputs=inputs,
        description=description,
        unit="samples",
    )
    if isinstance(captioner, ModelCaptioner):
        for name in (ERRORS, REPAIRS):
            write_table(
                _beside(folder, name),
                shards,
                _missing,
                settings_sha256=settings_sha256,
                inputs=inputs,
                description=f"{name} of captions",
            )
    return table


def caption_rows(captions: Iterable[Sequence[Caption]]) -> pa.Table:
    """Rows of the captions table."""
    return pa.Table.from_pylist(
        [
            {
                "id": caption.sample_id,
                "index": caption.index,
                "text": caption.text,
                "writer": caption.writer,
                "mode": caption.mode,
                "saw": list(caption.saw),
                "model": caption.model,
                "prompt_sha256": caption.prompt_sha256,
                "seed": caption.seed,
                "decoding": caption.decoding,
            }
            for of_sample in captions
            for caption in of_sample
        ],
        schema=CAPTION_SCHEMA,
    )


def reopen_failed(folder: Path) -> int:
    """Take shards with failed captions out of a table, so that they are made again.

    The other shards stay; captions that are there come from the writer's answers.

    Args:
        folder: of the captions table.

    Returns:
        How many captions and rewrites had failed.
    """
    failed = {}
    for path in sorted(_beside(folder, ERRORS).glob("part-*.parquet")):
        rows = pq.read_metadata(path).num_rows
        if rows:
            failed[path.name] = rows
    if not failed:
        return 0
    # The captions first and the errors last: a process killed in between finds them again.
    for place in (folder, _beside(folder, REPAIRS), _beside(folder, ERRORS)):
        (place / MANIFEST).unlink(missing_ok=True)
        for name in failed:
            (place / name).unlink(missing_ok=True)
    return sum(failed.values())


def _beside(folder: Path, name: str) -> Path:
    return folder.parent / name / folder.name


def _whole(captioner: Captioner, written: Sequence[Caption | Failure]) -> list[Caption]:
    captions = [caption for caption in written if isinstance(caption, Caption)]
    if len(captions) < len(written):
        raise ValueError(f"{captioner.name} left captions out, though it asks no model")
    return captions


def _write_beside(folder: Path, shard: Shard, repaired: Sequence[Sequence[Repaired]]) -> None:
    """The shard's failures and repairs, before its captions: they exist wherever those do."""
    flat = [found for own in repaired for found in own]
    errors = [
        {
            "id": found.failure.sample_id,
            "index": found.failure.index,
            "stage": "repair" if found.rewrite_failed else "caption",
            "attempt": found.failure.attempts,
            "message": found.failure.message,
        }
        for found in flat
        if found.failure is not None
    ]
    write_shard(
        _beside(folder, ERRORS) / shard.filename,
        pa.Table.from_pylist(errors, schema=ERROR_SCHEMA),
    )
    write_shard(_beside(folder, REPAIRS) / shard.filename, repair_rows(flat))


def _missing(shard: Shard) -> pa.Table:
    raise DamagedTable(
        f"{shard.filename} of errors or repairs is missing beside captions that are there. Delete "
        "the stage's folder and run again; answers that are there are not asked for again."
    )
