"""What commands answer in a terminal: tables, estimates, verdicts; or the same as JSON."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

if TYPE_CHECKING:
    from terraloom.estimates import BuildEstimate
    from terraloom.report.views import TableView

output: Final = Console(highlight=False)
_SHOWN_ROWS: Final = 50


def print_estimate(pipeline: Any, until: str | None, as_json: bool) -> None:  # noqa: ANN401
    """Stages of a project with their state and time, and what building would bring."""
    from terraloom.estimates import estimate_build, estimate_run

    context = pipeline.context
    lines = estimate_run(pipeline, until)
    build = estimate_build(pipeline)
    download = build.download if build is not None else None
    total = sum(line.seconds or 0.0 for line in lines)
    total += download.seconds if download is not None else 0.0
    if as_json:
        print(
            json.dumps(
                {
                    "project": str(context.project.folder),
                    "seconds": round(total, 1),
                    "stages": [line.to_json() for line in lines],
                    "build": None if build is None else build.to_json(),
                },
                indent=1,
            )
        )
        return
    table = RichTable(title=f"{context.settings.project.name} in {context.project.folder}")
    for name in ("stage", "state", "rows", "work", "time"):
        table.add_column(name, justify="right" if name in ("rows", "time") else "left")
    for line in lines:
        table.add_row(
            line.stage, line.state, f"{line.rows:,}", Text(line.work), duration(line.seconds)
        )
    output.print(table)
    if build is not None:
        print_build(build)
    unknown = ", ".join(line.stage for line in lines if line.seconds is None)
    output.print(
        f"about {duration(total)} left on two CPU cores"
        + (f" without {unknown}, of which no rate is known" if unknown else "")
        + "; rows are upper bounds until built"
    )


def print_build(build: "BuildEstimate") -> None:
    """What building would bring and write."""
    plan = build.download
    if plan is not None:
        guess = "about " if plan.estimated else ""
        output.print(
            f"download: {plan.items - plan.done:,} of {plan.items:,} files left, "
            f"{guess}{size(plan.download_bytes)}, about {duration(plan.seconds)} at 40 Mbit/s; "
            f"about {size(plan.disk_bytes)} on disk",
            soft_wrap=True,
        )
        if plan.estimated:
            output.print(
                "  these sizes are only estimates from the area: the server did not answer for "
                "every file",
                soft_wrap=True,
            )
    output.print(
        f"patches: at most {build.candidates:,} of {build.patch_size} px, about "
        f"{size(build.patch_bytes)} on disk, twice that while they are cut",
        soft_wrap=True,
    )


def print_answer(columns: list[str], rows: list[dict[str, Any]], as_json: bool) -> None:
    """The answer of an SQL query, its first rows."""
    if as_json:
        print(json.dumps(rows, default=str))
        return
    table = RichTable(*columns)
    for row in rows[:_SHOWN_ROWS]:
        table.add_row(*(Text("" if v is None else str(v)) for v in row.values()))
    output.print(table)
    if len(rows) > _SHOWN_ROWS:
        output.print(f"{_SHOWN_ROWS} of {len(rows)} rows; --json prints all.")


def print_prediction(made: dict[str, Any], as_json: bool) -> None:
    """Square kilometres per class of a predicted scene, and where the map lies."""
    from terraloom.progress import console

    if made["clipped_share"] > 0.5:
        console.print(
            f"[yellow]{100 * made['clipped_share']:.0f} % of the scene is drawn all black or all "
            "white[/]: check --low, --high and --bands",
            soft_wrap=True,
        )
    if as_json:
        print(json.dumps(made, indent=1))
        return
    table = RichTable()
    table.add_column("class")
    for name in ("value", "share %", "km²"):
        table.add_column(name, justify="right")
    for row in made["classes"]:
        ground = f"{row['km2']:,.2f}" if "km2" in row else "-"
        table.add_row(row["name"], str(row["value"]), f"{100 * row['share']:.1f}", ground)
    output.print(table)
    sure = made["mean_confidence"]
    output.print(
        f"{made['width']} × {made['height']} pixels, {made['unknown_pixels']:,} unknown; "
        f"mean confidence {'-' if sure is None else f'{100 * sure:.1f} %'}; "
        f"{duration(made['seconds'])}, {made['pixels_per_second']:,.0f} pixels/s",
        soft_wrap=True,
    )
    output.print(f"map: {made['out']}", soft_wrap=True)


def print_view(view: "TableView") -> None:
    """A table of a page on the terminal; its texts may come from a stranger's file."""
    from rich.box import SIMPLE_HEAD
    from rich.text import Text

    title = Text(view.title, style="bold")
    table = RichTable(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for position, header in enumerate(view.headers):
        figures = bool(view.rows) and view.rows[0][position].tone == "number"
        table.add_column(
            Text(header),
            justify="right" if figures else "left",
            overflow="fold",
            no_wrap=not figures and position == 0,
        )
    for row in view.rows:
        table.add_row(
            *(Text(f"{cell.text}\n{cell.detail}" if cell.detail else cell.text) for cell in row)
        )
    output.print(table)
    for note in view.notes:
        output.print(Text(note), soft_wrap=True)


def print_results(folder: Path, as_json: bool) -> None:
    """Arms, verdict, redundancy of captions, and the path of the report of a project."""
    from terraloom.files import read_json
    from terraloom.pipeline import read_results

    results = read_results(folder)
    summary_path = folder / "score" / "summary.json"
    summary = read_json(summary_path) if summary_path.exists() else {}
    report = folder / "report" / "report.html"
    if as_json:
        print(
            json.dumps(
                {
                    "table": results["table"],
                    "verdicts": results["verdicts"],
                    "sentence": results["sentence"],
                    "redundancy": summary.get("redundancy"),
                    "report": str(report.resolve()),
                },
                indent=1,
            )
        )
        return
    design = results["design"]
    architectures = design["architectures"]
    table = RichTable(
        title=f"{', '.join(architectures)} tested on {design['test_places']} real places; "
        f"{_runs(design)}, {design['images_per_cell']:,} images each"
    )
    table.add_column("arm", no_wrap=True)
    if len(architectures) > 1:
        table.add_column("model", no_wrap=True)
    for name in ("F1 %", "95 % interval", "IoU %", "prec. %", "recall %"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in results["table"]:
        table.add_row(
            row["arm"],
            *([row["architecture"]] if len(architectures) > 1 else []),
            f"{100 * row['f1']['mean']:.1f}",
            f"{100 * row['f1']['low']:.1f} … {100 * row['f1']['high']:.1f}",
            *(f"{100 * row[metric]['mean']:.1f}" for metric in ("iou", "precision", "recall")),
        )
    output.print(table)
    output.print(f"[bold]Verdict:[/] {results['sentence']}", soft_wrap=True)
    redundancy = summary.get("redundancy", {}).get("all")
    if redundancy:
        output.print(
            f"Captions: {redundancy['captions']:,}, exact redundancy "
            f"{100 * redundancy['exact']:.2f} %, normalised {100 * redundancy['normalised']:.2f} %",
            soft_wrap=True,
        )
    output.print(f"Report: {report.resolve()}", soft_wrap=True)


def _runs(design: dict[str, Any]) -> str:
    """Folds and seeds of a design, as far as there are several."""
    told = f"{design['segmenter_seeds']} seeds"
    if design["generator_seeds"] > 1:
        told = f"{design['generator_seeds']} seeds of the whole chain" + (
            f" with {told} each" if design["segmenter_seeds"] > 1 else ""
        )
    return f"{design['folds']} folds, {told}" if design.get("folds", 1) > 1 else told


def print_caption_results(folder: Path, as_json: bool) -> None:
    """What captioners learned per arm, claims first, and the verdicts."""
    from terraloom.files import read_json
    from terraloom.report.caption_benchmark_section import RESULTS, claims_table

    results = read_json(folder / RESULTS)
    if as_json:
        print(json.dumps(results, indent=1))
        return
    print_view(claims_table(results))
    for verdict in results["verdicts"]:
        output.print(Text(verdict["sentence"]), soft_wrap=True)
    output.print(f"all of it: {folder / RESULTS}", soft_wrap=True, markup=False)


def duration(seconds: float | None) -> str:
    """Hours, minutes and seconds in words; "?" where nobody knows."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def size(count: int) -> str:
    """Bytes in decimal units, as disks and lines are sold."""
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= step:
            return f"{count / step:.1f} {unit}"
    return f"{count} bytes"
