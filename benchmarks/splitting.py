"""Splitting and the leak test at size: seconds and peak memory, each size in its own process.

    python benchmarks/splitting.py [10000 100000]

Patches of 640 m lie edge to edge in a square on the ground; their images are procedural and all
different, their class shares patchy in space. Nothing is read or written.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from terraloom.dataset.leaks import Looks, split_without_leaks
from terraloom.dataset.patches import THUMBNAIL_VALUES
from terraloom.dataset.split import Candidates
from terraloom.settings import SplitSettings

CLASSES = 11
BLOCK = 2048


def candidates(count: int) -> Candidates:
    """Patches around 33° east, 39° north, row by row."""
    side = int(np.ceil(np.sqrt(count)))
    row, column = (v.ravel()[:count] for v in np.mgrid[:side, :side])
    lat = 39 + row * 640 / 111_020
    lon = 33 + column * 640 / (111_320 * np.cos(np.deg2rad(39)) * 1.0012)
    random = np.random.default_rng(0)
    fields = ndimage.gaussian_filter(random.normal(size=(CLASSES, side, side)), (0, 6, 6))
    shares = np.exp(9 * fields / fields.std()).reshape(CLASSES, -1)[:, :count].T
    return Candidates(
        tuple(f"p{i:06d}" for i in range(count)), (None,) * count, (None,) * count,
        shares / shares.sum(axis=1, keepdims=True), np.stack([lon, lat], axis=1),
        np.full(count, 640 / np.sqrt(2)),
    )  # fmt: skip


def looks(count: int) -> Looks:
    """Images without order."""
    random = np.random.default_rng(1)
    thumbnails = random.normal(size=(count, THUMBNAIL_VALUES)).astype(np.float32)
    thumbnails /= np.linalg.norm(thumbnails, axis=1, keepdims=True)

    def previews() -> Iterator[np.ndarray]:
        for start in range(0, count, BLOCK):
            noise = random.normal(size=(min(BLOCK, count - start), 32, 32)).astype(np.float32)
            smooth = ndimage.gaussian_filter(noise, (0, 1.5, 1.5))
            yield np.clip(110 + 120 * smooth, 0, 255).astype(np.uint8)

    digests = [i.to_bytes(32, "big") for i in range(count)]
    return Looks(thumbnails.astype(np.float16), previews(), digests)


def measure(count: int) -> None:
    """Print one line of JSON."""
    those, images = candidates(count), looks(count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    settings = SplitSettings(by="block", block_size_m=5120, buffer_m=1000)
    split, report = split_without_leaks(those, images, settings, 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {
                "patches": count,
                "seconds": round(time.monotonic() - start, 1),
                "peak_mb": peak // 1024,
                "inputs_mb": before // 1024,
                "rows": report.rows,
                "buffer": split.roles.count(None),
                "shared_ground": report.found["shared ground"] + len(report.left_out),
            }
        )
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        measure(int(sys.argv[2]))
    else:
        for size in sys.argv[1:] or ["10000", "100000"]:
            subprocess.run([sys.executable, __file__, "one", size], check=True)
