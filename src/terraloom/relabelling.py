"""Real images under strong augmentation, labelled by the labeller: how much is distillation?

A labeller that teaches on synthetic images may teach as much on real ones that are merely changed.
The arm "relabel" of a benchmark tells: it holds no synthetic pixel.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from terraloom.classes import UNKNOWN, ClassTable
from terraloom.dataset.cache import PackedRow, RowCache
from terraloom.dataset.rows import TrainRows
from terraloom.ensemble import Ensemble
from terraloom.files import sha256_of_value
from terraloom.labelling import final_mask
from terraloom.learning.batches import batch_of
from terraloom.samples import encode_grey, encode_image, encode_mask
from terraloom.seeds import generator_at
from terraloom.settings import LabelSettings

_BATCH: Final = 32


def relabelled_rows(
    train: TrainRows,
    count: int,
    *,
    labeller: Ensemble,
    size: int,
    classes: ClassTable,
    settings: LabelSettings,
    seed: int,
    labeller_sha256: str = "",
    cache: RowCache | None = None,
) -> TrainRows:
    """Crops of real train rows, strongly augmented, with the labels that the labeller gives them.

    Labels are given as to an unconditional sample: the labeller's choice, 255 below
    `settings.min_confidence`, its probability as trust. The real mask is not used.

    Args:
        train: real rows, drawn evenly with replacement.
        count: of rows that are made.
        labeller: fitted on train rows.
        size: side of the crops in pixels.
        classes: class table.
        settings: thresholds.
        seed: of rows, crops and augmentation.
        labeller_sha256: checksum of the labellers' weights and temperatures, for the cache.
        cache: how the rows are held; left out, in memory.
    """
    seeds = [int(s) for s in generator_at(seed, "relabel").integers(1 << 63, size=count)]

    def made() -> Iterator[PackedRow]:
        for start in range(0, count, _BATCH):
            batch = batch_of(train, seeds[start : start + _BATCH], size, "strong")
            pixels = (batch.images * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
            images = list(pixels)
            chances, _ = labeller.look(images)
            free = np.full((size, size), UNKNOWN, dtype=np.uint8)
            for offset, image in enumerate(images):
                mask, trust = final_mask(free, chances[offset], settings)
                yield PackedRow(
                    id=f"relabelled-{start + offset:06d}",
                    place=None,
                    image=encode_image(image),
                    mask=encode_mask(mask, classes),
                    trust=encode_grey(trust),
                )

    if cache is None:
        return TrainRows(tuple(row.decoded() for row in made()))
    key = sha256_of_value(
        {
            "seeds": seeds,
            "size": size,
            "settings": settings.model_dump(mode="json"),
            "classes": list(classes.names),
            "rows": [row.id for row in train.rows],
            "labeller": labeller_sha256,
        }
    )
    return TrainRows(cache.hold("relabel", key, key, count, made()))
