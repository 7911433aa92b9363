"""The sample table's rows."""

import datetime
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from terraloom.classes import preset
from terraloom.samples import (
    SAMPLE_SCHEMA,
    Sample,
    SourceFile,
    decode,
    encode_grey,
    encode_image,
    encode_mask,
    samples_to_table,
    unknown_share,
)
from terraloom.tables import Table

TABLE = preset("worldcover7")
MASK = np.array([[0, 0, 3], [6, 255, 3]], dtype=np.uint8)
IMAGE = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
STORED = Path(__file__).parent / "stored"


def sample(**changed: object) -> Sample:
    fields: dict[str, object] = {"id": "a", "image": IMAGE, "mask": MASK, "origin": "real"}
    return Sample(**fields | changed)  # type: ignore[arg-type]


def test_pixels_come_back_as_they_were() -> None:
    assert (decode(encode_image(IMAGE)) == IMAGE).all()
    assert (decode(encode_grey(MASK)) == MASK).all()
    assert (decode({"bytes": encode_mask(MASK, TABLE), "path": "m.png"}) == MASK).all()


def test_a_crop_that_is_no_contiguous_array_is_stored_as_seen() -> None:
    wide = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    assert (decode(encode_image(wide[1:3, ::-2])) == wide[1:3, ::-2]).all()


def test_a_stored_mask_holds_labels_and_shows_the_class_colours() -> None:
    with Image.open(io.BytesIO(encode_mask(MASK, TABLE))) as image:
        assert image.mode == "P"
        assert np.asarray(image).tolist() == MASK.tolist()
        shown = np.asarray(image.convert("RGB"))
    assert shown[0, 2].tolist() == list(TABLE.colours[3])
    assert shown[1, 1].tolist() == [0, 0, 0]


def test_shares_are_measured_on_known_pixels_in_label_order() -> None:
    row = samples_to_table([sample()], TABLE).to_pylist()[0]
    assert row["shares"] == pytest.approx([0.4, 0, 0, 0.4, 0, 0, 0.2])


def test_what_is_not_known_is_null() -> None:
    row = samples_to_table([sample()], TABLE).to_pylist()[0]
    for name in ("trust", "crs", "transform", "footprint", "date", "parent", "seed", "plan"):
        assert row[name] is None, name
    assert row["bands"] == ["red", "green", "blue"]
    assert row["source"] == []


def test_every_field_lands_in_its_column() -> None:
    row = samples_to_table(
        [
            sample(
                split="val", place="p", trust=MASK, scale=0.5, offset=-1.0, crs="EPSG:32636",
                transform=(10.0, 0.0, 5.0, 0.0, -10.0, 7.0), footprint=b"wkb",
                date=datetime.date(2021, 7, 1), parent="q", seed=2**62, plan="as-real",
                sources=(SourceFile("n", "u", "s", "CC-BY-4.0", "who"),),
            )
        ],
        TABLE,
    ).to_pylist()[0]  # fmt: skip
    assert (row["split"], row["place"], row["origin"]) == ("val", "p", "real")
    assert (row["scale"], row["offset"], row["crs"]) == (0.5, -1.0, "EPSG:32636")
    assert row["transform"] == [10.0, 0.0, 5.0, 0.0, -10.0, 7.0]
    assert (row["footprint"], row["date"]) == (b"wkb", datetime.date(2021, 7, 1))
    assert (row["parent"], row["seed"], row["plan"]) == ("q", 2**62, "as-real")
    assert (decode(row["trust"]) == MASK).all()
    assert row["source"] == [
        {"name": "n", "uri": "u", "sha256": "s", "licence": "CC-BY-4.0", "attribution": "who"}
    ]
    assert (row["image"]["path"], row["mask"]["path"]) == ("a.png", "a-mask.png")


def test_the_schema_tells_other_tools_of_images_and_footprints() -> None:
    metadata = samples_to_table([sample()], TABLE).schema.metadata
    features = json.loads(metadata[b"huggingface"])["info"]["features"]
    assert {name for name, kind in features.items() if kind == {"_type": "Image"}} == {
        "image", "mask", "trust",
    }  # fmt: skip
    assert json.loads(metadata[b"geo"])["primary_column"] == "footprint"
    assert SAMPLE_SCHEMA.names[:6] == ["id", "split", "origin", "place", "image", "bands"]


def test_the_share_of_unknown_pixels_is_a_fraction() -> None:
    assert unknown_share(MASK) == pytest.approx(1 / 6)
    assert unknown_share(np.zeros((2, 2), np.uint8)) == 0


def test_a_table_stored_by_version_1_0_still_reads() -> None:
    table = Table.open(STORED / "samples-1.0")
    table.verify()
    rows = table.read().to_pylist()
    assert [row["id"] for row in rows] == ["one-r000000-c000000", "two-r000000-c000032"]
    assert [row["split"] for row in rows] == ["train", "test"]
    rows_down, columns = np.mgrid[0:32, 0:32]
    first, second = (decode(row["image"]) for row in rows)
    assert (first[..., 0] == rows_down).all()
    assert (first[..., 1] == columns).all()
    assert (second[..., 1] == columns + 32).all()
    assert (decode(rows[1]["mask"]) == (rows_down // 16 + 3)).all()
    assert rows[0]["shares"] == [0.5, 0.5, 0, 0, 0, 0, 0]
    assert rows[1]["date"] == datetime.date(2021, 7, 1)
    assert rows[1]["source"][0]["licence"] == "CC-BY-4.0"
