"""The stages that measure and prove: scores, what is kept, the benchmarks, the page."""

from pathlib import Path

from terraloom import families
from terraloom.files import read_json, sha256_of, sha256_of_value
from terraloom.progress import console
from terraloom.runs import StageFolder, library_versions
from terraloom.seeds import derive_seed
from terraloom.settings import member_settings
from terraloom.stages.context import SETTINGS_COPY, Context, labellers, samples_by_kind
from terraloom.tables import Table


def score_stage(context: Context, folder: StageFolder) -> dict[str, str]:
    """Measure samples, captions and corpus."""
    from terraloom.scoring import score_samples
    from terraloom.segmenting import load_segmenter

    seed = derive_seed(context.seed, "scores")
    scorers = {
        name: families.member("scorers", name).build(
            member_settings(context.settings, "scorers", name), context.classes, seed
        )
        for name in context.settings.score.scorers
    }
    kinds = samples_by_kind(context)
    score_samples(
        kinds["real"],
        kinds["synthetic"],
        context.table("label", "labels"),
        {kind: context.table("caption", kind) for kind in kinds},
        scorers,
        folder.path,
        classes=context.classes,
        segmenter=lambda: load_segmenter(context.path("segment", "labeller"), context.fabric),
        settings_sha256=sha256_of_value(list(scorers)),
        seed=seed,
    )
    return {
        "scores": Table.open(folder.path / "scores" / "synthetic").sha256,
        "summary": sha256_of(folder.path / "summary.json"),
    }


def curate_stage(context: Context, folder: StageFolder) -> dict[str, str]:
    """Keep or reject synthetic samples, with the reason."""
    from terraloom.cards import write_cards
    from terraloom.curation import curate_samples, funnel_told
    from terraloom.yardstick import Yardstick

    verdicts, funnel = curate_samples(
        context.table("label", "samples"),
        context.table("score", "scores", "synthetic"),
        folder.path,
        context.settings.curate,
        context.classes.names,
        Yardstick.load(context.path("label")),
    )
    # Older summaries, and those of no sample, name no table of neighbours.
    nearest = read_json(context.path("score", "summary.json")).get("nearest", {})
    nearest = nearest if "table" in nearest else None
    write_cards(
        context.table("label", "samples"),
        context.table("score", "scores", "synthetic"),
        verdicts,
        context.classes.names,
        folder.path / "cards",
        None if nearest is None else context.table("score", nearest["table"]),
    )
    for line in funnel_told(funnel):
        console.print(f"  {line}", soft_wrap=True)
    return {"verdicts": verdicts.sha256}


def benchmark_stage(context: Context, folder: StageFolder) -> dict[str, str]:
    """Train and test the arms."""
    from terraloom.benchmarking import Inputs, run_benchmark
    from terraloom.controls import FOLDER_NAME
    from terraloom.dataset.build import HELD_BACK
    from terraloom.dataset.rows import TrainRows
    from terraloom.floors import FLOORS, floors_on_test
    from terraloom.ledger import LEDGER_NAME
    from terraloom.relabelling import relabelled_rows
    from terraloom.tables import MANIFEST

    settings = context.settings
    verdicts = context.table("curate", "verdicts").read(["id", "keep"]).to_pylist()
    real = context.table("build", "samples")
    ledger = context.project.folder / LEDGER_NAME
    held_back = context.path("build", HELD_BACK)

    def relabel(train: TrainRows, count: int, seed: int) -> TrainRows:
        labeller, labeller_sha256 = labellers(context, context.path("label"))
        return relabelled_rows(
            train,
            count,
            labeller=labeller,
            size=settings.generate.size,
            classes=context.classes,
            settings=settings.label,
            seed=seed,
            labeller_sha256=labeller_sha256,
            cache=context.cache,
        )

    results = run_benchmark(
        Inputs(
            real,
            context.table("label", "samples"),
            frozenset(row["id"] for row in verdicts if row["keep"]),
            context.cache,
            Table.open(held_back) if (held_back / MANIFEST).exists() else None,
            relabel,
        ),
        folder.path,
        classes=context.classes,
        settings=settings.benchmark,
        options={
            name: settings.options("segmenters", name) for name in settings.benchmark.architectures
        },
        ledger=ledger,
        controls=context.project.folder / FOLDER_NAME,
        seed=derive_seed(context.seed, "benchmark"),
        fabric=context.fabric,
        devices=settings.project.devices,
    )
    floors_on_test(
        real,
        context.classes.names,
        folder.path / FLOORS,
        ledger=ledger,
        recipe_sha256=results["recipe_sha256"],
        seed=derive_seed(context.seed, "floors"),
        cache=context.cache,
    )
    return {
        "results": sha256_of(folder.path / "results.json"),
        "floors": sha256_of(folder.path / FLOORS),
    }


def benchmark_captions_stage(context: Context, folder: StageFolder) -> dict[str, str]:
    """Train captioners per arm, and check what they say of test."""
    settings = context.settings.caption_benchmark
    if not settings.is_on:
        console.print("  off: [caption_benchmark] names no arms", soft_wrap=True, markup=False)
        return {}
    from terraloom.caption_benchmarking import CONTROLS, CaptionInputs, run_caption_benchmark
    from terraloom.ledger import LEDGER_NAME

    verdicts = context.table("curate", "verdicts").read(["id", "keep"]).to_pylist()
    samples = samples_by_kind(context)
    run_caption_benchmark(
        CaptionInputs(
            samples["real"],
            samples["synthetic"],
            frozenset(row["id"] for row in verdicts if row["keep"]),
            {kind: context.table("caption", kind) for kind in samples},
            context.cache,
        ),
        folder.path,
        classes=context.classes,
        settings=settings,
        ledger=context.project.folder / LEDGER_NAME,
        controls=context.project.folder / CONTROLS,
        seed=derive_seed(context.seed, "caption benchmark"),
        fabric=context.fabric,
    )
    return {"results": sha256_of(folder.path / "results.json")}


def report_stage(context: Context, folder: StageFolder) -> dict[str, str]:
    """Write the page."""
    return {"report": sha256_of(report_of(context, context.project.folder))}


def report_of(context: Context, project: Path) -> Path:
    """Write the page of a project folder, from what lies there; returns its path."""
    from terraloom.learning.device import describe_device
    from terraloom.report.page import write_report

    return write_report(
        project,
        project / "report",
        title=context.settings.project.name,
        classes=context.classes,
        provenance={
            "settings_sha256": sha256_of(project / SETTINGS_COPY),
            "seed": context.seed,
            "device": describe_device(context.fabric),
            "versions": library_versions(),
        },
    )
