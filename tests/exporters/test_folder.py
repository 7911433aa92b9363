"""The folder layout: what is written can be read back."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from terraloom.classes import ClassTable, LandClass, preset
from terraloom.exporters import folder as folder_exporter
from terraloom.raster.grid import Window
from terraloom.samples import Sample, samples_to_table
from terraloom.sources import folder as folder_source
from terraloom.tables import Table, plan_shards, write_table

TABLE = preset("worldcover7")


def mask(number: int) -> np.ndarray:
    rows, columns = np.mgrid[:33, :40]
    labels = ((rows // 4 + columns // 7 + number) % 7).astype(np.uint8)
    labels[:3, :5] = 255
    return labels


def image(number: int) -> np.ndarray:
    rows, columns = np.mgrid[:33, :40]
    return np.stack([rows, columns, np.full_like(rows, number)], axis=-1).astype(np.uint8)


def write(folder: Path, rows: pa.Table) -> Table:
    return write_table(
        folder, plan_shards(len(rows), 3), lambda s: rows.slice(s.start, s.stop - s.start),
        settings_sha256="0" * 64, inputs={}, description="rows",
    )  # fmt: skip


@pytest.fixture
def real(tmp_path: Path) -> Table:
    roles = ("train", "train", "val", "test", "train")
    samples = [
        Sample(f"r{i}", image(i), mask(i), "real", split=role, place=f"place {i // 2}")
        for i, role in enumerate(roles)
    ]
    return write(tmp_path / "real", samples_to_table(samples, TABLE))


@pytest.fixture
def synthetic(tmp_path: Path) -> Table:
    samples = [
        Sample(f"s{i}", image(100 + i), mask(i), "conditional", parent="r0", seed=i)
        for i in range(4)
    ]
    return write(tmp_path / "synthetic", samples_to_table(samples, TABLE))


def captions(folder: Path, texts: dict[str, list[str]]) -> Table:
    rows = [(name, text) for name, lines in texts.items() for text in lines]
    return write(folder, pa.table({"id": [r[0] for r in rows], "text": [r[1] for r in rows]}))


def export(folder: Path, *arguments: object, files_per_folder: int = 2) -> int:
    settings = folder_exporter.Settings(files_per_folder=files_per_folder)
    count = folder_exporter.build(settings, TABLE).export(*arguments, folder)  # type: ignore[arg-type]
    return count


def index_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "index.csv", newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def by_ids() -> ClassTable:
    """The classes with label ids as codes, as the exported masks hold them."""
    return ClassTable(
        classes=tuple(
            LandClass(name=c.name, colour=c.colour, codes=(label,))
            for label, c in enumerate(TABLE.classes)
        ),
        ignore_codes=(255,),
    )


def test_an_exported_folder_read_back_gives_the_same_images_masks_places_and_splits(
    real: Table, tmp_path: Path
) -> None:
    assert export(tmp_path / "out", real, None, frozenset(), {}) == 5
    settings = folder_source.Settings(folder=tmp_path / "out", index="index.csv")
    source = folder_source.build(settings, by_ids(), 0)
    source.acquire(tmp_path)
    scenes = source.scenes(tmp_path)
    assert [s.name for s in scenes] == ["r0", "r1", "r2", "r3", "r4"]
    assert [s.split for s in scenes] == ["train", "train", "val", "test", "train"]
    assert [s.place for s in scenes] == ["place 0", "place 0", "place 1", "place 1", "place 2"]
    for number, scene in enumerate(scenes):
        pixels = scene.read(Window(0, 0, 33, 40))
        assert (pixels.labels == mask(number)).all()
        assert (pixels.image == image(number)).all()


def test_masks_read_back_by_their_palette_too(real: Table, tmp_path: Path) -> None:
    export(tmp_path / "out", real, None, frozenset(), {})
    settings = folder_source.Settings(
        folder=tmp_path / "out", index="index.csv", mask_style="palette"
    )
    scene = folder_source.build(settings, TABLE, 0).scenes(tmp_path)[3]
    assert (scene.read(Window(0, 0, 33, 40)).labels == mask(3)).all()


def test_sub_folders_never_hold_more_files_than_allowed(real: Table, tmp_path: Path) -> None:
    export(tmp_path / "out", real, None, frozenset(), {}, files_per_folder=2)
    files = [str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.png")]
    assert sorted(files) == sorted(
        f"{kind}/{part}/r{i}.png"
        for kind in ("images", "masks")
        for i, part in enumerate(("000", "000", "001", "001", "002"))
    )


def test_kept_synthetic_samples_follow_the_real_ones_and_rejected_ones_stay_out(
    real: Table, synthetic: Table, tmp_path: Path
) -> None:
    assert export(tmp_path / "out", real, synthetic, frozenset({"s3", "s1"}), {}) == 7
    rows = index_of(tmp_path / "out")
    assert [row["id"] for row in rows] == ["r0", "r1", "r2", "r3", "r4", "s1", "s3"]
    assert rows[5] == {
        "id": "s1", "place": "", "split": "", "origin": "conditional", "parent": "r0",
        "image": "images/002/s1.png", "mask": "masks/002/s1.png", "captions": "",
    }  # fmt: skip
    with Image.open(tmp_path / "out" / rows[6]["image"]) as stored:
        assert (np.asarray(stored) == image(103)).all()
    assert not list((tmp_path / "out").rglob("s0.png"))


def test_captions_stand_one_a_line_with_their_commas_and_quotes(
    real: Table, tmp_path: Path
) -> None:
    texts = captions(tmp_path / "texts", {"r1": ['Trees, and a "lake".', "=SUM(A1) in the north."]})
    export(tmp_path / "out", real, None, frozenset(), {"real": texts})
    rows = {row["id"]: row["captions"] for row in index_of(tmp_path / "out")}
    assert rows["r1"].split("\n") == ['Trees, and a "lake".', "=SUM(A1) in the north."]
    assert rows["r0"] == ""


def test_the_class_table_goes_along(real: Table, tmp_path: Path) -> None:
    export(tmp_path / "out", real, None, frozenset(), {})
    stored = json.loads((tmp_path / "out" / "classes.json").read_text())
    assert [(c["id"], c["name"]) for c in stored["classes"]] == list(enumerate(TABLE.names))
    assert stored["unknown"] == 255


def test_an_export_made_twice_has_the_same_bytes(real: Table, tmp_path: Path) -> None:
    for name in ("one", "two"):
        export(tmp_path / name, real, None, frozenset(), {})
    for path in (tmp_path / "one").rglob("*.*"):
        assert (
            path.read_bytes()
            == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
        )
