"""Training, evaluation and loading against plain re-statements, in turn, medians of 5 or more.

    python benchmarks/training.py train [IMAGES [wall|cpu [REPEATS]]]   # against a bare loop
    python benchmarks/training.py evaluate [ROWS]    # against all pixels in memory, six passes
    python benchmarks/training.py memory             # peak memory of both at 500 and 2,000 rows
    python benchmarks/training.py loader             # against decoding PNG image by image

The data is a procedural landscape in memory. Both sides of a comparison share network, threads,
batch and pixels; what the other side does is said where it is written.
"""

import io
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn import metrics
from torch import nn

from terraloom import families
from terraloom.classes import preset
from terraloom.dataset.cache import PackedRow, RowCache
from terraloom.dataset.rows import Row, TrainRows, ValRows, channel_statistics
from terraloom.landscape import grow_landscape
from terraloom.learning.batches import draw_batch
from terraloom.learning.confusion import figures_of
from terraloom.learning.device import make_fabric, placed
from terraloom.learning.losses import segmentation_loss
from terraloom.png import encode_png
from terraloom.seeds import generator_at
from terraloom.segmenting import Recipe, TrainedSegmenter, evaluate, train_segmenter
from terraloom.settings import TrainingSettings

CLASSES = preset("worldcover7")
REPEATS = 5
BATCH = 32


def landscape_rows(count: int, size: int) -> list[Row]:
    """Patches of a procedural landscape, four of them to a place, repeated where it ends."""
    across = 8
    land = grow_landscape(0, 0, across * size, across * size, seed=5)
    shown = np.clip(np.moveaxis(land.reflectance[:3], 0, -1) / 0.3 * 255, 0, 255).astype(np.uint8)
    labels = CLASSES.labels_of_codes(land.codes)
    rows = []
    for number in range(count):
        row, column = divmod(number % across**2, across)
        part = slice(row * size, (row + 1) * size), slice(column * size, (column + 1) * size)
        rows.append(Row(f"r{number}", f"p{number // 4}", shown[part], labels[part], None))
    return rows


def in_turn(
    runs: dict[str, Callable[[], object]],
    repeats: int = REPEATS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each run, one after the other, the whole round again and again."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, act in runs.items():
            start = clock()
            act()
            seconds[name].append(clock() - start)
    return seconds


def told(seconds: dict[str, list[float]], units: int, unit: str) -> dict[str, float]:
    """Print medians with spread; returns the medians."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        spread = f"{min(seconds[name]):.2f} … {max(seconds[name]):.2f}"
        print(f"{name:44} {median:7.2f} s ({spread})  {units / median:8.1f} {unit}/s")
    return medians


# Training


def bare_loop(rows: Sequence[Row], images: int, out: Path) -> None:
    """What one would write for a single experiment: rows stacked in memory, crops, flips, AdamW.

    Same network, crop, batch, loss, clipping and layout; no resume, no validation, no average, no
    log, no trust map, no radiometric augmentation; the last weights are saved.
    """
    module = families.member("segmenters", "unet")
    mean, std = channel_statistics(TrainRows(tuple(rows)))
    torch.manual_seed(0)
    network = module.build(module.Settings(), "small", len(CLASSES), mean, std)
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.01)
    pixels = np.stack([row.image for row in rows])
    masks = np.stack([row.mask for row in rows])
    random = np.random.default_rng(0)
    for _ in range(-(-images // BATCH)):
        chosen = random.integers(len(rows), size=BATCH)
        tops, lefts = random.integers(pixels.shape[1] - 64 + 1, size=(2, BATCH))
        cut = [
            (pixels[i, t : t + 64, le : le + 64], masks[i, t : t + 64, le : le + 64])
            for i, t, le in zip(chosen, tops, lefts, strict=True)
        ]
        batch = torch.from_numpy(np.stack([image for image, _ in cut])).permute(0, 3, 1, 2)
        labels = torch.from_numpy(np.stack([mask for _, mask in cut])).long()
        batch = batch.float().div_(255).contiguous(memory_format=torch.channels_last)
        if random.integers(2):
            batch, labels = batch.flip(-1), labels.flip(-1)
        loss = segmentation_loss(
            "dice+ce", network(batch), labels, torch.ones_like(labels, dtype=torch.float32)
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, out)


def train(images: int, clock: str = "wall", repeats: int = REPEATS) -> None:
    """Whole trainings, from rows in memory to weights on disk.

    `clock` "cpu" counts processor seconds of all threads, which other work on a shared machine
    hardly changes; batches that are made ahead, beside the network, then count in full.
    """
    fabric = make_fabric()
    rows = landscape_rows(128, 128)
    train_part, val = TrainRows(tuple(rows[:120])), ValRows(tuple(rows[120:]))

    def ours(**changes: object) -> None:
        settings = TrainingSettings.model_validate({"images": images, "checks": 1} | changes)
        with tempfile.TemporaryDirectory() as name:
            recipe = Recipe("unet", {}, "small", len(CLASSES), settings)
            train_segmenter(
                train_part, val, recipe, Path(name), seed=0, fabric=fabric, description="ours"
            )

    with tempfile.TemporaryDirectory() as name:
        seconds = in_turn(
            {
                "bare loop": lambda: bare_loop(rows[:120], images, Path(name) / "w.safetensors"),
                "terraloom, no average, one check": lambda: ours(ema=0.0),
                "terraloom, defaults (average, 8 checks)": lambda: ours(checks=8),
            },
            repeats,
            time.process_time if clock == "cpu" else time.perf_counter,
        )
    told(seconds, images, "img")
    bare = seconds.pop("bare loop")
    for name, ours_each in seconds.items():
        # Round by round: what else the machine does then weighs on both.
        ratios = [own / other for own, other in zip(ours_each, bare, strict=True)]
        spread = ", ".join(f"{100 * (ratio - 1):+.1f}" for ratio in ratios)
        print(
            f"{name}: {100 * (statistics.median(ratios) - 1):+.1f} % over the bare loop ({spread})"
        )


# Evaluation


def evaluate_as_published(segmenter: TrainedSegmenter, rows: Sequence[Row]) -> list[float]:
    """Truth and prediction of every pixel kept in memory, then scikit-learn six times over all."""
    truths, predictions = [], []
    for batch in batches(rows):
        predictions.append(segmenter.labels([row.image for row in batch]).cpu().numpy().ravel())
        truths.append(np.stack([row.mask for row in batch]).ravel())
    truth, predicted = np.concatenate(truths), np.concatenate(predictions)
    options = {"average": "macro", "zero_division": 0}
    return [
        metrics.f1_score(truth, predicted, **options),
        metrics.jaccard_score(truth, predicted, **options),
        metrics.precision_score(truth, predicted, **options),
        metrics.recall_score(truth, predicted, **options),
        metrics.accuracy_score(truth, predicted),
        *metrics.f1_score(truth, predicted, average=None, zero_division=0),
    ]


def evaluate_streaming(segmenter: TrainedSegmenter, rows: Sequence[Row]) -> list[float]:
    """Ours: one confusion matrix per place, every figure from their sum."""
    figures = figures_of(np.sum(list(evaluate(segmenter, batches(rows)).values()), axis=0))
    names = ("f1", "iou", "precision", "recall")
    per_class = figures.f1[~np.isnan(figures.f1)]
    return [*(float(figures.macro(name)) for name in names), float(figures.accuracy), *per_class]


def batches(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows by 32."""
    for start in range(0, len(rows), BATCH):
        yield list(rows[start : start + BATCH])


def small_segmenter() -> TrainedSegmenter:
    """An untrained U-Net of the small preset."""
    fabric = make_fabric()
    module = families.member("segmenters", "unet")
    torch.manual_seed(0)
    network = module.build(module.Settings(), "small", len(CLASSES), (0.3,) * 3, (0.2,) * 3)
    return TrainedSegmenter(placed(network, fabric).eval(), fabric, len(CLASSES), {})


def evaluation(count: int) -> None:
    """The whole evaluation of so many rows of 128 pixels, prediction included, and without it."""
    segmenter, rows = small_segmenter(), landscape_rows(count, 128)
    np.testing.assert_allclose(
        evaluate_streaming(segmenter, rows), evaluate_as_published(segmenter, rows), atol=1e-12
    )
    print(f"{count} rows of 128 px: all figures equal to 1e-12")
    for what, judged in (("prediction included", segmenter), ("without prediction", Instant())):
        seconds = in_turn(
            {
                "published procedure": lambda judged=judged: evaluate_as_published(judged, rows),
                "terraloom": lambda judged=judged: evaluate_streaming(judged, rows),
            },
            clock=time.process_time,
        )
        print(f"{what}, processor seconds")
        medians = told(seconds, count, "rows")
        print(f"{medians['published procedure'] / medians['terraloom']:.1f} ×")


class Instant(TrainedSegmenter):
    """Predicts from the red channel at once, so that what is left is the price of the figures."""

    def __init__(self) -> None:
        super().__init__(nn.Identity(), make_fabric(), len(CLASSES), {})  # type: ignore[arg-type]

    def labels(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        """Labels without a network."""
        return torch.from_numpy(np.stack([image[..., 0] for image in images]) % 7).long()


def memory() -> None:
    """Peak memory of a process that evaluates rows streamed from a landscape."""
    for way in ("published", "streaming"):
        for count in (500, 2000):
            code = (
                "import sys; sys.path.insert(0, sys.argv[1]); import training; "
                "training.measured(*sys.argv[2:])"
            )
            done = subprocess.run(
                [sys.executable, "-c", code, str(Path(__file__).parent), way, str(count)],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            print(f"{way}, {count} rows of 128 px: {done.stdout.strip()}")


def measured(way: str, count: str) -> None:
    """In a process of its own: evaluate, then print the peak. The rows are views of 64 patches."""
    rows, segmenter = landscape_rows(int(count), 128), small_segmenter()
    segmenter.labels([row.image for row in rows[:BATCH]])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (evaluate_as_published if way == "published" else evaluate_streaming)(segmenter, rows)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"peak {after / 1024:.0f} MiB, {(after - before) / 1024:.0f} MiB of it for the evaluation"
    )


# Loading


@dataclass(frozen=True)
class PillowRows(Sequence[Row]):
    """Rows kept as PNG bytes in memory and decoded with Pillow each time they are asked for."""

    packed: tuple[PackedRow, ...]

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, index: int) -> Row:  # type: ignore[override]
        row = self.packed[index]
        image, mask = (np.asarray(Image.open(io.BytesIO(b))) for b in (row.image, row.mask))
        return Row(row.id, row.place, image, mask, None)


def loader() -> None:
    """Batches per second, augmented as in training, by the way in which rows are held."""
    for size, crop in ((128, 64), (256, 256)):
        rows = landscape_rows(64, size)
        packed = tuple(
            PackedRow(r.id, r.place, encode_png(r.image), encode_png(r.mask), None) for r in rows
        )
        with tempfile.TemporaryDirectory() as name:
            ways: dict[str, Sequence[Row]] = {"PNG decoded per image (Pillow)": PillowRows(packed)}
            for way in ("packed", "mapped", "memory"):
                cache = RowCache(Path(name) / way, way)
                ways[f"terraloom, {way}"] = cache.hold("s", "t", "0" * 12, len(packed), packed)
            count = 40

            def drawn(held: Sequence[Row], crop: int = crop, count: int = count) -> None:
                for step in range(count):
                    draw_batch(TrainRows(held), BATCH, crop, "paper", generator_at(0, step))

            seconds = in_turn({way: lambda held=held: drawn(held) for way, held in ways.items()})
        print(f"patches of {size} px, crops of {crop}, batch {BATCH}")
        medians = told(seconds, count * BATCH, "img")
        png = medians.pop("PNG decoded per image (Pillow)")
        for way, median in medians.items():
            print(f"{way}: {png / median:.1f} ×")


if __name__ == "__main__":
    torch.set_num_threads(2)
    match sys.argv[1:]:
        case ["train", *rest]:
            train(
                int(rest[0]) if rest else 2400,
                rest[1] if len(rest) > 1 else "wall",
                int(rest[2]) if len(rest) > 2 else REPEATS,
            )
        case ["evaluate", *rest]:
            evaluation(int(rest[0]) if rest else 1000)
        case ["memory"]:
            memory()
        case ["loader"]:
            loader()
        case _:
            sys.exit(__doc__)
