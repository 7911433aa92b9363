"""Face of the first stages: scenes are cut, split, tested for leaks, and become samples."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from terraloom.classes import ClassTable
from terraloom.dataset.cutting import CANDIDATE_SCHEMA, Cutter
from terraloom.dataset.filters import DISAGREE, KEPT, UNREADABLE, check_something_left, funnel
from terraloom.dataset.leaks import LeakReport, Looks, split_without_leaks
from terraloom.dataset.patches import PREVIEW_SIDE, THUMBNAIL_VALUES
from terraloom.dataset.split import Candidates, Split, hold_back
from terraloom.engines import Engine
from terraloom.errors import SettingsError
from terraloom.files import (
    read_json,
    remove_folder,
    sha256_of_value,
    write_bytes,
    write_json,
    write_text,
)
from terraloom.progress import console
from terraloom.samples import SAMPLE_SCHEMA, decode_view
from terraloom.settings import CutSettings, SplitSettings
from terraloom.sources._face import Source
from terraloom.tables import MANIFEST, Shard, Table, plan_shards, write_table
from terraloom.types import Float64Array, ImageU8, Role

_MOST_TOLD: Final = 12
_CUT, _CANDIDATES, _ERRORS = "cut", "candidates", "errors"
SAMPLES: Final = "samples"
HELD_BACK: Final = "held-back"
"""Train rows that no stage sees but the benchmark, for its arm "more-real"."""
_INPUTS: Final = "inputs.json"
_WORTH_A_POOL: Final = 1024
"""Rows that are only copied, from which several processes are sooner done than one."""
_LIGHT: Final = [name for name in CANDIDATE_SCHEMA.names if name != "preview"]
LEAKS: Final = "leaks.json"
LEAK_PAGE: Final = "leaks.html"
SPLIT_MAP: Final = "split-map.png"
_Number = TypeVar("_Number", np.uint8, np.float16)


@dataclass(frozen=True)
class Dataset:
    """What building made."""

    samples: Table
    candidates: int
    funnel: dict[str, int]
    """Candidates per filter, those kept and those that the split left out included."""
    leaks: LeakReport
    left_out: dict[str, str]
    """Inputs that could not be used, with the reason."""
    held_back: Table | None = None
    """Train rows that no stage sees but the benchmark."""


def build_dataset(
    source: Source,
    classes: ClassTable,
    folder: Path,
    *,
    cut: CutSettings,
    split: SplitSettings,
    seed: int,
    acquired: Path | None = None,
    engine: Engine | None = None,
) -> Dataset:
    """Build the table of real samples in `folder`/samples.

    One pass over the scenes measures, filters and encodes every candidate patch (`cut`, kept until
    the samples stand); the split and the leak test look at its light columns; then what is kept
    gets its role. Every pass is made of shards, so an interrupted build goes on where it stopped.
    An input that cannot be read leaves out the patches that need it, by name, and no others.

    Args:
        source: of scenes.
        classes: class table.
        folder: of the stage.
        cut: patch size, scale and filters.
        split: roles.
        seed: of the split; pixels do not depend on it.
        acquired: where the source brings its inputs; left out, `folder`/source.
        engine: where shards are cut; left out, in this process.

    Raises:
        LeakFound: the gate; `leaks.json` and `leaks.html` show all that was found.
        InputError: in all its kinds: unknown codes, pairs that do not fit, nothing left.
    """
    for name in cut.max_class_share:
        if name not in classes.names:
            raise SettingsError(
                f"cut.max_class_share names {name!r}; the classes are {', '.join(classes.names)}."
            )
    acquired = folder / "source" if acquired is None else acquired
    source.acquire(acquired)
    scenes = source.scenes(acquired)
    left_out = source.left_out()
    _tell_left_out(left_out)
    cutter = Cutter.of(source, scenes, classes, cut)
    if not len(cutter.plan):
        check_something_left({}, cut)
    inputs = source.inputs(acquired)
    settings_sha256 = sha256_of_value(
        {"cut": cut.model_dump(mode="json"), "split": split.model_dump(mode="json"), "seed": seed}
    )
    _drop_work_on_other_inputs(folder, inputs)
    write = _Writer(folder, settings_sha256, inputs, engine)
    survey = write.candidates(cutter)
    reasons = survey.read(["reason"]).column("reason")
    counts = funnel(reasons.to_pylist())
    check_something_left(counts, cut)
    kept = np.flatnonzero(pc.equal(reasons, KEPT).to_numpy(zero_copy_only=False))
    light = pa.concat_tables(_kept(survey, _LIGHT))
    candidates = _candidates(light)
    looks = Looks(
        _packed(light.column("thumbnail"), np.float16, THUMBNAIL_VALUES),
        (_previews(table) for table in _kept(survey, ["reason", "preview"])),
        light.column("digest").to_pylist(),
    )
    shifted = int(pc.sum(light.column("shifted")).as_py() or 0)
    del light  # with 100,000 patches 0.1 GB that nothing asks for any more
    assigned, leaks = split_without_leaks(candidates, looks, split, seed)
    pictures = _Pictures(survey.paths, [shard.start for shard in cutter.shards()], kept)
    _write_leaks(folder, leaks, candidates, assigned, classes, pictures)
    leaks.check()
    held = hold_back(candidates, assigned, split, seed)
    positions: list[int] = []
    behind: list[int] = []
    for i, role in enumerate(assigned.roles):
        if role is not None:
            waits = role == "train" and assigned.places[i] in held
            (behind if waits else positions).append(int(kept[i]))
    counts = counts | {KEPT: len(positions)}
    if behind:
        counts["held back"] = len(behind)
    if buffered := assigned.roles.count(None) - len(leaks.left_out):
        counts["too near another role"] = buffered
    if leaks.left_out:
        counts["shows ground of another role"] = len(leaks.left_out)
    given = dict(zip(kept.tolist(), zip(assigned.roles, assigned.places, strict=True), strict=True))
    samples = write.samples(cutter, positions, given)
    held_back = write.samples(cutter, behind, given, HELD_BACK) if behind else None
    troubled = write.errors(survey)
    write.finish(cutter)
    _tell_unreadable(troubled)
    write_json(
        folder / "filters.json",
        {
            "candidates": len(cutter.plan),
            "funnel": counts,
            "left_out": left_out,
            "unreadable": troubled,
            "shifted": shifted,
        },
    )
    write_json(folder / "classes.json", classes_to_json(classes))
    return Dataset(samples, len(cutter.plan), counts, leaks, left_out, held_back)


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


def _drop_work_on_other_inputs(folder: Path, inputs: dict[str, str]) -> None:
    """Forget what an interrupted build made if its source has brought other files since.

    A file that could not be fetched may be had the next time; then the plan of candidates is
    another, and shards of both would not fit together.
    """
    path = folder / _INPUTS
    if path.exists() and read_json(path) != inputs:
        for name in (_CUT, _CANDIDATES, SAMPLES, HELD_BACK, _ERRORS):
            remove_folder(folder / name)
    write_json(path, inputs)


@dataclass(frozen=True)
class _Writer:
    """Writes the tables of the stage, each once."""

    folder: Path
    settings_sha256: str
    inputs: dict[str, str]
    engine: Engine | None

    def candidates(self, cutter: Cutter) -> Table:
        """Every candidate; with its pixels while the stage is at work."""
        if (self.folder / _CANDIDATES / MANIFEST).exists():
            return Table.open(self.folder / _CANDIDATES)
        return self._write(
            _CUT, cutter.shards(), cutter.cut_shard, "cutting patches", unit="patches"
        )

    def samples(
        self,
        cutter: Cutter,
        positions: list[int],
        given: Mapping[int, tuple[Role | None, str]],
        name: str = SAMPLES,
    ) -> Table:
        """Candidates at `positions` with their roles and places, which `given` holds."""
        shards = cutter.shards()
        task = _GiveRoles(
            tuple(self.folder / _CUT / shard.filename for shard in shards),
            np.array([shard.start for shard in shards], dtype=np.int64),
            np.array(positions, dtype=np.int64),
            [given[position] for position in positions],
        )
        rows = shards[0].stop - shards[0].start
        return self._write(
            name, plan_shards(len(positions), rows), task, "giving roles", unit="patches"
        )

    def errors(self, survey: Table) -> dict[str, int]:
        """Candidates that could not be read, kept apart; patches by message."""
        rows = pa.concat_tables(
            table.filter(pc.is_in(table.column("reason"), pa.array([UNREADABLE, DISAGREE])))
            for table in (
                pq.read_table(p, columns=["id", "reason", "detail"]) for p in survey.paths
            )
        )
        messages = rows.column("detail").to_pylist()
        if messages:
            table = pa.table(
                {
                    "id": rows.column("id"),
                    "stage": ["build"] * len(messages),
                    "attempt": pa.array([1] * len(messages), pa.int32()),
                    "message": messages,
                }
            )
            self._write(
                _ERRORS,
                plan_shards(len(messages)),
                lambda shard: table.slice(shard.start, shard.stop - shard.start),
                "noting errors",
            )
        return dict(Counter(messages).most_common())

    def finish(self, cutter: Cutter) -> None:
        """Keep what was measured of every candidate; drop the pixels, which the samples hold."""
        write_table(
            self.folder / _CANDIDATES,
            cutter.shards(),
            _LightColumns(self.folder / _CUT),
            settings_sha256=self.settings_sha256,
            inputs=self.inputs,
            description="noting candidates",
            unit="patches",
        )
        remove_folder(self.folder / _CUT)

    def _write(
        self,
        name: str,
        shards: Sequence[Shard],
        make: Callable[[Shard], pa.Table],
        description: str,
        unit: str = "rows",
    ) -> Table:
        return write_table(
            self.folder / name,
            shards,
            make,
            settings_sha256=self.settings_sha256,
            inputs=self.inputs,
            description=description,
            unit=unit,
            # So few rows have their roles before other processes have begun.
            engine=self.engine if name == _CUT or shards[-1].stop >= _WORTH_A_POOL else None,
        )


@dataclass(frozen=True)
class _LightColumns:
    """What was measured of the candidates of one shard."""

    cut: Path

    def __call__(self, shard: Shard) -> pa.Table:
        return pq.read_table(self.cut / shard.filename, columns=CANDIDATE_SCHEMA.names)


@dataclass(frozen=True)
class _GiveRoles:
    """Samples out of cut candidates; can be sent to other processes."""

    cut: tuple[Path, ...]
    starts: NDArray[np.int64]
    """First candidate of each cut shard."""
    positions: NDArray[np.int64] = field(repr=False)
    """Candidates that become samples, in order."""
    given: Sequence[tuple[Role | None, str]] = field(repr=False)
    """Role and place of each."""

    def __call__(self, shard: Shard) -> pa.Table:
        wanted = self.positions[shard.start : shard.stop]
        holding = np.searchsorted(self.starts, wanted, side="right") - 1
        columns = [name for name in SAMPLE_SCHEMA.names if name != "split"]
        parts = []
        for number in np.unique(holding):
            rows = wanted[holding == number] - self.starts[number]
            parts.append(pq.read_table(self.cut[number], columns=columns).take(pa.array(rows)))
        table = pa.concat_tables(parts)
        roles, places = zip(*self.given[shard.start : shard.stop], strict=True)
        given = {"split": pa.array(roles, pa.string()), "place": pa.array(places, pa.string())}
        return pa.table(
            {n: given[n] if n in given else table.column(n) for n in SAMPLE_SCHEMA.names},
            schema=SAMPLE_SCHEMA,
        )


def _tell_left_out(left_out: dict[str, str]) -> None:
    for name, reason in list(left_out.items())[:_MOST_TOLD]:
        console.print(f"[yellow]left out[/] {name}: {reason}", soft_wrap=True)
    if len(left_out) > _MOST_TOLD:
        console.print(f"[yellow]left out[/] {len(left_out) - _MOST_TOLD} more; see filters.json")


def _tell_unreadable(troubled: dict[str, int]) -> None:
    for message, count in list(troubled.items())[:_MOST_TOLD]:
        console.print(
            f"[yellow]{count} patch{'es' if count > 1 else ''} left out[/]: {message}",
            soft_wrap=True,
        )


@dataclass(frozen=True)
class _Pictures:
    """Brings images of kept candidates as they were drawn, or previews once the pixels are gone."""

    paths: Sequence[Path]
    starts: Sequence[int]
    """First candidate of each file."""
    kept: NDArray[np.intp] = field(repr=False)
    """Position of each kept candidate among all."""

    @property
    def whole(self) -> bool:
        """Whether the images are still there."""
        return "image" in pq.read_schema(self.paths[0]).names

    def __call__(self, rows: Sequence[int]) -> dict[int, ImageU8]:
        whole = self.whole
        positions = self.kept[np.array(rows, dtype=np.intp)]
        holding = np.searchsorted(self.starts, positions, side="right") - 1
        images: dict[int, ImageU8] = {}
        for number in np.unique(holding):
            own = np.flatnonzero(holding == number)
            path = self.paths[int(number)]
            table = pq.read_table(path, columns=["image" if whole else "preview"])
            for i in own:
                value = table.column(0)[int(positions[i] - self.starts[int(number)])].as_py()
                shape = (PREVIEW_SIDE, PREVIEW_SIDE)
                images[rows[int(i)]] = (
                    decode_view(value) if whole else np.frombuffer(value, np.uint8).reshape(shape)
                )
        return images


def _write_leaks(
    folder: Path,
    leaks: LeakReport,
    candidates: Candidates,
    split: Split,
    classes: ClassTable,
    pictures: _Pictures,
) -> None:
    """What the leak test found, for programs and to be read; written whether it passed or not."""
    # Processes that cut patches import this module too, and draw nothing.
    from terraloom.dataset.leak_page import leak_page
    from terraloom.dataset.split_map import split_map

    drawn = split_map(candidates, split.roles)
    if drawn is not None:
        write_bytes(folder / SPLIT_MAP, drawn)
    write_json(folder / LEAKS, leaks.to_json())
    if pictures.whole or not (folder / LEAK_PAGE).exists():
        page = leak_page(leaks, candidates, split, classes, pictures, drawn)
        write_text(folder / LEAK_PAGE, page)
    if leaks.together:
        told = ", ".join(f"{one} and {two}" for one, two in leaks.together[:_MOST_TOLD])
        more = len(leaks.together) - _MOST_TOLD
        console.print(
            f"places that show the same ground and stay in one role: {told}"
            + (f", {more} more pairs" if more > 0 else ""),
            soft_wrap=True,
        )
    for finding in leaks.left_out[:_MOST_TOLD]:
        console.print(f"[yellow]left out[/] {finding}", soft_wrap=True)
    if len(leaks.left_out) > _MOST_TOLD:
        console.print(
            f"[yellow]left out[/] {len(leaks.left_out) - _MOST_TOLD} more; see {LEAK_PAGE}",
            soft_wrap=True,
        )
    if not leaks.passed:
        console.print(f"every pair that was found: {folder / LEAK_PAGE}", soft_wrap=True)


def _kept(survey: Table, columns: list[str]) -> Iterator[pa.Table]:
    """Some columns of the candidates that passed all filters, shard by shard."""
    for path in survey.paths:
        table = pq.read_table(path, columns=columns)
        yield table.filter(pc.equal(table.column("reason"), KEPT))


def _previews(table: pa.Table) -> ImageU8:
    flat = _packed(table.column("preview"), np.uint8, PREVIEW_SIDE**2)
    return flat.reshape(-1, PREVIEW_SIDE, PREVIEW_SIDE)


def _packed(column: pa.ChunkedArray, dtype: type[_Number], width: int) -> NDArray[_Number]:
    """A fixed-size binary column as an array, "row width", without a Python object per row."""
    itemsize = np.dtype(dtype).itemsize * width
    parts: list[NDArray[np.uint8]] = []
    for chunk in column.chunks:
        data = np.frombuffer(chunk.buffers()[1], dtype=np.uint8)
        start = chunk.offset * itemsize
        parts.append(data[start : start + len(chunk) * itemsize])
    return np.concatenate([np.empty(0, dtype=np.uint8), *parts]).view(dtype).reshape(-1, width)


def _candidates(survey: pa.Table) -> Candidates:
    def numbers(name: str) -> Float64Array:
        values: Float64Array = survey.column(name).to_numpy(zero_copy_only=False).astype(np.float64)
        return values

    shares = survey.column("shares").combine_chunks()
    outlines = np.full((len(survey), 8), np.nan)
    known = pc.is_valid(survey.column("corners")).to_numpy(zero_copy_only=False)
    outlines[known] = survey.column("corners").combine_chunks().flatten().to_numpy().reshape(-1, 8)
    return Candidates(
        ids=tuple(survey.column("id").to_pylist()),
        places=tuple(survey.column("place").to_pylist()),
        splits=tuple(survey.column("given_split").to_pylist()),
        shares=np.asarray(shares.flatten(), dtype=np.float64).reshape(len(shares), -1),
        lonlat=np.stack([numbers("lon"), numbers("lat")], axis=1),
        radius_m=numbers("radius_m"),
        corners=outlines.reshape(-1, 4, 2),
    )
