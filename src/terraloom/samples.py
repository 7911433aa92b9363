"""The sample table: one row per image with its mask, place, date, sources and seed.

Images and masks are PNG bytes in Hugging Face's image struct, so `datasets`, DuckDB and pandas read
the shards as they are; footprints are WKB in EPSG:4326 under GeoParquet metadata.
"""

import datetime
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from terraloom.classes import UNKNOWN, ClassTable
from terraloom.types import ImageU8, LabelMask, TrustMap

_IMAGE_TYPE: Final = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_SOURCE_TYPE: Final = pa.struct(
    [
        ("name", pa.string()),
        ("uri", pa.string()),
        ("sha256", pa.string()),
        ("licence", pa.string()),
        ("attribution", pa.string()),
    ]
)
_METADATA: Final = {
    "huggingface": json.dumps(
        {
            "info": {
                "features": {
                    "image": {"_type": "Image"},
                    "mask": {"_type": "Image"},
                    "trust": {"_type": "Image"},
                }
            }
        }
    ),
    "geo": json.dumps(
        {
            "version": "1.1.0",
            "primary_column": "footprint",
            "columns": {"footprint": {"encoding": "WKB", "geometry_types": ["Polygon"]}},
        }
    ),
}

SAMPLE_SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.string()),
        ("origin", pa.string()),
        ("place", pa.string()),
        ("image", _IMAGE_TYPE),
        ("bands", pa.list_(pa.string())),
        ("dtype", pa.string()),
        ("scale", pa.float64()),
        ("offset", pa.float64()),
        ("mask", _IMAGE_TYPE),
        ("trust", _IMAGE_TYPE),
        ("shares", pa.list_(pa.float32())),
        ("crs", pa.string()),
        ("transform", pa.list_(pa.float64())),
        ("footprint", pa.binary()),
        ("date", pa.date32()),
        ("source", pa.list_(_SOURCE_TYPE)),
        ("parent", pa.string()),
        ("seed", pa.int64()),
        ("plan", pa.string()),
    ],
    metadata=_METADATA,
)


@dataclass(frozen=True)
class SourceFile:
    """One input that a sample was made from, as its publisher names it."""

    name: str
    uri: str
    """File name or address; never an absolute path of the machine that read it."""
    sha256: str
    licence: str | None = None
    attribution: str | None = None


@dataclass(frozen=True)
class Sample:
    """One image with its mask; fields as in the sample table."""

    id: str
    image: ImageU8
    """8-bit RGB, "height width 3"."""
    mask: LabelMask
    origin: str
    split: str = ""
    place: str | None = None
    trust: TrustMap | None = None
    scale: float | None = None
    """Reflectance (or source units) per digital number: value = scale · DN + offset."""
    offset: float | None = None
    crs: str | None = None
    transform: tuple[float, ...] | None = None
    """Affine a, b, c, d, e, f: x = a·column + b·row + c, y = d·column + e·row + f."""
    footprint: bytes | None = None
    date: datetime.date | None = None
    sources: tuple[SourceFile, ...] = field(default=())
    parent: str | None = None
    seed: int | None = None
    plan: str | None = None


def samples_to_table(samples: Sequence[Sample], classes: ClassTable) -> pa.Table:
    """Rows of the sample table, in the order given; shares are measured on the masks."""
    columns: dict[str, list[Any]] = {name: [] for name in SAMPLE_SCHEMA.names}
    for sample in samples:
        columns["id"].append(sample.id)
        columns["split"].append(sample.split)
        columns["origin"].append(sample.origin)
        columns["place"].append(sample.place)
        columns["image"].append(_packed(encode_image(sample.image), f"{sample.id}.png"))
        columns["bands"].append(["red", "green", "blue"])
        columns["dtype"].append("uint8")
        columns["scale"].append(sample.scale)
        columns["offset"].append(sample.offset)
        columns["mask"].append(_packed(encode_mask(sample.mask, classes), f"{sample.id}-mask.png"))
        trust = None
        if sample.trust is not None:
            trust = _packed(encode_grey(sample.trust), f"{sample.id}-trust.png")
        columns["trust"].append(trust)
        columns["shares"].append(classes.shares(sample.mask))
        columns["crs"].append(sample.crs)
        columns["transform"].append(sample.transform)
        columns["footprint"].append(sample.footprint)
        columns["date"].append(sample.date)
        columns["source"].append([vars(source) for source in sample.sources])
        columns["parent"].append(sample.parent)
        columns["seed"].append(sample.seed)
        columns["plan"].append(sample.plan)
    return pa.table(columns, schema=SAMPLE_SCHEMA)


def encode_image(pixels: ImageU8) -> bytes:
    """PNG of an 8-bit RGB image."""
    return _png(Image.fromarray(np.ascontiguousarray(pixels), mode="RGB"))


def encode_grey(pixels: NDArray[np.uint8]) -> bytes:
    """PNG of an 8-bit single-band image."""
    return _png(Image.fromarray(np.ascontiguousarray(pixels), mode="L"))


def encode_mask(labels: LabelMask, classes: ClassTable) -> bytes:
    """Palette PNG whose values are label ids and whose palette shows the class colours."""
    image = Image.fromarray(np.ascontiguousarray(labels), mode="P")
    image.putpalette(classes.palette.tobytes())
    return _png(image)


def decode(packed: dict[str, Any] | bytes) -> NDArray[np.uint8]:
    """Pixels of a PNG in an image struct (or of its bytes): values as stored, palette or not."""
    data = packed if isinstance(packed, bytes) else packed["bytes"]
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def unknown_share(labels: LabelMask) -> float:
    """Share of pixels whose label is 255, 0 … 1."""
    return float((labels == UNKNOWN).mean())


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    # Level 1 is several times faster than the default for a few percent more bytes.
    image.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _packed(data: bytes, path: str) -> dict[str, Any]:
    return {"bytes": data, "path": path}
