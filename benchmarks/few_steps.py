"""Few steps and feedback of a trained `flow`: what is lost, what is gained, and what each costs.

    python benchmarks/few_steps.py steps PROJECT FLOW OUT [--students 1 2 4] [--images 8000]
    python benchmarks/few_steps.py feedback PROJECT FLOW OUT [--strengths 0 0.25 0.5 1 2]

PROJECT is a folder whose stages `build` and `segment` are done, FLOW the folder of a `flow` that
was trained on its train rows. `steps` samples the teacher in 1 to 16 steps by Euler's and Heun's
method and distils students of few steps from it; `feedback` steers by the project's labeller.
Samples are read by that labeller and by a judge, another architecture of another seed, trained into
OUT/judge: what is gained by steering must show under the judge, else the labeller was talked into
agreeing. Samples answer val crops (64 per monitor, two monitors). One line of JSON per setting on
the output, and in OUT/few-steps.jsonl; what is there is not made again.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from terraloom.dataset.rows import train_rows, val_rows
from terraloom.files import append_line, make_folder, read_lines
from terraloom.generating import TrainedGenerator, load_generator
from terraloom.generators._flow_core import Flow
from terraloom.generators._flow_distillation import FlowStudent
from terraloom.generators.flow import FlowGenerator
from terraloom.learning.batches import draw_batch
from terraloom.learning.checkpoint import load_weights, save_weights
from terraloom.learning.device import make_fabric
from terraloom.monitoring import GeneratorMonitor
from terraloom.seeds import derive_seed, generator_at
from terraloom.segmenting import Recipe, TrainedSegmenter, load_segmenter, train_segmenter
from terraloom.settings import TrainingSettings
from terraloom.tables import Table
from terraloom.trained import read_class_table
from terraloom.types import ImageU8, LabelMask

SEED = 7
MONITORS = (7, 8)
AGAIN = 16
KEPT = ("agreement", "miou", "kernel", "variety")


class Bench:
    """Rows, readers and crops that every setting is looked at with."""

    def __init__(self, project: Path, flow: Path, out: Path, judge_images: int) -> None:
        self.fabric = make_fabric(1)
        table = Table.open(project / "build" / "samples")
        self.classes = read_class_table(project / "build" / "classes.json")
        self.train, self.val = train_rows(table), val_rows(table)
        self.labeller = load_segmenter(project / "segment" / "labeller", self.fabric)
        self.judge = self._judge(out / "judge", judge_images)
        loaded = load_generator(flow, self.fabric, labeller=self.labeller).generator
        assert isinstance(loaded, FlowGenerator)
        self.teacher = loaded
        self.log = out / "few-steps.jsonl"
        self.monitors = {
            name: [
                GeneratorMonitor(
                    self.train, self.val, self.classes, self.teacher.shape.size, reader, seed
                )
                for seed in MONITORS
            ]
            for name, reader in (("labeller", self.labeller), ("judge", self.judge))
        }
        self.reference = self._images(self.teacher)[0]

    def _judge(self, folder: Path, images: int) -> TrainedSegmenter:
        """Another architecture, another seed; never shown to a generator."""
        training = TrainingSettings(images=images, crop_size=64)
        recipe = Recipe("fpn", {}, "small", len(self.classes), training)
        return train_segmenter(
            self.train, self.val, recipe, folder,
            seed=derive_seed(SEED, "judge"), fabric=self.fabric, description="training the judge",
        )  # fmt: skip

    def measure(self, name: str, generator: Flow, evaluations: int) -> None:
        """Make samples of one setting, read them twice, and note what was found."""
        if name in {line["name"] for line in read_lines(self.log)}:
            return
        started = time.process_time()
        images, others = self._images(generator)
        spent = time.process_time() - started
        apart = np.abs(np.stack(images).astype(float) - np.stack(self.reference)).mean() / 255
        found: dict[str, Any] = {
            "name": name,
            "evaluations": evaluations,
            "cpu_s_per_sample": round(spent / (len(images) + len(others)), 4),
            "apart_from_teacher": round(float(apart), 4),
        }
        for reader, monitors in self.monitors.items():
            each = []
            for index, monitor in enumerate(monitors):
                drawn = iter((_half(images, index), _half(others, index)))
                each.append(monitor.figures(lambda *_, d=drawn: next(d), conditional=True).log())
            for key in (*KEPT, *(f"{k}_real" for k in ("agreement", "miou")), "kernel_floor"):
                found[f"{reader}_{key}"] = round(float(np.mean([e[key] for e in each])), 4)
            found["diversity"] = round(float(np.mean([e["diversity"] for e in each])), 4)
        print(json.dumps(found), flush=True)
        append_line(self.log, found)

    def _images(self, generator: Flow) -> tuple[list[ImageU8], list[ImageU8]]:
        """For the masks of every monitor, and for the first of them with other seeds."""
        shown = TrainedGenerator("flow", generator, "")

        def made(masks: Sequence[LabelMask], seeds: Sequence[int]) -> list[ImageU8]:
            parts = [slice(start, start + 32) for start in range(0, len(masks), 32)]
            return [i for part in parts for i in shown.images(masks[part], seeds[part])]

        images, others = [], []
        for monitor in self.monitors["labeller"]:
            images += made(monitor.masks, monitor.seeds)
            others += made(monitor.masks[:AGAIN], [seed ^ 1 for seed in monitor.seeds[:AGAIN]])
        return images, others


def _half(images: list[ImageU8], index: int) -> list[ImageU8]:
    count = len(images) // len(MONITORS)
    return images[index * count : (index + 1) * count]


def in_steps(bench: Bench, students: Sequence[int], pairs: int, images: int, out: Path) -> None:
    """The teacher in few steps, then students of it."""
    teacher = bench.teacher
    as_trained = teacher.settings
    for sampler in ("euler", "heun"):
        for steps in (1, 2, 4, 8, 16):
            teacher.settings = as_trained.model_copy(update={"sampler": sampler, "steps": steps})
            passes = steps if sampler == "euler" else 2 * steps - 1
            bench.measure(f"teacher {sampler} {steps}", teacher, 2 * passes)
    teacher.settings = as_trained
    for steps in students:
        student = taught(bench, steps, pairs, images, out)
        bench.measure(f"student {steps}, {pairs} pairs, {images} images", student, steps)


def taught(bench: Bench, steps: int, pairs: int, images: int, out: Path) -> FlowStudent:
    """A student of so many steps, from OUT if it is there."""
    teacher = bench.teacher
    as_trained = teacher.settings
    teacher.settings = as_trained.model_copy(update={"distil_steps": steps, "distil_pairs": pairs})
    torch.manual_seed(SEED)
    student = teacher.student()
    assert student is not None
    kept = out / f"student-{steps}-{pairs}-{images}.safetensors"
    if kept.exists():
        load_weights(kept, student.sampling_modules())
    else:
        # Pairs hang on the seed alone: all students learn from the same ones.
        teacher.teach(student, bench.train, out / f"pairs-{pairs}", SEED)
        started = time.process_time()
        batch_size, size = student.settings.batch_size, student.shape.size
        for seen in range(0, images, batch_size):
            random = generator_at(SEED, "student", steps, seen)
            batch = draw_batch(bench.train, batch_size, size, "none", random)
            student.step(batch, random, seen / images)
        spent = time.process_time() - started
        print(f"student of {steps}: {images} images in {spent:.0f} CPU s", flush=True)
        save_weights(kept, student.sampling_modules())
    teacher.settings = as_trained
    return student


def fed_back(bench: Bench, strengths: Sequence[float]) -> None:
    """The teacher, steered by the labeller with these strengths."""
    as_trained = bench.teacher.settings
    passes = 2 * (2 * as_trained.steps - 1)
    for strength in strengths:
        bench.teacher.settings = as_trained.model_copy(update={"feedback": strength})
        bench.measure(f"feedback {strength:g}", bench.teacher, passes)
    bench.teacher.settings = as_trained


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["steps", "feedback"])
    parser.add_argument("project", type=Path)
    parser.add_argument("flow", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--students", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--pairs", type=int, default=1024)
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--judge-images", type=int, default=12_000)
    parser.add_argument("--strengths", type=float, nargs="*", default=[0, 0.25, 0.5, 1, 2])
    asked = parser.parse_args()
    make_folder(asked.out)
    bench = Bench(asked.project, asked.flow, asked.out, asked.judge_images)
    if asked.what == "steps":
        in_steps(bench, asked.students, asked.pairs, asked.images, asked.out)
    else:
        fed_back(bench, asked.strengths)


if __name__ == "__main__":
    main()
