"""Cutting: one pass over the scenes that measures, filters and encodes every candidate patch."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from terraloom.classes import ClassTable
from terraloom.dataset.filters import DISAGREE, KEPT, UNREADABLE, reason_to_drop
from terraloom.dataset.patches import (
    PREVIEW_SIDE,
    THUMBNAIL_VALUES,
    preview,
    stretch_by_maximum,
    thumbnail,
    window_grid,
)
from terraloom.dataset.registration import Shift, measure_shift
from terraloom.errors import SettingsError, TilesDisagree, UnreadableFile
from terraloom.raster.grid import Grid, Window, metres_between
from terraloom.samples import (
    DRAWN,
    SAMPLE_SCHEMA,
    Sample,
    samples_to_table,
    scale_to_u8,
    unknown_share,
)
from terraloom.settings import CutSettings
from terraloom.sources._face import Pixels, Scene, Source
from terraloom.tables import Shard, plan_shards
from terraloom.types import ImageU8

_SHARD_PIXELS: Final = 512 * 256 * 256
"""Pixels per shard: some 70 MB of PNG, whatever the patch size."""
_EVEN_SHARDS: Final = 32
"""Shards of a small plan, at least: so no worker is left alone with a large last one."""
_FEW_ROWS: Final = 64
_MIN_SHARD_ROWS: Final = 16
_MAX_SHARD_ROWS: Final = 512

CANDIDATE_SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("place", pa.string()),
        ("given_split", pa.string()),
        ("shares", pa.list_(pa.float32())),
        ("unknown_share", pa.float32()),
        ("cloud_share", pa.float32()),
        ("mean_trust", pa.float32()),
        ("year_gap", pa.int32()),
        ("shift_rows", pa.float32()),
        ("shift_columns", pa.float32()),
        ("shift_confidence", pa.float32()),
        ("shifted", pa.bool_()),
        ("lon", pa.float64()),
        ("lat", pa.float64()),
        ("corners", pa.list_(pa.float64())),
        ("radius_m", pa.float64()),
        ("thumbnail", pa.binary(THUMBNAIL_VALUES * 2)),
        ("preview", pa.binary(PREVIEW_SIDE**2)),
        ("digest", pa.binary(32)),
    ]
)
_HEAVY: Final = [name for name in SAMPLE_SCHEMA.names if name not in CANDIDATE_SCHEMA.names]
CUT_SCHEMA: Final = pa.schema([*CANDIDATE_SCHEMA, *(SAMPLE_SCHEMA.field(name) for name in _HEAVY)])
"""A candidate with, where it is kept, all of its sample but the role."""


@dataclass(frozen=True)
class Cutter:
    """Cuts candidates by their position in one fixed plan; can be sent to other processes."""

    scenes: tuple[Scene, ...]
    classes: ClassTable
    settings: CutSettings
    low: float
    """Source value drawn as 0."""
    high: float
    """Source value drawn as 255."""
    unit_scale: float | None
    unit_offset: float
    plan: NDArray[np.int32] = field(repr=False)
    """Scene, row, column of every candidate in order of ids, "candidate 3"."""

    @classmethod
    def of(
        cls, source: Source, scenes: Sequence[Scene], classes: ClassTable, settings: CutSettings
    ) -> "Cutter":
        """The cutter of a source's scenes.

        Raises:
            SettingsError: the radiometric scale is empty, or a scene lacks the band asked for.
        """
        if settings.grid == "per-tile":
            scenes = [part for scene in scenes for part in scene.parts()]
        low, high = source.value_range
        low = settings.low if settings.low is not None else low
        high = settings.high if settings.high is not None else high
        if high <= low:
            raise SettingsError(f"cut.high ({high}) must be above cut.low ({low}).")
        for scene in scenes if settings.nir else ():
            if "nir" not in scene.bands:
                raise SettingsError(
                    f"cut.nir = true, but {scene.name} has the bands {', '.join(scene.bands)}."
                )
        stride = settings.stride or settings.patch_size
        entries = [
            (index, window.row, window.column)
            for index, scene in enumerate(scenes)
            for window in window_grid(
                scene.height, scene.width, settings.patch_size, stride, settings.edge
            )
            if scene.holds(window)
        ]
        # Scenes in order of their names are not yet ids in order: "a-b-r…" comes before "a-r…".
        entries.sort(key=lambda entry: _id_of(scenes[entry[0]], entry[1], entry[2]))
        plan = np.array(entries, dtype=np.int32).reshape(-1, 3)
        return cls(
            tuple(scenes),
            classes,
            settings,
            low,
            high,
            source.unit_scale,
            source.unit_offset,
            plan,
        )

    def shards(self) -> list[Shard]:
        """The plan in pieces of work."""
        largest = _SHARD_PIXELS // self.settings.patch_size**2
        largest = max(_MIN_SHARD_ROWS, min(_MAX_SHARD_ROWS, largest))
        even = max(_FEW_ROWS, len(self.plan) // _EVEN_SHARDS)
        return plan_shards(len(self.plan), min(largest, even))

    def cut_shard(self, shard: Shard) -> pa.Table:
        """Rows of `CUT_SCHEMA` for one piece of the plan."""
        rows: list[dict[str, Any]] = []
        samples: list[Sample] = []
        index: list[int | None] = []
        # Matrices of one patch are small: threads of linear algebra only wait for one another.
        with threadpool_limits(1, user_api="blas"):
            for position in range(shard.start, shard.stop):
                row, sample = self._cut(position)
                rows.append(row)
                index.append(None if sample is None else len(samples))
                if sample is not None:
                    samples.append(sample)
        light = pa.Table.from_pylist(rows, schema=CANDIDATE_SCHEMA)
        heavy = samples_to_table(samples, self.classes).select(_HEAVY)
        heavy = heavy.take(pa.array(index, type=pa.int64()))
        return pa.table(
            {name: (heavy if name in _HEAVY else light).column(name) for name in CUT_SCHEMA.names},
            schema=CUT_SCHEMA,
        )

    def _cut(self, position: int) -> tuple[dict[str, Any], Sample | None]:
        scene_index, row, column = (int(v) for v in self.plan[position])
        scene = self.scenes[scene_index]
        size = self.settings.patch_size
        window = Window(row, column, size, size)
        grid = None if scene.grid is None else scene.grid.part(window)
        candidate: dict[str, Any] = {
            "id": _id_of(scene, row, column),
            "place": scene.place,
            "given_split": scene.split,
            "year_gap": _year_gap(scene),
            **_whereabouts(grid),
        }
        try:
            pixels = scene.read(window)
        except UnreadableFile as error:
            return candidate | {"reason": UNREADABLE, "detail": str(error)}, None
        except TilesDisagree as error:
            return candidate | {"reason": DISAGREE, "detail": str(error)}, None
        image = np.ascontiguousarray(self._drawn(pixels))  # once, for all that read it
        shift = measure_shift(image, pixels.labels) if self.settings.check_shift else None
        shifted = shift is not None and shift.is_flagged(self.settings.max_shift_px)
        cloud = None if pixels.cloud is None else float(pixels.cloud.mean())
        shares = self.classes.shares(pixels.labels)
        candidate |= {
            "reason": reason_to_drop(
                # Snow that is drawn white all over still differs in the source's own numbers.
                pixels.image if self.settings.depth == 16 else image,
                pixels.labels,
                self.classes,
                self.settings,
                shares=shares,
                cloud_share=cloud,
                year_gap=candidate["year_gap"],
                shifted=shifted,
            ),
            "shares": shares,
            "unknown_share": unknown_share(pixels.labels),
            "cloud_share": cloud,
            "mean_trust": None if pixels.trust is None else float(pixels.trust.mean()) / 255.0,
            "shift_rows": None if shift is None else shift.rows,
            "shift_columns": None if shift is None else shift.columns,
            "shift_confidence": None if shift is None else shift.confidence,
            "shifted": shifted,
            "thumbnail": thumbnail(image).astype(np.float16).tobytes(),
            "preview": preview(image).tobytes(),
            "digest": hashlib.sha256(image.data).digest(),
        }
        if candidate["reason"] != KEPT:
            return candidate, None
        return candidate, self._sample(str(candidate["id"]), scene, grid, pixels, image, shift)

    def _drawn(self, pixels: Pixels) -> ImageU8:
        """Red, green and blue as 8-bit values."""
        rgb = pixels.image[..., :3]
        if self.settings.stretch == "aras":
            return stretch_by_maximum(rgb)
        return scale_to_u8(rgb, self.low, self.high)

    def _sample(
        self,
        sample_id: str,
        scene: Scene,
        grid: Grid | None,
        pixels: Pixels,
        drawn: ImageU8,
        shift: Shift | None,
    ) -> Sample:
        unit, zero = self.unit_scale, self.unit_offset
        bands = ("red", "green", "blue", *(("nir",) if self.settings.nir else ()))
        if self.settings.depth == 16:
            stored: NDArray[np.generic] = pixels.image[..., [scene.bands.index(b) for b in bands]]
            scale, offset = unit, None if unit is None else zero
        else:
            stored = drawn
            known = unit is not None and self.settings.stretch == "fixed"
            scale = (self.high - self.low) / 255.0 * unit if known and unit is not None else None
            offset = self.low * unit + zero if known and unit is not None else None
        return Sample(
            id=sample_id,
            image=stored,
            mask=pixels.labels,
            origin="real",
            trust=pixels.trust,
            scale=scale,
            offset=offset,
            bands=bands,
            view=(self.low, self.high) if self.settings.depth == 16 else DRAWN,
            crs=grid.crs if grid else None,
            transform=grid.transform if grid else None,
            footprint=grid.footprint() if grid else None,
            date=scene.date,
            label_year=scene.label_year,
            shift=None if shift is None else (shift.rows, shift.columns, shift.confidence),
            sources=pixels.files,
        )


def _id_of(scene: Scene, row: int, column: int) -> str:
    return f"{scene.name}-r{row:06d}-c{column:06d}"


def _year_gap(scene: Scene) -> int | None:
    if scene.date is None or scene.label_year is None:
        return None
    return abs(scene.date.year - scene.label_year)


def _whereabouts(grid: Grid | None) -> dict[str, Any]:
    """Centre, corners and half the diagonal of a patch; empty without coordinates."""
    if grid is None:
        return {}
    corners = grid.lonlat_corners()
    lon, lat = grid.lonlat_centre()
    return {
        "lon": lon,
        "lat": lat,
        "corners": corners.ravel(),
        "radius_m": metres_between(tuple(corners[0]), tuple(corners[2])) / 2,
    }
