"""The sample table: one row per image with its mask, place, date, sources and seed.

Images are PNG (8-bit RGB) or TIFF bytes (more bands or bits), masks PNG, in Hugging Face's image
struct, so `datasets`, DuckDB and pandas read the shards as they are; footprints are WKB in
EPSG:4326 under GeoParquet metadata.
"""

import datetime
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from terraloom.classes import UNKNOWN, ClassTable
from terraloom.png import encode_png
from terraloom.raster.geotiff import decode_tiff, encode_tiff
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
DRAWN: Final = (0.0, 255.0)
"""The range of an image that is stored as it is drawn."""
_TIFF_MARKS: Final = (b"II*\0", b"MM\0*")
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
            "columns": {
                "footprint": {"encoding": "WKB", "geometry_types": ["Polygon", "MultiPolygon"]}
            },
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
        ("label_year", pa.int32()),
        ("shift", pa.list_(pa.float32())),
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
    image: NDArray[np.generic]
    """8-bit RGB, "height width 3"; or more bands, or another type, kept as TIFF."""
    mask: LabelMask
    origin: str
    split: str = ""
    place: str | None = None
    trust: TrustMap | None = None
    scale: float | None = None
    """Reflectance per digital number: value = scale · DN + offset."""
    offset: float | None = None
    bands: tuple[str, ...] = ("red", "green", "blue")
    view: tuple[float, float] = DRAWN
    """Values drawn as 0 and 255 where the image is not 8-bit RGB."""
    crs: str | None = None
    transform: tuple[float, ...] | None = None
    """Affine a, b, c, d, e, f: x = a·column + b·row + c, y = d·column + e·row + f."""
    footprint: bytes | None = None
    date: datetime.date | None = None
    label_year: int | None = None
    shift: tuple[float, float, float] | None = None
    """How far labels lie below and right of the image in pixels; peak-to-sidelobe ratio."""
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
        columns["image"].append(_packed_image(sample))
        columns["bands"].append(list(sample.bands))
        columns["dtype"].append(str(sample.image.dtype))
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
        columns["label_year"].append(sample.label_year)
        columns["shift"].append(sample.shift)
        columns["source"].append([vars(source) for source in sample.sources])
        columns["parent"].append(sample.parent)
        columns["seed"].append(sample.seed)
        columns["plan"].append(sample.plan)
    return pa.table(columns, schema=SAMPLE_SCHEMA)


def encode_image(pixels: ImageU8) -> bytes:
    """PNG of an 8-bit RGB image."""
    return encode_png(pixels)


def encode_grey(pixels: NDArray[np.uint8]) -> bytes:
    """PNG of an 8-bit single-band image."""
    return encode_png(pixels)


def encode_mask(labels: LabelMask, classes: ClassTable) -> bytes:
    """Palette PNG whose values are label ids and whose palette shows the class colours."""
    return encode_png(labels, classes.palette)


def decode(packed: dict[str, Any] | bytes) -> NDArray[Any]:
    """Pixels in an image struct (or of its bytes): values as stored, palette or not."""
    data = packed if isinstance(packed, bytes) else packed["bytes"]
    if data.startswith(_TIFF_MARKS):
        return decode_tiff(data)[0]
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def decode_view(packed: dict[str, Any] | bytes) -> ImageU8:
    """An image as 8-bit RGB, whatever is stored: what models and eyes look at.

    PNG is taken as it is; of a TIFF the first three bands are brought to 0 … 255 on the fixed
    scale that it carries.
    """
    data = packed if isinstance(packed, bytes) else packed["bytes"]
    if not data.startswith(_TIFF_MARKS):
        return decode(data)
    pixels, tags = decode_tiff(data)
    return scale_to_u8(pixels[..., :3], float(tags["view_low"]), float(tags["view_high"]))


def scale_to_u8(image: NDArray[np.generic], low: float, high: float) -> ImageU8:
    """Source values to 0 … 255 on one fixed linear scale: rint(255 · clip((v−low)/(high−low)))."""
    if image.dtype in (np.uint8, np.uint16):
        # The same arithmetic, once per possible value instead of once per pixel.
        looked_up: ImageU8 = _lookup(str(image.dtype), low, high)[image]
        return looked_up
    return _scaled(image, low, high)


@cache
def _lookup(dtype: str, low: float, high: float) -> NDArray[np.uint8]:
    return _scaled(np.arange(np.iinfo(dtype).max + 1, dtype=dtype), low, high)


def _scaled(image: NDArray[np.generic], low: float, high: float) -> NDArray[np.uint8]:
    unit = (image.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    scaled: NDArray[np.uint8] = np.rint(255.0 * np.clip(unit, 0.0, 1.0)).astype(np.uint8)
    return scaled


def unknown_share(labels: LabelMask) -> float:
    """Share of pixels whose label is 255, 0 … 1."""
    return np.count_nonzero(labels == UNKNOWN) / labels.size


def _packed_image(sample: Sample) -> dict[str, Any]:
    plain = sample.image.dtype == np.uint8 and sample.image.shape[2] == 3
    if plain and sample.view == DRAWN:
        return _packed(encode_image(sample.image), f"{sample.id}.png")  # type: ignore[arg-type]
    low, high = sample.view
    tags = {"view_low": repr(float(low)), "view_high": repr(float(high))}
    return _packed(encode_tiff(sample.image, tags), f"{sample.id}.tif")


def _packed(data: bytes, path: str) -> dict[str, Any]:
    return {"bytes": data, "path": path}
