"""Train `layout` on a project's train masks, then tell how its masks stand beside real ones.

    python benchmarks/layouts.py PROJECT OUT [--images 20000] [--size 64] [--count 48]

PROJECT is a folder whose stage `build` is done. Into OUT: figures.json (`layout_figures`), grid.png
and the weights. The targets are the shares of val crops: no train mask is asked for by its own.
"""

import argparse
import time
from pathlib import Path

import torch

from terraloom.dataset.rows import channel_statistics, train_rows, val_rows
from terraloom.files import make_folder
from terraloom.generators import layout
from terraloom.generators._face import DataShape
from terraloom.layouts import layout_figures, layout_log, write_layout_figures, write_layout_grid
from terraloom.learning.batches import draw_batch
from terraloom.learning.checkpoint import save_weights
from terraloom.learning.device import make_fabric
from terraloom.seeds import generator_at
from terraloom.tables import Table
from terraloom.trained import read_class_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--count", type=int, default=48)
    asked = parser.parse_args()
    make_folder(asked.out)
    table = Table.open(asked.project / "build" / "samples")
    classes = read_class_table(asked.project / "build" / "classes.json")
    train, val = train_rows(table), val_rows(table)
    mean, std = channel_statistics(train)
    torch.manual_seed(0)
    settings = layout.Settings(images=asked.images)
    shape = DataShape(len(classes), asked.size, mean, std)
    maker = layout.build(settings, shape, make_fabric(1))
    started, seen = time.process_time(), 0
    while seen < asked.images:
        random = generator_at(0, "step", seen)
        batch = draw_batch(train, settings.batch_size, asked.size, "geometry", random)
        maker.step(batch, random, seen / asked.images)
        seen += settings.batch_size
    trained = time.process_time() - started
    print(f"{seen} masks in {trained:.0f} CPU s, {seen / trained:.0f} per CPU s", flush=True)
    save_weights(asked.out / "weights.safetensors", maker.sampling_modules())
    figures = layout_figures(maker, train, val, classes, asked.size, 0, asked.count)
    write_layout_figures(figures, asked.out / "figures.json")
    write_layout_grid(maker, train, classes, asked.size, 0, asked.out / "grid.png")
    for name, value in layout_log(figures).items():
        print(f"{name:>22} {value}")


if __name__ == "__main__":
    main()
