"""A small stand-in for ARAS400k: a procedural landscape in its layout, names and side tables."""

import csv
import hashlib
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from terraloom.classes import preset
from terraloom.landscape import grow_landscape

CLASSES = preset("worldcover7")
COLUMNS = ("Tree", "Shrub", "Grass", "Crop", "Built-up", "Barren", "Water")
WRITERS = (
    "hybrid_gemma3-4b",
    "hybrid_qwen3-vl-8b",
    "text_qwen3-4b",
    "vision_gemma3-4b",
    "vision_qwen3-vl-8b",
)
TILE_ROW, TILE_COLUMN = 10, 20
ROLES = {  # (row, column) of the patch in the stand-in
    "test": [(0, 0), (2, 3)],
    "val": [(1, 3), (2, 0)],
    "train": [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2)],
}
"""By hand: both test patches share an edge with a train patch; so do both val patches."""
SYNTHETIC = ("seed0001", "seed0002", "spade_N40E033_010_021", "free")


def name_of(row: int, column: int) -> str:
    return f"N40E033_{TILE_ROW + row:03d}_{TILE_COLUMN + column:03d}"


def write_layout(folder: Path, *, size: int = 256) -> dict[str, np.ndarray]:
    """Writes pairs and CSV files; returns the labels of every pair by split and name."""
    land = grow_landscape(0, 0, 3 * size, 4 * size, seed=3)
    shown = np.clip(np.moveaxis(land.reflectance[:3], 0, -1) / 0.3, 0, 1)
    labels = CLASSES.labels_of_codes(land.codes)
    pairs = {}
    for split, places in ROLES.items():
        for row, column in places:
            part = slice(row * size, (row + 1) * size), slice(column * size, (column + 1) * size)
            # As published: each patch is stretched by its own maximum.
            image = (shown[part] / shown[part].max() * 255).astype(np.uint8)
            pairs[split, name_of(row, column)] = (image, labels[part])
    for number, name in enumerate(SYNTHETIC):
        image, mask = pairs["train", name_of(0, 1 + number % 3)]
        pairs["synth", name] = (image[::-1], mask[::-1])
    for (split, name), (image, mask) in pairs.items():
        for kind, pixels in (("images", image), ("masks", CLASSES.colour_image(mask))):
            (folder / split / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.ascontiguousarray(pixels)).save(
                folder / split / kind / f"{name}.png"
            )
    (folder / "class_percentages").mkdir()
    for split in (*ROLES, "synth"):
        rows = [
            [f"{name}.png", *np.rint(100 * CLASSES.shares(mask).astype(float)).astype(int)]
            for (s, name), (_, mask) in sorted(pairs.items(), key=lambda p: p[0])
            if s == split
        ]
        write_csv(folder / "class_percentages" / f"{split}.csv", ["filename", *COLUMNS], rows)
    rows = [
        [f"{name}.png", split, *(caption(writer, name) for writer in WRITERS)]
        for split, name in sorted(pairs, reverse=True)
    ]
    write_csv(folder / "captions.csv", ["filename", "split", *WRITERS], rows)
    return {key: mask for key, (_, mask) in pairs.items()}


def caption(writer: str, name: str) -> str:
    """Text of a caption; hybrids tell a percentage, and every text holds a quote and a break."""
    share = "(86%) " if writer.startswith("hybrid") else ""
    return f'The "{name[:3]}" scene, {share}seen by {writer.split("_")[0]},\nin two lines.'


def write_csv(path: Path, header: list[str], rows: list[list[object]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([header, *rows])


def write_archives(folder: Path, layout: Path) -> dict[str, str]:
    """Zips of the split folders; returns their MD5 by name."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for split in (*ROLES, "synth"):
        path = folder / f"{split}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted((layout / split).rglob("*.png")):
                archive.write(file, file.relative_to(layout).as_posix())
        found[path.name] = hashlib.md5(path.read_bytes()).hexdigest()
    return found
