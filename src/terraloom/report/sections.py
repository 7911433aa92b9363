"""The other sections of the page: what is shown, in which order, and the caveats with it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from terraloom.caption_inputs import TELLING
from terraloom.classes import ClassTable
from terraloom.report import claim_tables, figures, galleries, published_tables, tables, text_tables
from terraloom.report.caption_table import corpora_table, writers_table
from terraloom.report.findings import APART, flat, legend, outsiders
from terraloom.report.marking import claims_legend
from terraloom.report.pictures import JPEG_NOTE, read_grid
from terraloom.report.reading import CHAINS, REAL, STAGES, ProjectFiles, tally
from terraloom.report.repair_table import REPAIRS, repair_table
from terraloom.report.views import (
    Block,
    Cell,
    Drawing,
    FigureView,
    PipelineView,
    Section,
    Source,
    StepView,
    TableView,
    TextView,
    missing,
)
from terraloom.report.wording import count, listed, percent, plural, short_hash
from terraloom.types import Float64Array

_LIMIT_FILES: Final = 12
_LIMIT_PLACES: Final = 12
_UNMEASURED: Final = {
    "leak": "what the text alone gives away",
    "retrieval": "whether captions find their images",
    "clipscore": "CLIPScore",
}
_EMBEDDING: Final = "score/embedding.parquet"
_BETWEEN: Final = "\x1f"
"""Parts a list that is counted as one text; no writer sees anything of that name."""


def data_section(files: ProjectFiles, classes: ClassTable) -> Section:
    """Where the real data came from, how it was filtered and split, and whether it leaks."""
    title = "Real data"
    rows = files.columns(REAL, ["split", "place", "date"])
    if rows is None:
        return Section("data", title, (missing("build", "real sample"),))
    used = files.source_files
    patches = tally(iter((rows,)), ("split", "place"))
    blocks: list[Block] = [tables.licences_table(used), tables.splits_table(patches)]
    dates = pc.min_max(rows.column("date")).as_py()
    if dates["min"] is not None:
        told = " to ".join(dict.fromkeys(str(dates[key]) for key in ("min", "max")))
        blocks.append(TextView(f"Dates of the images: {told}.", "small"))
    shares = _mean_shares(files, len(classes))
    blocks.append(
        FigureView(
            "class-shares", "Class shares of each role",
            "Stacked bars of the mean class shares of train, val and test.",
            figures.class_shares(shares, classes), (f"{REAL}, column shares",),
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
    left_out = list((filters or {}).get("left_out", {}).items())
    for name, reason in left_out[:_LIMIT_FILES]:
        blocks.append(TextView(f"Left out before cutting: {name}. {reason}", "warning"))
    if len(left_out) > _LIMIT_FILES:
        more = count(len(left_out) - _LIMIT_FILES)
        blocks.append(TextView(f"{more} more were left out (build/filters.json).", "warning"))
    leaks = files.json("build/leaks.json")
    blocks.append(tables.leaks_table(leaks) if leaks else missing("build", "leak test"))
    drawn = files.folder / "build" / "split-map.png"
    if drawn.exists():
        blocks.append(
            FigureView(
                "split-map", "Where the roles lie",
                "A map of the footprints of all patches, coloured by role.",
                Drawing(read_grid(drawn)), ("build/split-map.png",),
                ("Grey patches were left out between the roles.",),
            )
        )  # fmt: skip
    blocks.append(tables.places_table(patches, _LIMIT_PLACES))
    blocks.append(tables.sources_table(used, _LIMIT_FILES))
    return Section("data", title, tuple(blocks))


def chains_section(files: ProjectFiles) -> Section:
    """The whole runs that a cross-validation joined, each with its own cells."""
    cells = (files.results or {"cells": []})["cells"]
    rows = []
    for chain in files.chains:
        own = [c for c in cells if f"fold-{c['fold']}-seed-{c['chain']}" == chain]
        record = files.json(f"{CHAINS}/{chain}/benchmark/stage.json")
        mean = sum(c["val_f1"] for c in own) / len(own)
        rows.append(
            (
                tables.name(chain),
                tables.number(count(len(own))),
                tables.number(percent(mean)),
                Cell(short_hash(record["key"]) if record else "no record", "", "hash"),
            )
        )
    return Section(
        "chains",
        "The runs behind it",
        (
            TextView(
                f"Every chain under {CHAINS}/ is a project folder of its own: its data, samples, "
                "captions, scores and results lie there, and are not repeated here."
            ),
            TableView(
                "Chains", ("chain", "cells", "macro F1 on val, %", "run"), tuple(rows),
                (tables.RESULTS, f"{CHAINS}/*/benchmark/stage.json"),
                ("On val, mean over arms and cells: to see whether a chain went astray, no more.",),
            ),
        ),
    )  # fmt: skip


def pipeline_section(files: ProjectFiles) -> Section:
    """The stages as a drawing, each with what it made."""
    made = _made(files)
    steps = tuple(StepView(name, does, made[name], reads) for name, does, reads in _STEPS)
    sources = ("stage folders of the project",)
    return Section("pipeline", "How it was made", (PipelineView(steps, sources),))


def embedding_section(files: ProjectFiles) -> Section:
    """Maps of the images in the labeller's features, and silhouettes."""
    title = "Do synthetic images mix with real ones?"
    path = files.folder / _EMBEDDING
    blocks: list[Block] = []
    summary = files.scores.get("embedding")
    drawn = _drawn(summary) if summary else ""
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
                        f"Real: train rows.{drawn} Distances and sizes of clusters on such maps "
                        "have no scale; the silhouettes below are measured in the features.",
                    ),
                )
            )  # fmt: skip
    if summary:
        blocks.append(tables.silhouette_table(summary))
        apart = outsiders(summary)
        if apart:
            blocks.append(
                TextView(
                    f"Silhouette with real above {APART}: {listed(apart)}. The labeller sees "
                    "these as another kind of image, so its labels there are a guess.",
                    "warning",
                )
            )
    else:
        blocks.append(missing("score", "embedding"))
    return Section("embedding", title, tuple(blocks))


def _drawn(summary: Mapping[str, Any]) -> str:
    """Which images the map leaves out, as a sentence with a space before it; often nothing."""
    counts, totals = summary["counts"], summary.get("totals", {})
    thinned = [
        f"{count(counts[name])} of {count(total)} {name}"
        for name, total in totals.items()
        if counts[name] < total
    ]
    return f" Drawn evenly: {listed(thinned)}." if thinned else ""


def captions_section(files: ProjectFiles, classes: ClassTable) -> Section:
    """Captions with what their writer saw, redundancy, naming of the dominant class, digits."""
    title = "Captions"
    blocks: list[Block] = []
    for kind in ("real", "synthetic"):
        gallery = galleries.caption_gallery(files, classes, kind)
        blocks.append(gallery or missing("caption", f"caption of {kind} samples"))
    if any(files.table(table) for table in galleries.CLAIMS.values()):
        blocks.append(claims_legend())
    contradicted = galleries.contradicted_gallery(files, classes)
    if contradicted is not None:
        blocks.append(contradicted)
    claims = files.scores.get("claims")
    if claims:
        blocks += claim_tables.claims_tables(claims)
    else:
        blocks.append(missing("score", "check of the captions' claims"))
    repairs = files.json(REPAIRS)
    if repairs:
        blocks.append(repair_table(repairs))
    writers = _writers(files)
    if writers:
        blocks.append(writers)
    redundancy = files.scores.get("redundancy")
    if redundancy:
        blocks += [
            corpora_table(files.scores),
            tables.redundancy_table(redundancy),
            writers_table(),
        ]
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
    if claims:
        blocks.append(claim_tables.dominant_table(claims))
    measured = {
        "leak": text_tables.leak_table,
        "retrieval": text_tables.retrieval_table,
        "clipscore": text_tables.clip_table,
    }
    for scorer, table in measured.items():
        if files.scores.get(scorer):
            blocks.append(table(files.scores[scorer]))
    left = [f"{told} ({name})" for name, told in _UNMEASURED.items() if name not in files.scores]
    if left:
        told = f"Not measured in this run: {listed(left)}. Name them under [score] scorers."
        blocks.append(TextView(told, "small"))
    return Section("captions", title, tuple(blocks))


def published_section(files: ProjectFiles) -> Section:
    """The paper's table beside this run's."""
    results = files.results
    scope = results["table"][0]["architecture"] if results else ""
    owners = sorted({str(f["attribution"]) for f in files.source_files if f["attribution"]})
    data = f" Here the real rows are: {'; '.join(owners)}." if owners else ""
    blocks: tuple[Block, ...] = (
        TextView(
            "Another data set, other architectures, another budget: the two halves of this table "
            "are not a comparison. They stand side by side so that the direction of the effect "
            f"can be seen, and the paper's figures come without interval or seeds.{data}",
            "warning",
        ),
        published_tables.published_table(results, scope),
        published_tables.models_table(results),
    )
    if results is None:
        blocks = (missing("benchmark", "figure of this run"), *blocks)
    elif (gains := published_tables.classes_table(results, scope)) is not None:
        blocks = (*blocks, gains)
    return Section("published", "Published figures beside this run", blocks)


def provenance_section(
    files: ProjectFiles, provenance: Mapping[str, Any], sources: Sequence[Source]
) -> Section:
    """Versions, settings, stage records, budgets, and every file that a number came from.

    Args:
        files: of the project.
        provenance: as `write_report` takes it.
        sources: of all other sections.
    """
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
            "project folder, and the run that made each file: the key of its stage's settings "
            "and inputs, as in the table of stages below. This page computes no score. "
            f"{JPEG_NOTE}",
        ),
    ]
    if facts:
        given = "handed over by the run"
        blocks.append(tables.pairs_table("This run", ("what", "value"), facts, given))
    if versions:
        blocks.append(
            tables.pairs_table(
                "Versions", ("library", "version"), versions, "handed over by the run"
            )
        )
    if not files.chains:
        records = {stage: files.stage_record(stage) for stage in STAGES}
        blocks.append(tables.stages_table(records))
    if sources:
        blocks.append(tables.sources_read_table(sources))
    recipe = files.json("benchmark/recipe.json")
    if recipe is not None:
        blocks.append(
            tables.pairs_table(
                "Recipe of the benchmark, locked before the first look at test",
                ("setting", "value"),
                {"recipe, SHA-256": short_hash(recipe["sha256"]), **flat(recipe["settings"])},
                "benchmark/recipe.json",
                folded=True,
            )
        )
    columns = files.json("score/columns.json")
    if columns:
        blocks.append(tables.columns_table(columns))
    return Section("provenance", "Provenance", tuple(blocks))


def _mean_shares(files: ProjectFiles, num_classes: int) -> dict[str, Float64Array]:
    """Mean class shares of each role, the number of samples in the name."""
    sums: dict[str, Float64Array] = {}
    numbers: dict[str, int] = {}
    for piece in files.batches(REAL, ["split", "shares"]):
        flat = pc.list_flatten(piece.column("shares").combine_chunks())
        shares = flat.to_numpy(zero_copy_only=False).reshape(-1, num_classes)
        split = np.array(piece.column("split").to_pylist(), dtype=object)
        for role in ("train", "val", "test"):
            own = shares[split == role]
            if len(own):
                sums[role] = sums.get(role, 0.0) + own.sum(axis=0, dtype=np.float64)
                numbers[role] = numbers.get(role, 0) + len(own)
    return {
        f"{role} ({count(numbers[role])})": sums[role] / numbers[role]
        for role in ("train", "val", "test")
        if role in sums
    }


def _writers(files: ProjectFiles) -> TableView | None:
    """Writers with what they saw, over all captions."""
    found: dict[tuple[str, str, str, str, str], int] = {}
    for kind in ("real", "synthetic"):
        pieces = files.batches(f"caption/{kind}", ["writer", "mode", "saw", "model"])
        for values, number in tally(
            map(_joined, pieces), ("writer", "model", "mode", "saw")
        ).items():
            writer, model, mode, saw = values
            seen = listed(saw.split(_BETWEEN)) if saw else "nothing"
            key = (kind, writer, model or "", mode, seen)
            found[key] = found.get(key, 0) + number
    if not found:
        return None
    rows = []
    for (kind, writer, model, mode, saw), number in sorted(found.items()):
        told = any(word in saw for word in TELLING)
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
            "A caption whose writer saw the class shares, the mask (layout) or what contradicts "
            "the mask (feedback) may be a target of learning, never the input of a task that "
            "predicts shares or mask.",
        ),
    )


def _joined(piece: pa.Table) -> pa.Table:
    """Captions with the list of what their writer saw as one text, so that it can be counted."""
    place = piece.schema.get_field_index("saw")
    return piece.set_column(place, "saw", pc.binary_join(piece.column("saw"), _BETWEEN))


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
    made = dict.fromkeys(STAGES, "")
    if real := files.count_rows(REAL):
        made["build"] = plural(real, "real sample")
    if labeller := files.json("segment/labeller/state.json"):
        made["segment"] = f"val F1 {percent(labeller['summary']['best_val_f1'])} %"
    if samples := files.count_rows("generate/samples"):
        made["generate"] = plural(samples, "synthetic sample")
    if masks := files.count_rows("label/samples"):
        made["label"] = plural(masks, "mask")
    if captions := sum(files.count_rows(f"caption/{kind}") for kind in ("real", "synthetic")):
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
