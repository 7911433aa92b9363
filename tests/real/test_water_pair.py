"""A real hand label whose −1 means no data: such pixels are unknown and count nowhere."""

from pathlib import Path

import numpy as np
import pytest
import rasterio

from terraloom.classes import ClassTable, LandClass
from terraloom.dataset.build import Dataset, build_dataset
from terraloom.dataset.rows import stream_rows, train_rows
from terraloom.learning.device import make_fabric
from terraloom.samples import decode
from terraloom.segmenting import evaluate, label_counts
from terraloom.settings import CutSettings, SplitSettings
from terraloom.sources import folder
from terraloom.tables import Table
from terraloom.testing import colour_labeller

TABLE = ClassTable(
    classes=(
        LandClass(name="land", colour=(200, 180, 90), codes=(0,)),
        LandClass(name="water", colour=(0, 60, 200), codes=(1,)),
    ),
    ignore_codes=(-1,),
)
SIDE, SIZE = 512, 64


@pytest.fixture(scope="module")
def codes(shared_data: Path) -> np.ndarray:
    path = shared_data / "tiles" / "water_pair" / "Spain_7370579_LabelHand.tif"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    with rasterio.open(path) as file:
        found: np.ndarray = file.read(1)
    return found


def build(shared_data: Path, work: Path, max_unknown_share: float) -> Dataset:
    pair = shared_data / "tiles" / "water_pair"
    for kind, name in (("images", "S2Hand"), ("masks", "LabelHand")):
        (work / kind).mkdir(parents=True)
        (work / kind / "spain.tif").symlink_to(pair / f"Spain_7370579_{name}.tif")
    settings = folder.Settings(folder=work, bands=(4, 3, 2), value_range=(0, 3000))
    return build_dataset(
        folder.build(settings, TABLE, 0), TABLE, work / "out",
        cut=CutSettings(patch_size=SIZE, max_unknown_share=max_unknown_share, check_shift=False),
        split=SplitSettings(by="block", block_size_m=1_000, attempts=8), seed=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(shared_data: Path, codes: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Every patch, however much of it is unknown."""
    return build(shared_data, tmp_path_factory.mktemp("water"), 1.0)


def block_of(codes: np.ndarray, sample_id: str) -> np.ndarray:
    top, left = (int(part[1:]) for part in sample_id.rsplit("-", 2)[1:])
    return codes[top : top + SIZE, left : left + SIZE]


def test_no_data_below_zero_is_unknown_and_in_no_share(made: Dataset, codes: np.ndarray) -> None:
    assert made.funnel == {"kept": (SIDE // SIZE) ** 2}
    unknown = 0
    for row in made.samples.read(["id", "mask", "shares"]).to_pylist():
        block = block_of(codes, row["id"])
        assert (decode(row["mask"]) == np.where(block == -1, 255, block)).all()
        known = block[block >= 0]
        water = (known == 1).mean()
        assert row["shares"] == pytest.approx([1 - water, water], abs=1e-6)
        unknown += block.size - known.size
    assert unknown == (codes == -1).sum() == 99


def test_a_patch_with_one_such_pixel_is_left_out_unless_it_may_stay(
    shared_data: Path, codes: np.ndarray, tmp_path: Path
) -> None:
    parts = SIDE // SIZE
    lacking = (codes == -1).reshape(parts, SIZE, parts, SIZE).sum(axis=(1, 3)) > 0
    dataset = build(shared_data, tmp_path, 0.0)
    assert dataset.funnel == {"kept": (~lacking).sum(), "unknown pixels": lacking.sum()}
    rows = Table.open(tmp_path / "out" / "candidates").read(["id", "unknown_share"]).to_pylist()
    for row in rows:
        share = (block_of(codes, row["id"]) == -1).mean()
        assert row["unknown_share"] == pytest.approx(share, abs=1e-6)


def test_no_data_counts_neither_in_training_nor_in_testing(
    made: Dataset, codes: np.ndarray
) -> None:
    light = made.samples.read(["id", "split"]).to_pylist()
    blocks = [block_of(codes, row["id"]) for row in light if row["split"] == "train"]
    known = np.concatenate([block[block >= 0] for block in blocks])
    assert sum((block == -1).sum() for block in blocks) > 0
    counts = label_counts(train_rows(made.samples), len(TABLE))
    assert counts.tolist() == np.bincount(known, minlength=2).tolist()
    judged = colour_labeller(make_fabric(1))
    # Rows are the truth: so many pixels of land and water are judged, and no others.
    confusion = np.asarray(sum(evaluate(judged, stream_rows(made.samples)).values()))
    truth = confusion.sum(axis=1)
    assert truth[:2].tolist() == np.bincount(codes[codes >= 0]).tolist()
    assert truth.sum() == (codes >= 0).sum() == SIDE**2 - 99
