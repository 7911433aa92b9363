"""Whole-scene prediction: peak memory and pixels per second, each size in its own process.

    python benchmarks/predicting.py [2000 8000] [--tile 256] [--flips] [--threads 2] [--folder DIR]

Scenes are square, procedural, 16-bit, tiled and deflated as Sentinel-2 products are; a fifth lies
beyond a swath's slanted edge. The model is the small U-Net with seven classes, barely trained:
speed and memory do not depend on what it has learnt. Nothing is left behind; the temporary folder
needs about 6 bytes of disk per pixel of the largest scene.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import Affine
from rasterio.windows import Window

BLOCK = 512
CLASSES = 7


def write_scene(path: Path, side: int) -> None:
    """Fields of 160 m with grain; reflectance × 10⁴; 0 beyond the edge of the swath."""
    random = np.random.default_rng(side)
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=side, width=side, dtype="uint16", nodata=0,
        crs="EPSG:32636", transform=Affine(10, 0, 500_000, 0, -10, 4_300_000), tiled=True,
        blockxsize=BLOCK, blockysize=BLOCK, compress="deflate", zlevel=1, bigtiff="if_safer",
    ) as file:  # fmt: skip
        for top in range(0, side, BLOCK):
            for left in range(0, side, BLOCK):
                height, width = min(BLOCK, side - top), min(BLOCK, side - left)
                fields = random.integers(200, 2600, (3, BLOCK // 16, BLOCK // 16))
                block = np.kron(fields, np.ones((1, 16, 16)))[:, :height, :width]
                block += random.normal(0, 60, block.shape)
                rows, columns = np.mgrid[top : top + height, left : left + width]
                block[:, columns + 0.4 * rows > 1.0 * side] = 0
                file.write(
                    np.clip(block, 0, 10_000).astype(np.uint16),
                    window=Window(left, top, width, height),
                )


def write_model(folder: Path) -> None:
    """A finished training of a few updates."""
    from terraloom.learning.device import make_fabric
    from terraloom.segmenting import Recipe, train_segmenter
    from terraloom.testing import tiny_training, toy_rows

    recipe = Recipe("unet", {}, "small", CLASSES, tiny_training(images=8, checks=1))
    train_segmenter(
        *toy_rows(4, 2), recipe, folder, seed=0, fabric=make_fabric(1), description="a model"
    )


def measure(model: Path, scene: Path, out: Path, options: argparse.Namespace) -> None:
    """One prediction in this process; its figures as a line of JSON."""
    from terraloom.classes import preset
    from terraloom.learning.device import make_fabric
    from terraloom.predicting import predict_scene
    from terraloom.segmenting import load_segmenter

    segmenter = load_segmenter(model, make_fabric(options.threads))
    loaded = _peak_mb()
    started, used = time.perf_counter(), time.process_time()
    made = predict_scene(
        segmenter, preset("worldcover7"), [scene], out, low=0, high=3000, flips=options.flips,
        tile=options.tile,        confidence=out.with_name(f"confidence-{out.name}"),
    )  # fmt: skip
    seconds = time.perf_counter() - started
    print(
        json.dumps(
            {
                "side": made.height,
                "tile": options.tile,
                "peak_mb": round(_peak_mb()),
                "loaded_mb": round(loaded),
                "seconds": round(seconds, 1),
                "cpu_seconds": round(time.process_time() - used, 1),
                "pixels_per_second": round(made.pixels / seconds),
                "tiles": made.tiles,
                "map_mb": round(out.stat().st_size / 1e6, 1),
            }
        )
    )


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sides", type=int, nargs="*", default=[2000, 8000])
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--flips", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--one", nargs=3, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(*options.one, options)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        write_model(folder / "model")
        for side in options.sides:
            scene = folder / f"scene-{side}.tif"
            write_scene(scene, side)
            command = [
                sys.executable, __file__, "--threads", str(options.threads),
                "--tile", str(options.tile),
                "--one", str(folder / "model"), str(scene), str(folder / f"map-{side}.tif"),
                *(["--flips"] if options.flips else []),
            ]  # fmt: skip
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            print(done.stdout.strip(), flush=True)
            scene.unlink()


if __name__ == "__main__":
    main()
