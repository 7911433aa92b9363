"""Planted cases: what a benchmark must say when it is known what the synthetic samples are.

Slow: every case trains real networks on a procedural world, of which most is held back.
"""

import shutil

import numpy as np
import pytest

from terraloom.benchmarking import Inputs, run_benchmark
from terraloom.classes import preset
from terraloom.dataset.build import build_dataset
from terraloom.dataset.rows import train_rows
from terraloom.learning.device import make_fabric
from terraloom.samples import Sample, samples_to_table
from terraloom.settings import BenchmarkSettings, CutSettings, SplitSettings
from terraloom.sources import world
from terraloom.tables import plan_shards, write_table

pytestmark = pytest.mark.slow

CLASSES = preset("worldcover7")
FABRIC = make_fabric(1)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    source = world.build(world.Settings(height=1280, width=1280), CLASSES, 3)
    return build_dataset(
        source,
        CLASSES,
        tmp_path_factory.mktemp("built"),
        cut=CutSettings(patch_size=64),
        split=SplitSettings(
            by="block", block_size_m=640, test_share=0.3, held_back_share=0.95, attempts=32
        ),
        seed=0,
    )


def table_of(folder, samples):
    return write_table(
        folder,
        plan_shards(len(samples)),
        lambda shard: samples_to_table(samples[shard.start : shard.stop], CLASSES),
        settings_sha256="0" * 64,
        inputs={},
        description="planting samples",
    )


def planted(kind, built):
    """As many samples as there are held-back rows, some twenty for each train row."""
    behind = train_rows(built.held_back)
    own = train_rows(built.samples)
    random = np.random.default_rng(0)
    samples = []
    for index in range(len(behind)):
        row = own[index % len(own)]
        image, mask = row.image, row.mask
        if kind == "more real":
            image, mask = behind[index].image, behind[index].mask
        if kind == "noise":
            image = random.integers(0, 256, image.shape, dtype=np.uint8)
            # Labels of the right shares in the wrong places.
            mask = random.permutation(mask.ravel()).reshape(mask.shape)
        samples.append(
            Sample(f"planted-{index:04d}", image, mask, "conditional", parent=row.id, seed=index)
        )
    return samples


@pytest.fixture(scope="module")
def judged(built, tmp_path_factory):
    """Results per case; the cells of real-only arms are the same in all, and trained once."""
    folder = tmp_path_factory.mktemp("planted")
    settings = BenchmarkSettings.model_validate(
        {
            "arms": ["real", "real-strong", "real+both"],
            "seeds": 3,
            "draws": 2000,
            "training": {"images": 3000, "crop_size": 64, "batch_size": 16, "checks": 8},
        }
    )
    found = {}
    for kind in ("copies", "noise", "more real"):
        place = folder / kind
        for cell in folder.glob("copies/benchmark/cells/unet-real-*"):
            shutil.copytree(cell, place / "benchmark" / "cells" / cell.name, dirs_exist_ok=True)
        samples = table_of(place / "samples", planted(kind, built))
        found[kind] = run_benchmark(
            Inputs(built.samples, samples, frozenset(samples.read(["id"])["id"].to_pylist())),
            place / "benchmark",
            classes=CLASSES,
            settings=settings,
            options={},
            ledger=place / "looks.jsonl",
            controls=place / "controls",
            seed=0,
            fabric=FABRIC,
        )
    return found


def verdict(results):
    return next(row["verdict"] for row in results["verdicts"] if row["arm"] == "real+both")


def test_copies_of_the_train_rows_are_no_evidence(judged):
    assert verdict(judged["copies"]) == "no evidence"


def test_noise_hurts(judged):
    assert verdict(judged["noise"]) == "hurts"


def test_held_back_real_rows_help(judged):
    assert verdict(judged["more real"]) == "helps"


def test_an_arm_against_itself_seldom_helps(judged):
    assert all(results["aa"]["rate"] <= 0.05 for results in judged.values())


def test_all_cases_share_their_controls(judged):
    first, *others = (
        [row["f1_per_run"] for row in results["table"] if row["arm"] == "real"]
        for results in judged.values()
    )
    assert all(other == first for other in others)
