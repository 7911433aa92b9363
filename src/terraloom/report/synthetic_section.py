"""The section on synthetic data: samples, generators while they trained, labels, curation."""

import numpy as np
import pyarrow.compute as pc

from terraloom.classes import ClassTable
from terraloom.report import figures, galleries, tables
from terraloom.report.findings import flat, legend
from terraloom.report.generator_tables import running_figures
from terraloom.report.pictures import read_grid
from terraloom.report.reading import ProjectFiles
from terraloom.report.views import (
    Block,
    Drawing,
    FigureView,
    Section,
    TextView,
    missing,
)
from terraloom.report.wording import count, percent
from terraloom.types import Float64Array


def synthetic_section(files: ProjectFiles, classes: ClassTable) -> Section:
    """What generators made, how they trained, what curation kept and why."""
    title = "Synthetic data"
    blocks: list[Block] = []
    if files.table(galleries.LABELLED) is None:
        blocks.append(missing("label", "labelled synthetic sample"))
    pictures = [
        galleries.sample_grid(files, classes),
        galleries.conditional_gallery(files, classes),
        galleries.unconditional_gallery(files, classes),
    ]
    shown = [gallery for gallery in pictures if gallery is not None]
    blocks += shown
    if shown:
        blocks.append(legend(classes))
    return Section(
        "synthetic",
        title,
        tuple(blocks),
        (
            Section("synthetic-training", "While the generators trained",
                    tuple(_generator_blocks(files))),
            Section("synthetic-labels", "Labels", tuple(_label_blocks(files))),
            Section("synthetic-curation", "Curation", tuple(_curation_blocks(files, classes))),
        ),
    )  # fmt: skip


def _generator_blocks(files: ProjectFiles) -> list[Block]:
    states = {name: files.json(f"generate/models/{name}/state.json") for name in files.generators}
    if not states:
        return [missing("generate", "trained generator")]
    blocks: list[Block] = []
    sources = ("generate/models/*/state.json",)
    histories = {
        name: state["history"]
        for name, state in states.items()
        if state is not None and any("diversity" in entry for entry in state["history"])
    }
    if histories:
        blocks.append(
            FigureView(
                "generator-curves", "Agreement and diversity",
                "Line plots of agreement and diversity against training images, by generator.",
                figures.generator_curves(histories), sources,
                (
                    "Agreement: asked-for pixels of fixed val masks that the labeller sees the "
                    "same. Diversity: difference between two seeds for one mask; a generator that "
                    "ignores its noise stays at 0. No ranking of generators follows from budgets "
                    "this small.",
                ),
            )
        )  # fmt: skip
    blocks += running_figures(states)
    budget = {
        name: f"{count(state['images'])} images of {count(state['train_rows'])} rows, "
        f"{state['shape']['size']} × {state['shape']['size']} pixels; "
        + (", ".join(f"{k} {v}" for k, v in flat(state["options"]).items()) or "default options")
        for name, state in states.items()
        if state is not None
    }
    blocks.append(tables.pairs_table("Generators", ("generator", "training"), budget, sources[0]))
    for name in states:
        path = files.last_grid(name)
        if path is None:
            continue
        slug = "".join(c if c.isascii() and c.isalnum() else "-" for c in name)
        blocks.append(
            FigureView(
                f"grid-{slug}", f"Picture grid of {name} at its last check",
                f"Grid of masks, real images and samples of {name}.",
                Drawing(read_grid(path)), (f"generate/models/{name}/{path.name}",),
                (
                    "Rows of fixed train masks: mask, real image, then one image per seed. A last "
                    "row of a generator that also makes images freely is unconditional.",
                ),
                pixelated=True,
            )
        )  # fmt: skip
    return blocks


def _label_blocks(files: ProjectFiles) -> list[Block]:
    blocks: list[Block] = []
    labeller = files.json("segment/labeller/state.json")
    if labeller is None:
        blocks.append(missing("segment", "labeller"))
    else:
        recipe, summary = labeller["recipe"], labeller["summary"]
        blocks.append(
            TextView(
                f"Labeller: {recipe['architecture']} (preset {recipe['preset']}), "
                f"{count(summary['images'])} training images, macro F1 on val "
                f"{percent(summary['best_val_f1'])} %, chosen by that same val "
                "(segment/labeller/state.json). Its mistakes become labels: agreement says how "
                "well a sample suits this labeller, not how true it is.",
            )
        )
    summary = files.scores.get("agreement")
    if summary:
        blocks.append(tables.agreement_table(summary))
    elif files.table(galleries.LABELLED) is not None:
        blocks.append(missing("score", "summary of the labels"))
    values = _label_values(files)
    if values:
        record = files.stage_record("curate")
        bounds: dict[str, list[float]] = {}
        if record is not None:
            for rule in record["settings"].get("curate", {}).get("rules", []):
                edges = [rule[key] for key in ("min", "max") if rule.get(key) is not None]
                bounds.setdefault(rule["column"], []).extend(edges)
        note = " Dashed: bounds of the curation rules." if bounds else ""
        blocks.append(
            FigureView(
                "label-scores", "Label figures of single samples",
                "Histograms of agreement, confidence and known share by origin.",
                figures.score_histograms(values, bounds), ("label/labels", "curate/stage.json"),
                (f"Samples without a figure are left out.{note}",),
            )
        )  # fmt: skip
    return blocks


def _label_values(files: ProjectFiles) -> dict[str, dict[str, Float64Array]]:
    """Figures of the samples by column and origin; samples without a figure are left out."""
    names = ("agreement", "confidence", "known_share")
    labels = files.columns("label/labels", ["id", *names])
    samples = files.columns(galleries.LABELLED, ["id", "origin"])
    if labels is None or samples is None:
        return {}
    joined = labels.join(samples, "id", join_type="inner")
    origins = sorted(pc.unique(joined.column("origin")).to_pylist())
    found: dict[str, dict[str, Float64Array]] = {column: {} for column in names}
    for origin in origins:
        own = joined.filter(pc.equal(joined.column("origin"), origin))
        for column in names:
            values = pc.drop_null(own.column(column)).to_numpy()
            found[column][origin] = values.astype(np.float64)
    return found


def _curation_blocks(files: ProjectFiles, classes: ClassTable) -> list[Block]:
    funnel = files.json("curate/funnel.json")
    if not funnel:
        return [missing("curate", "funnel")]
    blocks: list[Block] = [
        FigureView(
            "funnel", "What curation kept",
            "Stacked bars of kept and rejected samples by origin and rule.",
            figures.retention(funnel), ("curate/funnel.json",),
        ),
        tables.funnel_table(funnel, files.json("curate/bounds.json")),
    ]  # fmt: skip
    gallery = galleries.rejected_gallery(files, classes)
    blocks.append(gallery or TextView("No sample was rejected.", "small"))
    return blocks
