"""Face of the captioning stage: sentences about samples, and what their writer saw."""

from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from terraloom.captioners._face import Captioner, Scene, shown_to
from terraloom.samples import decode, decode_view
from terraloom.tables import Shard, Table, shards_of, write_table

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


def caption_samples(
    samples: Table, captioner: Captioner, folder: Path, *, settings_sha256: str, description: str
) -> Table:
    """Write the captions of a sample table, shard by shard, into `folder`.

    The writer is handed only what it declares in `sees`. Places are told by compass where the
    sample is georeferenced (rows run south there), else as top, bottom, left and right.

    Args:
        samples: real or labelled synthetic samples.
        captioner: the writer.
        folder: of the table.
        settings_sha256: of the writer's settings.
        description: what the progress bar says.
    """

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
        captions = captioner.write(shown_to(captioner, scenes))
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

    return write_table(
        folder,
        shards_of(samples),
        write,
        settings_sha256=settings_sha256,
        inputs={"samples": samples.sha256},
        description=description,
        unit="samples",
    )
