"""Face of the claims step: every claim of every caption, checked against the sample's mask."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from terraloom.claims import MAX_CHARACTERS, CheckedCaption, check_caption
from terraloom.classes import ClassTable
from terraloom.facts import measure_facts
from terraloom.files import sha256_of_value
from terraloom.samples import decode
from terraloom.tables import Shard, Table, shards_of, write_table

UNREAD: Final = "unread"
"""Kind of the row that tells how much of a caption was too long to be read."""
CLAIM_SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("caption", pa.int32()),
        ("kind", pa.string()),
        ("classes", pa.list_(pa.string())),
        ("value", pa.string()),
        ("span", pa.list_(pa.int32())),
        ("negated", pa.bool_()),
        ("hedged", pa.bool_()),
        ("verdict", pa.string()),
        ("evidence", pa.string()),
    ]
)
_VERSION: Final = 1
"""Of reader and thresholds: raised when the same caption would be judged otherwise."""


def claim_captions(
    samples: Table, captions: Table, classes: ClassTable, folder: Path, *, description: str
) -> Table:
    """Write the claims of all captions of a sample table, shard by shard, into `folder`.

    Args:
        samples: real or labelled synthetic samples, whose masks are measured.
        captions: of these samples, shard by shard.
        classes: class table of the masks.
        folder: of the table of claims; shards that stand there are kept.
        description: what the progress bar says.

    Returns:
        Rows of `CLAIM_SCHEMA` in order of samples and captions; a caption without claims has none.
    """

    def write(shard: Shard) -> pa.Table:
        texts: dict[str, list[tuple[int, str]]] = {}
        for row in pq.read_table(
            captions.folder / shard.filename, columns=["id", "index", "text"]
        ).to_pylist():
            texts.setdefault(row["id"], []).append((row["index"], row["text"]))
        rows: list[dict[str, Any]] = []
        parts = pq.ParquetFile(samples.folder / shard.filename)
        for batch in parts.iter_batches(batch_size=128, columns=["id", "mask", "crs"]):
            for sample in batch.to_pylist():
                facts = measure_facts(
                    decode(sample["mask"]), classes, compass=sample["crs"] is not None
                )
                for index, text in texts.get(sample["id"], ()):
                    checked = check_caption(text, facts, classes)
                    rows += claim_rows(sample["id"], index, checked)
        return pa.Table.from_pylist(rows, schema=CLAIM_SCHEMA)

    return write_table(
        folder,
        shards_of(samples),
        write,
        settings_sha256=sha256_of_value(
            {"version": _VERSION, "classes": classes.model_dump(mode="json")}
        ),
        inputs={"samples": samples.sha256, "captions": captions.sha256},
        description=description,
        unit="samples",
    )


def claim_rows(sample_id: str, index: int, checked: CheckedCaption) -> Iterator[dict[str, Any]]:
    """Rows of the table of claims for one caption."""
    for found in checked.claims:
        claim = found.claim
        yield {
            "id": sample_id,
            "caption": index,
            "kind": claim.kind,
            "classes": [checked.names[label] for label in claim.classes],
            "value": claim.value,
            "span": list(claim.span),
            "negated": claim.negated,
            "hedged": claim.hedged,
            "verdict": found.verdict,
            "evidence": found.evidence,
        }
    if checked.unread:
        yield {
            "id": sample_id,
            "caption": index,
            "kind": UNREAD,
            "classes": [],
            "value": None,
            "span": [MAX_CHARACTERS, MAX_CHARACTERS + checked.unread],
            "negated": False,
            "hedged": False,
            "verdict": "not checkable",
            "evidence": f"the caption is longer than {MAX_CHARACTERS} characters; "
            f"{checked.unread} were not read",
        }
