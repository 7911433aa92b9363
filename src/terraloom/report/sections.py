"""The sections of the page: what is shown, in which order, and the caveats that go with it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq

from terraloom.arms import is_control
from terraloom.classes import ClassTable
from terraloom.ledger import LEDGER_NAME, count_looks
from terraloom.report import figures, galleries, tables
from terraloom.report.reading import STAGES, ProjectFiles, Training
from terraloom.report.views import (
    Block,
    FigureView,
    LegendView,
    ListView,
    PipelineView,
    Section,
    StepView,
    TableView,
    TextView,
    VerdictView,
    missing,
)
from terraloom.report.wording import count, listed, percent, plural, short_hash
from terraloom.types import Float64Array

_FEW_PLACES: Final = 20
_SEEDS_SHOWN: Final = 3
_SEEDS_CLAIMED: Final = 5
_UNLEARNED: Final = 0.01
_TOUCHING_M: Final = 100.0
_APART: Final = 0.25
"""Silhouettes above this are commonly read as separate groups."""
_LIMIT_FILES: Final = 12
_LIMIT_PLACES: Final = 12
_EMBEDDING: Final = "score/embedding.parquet"


def verdict_section(files: ProjectFiles) -> Section:
    """The answer first: verdict, arms with intervals, caveats, differences, curves."""
    title = "Does the synthetic data help?"
    results = files.results
    if results is None:
        return Section("verdict", title, (missing("benchmark", "verdict"),))
    scopes = list(dict.fromkeys(row["architecture"] for row in results["table"]))
    first = scopes[0]
    blocks: list[Block] = [_verdict(results, files, first)]
    if results.get("missing_arms"):
        blocks.append(
            TextView(
                f"Left out for want of a synthetic row to train on: "
                f"{listed(results['missing_arms'])}.",
                "warning",
            )
        )
    blocks.append(tables.arms_table(results, first))
    rows = [
        row
        for row in results["differences"]
        if row["metric"] == "f1" and row["architecture"] == first
    ]
    if rows:
        blocks += [
            FigureView(
                "paired-differences",
                "Paired differences of macro F1",
                "Forest plot; the same figures stand in the table below.",
                figures.paired_differences(rows),
                (tables.RESULTS,),
                (
                    "Lines: 95 % intervals. An arm helps where every interval against a control "
                    "lies right of zero. Grey: differences too small for this design to detect "
                    "four times in five.",
                ),
            ),
            tables.differences_table(results, first),
        ]
    blocks += [
        ListView("What this verdict rests on", tuple(_design(results)), (tables.RESULTS,)),
        *_cautions(results, files),
    ]
    per_class = _class_blocks(results, first)
    curves = _curves(files, results)
    extra = [_scope_section(results, scope) for scope in scopes[1:]]
    return Section(
        "verdict",
        title,
        tuple(blocks),
        (
            Section("verdict-classes", "Per class", tuple(per_class)),
            Section("verdict-curves", "Validation curves", tuple(curves)),
            *extra,
        ),
    )


def data_section(files: ProjectFiles, classes: ClassTable) -> Section:
    """Where the real data came from, how it was filtered and split, and whether it leaks."""
    title = "Real data"
    if files.table(galleries.REAL) is None:
        return Section("data", title, (missing("build", "real sample"),))
    rows = files.rows(galleries.REAL, ["id", "split", "place", "date", "shares"])
    used = source_files(files)
    blocks: list[Block] = [tables.licences_table(used), tables.splits_table(rows)]
    dates = sorted({row["date"] for row in rows if row["date"] is not None})
    if dates:
        told = f"{dates[0]}" if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        blocks.append(TextView(f"Dates of the images: {told}.", "small"))
    shares = {}
    for role in ("train", "val", "test"):
        own = [row["shares"] for row in rows if row["split"] == role]
        if own:
            shares[f"{role} ({len(own)})"] = np.array(own, dtype=np.float64).mean(axis=0)
    blocks.append(
        FigureView(
            "class-shares", "Class shares of each role",
            "Stacked bars of the mean class shares of train, val and test.",
            figures.class_shares(shares, classes), (f"{galleries.REAL}, column shares",),
            ("Means over samples; the number of samples is in brackets.",),
        )
    )  # fmt: skip
    gallery = galleries.real_gallery(files, classes)
    if gallery is not None:
        blocks += [gallery, legend(classes)]
    filters = files.json("build/filters.json")
    blocks.append(
        tables.filters_table(filters) if filters else missing("build", "record of the filters")
    )
    for name, reason in (filters or {}).get("left_out", {}).items():
        blocks.append(TextView(f"Left out before cutting: {name}. {reason}", "warning"))
    leaks = files.json("build/leaks.json")
    blocks.append(tables.leaks_table(leaks) if leaks else missing("build", "leak test"))
    blocks.append(tables.places_table(rows, _LIMIT_PLACES))
    blocks.append(tables.sources_table(used, _LIMIT_FILES))
    return Section("data", title, tuple(blocks))


def pipeline_section(files: ProjectFiles) -> Section:
    """The stages as a drawing, each with what it made."""
    made = _made(files)
    steps = tuple(StepView(name, does, made[name], reads) for name, does, reads in _STEPS)
    sources = ("stage folders of the project",)
    return Section("pipeline", "How it was made", (PipelineView(steps, sources),))


def synthetic_section(files: ProjectFiles, classes: ClassTable) -> Section:
    """What generators made, how they trained, what curation kept and why."""
    title = "Synthetic data"
    blocks: list[Block] = []
    if files.table(galleries.LABELLED) is None:
        blocks.append(missing("label", "labelled synthetic sample"))
    pictures = [
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


def composition_section(files: ProjectFiles, classes: ClassTable) -> Section:
    """Class shares, real beside each synthetic origin."""
    title = "Composition"
    summary = files.scores.get("composition")
    if summary is None:
        return Section("composition", title, (missing("score", "composition"),))
    blocks: list[Block] = [
        FigureView(
            "composition", "Mean class shares by origin",
            "Bars per class and origin; synthetic origins are hatched.",
            figures.composition(summary["origins"], classes),
            (f"{tables.SUMMARY}, composition",),
            (
                "Class colours; synthetic origins hatched. Real: train rows. Synthetic: every "
                "sample that was made, by its final mask.",
            ),
        ),
        tables.composition_table(summary),
    ]  # fmt: skip
    strange = _strangers(summary)
    if strange:
        blocks.append(
            TextView(
                f"Above the ceiling: {listed(strange)}. Their classes are mixed less like the real "
                "rows than classes with exchanged names would be.",
                "warning",
            )
        )
    return Section("composition", title, tuple(blocks))


def embedding_section(files: ProjectFiles) -> Section:
    """Maps of the images in the labeller's features, and silhouettes."""
    title = "Do synthetic images mix with real ones?"
    path = files.folder / _EMBEDDING
    blocks: list[Block] = []
    if path.exists():
        rows = pq.read_table(path).to_pydict()
        maps: dict[str, Float64Array] = {}
        for method, heading in (("tsne", "t-SNE"), ("umap", "UMAP")):
            if f"{method}_x" in rows:
                maps[heading] = np.stack(
                    [np.array(rows[f"{method}_{axis}"], dtype=np.float64) for axis in "xy"], axis=1
                )
        if maps:
            blocks.append(
                FigureView(
                    "embedding", f"{listed(list(maps))} of the labeller's features",
                    "Scatter plots of images by origin.",
                    figures.embedding(maps, rows["origin"]), (_EMBEDDING,),
                    (
                        "Real: train rows. Distances and sizes of clusters on such maps have no "
                        "scale; the silhouettes below are measured in the features.",
                    ),
                )
            )  # fmt: skip
    summary = files.scores.get("embedding")
    if summary:
        blocks.append(tables.silhouette_table(summary))
        apart = _outsiders(summary)
        if apart:
            blocks.append(
                TextView(
                    f"Silhouette with real above {_APART}: {listed(apart)}. The labeller sees "
                    "these as another kind of image, so its labels there are a guess.",
                    "warning",
                )
            )
    else:
        blocks.append(missing("score", "embedding"))
    nearest = files.scores.get("nearest")
    if nearest:
        blocks.append(tables.nearest_table(nearest))
    return Section("embedding", title, tuple(blocks))


def captions_section(files: ProjectFiles, classes: ClassTable) -> Section:
    """Captions with what their writer saw, redundancy, naming of the dominant class, digits."""
    title = "Captions"
    blocks: list[Block] = []
    for kind in ("real", "synthetic"):
        gallery = galleries.caption_gallery(files, classes, kind)
        blocks.append(gallery or missing("caption", f"caption of {kind} samples"))
    writers = _writers(files)
    if writers:
        blocks.append(writers)
    redundancy = files.scores.get("redundancy")
    if redundancy:
        blocks.append(tables.redundancy_table(redundancy))
        digits = redundancy.get("all", {})
        blocks.append(
            TextView(
                f"Captions that hold a digit: {count(digits.get('with_digits'))} of "
                f"{count(digits.get('captions'))}. Digits would give class shares away "
                f"({tables.SUMMARY}, redundancy).",
            )
        )
    else:
        blocks.append(missing("score", "redundancy of captions"))
    dominant = files.scores.get("dominant")
    blocks.append(
        tables.dominant_table(dominant) if dominant
        else missing("score", "rate of naming the dominant class")
    )  # fmt: skip
    blocks.append(
        TextView(
            "Not measured in this run: CLIPScore, claim-by-claim checks of each caption against "
            "its mask, and a probe of what the text alone gives away.",
            "small",
        )
    )
    return Section("captions", title, tuple(blocks))


def published_section(files: ProjectFiles) -> Section:
    """The paper's table beside this run's."""
    results = files.results
    scope = results["table"][0]["architecture"] if results else ""
    owners = sorted({str(f["attribution"]) for f in source_files(files) if f["attribution"]})
    data = f" Here the real rows are: {'; '.join(owners)}." if owners else ""
    blocks: tuple[Block, ...] = (
        TextView(
            "Another data set, other architectures, another budget: the two halves of this table "
            "are not a comparison. They stand side by side so that the direction of the effect "
            f"can be seen, and the paper's figures come without interval or seeds.{data}",
            "warning",
        ),
        tables.published_table(results, scope),
    )
    if results is None:
        blocks = (missing("benchmark", "figure of this run"), *blocks)
    return Section("published", "Published figures beside this run", blocks)


def provenance_section(files: ProjectFiles, provenance: Mapping[str, Any]) -> Section:
    """Versions, settings, stage records, budgets."""
    versions = {str(k): v for k, v in sorted(dict(provenance.get("versions") or {}).items())}
    known = {
        "terraloom": provenance.get("terraloom") or versions.get("terraloom"),
        "settings, SHA-256": provenance.get("settings_sha256"),
        "seed": provenance.get("seed"),
        "device": provenance.get("device"),
        "generated": provenance.get("generated"),
    }
    facts = {key: value for key, value in known.items() if value is not None}
    blocks: list[Block] = [
        TextView(
            "Every figure and table names the files that it was made from, as paths inside the "
            "project folder. This page computes no score.",
        ),
        tables.pairs_table("This run", ("what", "value"), facts, "handed over by the run"),
    ]
    if versions:
        blocks.append(
            tables.pairs_table(
                "Versions", ("library", "version"), versions, "handed over by the run"
            )
        )
    blocks.append(tables.stages_table({stage: files.stage_record(stage) for stage in STAGES}))
    recipe = files.json("benchmark/recipe.json")
    if recipe is not None:
        blocks.append(
            tables.pairs_table(
                "Recipe of the benchmark, locked before the first look at test",
                ("setting", "value"),
                {"recipe, SHA-256": short_hash(recipe["sha256"]), **_flat(recipe["settings"])},
                "benchmark/recipe.json",
                folded=True,
            )
        )
    columns = files.json("score/columns.json")
    if columns:
        blocks.append(tables.columns_table(columns))
    return Section("provenance", "Provenance", tuple(blocks))


def legend(classes: ClassTable) -> LegendView:
    """Class colours, and black for unknown."""
    entries = [(land.name, "#{:02x}{:02x}{:02x}".format(*land.colour)) for land in classes.classes]
    return LegendView((*entries, ("unknown", "#000000")))


def _verdict(results: Mapping[str, Any], files: ProjectFiles, first: str) -> VerdictView:
    design = results["design"]
    verdicts = results["verdicts"]
    word = next((v["verdict"] for v in verdicts if v["sentence"] == results["sentence"]), "")
    several = len({v["architecture"] for v in verdicts}) > 1
    arms = tuple(
        (v["architecture"] if several else "", v["verdict"], v["sentence"])
        for v in verdicts
        if v["sentence"] != results["sentence"]
    )
    rows = next(row for row in results["table"] if row["architecture"] == first)
    looks = count_looks(files.looks)
    facts = [
        (count(rows["runs"]), "runs per arm"),
        (count(design["test_places"]), "test places"),
        (count(design["test_pixels"]), "test pixels"),
        (count(design["images_per_cell"]), "training images per run"),
        (count(looks["looks"]), "looks at test"),
        (
            count(looks["recipes"]),
            "locked recipe" if looks["recipes"] == 1 else "locked recipes",
        ),
        (f"{percent(results['aa']['rate'])} %", "false alarms, A/A"),
    ]
    sources = (tables.RESULTS, LEDGER_NAME, "build/samples")
    owners = sorted({str(f["attribution"]) for f in source_files(files) if f["attribution"]})
    data = "; ".join(owners) or "source not stated"
    return VerdictView(results["sentence"], word, arms, data, tuple(facts), sources)


def _design(results: Mapping[str, Any]) -> list[str]:
    """What the reader must know of the design to weigh the verdict."""
    design = results["design"]
    seeds, generators = design["segmenter_seeds"], design["generator_seeds"]
    architectures = design["architectures"]
    items = [
        f"{plural(seeds, 'segmenter seed')} nested in {plural(generators, 'generator seed')}, "
        f"{plural(len(architectures), 'architecture')} ({listed(architectures)}): the intervals "
        "hold the spread over test places and segmenter trainings"
        + (
            ", and none of the spread over generator trainings. Another generator run may "
            "land elsewhere."
            if generators < 2
            else " and generator trainings."
        ),
        f"Every arm saw {count(design['images_per_cell'])} training images at the same schedule; "
        "only the rows differ. The weights kept are those with the best macro F1 on val.",
        "A verdict holds against each control at once: helps, where every interval against a "
        "control lies above zero; hurts, where one lies below; otherwise no evidence.",
    ]
    if any(v["verdict"] == "no evidence" for v in results["verdicts"]):
        items.append(
            "No evidence is not evidence of no effect. An effect smaller than the one named "
            "in the sentence (2.8 standard errors of the paired difference) would be missed more "
            "often than one time in five."
        )
    first = results["table"][0]["architecture"]
    controls = {
        row["arm"]: row["f1"]["mean"]
        for row in results["table"]
        if row["architecture"] == first and is_control(row["arm"])
    }
    if len(controls) > 1:
        best = max(controls, key=lambda arm: controls[arm])
        items.append(
            f"The strongest control is {best}, macro F1 {percent(controls[best])} %; beating a "
            "weaker one alone counts for little."
        )
    absent = design["absent_classes"]
    if absent:
        items.append(
            f"Absent from the test truth: {listed(absent)}. A class absent from both truth and "
            "prediction is left out of the macro averages, so nothing is said about it; one "
            "that is predicted all the same counts as 0."
        )
    else:
        items.append("Every class is present in the test truth.")
    aa = results["aa"]
    items.append(
        f"A/A check: the arm {aa['arm']} against itself is told to help in "
        f"{percent(aa['rate'])} % of resamples (limit {percent(aa['limit'])} %)."
    )
    return items


def _cautions(results: Mapping[str, Any], files: ProjectFiles) -> list[Block]:
    """What weakens this particular run, where something does."""
    design = results["design"]
    found = []
    if design["segmenter_seeds"] < _SEEDS_SHOWN:
        found.append(
            f"Fewer than {_SEEDS_SHOWN} seeds: these figures should not be shown as a result."
        )
    elif design["segmenter_seeds"] < _SEEDS_CLAIMED:
        found.append(
            f"{plural(design['segmenter_seeds'], 'seed')} illustrate; a claim needs "
            f"{_SEEDS_CLAIMED}."
        )
    if design["test_places"] < _FEW_PLACES:
        found.append(
            f"{plural(design['test_places'], 'test place')} only: bootstrap intervals over so few "
            "places tend to be too narrow, and rare classes hang on one or two of them."
        )
    if results["aa"]["rate"] > results["aa"]["limit"]:
        found.append(
            "The A/A rate is above its limit: the intervals are too narrow, so read a verdict of "
            "helps with suspicion."
        )
    cells = results["cells"]
    found += _weak_points(results, files)
    late = [cell for cell in cells if cell["best_images"] >= cell["images"]]
    if late:
        found.append(
            f"In {len(late)} of {plural(len(cells), 'run')} the best val figure came at the last "
            "check: training had not levelled off, so a larger budget may change the order."
        )
    looks = count_looks(files.looks)
    if looks["recipes"] > 1:
        found.append(
            f"Test was looked at under {looks['recipes']} locked recipes: later ones may have been "
            "chosen with test in mind."
        )
    if looks["looks"] > looks["cells"]:
        found.append("Some cells looked at test more than once (runs that were cut off).")
    if not files.looks:
        found.append("The ledger of looks at test is empty or gone, so nothing vouches for it.")
    if not found:
        return []
    sources = (
        tables.RESULTS, LEDGER_NAME, "build/leaks.json", "curate/funnel.json",
        tables.SUMMARY,
    )  # fmt: skip
    return [ListView("What weakens it", tuple(found), sources, "warning")]


def _weak_points(results: Mapping[str, Any], files: ProjectFiles) -> list[str]:
    """Weaknesses that other stages' figures show."""
    found = []
    scope = results["table"][0]["architecture"]
    own = [row for row in results["table"] if row["architecture"] == scope]
    unlearned = [
        land
        for land in results["design"]["classes"]
        if land not in results["design"]["absent_classes"]
        and all((row["f1_per_class"].get(land) or 0) < _UNLEARNED for row in own)
    ]
    if unlearned:
        found.append(
            f"No arm learned {listed(unlearned)} (F1 below {percent(_UNLEARNED)} % in every arm): "
            "the budget or the data is too small to say anything about it."
        )
    gap = ((files.json("build/leaks.json") or {}).get("nearest_m") or {}).get("train-test")
    if gap is not None and gap < _TOUCHING_M:
        found.append(
            f"Train and test patches lie next to each other (smallest gap {gap:.0f} m): close "
            "pixels are alike, so the test figures of every arm may be flattering."
        )
    funnel = files.json("curate/funnel.json") or {}
    composition = files.scores.get("composition")
    for origin, entry in funnel.items():
        if entry["made"] and entry["kept"] == entry["made"]:
            found.append(
                f"Curation rejected none of the {count(entry['made'])} {origin} samples: its rules "
                "filter nothing there."
            )
    for origin in _strangers(composition):
        kept = funnel.get(origin, {}).get("kept")
        told = "" if kept is None else f", and {count(kept)} of them were kept"
        found.append(
            f"The {origin} samples are further from the real class shares than shuffled classes "
            f"are (section Composition){told}."
        )
    apart = _outsiders(files.scores.get("embedding"))
    if apart:
        found.append(
            f"Samples that lie apart from the real ones in the labeller's features (silhouette "
            f"above {_APART}): {listed(apart)}."
        )
    return found


def _strangers(summary: Mapping[str, Any] | None) -> list[str]:
    """Origins whose composition lies above the ceiling."""
    if summary is None:
        return []
    origins = summary["origins"].items()
    return [o for o, entry in origins if entry["distance"] > summary["ceiling"]]


def _outsiders(summary: Mapping[str, Any] | None) -> list[str]:
    """Origins that lie apart from the real rows."""
    if not summary:
        return []
    pairs = ((pair.split(", "), value) for pair, value in summary["pairwise"].items())
    return [
        pair[1]
        for pair, value in pairs
        if pair[0] == "real" and len(pair) == 2 and value is not None and value > _APART
    ]


def _class_blocks(results: Mapping[str, Any], scope: str) -> list[Block]:
    rows = [row for row in results["per_class"] if row["architecture"] == scope]
    blocks: list[Block] = []
    if rows:
        blocks += [
            FigureView(
                f"class-differences-{scope}" if scope != "all" else "class-differences",
                "F1 per class, arm minus the best control",
                "Dot plots with intervals; the same figures stand in the table below.",
                figures.class_differences(rows, results["design"]["classes"]),
                (tables.RESULTS,),
                ("Filled: different from zero after Holm's correction. Hollow: no evidence.",),
            ),
            tables.class_differences_table(results, scope),
        ]
    blocks.append(tables.class_scores_table(results, scope))
    return blocks


def _curves(files: ProjectFiles, results: Mapping[str, Any]) -> list[Block]:
    design = results["design"]
    named: list[tuple[str, Training]] = []
    cells = {cell.name: cell for cell in files.cells}
    for arm in design["arms"]:
        for architecture in design["architectures"]:
            for index in range(design["segmenter_seeds"]):
                cell = cells.get(f"{architecture}-{arm}-{index}")
                if cell is not None and cell.history:
                    named.append((arm, cell))
    if not named:
        return [missing("benchmark", "training history of the runs")]
    return [
        FigureView(
            "validation-curves", "Macro F1 on val while the arms trained",
            "Line plot of validation macro F1 against training images, by arm.",
            figures.validation_curves(named), ("benchmark/cells/*/state.json",),
            ("One line per run. Val steers the choice of weights, so it is no estimate of test.",),
        )
    ]  # fmt: skip


def _scope_section(results: Mapping[str, Any], scope: str) -> Section:
    blocks: tuple[Block, ...] = (
        tables.arms_table(results, scope),
        tables.differences_table(results, scope),
        tables.class_differences_table(results, scope),
        tables.class_scores_table(results, scope),
    )
    slug = "".join(c if c.isascii() and c.isalnum() else "-" for c in scope)
    return Section(f"verdict-{slug}", f"Architecture {scope}", blocks)


def _generator_blocks(files: ProjectFiles) -> list[Block]:
    states = {name: files.json(f"generate/models/{name}/state.json") for name in files.generators}
    if not states:
        return [missing("generate", "trained generator")]
    blocks: list[Block] = []
    sources = ("generate/models/*/state.json",)
    histories = {
        name: state["history"]
        for name, state in states.items()
        if state is not None and any("agreement" in entry for entry in state["history"])
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
    budget = {
        name: f"{count(state['images'])} images of {count(state['train_rows'])} rows, "
        f"{state['shape']['size']} × {state['shape']['size']} pixels; "
        + (", ".join(f"{k} {v}" for k, v in _flat(state["options"]).items()) or "default options")
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
                galleries.read_grid(path), (f"generate/models/{name}/{path.name}",),
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
    names = ("agreement", "confidence", "known_share")
    labels = files.rows("label/labels", ["id", *names])
    if not labels:
        return {}
    origin = {row["id"]: row["origin"] for row in files.rows(galleries.LABELLED, ["id", "origin"])}
    origins = sorted(set(origin.values()))
    return {
        column: {
            o: np.array(
                [
                    row[column]
                    for row in labels
                    if origin.get(row["id"]) == o and row[column] is not None
                ],
                dtype=np.float64,
            )
            for o in origins
        }
        for column in names
    }


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
        tables.funnel_table(funnel),
    ]  # fmt: skip
    gallery = galleries.rejected_gallery(files, classes)
    blocks.append(gallery or TextView("No sample was rejected.", "small"))
    return blocks


def _writers(files: ProjectFiles) -> TableView | None:
    """Writers with what they saw, over all captions."""
    found: dict[tuple[str, str, str, str, str], int] = {}
    for kind in ("real", "synthetic"):
        for row in files.rows(f"caption/{kind}", ["writer", "mode", "saw", "model"]):
            saw = listed(row["saw"] or []) or "nothing"
            key = (kind, row["writer"], row["model"] or "", row["mode"], saw)
            found[key] = found.get(key, 0) + 1
    if not found:
        return None
    rows = []
    for (kind, writer, model, mode, saw), number in sorted(found.items()):
        told = any(word in saw for word in ("shares", "layout"))
        rows.append(
            (
                tables.name(kind),
                tables.name(writer, model),
                tables.name(mode),
                tables.name(saw),
                tables.number(count(number)),
                tables.name("target only" if told else "target or input"),
            )
        )
    return TableView(
        "Writers and what they saw",
        ("captions of", "writer", "mode", "saw", "captions", "may serve as"),
        tuple(rows),
        ("caption/real", "caption/synthetic"),
        (
            "A caption whose writer saw the class shares or the mask (layout) may be a target of "
            "learning, never the input of a task that predicts either.",
        ),
    )


def source_files(files: ProjectFiles) -> list[dict[str, Any]]:
    """Distinct source files of the real samples."""
    table = files.table(galleries.REAL)
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    if table is None:
        return []
    for batch in table.batches(["source"], rows=2000):
        for used in batch.column("source").to_pylist():
            for file in used or []:
                found[tuple(str(value) for value in file.values())] = file
    return [file for _, file in sorted(found.items())]


_STEPS: Final = (
    ("build", "find pairs, cut, filter, split by place, test for leaks", "all roles"),
    ("segment", "train the labeller", "fits train, steers by val"),
    ("generate", "train generators, make samples", "fits train, watched on val masks"),
    ("label", "give synthetic images their masks", "no test row"),
    ("caption", "write captions of every sample", "fits nothing"),
    ("score", "measure samples, captions, corpus", "fits nothing"),
    ("curate", "keep or reject, with the reason", "synthetic only"),
    ("benchmark", "train the arms, look at test once each", "fits train, steers by val"),
)


def _made(files: ProjectFiles) -> dict[str, str]:
    """What each stage made, in numbers; empty where it has not run."""

    def size(name: str) -> int:
        table = files.table(name)
        return table.num_rows if table is not None else 0

    made = dict.fromkeys(STAGES, "")
    if real := size("build/samples"):
        made["build"] = plural(real, "real sample")
    if labeller := files.json("segment/labeller/state.json"):
        made["segment"] = f"val F1 {percent(labeller['summary']['best_val_f1'])} %"
    if samples := size("generate/samples"):
        made["generate"] = plural(samples, "synthetic sample")
    if masks := size("label/samples"):
        made["label"] = plural(masks, "mask")
    if captions := len(files.rows("caption/real", ["id"])) + len(
        files.rows("caption/synthetic", ["id"])
    ):
        made["caption"] = plural(captions, "caption")
    if files.scores:
        made["score"] = plural(len(files.scores), "scorer")
    if funnel := files.json("curate/funnel.json"):
        kept = sum(entry["kept"] for entry in funnel.values())
        total = sum(entry["made"] for entry in funnel.values())
        made["curate"] = f"{count(kept)} of {count(total)} kept"
    if files.results is not None:
        made["benchmark"] = plural(len(files.results["cells"]), "training")
    return made


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            found |= _flat(inner, f"{prefix}{key}.")
        else:
            sequence = isinstance(inner, Sequence) and not isinstance(inner, str)
            found[f"{prefix}{key}"] = ", ".join(map(str, inner)) if sequence else inner
    return found
