"""The template writer at scale: speed, redundancy by entropy of the mask, digits, vocabulary.

    python benchmarks/captions.py [MASKS] [--seed N] [--from drawn|mixed] [--judge N]

Takes distinct masks (no two equal pixel by pixel), measures their facts, writes five captions each,
and counts. `drawn` (the default): procedural masks of 64 pixels over a range of entropies (one
class alone, two halves, mosaics of seven; some with a river, some partly unknown). `mixed`: a
quarter of those; windows of 64 pixels, eight apart, of the real WorldCover pairs; windows of 128
pixels, 64 apart, of the real WorldCover tile, as far as half of them is land; windows of 64 pixels,
32 apart, of the procedural world. Windows overlap, which makes repeats likelier, not rarer.
Needs the shared data (TERRALOOM_SHARED_DATA).

Speeds are processor seconds of this one process. Redundancy is told by the entropy of the mask's
class shares, in bits: a mask of one class has little to tell. `--judge N` lets the tests' oracle,
which shares no code with the writer, read the captions of the first N masks of each source.
"""

import argparse
import hashlib
import itertools
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image
from rasterio.windows import Window

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.captioners.caption_oracle import SEVEN_WORDS, Oracle

from terraloom.caption_index import CaptionIndex
from terraloom.captioners.template import Settings, TemplateCaptioner
from terraloom.classes import UNKNOWN, ClassTable, preset
from terraloom.facts import measure_facts
from terraloom.landscape import grow_landscape
from terraloom.types import LabelMask

SIDE = 64
EDGES = (0.0, 0.5, 1.0, 1.5, 2.0, 9.0)
CHUNK = 500
SHARED = Path(os.environ.get("TERRALOOM_SHARED_DATA", "shared/data"))


def draw_mask(seed: int, number: int) -> LabelMask:
    """One mask: smooth random fields, of which the highest wins, at a random grain and balance."""
    random = np.random.default_rng((seed, number))
    grain = int(random.integers(2, 20))
    axis = np.linspace(0, grain - 1, SIDE)
    low = np.minimum(axis.astype(int), grain - 2)
    weights = np.zeros((SIDE, grain))
    weights[np.arange(SIDE), low] = 1 - (axis - low)
    weights[np.arange(SIDE), low + 1] = axis - low
    present = random.permutation(7)[: random.integers(1, 8)]
    fields = weights @ random.normal(size=(len(present), grain, grain)) @ weights.T
    fields += random.normal(0, random.uniform(0, 2.5), size=(len(present), 1, 1))
    ramp = np.linspace(-1, 1, SIDE)
    fields += ramp[:, None] * random.normal(0, 0.7, size=(len(present), 1, 1))
    fields += ramp * random.normal(0, 0.7, size=(len(present), 1, 1))
    mask = present[fields.argmax(axis=0)].astype(np.uint8)
    if random.random() < 0.15:
        middle = SIDE * random.uniform(0.3, 0.7) + ramp * SIDE / 2 * random.uniform(-0.5, 0.5)
        apart = abs(np.arange(SIDE)[:, None] - middle - 2 * np.sin(np.arange(SIDE) / 6))
        mask[apart < random.uniform(0.8, 3)] = 6
    if random.random() < 0.08:
        mask[: random.integers(1, SIDE), : random.integers(1, SIDE)] = 255
    return np.rot90(mask, int(random.integers(4))).copy()


Masks = Iterator[tuple[str, LabelMask]]
"""Name of the source and mask."""


def drawn(seed: int) -> Masks:
    """Procedural masks without end."""
    number = 0
    while True:
        yield "drawn", draw_mask(seed, number)
        number += 1


def windows(name: str, labels: LabelMask, side: int, step: int) -> Masks:
    """Windows of a mask of which at least half is known."""
    for row in range(0, labels.shape[0] - side + 1, step):
        for column in range(0, labels.shape[1] - side + 1, step):
            cut = labels[row : row + side, column : column + side]
            if np.count_nonzero(cut != UNKNOWN) >= cut.size / 2:
                yield name, np.ascontiguousarray(cut)


def real_pairs(classes: ClassTable) -> Masks:
    for path in sorted((SHARED / "worldcover_pairs" / "masks").glob("*.png")):
        labels = classes.labels_of_codes(np.array(Image.open(path)))
        yield from windows("real pairs", labels, 64, 8)


def real_tile(classes: ClassTable) -> Masks:
    """The land of a real tile of 3°, in strips."""
    path = SHARED / "tiles" / "ESA_WorldCover_10m_2020_v100_N00E006_Map.tif"
    with rasterio.open(path) as tile:
        for row in range(15_600, 35_500, 512):
            codes = tile.read(1, window=Window(5_500, row, 12_100, 512))
            yield from windows("real tile", classes.labels_of_codes(codes), 128, 64)


def world(classes: ClassTable) -> Masks:
    for seed in itertools.count():
        codes = grow_landscape(0, 0, 1024, 1024, seed=seed).codes
        yield from windows("procedural world", classes.labels_of_codes(codes), 64, 32)


def kind_of(entropy: float) -> str:
    """Name of the entropy class."""
    if entropy == 0:
        return "0 bits (one class)"
    place = int(np.searchsorted(EDGES, entropy))
    low, high = EDGES[place - 1], EDGES[place]
    return f"{low:.1f} to {high:.1f} bits" if high < 9 else f"above {low:.1f} bits"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("masks", type=int, nargs="?", default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", dest="origin", choices=("drawn", "mixed"), default="drawn")
    parser.add_argument("--judge", type=int, default=0)
    given = parser.parse_args()
    classes = preset("worldcover7")
    writer = TemplateCaptioner(Settings(), classes, given.seed)
    sources: list[Masks] = [drawn(given.seed)]
    if given.origin == "mixed":
        sources += [real_pairs(classes), real_tile(classes), world(classes)]
    index, seen = CaptionIndex(), set()
    masks_of: Counter[str] = Counter()
    origins: Counter[str] = Counter()
    spent: Counter[str] = Counter()
    judged: Counter[str] = Counter()
    digits = words = number = 0
    while number < given.masks:
        batch = []
        # Sources in turn; one that ends leaves its share to the others.
        while len(batch) < min(CHUNK, given.masks - number):
            source = sources.pop(0)
            found = next(source, None)
            if found is None:
                continue
            sources.append(source)
            origin, mask = found
            key = hashlib.blake2b(mask.tobytes(), digest_size=12).digest()
            if (mask != UNKNOWN).any() and key not in seen:
                seen.add(key)
                origins[origin] += 1
                batch.append((f"m{number + len(batch)}", mask, origin))
        start = time.process_time()
        facts = [measure_facts(m, classes, compass=int(n[1:]) % 4 > 0) for n, m, _ in batch]
        middle = time.process_time()
        captions = [writer.write_facts(b[0], f) for b, f in zip(batch, facts, strict=True)]
        spent["captions"] += time.process_time() - middle
        spent["facts"] += middle - start
        number += len(batch)
        rows = []
        for (_, mask, origin), measured, own in zip(batch, facts, captions, strict=True):
            shares = np.array([c.share for c in measured.classes])
            entropy = float(-(shares[shares > 0] * np.log2(shares[shares > 0])).sum())
            kind = kind_of(abs(entropy))
            masks_of[kind] += 1
            rows += [(caption.sample_id, kind, caption.text) for caption in own]
            if judged[origin] < given.judge:
                judged[origin] += 1
                oracle = Oracle(mask, SEVEN_WORDS)
                for caption in own:
                    reading = oracle.read(caption.text)
                    judged["claims"] += len(reading.claims)
                    judged["unread"] += len(reading.unread)
                    judged["false"] += len(reading.false)
                    for false in reading.false:
                        print(f"false, {origin}: {false}: {caption.text}", file=sys.stderr)
        digits += sum(any(sign.isdigit() for sign in text) for _, _, text in rows)
        words += sum(text.count(" ") + 1 for _, _, text in rows)
        index.add(rows)
    print(f"masks from {dict(origins)}; judged {dict(judged)}")
    count = len(index)
    print(f"{given.masks:,} distinct masks, {count:,} captions, seed {given.seed}")
    print(f"facts     {given.masks / spent['facts']:,.0f} masks per processor second")
    print(f"captions  {count / spent['captions']:,.0f} per processor second, given the facts")
    print(f"digits in {digits} captions; {words / count:.1f} words per caption")
    print(f"vocabulary {index.vocabulary} words; " + ", ".join(
        f"distinct-{n} {index.distinct(n):.5f}" for n in (1, 2, 3, 4)))  # fmt: skip
    print("| entropy of the mask | masks | exact % | folded % | near % | near within % | "
          "exact of 1,000 |")  # fmt: skip
    for kind in (None, *sorted(masks_of)):
        found = index.measure(writer=kind, curve=(1_000,))
        masks = given.masks if kind is None else masks_of[kind]
        curve = dict(found.curve)
        assert found.near is not None
        assert found.near_within is not None
        print(
            f"| {kind or 'all'} | {masks:,} | {100 * found.exact.redundancy:.3f} | "
            f"{100 * found.normalised.redundancy:.3f} | {100 * found.near.redundancy:.3f} | "
            f"{100 * found.near_within:.3f} | {100 * curve.get(1_000, np.nan):.3f} |"
        )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")


if __name__ == "__main__":
    main()
