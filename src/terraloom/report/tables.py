"""One function per table: results in, rows of cells out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from terraloom.arms import is_control
from terraloom.report.views import Cell, Source, TableView
from terraloom.report.wording import (
    ABSENT,
    count,
    distance,
    interval,
    listed,
    p_value,
    percent,
    points,
    short_hash,
)

RESULTS: Final = "benchmark/results.json"
SUMMARY: Final = "score/summary.json"
_TONES: Final = {"helps": "good", "hurts": "bad", "no evidence": "plain"}


def name(text: str, detail: str = "") -> Cell:
    """A cell that names its row."""
    return Cell(text, detail, "name")


def number(text: str, detail: str = "") -> Cell:
    """A cell with a figure, set to the right."""
    return Cell(text, detail, "number")


def arms_table(results: Mapping[str, Any], scope: str) -> TableView:
    """Arms of one architecture scope with 95 % intervals."""
    rows = []
    for row in results["table"]:
        if row["architecture"] != scope:
            continue
        runs = row["f1_per_run"]
        figures = [
            number(percent(row[metric]["mean"]), interval(row[metric]["low"], row[metric]["high"]))
            for metric in ("f1", "iou", "precision", "recall")
        ]
        rows.append(
            (
                name(row["arm"], "control" if is_control(row["arm"]) else ""),
                number(count(results.get("rows", {}).get(row["arm"]))),
                *figures,
                number(percent(row["accuracy"])),
                number(count(row["runs"]), f"F1 {percent(min(runs))} to {percent(max(runs))}"),
            )
        )
    design = results["design"]
    return TableView(
        f"Arms on the real test rows ({_scope(scope)}), in percent",
        ("arm", "training rows", "macro F1", "IoU", "precision", "recall", "accuracy", "runs"),
        tuple(rows),
        (RESULTS,),
        (
            "In brackets: 95 % interval of a hierarchical bootstrap over "
            f"{count(design['test_places'])} test places and the runs, "
            f"{count(design['draws'])} draws. Intervals of single arms overlap more readily than "
            "those of paired differences: judge by the differences.",
        ),
    )


def differences_table(results: Mapping[str, Any], scope: str) -> TableView:
    """Paired differences of all metrics, and the smallest effect the design could have seen."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in results["differences"]:
        if row["architecture"] == scope:
            found.setdefault((row["arm"], row["control"]), {})[row["metric"]] = row
    rows = []
    for (arm, control), metrics in found.items():
        cells = [
            number(points(row["mean"]), interval(row["low"], row["high"], signed=True))
            for row in (metrics[key] for key in ("f1", "iou", "precision", "recall"))
        ]
        smallest = number(percent(metrics["f1"]["minimum_detectable"]))
        rows.append((name(f"{arm} − {control}"), *cells, smallest))
    return TableView(
        f"Paired differences ({_scope(scope)}), in percentage points",
        ("arm − control", "macro F1", "IoU", "precision", "recall", "smallest detectable F1"),
        tuple(rows),
        (RESULTS,),
        (
            "The last column is the difference of macro F1 that this design would detect four "
            "times in five.",
        ),
    )


def architectures_table(found: Mapping[str, Any]) -> TableView:
    """Architectures against each other on the same rows, the clearest pairs first."""
    rows = [
        (
            name(f"{row['better']} − {row['worse']}"),
            number(points(row["mean"]), interval(row["low"], row["high"], signed=True)),
            number(percent(row["minimum_detectable"])),
            number(p_value(row["p_holm"])),
            Cell("better" if row["clear"] else "no evidence", "", "good" if row["clear"] else ""),
        )
        for row in sorted(found["pairs"], key=lambda row: (row["p_holm"], -row["mean"]))
    ]
    return TableView(
        f"Architectures against each other (arm {found['arm']}), macro F1 in percentage points",
        ("pair", "difference", "smallest detectable", "p, Holm", ""),
        tuple(rows),
        (RESULTS,),
        (
            "Paired by fold, seed and place; Holm's correction runs over all pairs. At these "
            "budgets: another length of training may order them otherwise.",
        ),
    )


def questions_table(results: Mapping[str, Any], scope: str) -> TableView:
    """The joined arm against arms that each ask one question of it."""
    rows = [
        (
            name(row["question"]),
            Cell(f"{row['arm']} − {row['against']}"),
            number(points(row["mean"]), interval(row["low"], row["high"], signed=True)),
            number(percent(row["minimum_detectable"])),
        )
        for row in results["questions"]
        if row["architecture"] == scope
    ]
    return TableView(
        f"Where a difference comes from ({_scope(scope)}), macro F1 in percentage points",
        ("question", "difference", "macro F1", "smallest detectable"),
        tuple(rows),
        (RESULTS,),
        (
            "These arms are no controls: they decide no verdict, they say what it is worth. An "
            "interval that holds zero leaves the question open.",
        ),
    )


def spread_table(results: Mapping[str, Any], scope: str) -> TableView:
    """How far runs lie apart between generator seeds, and within them."""
    rows = [
        (
            name(row["arm"]),
            number(percent(row["f1_spread"]["between"])),
            number(percent(row["f1_spread"]["within"])),
            number(count(row["runs"])),
        )
        for row in results["table"]
        if row["architecture"] == scope and row.get("f1_spread")
    ]
    return TableView(
        f"Spread of macro F1 over seeds ({_scope(scope)}), standard deviation in points",
        ("arm", "between generator seeds", "within them", "runs"),
        tuple(rows),
        (RESULTS,),
        (
            "Between: means of whole chains (split of val, generator, samples, labeller). Within: "
            f"segmenter trainings on the same samples; {ABSENT} where each chain has one.",
        ),
    )


def class_differences_table(results: Mapping[str, Any], scope: str) -> TableView:
    """Differences of F1 per class, with Holm's correction."""
    rows = []
    for row in results["per_class"]:
        if row["architecture"] != scope:
            continue
        rows.append(
            (
                name(f"{row['arm']} − {row['control']}"),
                Cell(row["class"]),
                number(points(row["mean"]), interval(row["low"], row["high"], signed=True)),
                number(f"{row['p']:.4f}"),
                number(f"{row['p_holm']:.4f}"),
                Cell(row["verdict"], "", _TONES.get(row["verdict"], "plain")),
            )
        )
    return TableView(
        f"F1 per class against the best control ({_scope(scope)}), in percentage points",
        ("arm − control", "class", "difference of F1", "p", "p after Holm", "verdict"),
        tuple(rows),
        (RESULTS,),
        (
            "Intervals are uncorrected; verdicts follow p after Holm's correction over the classes "
            "of an arm. A class that is absent from truth and prediction has no row.",
        ),
    )


def class_scores_table(results: Mapping[str, Any], scope: str) -> TableView:
    """F1 of each class and arm."""
    arms = [row for row in results["table"] if row["architecture"] == scope]
    absent = set(results["design"]["absent_classes"])
    rows = [
        (
            name(land, "absent from test" if land in absent else ""),
            *(number(percent(row["f1_per_class"].get(land))) for row in arms),
        )
        for land in results["design"]["classes"]
    ]
    return TableView(
        f"F1 per class and arm ({_scope(scope)}), mean over runs, in percent",
        ("class", *(row["arm"] for row in arms)),
        tuple(rows),
        (RESULTS,),
    )


def splits_table(patches: Mapping[tuple[Any, ...], int]) -> TableView:
    """Patches and places per role.

    Args:
        patches: number of real samples by (split, place).
    """
    cells = []
    for role in ("train", "val", "test"):
        places = {place: total for (split, place), total in patches.items() if split == role}
        sizes = sorted(set(places.values()))
        spread = (
            ABSENT if not sizes else " to ".join(map(str, dict.fromkeys((sizes[0], sizes[-1]))))
        )
        use = {
            "train": "everything that is fitted",
            "val": "early stops and choices of recipe",
            "test": "one look per locked recipe and cell",
        }[role]
        held = number(count(sum(places.values())))
        counts = (held, number(count(len(places))), number(spread))
        cells.append((name(role), *counts, Cell(use)))
    total = number(count(len({place for _, place in patches})))
    held = number(count(sum(patches.values())))
    cells.append((name("all"), held, total, number(""), Cell("")))
    return TableView(
        "Real samples per role",
        ("role", "samples", "places", "samples per place", "used for"),
        tuple(cells),
        ("build/samples",),
    )


def places_table(patches: Mapping[tuple[Any, ...], int], limit: int) -> TableView:
    """Samples of the largest places, from the number of real samples by (split, place)."""
    found: dict[str, dict[str, int]] = {}
    for (split, place), total in patches.items():
        entry = found.setdefault(str(place), {})
        entry[split or ""] = entry.get(split or "", 0) + total
    ordered = sorted(found.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    cells = [
        (name(place), Cell(listed(sorted(entry))), number(count(sum(entry.values()))))
        for place, entry in ordered[:limit]
    ]
    left = len(ordered) - len(cells)
    notes = (f"{count(left)} more places hold fewer samples.",) if left > 0 else ()
    return TableView(
        f"Samples per place ({count(len(ordered))} places), largest first",
        ("place", "role", "samples"),
        tuple(cells),
        ("build/samples",),
        notes,
        folded=True,
    )


def filters_table(filters: Mapping[str, Any]) -> TableView:
    """What became of every candidate patch."""
    total = filters["candidates"]
    rows = [(name("candidates"), number(count(total)), number(percent(1.0)))]
    for reason, value in sorted(
        filters["funnel"].items(), key=lambda item: (item[0] != "kept", item[0])
    ):
        share = value / total if total else None
        rows.append((name(reason), number(count(value)), number(percent(share))))
    return TableView(
        "From candidate patches to samples",
        ("outcome", "patches", "%"),
        tuple(rows),
        ("build/filters.json",),
    )


def leaks_table(leaks: Mapping[str, Any]) -> TableView:
    """The leak test: places, distances and most alike images across roles."""
    rows = [
        (
            name(pair),
            number("unknown" if gap is None else f"{gap / 1000:.2f}"),
            number(f"{leaks['largest_correlation'][pair]:.3f}"),
        )
        for pair, gap in leaks["nearest_m"].items()
    ]
    left = len(leaks["left_out"])
    notes = [
        f"Places in more than one role: {count(leaks['straddling_places'])}. A gap is unknown "
        "where images carry no coordinates. A run whose roles leak stops before this page.",
        f"Patches left out because an image of another role shows their ground: {count(left)}. "
        "build/leaks.html shows them side by side.",
    ]
    if leaks["together"]:
        pairs = len(leaks["together"])
        notes.append(f"Pairs of places that got one role since they share ground: {count(pairs)}.")
    if leaks["without_detail"]:
        notes.append(
            f"Images too plain to be recognised when shifted: {count(leaks['without_detail'])}."
        )
    return TableView(
        "Leak test between roles",
        ("roles", "smallest gap, km", "most alike pair of images, correlation"),
        tuple(rows),
        ("build/leaks.json",),
        tuple(notes),
    )


def sources_table(files: Sequence[Mapping[str, Any]], limit: int) -> TableView:
    """Where the pixels came from, under which licence."""
    cells = [
        (
            name(str(file["name"]), str(file["uri"]) if file["uri"] != file["name"] else ""),
            Cell(str(file["licence"] or "not stated")),
            Cell(str(file["attribution"] or "not stated")),
            Cell(short_hash(str(file["sha256"] or "")), "", "hash"),
        )
        for file in files[:limit]
    ]
    left = len(files) - len(cells)
    notes = (f"{count(left)} more files.",) if left > 0 else ()
    return TableView(
        f"Source files ({count(len(files))})",
        ("file", "licence", "attribution", "SHA-256"),
        tuple(cells),
        ("build/samples, column source",),
        notes,
        folded=True,
    )


def funnel_table(
    funnel: Mapping[str, Mapping[str, Any]],
    bounds: Mapping[str, Mapping[str, float]] | None = None,
) -> TableView:
    """Made, rejected by rule, kept; nothing is deleted.

    Args:
        funnel: per origin.
        bounds: of rules that compare with real images: per rule and kind of sample.
    """
    rules = list(dict.fromkeys(rule for entry in funnel.values() for rule in entry["rejected"]))
    rows = [
        (
            name(origin),
            number(count(entry["made"])),
            *(number(count(entry["rejected"].get(rule, 0))) for rule in rules),
            number(count(entry["kept"])),
            number(percent(entry["kept"] / entry["made"] if entry["made"] else None)),
        )
        for origin, entry in funnel.items()
    ]
    return TableView(
        "Curation: made, rejected, kept",
        ("origin", "made", *(f"fails {rule}" for rule in rules), "kept", "kept, %"),
        tuple(rows),
        ("curate/funnel.json", *(("curate/bounds.json",) if bounds else ())),
        (
            "A sample counts under the first rule that it fails. Rejected samples stay in the "
            "data set with their verdict; a rule passes samples whose score is empty.",
            *_bounds_told(bounds or {}),
        ),
    )


def _bounds_told(bounds: Mapping[str, Mapping[str, float]]) -> list[str]:
    if not bounds:
        return []
    kinds = {"asked": "for a mask", "free": "without one"}
    told = "; ".join(
        f"{rule}: "
        + ", ".join(f"{value:.2f} {kinds.get(kind, kind)}" for kind, value in own.items())
        for rule, own in bounds.items()
    )
    return [
        "Quantiles are those of windows of real val images that the labeller read as if they had "
        f"been made for their mask, and without one: {told}."
    ]


def agreement_table(summary: Mapping[str, Any]) -> TableView:
    """Mean label figures per origin; unanimity only where there are several looks."""
    shown = {
        "agreement": "agreement with the asked mask",
        "confidence": "confidence",
        "unanimity": "looks that agree",
        "known_share": "known pixels",
    }
    if all(entry.get("unanimity") in (None, 1.0) for entry in summary.values()):
        del shown["unanimity"]
    rows = [
        (
            name(origin),
            number(count(entry["samples"])),
            *(number(percent(entry[key])) for key in shown),
        )
        for origin, entry in summary.items()
    ]
    return TableView(
        "Labels of synthetic samples, means over all that were made, in percent",
        ("origin", "samples", *shown.values()),
        tuple(rows),
        (f"{SUMMARY}, agreement",),
        (
            "Unconditional samples were asked for no mask: their label is the labeller's own "
            "reading, so nothing here says that it is right.",
        ),
    )


def silhouette_table(summary: Mapping[str, Any]) -> TableView:
    """Silhouettes between origins beside their floor."""
    counts = summary["counts"]
    floor = number(distance(summary["floor"]))
    rows = [
        (name("floor: real train, real val"), number(count(summary["floor_samples"])), floor),
        (
            name("all origins"),
            number(count(sum(counts.values()))),
            number(distance(summary["silhouette"])),
        ),
    ]
    for pair, value in summary["pairwise"].items():
        own = [counts[origin] for origin in pair.split(", ") if origin in counts]
        rows.append((name(pair), number(count(sum(own))), number(distance(value))))
    return TableView(
        "Silhouette between origins",
        ("groups", "images", "silhouette, −1 … 1"),
        tuple(rows),
        (f"{SUMMARY}, embedding",),
        (
            f"Features: {summary['features']}. Near 0 the groups mix, near 1 they lie apart; "
            "taken in the features, not on the maps.",
        ),
    )


def redundancy_table(summary: Mapping[str, Any]) -> TableView:
    """Redundancy of this run's captions: exact, folded, near, within and across images."""
    rows: list[tuple[Cell, ...]] = []
    for kind in sorted(summary, key=lambda k: (k == "all", k)):
        entry = summary[kind]
        rows.append(
            (
                name(f"this run, {kind}"),
                number(count(entry["captions"])),
                number(count(entry["unique"])),
                number(percent(entry["exact"], 2)),
                number(percent(entry["normalised"], 2)),
                number(percent(entry.get("near"), 2)),
                number(percent(entry["within_image"], 2)),
                number(percent(entry["across_images"], 2)),
                number(percent(entry["rarefied"], 2), f"of {count(entry['rarefied_count'])}"),
            )
        )
    return TableView(
        "Where captions repeat, in percent",
        (
            "corpus", "captions", "unique", "redundancy", "case and punctuation folded",
            "near-duplicates", "within an image", "across images", "rarefied",
        ),
        tuple(rows),
        (f"{SUMMARY}, redundancy",),
        (
            "Within and across add up to redundancy; rarefied is expected of as many captions "
            "as the smaller corpus of this run holds. Near-duplicates share 80 % of their word "
            "pairs with an earlier caption.",
        ),
    )  # fmt: skip


def columns_table(columns: Mapping[str, Mapping[str, str]]) -> TableView:
    """The score card's columns."""
    rows = [
        (Cell(column, "", "code"), Cell(entry["unit"]), Cell(entry["meaning"]))
        for column, entry in columns.items()
    ]
    return TableView(
        "Scores of every sample",
        ("column", "unit", "meaning"),
        tuple(rows),
        ("score/columns.json",),
        folded=True,
    )


def licences_table(files: Sequence[Mapping[str, Any]]) -> TableView:
    """Whose data it is and under which licence, files counted."""
    found = Counter(
        (str(f["attribution"] or "not stated"), str(f["licence"] or "not stated")) for f in files
    )
    return TableView(
        "Where the pixels came from",
        ("attribution", "licence", "files"),
        tuple(
            (name(owner), Cell(licence), number(count(total)))
            for (owner, licence), total in sorted(found.items())
        ),
        ("build/samples, column source",),
    )


def pairs_table(
    title: str,
    headers: tuple[str, str],
    rows: Mapping[str, object],
    source: str,
    *,
    folded: bool = False,
) -> TableView:
    """Two columns of names and values."""
    return TableView(
        title,
        headers,
        tuple((name(key), Cell(str(value), "", "code")) for key, value in rows.items()),
        (source,),
        folded=folded,
    )


def sources_read_table(sources: Sequence[Source]) -> TableView:
    """Every file that the page read, with the run that made it and its checksum."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for source in sources:
        parts = rows.setdefault((source.file, source.run, source.sha256), [])
        parts += [source.part] if source.part else []
    return TableView(
        "Files that the numbers came from",
        ("file", "used", "run", "SHA-256"),
        tuple(
            (
                Cell(file, "", "code"),
                Cell("; ".join(parts)),
                Cell(short_hash(run), "", "hash"),
                Cell(short_hash(digest), "", "hash"),
            )
            for (file, run, digest), parts in rows.items()
        ),
        ("<stage>/stage.json",),
        ("Of a table of many files the checksum is its manifest's, which holds those of all.",),
        folded=True,
    )


def stages_table(records: Mapping[str, Mapping[str, Any] | None]) -> TableView:
    """Stage records: state, key and outputs."""
    rows = []
    for stage, record in records.items():
        if record is None:
            rows.append((name(stage), Cell("no record"), Cell(""), Cell("")))
            continue
        outputs = "; ".join(f"{k} {short_hash(v)}" for k, v in sorted(record["outputs"].items()))
        rows.append(
            (
                name(stage),
                Cell("finished"),
                Cell(short_hash(record["key"]), "", "hash"),
                Cell(outputs, "", "code"),
            )
        )
    return TableView(
        "Stage records",
        ("stage", "state", "key of settings and inputs", "outputs, SHA-256"),
        tuple(rows),
        ("<stage>/stage.json",),
    )


def _scope(scope: str) -> str:
    return "mean of all architectures" if scope == "all" else scope
