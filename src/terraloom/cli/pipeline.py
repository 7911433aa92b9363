"""Commands of the pipeline: the demo, a whole run, one stage, what is done."""

import json
from pathlib import Path
from typing import Annotated

import typer

from terraloom.cli._app import (
    ConfigArgument,
    EngineOption,
    JsonOption,
    OutOption,
    RetryOption,
    app,
    check_engine,
    forget_failed,
    pipeline_of,
    run_stage,
)
from terraloom.errors import OutputError
from terraloom.settings import CONFIG_NAME, load_settings
from terraloom.terminal import (
    output,
    print_answer,
    print_caption_results,
    print_estimate,
    print_results,
)


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

    check_engine(engine)
    if until is not None:
        stage_named(until)
    if dry_run and retry_failed:
        raise InputError("--dry-run does nothing, so --retry-failed cannot stand beside it.")
    pipeline = pipeline_of(config, out)
    if dry_run:
        print_estimate(pipeline, until, as_json)
        return
    if retry_failed:
        forget_failed(pipeline)
    pipeline.run(until=until)
    if until in (None, "benchmark", "report"):
        print_results(pipeline.context.project.folder, as_json)


def _retrying_command(name: str, help_text: str) -> None:
    @app.command(name=name, help=help_text)
    def command(
        config: ConfigArgument = Path(CONFIG_NAME),
        out: OutOption = None,
        retry_failed: RetryOption = False,
        as_json: JsonOption = False,
    ) -> None:
        pipeline = pipeline_of(config, out)
        if retry_failed:
            forget_failed(pipeline)
        run_stage(pipeline, name, as_json)


def _stage_command(name: str, help_text: str) -> None:
    @app.command(name=name, help=help_text)
    def command(
        config: ConfigArgument = Path(CONFIG_NAME),
        out: OutOption = None,
        as_json: JsonOption = False,
    ) -> None:
        run_stage(pipeline_of(config, out), name, as_json)


_retrying_command("build", "Find, cut and split image-mask pairs, and test for leaks.")
_retrying_command("caption", "Caption every sample.")
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
    pipeline = pipeline_of(config, out)
    if sql is None:
        run_stage(pipeline, "curate", as_json)
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

    pipeline = pipeline_of(config, out)
    if not pipeline.context.settings.caption_benchmark.is_on:
        raise SettingsError(
            "the captioning benchmark is off: caption_benchmark.arms names none. Set, for "
            'instance, arms = ["real", "real-strong", "synthetic", "real+both"] under '
            "[caption_benchmark]."
        )
    pipeline.run(only=CAPTION_BENCHMARK)
    print_caption_results(pipeline.context.project.folder, as_json)


_stage_command("report", "Write the report page.")


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
