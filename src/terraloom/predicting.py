"""Face of prediction: the land cover of a whole scene of any size, tile by tile."""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from terraloom.classes import UNKNOWN, UNKNOWN_COLOUR, ClassTable
from terraloom.ensemble import Ensemble
from terraloom.errors import InputError, OutputError, SettingsError
from terraloom.files import check_writable
from terraloom.prediction.areas import cell_areas, counts_by_cell
from terraloom.prediction.scenes import InputScene, open_scene
from terraloom.prediction.tiling import Axis, Block, default_overlap
from terraloom.progress import Meter, meter
from terraloom.raster.geotiff import block_cache, files_of
from terraloom.raster.grid import Window
from terraloom.raster.map_writing import MapWriter, map_writer
from terraloom.segmenting import TrainedSegmenter
from terraloom.types import Float32Array, Float64Array, ImageU8, Int64Array, LabelMask

DEFAULT_TILE: Final = 256
_BATCH_PIXELS: Final = 1 << 18
"""Of one forward pass, where nothing else is asked for."""
_SUFFIXES: Final = (".tif", ".tiff")
_BLOCK_WIDTH: Final = 6144
"""Pixels; wider scenes are done in blocks of columns, so that memory does not grow with width."""
_CACHE_BYTES: Final = 80_000_000
"""Of decoded blocks: two rows of 1,024-pixel blocks of three 16-bit bands over a block's width."""


@dataclass
class _Tally:
    """What a prediction found, counted while it is made."""

    counts: Int64Array
    """Pixels per class."""
    km2: Float64Array
    """Ground per class."""
    placed: bool
    """Whether the ground could be measured so far."""
    sureness: float = 0.0
    """Sum of the chosen classes' probabilities."""
    clipped: int = 0
    """Pixels read as all 0 or all 255; those that are read twice count twice."""
    read: int = 0
    """Known pixels read; those that are read twice count twice."""
    tiles: int = 0
    """Tiles that the network saw."""


@dataclass(frozen=True)
class Prediction:
    """What `predict_scene` found."""

    paths: tuple[Path, ...]
    out: Path
    confidence: Path | None
    height: int
    width: int
    crs: str | None
    classes: ClassTable
    values: tuple[int, ...]
    """Value of each class in the map."""
    nodata: int
    counts: Int64Array = field(repr=False)
    """Pixels per class."""
    km2: Float64Array | None = field(repr=False)
    """Ground per class in square kilometres; None where the scene has no place on Earth."""
    mean_confidence: float | None
    """Mean probability of the chosen class, 0 … 1; None where no pixel is known."""
    clipped_share: float
    """Share of the known pixels that the radiometric scale turned all black or all white."""
    tiles: int
    seconds: float

    @property
    def pixels(self) -> int:
        """Of the scene."""
        return self.height * self.width

    def to_json(self) -> dict[str, Any]:
        """As plain values; shares are of the known pixels, and of their ground."""
        known = int(self.counts.sum())
        ground = None if self.km2 is None else float(self.km2.sum())
        rows = []
        for label, name in enumerate(self.classes.names):
            row: dict[str, Any] = {
                "name": name,
                "value": self.values[label],
                "pixels": int(self.counts[label]),
                "share": _share(self.counts[label], known),
            }
            if self.km2 is not None:
                row["km2"] = float(self.km2[label])
                row["area_share"] = _share(self.km2[label], ground or 0.0)
            rows.append(row)
        return {
            "scene": [str(path) for path in self.paths],
            "out": str(self.out),
            "confidence": None if self.confidence is None else str(self.confidence),
            "height": self.height,
            "width": self.width,
            "crs": self.crs,
            "nodata": self.nodata,
            "known_pixels": known,
            "unknown_pixels": self.pixels - known,
            "km2": ground,
            "classes": rows,
            "mean_confidence": self.mean_confidence,
            "clipped_share": self.clipped_share,
            "tiles": self.tiles,
            "seconds": round(self.seconds, 3),
            "pixels_per_second": round(self.pixels / max(self.seconds, 1e-9), 1),
        }


def predict_scene(
    segmenter: TrainedSegmenter,
    classes: ClassTable,
    scene: Sequence[Path],
    out: Path,
    *,
    low: float,
    high: float,
    bands: Sequence[int] = (1, 2, 3),
    tile: int = DEFAULT_TILE,
    overlap: int | None = None,
    batch: int | None = None,
    confidence: Path | None = None,
    flips: bool = False,
    codes: bool = False,
    overwrite: bool = False,
    tags: Mapping[str, str] | None = None,
) -> Prediction:
    """Predict every pixel of a scene, and write a map of the same size and place.

    Tiles begin at multiples of `tile` − `overlap` of the scene's own pixels, so also at multiples
    of the network's stride of 32. Where tiles overlap, their probabilities are blended: the quarter
    of the overlap next to a tile's end counts nothing, the middle half fades from one tile into the
    other. Memory is that of one batch of tiles and of the overlap below it, in a block of columns,
    whatever the scene's size.

    A tile should be as large as the crops that the network was trained on (`TrainedModel.window`):
    squeeze-and-excitation averages over all that the network is shown, and what it makes of the
    average of a larger image was never learnt. On a procedural scene a model of 64-pixel crops was
    right on 69 % of the pixels in tiles of 64, on 43 % in tiles of 256.

    What a shifted scene gives, away from its borders:

    - shifted by a multiple of the step, tiles hold the same pixels and labels are equal (but for
      ties within the rounding of floats);
    - shifted by another multiple of 32, each pixel lies elsewhere in its tile. A network that sees
      no farther than a quarter of the overlap gives equal labels. Those of the small and the paper
      preset see farther, since squeeze-and-excitation averages over the whole tile: labels differ
      where two classes are nearly even;
    - shifted by anything else, pooling meets other pixels as well, as in one forward pass.

    Args:
        segmenter: takes 8-bit RGB on the scale `low` … `high`.
        classes: as many as the segmenter has.
        scene: one raster, or several on one grid.
        out: the map, a cloud-optimised GeoTIFF of one 8-bit band with palette.
        low: source value drawn as 0.
        high: source value drawn as 255.
        bands: red, green, blue, counted from 1 through all files of the scene in turn.
        tile: side of a tile in pixels, a multiple of 32.
        overlap: pixels that neighbouring tiles share, a multiple of 32 up to half a tile; left out,
            a quarter of a tile, but 32 of a tile of 64.
        batch: tiles in one forward pass; left out, as many as hold 2¹⁸ pixels.
        confidence: second map, the probability of the chosen class in percent, 255 where unknown.
        flips: average the predictions of each tile and its three mirror images; four times slower.
        codes: write each class's first source code instead of its label, and the first ignored code
            (else 255) where unknown.
        overwrite: replace files that are there.
        tags: further tags of the map.

    Raises:
        InputError: scene, bands, scale, tiles or class table do not fit; nothing is written.
        OutputError: the output is there, is the scene itself, or cannot be written.
        UnreadableFile: the scene is damaged.
        RunError: the disk is full.
    """
    started = time.perf_counter()
    if len(classes) != segmenter.num_classes:
        raise InputError(
            f"the model tells {segmenter.num_classes} classes apart, the class table has "
            f"{len(classes)}: {', '.join(classes.names)}. Give the model's own classes."
        )
    if len(bands) != 3:
        raise InputError(
            f"the model takes 3 bands (red, green, blue); {len(bands)} were asked for: "
            f"{','.join(map(str, bands))}. Give three, as in --bands 1,2,3."
        )
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        raise InputError(
            f"--high ({high:g}) must be above --low ({low:g}), and both must be numbers. Give the "
            "values that are drawn as black and white, as in --low 0 --high 3000."
        )
    if overlap is None:
        overlap = default_overlap(tile)
    if batch is None:
        batch = max(1, _BATCH_PIXELS // max(tile, 1) ** 2)
    if batch < 1:
        raise InputError(f"--batch {batch} was asked for; at least 1 tile is needed.")
    source = open_scene(scene, bands)
    least = segmenter.network.min_crop_size
    rows = Axis.of(source.height, tile, overlap, least)
    columns = Axis.of(source.width, tile, overlap, least)
    values, nodata = map_values(classes, codes)
    if confidence is not None and confidence.resolve() == out.resolve():
        raise OutputError(f"map and confidence are both to be {out}; give two names.")
    for path in (out, confidence):
        if path is not None:
            _check_output(path, source.paths, overwrite)
    lookup = np.full(256, nodata, dtype=np.uint8)
    lookup[: len(classes)] = values
    tally = _Tally(
        np.zeros(len(classes), dtype=np.int64),
        np.zeros(len(classes), dtype=np.float64),
        source.grid is not None,
    )
    blocks = columns.blocks(max(2, (_BLOCK_WIDTH - columns.overlap) // columns.step))
    work = _Work(segmenter, source, low, high, rows, columns, batch, flips, tally)
    names = {str(value): name for value, name in zip(values, classes.names, strict=True)}
    with ExitStack() as stack:
        stack.enter_context(block_cache(_CACHE_BYTES))
        map_file = stack.enter_context(
            map_writer(
                out,
                source.paths[0],
                nodata=nodata,
                tags={"classes": json.dumps(names), **(tags or {})},
                band_name="land cover code" if codes else "land cover label",
                palette={
                    **dict(zip(values, classes.colours, strict=True)),
                    nodata: UNKNOWN_COLOUR,
                },
            )
        )
        sure_file = None
        if confidence is not None:
            sure_file = stack.enter_context(
                map_writer(
                    confidence,
                    source.paths[0],
                    nodata=UNKNOWN,
                    tags=dict(tags or {}),
                    band_name="confidence in percent",
                    overviews="average",
                )
            )
        total = rows.count * sum(block.count for block in blocks)
        bar = stack.enter_context(meter(f"predicting {scene[0].name}", total, "tiles"))
        for block in blocks:
            _predict_block(work, block, map_file, sure_file, lookup, bar)
    known = int(tally.counts.sum())
    return Prediction(
        source.paths,
        out,
        confidence,
        source.height,
        source.width,
        None if source.grid is None else source.grid.crs,
        classes,
        values,
        nodata,
        tally.counts,
        tally.km2 if tally.placed else None,
        tally.sureness / known if known else None,
        _share(tally.clipped, tally.read),
        tally.tiles,
        time.perf_counter() - started,
    )


def map_values(classes: ClassTable, codes: bool) -> tuple[tuple[int, ...], int]:
    """Value of each class in a map, and of unknown pixels: labels and 255, or source codes.

    With codes, unknown is the first ignored code, as in the maps that the codes come from.

    Raises:
        SettingsError: a class has no code, or one that eight bits cannot hold.
    """
    if not codes:
        return tuple(range(len(classes))), UNKNOWN
    bare = [land.name for land in classes.classes if not land.codes]
    if bare:
        raise SettingsError(
            f"--codes was asked for, but {', '.join(bare)} has no codes in the class table; "
            "leave --codes out, or give codes."
        )
    values = tuple(land.codes[0] for land in classes.classes)
    taken = {code for land in classes.classes for code in land.codes}
    free = [code for code in (*classes.ignore_codes, UNKNOWN) if 0 <= code <= 255]
    nodata = next((code for code in free if code not in taken), None)
    wide = [code for code in values if not 0 <= code <= 255]
    if wide or nodata is None:
        raise SettingsError(
            f"--codes was asked for, but {'code ' + str(wide[0]) if wide else 'no free value'} "
            "fits a map of 8 bits; leave --codes out."
        )
    return values, nodata


@dataclass(frozen=True)
class _Work:
    """What stays the same for every tile."""

    segmenter: TrainedSegmenter
    scene: InputScene
    low: float
    high: float
    rows: Axis
    columns: Axis
    batch: int
    flips: bool
    tally: _Tally

    def probabilities(self, images: list[ImageU8]) -> Float32Array:
        """Of each tile, "batch class height width"; with flips the mean of four views."""
        return Ensemble((self.segmenter,), self.flips).look(images)[0]


def _predict_block(
    work: _Work,
    block: Block,
    map_file: MapWriter,
    sure_file: MapWriter | None,
    lookup: NDArray[np.uint8],
    bar: Meter,
) -> None:
    """One block of columns from top to bottom."""
    for window, chances, known in _decided(work, block, bar):
        labels: LabelMask = chances.argmax(axis=0).astype(np.uint8)
        sure = np.minimum(chances.max(axis=0), 1.0)
        labels[~known] = UNKNOWN
        map_file.write(window, lookup[labels])
        if sure_file is not None:
            percent = np.rint(100 * sure).astype(np.uint8)
            percent[~known] = UNKNOWN
            sure_file.write(window, percent)
        _count(work.tally, work.scene, window, labels, float(sure[known].sum(dtype=np.float64)))


def _decided(
    work: _Work, block: Block, bar: Meter
) -> Iterator[tuple[Window, Float32Array, NDArray[np.bool_]]]:
    """Windows whose every tile has been seen: blended probabilities, and which pixels are known.

    Windows without a known pixel are left out.
    """
    rows, columns, scene = work.rows, work.columns, work.scene
    origin = block.first * columns.step
    classes = work.segmenter.num_classes
    reach = (block.count - 1) * columns.step + columns.tile
    above = np.zeros((classes, rows.overlap, reach), dtype=np.float32)
    """What the tiles above leave unfinished."""
    for row in range(rows.count):
        top = row * rows.step
        bottom = scene.height if row == rows.count - 1 else top + rows.step
        beside: Float32Array | None = None
        """What the tiles to the left leave unfinished."""
        for first in range(block.first, block.after, work.batch):
            after = min(first + work.batch, block.after)
            left = first * columns.step
            width = (after - first - 1) * columns.step + columns.tile
            image, known, clipped = scene.read(
                Window(top, left, rows.tile, width), work.low, work.high
            )
            work.tally.clipped += clipped
            work.tally.read += int(known.sum())
            total = np.zeros((classes, rows.tile, width), dtype=np.float32)
            if beside is not None:
                total[:, :, : columns.overlap] = beside
            if known.any():
                _add_tiles(work, row, range(first, after), image, known, total)
            bar.advance(after - first)
            done = width if after == block.after else (after - first) * columns.step
            beside = total[:, :, done:]
            finished, over = total[:, :, :done], above[:, :, left - origin : left - origin + done]
            finished[:, : rows.overlap] += over
            over[...] = finished[:, rows.step :]
            start, stop = max(block.start, left), min(block.stop, left + done)
            inside = slice(0, bottom - top), slice(start - left, stop - left)
            if start < stop and known[inside].any():
                yield (
                    Window(top, start, bottom - top, stop - start),
                    finished[:, inside[0], inside[1]],
                    known[inside],
                )


def _add_tiles(
    work: _Work,
    row: int,
    indices: range,
    image: ImageU8,
    known: NDArray[np.bool_],
    total: Float32Array,
) -> None:
    """Add what the network sees in neighbouring tiles of one row to `total`, weighed."""
    rows, columns = work.rows, work.columns
    beyond = [(0, total.shape[axis + 1] - image.shape[axis]) for axis in (0, 1)]
    # Mirrored, not black: beyond the scene's border the land goes on. As the segmenter itself pads.
    image = np.pad(image, [*beyond, (0, 0)], mode="reflect")
    down = rows.weights(row)[:, None]
    starts = {index: (index - indices.start) * columns.step for index in indices}
    # A tile without a known pixel has no say in any known pixel.
    seen = [i for i, x in starts.items() if known[:, x : x + columns.tile].any()]
    first = 0
    while first < len(seen):
        # Powers of two: libraries keep plans and room for every size of batch that they ever met.
        part = seen[first : first + (1 << ((len(seen) - first).bit_length() - 1))]
        first += len(part)
        tiles = [image[:, starts[i] : starts[i] + columns.tile] for i in part]
        for index, chances in zip(part, work.probabilities(tiles), strict=True):
            x = starts[index]
            total[:, :, x : x + columns.tile] += chances * (down * columns.weights(index))
    work.tally.tiles += len(seen)


def _count(
    tally: _Tally, scene: InputScene, window: Window, labels: LabelMask, sureness: float
) -> None:
    cells = counts_by_cell(labels, len(tally.counts))
    tally.counts += cells.sum(axis=(0, 1))
    tally.sureness += sureness
    if tally.placed and scene.grid is not None:
        areas = cell_areas(scene.grid, window)
        counted = cells.any(axis=-1)
        # Corners of a whole-disk image lie off the Earth; that matters where a class was found.
        if areas is None or not np.isfinite(areas[counted]).all():
            tally.placed = False
        else:
            tally.km2 += np.einsum("rc,rck->k", np.where(counted, areas, 0.0), cells)


def _check_output(path: Path, scene: Sequence[Path], overwrite: bool) -> None:
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give the name of a file, as in {path / 'map.tif'}.")
    if path.suffix.lower() not in _SUFFIXES:
        raise OutputError(
            f"{path} is to hold a GeoTIFF; give a name that says so, as in "
            f"{path.with_suffix('.tif')}."
        )
    # A virtual raster reads its pixels from other files, which must outlive the map as well.
    read = {other.resolve() for raster in scene for other in (raster, *files_of(raster))}
    if path.resolve() in read:
        raise OutputError(f"{path} is the scene itself, or a part of it; give another name.")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; give another name, or --overwrite.")
    check_writable(path.parent)


def _share(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else 0.0
