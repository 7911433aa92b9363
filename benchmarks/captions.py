"""The template writer at scale: speed, redundancy by entropy of the mask, digits, vocabulary.

    python benchmarks/captions.py [MASKS] [--seed N]

Draws distinct procedural masks of 64 pixels over a range of entropies (one class alone, two
halves, mosaics of seven; some with a river, some partly unknown), measures their facts, writes
five captions each, and counts. Speeds are processor seconds of this one process. Redundancy is
told by the entropy of the mask's class shares, in bits: a mask of one class has little to tell.
"""

import argparse
import hashlib
import resource
import time
from collections import Counter

import numpy as np

from terraloom.caption_index import CaptionIndex
from terraloom.captioners.template import Settings, TemplateCaptioner
from terraloom.classes import preset
from terraloom.facts import measure_facts
from terraloom.types import LabelMask

SIDE = 64
EDGES = (0.0, 0.5, 1.0, 1.5, 2.0, 9.0)
CHUNK = 500


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
    given = parser.parse_args()
    classes = preset("worldcover7")
    writer = TemplateCaptioner(Settings(), classes, given.seed)
    index, seen = CaptionIndex(), set()
    masks_of: Counter[str] = Counter()
    spent = {"facts": 0.0, "captions": 0.0}
    digits = words = number = 0
    while sum(masks_of.values()) < given.masks:
        batch = []
        while len(batch) < min(CHUNK, given.masks - sum(masks_of.values())):
            mask = draw_mask(given.seed, number)
            number += 1
            key = hashlib.blake2b(mask.tobytes(), digest_size=12).digest()
            if (mask != 255).any() and key not in seen:
                seen.add(key)
                batch.append((f"m{number}", mask, number % 4 > 0))
            elif number > 100 * given.masks:
                raise SystemExit("too few distinct masks")
        start = time.process_time()
        facts = [measure_facts(mask, classes, compass=compass) for _, mask, compass in batch]
        middle = time.process_time()
        captions = [writer.write_facts(b[0], f) for b, f in zip(batch, facts, strict=True)]
        spent["captions"] += time.process_time() - middle
        spent["facts"] += middle - start
        rows = []
        for measured, own in zip(facts, captions, strict=True):
            shares = np.array([c.share for c in measured.classes])
            entropy = float(-(shares[shares > 0] * np.log2(shares[shares > 0])).sum())
            kind = kind_of(abs(entropy))
            masks_of[kind] += 1
            rows += [(caption.sample_id, kind, caption.text) for caption in own]
        digits += sum(any(sign.isdigit() for sign in text) for _, _, text in rows)
        words += sum(text.count(" ") + 1 for _, _, text in rows)
        index.add(rows)
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
