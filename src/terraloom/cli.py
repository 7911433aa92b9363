"""The command line: one thin command per face. Parse, call, print."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

# Waiting threads must sleep, not spin, or two processes on one machine starve one another. OpenMP
# reads this once, when torch is imported, which every command does later than this line.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import typer

from terraloom.errors import OutputError, TerraloomError
from terraloom.settings import CONFIG_NAME, load_settings
from terraloom.terminal import (
    duration,
    output,
    print_answer,
    print_caption_results,
    print_estimate,
    print_prediction,
    print_results,
    print_view,
)

if TYPE_CHECKING:
    pass

app = typer.Typer(
    name="terraloom",
    help="Weaves labelled, captioned, verified land-cover data sets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigArgument = Annotated[
    Path, typer.Argument(help="terraloom.toml, or the folder that holds it.")
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", help="Project folder; left out, the folder of the settings file."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
RetryOption = Annotated[
    bool,
    typer.Option("--retry-failed", help="Try again what could not be fetched or captioned."),
]
EngineOption = Annotated[
    str, typer.Option("--engine", help="Where shards are computed: local (this process).")
]


def main() -> None:
    """Entry point: runs a command; wrong input ends with one message and exit code 2."""
    try:
        app()
    except TerraloomError as error:
        print(f"terraloom: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except PermissionError as error:
        print(
            f"terraloom: no permission for {error.filename}. Choose a folder that you may use.",
            file=sys.stderr,
        )
        sys.exit(OutputError.exit_code)
    except KeyboardInterrupt:
        print("terraloom: stopped; run the same command again to go on.", file=sys.stderr)
        sys.exit(130)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Project folder.")] = Path("demo"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of everything.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """The whole pipeline on a small procedural world, in a few minutes on two cores."""
    from terraloom.demo import write_demo_settings
    from terraloom.pipeline import Pipeline

    path = write_demo_settings(out, seed)
    pipeline = Pipeline(load_settings(path), out)
    pipeline.run()
    print_results(out, as_json)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write terraloom.toml.")],
) -> None:
    """Write an annotated terraloom.toml with every default."""
    from terraloom.settings_file import write_annotated

    path = folder / CONFIG_NAME
    if path.exists():
        raise OutputError(f"{path} exists already; delete it or choose another folder.")
    write_annotated(path)
    output.print(f"wrote {path}; next: terraloom run {folder} --dry-run", soft_wrap=True)


@app.command()
def run(
    config: ConfigArgument = Path(CONFIG_NAME),
    out: OutOption = None,
    until: Annotated[str | None, typer.Option("--until", help="Last stage to run.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would run, and how long; do nothing.")
    ] = False,
    retry_failed: RetryOption = False,
    engine: EngineOption = "local",
    as_json: JsonOption = False,
) -> None:
    """Run every stage that is not done; the same command resumes."""
    from terraloom.errors import InputError
    from terraloom.stages import stage_named

    _check_engine(engine)
    if until is not None:
        stage_named(until)
    if dry_run and retry_failed:
        raise InputError("--dry-run does nothing, so --retry-failed cannot stand beside it.")
    pipeline = _pipeline(config, out)
    if dry_run:
        print_estimate(pipeline, until, as_json)
        return
    if retry_failed:
        _forget_failed(pipeline)
    pipeline.run(until=until)
    if until in (None, "benchmark", "report"):
        print_results(pipeline.context.project.folder, as_json)


@app.command()
def build(
    config: ConfigArgument = Path(CONFIG_NAME),
    out: OutOption = None,
    retry_failed: RetryOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find, cut and split image-mask pairs, and test for leaks."""
    pipeline = _pipeline(config, out)
    if retry_failed:
        _forget_failed(pipeline)
    _run_stage(pipeline, "build", as_json)


@app.command()
def caption(
    config: ConfigArgument = Path(CONFIG_NAME),
    out: OutOption = None,
    retry_failed: RetryOption = False,
    as_json: JsonOption = False,
) -> None:
    """Caption every sample."""
    pipeline = _pipeline(config, out)
    if retry_failed:
        _forget_failed(pipeline)
    _run_stage(pipeline, "caption", as_json)


def _stage_command(name: str, help_text: str) -> None:
    @app.command(name=name, help=help_text)
    def command(
        config: ConfigArgument = Path(CONFIG_NAME),
        out: OutOption = None,
        as_json: JsonOption = False,
    ) -> None:
        _run_stage(_pipeline(config, out), name, as_json)


_stage_command("segment", "Train the segmenter that labels and measures.")
_stage_command("generate", "Train generators and make synthetic samples.")
_stage_command("label", "Give synthetic images their masks.")
_stage_command("score", "Measure samples, captions and the corpus.")


@app.command()
def curate(
    config: ConfigArgument = Path(CONFIG_NAME),
    out: OutOption = None,
    sql: Annotated[
        str | None,
        typer.Option("--sql", help="Ask the score cards, as in: SELECT id FROM cards WHERE keep."),
    ] = None,
    subset: Annotated[
        str | None,
        typer.Option("--subset", help="Write the samples that --sql names to subsets/NAME."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Keep or reject synthetic samples, with reasons; ask the score cards with --sql."""
    from terraloom.errors import InputError

    if subset is not None and sql is None:
        raise InputError("--subset needs --sql, which says which samples belong to it.")
    pipeline = _pipeline(config, out)
    if sql is None:
        _run_stage(pipeline, "curate", as_json)
        return
    from terraloom.cards import query, write_subset
    from terraloom.tables import Table

    project = pipeline.context.project.folder
    answer = query(Table.open(project / "curate" / "cards"), sql)
    if subset is None:
        print_answer(answer.column_names, answer.to_pylist(), as_json)
        return
    samples = Table.open(project / "label" / "samples")
    made = write_subset(samples, answer, sql, subset, project)
    told = {"subset": subset, "samples": made.num_rows, "of": samples.num_rows}
    if as_json:
        print(json.dumps(told))
    else:
        output.print(f"wrote {made.num_rows} of {samples.num_rows} samples to {made.folder}")


_stage_command("benchmark", "Train the arms at equal budgets, test on real rows, judge.")


@app.command(name="benchmark-captions")
def benchmark_captions(
    config: ConfigArgument = Path(CONFIG_NAME),
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a captioner per arm, check what it says of test images, judge."""
    from terraloom.errors import SettingsError
    from terraloom.stages import CAPTION_BENCHMARK

    pipeline = _pipeline(config, out)
    if not pipeline.context.settings.caption_benchmark.is_on:
        raise SettingsError(
            "the captioning benchmark is off: caption_benchmark.arms names none. Set, for "
            'instance, arms = ["real", "real-strong", "synthetic", "real+both"] under '
            "[caption_benchmark]."
        )
    pipeline.run(only=CAPTION_BENCHMARK)
    print_caption_results(pipeline.context.project.folder, as_json)


_stage_command("report", "Write the report page.")


@app.command(name="cross-validate")
def cross_validate(
    config: ConfigArgument = Path(CONFIG_NAME),
    out: OutOption = None,
    folds: Annotated[
        int | None, typer.Option(help="Grouped folds over all places [default: split.folds, or 5].")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds of the whole chain, per fold.")] = 3,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what is left and how long it takes.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the whole chain on every fold and seed, and judge all of them together.

    Start the same command a second time, here or on another machine that sees the folder, and
    both share the work.
    """
    from terraloom.cross_validation import CrossValidation
    from terraloom.progress import console

    settings = load_settings(config)
    default = config if config.is_dir() else config.parent
    validation = CrossValidation(
        settings,
        (out if out is not None else default) / "cross-validation",
        folds if folds is not None else (settings.split.folds or 5),
        seeds,
    )
    estimate = validation.estimate()
    if dry_run and as_json:
        print(json.dumps(estimate, indent=1))
        return
    told = (
        f"{estimate['left']} of {estimate['chains']} chains left ({estimate['folds']} folds, "
        f"{estimate['seeds']} seeds, {estimate['cells_per_chain']} trainings each), about "
        f"{duration(estimate['seconds'])} on two CPU cores"
    )
    (output if dry_run else console).print(told, soft_wrap=True)
    if dry_run:
        return
    validation.run()
    print_results(validation.folder, as_json)


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(help="Project folder.")],
    as_json: JsonOption = False,
) -> None:
    """What is done, what is left, and the estimated time."""
    from terraloom.errors import InputError
    from terraloom.pipeline import Pipeline
    from terraloom.trained import project_settings

    settings = project_settings(folder)
    if settings is not None:
        pipeline = Pipeline(settings, folder)
    elif (folder / CONFIG_NAME).exists():
        pipeline = Pipeline(load_settings(folder), folder)
    else:
        raise InputError(f"{folder} is no project: it holds neither a run nor a {CONFIG_NAME}.")
    print_estimate(pipeline, None, as_json)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Project folder, or a trained segmenter's folder.")],
    scene: Annotated[
        str, typer.Argument(help="GeoTIFF or VRT; or one file per band, RED,GREEN,BLUE.")
    ],
    out: Annotated[Path, typer.Argument(help="Map to write, a cloud-optimised GeoTIFF.")],
    bands: Annotated[
        str, typer.Option("--bands", help="Red, green, blue, counted from 1 through all files.")
    ] = "1,2,3",
    low: Annotated[
        float | None, typer.Option("--low", help="Value drawn as 0; left out, the project's.")
    ] = None,
    high: Annotated[
        float | None, typer.Option("--high", help="Value drawn as 255; left out, the project's.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="Preset, or file with classes; else the project's."),
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(
            "--tile", help="Side of a tile in pixels; left out, that of its training's crops."
        ),
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option("--overlap", help="Pixels that tiles share; left out, a quarter of a tile."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", help="Tiles in one forward pass; left out, by size.")
    ] = None,
    confidence: Annotated[
        Path | None, typer.Option("--confidence", help="Second map: certainty in percent.")
    ] = None,
    flips: Annotated[
        bool, typer.Option("--flips", help="Average over mirror images; four times slower.")
    ] = False,
    codes: Annotated[
        bool, typer.Option("--codes", help="Write source codes (WorldCover 10 … 100), not labels.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Predict the land cover of a whole scene, of any size and in any CRS."""
    from terraloom.errors import InputError
    from terraloom.predicting import predict_scene
    from terraloom.prediction.scenes import open_scene, scene_paths
    from terraloom.trained import load_model

    try:
        numbers = [int(part) for part in bands.split(",")]
    except ValueError:
        raise InputError(f"--bands {bands!r} is no list of numbers, as in --bands 1,2,3.") from None
    paths = scene_paths(scene)
    dtypes = open_scene(paths, numbers).dtypes
    trained = load_model(model, classes)
    low, high = trained.scale_for(dtypes, low, high)
    made = predict_scene(
        trained.segmenter,
        trained.classes,
        paths,
        out,
        low=low,
        high=high,
        bands=numbers,
        tile=trained.window if tile is None else tile,
        overlap=overlap,
        batch=batch,
        confidence=confidence,
        flips=flips,
        codes=codes,
        overwrite=overwrite,
        tags={"model_sha256": trained.sha256, "architecture": trained.architecture},
    )
    print_prediction({**made.to_json(), "model_sha256": trained.sha256}, as_json)


@app.command(name="audit-captions")
def audit_caption_file(
    file: Annotated[
        Path, typer.Argument(help="JSON or CSV with captions, or a captions table's folder.")
    ],
    masks: Annotated[
        Path | None,
        typer.Option("--masks", help="Folder of masks named like the images, or a samples table."),
    ] = None,
    mask_style: Annotated[
        str, typer.Option("--mask-style", help="What masks hold: auto, labels, codes, colours.")
    ] = "auto",
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="Preset, or file with classes; else worldcover7."),
    ] = None,
    text_columns: Annotated[
        str | None, typer.Option("--text-columns", help="Of a CSV, separated by commas.")
    ] = None,
    image_column: Annotated[
        str | None, typer.Option("--image-column", help="Of a CSV: the image's name or id.")
    ] = None,
    max_images: Annotated[
        int,
        typer.Option("--max-images", min=1, help="Most images compared with shares or masks."),
    ] = 4000,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write all of it as one page as well.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Redundancy, leakage and claims of anybody's caption file."""
    from terraloom.auditing.command import audit_file, write_audit_page
    from terraloom.auditing.views import audit_tables
    from terraloom.trained import class_table_of, read_class_table

    project = file.resolve().parents[1] / "build" if len(file.resolve().parents) > 1 else file
    if classes is None and file.is_dir() and (project / "classes.json").is_file():
        table = read_class_table(project / "classes.json")
    else:
        table = class_table_of(classes or "worldcover7")
    found = audit_file(
        file,
        classes=table,
        masks=masks,
        mask_style=mask_style,
        text_columns=None if text_columns is None else text_columns.split(","),
        image_column=image_column,
        max_images=max_images,
    )
    if html is not None:
        write_audit_page(html, found)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for view in audit_tables(found):
        print_view(view)
    if html is not None:
        output.print(f"page: {html}", soft_wrap=True, markup=False)


@app.command(name="score-captions")
def score_caption_file(
    candidates: Annotated[Path, typer.Argument(help="One caption per image, JSON or CSV.")],
    references: Annotated[Path, typer.Argument(help="Captions that count as right.")],
    masks: Annotated[
        Path | None,
        typer.Option("--masks", help="Folder of masks, or a samples table: checks claims too."),
    ] = None,
    mask_style: Annotated[
        str, typer.Option("--mask-style", help="What masks hold: auto, labels, codes, colours.")
    ] = "auto",
    classes: Annotated[
        str, typer.Option("--classes", help="Preset, or file with classes.")
    ] = "worldcover7",
    only_candidates: Annotated[
        bool,
        typer.Option("--only-candidates", help="Leave out images that no candidate is of."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Claim accuracy, BLEU, METEOR, ROUGE-L and CIDEr-D of a caption file."""
    from terraloom.auditing.overlap import overlap_table, score_files
    from terraloom.trained import class_table_of

    found = score_files(
        candidates,
        references,
        classes=class_table_of(classes),
        masks=masks,
        mask_style=mask_style,
        only_candidates=only_candidates,
    )
    if as_json:
        print(json.dumps(found, indent=1))
        return
    print_view(overlap_table(found))


@app.command()
def demand(
    config: ConfigArgument = Path(CONFIG_NAME),
    out: OutOption = None,
    rounds: Annotated[int, typer.Option("--rounds", help="Rounds at most.")] = 2,
    samples: Annotated[int, typer.Option("--samples", help="Samples made in each round.")] = 200,
    images: Annotated[
        int | None,
        typer.Option("--images", help="Budget of images trained on; left out, what rounds need."),
    ] = None,
    folds: Annotated[int, typer.Option("--folds", help="Of the places of train.")] = 3,
    seeds: Annotated[int, typer.Option("--seeds", help="Networks per fold.")] = 2,
    weak: Annotated[int, typer.Option("--weak", help="Weak classes of a round, at most.")] = 3,
    share: Annotated[
        float, typer.Option("--share", help="Of a weak class in the masks asked for, 0 to 1.")
    ] = 0.5,
    shared: Annotated[
        bool,
        typer.Option(
            "--shared", help="One labeller and generator for all folds: quicker, gains too high."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell trainings and time; do nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Find weak classes within train, generate for them, keep what helps; one look at test."""
    from terraloom.demand.options import DemandOptions, costs_of
    from terraloom.demand.views import costs_table
    from terraloom.estimates import estimate_run
    from terraloom.report.demand_section import look_table, rounds_table

    options = DemandOptions(rounds, samples, images, folds, seeds, weak, share, shared)
    pipeline = _pipeline(config, out)
    if dry_run:
        train = next(e.rows for e in estimate_run(pipeline, "segment") if e.stage == "segment")
        costs = costs_of(pipeline.context.settings, options, train)
        if as_json:
            print(json.dumps({"train_rows": train, **costs.to_json()}, indent=1))
        else:
            print_view(costs_table(costs, options))
        return
    from terraloom.demand.loop import run_demand

    found = run_demand(pipeline, options)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    print_view(rounds_table(found))
    look = look_table(found)
    if look is None:
        output.print("No sample was accepted, so test was not looked at.", style="bold")
        return
    print_view(look)
    output.print(found["look"]["sentence"], soft_wrap=True, markup=False, style="bold")
    output.print("the report is due again: `terraloom report` shows the loop too", soft_wrap=True)


@app.command(name="which-score")
def which_score(
    project: Annotated[Path, typer.Argument(help="Project folder, run at least up to score.")],
    slices: Annotated[
        int, typer.Option("--slices", help="Parts of the synthetic pool that are trained on.")
    ] = 24,
    seeds: Annotated[int, typer.Option("--seeds", help="Trainings of each slice.")] = 2,
    rows: Annotated[
        int | None, typer.Option("--rows", help="Samples of a slice; left out, a quarter of all.")
    ] = None,
    images: Annotated[
        int | None,
        typer.Option("--images", help="That a training sees; left out, as in the benchmark."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Left out, which-score in the project.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell trainings and time; do nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Which score predicts use? Train on slices of the pool, correlate scores with gains on val."""
    from terraloom.errors import InputError
    from terraloom.report.usefulness_section import cautions, scores_table, slices_table
    from terraloom.slice_study.study import FOLDER, StudyPlan, estimate_study, run_study, tell_plan
    from terraloom.stages import Context
    from terraloom.trained import project_settings

    settings = project_settings(project)
    if settings is None:
        raise InputError(f"{project} is no project that ever ran; run: terraloom run {project}")
    plan = StudyPlan(slices, seeds, rows, images)
    context = Context(settings, project)
    folder = project / FOLDER if out is None else out
    estimate = estimate_study(context, folder, plan)
    if dry_run:
        if as_json:
            print(json.dumps(estimate.to_json(), indent=1))
        else:
            output.print(
                f"{estimate.cells - estimate.done} of {estimate.cells} trainings left of "
                f"{estimate.images:,} images each, slices of {estimate.rows} of {estimate.pool} "
                f"samples: about {duration(estimate.seconds)} on two CPU cores",
                soft_wrap=True,
            )
        return
    tell_plan(estimate)
    found = run_study(context, folder, plan)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    print_view(scores_table(found))
    print_view(slices_table(found))
    for line in cautions(found):
        output.print(f"- {line}", soft_wrap=True, markup=False)
    output.print(found["ranking"]["sentence"], soft_wrap=True, markup=False, style="bold")
    output.print(f"all of it: {folder}", soft_wrap=True, markup=False)
    if out is None:
        output.print("the report is due again: `terraloom report` shows the study", soft_wrap=True)


@app.command()
def world(
    folder: Annotated[Path, typer.Argument(help="Receives the GeoTIFF tiles.")],
    height: Annotated[int, typer.Option(min=64, help="Pixels from north to south.")] = 1024,
    width: Annotated[int, typer.Option(min=64, help="Pixels from west to east.")] = 1024,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the landscape.")] = 0,
    season: Annotated[float, typer.Option(min=0, max=1, help="Time of the year.")] = 0.55,
) -> None:
    """Write the procedural world as GeoTIFF tiles under the official WorldCover names."""
    from terraloom.sources.world import Settings, write_world

    settings = Settings(height=height, width=width, season=season)
    for path in write_world(folder, settings, seed):
        output.print(str(path), soft_wrap=True)


@app.command()
def export(
    layout: Annotated[str, typer.Argument(help="A member of exporters, such as folder.")],
    project: Annotated[Path, typer.Argument(help="Project folder.")],
    folder: Annotated[Path, typer.Argument(help="Receives the data set; new or empty.")],
) -> None:
    """Write the data set (real samples and kept synthetic ones) in another layout."""
    from terraloom import families
    from terraloom.files import check_writable
    from terraloom.tables import MANIFEST, Table
    from terraloom.trained import read_class_table

    module = families.member("exporters", layout)
    real = Table.open(project / "build" / "samples")
    classes = read_class_table(project / "build" / "classes.json")
    if folder.exists() and any(folder.iterdir()):
        raise OutputError(f"{folder} is not empty; choose a new folder.")
    check_writable(folder)
    synthetic, kept = None, frozenset[str]()
    if (project / "curate" / "verdicts" / MANIFEST).exists():
        synthetic = Table.open(project / "label" / "samples")
        rows = Table.open(project / "curate" / "verdicts").read(["id", "keep"]).to_pylist()
        kept = frozenset(row["id"] for row in rows if row["keep"])
    captions = {
        kind: Table.open(project / "caption" / kind)
        for kind in ("real", "synthetic")
        if (project / "caption" / kind / MANIFEST).exists()
    }
    exporter = module.build(module.Settings(), classes)
    count = exporter.export(real, synthetic, kept, captions, folder)
    output.print(f"wrote {count} samples to {folder}", soft_wrap=True)


@app.command(name="import")
def import_data(
    layout: Annotated[str, typer.Argument(help="Layout of the data set: aras.")],
    folder: Annotated[Path, typer.Argument(help="The data set, as its archives unpack.")],
    out: Annotated[Path, typer.Argument(help="Project folder.")],
    zips: Annotated[
        Path | None,
        typer.Option("--zips", help="Folder of the archives to check; left out, the data set's."),
    ] = None,
    md5: Annotated[
        Path | None,
        typer.Option("--md5", help="List of checksums, as md5sum writes it, for another edition."),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes; 0: all cores.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Take in a published data set with its captions, percentages and synthetic part."""
    from terraloom.engines import local_engine
    from terraloom.errors import InputError
    from terraloom.importing.aras import PUBLISHED_MD5, import_aras, summary_lines
    from terraloom.importing.archives import read_md5_file

    if layout != "aras":
        raise InputError(f"import knows no layout {layout!r}; there is: aras.")
    with local_engine(workers) as engine:
        summary = import_aras(
            folder,
            out,
            archives=zips,
            md5=PUBLISHED_MD5 if md5 is None else read_md5_file(md5),
            engine=engine,
        )
    if as_json:
        print(json.dumps(summary, indent=1))
        return
    for line in summary_lines(summary):
        output.print(line, soft_wrap=True)
    output.print(f"all of it: {out / 'import' / 'import.json'}", soft_wrap=True)
    output.print(f"next: terraloom build {out}", soft_wrap=True)


@app.command()
def members(as_json: JsonOption = False) -> None:
    """List every family and its members."""
    from terraloom import families

    found = {
        family: {name: families.description(family, name) for name in families.members(family)}
        for family in families.FAMILIES
    }
    if as_json:
        print(json.dumps(found, indent=1))
        return
    for family, entries in found.items():
        output.print(f"[bold]{family}[/]")
        for name, line in entries.items():
            output.print(f"  {name:<14} {line}", soft_wrap=True, markup=False)


def _pipeline(config: Path, out: Path | None) -> Any:  # noqa: ANN401 - imported late
    from terraloom.pipeline import Pipeline

    settings = load_settings(config)
    default = config if config.is_dir() else config.parent
    return Pipeline(settings, out if out is not None else default)


def _run_stage(pipeline: Any, name: str, as_json: bool) -> None:  # noqa: ANN401
    pipeline.run(only=name)
    record = pipeline.context.project.stage(name).record() or {}
    if as_json:
        print(json.dumps(record, indent=1))
    else:
        output.print(f"{name}: {pipeline.context.path(name)}", soft_wrap=True)


def _forget_failed(pipeline: Any) -> None:  # noqa: ANN401
    from terraloom.progress import console

    count = pipeline.retry_failed()
    console.print(
        f"to be tried again: {count} that could not be fetched or captioned", soft_wrap=True
    )


def _check_engine(engine: str) -> None:
    if engine != "local":
        from terraloom.errors import InputError

        raise InputError(f"--engine {engine!r} is unknown; there is: local.")
