"""Time, memory and size of the report of a project of hundreds of thousands of samples.

    python benchmarks/report.py [SAMPLES] [--size PIXELS] [--folder DIR]

Makes a project of ARAS400k's shape out of procedural tables: a quarter real, the rest synthetic,
half of those for masks; five captions a sample and three claims a caption; cells of a benchmark of
four arms. Pictures are few and repeat within a row group, which Parquet stores once: the disk holds
a hundredth of what it stands for, while a reader unpacks as many bytes as for pictures that all
differ. Then `write_report` runs in a process of its own, and its wall time, peak memory, and the
size of the page are told; imports count. The bounds: 60 seconds, 10 MB.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from terraloom.benchmarking import judge
from terraloom.captioning import CAPTION_SCHEMA
from terraloom.claiming import CLAIM_SCHEMA
from terraloom.classes import ClassTable, preset
from terraloom.curation import VERDICT_SCHEMA
from terraloom.files import write_json
from terraloom.labelling import LABEL_SCHEMA
from terraloom.landscape import grow_landscape
from terraloom.samples import SAMPLE_SCHEMA, Sample, SourceFile, samples_to_table
from terraloom.settings import BenchmarkSettings

CAPTIONS, CLAIMS, POOL = 5, 3, 32
SHARD, GROUP, PER_GROUP = 2000, 128, 4
REPORT = """
import sys
from pathlib import Path
from terraloom.classes import preset
from terraloom.report.page import write_report
write_report(Path(sys.argv[1]), Path(sys.argv[2]), title="benchmark", classes=preset("worldcover7"),
             provenance={})
# Of this program's own memory; a child's ru_maxrss would count what its parent held.
status = Path("/proc/self/status").read_text()
print(status.split("VmHWM:")[1].split()[0])
"""


def pictures(size: int, classes: ClassTable) -> pa.Table:
    """A pool of samples as they come from a camera: noisy, so that PNG cannot shrink them."""
    random = np.random.default_rng(0)
    samples = []
    for index in range(POOL):
        land = grow_landscape(300 * index, 170 * index, size, size, seed=5)
        image = land.reflectance[:3].transpose(1, 2, 0) * 700 + random.normal(0, 5, (size, size, 3))
        samples.append(
            Sample(
                f"{index}", np.clip(image, 0, 255).astype(np.uint8),
                classes.labels_of_codes(land.codes), "real",
                sources=tuple(
                    SourceFile(f"{name}{index % 9}.tif", f"{name}.tif", "ab" * 32, "CC-BY", "ESA")
                    for name in ("composite", "map")
                ),
            )
        )  # fmt: skip
    return samples_to_table(samples, classes)


def write(
    folder: Path,
    total: int,
    make: Callable[[int, int], pa.Table],
    *,
    shared: list[str] | None = None,
) -> None:
    """Shards of `total` samples and the manifest; `shared` columns store equal values once."""
    folder.mkdir(parents=True)
    entries = []
    for number, start in enumerate(range(0, total, SHARD)):
        rows = make(start, min(start + SHARD, total))
        path = folder / f"part-{number:05d}.parquet"
        pq.write_table(
            rows, path, row_group_size=GROUP if shared else 16 * GROUP, compression="zstd",
            use_dictionary=shared or True, dictionary_pagesize_limit=256 << 20,
        )  # fmt: skip
        ids = rows.column("id")
        entries.append(
            {"file": path.name, "rows": len(rows), "first_id": ids[0].as_py(),
             "last_id": ids[-1].as_py(), "sha256": "0" * 64}
        )  # fmt: skip
    write_json(
        folder / "manifest.json",
        {"schema_version": "1.1", "settings_sha256": "0" * 64, "inputs": {}, "shards": entries},
    )


def samples_of(kind: str, pool: pa.Table, real: int) -> Callable[[int, int], pa.Table]:
    """Rows of a sample table by number."""

    def make(start: int, stop: int) -> pa.Table:
        index = np.arange(start, stop)
        # Few pictures in a row group, others in the next.
        pick = (index // GROUP * PER_GROUP + index % PER_GROUP) % POOL
        rows = pool.take(pa.array(pick))
        free = index % 2 == 1
        columns: dict[str, Any] = {"id": [f"{kind}-{i:07d}" for i in index]}
        if kind == "real":
            roles = np.array(["train"] * 8 + ["val", "test"])
            columns["split"] = roles[index // 40 % 10].tolist()
            columns["place"] = [f"place{i // 40:05d}" for i in index]
        else:
            columns["origin"] = np.where(free, "unconditional", "conditional").tolist()
            columns["parent"] = [
                None if alone else f"real-{i * 7 % real:07d}"
                for i, alone in zip(index.tolist(), free, strict=True)
            ]
            columns["split"] = [""] * len(index)
            columns["place"] = columns["source"] = [None] * len(index)
            columns["seed"] = index.tolist()
        for name, values in columns.items():
            field = SAMPLE_SCHEMA.field(name)
            rows = rows.set_column(
                SAMPLE_SCHEMA.get_field_index(name), field, pa.array(values, type=field.type)
            )
        return rows

    return make


def per_sample(
    kind: str, schema: pa.Schema, each: int, values: Callable[[np.ndarray], dict[str, Any]]
) -> Callable[[int, int], pa.Table]:
    """Rows of a table that holds `each` rows for a sample."""

    def make(start: int, stop: int) -> pa.Table:
        index = np.repeat(np.arange(start, stop), each)
        place = np.tile(np.arange(each), stop - start)
        columns = {"id": [f"{kind}-{i:07d}" for i in index], **values(index * each + place)}
        missing = [name for name in schema.names if name not in columns]
        columns |= {name: [None] * len(index) for name in missing}
        return pa.table({name: columns[name] for name in schema.names}, schema=schema)

    return make


def make_project(folder: Path, total: int, size: int) -> None:
    """All that a report reads, for `total` samples of `size` pixels."""
    classes = preset("worldcover7")
    random = np.random.default_rng(1)
    pool = pictures(size, classes)
    real, made = total // 4, total - total // 4
    shared = ["image.bytes", "mask.bytes", "split", "origin", "place"]
    write(folder / "build/samples", real, samples_of("real", pool, real), shared=shared)
    for name in ("generate/samples", "label/samples"):
        write(folder / name, made, samples_of("made", pool, real), shared=shared)
    words = np.array([f"Cropland covers part {i} of the scene, with trees." for i in range(5000)])
    kinds = np.array(["presence", "amount", "place"])
    wrong = np.array(["supported"] * 97 + ["contradicted", "not checkable", "not checkable"])
    for kind, number, prefix in (("real", real, "real"), ("synthetic", made, "made")):
        write(folder / f"caption/{kind}", number, per_sample(
            prefix, CAPTION_SCHEMA, CAPTIONS, lambda n: {
                "index": n % CAPTIONS, "text": words[n * 7919 % len(words)],
                "writer": np.array(["template", "vision"])[n % 2],
                "mode": np.array(["template", "vision"])[n % 2],
                "saw": [["layout"], ["image"]] * (len(n) // 2) + [["layout"]] * (len(n) % 2),
            }))  # fmt: skip
        write(folder / f"score/claims/{kind}", number, per_sample(
            prefix, CLAIM_SCHEMA, CAPTIONS * CLAIMS, lambda n: {
                "caption": n // CLAIMS % CAPTIONS, "kind": kinds[n % 3],
                "classes": [["crop"]] * len(n),
                "span": [[0, 8]] * len(n), "negated": np.zeros(len(n), bool),
                "hedged": np.zeros(len(n), bool), "verdict": wrong[n * 31 % 100],
                "evidence": ["crop covers 41.0 %"] * len(n),
            }))  # fmt: skip
    write(folder / "label/labels", made, per_sample("made", LABEL_SCHEMA, 1, lambda n: {
        "agreement": np.where(n % 2, np.nan, n % 97 / 97), "confidence": n % 89 / 89,
        "known_share": n % 83 / 83,
    }))  # fmt: skip
    write(folder / "curate/verdicts", made, per_sample("made", VERDICT_SCHEMA, 1, lambda n: {
        "keep": n % 3 > 0, "rule": [None if i % 3 else "confidence ≥ 0.6" for i in n],
        "reason": [None if i % 3 else "confidence is 0.512" for i in n],
    }))  # fmt: skip
    each = {"made": made // 2, "rejected": {"confidence ≥ 0.6": made // 6}, "kept": made // 3}
    write_json(folder / "curate/funnel.json", {"conditional": each, "unconditional": each})
    write_json(folder / "build/filters.json", {"candidates": total, "funnel": {"kept": real}})
    write_json(folder / "score/summary.json", summary(real, made, len(classes)))
    xy = {f"{m}_{a}": random.normal(size=1200) for m in ("tsne", "umap") for a in "xy"}
    origins = np.repeat(["real", "conditional", "unconditional"], 400)
    pq.write_table(pa.table({"origin": origins, **xy}), folder / "score/embedding.parquet")
    settings = BenchmarkSettings(arms=("real", "real-strong", "synthetic", "real+both"), seeds=5)
    cells = []
    for arm in settings.arms:
        for seed in range(settings.seeds):
            matrices = random.integers(0, 900, (200, len(classes), len(classes)))
            cell = {
                "arm": arm, "architecture": "unet", "seed": seed, "rows": real, "images": 9,
                "best_images": 8, "val_f1": 0.5,
                "confusion": {f"place{i}": m.tolist() for i, m in enumerate(matrices)},
            }  # fmt: skip
            own = folder / "benchmark/cells" / f"unet-{arm}-{seed}"
            history = [{"images": n, "val_f1": 0.4, "val_accuracy": 0.6} for n in (1, 5, 9)]
            write_json(own / "state.json", {"summary": {"history": history}})
            write_json(own / "result.json", cell)
            cells.append(cell)
    results = judge(cells, classes.names, settings.model_copy(update={"draws": 200}), 1)
    results |= {"missing_arms": [], "rows": dict.fromkeys(settings.arms, real)}
    write_json(folder / "benchmark/results.json", results)


def summary(real: int, made: int, num_classes: int) -> dict[str, Any]:
    """What scorers leave for a corpus."""
    claims, redundancy = {}, {}
    for kind, number in (("real", real), ("synthetic", made), ("all", real + made)):
        captions = CAPTIONS * number
        redundancy[kind] = {
            "captions": captions, "unique": 5000, "exact": 0.9, "normalised": 0.9, "near": 0.9,
            "within_image": 0.0, "across_images": 0.9, "rarefied": 0.9,
            "rarefied_count": CAPTIONS * real, "with_digits": captions,
        }  # fmt: skip
        if kind == "all":
            continue
        verdicts = {"supported": captions, "contradicted": 9, "not checkable": 9}
        claims[kind] = {
            "samples": number, "named": 0.6, "clear_named": 0.8, "clear_samples": number // 2,
            "claims": {"presence": verdicts},
            "writers": {"vision": {**verdicts, "captions": captions, "contradicted_captions": 9}},
        }  # fmt: skip
    shares = [1 / num_classes] * num_classes
    names = ("real", "conditional", "unconditional")
    origins = {o: {"samples": made // 2, "shares": shares, "distance": 0.1} for o in names}
    return {
        "claims": claims,
        "redundancy": redundancy,
        "composition": {
            "origins": origins, "floor": 0.1, "floor_samples": real // 10, "ceiling": 0.5,
        },
        "embedding": {
            "features": "labeller's encoder", "counts": dict.fromkeys(names, 400), "floor": 0.01,
            "floor_samples": 400, "silhouette": 0.1, "pairwise": {"real, conditional": 0.1},
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("samples", type=int, nargs="?", default=400_000)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--folder", type=Path, help="keeps the project, or holds it already")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        project = (given.folder or Path(scratch)) / f"{given.samples}-{given.size}"
        if not project.exists():
            started = time.perf_counter()
            make_project(project, given.samples, given.size)
            print(f"project made in {time.perf_counter() - started:.0f} s")
        held = sum(path.stat().st_size for path in project.rglob("*.parquet"))
        print(f"{given.samples:,} samples of {given.size} pixels, {held / 1e9:.1f} GB on disk")
        out = Path(scratch) / "report"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", REPORT, str(project), str(out)],
            check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        wall = time.perf_counter() - started
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        sizes = {path.name: path.stat().st_size for path in sorted(out.glob("report.*"))}
        figures = sum(path.stat().st_size for path in (out / "figures").iterdir())
        print(f"load of the machine: {os.getloadavg()[0]:.1f}")
        print(f"wall {wall:.1f} s, processor {spent:.1f} s (bound 60)")
        print(f"peak memory {int(done.stdout) / 1e3:.0f} MB")
        print(f"bytes {json.dumps(sizes)} (bound 10,000,000), figures {figures:,}")


if __name__ == "__main__":
    main()
