"""The audit as tables and one page; every number comes from the audit's plain values."""

from collections.abc import Mapping, Sequence
from typing import Any

from terraloom.claims import VERDICTS
from terraloom.report import published
from terraloom.report.marking import claims_legend, marked
from terraloom.report.tables import name, number
from terraloom.report.text_tables import skill
from terraloom.report.views import (
    Block,
    Cell,
    ListView,
    Marked,
    MarkedView,
    Section,
    TableView,
    TextView,
)
from terraloom.report.wording import ABSENT, count, listed, percent


def audit_sections(found: Mapping[str, Any]) -> tuple[Section, ...]:
    """The whole audit, in reading order."""
    blocks: list[tuple[str, str, list[Block]]] = [
        ("file", "The file", [file_table(found), *left_out_list(found)]),
        (
            "redundancy",
            "Redundancy",
            [
                redundancy_table(found),
                near_note(found),
                curve_table(found),
                published_table(),
            ],
        ),
        ("leak", "Leakage", [leak_table(found), *probe_tables(found)]),
    ]
    if "claims" in found:
        blocks.append(("claims", "Claims", claims_tables(found)))
    return tuple(Section(key, title, tuple(parts)) for key, title, parts in blocks)


def audit_tables(found: Mapping[str, Any]) -> list[TableView]:
    """The tables alone, for the terminal."""
    return [
        block
        for section in audit_sections(found)
        for block in section.blocks
        if isinstance(block, TableView)
    ]


def file_table(found: Mapping[str, Any]) -> TableView:
    """What was read."""
    text = found["text"]
    rows = [
        ("layout", str(found["layout"])),
        ("captions", count(found["captions"])),
        ("images", count(found["images"])),
        ("different words", count(text["vocabulary"])),
        ("words per caption", f"{text['mean_words']:.1f}"),
        ("different word pairs over all", percent(text["distinct_2"], 2) + " %"),
        ("longer than 2,000 signs", _with_places(text["overlong"])),
        ("with markup such as <b> or <script>", _with_places(text["markup"])),
        ("with invisible or direction signs", _with_places(text["invisible"])),
    ]
    if "truth" in found:
        truth = found["truth"]
        rows.append(("shares from", f"{truth['source']}; {count(truth['images'])} images"))
        rows += [(f"images with {k}", count(v)) for k, v in truth["problems"].items()]
    return TableView(
        str(found["file"]),
        ("", ""),
        tuple((name(label), Cell(value)) for label, value in rows),
        (str(found["file"]),),
        ("Captions are data: markup is shown as text here, and never run.",),
    )


def left_out_list(found: Mapping[str, Any]) -> list[Block]:
    """Entries that are no captions."""
    if not found["left_out"]:
        return []
    items = tuple(
        f"{count(entry['entries'])} {reason}, such as of {listed(_short(entry['first_images']))}"
        for reason, entry in found["left_out"].items()
    )
    return [ListView("Left out of every figure", items, (str(found["file"]),), "warning")]


def redundancy_table(found: Mapping[str, Any]) -> TableView:
    """Redundancy of the file, and of each writer."""
    rows = tuple(
        (
            name(_writer(writer)),
            number(count(entry["captions"])),
            number(count(entry["unique"])),
            *(
                number(percent(entry[key], 2))
                for key in ("exact", "within_image", "across_images", "normalised", "near")
            ),
        )
        for writer, entry in found["redundancy"].items()
    )
    whole = found["redundancy"]["all"]
    return TableView(
        "Redundancy, in percent of the captions",
        ("captions of", "captions", "unique", "exact", "within", "across", "folded", "near"),
        rows,
        (str(found["file"]),),
        (
            "Exact is 1 − unique captions / captions over the whole file; within an image and "
            "across images add up to it. Folded: case and signs do not count.",
            f"Of the images with several captions, {percent(whole['identical_images'], 1)} % carry "
            f"equal ones; {percent(whole['near_within_image'], 2)} % of all captions are near an "
            "earlier one of their image.",
        ),
    )


def published_table() -> TableView:
    """What is published of other caption sets."""
    rows = [
        (name(c.name), number(count(c.captions)), number(f"{c.redundancy:.2f}"), number(ABSENT))
        for c in published.CORPORA
    ]
    rows += [
        (
            name(f"ARAS400k, {w.column}"),
            number(count(published.CAPTIONS_OF_A_WRITER)),
            number(f"{w.redundancy:.2f}"),
            number(f"{w.percentages:.2f}"),
        )
        for w in published.WRITERS
    ]
    return TableView(
        "Published figures, in percent",
        ("captions of", "captions", "redundancy", "quote percentages"),
        tuple(rows),
        (published.PAPER,),
        (
            "Redundancy grows with the corpus: a small file looks better than a large one. Compare "
            "at equal counts. Percentages: of 10,000 captions each.",
        ),
    )


def curve_table(found: Mapping[str, Any]) -> TableView:
    """Redundancy expected at smaller counts."""
    curves = {w: dict(map(tuple, e["curve"])) for w, e in found["redundancy"].items()}
    sizes = sorted({size for curve in curves.values() for size in curve})
    rows = tuple(
        (
            name(_writer(writer)),
            *(number(percent(curve[size], 2) if size in curve else ABSENT) for size in sizes),
        )
        for writer, curve in curves.items()
    )
    return TableView(
        "Exact redundancy at equal counts, in percent",
        ("captions of", *(count(size) for size in sizes)),
        rows,
        (str(found["file"]),),
        ("Expected of that many captions drawn at random, without repetition (Hurlbert 1971).",),
    )


def near_note(found: Mapping[str, Any]) -> TextView:
    """What "near" means."""
    threshold = next(iter(found["redundancy"].values()))["near_threshold"]
    return TextView(
        f"Near: another caption before it shares at least {percent(threshold, 0)} % of the word "
        "pairs (Jaccard), or is equal after folding. Candidates come from MinHash with 24 bands of "
        "6, which misses about one pair in a thousand at that limit; each find is verified.",
        "small",
    )


def leak_table(found: Mapping[str, Any]) -> TableView:
    """Numbers that captions quote."""
    stating = found.get("stating_shares", {})
    rows = tuple(
        (
            name(_writer(writer)),
            number(count(entry["captions"])),
            number(percent(entry["with_digits"], 2)),
            number(percent(entry["with_percentages"], 2)),
            number(percent(stating.get(writer), 2)),
        )
        for writer, entry in found["leak"].items()
    )
    return TableView(
        "Captions that quote numbers, in percent",
        ("captions of", "captions", "digits", "percentages", "a class's share"),
        rows,
        (str(found["file"]),),
        (
            "A caption that states a class's share gives the answer of a task that predicts it. "
            "Without digits it can still do so in words: the probe tells.",
        ),
    )


def probe_tables(found: Mapping[str, Any]) -> list[Block]:
    """What a regression reads from the words."""
    blocks: list[Block] = []
    probes = found.get("probe", {})
    done = {writer: probe for writer, probe in probes.items() if "why_not" not in probe}
    if done:
        rows = tuple(
            (
                name(_writer(writer)),
                name(land),
                number(skill(figures["r2"])),
                number(skill(figures["r2_shuffled"])),
                number(percent(figures["error"])),
                number(percent(figures["error_shuffled"])),
                number(percent(figures["error_mean"])),
            )
            for writer, probe in done.items()
            for land, figures in [("all classes", probe | _no_errors()), *probe["classes"].items()]
        )
        grouped = found["truth"]["grouped_by"]
        blocks.append(
            TableView(
                "Leak probe: class shares predicted from the text alone",
                (
                    "captions of", "class", "R²", "R² shuffled", "error", "error shuffled",
                    "error of mean",
                ),
                rows,
                (str(found["file"]),),
                (
                    "Errors in points of share. "
                    f"TF-IDF of words and word pairs, ridge, five folds, no {grouped} in two of "
                    "them. R² is measured against the mean predictor: 1 reads all, 0 nothing. "
                    "Shuffled: the same texts dealt out at random. A writer that saw the image "
                    "alone may score above 0: what it saw is then in its words.",
                ),
            )
        )  # fmt: skip
    reasons = {writer: probe["why_not"] for writer, probe in probes.items() if "why_not" in probe}
    blocks += [
        TextView(f"Not probed: {_writer(writer)}: {reason}.", "small")
        for writer, reason in reasons.items()
    ]
    return blocks


def claims_tables(found: Mapping[str, Any]) -> list[Block]:
    """Verdicts on claims by writer and by kind, and captions with their claims marked."""
    claims = found["claims"]
    writers = tuple(
        (
            name(_writer(writer)),
            number(count(entry["captions"])),
            number(percent(_part(entry["contradicted_captions"], entry["captions"]), 1)),
            number(count(sum(entry[verdict] for verdict in VERDICTS))),
            number(percent(entry["true_of_decided"], 1)),
            number(percent(entry["recall_of_main_classes"], 1)),
            number(percent(entry["name_the_dominant_class"], 1)),
        )
        for writer, entry in claims["writers"].items()
    )
    kinds = tuple(
        (name(kind), *(number(count(verdicts[verdict])) for verdict in VERDICTS))
        for kind, verdicts in claims["writers"]["all"]["kinds"].items()
    )
    source = (str(found["file"]),)
    limits = (
        ""
        if claims["against"] == "masks"
        else " Of shares alone, claims of place and neighbourhood cannot be checked."
    )
    blocks: list[Block] = [
        TableView(
            f"Claims checked against {claims['against']}, in percent",
            (
                "captions of", "captions", "contradicted", "claims", "true", "main named",
                "dominant named",
            ),
            writers,
            source,
            (
                "Contradicted: captions with a contradicted claim. True: of the claims that "
                "could be decided. Main classes cover 10 % or more. Dominant: of images whose "
                "largest class covers 35 % and leads by 5 points; vision-only writers of the "
                f"paper name it in {published.NAMES_DOMINANT} % of images.{limits}",
            ),
        ),
        TableView("Claims by kind", ("claims of", *VERDICTS), kinds, source),
    ]  # fmt: skip
    if claims["examples"]:
        blocks.append(claims_legend())
        for example in claims["examples"]:
            head = Marked(f"{_short([example['image']])[0]}, {_writer(example['writer'])}: ")
            blocks.append(MarkedView((head, *marked(example["text"], example["claims"]))))
    return blocks


def _part(number: int, whole: int) -> float | None:
    return number / whole if whole else None


def _no_errors() -> dict[str, None]:
    return dict.fromkeys(("error", "error_shuffled", "error_mean"))


def _writer(writer: str) -> str:
    return _short([writer])[0]


def _with_places(entry: Mapping[str, Any]) -> str:
    number = int(entry["captions"])
    return f"{number:,}, such as of {listed(_short(entry['first_images']))}" if number else "0"


def _short(texts: Sequence[str]) -> list[str]:
    """Texts of a file as they may stand in a table: short, and without signs that steer."""
    seen = ["".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
            for text in (text[:61] for text in texts)]  # fmt: skip
    return [text if len(text) <= 60 else f"{text[:59]}…" for text in seen]
