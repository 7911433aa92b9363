"""Trust reaches the training loss as a weight per pixel, from the InputQuality file on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.sources.worldcover_mirror import Mirror, Place, write_cog
from torch import Tensor

from terraloom import segmenting
from terraloom.classes import preset
from terraloom.dataset.build import build_dataset
from terraloom.dataset.rows import Row, TrainRows, train_rows, val_rows
from terraloom.learning.batches import batch_of
from terraloom.learning.device import make_fabric
from terraloom.learning.losses import Loss, segmentation_loss
from terraloom.segmenting import Recipe, train_segmenter
from terraloom.settings import CutSettings, SplitSettings
from terraloom.sources import tiles
from terraloom.tables import Table
from terraloom.testing import tiny_training

TABLE = preset("worldcover7")
SIZE, SIDE = 96, 960
"""A patch of 96 pixels lies on 16 × 16 cells of the layer, to the pixel."""


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Patches whose left half was never seen, and whose right half often was."""
    work = tmp_path_factory.mktemp("trust")
    place: Place = Mirror(work / "tiles").place(39, 33, side=SIDE)
    observations = np.zeros((3, SIDE // 6, SIDE // 6), np.int16)
    left = np.arange(SIDE // 6) % (SIZE // 6) < SIZE // 12
    observations[1, :, ~left] = 200
    write_cog(
        place.files["InputQuality"], observations, place.west, place.north, 6 / 12_000, nodata=-1
    )
    made = build_dataset(
        tiles.build(tiles.Settings(folder=work / "tiles"), TABLE, 0), TABLE, work / "out",
        cut=CutSettings(patch_size=SIZE, check_shift=False),
        split=SplitSettings(by="block", block_size_m=900, attempts=4), seed=1,
    )  # fmt: skip
    assert made.funnel == {"kept": (SIDE // SIZE) ** 2}
    return made.samples


def half(row: Row, columns: slice) -> Row:
    """A part of a row, believed without doubt."""
    return Row(row.id, row.place, row.image[:, columns], row.mask[:, columns], None)


def test_rows_hold_no_trust_where_nothing_was_seen_and_full_trust_elsewhere(samples: Table) -> None:
    rows = train_rows(samples)
    for row in rows.rows:
        assert row.trust is not None
        assert (row.trust[:, : SIZE // 2] == 0).all()
        assert (row.trust[:, SIZE // 2 :] == 255).all()


@pytest.mark.parametrize("loss", ["dice", "ce", "dice+ce", "focal"])
def test_a_row_believed_in_one_half_has_the_loss_of_that_half(loss: Loss, samples: Table) -> None:
    row = train_rows(samples)[0]
    whole = batch_of(TrainRows((row,)), [3], SIZE, "none")
    logits = torch.randn(1, len(TABLE), SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    right = slice(SIZE // 2, SIZE)
    alone = half(row, right)
    labels = torch.from_numpy(alone.mask.copy()).long()[None]
    expected = segmentation_loss(loss, logits[..., right], labels, torch.ones(labels.shape))
    found = segmentation_loss(loss, logits, whole.labels, whole.trust)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    full = segmentation_loss(loss, logits, whole.labels, torch.ones_like(whole.trust))
    assert float(full) != pytest.approx(float(found), rel=1e-4)


def test_training_hands_the_trust_of_its_rows_to_the_loss(
    samples: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def noting(*given: Any) -> Tensor:
        _, _, labels, trust, *_ = given
        seen.append((labels, trust))
        return segmentation_loss(*given)

    monkeypatch.setattr(segmenting, "segmentation_loss", noting)
    train_segmenter(
        train_rows(samples), val_rows(samples),
        Recipe("unet", {}, "small", len(TABLE), tiny_training(crop_size=SIZE, images=8)),
        tmp_path, seed=0, fabric=make_fabric(1), description="a test",
    )  # fmt: skip
    masks = {row.mask.tobytes() for row in train_rows(samples).rows}
    assert sum(len(labels) for labels, _ in seen) == 8
    for labels, trust in seen:
        assert (trust[..., : SIZE // 2] == 0).all()
        assert (trust[..., SIZE // 2 :] == 1).all()
        for label in labels:
            assert label.numpy().astype(np.uint8).tobytes() in masks
