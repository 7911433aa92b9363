"""Time, memory and recall of `terraloom audit-captions` on millions of captions.

    python benchmarks/auditing.py [CAPTIONS] [--layout csv|json] [--folder DIR]

Writes a corpus of ARAS400k's shape (five writers, 12 to 35 words, Zipf-distributed words) with
planted near-duplicates: copies of an earlier caption, of which one word inside was replaced, at a
similarity of word pairs of 0.80 and more, counted here by sets. Then runs the command in a process
of its own and reports its wall time, its peak memory, and how many planted copies it found: the
corpus has no other near-duplicates, so that the part found follows from its figure.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

WRITERS = ("hybrid_a", "hybrid_b", "text_a", "vision_a", "vision_b")
WORDS = 6_000
PLANT_EVERY = 50


def corpus(count: int, seed: int = 0) -> Iterator[tuple[str, int]]:
    """Captions in order, each with the number of planted copies so far."""
    random = np.random.default_rng(seed)
    letters = [
        "".join(chr(97 + c) for c in random.integers(0, 26, random.integers(3, 10)))
        for _ in range(WORDS)
    ]
    weights = 1 / np.arange(1, WORDS + 1) ** 0.8
    weights /= weights.sum()
    planted = 0
    recent: list[list[str]] = []
    for start in range(0, count, 10_000):
        lengths = random.integers(12, 36, min(10_000, count - start))
        words = random.choice(WORDS, size=int(lengths.sum()), p=weights)
        texts = np.split(words, np.cumsum(lengths)[:-1])
        for number, text in enumerate(texts):
            told = [letters[word] for word in text]
            if number % PLANT_EVERY == 0 and recent:
                told = list(recent[int(random.integers(len(recent)))])
                place = int(random.integers(1, len(told)))
                told[place] = f"planted{start + number}"
                planted += 1
            elif len(told) >= 20:
                recent = [*recent[-999:], told]
            yield " ".join(told).capitalize() + ".", planted


def similarity(one: list[str], other: list[str]) -> float:
    """Jaccard similarity of word pairs, by sets."""
    first, second = (set(zip(["", *t], t, strict=False)) for t in (one, other))
    return len(first & second) / len(first | second)


def write(path: Path, count: int, layout: str) -> int:
    texts: list[str] = []
    planted = 0
    with open(path, "w", encoding="utf-8") as handle:
        if layout == "csv":
            handle.write("filename," + ",".join(WRITERS) + "\n")
        else:
            handle.write("[")
        for number, (text, planted) in enumerate(corpus(count)):  # noqa: B007
            texts.append(text)
            if len(texts) == len(WRITERS):
                image = f"{number // 5:07d}.png"
                if layout == "csv":
                    handle.write(f"{image},{','.join(texts)}\n")
                else:
                    row = json.dumps({"filename": image, "captions": texts})
                    handle.write(("," if number > 5 else "") + row + "\n")
                texts = []
        handle.write("" if layout == "csv" else "]")
    return planted


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("captions", type=int, nargs="?", default=2_000_000)
    parser.add_argument("--layout", choices=("csv", "json"), default="csv")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    least = similarity(list("abcdefghijklmnopqrst"), [*"abcdefghi", "x", *"klmnopqrst"])
    assert least >= 0.8, least
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder) / f"captions.{given.layout}"
        planted = write(path, given.captions, given.layout)
        print(
            f"{given.captions:,} captions, {path.stat().st_size / 1e6:.0f} MB, {planted:,} planted"
        )
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "terraloom", "audit-captions", str(path), "--json"],
            check=True, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "2"},
        )  # fmt: skip
        wall = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = json.loads(done.stdout)
    whole = found["redundancy"]["all"]
    near = round(whole["near"] * given.captions)
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")
    print(f"wall {wall:.1f} s, processor {used.ru_utime + used.ru_stime:.1f} s")
    print(f"peak memory {used.ru_maxrss / 1e3:.0f} MB")
    print(f"captions per second {given.captions / wall:,.0f}")
    print(f"exact {whole['exact']:.6f}, near {whole['near']:.6f}")
    print(f"planted copies found: {near:,} of {planted:,} ({100 * near / planted:.2f} %)")


if __name__ == "__main__":
    main()
