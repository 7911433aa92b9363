"""Tables of what captions give away, and of whether they belong to their images."""

from collections.abc import Mapping
from typing import Any

from terraloom.report.tables import SUMMARY, name, number
from terraloom.report.views import TableView
from terraloom.report.wording import ABSENT, count, percent


def leak_table(summary: Mapping[str, Any]) -> TableView:
    """Quoted numbers and the leak probe, by writer and class."""
    rows = []
    for kind, writers in summary.items():
        for writer, entry in writers.items():
            probe = entry["probe"]
            quoted = (
                number(percent(entry["with_digits"], 2)),
                number(percent(entry["stating_shares"], 2)),
            )
            whole = (
                (number(ABSENT), number(ABSENT))
                if probe is None
                else (number(skill(probe["r2"])), number(skill(probe["r2_shuffled"])))
            )
            label = name(writer, f"{kind} samples, {count(entry['captions'])} captions")
            rows.append((label, name("all classes"), *quoted, *whole, number(ABSENT)))
            for land, figures in (probe or {}).get("classes", {}).items():
                error = number(
                    percent(figures["error"]), f"{percent(figures['error_mean'])} of the mean"
                )
                rows.append(
                    (
                        name(""), name(land), number(""), number(""),
                        number(skill(figures["r2"])), number(skill(figures["r2_shuffled"])), error,
                    )
                )  # fmt: skip
    return TableView(
        "What the text alone tells of class shares",
        (
            "writer", "class", "with digits, %", "stating a share, %", "R²", "R² shuffled",
            "error, points",
        ),
        tuple(rows),
        (f"{SUMMARY}, leak",),
        (
            "Shares predicted from the words by ridge regression, folds by place; R² against the "
            "mean predictor, 1 reads all. Shuffled: the same texts dealt out at random. A writer "
            "that saw the mask is expected to tell much: its captions may be targets, never inputs "
            "of a task that predicts the shares.",
        ),
        folded=len(rows) > 20,
    )  # fmt: skip


def retrieval_table(summary: Mapping[str, Any]) -> TableView:
    """Recall of the in-domain encoder beside chance and shuffled captions."""
    rows = []
    for group, entry in summary["groups"].items():
        for direction, label in (
            ("text_of_image", "its text among all texts"),
            ("image_of_text", "its image among all images"),
        ):
            found = entry[direction]
            rows.append(
                (
                    name(group, f"{count(entry['images'])} images, {count(entry['texts'])} texts"),
                    name(label),
                    *(
                        number(
                            percent(found[f"recall_{k}"]),
                            f"chance {percent(found[f'chance_{k}'])}, shuffled "
                            f"{percent(found[f'shuffled_{k}'])}",
                        )
                        for k in (1, 5, 10)
                    ),
                    number(f"{found['median_rank']:,.1f}"),
                )
            )
    fitted = summary["encoder"]["fitted_on"]
    return TableView(
        "Do captions find their images? Recall in percent",
        ("samples", "what is found", "at 1", "at 5", "at 10", "median rank"),
        tuple(rows),
        (f"{SUMMARY}, retrieval",),
        (
            f"By an encoder trained on {count(fitted['train_captions'])} captions of "
            f"{count(fitted['train_images'])} real train rows; val chose among its checks. Counts "
            "differ between groups, and so does chance: compare with it, not across rows.",
        ),
    )


def clip_table(summary: Mapping[str, Any]) -> TableView:
    """CLIPScore beside its two controls."""
    rows = tuple(
        (
            name(f"{kind} samples", count(entry["samples"])),
            *(number(_score(entry[key])) for key in ("score", "shuffled", "hard_negative")),
            number(percent(entry["beats_shuffled"])),
            number(percent(entry["beats_hard_negative"])),
            number(percent(entry["cut_texts"])),
        )
        for kind, entry in summary["kinds"].items()
    )
    return TableView(
        "CLIPScore, 100 × cosine, beside its controls",
        (
            "captions", "own", "of other samples", "classes exchanged", "beats others, %",
            "beats exchanged, %", "cut texts, %",
        ),
        rows,
        (f"{SUMMARY}, clipscore",),
        (
            f"{summary['model']}, {count(summary['context_tokens'])} tokens. Chance beats a "
            "control in 50 %. A score that does not beat the same sentence with its classes "
            "exchanged sees style, not content.",
        ),
    )  # fmt: skip


def skill(value: float | None) -> str:
    """R², two decimals with a true minus sign."""
    return ABSENT if value is None else f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def _score(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
