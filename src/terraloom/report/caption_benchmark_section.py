"""What captioners learned per arm: claims first, floors beside, examples with marked claims."""

from collections.abc import Mapping
from typing import Any, Final

from terraloom.classes import ClassTable
from terraloom.ledger import LEDGER_NAME
from terraloom.report import tables
from terraloom.report.marking import claims_legend, marked
from terraloom.report.pictures import mask_picture, photo
from terraloom.report.reading import ProjectFiles, evenly, image_of, mask_of
from terraloom.report.verdict_section import real_alone
from terraloom.report.views import (
    Block,
    Card,
    Cell,
    GalleryView,
    ListView,
    Marked,
    Section,
    TableView,
    TextView,
    VerdictView,
)
from terraloom.report.wording import ABSENT, count, interval, listed, percent, plural, points

FOLDER: Final = "benchmark-captions"
RESULTS: Final = f"{FOLDER}/results.json"
_REAL: Final = "build/samples"
_EXAMPLES: Final = 3
_CLAIMS: Final = (
    ("claim_precision", "claim precision"), ("main_recall", "main classes named"),
    ("names_dominant", "names the largest"), ("contradicted", "contradicted captions"),
)  # fmt: skip
_OVERLAP: Final = (
    ("bleu1", "BLEU-1"), ("bleu2", "BLEU-2"), ("bleu3", "BLEU-3"), ("bleu4", "BLEU-4"),
    ("meteor", "METEOR"), ("rouge_l", "ROUGE-L"),
)  # fmt: skip
_FIGURE_NAMES: Final = {"claim_precision": "claim precision", "cider_d": "CIDEr-D"}
_TONES: Final = {"helps": "good", "hurts": "bad", "no evidence": "plain"}
_FEW_PLACES: Final = 20
_SEEDS_SHOWN: Final = 3
_SEEDS_CLAIMED: Final = 5


def caption_benchmark_sections(files: ProjectFiles, classes: ClassTable) -> tuple[Section, ...]:
    """The section, or none where the stage is off: it is off unless settings name arms."""
    results = files.json(RESULTS)
    if results is None:
        return ()
    blocks: list[Block] = [_verdict(results, files)]
    if results["missing_arms"]:
        told = f"Left out for want of a captioned row: {listed(results['missing_arms'])}."
        blocks.append(TextView(told, "warning"))
    if results.get("real_alone"):
        blocks.append(TextView(real_alone(results), "warning"))
    blocks += [
        claims_table(results),
        overlap_table(results),
        differences_table(results),
        _rests_on(results),
        *_cautions(results),
    ]
    examples = _examples(files, results, classes)
    if examples is not None:
        blocks += [examples, claims_legend()]
    title = "Does the synthetic data help a captioner?"
    return (Section("caption-benchmark", title, tuple(blocks)),)


def claims_table(results: Mapping[str, Any]) -> TableView:
    """What captions claim of test images, by arm, floors below."""
    rows = []
    for row in results["table"]:
        figures = [_shared(row[key]) for key, _ in _CLAIMS]
        claims = row["claims"]
        per_caption = ABSENT if claims is None else f"{claims['mean']:.2f}"
        repeats = f"{percent(row['normalised'])} folded"
        rows.append(
            (
                tables.name(row["arm"], _kind(row)),
                tables.number(count(row["rows"])),
                *figures,
                tables.number(per_caption),
                tables.number(percent(row["redundancy"]), repeats),
                tables.number(count(row["runs"])),
            )
        )
    return TableView(
        "What captions of test images claim, checked against the masks, in percent",
        ("captions of", "training rows", *(told for _, told in _CLAIMS), "claims per caption",
         "redundancy", "runs"),
        tuple(rows),
        (RESULTS,),
        (
            "Claim precision: supported among the claims that could be decided. Read it with the "
            "claims per caption: who claims nothing is never wrong. Main classes cover 10 % or "
            "more. Less is better of contradicted captions and redundancy.",
            "In brackets: 95 % interval of a hierarchical bootstrap over "
            f"{count(results['test_places'])} test places and the runs, "
            f"{count(results['design']['draws'])} draws.",
        ),
    )  # fmt: skip


def overlap_table(results: Mapping[str, Any]) -> TableView:
    """Overlap with the references, by arm."""
    rows = []
    for row in results["table"]:
        cider = row["cider_d"]
        rows.append(
            (
                tables.name(row["arm"], _kind(row)),
                tables.number(*_cider(cider)),
                *(tables.number(_mean(row[key])) for key, _ in _OVERLAP),
            )
        )
    low, high = results["design"]["references_per_image"]
    many = plural(low, "reference") if low == high else f"{low} to {high} references"
    return TableView(
        "Words in common with the references; CIDEr-D from 0 to 10, others in percent",
        ("captions of", "CIDEr-D", *(told for _, told in _OVERLAP)),
        tuple(rows),
        (RESULTS,),
        (
            f"{many} per image. Overlap rewards the references' wording, true or not: the floor "
            "of random train captions shows how much of it costs no look at the image. METEOR "
            "without WordNet; figures of other test sets do not compare.",
        ),
    )


def differences_table(results: Mapping[str, Any]) -> TableView:
    """Paired differences of the judged figures."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in results["differences"]:
        found.setdefault((row["arm"], row["control"]), {})[row["figure"]] = row
    words = {(v["arm"], v["figure"]): v["verdict"] for v in results["verdicts"]}
    rows = []
    for (arm, control), figures in found.items():
        precision, cider, claims = (
            figures.get(key) for key in ("claim_precision", "cider_d", "claims")
        )
        rows.append(
            (
                tables.name(f"{arm} \N{MINUS SIGN} {control}"),
                _difference(precision),
                tables.number(_smallest(precision, 100, 1)),
                _word(words.get((arm, "claim_precision"))),
                tables.number(*_plain(claims)),
                tables.number(*_plain(cider)),
                tables.number(_smallest(cider, 1, 2)),
                _word(words.get((arm, "cider_d"))),
            )
        )
    return TableView(
        "Paired differences: claim precision in percentage points, CIDEr-D as it is",
        ("arm \N{MINUS SIGN} control", "claim precision", "smallest detectable", "verdict",
         "claims per caption", "CIDEr-D", "smallest detectable", "verdict"),
        tuple(rows),
        (RESULTS,),
        (
            "A verdict holds against every control at once. Smallest detectable: what this design "
            "would find four times in five. Floors have no verdict.",
        ),
    )  # fmt: skip


def _verdict(results: Mapping[str, Any], files: ProjectFiles) -> VerdictView:
    design = results["design"]
    first = next((v for v in results["verdicts"] if v["sentence"] == results["sentence"]), None)
    arms = tuple(
        (_FIGURE_NAMES[v["figure"]], v["verdict"], v["sentence"])
        for v in results["verdicts"]
        if v is not first
    )
    looks = [look for look in files.looks if str(look["cell"]).startswith("caption")]
    facts = (
        (count(design["seeds"]), "runs per arm"),
        (count(design["test_places"]), "test places"),
        (count(design["test_images"]), "test images"),
        (count(design["images_per_cell"]), "training images per run"),
        (count(len(looks)), "looks of captioners at test"),
        *(
            (f"{percent(rate)} %", f"false alarms, A/A, {_FIGURE_NAMES[figure]}")
            for figure, rate in results["aa"]["rates"].items()
        ),
    )
    writers = listed(sorted({w for own in design["writers"].values() for w in own})) or "nobody"
    return VerdictView(
        results["sentence"],
        first["verdict"] if first else "",
        arms,
        f"captions that count as right were written by {writers}",
        facts,
        (RESULTS, LEDGER_NAME),
    )


def _rests_on(results: Mapping[str, Any]) -> ListView:
    design = results["design"]
    model = "a small network from nothing" if design["model"] == "small" else design["model"]
    saw = sorted({s for own in design["writers"].values() for seen in own.values() for s in seen})
    items = [
        f"Every arm trained {model} on {count(design['images_per_cell'])} images at the same "
        "schedule; only rows and captions differ, and the words that are learned are those of the "
        "arm's own training captions. The weights kept are those with the least loss on val "
        f"captions of {plural(design['val_rows'], 'image')}.",
        _seeds(design),
        f"Captions are targets here, never inputs; what their writers saw: {listed(saw) or '–'}. "
        "A captioner sees the image alone.",
    ]
    return ListView("What this rests on", tuple(items), (RESULTS,))


def _seeds(design: Mapping[str, Any]) -> str:
    """What varied between the runs."""
    if "folds" in design:
        return (
            f"{plural(design['folds'], 'fold')} make up a run, so that every place is test once, "
            f"and {plural(design['seeds'], 'seed')} of the whole chain are the runs; "
            f"{plural(design['captioner_seeds'], 'captioner')} of each are summed. The intervals "
            "hold the spread over places and chains; document frequencies of CIDEr-D are each "
            "fold's own."
        )
    return (
        f"{plural(design['seeds'], 'seed')} nested in one generator seed: the intervals hold the "
        "spread over test places and trainings, and none of the spread over generator trainings."
    )


def _cautions(results: Mapping[str, Any]) -> list[Block]:
    design = results["design"]
    found = []
    if design["seeds"] < _SEEDS_SHOWN:
        found.append(f"Fewer than {_SEEDS_SHOWN} seeds: no result to be shown.")
    elif design["seeds"] < _SEEDS_CLAIMED:
        found.append(f"{plural(design['seeds'], 'seed')} illustrate; a claim needs 5.")
    if design["test_places"] < _FEW_PLACES:
        found.append(
            f"{plural(design['test_places'], 'test place')} only: intervals over so few tend to be "
            "too narrow."
        )
    for entry in results["unbeaten_floors"]:
        found.append(
            f"{entry['arm']} does not beat the floor “{entry['floor']}” in "
            f"{_FIGURE_NAMES[entry['figure']]}: it learned how captions are worded, not what "
            "images show."
        )
    over = {f: r for f, r in results["aa"]["rates"].items() if r > results["aa"]["limit"]}
    for figure in over:
        found.append(
            f"The A/A rate of {_FIGURE_NAMES[figure]} is above its limit: read “helps” with "
            "suspicion."
        )
    sizes = {tuple(own) for own in design["train_sizes"].values()}
    if len({size for own in sizes for size in own}) > 1:
        told = listed(sorted({size for own in sizes for size in own}))
        found.append(
            f"Images of {told} pixels are all brought to {design['image_size']}: real and "
            "synthetic ones show the ground at different scales."
        )
    if design["compass"]["real"] != design["compass"]["synthetic"]:
        found.append(
            "Captions of real images tell places by compass and those of synthetic ones as top, "
            "bottom, left, right (or the other way round): claims are read alike, but overlap "
            "with the references suffers from the wording."
        )
    late = [cell for cell in results["cells"] if cell["best_images"] >= cell["images"]]
    if late:
        found.append(
            f"In {len(late)} of {plural(len(results['cells']), 'run')} the least val loss came at "
            "the last check: training had not levelled off."
        )
    return [ListView("What weakens it", tuple(found), (RESULTS,), "warning")] if found else []


def _examples(
    files: ProjectFiles, results: Mapping[str, Any], classes: ClassTable
) -> GalleryView | None:
    """Three test images: a reference, then what each arm's first captioner wrote."""
    arms = [row["arm"] for row in results["table"] if row["kind"] in ("control", "arm")]
    said = {arm: f"{FOLDER}/cells/{arm}-0/captions" for arm in arms}
    said = {arm: table for arm, table in said.items() if files.table(table)}
    if not said:
        return None
    names = files.ids(next(iter(said.values())))
    chosen = evenly(names, _EXAMPLES)
    samples = files.rows_of(_REAL, chosen, ["id", "image", "mask"])
    references = files.rows_of("caption/real", chosen)
    checked = files.rows_of("score/claims/real", chosen)
    texts = {arm: files.rows_of(table, chosen) for arm, table in said.items()}
    claims = {arm: files.rows_of(f"{FOLDER}/cells/{arm}-0/claims", chosen) for arm in said}
    cards = []
    for key in chosen:
        if key not in samples:
            continue
        row = samples[key][0]
        items = []
        if key in references:
            first = min(references[key], key=lambda caption: caption["index"])
            own = [c for c in checked.get(key, ()) if c["caption"] == first["index"]]
            items.append((Marked("a reference: "), *marked(first["text"], own)))
        for arm in said:
            for caption in texts[arm].get(key, ()):
                shown = marked(caption["text"], claims[arm].get(key, []))
                items.append((Marked(f"{arm}: "), *(shown or (Marked("(nothing)"),))))
        pictures = (
            photo(image_of(row), "image", f"image {key}"),
            mask_picture(mask_of(row), classes, "mask"),
        )
        cards.append(Card(key, pictures, (), tuple(items)))
    if not cards:
        return None
    sources = (_REAL, "caption/real", "score/claims/real", *said.values())
    return GalleryView(
        "caption-benchmark-examples",
        "Test images with a reference and what the arms' captioners wrote (first seed)",
        tuple(cards),
        sources,
        ("Examples are evenly spaced over the sorted ids; nobody chose them.",),
        wide=True,
    )


def _kind(row: Mapping[str, Any]) -> str:
    return "" if row["kind"] == "arm" else str(row["kind"])


def _shared(estimate: Mapping[str, float] | None) -> Cell:
    if estimate is None:
        return tables.number(ABSENT)
    return tables.number(percent(estimate["mean"]), interval(estimate["low"], estimate["high"]))


def _mean(estimate: Mapping[str, float] | None) -> str:
    return ABSENT if estimate is None else percent(estimate["mean"])


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def _cider(estimate: Mapping[str, float] | None) -> tuple[str, str]:
    if estimate is None:
        return ABSENT, ""
    return f"{estimate['mean']:.2f}", f"[{estimate['low']:.2f}, {estimate['high']:.2f}]"


def _plain(row: Mapping[str, float] | None) -> tuple[str, str]:
    if row is None:
        return ABSENT, ""
    return _signed(row["mean"]), f"[{_signed(row['low'])}, {_signed(row['high'])}]"


def _difference(row: Mapping[str, float] | None) -> Cell:
    if row is None:
        return tables.number(ABSENT)
    return tables.number(points(row["mean"]), interval(row["low"], row["high"], signed=True))


def _smallest(row: Mapping[str, float] | None, scale: float, digits: int) -> str:
    return ABSENT if row is None else f"{scale * row['minimum_detectable']:.{digits}f}"


def _word(word: str | None) -> Cell:
    return Cell(word or ABSENT, "", _TONES.get(word or "", "plain"))
