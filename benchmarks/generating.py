"""Images per second of each generator: training and sampling, by the clock and per CPU second.

    python benchmarks/generating.py [MEMBER ...] [--size 64] [--threads 2] [--updates 20]
        [--option controlnet.model=FOLDER ...]

Without members all are measured that need no option; those that do are named and left out. CPU
seconds are told as well, since other work on the machine stretches the clock's. Members run one
after the other in one process, on toy rows: what is drawn does not change what it costs.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import ValidationError

from terraloom import families
from terraloom.generators._face import DataShape, GeneratorSettings
from terraloom.learning.batches import draw_batch
from terraloom.learning.device import describe_device, make_fabric
from terraloom.testing import toy_rows

SAMPLES = 32


def timed(work: Callable[[], object], count: int) -> tuple[float, float]:
    """Items per second of the clock and of the CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    taken = time.perf_counter() - wall, time.process_time() - cpu
    return round(count / taken[0], 1), round(count / taken[1], 1)


def measure(
    name: str, settings: GeneratorSettings, size: int, updates: int, fabric: Fabric
) -> dict[str, Any]:
    """Rates of one member."""
    module = families.member("generators", name)
    rows, _ = toy_rows(8, 1, size + 16, size + 16)
    torch.manual_seed(0)
    generator = module.build(
        settings, DataShape(4, size, (0.4, 0.5, 0.3), (0.2, 0.15, 0.25)), fabric
    )

    def train(start: int, stop: int) -> None:
        for step in range(start, stop):
            random = np.random.default_rng(step)
            batch = draw_batch(rows, settings.batch_size, size, "geometry", random)
            generator.step(batch, random, 0.5)

    def sample() -> None:
        if getattr(module, "MAKES_LAYOUTS", False):
            generator.masks([np.full(4, np.nan)] * SAMPLES, range(SAMPLES))
        else:
            generator.sample(torch.full((SAMPLES, size, size), 255), range(SAMPLES))

    train(0, 2)
    sample()
    training = timed(lambda: train(2, 2 + updates), updates * settings.batch_size)
    sampling = timed(sample, SAMPLES)
    return {
        "member": name,
        "size": size,
        "device": describe_device(fabric),
        "training_per_s": training[0],
        "training_per_cpu_s": training[1],
        "sampling_per_s": sampling[0],
        "sampling_per_cpu_s": sampling[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("members", nargs="*")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--option", action="append", default=[], metavar="MEMBER.NAME=VALUE")
    asked = parser.parse_args()
    options: dict[str, dict[str, str]] = {}
    for option in asked.option:
        where, _, value = option.partition("=")
        member, _, name = where.partition(".")
        options.setdefault(member, {})[name] = value
    fabric = make_fabric(asked.threads)
    for name in asked.members or families.members("generators"):
        face = families.member("generators", name).Settings
        try:
            settings = face.model_validate(options.get(name, {}))
        except ValidationError as error:
            needed = ", ".join(".".join((name, *map(str, e["loc"]))) for e in error.errors())
            if asked.members:
                parser.error(f"{name} cannot be measured: see --option {needed}=...")
            print(f"left out: {name} needs --option {needed}=...", file=sys.stderr)
            continue
        rates = measure(name, settings, asked.size, asked.updates, fabric)
        print(json.dumps(rates), flush=True)


if __name__ == "__main__":
    main()
