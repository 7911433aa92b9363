"""A small stand-in for ARAS400k: a procedural landscape in its folders, under its names.

    python benchmarks/aras_stand_in.py DIR [PATCHES]     # 24 patches of 256 pixels, if left out

One patch in eight is val and one is test, neighbours of one another, as in the published split.
Each image is stretched by its own maximum, as published.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from terraloom.classes import preset
from terraloom.landscape import grow_landscape

SIZE = 256
ACROSS = 6
SPLITS = ("train", "train", "train", "val", "train", "train", "train", "test")


def write_stand_in(folder: Path, patches: int = 24) -> None:
    """Write so many pairs below `folder`, the same ones at every call."""
    classes = preset("worldcover7")
    down = -(-patches // ACROSS)
    land = grow_landscape(0, 0, down * SIZE, ACROSS * SIZE, seed=3)
    labels = classes.labels_of_codes(land.codes)
    shown = np.moveaxis(land.reflectance[:3], 0, -1)
    for number in range(patches):
        row, column = divmod(number, ACROSS)
        rows = slice(row * SIZE, (row + 1) * SIZE)
        columns = slice(column * SIZE, (column + 1) * SIZE)
        image = np.clip(shown[rows, columns] / shown[rows, columns].max() * 255, 0, 255)
        mask = classes.colour_image(labels[rows, columns])
        name = f"N40E033_{10 + row:03d}_{20 + column:03d}.png"
        for kind, pixels in (("images", image.astype(np.uint8)), ("masks", mask)):
            path = folder / SPLITS[number % len(SPLITS)] / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.ascontiguousarray(pixels)).save(path)


if __name__ == "__main__":
    match sys.argv[1:]:
        case [folder, *rest]:
            write_stand_in(Path(folder), int(rest[0]) if rest else 24)
        case _:
            sys.exit(__doc__)
