"""Face of the labelling stage: synthetic images get the masks that learning will see."""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from terraloom.classes import UNKNOWN, ClassTable
from terraloom.dataset.rows import ValRows, random_crop
from terraloom.ensemble import Ensemble
from terraloom.files import sha256_of_value
from terraloom.samples import SAMPLE_SCHEMA, decode, decode_view, encode_grey, encode_mask
from terraloom.seeds import generator_at
from terraloom.settings import LabelSettings
from terraloom.tables import Shard, Table, shards_of, write_table
from terraloom.types import Float32Array, LabelMask, TrustMap
from terraloom.yardstick import ASKED, FREE, Yardstick, yardstick_of

_BATCH: Final = 32
LABEL_SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("agreement", pa.float32()),
        ("confidence", pa.float32()),
        ("unanimity", pa.float32()),
        ("known_share", pa.float32()),
        ("asked_shares", pa.list_(pa.float32())),
        ("seen_shares", pa.list_(pa.float32())),
    ]
)
"""agreement: share of asked-for pixels that the labeller sees the same, null where no mask was
asked for; confidence: mean probability of the labeller's choice; unanimity: mean share of
labellers and views that see the label which they choose together, 1 where there is but one;
known_share: pixels that are not 255 in the final mask; asked and seen shares: of the mask asked for
and of the labeller's own."""


def label_samples(
    made: Table,
    labeller: Ensemble,
    folder: Path,
    *,
    classes: ClassTable,
    settings: LabelSettings,
    labeller_sha256: str,
) -> tuple[Table, Table]:
    """Label every synthetic sample.

    A conditional sample keeps the mask that was asked for, set to 255 where the labeller
    contradicts it with at least `disagree_confidence`. An unconditional sample takes the labeller's
    mask, set to 255 below `min_confidence`. Either way the trust map is the labeller's probability
    of the label that the pixel ends up with.

    Args:
        made: samples as the generators made them.
        labeller: one or several, trained on train rows only.
        folder: of the stage; receives `samples/` (whole rows) and `labels/` (figures).
        classes: class table.
        settings: thresholds.
        labeller_sha256: checksum of the labellers' weights and temperatures.

    Returns:
        The tables samples and labels.
    """
    shards = shards_of(made)
    digest = sha256_of_value(settings.model_dump(mode="json"))
    inputs = {"made": made.sha256, "labeller": labeller_sha256}

    def relabel(shard: Shard) -> tuple[pa.Table, pa.Table]:
        rows = pq.read_table(made.folder / shard.filename, schema=SAMPLE_SCHEMA)
        images = [decode_view(value) for value in rows.column("image").to_pylist()]
        asked = [decode(value) for value in rows.column("mask").to_pylist()]
        masks, trusts, figures = [], [], []
        for start in range(0, len(images), _BATCH):
            part = slice(start, start + _BATCH)
            probabilities, agreement = labeller.look(images[part])
            for want, chances, agreed in zip(asked[part], probabilities, agreement, strict=True):
                mask, trust = final_mask(want, chances, settings)
                masks.append(mask)
                trusts.append(trust)
                figures.append(
                    _figures(want, mask, chances, classes) | {"unanimity": float(agreed.mean())}
                )
        ids = rows.column("id").to_pylist()
        replaced = {
            "mask": [
                {"bytes": encode_mask(mask, classes), "path": f"{name}-mask.png"}
                for name, mask in zip(ids, masks, strict=True)
            ],
            "trust": [
                {"bytes": encode_grey(trust), "path": f"{name}-trust.png"}
                for name, trust in zip(ids, trusts, strict=True)
            ],
            "shares": [classes.shares(mask) for mask in masks],
        }
        for name, values in replaced.items():
            index = SAMPLE_SCHEMA.get_field_index(name)
            rows = rows.set_column(
                index,
                SAMPLE_SCHEMA.field(index),
                pa.array(values, type=SAMPLE_SCHEMA.field(index).type),
            )
        table = pa.Table.from_pylist(
            [{"id": name, **values} for name, values in zip(ids, figures, strict=True)],
            schema=LABEL_SCHEMA,
        )
        return rows.cast(SAMPLE_SCHEMA), table

    pending: dict[int, pa.Table] = {}

    def samples_of(shard: Shard) -> pa.Table:
        rows, figures = relabel(shard)
        pending[shard.index] = figures
        return rows

    def figures_of_shard(shard: Shard) -> pa.Table:
        # Figures lost with a killed process are computed again, to the same values.
        figures = pending.pop(shard.index, None)
        return figures if figures is not None else relabel(shard)[1]

    samples = write_table(
        folder / "samples",
        shards,
        samples_of,
        settings_sha256=digest,
        inputs=inputs,
        description="labelling samples",
        unit="samples",
    )
    labels = write_table(
        folder / "labels",
        shards,
        figures_of_shard,
        settings_sha256=digest,
        inputs=inputs,
        description="label figures",
        unit="samples",
    )
    return samples, labels


def measure_yardstick(
    val: ValRows, labeller: Ensemble, size: int, *, settings: LabelSettings, seed: int
) -> Yardstick:
    """Figures of real windows, had they been synthetic: made for their masks, and without one.

    Args:
        val: real rows; windows are drawn from them with replacement. One without any known pixel
            counts as made without a mask alone.
        labeller: that of the samples.
        size: side of samples in pixels.
        settings: thresholds, and how many windows.
        seed: of the windows.
    """
    random = generator_at(seed, "yardstick")
    found: dict[str, list[dict[str, float | None]]] = {ASKED: [], FREE: []}
    for start in range(0, settings.yardstick, _BATCH):
        count = min(_BATCH, settings.yardstick - start)
        windows = [random_crop(val, random, size) for _ in range(count)]
        probabilities, agreement = labeller.look([image for image, _ in windows])
        for (_, own), chances, agreed in zip(windows, probabilities, agreement, strict=True):
            free = np.full_like(own, UNKNOWN)
            for kind, asked in ((ASKED, own), (FREE, free)):
                if kind == ASKED and not (own != UNKNOWN).any():
                    continue
                mask, _ = final_mask(asked, chances, settings)
                found[kind].append(
                    _plain_figures(asked, mask, chances) | {"unanimity": float(agreed.mean())}
                )
    return yardstick_of(found)


def final_mask(
    asked: LabelMask, chances: Float32Array, settings: LabelSettings
) -> tuple[LabelMask, TrustMap]:
    """The mask and trust of one sample.

    Args:
        asked: "height width"; 255 everywhere for an unconditional sample.
        chances: the labeller's probabilities, "class height width".
        settings: thresholds.

    Returns:
        Labels with 255 where unknown, and the labeller's probability of each final label, 0 … 255
        (0 where unknown).
    """
    seen = chances.argmax(axis=0).astype(np.uint8)
    sure = chances.max(axis=0)
    free = asked == UNKNOWN
    contradicted = ~free & (seen != asked) & (sure >= settings.disagree_confidence)
    unsure = free & (sure < settings.min_confidence)
    mask = np.where(free, seen, asked)
    mask[contradicted | unsure] = UNKNOWN
    index = np.where(mask == UNKNOWN, 0, mask)[None].astype(np.intp)
    own = np.take_along_axis(chances, index, axis=0)[0]
    trust = np.where(mask == UNKNOWN, 0.0, own)
    return mask, np.rint(255 * trust).astype(np.uint8)


def _figures(
    asked: LabelMask, mask: LabelMask, chances: Float32Array, classes: ClassTable
) -> dict[str, object]:
    return {
        **_plain_figures(asked, mask, chances),
        "asked_shares": classes.shares(asked) if (asked != UNKNOWN).any() else None,
        "seen_shares": classes.shares(chances.argmax(axis=0).astype(np.uint8)),
    }


def _plain_figures(
    asked: LabelMask, mask: LabelMask, chances: Float32Array
) -> dict[str, float | None]:
    seen = chances.argmax(axis=0).astype(np.uint8)
    wanted = asked != UNKNOWN
    return {
        "agreement": float((seen[wanted] == asked[wanted]).mean()) if wanted.any() else None,
        "confidence": float(chances.max(axis=0).mean()),
        "known_share": float((mask != UNKNOWN).mean()),
    }
