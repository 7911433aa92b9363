"""Cutting against the published procedure: patches per second, scaling, equality of the result.

    python benchmarks/cutting.py speed     # one full composite, medians of 5, in turn
    python benchmarks/cutting.py scaling   # four composites, one worker and two in turn
    python benchmarks/cutting.py nine      # nine composites under one map: who finds how many
    python benchmarks/cutting.py memory    # peak memory at 1,000 and 100,000 patches

Both sides read the same deflated tiles and write every image and mask as PNG; ours writes them into
sharded Parquet together with what it measures of each patch. Stretch and grid are as published
(`stretch = "aras"`, `grid = "per-tile"`), so that pixels can be compared one by one.
"""

import contextlib
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from published_cutting import SIZE, cut_as_published
from stand_in import write_tiles

from terraloom.classes import preset
from terraloom.dataset.build import build_dataset
from terraloom.engines import InProcess, ProcessPool
from terraloom.settings import CutSettings, SplitSettings
from terraloom.sources import tiles as tiles_source
from terraloom.tables import Table

CLASSES = preset("worldcover7")


def cut_with_terraloom(
    tiles: Path, out: Path, workers: int, *, block_size_m: float = 30_720, **options: object
) -> Path:
    """Build the samples of a folder of tiles; returns the folder of the table."""
    source = tiles_source.build(tiles_source.Settings(folder=tiles), CLASSES, 0)
    cut = {"patch_size": SIZE, "max_class_share": {"water": 0.9}} | options
    with ProcessPool(workers) if workers > 1 else InProcess() as engine:
        build_dataset(
            source,
            CLASSES,
            out,
            cut=CutSettings(**cut),
            # The stand-in repeats itself: its leaks are no ground that two roles share.
            split=SplitSettings(
                by="block",
                block_size_m=block_size_m,
                buffer_m=0,
                duplicate_limit=1.0,
                shared_ground_limit=1.0,
            ),
            seed=0,
            engine=engine,
        )
    return out / "samples"


def speed(composite: int, repeats: int) -> None:
    """Patches per second of three runs in turn, and whether the pixels are equal."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tiles(folder / "tiles", side=composite, per_degree=12_000, south=39, west=33)
        runs = {
            "published": lambda out: cut_as_published(folder / "tiles", out),
            "terraloom, 1 worker": lambda out: _published_settings(folder / "tiles", out, 1),
            "terraloom, 2 workers": lambda out: _published_settings(folder / "tiles", out, 2),
        }
        seconds: dict[str, list[float]] = {run: [] for run in runs}
        for repeat in range(repeats):
            for run, act in runs.items():
                out = folder / f"{run}-{repeat}"
                start = time.perf_counter()
                act(out)
                seconds[run].append(time.perf_counter() - start)
                if repeat:
                    shutil.rmtree(out)
        patches = len(list((folder / "published-0" / "images").iterdir()))
        equal = _equal(folder / "published-0", folder / "terraloom, 2 workers-0" / "samples")
    medians = {run: statistics.median(values) for run, values in seconds.items()}
    print(f"{patches} patches of {SIZE} px; {equal} of them equal to the last pixel")
    for run, median in medians.items():
        spread = f"{min(seconds[run]):.1f} … {max(seconds[run]):.1f}"
        print(
            f"{run:22} {median:6.1f} s ({spread})  {patches / median:6.1f} patches/s  "
            f"{medians['published'] / median:5.2f} ×"
        )
    gain = medians["terraloom, 1 worker"] / medians["terraloom, 2 workers"]
    print(f"two workers over one: {gain:.2f} ×")


def scaling(block: int, repeats: int) -> None:
    """Two workers over one on a block of full composites, the whole stage from tiles to samples."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tiles(
            folder / "tiles", side=12_000, per_degree=12_000, south=39, west=33, block=block
        )
        seconds: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(repeats):
            for workers, taken in seconds.items():
                start = time.perf_counter()
                _published_settings(folder / "tiles", folder / "out", workers)
                taken.append(time.perf_counter() - start)
                patches = Table.open(folder / "out" / "samples").num_rows
                shutil.rmtree(folder / "out")
    print(f"{patches} patches of {SIZE} px")
    for workers, taken in seconds.items():
        median = statistics.median(taken)
        print(
            f"{workers} worker(s) {median:6.1f} s ({min(taken):.1f} … {max(taken):.1f})  "
            f"{patches / median:6.1f} patches/s"
        )
    ratio = statistics.median(seconds[1]) / statistics.median(seconds[2])
    print(f"two workers over one: {ratio:.2f} ×")


def _published_settings(tiles: Path, out: Path, workers: int) -> None:
    cut_with_terraloom(tiles, out, workers, stretch="aras", grid="per-tile")


def _equal(published: Path, samples: Path) -> int:
    """How many patches hold the same image and, coloured, the same mask."""
    equal = 0
    for shard in sorted(samples.glob("part-*.parquet")):
        for row in pq.read_table(shard, columns=["id", "image", "mask"]).to_pylist():
            _, place, top, left = row["id"].split("-")
            name = f"{place}_{int(top[1:]) // SIZE:03d}_{int(left[1:]) // SIZE:03d}.png"
            image = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))
            mask = Image.open(io.BytesIO(row["mask"]["bytes"])).convert("RGB")
            same = (image == np.asarray(Image.open(published / "images" / name))).all()
            same &= (np.asarray(mask) == np.asarray(Image.open(published / "masks" / name))).all()
            equal += int(same)
    return equal


def nine() -> None:
    """A 3° block of nine composites of 1280 pixels under one map."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tiles(folder / "tiles", side=1280, per_degree=1280, south=39, west=33, block=3)
        theirs = cut_as_published(folder / "tiles", folder / "published")
        print("published look-up:", dict(theirs))
        for grid in ("per-tile", "mosaic"):
            cut_with_terraloom(folder / "tiles", folder / grid, 1, stretch="aras", grid=grid)
            print(
                f"terraloom, {grid}:",
                json.loads((folder / grid / "filters.json").read_text())["funnel"],
            )
        print("equal patches:", _equal_of(folder / "published", folder / "per-tile" / "samples"))


def _equal_of(published: Path, samples: Path) -> str:
    names = {path.name for path in (published / "images").iterdir()}
    with tempfile.TemporaryDirectory() as name:
        kept = Path(name)
        for shard in sorted(samples.glob("part-*.parquet")):
            table = pq.read_table(shard)
            wanted = [
                f"{i.split('-')[1]}_{int(i.split('-')[2][1:]) // SIZE:03d}"
                f"_{int(i.split('-')[3][1:]) // SIZE:03d}.png" in names
                for i in table.column("id").to_pylist()
            ]
            pq.write_table(table.filter(np.array(wanted)), kept / shard.name)
        return f"{_equal(published, kept)} of the {len(names)} that the published look-up finds"


def memory(workers: int) -> None:
    """Peak memory of a build of 1,000 and of 100,000 patches, each in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for patches, side in ((1_024, 2_048), (102_400, 20_480 // 2)):
            # 64-pixel patches; the larger build has four composites.
            block = 1 if patches < 10_000 else 2
            tiles = folder / f"tiles-{patches}"
            write_tiles(tiles, side=side, per_degree=12_000, south=39, west=33, block=block)
            code = (
                "import sys; sys.path.insert(0, sys.argv[1]); import cutting; "
                "cutting.measured_build(*sys.argv[2:])"
            )
            done = subprocess.run(
                [sys.executable, "-c", code, str(Path(__file__).parent), str(tiles),
                 str(folder / f"out-{patches}"), str(workers)],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            print(f"{workers} worker(s):", done.stdout.strip())


def measured_build(tiles: str, out: str, workers: str) -> None:
    """In a process of its own: build, then print patches and peak memory.

    The peak is that of the address space (VmHWM): ru_maxrss would count what the process that
    started this one held, which has just drawn the tiles.
    """
    start = time.perf_counter()
    peaks: dict[str, int] = {}
    done = threading.Event()
    watcher = threading.Thread(target=_watch_children, args=(peaks, done))
    watcher.start()
    try:
        cut_with_terraloom(
            Path(tiles), Path(out), int(workers), block_size_m=2_560, patch_size=64, grid="per-tile"
        )
    finally:
        done.set()
        watcher.join()
    seconds = time.perf_counter() - start
    counts = json.loads((Path(out) / "filters.json").read_text())
    print(
        f"{counts['candidates']} candidates, {counts['funnel']['kept']} kept, {seconds:.0f} s, "
        f"peak {_peak_mib('self')} MiB"
        + (f", largest worker {max(peaks.values())} MiB" if peaks else "")
    )


def _watch_children(peaks: dict[str, int], done: threading.Event) -> None:
    """Largest memory of each child process so far, until told to stop."""
    own = os.getpid()
    while not done.wait(0.2):
        for task in Path(f"/proc/{own}/task").iterdir():
            with contextlib.suppress(OSError, IndexError):
                for child in (task / "children").read_text().split():
                    peaks[child] = _peak_mib(child)


def _peak_mib(process: str) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["speed", *rest]:
            speed(int(rest[0]) if rest else 12_000, int(rest[1]) if len(rest) > 1 else 5)
        case ["scaling", *rest]:
            scaling(int(rest[0]) if rest else 2, int(rest[1]) if len(rest) > 1 else 5)
        case ["nine"]:
            nine()
        case ["memory", *rest]:
            memory(int(rest[0]) if rest else 1)
        case _:
            sys.exit(__doc__)
