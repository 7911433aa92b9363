"""Face of the first stages: scenes are surveyed, split, tested for leaks, and cut into samples."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from terraloom.classes import ClassTable
from terraloom.dataset.filters import KEPT, check_something_left, funnel, reason_to_drop
from terraloom.dataset.leaks import LeakReport, check_leaks
from terraloom.dataset.patches import scale_to_u8, thumbnail, window_grid
from terraloom.dataset.split import Candidates, Split, split_candidates
from terraloom.errors import SettingsError
from terraloom.files import sha256_of_value, write_json
from terraloom.progress import console
from terraloom.raster.grid import Window, metres_between
from terraloom.samples import Sample, samples_to_table
from terraloom.settings import CutSettings, SplitSettings
from terraloom.sources._face import Pixels, Scene, Source
from terraloom.tables import Shard, Table, plan_shards, write_table
from terraloom.types import Float64Array

_SURVEY_ROWS = 2000
_SAMPLE_ROWS = 512


@dataclass(frozen=True)
class Dataset:
    """What building made."""

    samples: Table
    candidates: int
    funnel: dict[str, int]
    """Candidates per filter, "kept" and "buffer" included."""
    leaks: LeakReport


def build_dataset(
    source: Source,
    classes: ClassTable,
    folder: Path,
    *,
    cut: CutSettings,
    split: SplitSettings,
    seed: int,
) -> Dataset:
    """Build the table of real samples in `folder`/samples.

    Two passes over the scenes: the survey measures every candidate patch (class shares, filter,
    thumbnail); the split and the leak test look at the survey; the second pass writes what is kept.
    Every pass is made of shards, so an interrupted build goes on where it stopped.

    Args:
        source: of scenes; acquires its inputs into `folder`/source.
        classes: class table.
        folder: of the stage.
        cut: patch size, scale and filters.
        split: roles.
        seed: of the split; pixels do not depend on it.

    Raises:
        InputError: in all its kinds: unknown codes, pairs that do not fit, nothing left, a leak.
    """
    for name in cut.max_class_share:
        if name not in classes.names:
            raise SettingsError(
                f"cut.max_class_share names {name!r}; the classes are {', '.join(classes.names)}."
            )
    source.acquire(folder / "source")
    scenes = source.scenes(folder / "source")
    inputs = source.inputs(folder / "source")
    settings_sha256 = sha256_of_value(
        {"cut": cut.model_dump(mode="json"), "split": split.model_dump(mode="json"), "seed": seed}
    )
    cutter = _Cutter(source, scenes, classes, cut)
    if not cutter.plan:
        check_something_left({}, cut)
    survey = write_table(
        folder / "survey",
        plan_shards(len(cutter.plan), _SURVEY_ROWS),
        cutter.survey_shard,
        settings_sha256=settings_sha256,
        inputs=inputs,
        description="surveying patches",
        unit="patches",
    ).read()
    counts = funnel(survey.column("reason").to_pylist())
    check_something_left(counts, cut)
    kept = np.flatnonzero(np.array(survey.column("reason").to_pylist()) == KEPT)
    survey = survey.take(kept)
    candidates = _candidates(survey)
    assigned = split_candidates(candidates, split, seed)
    thumbnails = np.array(survey.column("thumbnail").to_pylist(), dtype=np.float32)
    digests = survey.column("digest").to_pylist()
    leaks = check_leaks(candidates, assigned, thumbnails, split, digests)
    rows = [i for i, role in enumerate(assigned.roles) if role is not None]
    if len(rows) < len(kept):
        counts = counts | {KEPT: len(rows), "buffer": len(kept) - len(rows)}
    table = write_table(
        folder / "samples",
        plan_shards(len(rows), _SAMPLE_ROWS),
        lambda shard: cutter.sample_shard(
            [int(kept[i]) for i in rows[shard.start : shard.stop]],
            rows[shard.start : shard.stop],
            assigned,
        ),
        settings_sha256=settings_sha256,
        inputs=inputs,
        description="cutting patches",
        unit="patches",
    )
    left_out = source.left_out()
    for name, reason in left_out.items():
        console.print(f"[yellow]left out[/] {name}: {reason}", soft_wrap=True)
    write_json(
        folder / "filters.json",
        {"candidates": len(cutter.plan), "funnel": counts, "left_out": left_out},
    )
    write_json(folder / "leaks.json", leaks.to_json())
    write_json(folder / "classes.json", classes_to_json(classes))
    return Dataset(table, len(cutter.plan), counts, leaks)


def classes_to_json(classes: ClassTable) -> dict[str, object]:
    """The content of classes.json: ids, names, colours, source codes, synonyms."""
    return {
        "classes": [
            {"id": label, **land.model_dump(mode="json")}
            for label, land in enumerate(classes.classes)
        ],
        "ignore_codes": list(classes.ignore_codes),
        "unknown": 255,
    }


class _Cutter:
    """Reads candidate patches by their position in one fixed plan."""

    def __init__(
        self, source: Source, scenes: list[Scene], classes: ClassTable, settings: CutSettings
    ) -> None:
        self.scenes = scenes
        self.classes = classes
        self.settings = settings
        low, high = source.value_range
        self.low = settings.low if settings.low is not None else low
        self.high = settings.high if settings.high is not None else high
        if self.high <= self.low:
            raise SettingsError(f"cut.high ({self.high}) must be above cut.low ({self.low}).")
        unit = source.unit_scale
        self.scale = None if unit is None else (self.high - self.low) / 255.0 * unit
        self.offset = None if unit is None else self.low * unit
        stride = settings.stride or settings.patch_size
        self.plan: list[tuple[int, Window]] = [
            (index, window)
            for index, scene in enumerate(scenes)
            for window in window_grid(
                scene.height, scene.width, settings.patch_size, stride, settings.edge
            )
        ]
        # Scenes in order of their names are not yet ids in order: "a-b-r…" comes before "a-r…".
        self.plan.sort(key=self._id_of)

    def sample_id(self, position: int) -> str:
        return self._id_of(self.plan[position])

    def _id_of(self, entry: tuple[int, Window]) -> str:
        index, window = entry
        return f"{self.scenes[index].name}-r{window.row:06d}-c{window.column:06d}"

    def read(self, position: int) -> Pixels:
        index, window = self.plan[position]
        return self.scenes[index].read(window)

    def survey_shard(self, shard: Shard) -> pa.Table:
        rows = [self._survey_row(position) for position in range(shard.start, shard.stop)]
        return pa.Table.from_pylist(rows, schema=_SURVEY_SCHEMA)

    def _survey_row(self, position: int) -> dict[str, object]:
        index, window = self.plan[position]
        scene = self.scenes[index]
        pixels = self.read(position)
        image = scale_to_u8(pixels.image, self.low, self.high)
        lon = lat = radius = None
        if scene.grid is not None:
            corners = scene.grid.part(window).lonlat_corners()
            lon, lat = (float(v) for v in corners.mean(axis=0))
            radius = metres_between(tuple(corners[0]), tuple(corners[2])) / 2
        return {
            "id": self.sample_id(position),
            "place": scene.place,
            "split": scene.split,
            "reason": reason_to_drop(image, pixels.labels, self.classes, self.settings),
            "shares": self.classes.shares(pixels.labels),
            "lon": lon,
            "lat": lat,
            "radius_m": radius,
            "thumbnail": thumbnail(image),
            "digest": hashlib.sha256(image.tobytes()).hexdigest(),
        }

    def sample_shard(self, positions: list[int], rows: list[int], split: Split) -> pa.Table:
        samples = []
        for position, row in zip(positions, rows, strict=True):
            index, window = self.plan[position]
            scene = self.scenes[index]
            pixels = self.read(position)
            grid = scene.grid.part(window) if scene.grid is not None else None
            role = split.roles[row]
            assert role is not None
            samples.append(
                Sample(
                    id=self.sample_id(position),
                    image=scale_to_u8(pixels.image, self.low, self.high),
                    mask=pixels.labels,
                    origin="real",
                    split=role,
                    place=split.places[row],
                    trust=pixels.trust,
                    scale=self.scale,
                    offset=self.offset,
                    crs=grid.crs if grid else None,
                    transform=grid.transform if grid else None,
                    footprint=grid.footprint() if grid else None,
                    date=scene.date,
                    sources=pixels.files,
                )
            )
        return samples_to_table(samples, self.classes)


_SURVEY_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("place", pa.string()),
        ("split", pa.string()),
        ("reason", pa.string()),
        ("shares", pa.list_(pa.float32())),
        ("lon", pa.float64()),
        ("lat", pa.float64()),
        ("radius_m", pa.float64()),
        ("thumbnail", pa.list_(pa.float32())),
        ("digest", pa.string()),
    ]
)


def _candidates(survey: pa.Table) -> Candidates:
    def numbers(name: str) -> Float64Array:
        return np.array(
            [np.nan if v is None else v for v in survey.column(name).to_pylist()], dtype=np.float64
        )

    return Candidates(
        ids=tuple(survey.column("id").to_pylist()),
        places=tuple(survey.column("place").to_pylist()),
        splits=tuple(survey.column("split").to_pylist()),
        shares=np.array(survey.column("shares").to_pylist(), dtype=np.float64),
        lonlat=np.stack([numbers("lon"), numbers("lat")], axis=1),
        radius_m=numbers("radius_m"),
    )
