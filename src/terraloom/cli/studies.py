"""Commands of several runs: folds and seeds, a loop on demand, which score predicts use."""

import json
from pathlib import Path
from typing import Annotated

import typer

from terraloom.cli._app import (
    ConfigArgument,
    JsonOption,
    OutOption,
    app,
    pipeline_of,
)
from terraloom.settings import CONFIG_NAME, load_settings
from terraloom.terminal import (
    duration,
    output,
    print_caption_results,
    print_results,
    print_view,
)


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
    each = f"{estimate['cells_per_chain']} trainings"
    if estimate["captioners_per_chain"]:
        each += f" and {estimate['captioners_per_chain']} of captioners"
    told = (
        f"{estimate['left']} of {estimate['chains']} chains left ({estimate['folds']} folds, "
        f"{estimate['seeds']} seeds, {each} each), about {duration(estimate['seconds'])} on two "
        "CPU cores"
    )
    (output if dry_run else console).print(told, soft_wrap=True)
    if dry_run:
        return
    validation.run()
    print_results(validation.folder, as_json)
    if settings.caption_benchmark.is_on and not as_json:
        print_caption_results(validation.folder, as_json)


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
    pipeline = pipeline_of(config, out)
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
