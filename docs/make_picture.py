"""Draw the picture of the README from a finished project: python docs/make_picture.py demo OUT.png.

Rows are evenly spaced over the kept conditional samples of the first generator, not picked by hand.
"""

import sys
import textwrap
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from terraloom.classes import UNKNOWN, preset
from terraloom.samples import decode
from terraloom.tables import Table

_ROWS: Final = 4
_MAX_UNKNOWN: Final = 0.0


def main(project: Path, out: Path) -> None:
    """Mask, real image, one sample per generator and a caption, in four rows."""
    classes = preset("worldcover7")
    made = {row["id"]: row for row in Table.open(project / "generate/samples").read().to_pylist()}
    kept = {
        row["id"]
        for row in Table.open(project / "curate/verdicts").read().to_pylist()
        if row["keep"]
    }
    real = {row["id"]: row for row in Table.open(project / "build/samples").read().to_pylist()}
    captions: dict[str, str] = {}
    for row in Table.open(project / "caption/real").read(["id", "index", "text"]).to_pylist():
        if row["index"] == 2:
            captions[row["id"]] = row["text"]
    by_parent: dict[str, dict[str, dict]] = {}
    for row in made.values():
        if row["origin"] == "conditional" and row["id"] in kept:
            generator = row["id"].split("-")[0]
            by_parent.setdefault(row["parent"], {}).setdefault(generator, row)
    generators = sorted({g for found in by_parent.values() for g in found})
    parents = [p for p in sorted(by_parent) if len(by_parent[p]) == len(generators)]
    if not parents:
        parents = sorted(by_parent)
    chosen = [parents[i] for i in np.linspace(0, len(parents) - 1, _ROWS).astype(int)]
    titles = ["asked-for mask", "real image", *generators]
    figure = Figure(figsize=(10, 2.0 * _ROWS), layout="constrained")
    axes = figure.subplots(_ROWS, len(titles) + 1, width_ratios=[1] * len(titles) + [1.6])
    for line, parent in zip(axes, chosen, strict=True):
        mask = decode(real[parent]["mask"])
        pictures = [classes.colour_image(mask), decode(real[parent]["image"])]
        for generator in generators:
            sample = by_parent[parent].get(generator)
            blank = np.full((*mask.shape, 3), UNKNOWN, np.uint8)
            pictures.append(blank if sample is None else decode(sample["image"]))
        for axis, picture in zip(line, pictures, strict=False):
            axis.imshow(_brightened(picture) if picture is not pictures[0] else picture)
            axis.set_axis_off()
        line[-1].set_axis_off()
        line[-1].text(
            0.0, 0.5, textwrap.fill(captions[parent], 30), va="center", fontsize=10, wrap=True
        )
    for axis, title in zip(axes[0], [*titles, "caption of the real mask"], strict=True):
        axis.set_title(title, fontsize=11)
    FigureCanvasAgg(figure)
    figure.savefig(out, dpi=80, metadata={"Software": None})


def _brightened(picture: np.ndarray) -> np.ndarray:
    """Twice as bright, the same for all pictures: land is dark on a fixed reflectance scale."""
    return np.clip(picture.astype(np.float32) * 1.8, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
