"""A small project made with the real writers, without any training."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from terraloom.benchmarking import judge
from terraloom.calibration import fit_temperature, reliability
from terraloom.captioners.template import Settings as TemplateSettings
from terraloom.captioners.template import TemplateCaptioner
from terraloom.captioning import caption_samples
from terraloom.classes import ClassTable, LandClass, preset
from terraloom.curation import curate_samples
from terraloom.dataset.build import classes_to_json
from terraloom.dataset.leaks import KINDS, Finding, LeakReport
from terraloom.dataset.rows import stream_rows, train_rows
from terraloom.files import append_line, sha256_of_value, write_bytes, write_json
from terraloom.floors import measure_floors
from terraloom.label_noise import noise_figures as label_noise_figures
from terraloom.labelling import LABEL_SCHEMA
from terraloom.landscape import grow_landscape
from terraloom.report.page import write_report
from terraloom.samples import Sample, SourceFile, encode_image, samples_to_table
from terraloom.scorers import agreement, claims, composition, redundancy
from terraloom.scoring import score_samples
from terraloom.settings import BenchmarkSettings, CurateRule, CurateSettings
from terraloom.tables import Table, plan_shards, write_shard, write_table

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"
SIZE, CROP = 48, 32
ARMS = ("real", "real-strong", "synthetic", "real+both")


def hostile_classes() -> ClassTable:
    """Seven classes whose names would run script, or break mathematical text."""
    table = preset("worldcover7")
    names = (HOSTILE, "$\\frac{", 'a"onmouseover="alert(1)', "crop", "built-up", "бор", "water")
    return ClassTable(
        classes=tuple(
            LandClass(**{**land.model_dump(), "name": name})
            for land, name in zip(table.classes, names, strict=True)
        ),
        ignore_codes=table.ignore_codes,
    )


def _patch(index: int, classes: ClassTable, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    land = grow_landscape(190 * index, 260 * (index % 5), size, size, seed=11)
    image = np.clip(land.reflectance[:3].transpose(1, 2, 0) * 700, 0, 255).astype(np.uint8)
    return image, classes.labels_of_codes(land.codes)


def _write(folder: Path, rows: pa.Table) -> Table:
    plan = plan_shards(len(rows), 10)
    return write_table(
        folder, plan, lambda s: rows.slice(s.start, s.stop - s.start),
        settings_sha256="0" * 64, inputs={}, description="fixture",
    )  # fmt: skip


def build_samples(project: Path, classes: ClassTable, mark: str = "") -> Table:
    file = SourceFile(
        f"tile{mark}.tif", f"tile{mark}.tif", "ab" * 32, "CC-BY-4.0", f"ESA WorldCover{mark}"
    )
    samples = []
    for index in range(14):
        image, mask = _patch(index, classes)
        samples.append(
            Sample(
                f"tile{mark}-{index:03d}", image, mask, "real",
                split=("train", "train", "train", "val", "test")[index % 5],
                place=f"{'abcde'[index % 5]}{index // 5}{mark}", sources=(file,),
                crs="EPSG:32636" if index % 2 else None,
            )
        )  # fmt: skip
    table = _write(project / "build" / "samples", samples_to_table(samples, classes))
    funnel = {"kept": 14, "too much water": 5, f"blank image{mark}": 1}
    write_json(project / "build" / "filters.json", {"candidates": 20, "funnel": funnel})
    pairs = ("train-val", "train-test", "val-test")
    gone = Finding("shared ground", (3, 9), ("a<b>", "c"), ("train", "test"), 0.91, 0.4)
    leaks = LeakReport(
        {"train": 9, "val": 3, "test": 2}, {pair: 2345.6 for pair in pairs},
        {pair: 0.731 for pair in pairs}, 1, {kind: 0 for kind in KINDS}, (), (gone,), {},
        (("mill", f"ford{mark}"),),
    )  # fmt: skip
    write_bytes(project / "build" / "split-map.png", encode_image(_patch(0, classes)[0]))
    write_json(project / "build" / "leaks.json", leaks.to_json())
    write_json(project / "build" / "classes.json", classes_to_json(classes))
    return table


def make_synthetic(project: Path, classes: ClassTable, mark: str = "") -> tuple[Table, Table]:
    random = np.random.default_rng(5)
    asked, final, figures = [], [], []
    orders = [("spade", "conditional", i) for i in range(12)]
    orders += [("flow", "unconditional", i) for i in range(8)]
    for name, origin, index in sorted(orders):
        # Two seeds for each mask; parents are train rows.
        parent = (0, 1, 2, 5, 6, 7)[index // 2 % 6]
        image, mask = _patch(parent, classes)
        image = image[4 : 4 + CROP, 9 : 9 + CROP]
        mask = mask[4 : 4 + CROP, 9 : 9 + CROP]
        noise = random.normal(0, 22, image.shape)
        made = np.clip(image + noise, 0, 255).astype(np.uint8)
        sample_id = f"{name}-{origin}-{index:06d}{mark}"
        conditional = origin == "conditional"
        known = mask.copy()
        known[: index % 20] = 255
        common = {
            "origin": origin, "parent": f"tile{mark}-{parent:03d}" if conditional else None,
            "seed": index, "plan": "as-real",
        }  # fmt: skip
        free = np.full_like(mask, 255)
        asked.append(Sample(sample_id, made, mask if conditional else free, **common))
        final.append(Sample(sample_id, made, known, **common))
        shares = classes.shares(mask)
        figures.append(
            {
                "id": sample_id,
                "agreement": float(0.45 + 0.05 * index) if conditional else None,
                "confidence": float(0.55 + 0.03 * index),
                "known_share": float((known != 255).mean()),
                "asked_shares": shares if conditional else None,
                "seen_shares": shares,
            }
        )
    _write(project / "generate" / "samples", samples_to_table(asked, classes))
    samples = _write(project / "label" / "samples", samples_to_table(final, classes))
    labels = _write(
        project / "label" / "labels", pa.Table.from_pylist(figures, schema=LABEL_SCHEMA)
    )
    for name in ("spade", "flow"):
        history = [
            {"images": n, "agreement": 0.3 + n / 9000, "diversity": 0.05 + n / 90000}
            for n in (1000, 2000, 3000)
        ]
        folder = project / "generate" / "models" / name
        write_json(
            folder / "state.json",
            {"version": 1, "generator": name, "options": {},
             "shape": {"num_classes": 7, "size": CROP}, "seed": 1, "images": 3000,
             "train_rows": 9, "history": history},
        )  # fmt: skip
        grid = random.integers(0, 255, (CROP * 2, CROP * 6, 3)).astype(np.uint8)
        grid = grid.repeat(2, axis=0).repeat(2, axis=1)
        Image.fromarray(grid).save(folder / "grid-000003000.png")
    write_json(
        project / "segment" / "labeller" / "state.json",
        {
            "version": 1,
            "recipe": {"architecture": "unet", "preset": "small", "training": {}},
            "summary": {
                "images": 4000, "best_val_f1": 0.612, "best_images": 3000,
                "history": [
                    {"images": n, "val_f1": f, "val_accuracy": 0.7}
                    for n, f in ((1000, 0.4), (2000, 0.55), (3000, 0.612), (4000, 0.6))
                ],
            },
        },
    )  # fmt: skip
    logits = 3 * np.eye(len(classes))[random.integers(0, len(classes), 4000)]
    logits += random.normal(0, 1.2, logits.shape)
    truth = np.where(
        random.random(4000) < 0.7, logits.argmax(1), random.integers(0, len(classes), 4000)
    )
    warm = fit_temperature(logits.astype(np.float32), truth)
    write_json(
        project / "segment" / "labeller" / "calibration.json",
        {
            "temperature": warm, "pixels": 4000, "rows": 3, "places": 2,
            "after_is_held_out": True, "before": reliability(logits, truth, np.ones(4000)),
            "after": reliability(logits, truth, np.full(4000, warm)),
        },
    )  # fmt: skip
    matrices = random.integers(0, 40, (6, len(classes), len(classes)))
    matrices += 300 * np.eye(len(classes), dtype=np.int64)
    matrices[:, :, -1] = 0
    write_json(
        project / "segment" / "noise" / "label-noise.json",
        {"folds": 3, "places": 6, **label_noise_figures(matrices, 0)},
    )
    return samples, labels


def write_captions(
    project: Path, real: Table, synthetic: Table, classes: ClassTable, mark: str = ""
) -> dict[str, Table]:
    captioner = TemplateCaptioner(TemplateSettings(), preset("worldcover7"), 3)
    if mark:

        class Hostile(TemplateCaptioner):
            def write(self, scenes: Any) -> Any:
                from dataclasses import replace

                told = super().write(scenes)
                return [
                    [replace(c, text=f"{mark}{c.text}", writer=mark) for c in captions]
                    for captions in told
                ]

        captioner = Hostile(TemplateSettings(), preset("worldcover7"), 3)
    return {
        kind: caption_samples(
            table, captioner, project / "caption" / kind, settings_sha256="0" * 64,
            description="fixture",
        )
        for kind, table in (("real", real), ("synthetic", synthetic))
    }  # fmt: skip


def write_scores(
    project: Path, real: Table, synthetic: Table, labels: Table, captions: dict[str, Table],
    classes: ClassTable,
) -> None:  # fmt: skip
    modules = {
        "agreement": agreement, "composition": composition, "claims": claims,
        "redundancy": redundancy,
    }  # fmt: skip
    scorers = {name: m.build(m.Settings(), classes, 0) for name, m in modules.items()}

    def no_segmenter() -> Any:
        raise AssertionError("no scorer of the fixture needs a segmenter")

    folder = project / "score"
    summary = score_samples(
        real, synthetic, labels, captions, scorers, folder, classes=classes,
        segmenter=no_segmenter, settings_sha256="0" * 64, seed=1,
    )  # fmt: skip
    summary["embedding"] = {
        "features": "labeller's encoder, last stage, pooled",
        "counts": {"real": 30, "conditional": 30, "unconditional": 30},
        "silhouette": 0.031,
        "pairwise": {"real, conditional": 0.012, "real, unconditional": 0.094,
                     "conditional, unconditional": -0.004},
        "floor": 0.008,
        "floor_samples": 6,
        "methods": ["tsne", "umap"],
    }  # fmt: skip
    summary["nearest"] = {
        "features": "labeller's encoder, last stage, pooled, standardised on train",
        "quantile": 0.01,
        "threshold": 0.31,
        "reference": {"train": 50, "train_total": 90, "synthetic": 20, "synthetic_total": 20},
        "floor": {"samples": 30, "quartiles": [0.8, 1.0, 1.3], "copies": 1},
        "origins": {
            "conditional": {
                "samples": 12, "quartiles": [0.9, 1.234, 1.6], "copies": 0,
                "between": [0.9, 1.2, 1.5], "duplicates": 2,
            },
            "unconditional": {
                "samples": 8, "quartiles": [0.1, 0.2, 0.3], "copies": 7,
                "between": [0.9, 1.2, 1.5], "duplicates": 0,
            },
        },
        "table": "nearest/0123456789abcdef",
    }  # fmt: skip
    summary["fidelity"] = {"networks": [fidelity_network()]}
    write_json(folder / "summary.json", summary)
    random = np.random.default_rng(0)
    points = {
        f"{m}_{axis}": random.normal(size=90).astype(np.float32)
        for m in ("tsne", "umap")
        for axis in "xy"
    }
    origins = [name for name in ("real", "conditional", "unconditional") for _ in range(30)]
    write_shard(folder / "embedding.parquet", pa.table({"origin": origins, **points}))


def fidelity_network() -> dict[str, Any]:
    """One network's figures: a good origin, a collapsed one, one of too few samples."""
    figures = ("frechet", "kernel", "precision", "recall", "density", "coverage", "vendi")

    def row(*values: float) -> dict[str, Any]:
        return {
            f: {"mean": v, "low": v * 0.96875, "high": v * 1.03125}
            for f, v in zip(figures, values, strict=True)
        }

    floor, shuffled = row(1.5, 0.001, 0.9, 0.88, 1.0, 0.92, 20), row(9e4, 7, 0, 0, 0, 0, 3)
    rows = {
        "conditional": row(2.125, 0.002, 0.8, 0.75, 0.9, 0.85, 18),
        "unconditional": row(5, 0.04, 0.95, 0.1, 1.4, 0.2, 4),
    }
    whole = {
        "frechet": 1.75, "frechet_mean_term": 0.5, "singular": True, "counts": [90, 12],
        "kernel": -0.0005, "kernel_interval": [-0.002, 0.001], "kernel_counts": [90, 12],
        "kernel_block": 2, "vendi": 17.5,
    }  # fmt: skip
    origins: dict[str, Any] = {
        name: {
            "samples": 12, "whole": whole,
            "equal": {
                "samples": 12, "draws": 5, "neighbours": 5, "singular": True,
                "rows": {name: own, "floor": floor, "shuffled pixels": shuffled},
            },
        }
        for name, own in rows.items()
    }  # fmt: skip
    few = {"frechet": None, "kernel": None, "vendi": 1.0}
    origins["rare"] = {"samples": 3, "equal": None, "whole": few}
    return {
        "features": "labeller's encoder, last stage, pooled", "num_features": 576, "train": 90,
        "val": 30, "image_size": 64, "origins": origins,
        "silhouettes": {
            "overall": 0.03, "pairwise": {"train, conditional": 0.01, "train, unconditional": 0.3},
            "counts": {"train": 90, "conditional": 12, "unconditional": 12}, "sampled": False,
            "floor": 0.005, "floor_counts": {"train": 30, "val": 30},
        },
    }  # fmt: skip


def write_benchmark(project: Path, classes: ClassTable, gain: float = 0.004) -> dict[str, Any]:
    settings = BenchmarkSettings(draws=300, arms=ARMS, seeds=3, architectures=("unet",))
    skill = {"real": 0.62, "real-strong": 0.63, "synthetic": 0.5, "real+both": 0.63 + gain}
    truth = np.array([500, 0, 300, 700, 60, 40, 200])
    cells = []
    recipe = {"settings": settings.model_dump(mode="json"), "seed": 1}
    digest = sha256_of_value(recipe)
    for arm in ARMS:
        for seed in range(3):
            random = np.random.default_rng([seed, ARMS.index(arm)])
            confusion = {}
            for place in range(6):
                rows = []
                for label, total in enumerate(truth):
                    hit = float(np.clip(skill[arm] + random.normal(0, 0.04), 0.02, 0.98))
                    rest = np.full(7, (1 - hit) / 5)
                    rest[label], rest[1] = hit, 0.0
                    if label == 1:
                        rest = np.full(7, 1 / 7)
                    rows.append(random.multinomial(total, rest / rest.sum()).tolist())
                confusion[f"place{place}"] = rows
            name = f"unet-{arm}-{seed}"
            history = [
                {"images": n, "val_f1": 0.3 + 0.3 * n / 4000 * skill[arm], "val_accuracy": 0.6}
                for n in (1000, 2000, 3000, 4000)
            ]
            folder = project / "benchmark" / "cells" / name
            write_json(folder / "state.json", {"summary": {"history": history}})
            cells.append(
                {"arm": arm, "architecture": "unet", "seed": seed, "rows": 9, "images": 4000,
                 "best_images": 4000 if seed == 0 else 3000, "val_f1": 0.5,
                 "confusion": confusion}
            )  # fmt: skip
            write_json(folder / "result.json", cells[-1])
            append_line(
                project / "test-looks.jsonl",
                {"recipe_sha256": digest, "cell": name, "time": "2026-01-01T00:00:00+00:00"},
            )
    results = judge(cells, classes.names, settings, 1)
    results["recipe_sha256"] = digest
    results["missing_arms"] = []
    results["rows"] = {"real": 9, "real-strong": 9, "synthetic": 15, "real+both": 24}
    write_json(project / "benchmark" / "recipe.json", {"sha256": digest, **recipe})
    write_json(project / "benchmark" / "results.json", results)
    return results


def find_browser() -> str:
    """A Chromium binary; the test skips where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    binary = next(filter(None, map(shutil.which, names)), None)
    if binary is None:
        pytest.skip("no Chromium binary on this machine")
    return binary


def browse(page: Path, scratch: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Open a page in a headless browser with an empty profile and no network of its own."""
    return subprocess.run(
        [
            find_browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", f"--user-data-dir={scratch / 'profile'}", "--enable-logging=stderr",
            "--v=0", *options, page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def make_project(project: Path, classes: ClassTable, mark: str = "") -> Path:
    real = build_samples(project, classes, mark)
    synthetic, labels = make_synthetic(project, classes, mark)
    captions = write_captions(project, real, synthetic, classes, mark)
    write_scores(project, real, synthetic, labels, captions, classes)
    # Rules of the fixture's own: the product's defaults may ask for scorers that need a model.
    settings = CurateSettings(
        rules=tuple(CurateRule(column=c, min=0.6) for c in ("agreement", "known_share"))
    )
    scores = Table.open(project / "score" / "scores" / "synthetic")
    curate_samples(synthetic, scores, project / "curate", settings)
    write_benchmark(project, classes)
    measure_floors(
        train_rows(real), stream_rows(real, "test"), classes.names,
        project / "benchmark" / "floors.json", role="test", seed=1, pixels=500,
    )  # fmt: skip
    for stage in ("build", "label", "curate"):
        write_json(
            project / stage / "stage.json",
            {
                "stage": stage, "key": sha256_of_value(stage), "inputs": {}, "versions": {},
                "settings": {"curate": json.loads(settings.model_dump_json())},
                "outputs": {"table": "cd" * 32},
            },
        )  # fmt: skip
    return project


PROVENANCE = {
    "terraloom": "0.1.0", "settings_sha256": "ef" * 32, "generated": None,
    "device": "CPU, 2 threads", "versions": {"python": "3.11", "torch": "2.8"}, "seed": 7,
}  # fmt: skip


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole project."""
    return make_project(tmp_path_factory.mktemp("project"), preset("worldcover7"))


@pytest.fixture(scope="session")
def hostile_table() -> ClassTable:
    return hostile_classes()


@pytest.fixture(scope="session")
def hostile_project(tmp_path_factory: pytest.TempPathFactory, hostile_table: ClassTable) -> Path:
    """A project whose captions, ids, classes, places, filters and licences hold markup."""
    return make_project(tmp_path_factory.mktemp("hostile"), hostile_table, mark=HOSTILE)


@pytest.fixture(scope="session")
def report(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the whole project's page, twins and figures."""
    folder = tmp_path_factory.mktemp("report")
    path = write_report(
        project, folder, title="demo", classes=preset("worldcover7"), provenance=PROVENANCE
    )
    assert path == folder / "report.html"
    return folder


@pytest.fixture(scope="session")
def hostile_report(
    hostile_project: Path, hostile_table: ClassTable, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder of the hostile project's page, twins and figures."""
    folder = tmp_path_factory.mktemp("hostile-report")
    return write_report(
        hostile_project, folder, title=f'"{HOSTILE}', classes=hostile_table, provenance=PROVENANCE
    ).parent
