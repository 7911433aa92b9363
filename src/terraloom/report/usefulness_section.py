"""Which score predicts use: rank correlations of scores with gains, where a study was made."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from terraloom.report import tables
from terraloom.report.drawing import BLUE, GREY, canvas, drawn
from terraloom.report.reading import ProjectFiles
from terraloom.report.views import (
    Block,
    Cell,
    Drawing,
    FigureView,
    ListView,
    Section,
    TableView,
    TextView,
)
from terraloom.report.wording import ABSENT, count, p_value, percent, points

STUDY: Final = "which-score/which-score.json"
_TONES: Final = {"predicts": "good", "misleads": "bad"}
_NOISE: Final = 0.3
"""Repeatability below which the gains are called mostly noise."""


def usefulness_sections(files: ProjectFiles) -> tuple[Section, ...]:
    """The section, or nothing where no study lies in the project."""
    found = files.json(STUDY)
    if found is None:
        return ()
    ranking = found["ranking"]
    blocks: list[Block] = [TextView(ranking["sentence"]), scores_table(found)]
    if any(finding["spearman"] for finding in ranking["findings"]):
        blocks.append(
            FigureView(
                "score-correlations",
                "Spearman's ρ of scores with gains",
                "Forest plot; the same figures stand in the table above.",
                _forest(ranking["findings"]),
                (STUDY,),
                (
                    "Right of zero: what the score calls better helped more. Lines: 95 % bootstrap "
                    "intervals, not corrected; the verdict rests on Holm's p.",
                ),
            )
        )
    blocks += [ListView("What this rests on", cautions(found), (STUDY,)), slices_table(found)]
    return (Section("usefulness", "Which score predicts use?", tuple(blocks)),)


def scores_table(found: Mapping[str, Any]) -> TableView:
    """One row per score, the strongest correlation first."""
    findings = sorted(
        found["ranking"]["findings"],
        key=lambda f: -1.0 if f["spearman"] is None else abs(f["spearman"]["mean"]),
        reverse=True,
    )
    rows = [
        (
            tables.name(finding["score"], f"{finding['better']} is better"),
            _correlation(finding["spearman"]),
            _correlation(finding["kendall"]),
            tables.number(p_value(finding["p"])),
            tables.number(p_value(finding["p_holm"])),
            Cell(finding["word"], "", _TONES.get(finding["word"], "plain")),
        )
        for finding in findings
    ]
    return TableView(
        "Scores and the gains of slices",
        ("score", "ρ", "τ", "p", "Holm", ""),
        tuple(rows),
        (STUDY,),
        (
            "Spearman's ρ and Kendall's τ-b; positive: slices that the score calls better helped "
            "more. In brackets: 95 % bootstrap interval over slices and runs. p: permuted "
            "pairings; Holm: corrected over all scores of the table. Predicts or misleads: that "
            "lies below 0.05.",
            *_gaps(found),
        ),
    )


def _gaps(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Scores that some slices lack."""
    every = found["design"]["slices"]
    short = [
        f"{finding['score']} ({finding['slices']})"
        for finding in found["ranking"]["findings"]
        if finding["slices"] < every
    ]
    return (f"Fewer than {every} slices have: {', '.join(short)}.",) if short else ()


def slices_table(found: Mapping[str, Any]) -> TableView:
    """What each slice held and gained, the best first."""
    rows = [
        (
            tables.name(row["name"], row["told"]),
            tables.number(points(row["gain"]), ", ".join(points(gain) for gain in row["gains"])),
        )
        for row in sorted(found["slices"], key=lambda row: -row["gain"])
    ]
    return TableView(
        "Gains of the slices on val, points of macro F1",
        ("slice", "mean over runs"),
        tuple(rows),
        (STUDY, "which-score/slices.csv"),
        (f"Control, real rows alone: {', '.join(percent(f1) for f1 in found['control'])} %.",),
        folded=True,
    )


def cautions(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Size of the design, and what it cannot decide."""
    design, ranking = found["design"], found["ranking"]
    lines = [
        f"{count(design['slices'])} slices of {count(design['rows'])} samples, each joined with "
        f"{count(design['real_rows'])} real rows; {design['architecture']}, "
        f"{count(design['images'])} images a training; {count(design['runs'])} runs, paired with "
        "a control on real rows alone.",
        f"Gains are read on val ({count(design['val_rows'])} rows, {count(design['val_places'])} "
        "places), which also chose each network's best weights. Test was not looked at.",
        f"Two slices share {percent(design['overlap'])} % of their samples on average; p-values "
        "take slices as independent and are a little too small where they share much.",
        "Scores go together, and with the classes that slices hold: several that are found may be "
        "one, and none of them need be the cause.",
        "All slices are of one pool: other generators, budgets or data may order otherwise.",
    ]
    repeat = ranking["repeatability"]
    if repeat is not None:
        mostly = " The gains are mostly noise, which no score can predict." * (repeat < _NOISE)
        lines.append(
            f"Gains of the same slices in two runs correlate by {repeat:+.2f}; of the mean over "
            f"runs {percent(ranking['reliability'], 0)} % is repeatable.{mostly}"
        )
    return tuple(lines)


def _correlation(estimate: Mapping[str, float] | None) -> Cell:
    if estimate is None:
        return tables.number(ABSENT)
    return tables.number(
        _signed(estimate["mean"]), f"[{_signed(estimate['low'])}, {_signed(estimate['high'])}]"
    )


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def _forest(findings: Sequence[Mapping[str, Any]]) -> Drawing:
    """Estimate and interval of every score that has one, the highest on top."""
    shown = sorted(
        (f for f in findings if f["spearman"] is not None), key=lambda f: f["spearman"]["mean"]
    )
    with canvas(0.8 + 0.24 * len(shown)) as figure:
        axes = figure.subplots()
        axes.axvline(0, color=GREY, linewidth=0.9)
        for place, finding in enumerate(shown):
            told = finding["spearman"]
            sure = finding["word"] in _TONES
            colour = BLUE if sure else GREY
            axes.plot([told["low"], told["high"]], [place, place], color=colour, linewidth=1.6)
            axes.plot(told["mean"], place, "o", color=colour, markersize=5 if sure else 4)
        axes.set_yticks(range(len(shown)), [f["score"] for f in shown])
        axes.set_xlim(-1, 1)
        axes.set_xlabel("Spearman's ρ of score and gain")
        axes.grid(axis="y", visible=False)
        return drawn(figure)
