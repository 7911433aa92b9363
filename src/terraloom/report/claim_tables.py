"""Tables of checked claims: by writer, by kind, and how often the dominant class is named."""

from collections.abc import Mapping
from typing import Any

from terraloom.claims import VERDICTS
from terraloom.report import published
from terraloom.report.tables import SUMMARY, name, number
from terraloom.report.views import TableView
from terraloom.report.wording import ABSENT, count, percent


def claims_tables(summary: Mapping[str, Any]) -> list[TableView]:
    """Verdicts on the claims of captions, by kind of claim and by writer."""
    kinds = [
        (
            name(f"{kind} samples", what),
            *(number(count(verdicts[v])) for v in VERDICTS),
            number(_share_true(verdicts)),
        )
        for kind, entry in summary.items()
        for what, verdicts in entry["claims"].items()
        if sum(verdicts.values())
    ]
    writers = [
        (
            name(writer, f"{kind} samples"),
            number(count(entry["captions"])),
            number(
                percent(entry["contradicted_captions"] / max(entry["captions"], 1), 2),
                count(entry["contradicted_captions"]),
            ),
            *(number(count(entry[v])) for v in VERDICTS),
            number(_share_true(entry)),
        )
        for kind, found in summary.items()
        for writer, entry in found["writers"].items()
    ]
    source = (f"{SUMMARY}, claims",)
    return [
        TableView(
            "Claims of captions, checked against the masks, by writer",
            (
                "writer", "captions", "with a contradiction, %", *VERDICTS,
                "true of decided, %",
            ),
            tuple(writers),
            source,
            (
                "A claim is read by rules and checked against what was measured on the mask. Not "
                "checkable: borderline, only held possible, or not to be seen in this mask. "
                "What a mask has no class for (ships, seasons, colours) is no claim. A writer "
                "that was shown the mask is expected to be near 100.",
            ),
        ),
        TableView(
            "Claims by kind",
            ("claims", *VERDICTS, "true of decided, %"),
            tuple(kinds),
            source,
            folded=True,
        ),
    ]  # fmt: skip


def _share_true(verdicts: Mapping[str, int]) -> str:
    decided = verdicts["supported"] + verdicts["contradicted"]
    return percent(verdicts["supported"] / decided, 2) if decided else ABSENT


def dominant_table(summary: Mapping[str, Any]) -> TableView:
    """How often captions name the class that covers most."""
    rows = [
        (
            name(f"this run, {kind}"),
            number(percent(entry["named"]), f"{count(entry['samples'])} samples"),
            number(percent(entry["clear_named"]), f"{count(entry['clear_samples'])} samples"),
        )
        for kind, entry in summary.items()
    ]
    paper = number(published.NAMES_DOMINANT, "of images")
    rows.append((name("vision-only writers of the paper", "published"), paper, number(ABSENT)))
    return TableView(
        "Captions that name the dominant class, in percent",
        ("captions", "all samples", "clearly dominant class"),
        tuple(rows),
        (f"{SUMMARY}, claims", published.PAPER),
        (
            "A class is named where a claim of its presence is read, not where it is denied. "
            "Clearly dominant: at least 35 % of the known pixels and "
            "5 points ahead of the next class. Another data set and other writers: a writer that "
            "reads the mask names the class because it is told, not because it sees.",
        ),
    )
