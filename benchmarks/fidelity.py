"""Time and memory of the fidelity figures at the sizes that they are made for.

    python benchmarks/fidelity.py frechet --samples 1000000 --features 512
    python benchmarks/fidelity.py manifolds --samples 100000 --features 512
    python benchmarks/fidelity.py size --samples 1        # how figures of one source depend on n

Each figure runs in a process of its own, whose peak of resident memory is read from the system.
Features lie in files, made beforehand and counted in no figure; `frechet` and `vendi` read them in
blocks, the others hold them in memory, as the product does. Processor time stands beside the clock,
which other work on the machine slows. Nothing is compared with a slower rival: where
a reference implementation can run at the size, `--reference` times it on the same arrays.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

ROWS = 8192


def write(path: Path, samples: int, features: int, seed: int) -> None:
    """Correlated float32 features, written block by block."""
    mixing = np.random.default_rng(99).standard_normal((features, features)) / features**0.5
    with open(path, "wb") as file:
        for start in range(0, samples, ROWS):
            random = np.random.default_rng((seed, start))
            block = random.standard_normal((min(ROWS, samples - start), features))
            file.write((block @ mixing + 0.1 * seed).astype(np.float32).tobytes())


class File:
    """Features in a file: in blocks, or whole."""

    def __init__(self, path: Path, features: int) -> None:
        self.path, self.features = path, features

    def blocks(self) -> Iterator[np.ndarray]:
        """Blocks of rows, one in memory at a time."""
        with open(self.path, "rb") as file:
            while data := file.read(ROWS * self.features * 4):
                yield np.frombuffer(data, np.float32).reshape(-1, self.features)

    def whole(self) -> np.ndarray:
        """All rows, in memory."""
        return np.fromfile(self.path, np.float32).reshape(-1, self.features)


def peak_mb() -> float:
    """Largest resident set of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """The result, and seconds by the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    found = work()
    return found, {
        "seconds": round(time.perf_counter() - clock, 2),
        "processor_s": round(time.process_time() - processor, 2),
        "peak_mb": round(peak_mb()),
    }


def frechet(first: File, second: File, reference: bool) -> dict[str, Any]:
    from terraloom.fidelity.moments import Moments, frechet_distance

    moments, streaming = timed(lambda: [Moments.of(first.blocks()), Moments.of(second.blocks())])
    value, root = timed(lambda: frechet_distance(*moments).value)
    found = {"value": value, "streaming": streaming, "root": root}
    if reference:
        from terraloom.learning._torchvision_repair import repair_torchvision

        repair_torchvision()
        from cleanfid.fid import frechet_distance as theirs

        def work() -> float:
            arrays = (first.whole(), second.whole())
            stats = [(f.mean(axis=0), np.cov(f, rowvar=False)) for f in arrays]
            return float(theirs(*stats[0], *stats[1]))

        found["reference_value"], found["reference"] = timed(work)
    return found


def manifolds(first: File, second: File, reference: bool) -> dict[str, Any]:
    from terraloom.fidelity.neighbours import manifold_figures

    real, fake = first.whole(), second.whole()
    value, spent = timed(lambda: manifold_figures(real, fake))
    found = {"value": asdict(value), "spent": spent}
    if reference:
        from prdc import compute_prdc

        theirs, spent = timed(lambda: compute_prdc(real, fake, value.neighbours))
        found["reference_value"] = {name: float(v) for name, v in theirs.items()}
        found["reference"] = spent
    return found


def kernel(first: File, second: File, reference: bool) -> dict[str, Any]:
    from terraloom.fidelity.kernel import kernel_distance

    arrays = (first.whole(), second.whole())
    value, spent = timed(lambda: kernel_distance(*arrays, seed=0))
    return {"value": asdict(value), "spent": spent}


def vendi(first: File, second: File, reference: bool) -> dict[str, Any]:
    from terraloom.fidelity.diversity import vendi_score

    value, spent = timed(lambda: vendi_score(second.blocks()))
    return {"value": asdict(value), "spent": spent}


def size(first: File, second: File, reference: bool) -> dict[str, Any]:
    """Every figure of two samples of one source, by their size: what is left is bias."""
    from terraloom.fidelity.comparison import figures_of

    mixing = np.random.default_rng(9).standard_normal((64, 64)) * np.linspace(0.2, 2, 64)

    def drawn(count: int, *address: int) -> np.ndarray:
        values = np.random.default_rng(address).standard_normal((count, 64))
        return np.abs(values @ mixing).astype(np.float32)

    centre = drawn(20_000, 999).mean(axis=0).astype(np.float64)
    found = {}
    for count in (40, 100, 400, 1600):
        draws = [
            figures_of(drawn(count, 1, i), drawn(count, 2, i), centre=centre) for i in range(5)
        ]
        found[str(count)] = {k: float(np.mean([draw[k] for draw in draws])) for k in draws[0]}
    return found


FIGURES = {
    "frechet": frechet,
    "manifolds": manifolds,
    "kernel": kernel,
    "vendi": vendi,
    "size": size,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figure", choices=FIGURES)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--reference", action="store_true", help="time the reference as well")
    parser.add_argument("--threads", type=int, default=0, help="of torch and BLAS; 0: all cores")
    parser.add_argument("--files", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.files is None:
        with tempfile.TemporaryDirectory() as folder:
            for seed in (0, 1):
                write(Path(folder) / f"{seed}.bin", options.samples, options.features, seed)
            command = [sys.executable, __file__, *sys.argv[1:], "--files", folder]
            sys.exit(subprocess.run(command, check=False).returncode)
    from threadpoolctl import threadpool_limits

    first, second = (File(options.files / f"{seed}.bin", options.features) for seed in (0, 1))
    with threadpool_limits(options.threads or None):
        if options.threads:
            import torch

            torch.set_num_threads(options.threads)
        found = FIGURES[options.figure](first, second, options.reference)
    told = {"figure": options.figure, "samples": options.samples, "features": options.features}
    print(json.dumps(told | {"load": os.getloadavg()[0]} | found, indent=1))


if __name__ == "__main__":
    main()
